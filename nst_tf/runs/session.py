"""What surrounds the work of a run: TensorFlow's start, lines on stderr, memory errors, requests to stop.

No TensorFlow is imported here until it is started.
"""

import importlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import RunError, UserError

# The folder that holds this package: a checkout, with scripts/ and sample_drawing/ too, or that of installed packages.
CHECKOUT = Path(__file__).resolve().parents[2]
# This is added to the memory error of a run that has a folder.
STORED_IS_KEPT = "; what is stored in the run folder is kept"


def say(line: str) -> None:
    """Prints a line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)


def start(about: str = "") -> None:
    """Starts TensorFlow and says so."""
    say(f"nst_tf: {', '.join(filter(None, (start_tensorflow(), about)))}")


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
    return ("python", shlex.quote(os.path.relpath(path))) if _is_of_checkout(path) else (f"nst-{recipe}",)


def whole_command_of(recipe: str, script: str) -> tuple[str, ...]:
    """The words of a recipe's command by whole paths, as they can be pasted into a shell of any folder."""
    path = CHECKOUT / "scripts" / script
    if _is_of_checkout(path):
        return sys.executable or "python", str(path)
    # pip may have put it elsewhere than beside Python; then it is where this very command is.
    started = Path(sys.argv[0]).absolute().with_name(f"nst-{recipe}")
    return (str(started) if started.exists() else beside_python(f"nst-{recipe}"),)


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
        """The exit status of a stopped run: 130 for Ctrl-C and for `request()`, 143 for SIGTERM."""
        return 128 + (self._signal or 0)


@contextmanager
def stop_signals(stop: Stop) -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM request the stop; a second signal kills. Only the main thread hears signals.

    A run inside of a run, with the same stop, leaves the signals to the outer one.
    """
    if stop.hears_signals or threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, frame: Any) -> None:
        restore()
        stop.request(number)
        # No print: the signal may have interrupted one, and Python's buffers are not reentrant.
        with suppress(OSError):
            os.write(2, b"\nnst_tf: finishing the step; once more to stop at once\n")

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, receive)
    stop.hears_signals = True
    try:
        yield
    finally:
        stop.hears_signals = False
        restore()
