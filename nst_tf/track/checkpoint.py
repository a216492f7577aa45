"""Writes the state of a run and reads it back. Nothing else in `track` feeds a result."""

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nst_tf.io.files import write_atomically
from nst_tf.optimize.state import State
from nst_tf.vocabulary import RunError

KEPT = 2
Arrays = Mapping[str, np.ndarray]
Read = TypeVar("Read")


def save(folder: Path, state: State) -> None:
    """Writes `step_00000123.npz` whole or not at all, and keeps the newest two."""
    tensors = {"parameters": state.parameters, "average": state.average}
    tensors |= {f"slot_{index}": slot for index, slot in enumerate(state.slots)}
    numbers = {"step": state.step, "stage": state.stage, "stage_step": state.stage_step,
               "average_weight": state.average_weight}
    values = {name: np.asarray(value) for name, value in {**tensors, **numbers}.items()}
    if not all(np.isfinite(value).all() for value in values.values()):
        raise RunError(f"the picture is no longer finite at step {state.step}: lower --learning_rate; the checkpoints "
                       "before it are kept")
    write(folder, state.step, values)


def write(folder: Path, step: int, values: Arrays) -> None:
    """Writes arrays as `step_00000123.npz`, whole or not at all, and keeps the newest two."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(values)
    np.savez(buffer, **arrays)
    write_atomically(folder / f"step_{step:08d}.npz", buffer.getvalue())
    for old in stored(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load(folder: Path) -> State | None:
    """The newest state that can be read whole, or None where there is none."""
    return newest(folder, _state)


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


def _state(values: Arrays) -> State:
    slots = sorted((name for name in values if name.startswith("slot_")), key=lambda name: int(name[5:]))
    parameters, average, *rest = (np.asarray(values[name], np.float32) for name in ("parameters", "average", *slots))
    step, stage, stage_step = (int(values[name]) for name in ("step", "stage", "stage_step"))
    average_weight = float(values["average_weight"])
    return State(step, stage, stage_step, parameters, average, average_weight, tuple(rest))
