"""The one event of every recipe: what a step tells the trackers, and when these act. No TensorFlow."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.strips import Picture
from nst_tf.types import Array
from nst_tf.vocabulary import NotFinite

Arrays = Mapping[str, np.ndarray]

# How many times as long as what is done at its end an `Interval` is, at least.
INTERVAL_RATIO = 10


class Failure(NamedTuple):
    """A step whose loss or gradient was not finite: the run has gone back, and goes on with smaller steps."""

    step: int                   # that was tried
    what: str                   # what of it was not finite
    share: float                # of the step size, with which the run goes on
    in_a_row: int

    def __str__(self) -> str:
        return f"{self.what} is not finite at step {self.step}"

    def error(self, remedy: str) -> NotFinite:
        """What a recipe raises when it gives up."""
        return NotFinite(f"{self}, {self.in_a_row} times in a row: {remedy}")


class Sound(NamedTuple):
    """What TensorBoard plays: samples [T, C] in [-1, 1] and their rate."""

    samples: Array
    rate_hz: int


class Progress(NamedTuple):
    """One step of a run. A recipe builds it by keyword. Trackers call only those functions whose results they want."""

    step: int                   # steps done, over all stages
    total_steps: int
    stage: int                  # index of the stage
    stage_step: int             # steps done in this stage
    size: tuple[int, ...]       # the space axes of what is worked on, such as (height, width)
    ends_stage: bool
    losses: Mapping[str, Any]   # scalars by TensorBoard tag, which cost nothing to have
    state: Any                  # where the recipe goes on
    # {pixels of each picture that a step reads: how many such steps are left}, those like this step first. Empty where
    # all steps are alike.
    left: Mapping[tuple[int, ...], int] = {}
    goes_on: bool = False       # whether work follows that `total_steps` does not count
    # The finished picture so far, float32 [H, W, 3 or 4] in [0, 1].
    picture: Callable[[], Array] = lambda: np.zeros((0, 0, 3), np.float32)
    # The same, made strip by strip as it is read; None where only `picture` has it.
    rows: Callable[[], Picture] | None = None
    details: Callable[[], Mapping[str, Any]] = dict  # further scalars by tag, evaluated when a row is logged
    arrays: Callable[[], Arrays] = dict  # what a checkpoint keeps; empty where the recipe cannot go on from here
    # Pictures for TensorBoard by tag, at this step; None: `picture` as image/0_output, now and then.
    shown: Mapping[str, Callable[[], Array]] | None = None
    # Sounds by tag, for TensorBoard; played where `picture` is shown.
    heard: Mapping[str, Callable[[], Sound]] = {}
    # What this step leaves in the run folder: {name: what writes the file}.
    files: Mapping[str, Callable[[Path], None]] = {}
    unit: str = "steps"         # what the bar counts
    failure: Failure | None = None  # no step was done: one failed, and the run has gone back to this state

    @property
    def is_last(self) -> bool:
        """Whether the run is done with this step."""
        return self.step == self.total_steps and not self.goes_on

    @property
    def work_left(self) -> Mapping[tuple[int, ...], int]:
        """`left`; where a recipe does not tell it, all steps are alike."""
        return self.left or {(): self.total_steps - self.step}

    def read(self) -> Picture:
        """The finished picture so far, for those who read it by rows."""
        return self.rows() if self.rows else self.picture()

    def is_logged(self, log_every: int) -> bool:
        """Whether a row tells of this step: every `log_every` steps, at the first and last step of each stage."""
        return self.step % log_every == 0 or self.stage_step == 1 or self.ends_stage


def counted(step: int, total_steps: int, unit: str, **more: Any) -> Progress:
    """A step that is a whole piece of work, such as a picture."""
    fields = {"stage": 0, "ends_stage": False, "losses": {}, "state": None, **more}
    return Progress(step=step, total_steps=total_steps, stage_step=step, size=(), unit=unit, **fields)


class Interval:
    """Answers yes once in each interval. The first begins now.

    What is done then takes a tenth of the time at most: a longer interval follows on what took long. An interval of 0
    seconds stays 0.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._given, self._seconds, self._now = seconds, seconds, now
        self._last = now()

    def is_due(self) -> bool:
        """Whether the interval is over; the next one begins then."""
        time = self._now()
        if time - self._last < self._seconds:
            return False
        self._last = time
        return True

    @contextmanager
    def measured(self) -> Iterator[None]:
        """What is done now and then, within the block."""
        begin = self._now()
        yield
        self._seconds = max(self._given, INTERVAL_RATIO * (self._now() - begin)) if self._given else 0.0
