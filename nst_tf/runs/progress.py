"""The one event of every recipe: what a step tells the trackers. No TensorFlow."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.types import Array

Arrays = Mapping[str, np.ndarray]


def _nothing() -> dict[str, Any]:
    return {}


def _no_picture() -> Array:
    return np.zeros((0, 0, 3), np.float32)


class Progress(NamedTuple):
    """One step of a run. Callables are evaluated only by those who want what they return.

    A recipe builds it by keyword. `steps_left` is 0 after the last step alone: by that a run is known to be done.
    """

    step: int                   # steps done, over all stages
    total_steps: int
    stage: int                  # index of the stage
    stage_step: int             # steps done in this stage
    size: tuple[int, ...]       # the space axes of what is worked on, such as (height, width)
    ends_stage: bool
    steps_left: float           # what is left, counted in steps like this one: a step takes as long as it has pixels
    losses: Mapping[str, Any]   # scalars by TensorBoard tag, which cost nothing to have
    state: Any                  # where the recipe goes on
    picture: Callable[[], Array] = _no_picture  # the finished picture so far, float32 [H, W, 3 or 4] in [0, 1]
    details: Callable[[], Mapping[str, Any]] = _nothing  # further scalars by tag, evaluated when a row is logged
    arrays: Callable[[], Arrays] = _nothing     # what a checkpoint keeps; empty where the recipe cannot go on from here
    # Pictures for TensorBoard by tag, at this step; None: `picture` as image/0_output, now and then.
    shown: Mapping[str, Callable[[], Array]] | None = None
    # What this step leaves in the run folder: {name: what writes the file}.
    files: Mapping[str, Callable[[Path], None]] = {}
    unit: str = "steps"         # what the bar counts
