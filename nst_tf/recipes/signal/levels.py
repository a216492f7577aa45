"""Between the units of a signal and the canvas: signals are measured standardized, and the result gets its level back.

No TensorFlow.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.strips import Rows, strips

Values = NDArray[np.float32]

# The canvas reaches this far beyond the largest value of the content: another timbre may have sharper peaks.
HEADROOM = 2.0


class Level(NamedTuple):
    """What a signal has beside its shapes: the trend of each channel, [T, C], or its mean, [C], and the standard
    deviation around it, [C]; and how far from 0 the canvas lets standardized values go."""

    trend: Values
    deviation: Values
    reach: float


def level_of(values: Values, window: int = 0) -> Level:
    """The level of a signal [T, C].

    Args:
        window: samples over which the trend is a mean; 0 for the mean of all.
    """
    level = trend(values, window)
    flat = values - level
    mean, deviation = moments(flat)
    flat -= mean
    peak = np.maximum(flat.max(axis=0), -flat.min(axis=0)) / np.where(deviation > 0, deviation, 1)
    return Level(level + mean, deviation, HEADROOM * float(peak.max()))


def trend(values: Values, window: int) -> Values:
    """The mean over a window around each sample, taken twice, [T, C]; 0 for a signal of less than two windows.

    The base line of an EKG wanders with the breath. What wanders is no beat, and comes back in the result.
    """
    if not window or len(values) < 2 * window:
        return np.zeros((1, values.shape[1]), np.float32)
    for _ in range(2):
        padded = np.pad(values, [(window // 2 + 1, window // 2), (0, 0)], mode="reflect")
        sums = padded.cumsum(axis=0, dtype=np.float64)
        span = 2 * (window // 2) + 1
        values = ((sums[span:] - sums[:-span]) / span).astype(np.float32)
    return values


def standardized_rows(values: Values, level: Level) -> Rows:
    """A signal [T, C] of this level as `standardized` has it, made when read: [T, 1, C], a picture of one column."""
    inverse = np.where(level.deviation > 0, 1 / np.where(level.deviation > 0, level.deviation, 1), 0)

    def read(rows: slice) -> Values:
        trend = level.trend[rows] if len(level.trend) > 1 else level.trend
        return ((values[rows] - trend) * inverse).astype(np.float32)[:, np.newaxis]

    return Rows((len(values), 1, values.shape[1]), read)


def standardized(values: Values, window: int = 0) -> Values:
    """Each channel [T, C] without its trend, with mean 0 and standard deviation 1; a constant one is 0."""
    flat = values - trend(values, window)
    mean, deviation = moments(flat)
    # In place, here and below: a long signal leaves no room for copies.
    flat -= mean
    flat *= np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    return flat


def on_canvas(standard: Values, level: Level) -> Values:
    """Standardized values as those of a canvas, in [0, 1]."""
    canvas: Values = standard / np.float32(2 * level.reach)
    canvas += np.float32(0.5)
    return canvas


def restored(canvas: Values, level: Level) -> Values:
    """The values of a canvas with the content's trend and deviation in each channel, in its units."""
    values = standardized(canvas)
    values *= level.deviation
    values += level.trend
    return values


def moments(values: Values) -> tuple[Values, Values]:
    """Mean and deviation of each channel; the deviation of a channel that only rounding moves is 0."""
    parts = [values[rows] for rows in strips(values.shape)]
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / len(values)
    squares = sum(np.square(part - mean).sum(axis=0) for part in parts)
    deviation = np.sqrt(squares / len(values))
    is_rounding = deviation <= 1e-6 * np.maximum(values.max(axis=0), -values.min(axis=0))
    return np.asarray(mean, np.float32), np.where(is_rounding, 0, deviation).astype(np.float32)
