"""The pyramid's arithmetic: which sizes, how many steps each, which step size when. No pictures, no TensorFlow."""

import math
from collections.abc import Sequence
from typing import NamedTuple

LAST_STAGE_SHARE = 0.8
FINAL_LEARNING_RATE_SHARE = 0.05


class Stage(NamedTuple):
    """One size of the pyramid.

    `decay_steps` is the number of steps over which the learning rate falls; steps added later go on at its end value.
    """

    long_side_px: int
    steps: int
    decay_steps: int


def sizes(size: int, min_size: int) -> list[int]:
    """size / √2^k for k = …, 2, 1, 0, the smallest ≥ min_size (long sides in px, ascending).

    >>> sizes(512, 128)
    [128, 181, 256, 362, 512]
    >>> sizes(100, 128)
    [100]
    """
    count = 1 + max(0, math.floor(2 * math.log2(size / min_size) + 1e-9))
    return [round(size / math.sqrt(2) ** k) for k in reversed(range(count))]


def split_steps(steps: int, stages: int) -> list[int]:
    """Steps of each stage: 80 % for the last; the smallest and each second one below the last share the rest evenly.

    The small ones lay out the large motifs, and their steps are cheap. The others are passed over, because a stage
    costs as much as ten to twenty steps before its first.

    >>> split_steps(300, 5)
    [30, 0, 30, 0, 240]
    >>> split_steps(300, 4)
    [30, 30, 0, 240]
    >>> split_steps(2, 5)
    [1, 0, 0, 0, 1]
    """
    if stages == 1:
        return [steps]
    last = max(1, min(steps - 1, math.ceil(LAST_STAGE_SHARE * steps)))
    early = sorted({0, *range(stages - 3, 0, -2)})
    ends = [math.ceil((steps - last) * k / len(early)) for k in range(len(early) + 1)]
    counts = [0] * (stages - 1) + [last]
    for stage, begin, end in zip(early, ends, ends[1:], strict=False):
        counts[stage] = end - begin
    return counts


def plan_stages(size: int, min_size: int, steps: int) -> tuple[Stage, ...]:
    """The stages of a run; those that would get no step are left out."""
    long_sides = sizes(size, min_size)
    return tuple(Stage(side, share, share) for side, share in zip(long_sides, split_steps(steps, len(long_sides)))
                 if share)


def add_steps(stages: Sequence[Stage], total_steps: int) -> tuple[Stage, ...]:
    """The same stages with the last one prolonged to `total_steps` in all."""
    last = stages[-1]
    missing = total_steps - sum(stage.steps for stage in stages)
    return (*stages[:-1], last._replace(steps=last.steps + missing))


def learning_rate(base: float, schedule: str, stage: Stage, stage_step: int) -> float:
    """Step size at `stage_step` (from 0): `constant`, or α(t) = α·(ρ + (1 − ρ)·½(1 + cos(πt/T))) with ρ = 0.05.

    Source: the cosine of Loshchilov and Hutter 2017, without restarts inside a stage.
    """
    if schedule == "constant":
        return base
    progress = min(1.0, stage_step / stage.decay_steps)
    floor = FINAL_LEARNING_RATE_SHARE
    return base * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress)))
