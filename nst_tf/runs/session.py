"""What surrounds the work of a run: TensorFlow's start, lines on stderr, memory errors, requests to stop.

No TensorFlow is imported here until it is started.
"""

import importlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nst_tf.keras_settings import keras_defaults
from nst_tf.runtime import start_tensorflow, write_stderr
from nst_tf.vocabulary import RunError, UserError

# The folder that holds this package: a checkout, with scripts/ and sample_drawing/ too, or that of installed packages.
CHECKOUT = Path(__file__).resolve().parents[2]
# This is added to the memory error of a run that has a folder.
STORED_IS_KEPT = "; what is stored in the run folder is kept"
# Windows has no such signal.
_HANGUP = {signal.SIGHUP} if hasattr(signal, "SIGHUP") else set()


def say(line: str) -> None:
    """Prints a line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def started(about: str = "", threads: int | None = None) -> Iterator[None]:
    """Starts TensorFlow with so many threads, says so, and keeps Keras at its defaults within the block."""
    say(f"nst_tf: {', '.join(filter(None, (start_tensorflow(threads), about)))}")
    with keras_defaults():
        yield


def import_function(path: str) -> Callable[..., Any]:
    """Imports the function `"module:function"`, whose module is too slow, or needs TensorFlow, to be imported early."""
    module, _, name = path.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("nst_tf"):
            raise
        raise UserError(f"the package {error.name} is not installed: run 'pip install -e .' in the project's folder, "
                        "or use its .venv") from None
    return function


@contextmanager
def memory_errors(what: str) -> Iterator[None]:
    """Turns a memory error of the block into one line: `what` says what is too large, and what to do."""
    try:
        yield
    except Exception as error:
        # A module that was not imported has raised nothing; a picture can be written without TensorFlow.
        tf = sys.modules.get("tensorflow")
        if not isinstance(error, (MemoryError, *((tf.errors.ResourceExhaustedError,) if tf else ()))):
            raise
        raise RunError(what) from None


def beside_python(command: str) -> str:
    """A program of this environment by its whole path, which every shell finds: an environment may not be active there.

    By name where it does not lie beside Python.
    """
    beside = Path(sys.executable).parent / command
    return str(beside.absolute()) if beside.exists() else command


def command_of(recipe: str, script: str) -> tuple[str, ...]:
    """The words of a recipe's command as help shows it: its script in a checkout, or what pip installs."""
    path = CHECKOUT / "scripts" / script
    return ("python", shlex.quote(_from_here(path))) if _is_of_checkout(path) else (f"nst-{recipe}",)


def _from_here(path: Path) -> str:
    """The path from the working folder; the whole path where that folder is gone."""
    try:
        return os.path.relpath(path)
    except OSError:
        return str(path)


def whole_command_of(recipe: str, script: str) -> tuple[str, ...]:
    """The words of a recipe's command by whole paths, as they can be pasted into a shell of any folder."""
    path = CHECKOUT / "scripts" / script
    if _is_of_checkout(path):
        return sys.executable or "python", str(path)
    # pip may have put it elsewhere than beside Python; then it is where this very command is.
    installed = Path(sys.argv[0]).absolute().with_name(f"nst-{recipe}")
    return (str(installed) if installed.exists() else beside_python(f"nst-{recipe}"),)


def _is_of_checkout(script: Path) -> bool:
    return script.exists() and not Path(sys.argv[0]).name.startswith("nst-")


def tensorboard_line(logdir: str | Path, *more: str) -> str:
    """The command that starts TensorBoard on a folder, from any folder."""
    program = beside_python("tensorboard")
    words = (program,) if os.path.isabs(program) else (sys.executable or "python", "-m", "tensorboard.main")
    return f"TensorBoard: {shlex.join((*words, '--logdir', str(Path(logdir).absolute()), *more))}"


class Stop:
    """Asks a run to finish its step, to store what is done and to end. Any thread may use it."""

    def __init__(self) -> None:
        # One assignment, which is atomic. A lock could be held by the very thread that a signal interrupts.
        self._signal: int | None = None
        self.hears_signals = False  # while `stop_signals` listens for it

    def request(self, number: int = signal.SIGINT) -> None:
        """Asks for the stop. The exit status tells of the signal `number`. The first request counts."""
        if self._signal is None:
            self._signal = int(number)

    @property
    def is_requested(self) -> bool:
        """Whether the run shall stop."""
        return self._signal is not None

    @property
    def status(self) -> int:
        """The exit status of a stopped run: 130 for Ctrl-C and `request()`, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + (self._signal or 0)


@contextmanager
def stop_signals(stop: Stop) -> Iterator[None]:
    """Lets Ctrl-C, SIGTERM and SIGHUP request the stop; a second signal kills. Only the main thread hears signals.

    A signal that is ignored when the run starts stays so: SIGHUP under nohup, Ctrl-C in a shell's background. SIGHUP
    never kills: a terminal that is closed may send it twice, or beside SIGTERM. A run inside of a run, with the same
    stop, leaves the signals to the outer one.
    """
    if stop.hears_signals or threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def restore(numbers: Iterable[int]) -> None:
        for number in numbers:
            signal.signal(number, before[number])

    def receive(number: int, frame: Any) -> None:
        stop.request(number)
        line = b"\nnst_tf: finishing the step\n"
        if number not in _HANGUP:
            restore(before.keys() - _HANGUP)
            line = b"\nnst_tf: finishing the step; once more to stop at once\n"
        write_stderr(line)

    for number in (signal.SIGINT, signal.SIGTERM, *_HANGUP):
        # None is a handler of another language, which could not be put back.
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, receive)
    stop.hears_signals = True
    try:
        yield
    finally:
        stop.hears_signals = False
        restore(before)
