"""How long a run takes, from the times of its steps so far. Times are arguments: no clock is read here."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

# The pixels of each picture that a step reads, and how many steps of each size are left: `Progress.work_left`. A
# picture without pixels behind them stands for another network, whose steps tell nothing of those without it.
Size = tuple[int, ...]
Left = Mapping[Size, int]

# The first steps of each size trace, compile and write the first rows and pictures of the size.
STARTING_STEPS = 2
# Before the first step of a size the pictures are measured, which takes about as long as a step.
MEASURING_STEPS = 1
# A step is taken to cost as much as this many pixels more than it reads. Of 6,000 to 12,000 it was the best for five
# runs on two cores (benchmarks/estimate.py). A line through two sizes was worse: small sizes say little of a large one.
FIXED_PIXELS = 12_000
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

    A step takes t = b · (pixels + `FIXED_PIXELS`). The start of a size takes s · pictures + `MEASURING_STEPS` · t more
    than its steps: s is the time in which the network is traced for one picture. b and s follow from the sizes so far.
    """

    def __init__(self, start: float) -> None:
        self.start = self.last = start
        self.steps = 0  # that are done
        self._left: Left = {}
        self._times: dict[Size, _Times] = {}  # in the order in which they came

    def leave_out(self, time: float) -> None:
        """Does not count the time from the last step to `time`: it went into other work."""
        self.start += time - self.last
        self.last = time

    def add(self, left: Left, time: float) -> None:
        """Takes note that a step was done at `time`, and what is left."""
        self._times.setdefault(next(iter(left)), _Times()).add(time - self.last)
        self._left, self.last = left, time
        self.steps += 1

    def steps_per_second(self) -> float | None:
        """The speed at the size of the last step; None at its start."""
        times = self._times[next(iter(self._left))]
        return times.later / times.later_seconds if times.later_seconds > 0 else None

    def seconds_left(self) -> float | None:
        """The seconds from the last step to the end; None until steps of each network that is left are timed."""
        if not any(times.later for times in self._times.values()):
            return None
        left = {size: count for size, count in self._left.items() if count}
        timed = {is_other_network(size) for size, times in self._times.items() if times.later}
        if not timed.issuperset(map(is_other_network, left)):
            return None
        return (sum(count * self._step_seconds(size) for size, count in left.items())
                + sum(self._start_seconds(size) for size in left if size not in self._times))

    def _step_seconds(self, size: Size) -> float:
        """t: the mean of the steps of this size, together with what the other sizes predict."""
        others = {sum(other): times.later_seconds / times.later for other, times in self._times.items()
                  if times.later and other != size and is_other_network(other) == is_other_network(size)}
        own = self._times.get(size, _Times())
        if not others:
            return own.later_seconds / own.later
        return (own.later_seconds + PREDICTED_STEPS * _predicted(others, sum(size))) / (own.later + PREDICTED_STEPS)

    def _start_seconds(self, size: Size) -> float:
        """What a size takes beside its steps: the tracing, by the mean s of the sizes so far, and the measuring."""
        # The first s of a run is the longest. Later ones, where there are any, tell better what comes.
        known = list(self._times)[1:] or list(self._times)
        traced = statistics.fmean(self._traced_seconds(each) for each in known)
        return traced * len(pictures(size)) + MEASURING_STEPS * self._step_seconds(size)

    def _traced_seconds(self, size: Size) -> float:
        """s of a size that has begun."""
        times = self._times[size]
        steps = (times.starting + MEASURING_STEPS) * self._step_seconds(size)
        return max(0.0, times.starting_seconds - steps) / max(1, len(pictures(size)))


def is_other_network(size: Size) -> bool:
    """Whether a picture without pixels is among those of a size."""
    return 0 in size


def pictures(size: Size) -> Size:
    """The pictures that have pixels."""
    return tuple(pixels for pixels in size if pixels)


def _predicted(seconds: Mapping[int, float], pixels: int) -> float:
    """t of a size from that of the largest size that is measured."""
    largest = max(seconds)
    return seconds[largest] * (pixels + FIXED_PIXELS) / (largest + FIXED_PIXELS)
