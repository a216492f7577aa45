"""How long a run takes, from the times of its steps so far. Times are arguments: no clock is read here."""

from collections.abc import Mapping
from dataclasses import dataclass

# The first steps of each size trace, compile and write the first rows and pictures of the size.
STARTING_STEPS = 2
# Before the first step of a size the pictures are measured, which takes about as long as a step.
MEASURING_STEPS = 1
# Until two sizes are measured, a step is taken to cost as much as this many pixels more than it reads.
FIXED_PIXELS = 2000
# What the other sizes predict of a size counts as much as this many of its own steps.
PREDICTED_STEPS = 2


@dataclass
class _Times:
    """Number and seconds of the starting steps of a size, and of the steps after them."""

    starting: int = 0
    starting_seconds: float = 0.0
    later: int = 0
    later_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        if self.starting < STARTING_STEPS:
            self.starting += 1
            self.starting_seconds += seconds
        else:
            self.later += 1
            self.later_seconds += seconds


class Estimate:
    """The seconds that are left.

    A step takes t = a + b·pixels. The start of each size takes s + `MEASURING_STEPS` · t more than its steps, where s
    is the time of tracing and compiling. a, b and s follow from the sizes so far.
    """

    def __init__(self, start: float) -> None:
        self._last = start
        self._left: Mapping[int, int] = {}
        self._times: dict[int, _Times] = {}  # by pixels, in the order in which they came

    def add(self, left: Mapping[int, int], time: float) -> None:
        """Takes note that a step was done at `time`, and what is left: `Progress.work_left`."""
        self._times.setdefault(next(iter(left)), _Times()).add(time - self._last)
        self._left, self._last = left, time

    def steps_per_second(self) -> float | None:
        """The speed at the size of the last step; None at its start."""
        times = self._times[next(iter(self._left))]
        return times.later / times.later_seconds if times.later_seconds > 0 else None

    def seconds_left(self) -> float | None:
        """The seconds from the last step to the end; None at the start of the run."""
        if not any(times.later for times in self._times.values()):
            return None
        left = {pixels: count for pixels, count in self._left.items() if count}
        return (sum(count * self._step_seconds(pixels) for pixels, count in left.items())
                + sum(self._start_seconds(pixels) for pixels in left if pixels not in self._times))

    def _step_seconds(self, pixels: int) -> float:
        """t: the mean of the steps of this size, together with what the other sizes predict."""
        others = {size: times.later_seconds / times.later for size, times in self._times.items()
                  if times.later and size != pixels}
        own = self._times.get(pixels, _Times())
        if not others:
            return own.later_seconds / own.later
        return (own.later_seconds + PREDICTED_STEPS * _predicted(others, pixels)) / (own.later + PREDICTED_STEPS)

    def _start_seconds(self, pixels: int) -> float:
        """What a size takes beside its steps: the mean s of the sizes so far, and the measuring."""
        # The first s of a run is the longest. Later ones, where there are any, tell better what comes.
        known = list(self._times)[1:] or list(self._times)
        traced = [max(0.0, times.starting_seconds - (times.starting + MEASURING_STEPS) * self._step_seconds(size))
                  for size, times in self._times.items() if size in known]
        return sum(traced) / len(traced) + MEASURING_STEPS * self._step_seconds(pixels)


def _predicted(seconds: Mapping[int, float], pixels: int) -> float:
    """t = a + b·pixels through the two largest sizes that are measured; a, b ≥ 0."""
    largest = max(seconds)
    below = max((size for size in seconds if size < largest), default=None)
    if below is None:
        return seconds[largest] * (pixels + FIXED_PIXELS) / (largest + FIXED_PIXELS)
    slope = (seconds[largest] - seconds[below]) / (largest - below)
    slope = min(max(slope, 0.0), seconds[largest] / largest)
    return seconds[largest] + slope * (pixels - largest)
