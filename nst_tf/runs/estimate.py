"""How long a run takes, from the times of its steps so far. Times are arguments: no clock is read here."""

from collections.abc import Mapping

# Until two sizes are measured, a step is taken to cost as much as this many pixels more than it reads.
FIXED_PIXELS = 2000
# What the steps of other sizes predict counts as much as this many measured steps.
PREDICTED_STEPS = 2
# The pictures are measured once at each size, which takes about as long as a step.
MEASURING_STEPS = 1


class Estimate:
    """The seconds that are left.

    A step takes t = a + b·pixels. The first of each size takes s + (1 + `MEASURING_STEPS`) t, where s is the time of
    tracing. a, b and s follow from the sizes so far.
    """

    def __init__(self, start: float) -> None:
        self._last = start
        self._left: Mapping[int, int] = {}
        self._first: dict[int, float] = {}  # the seconds of the first step, by pixels
        self._later: dict[int, tuple[int, float]] = {}  # number and seconds of the steps after it

    def add(self, left: Mapping[int, int], time: float) -> None:
        """Takes note that a step was done at `time`, and what is left: `Progress.work_left`."""
        pixels, seconds = next(iter(left)), time - self._last
        self._left, self._last = left, time
        if pixels in self._first:
            count, sum_ = self._later.get(pixels, (0, 0.0))
            self._later[pixels] = count + 1, sum_ + seconds
        else:
            self._first[pixels] = seconds

    def steps_per_second(self) -> float | None:
        """The speed at the size of the last step; None before its second step."""
        count, seconds = self._later.get(next(iter(self._left)), (0, 0.0))
        return count / seconds if seconds > 0 else None

    def seconds_left(self) -> float | None:
        """The seconds from the last step to the end; None before the second step of all."""
        if not self._later:
            return None
        left = {pixels: count for pixels, count in self._left.items() if count}
        steps = sum(count * self._step_seconds(pixels) for pixels, count in left.items())
        return steps + sum(self._start_seconds(pixels) for pixels in left if pixels not in self._first)

    def _step_seconds(self, pixels: int) -> float:
        """t: the mean of the steps of this size, together with what the other sizes predict."""
        others = {size: seconds / count for size, (count, seconds) in self._later.items() if size != pixels}
        count, seconds = self._later.get(pixels, (0, 0.0))
        if not others:
            return seconds / count
        return (seconds + PREDICTED_STEPS * _predicted(others, pixels)) / (count + PREDICTED_STEPS)

    def _start_seconds(self, pixels: int) -> float:
        """What comes before the first step of a size: the mean s of the sizes so far, and the measuring."""
        # The first s of all holds more than the others, which tell better of what comes where there are any.
        known = list(self._first)[1:] or list(self._first)
        traced = [max(0.0, self._first[size] - (1 + MEASURING_STEPS) * self._step_seconds(size)) for size in known]
        return sum(traced) / len(traced) + MEASURING_STEPS * self._step_seconds(pixels)


def _predicted(seconds: dict[int, float], pixels: int) -> float:
    """t = a + b·pixels through the two largest sizes that are measured; a, b ≥ 0."""
    largest = max(seconds)
    below = max((size for size in seconds if size < largest), default=None)
    if below is None:
        return seconds[largest] * (pixels + FIXED_PIXELS) / (largest + FIXED_PIXELS)
    slope = (seconds[largest] - seconds[below]) / (largest - below)
    slope = min(max(slope, 0.0), seconds[largest] / largest)
    return seconds[largest] + slope * (pixels - largest)
