"""Writes what a run goes on from and reads it back. Nothing else in `runs` feeds a result."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nst_tf.io.files import write_atomically
from nst_tf.runs.progress import Arrays
from nst_tf.vocabulary import RunError

KEPT = 2
FOLDER = "checkpoints"
Read = TypeVar("Read")


def save(folder: Path, step: int, values: Arrays, remedy: str = "lower --learning_rate") -> None:
    """Writes arrays as `step_00000123.npz`, whole or not at all, and keeps the newest two.

    Args:
        remedy: what to do against values that are not finite.
    Raises:
        RunError: a value is not finite, or the disk refuses.
    """
    if not all(np.isfinite(value).all() for value in values.values()):
        raise RunError(f"the picture is no longer finite at step {step}: {remedy}; the checkpoints before it are kept")
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(values)
    np.savez(buffer, **arrays)
    write_atomically(folder / f"step_{step:08d}.npz", buffer.getvalue())
    for old in stored(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def newest(folder: Path, read: Callable[[Arrays], Read]) -> Read | None:
    """What `read` makes of the newest arrays that it takes, or None where there are none.

    Args:
        read: raises `KeyError`, `ValueError`, `TypeError` or `OverflowError` for arrays that are not what it reads.
    """
    for path in stored(folder):
        try:
            # From bytes: NumPy leaves a file open that is no whole archive.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                return read({name: file[name] for name in file.files})
        # The last two: several values, or an infinite one, where a number is read.
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError, OverflowError):
            continue
    return None


def stored(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted((path for path in folder.glob("step_*.npz") if re.fullmatch(r"step_\d{8,}", path.stem)),
                  key=lambda path: int(path.stem[5:]), reverse=True)
