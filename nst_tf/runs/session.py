"""What surrounds the work of a run: TensorFlow's start, lines on stderr, memory errors.

No TensorFlow is imported here until it is started.
"""

import importlib
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nst_tf.runs.recipe import Recipe
from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import RunError

# What holds this package: a checkout, with scripts/ and sample_drawing/ too, or the folder of installed packages.
CHECKOUT = Path(__file__).resolve().parents[2]
# Said after a memory error of a run that has a folder.
STORED_IS_KEPT = "; what is stored in the run folder is kept"


def say(line: str) -> None:
    """A line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)


def start(about: str = "") -> None:
    """Starts TensorFlow and says so."""
    say(f"nst_tf: {', '.join(filter(None, (start_tensorflow(), about)))}")


def load(path: str) -> Callable[..., Any]:
    """The function `"module:function"`, whose module needs TensorFlow."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


@contextmanager
def memory_errors(what: str) -> Iterator[None]:
    """Turns a memory error of the block into one line: `what` says what is too large, and what to do."""
    try:
        yield
    except Exception as error:
        # What was not imported cannot have raised; a picture can be written without TensorFlow.
        tf = sys.modules.get("tensorflow")
        if not isinstance(error, (MemoryError, *((tf.errors.ResourceExhaustedError,) if tf else ()))):
            raise
        raise RunError(what) from None


def beside_python(command: str) -> str:
    """A command of this environment as it can be typed here: by name where a shell finds it so, else by its path."""
    beside, found = Path(sys.executable).with_name(command), shutil.which(command) or ""
    # Folders are compared, not files: an environment's Python is a link to that of the system.
    is_found = found and os.path.realpath(os.path.dirname(found)) == os.path.realpath(beside.parent)
    return command if is_found or not beside.exists() else shlex.quote(os.path.relpath(beside))


def command_of(recipe: Recipe) -> tuple[str, ...]:
    """The words of a recipe's command: its script in a checkout, or what pip installs."""
    script, is_installed_one = CHECKOUT / "scripts" / recipe.script, Path(sys.argv[0]).name.startswith("nst-")
    if script.exists() and not is_installed_one:
        return "python", shlex.quote(os.path.relpath(script))
    return (f"nst-{recipe.name}",)


def tensorboard_line(logdir: str | Path, *more: str) -> str:
    """How TensorBoard is started on a folder."""
    command = " ".join((beside_python("tensorboard"), "--logdir", shlex.quote(str(logdir)), *more))
    return f"TensorBoard: {command}"
