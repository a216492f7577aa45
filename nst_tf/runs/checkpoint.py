"""Writes and reads checkpoints, the arrays that a run goes on from."""

import errno
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nst_tf.io.files import quoted, write_atomically
from nst_tf.runs.progress import Arrays
from nst_tf.vocabulary import NotFinite, RunError

FILES_KEPT = 2
FOLDER = "checkpoints"
Read = TypeVar("Read")
# Damaged bytes, or arrays of another kind, raise these; an OSError too.
_DAMAGED = (ValueError, LookupError, TypeError, ArithmeticError, EOFError, NotImplementedError,
            zipfile.BadZipFile, zlib.error)


def save(folder: Path, step: int, values: Arrays, remedy: str = "lower --learning_rate") -> None:
    """Writes arrays as `step_00000123.npz`, whole or not at all, and keeps the newest two files.

    Files of later steps are removed: the run has gone back.

    Args:
        remedy: says what helps against values that are not finite.
    Raises:
        NotFinite: a value is not finite, which the steps of the recipe have not seen.
        RunError: the disk refuses.
    """
    if not all(map(_is_finite, values.values())):
        raise NotFinite(f"what the run would go on from is not finite at step {step}: {remedy}")
    arrays: dict[str, Any] = dict(values)
    write_atomically(folder / f"step_{step:08d}.npz", lambda file: np.savez(file, **arrays))
    later = [path for path in stored(folder) if _step(path) > step]
    for old in later + stored(folder)[len(later):][FILES_KEPT:]:
        old.unlink(missing_ok=True)


def _is_finite(value: np.ndarray) -> bool:
    """Whether all of an array is finite; it may be large, so nothing of its size is made of it."""
    return value.size == 0 or bool(np.isfinite([value.min(), value.max()]).all())


def forget_newest(folder: Path) -> None:
    """Removes the newest checkpoint, so that a run goes on from the one before; the only one stays."""
    for path in stored(folder)[:-1][:1]:
        path.unlink(missing_ok=True)


def newest(folder: Path, read: Callable[[Arrays], Read]) -> Read | None:
    """Returns what `read` makes of the newest checkpoint that it accepts; None where there is none.

    Args:
        read: asks for arrays, which are read from the disk then; raises `LookupError`, `ValueError`, `TypeError` or
            `ArithmeticError` for those that it cannot read.
    Raises:
        RunError: the disk does not give a file that is there. The run would begin anew and delete it.
    """
    for path in stored(folder):
        try:
            # NumPy leaves a file open that is no whole archive, and that it has opened itself.
            with open(path, "rb") as data, np.load(data, allow_pickle=False) as file:
                return read(file)
        except FileNotFoundError:
            continue
        except OSError as error:
            # A damaged archive names places that a file does not have.
            if error.errno not in (None, errno.EINVAL):
                raise _unreadable(path, error) from error
        except _DAMAGED:
            continue
    return None


def stored(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first.

    Raises:
        RunError: the folder is there and cannot be read.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted((folder / name for name in names if re.fullmatch(r"step_\d{8,}\.npz", name)),
                  key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.stem[5:])


def _unreadable(path: Path, error: OSError) -> RunError:
    return RunError(f"{quoted(path)} cannot be read ({error.strerror}), and nothing was changed: make it readable, or "
                    "give --overwrite to start the run afresh")
