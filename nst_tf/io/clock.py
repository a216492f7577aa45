"""The time column of a series: which column it is, the sample rate that it tells, the samples that it leaves out."""

import datetime
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.io.files import quoted

_NAME = re.compile(r"((elapsed|relative|sample|recording)[ _]?)?"
                   r"(t|time|times|timer|timestamp|time ?stamp|datetime|date|seconds|secs|milliseconds|zeit)",
                   re.IGNORECASE)
_UNIT = re.compile(r"(.*?)(?:[ _]*[(\[]\s*(\S+)\s*[)\]]?|[ _](s|secs?|seconds|ms|msec|us|µs|ns|min|h))\s*",
                   re.IGNORECASE)
_SECONDS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "milliseconds": 1e-3,
            "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
_CLOCK = re.compile(r"\[?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)\]?")

# Fewer lines may rise evenly by chance.
_FEWEST = 8


class Ticks(NamedTuple):
    """What a time column tells.

    Args:
        rate_hz: None where it only counts, or does not rise.
        rows: the place of each line among even samples, None where no sample is left out.
        remark: what a user should know, or "".
    """

    rate_hz: float | None
    rows: NDArray[np.int64] | None
    remark: str


def _parts(name: str) -> tuple[str, str | None]:
    """A column's name without its unit, and the unit: "time (ms)", "t_ms"."""
    found = _UNIT.fullmatch(name.strip("'\" "))
    return (found[1], found[2] or found[3]) if found else (name.strip("'\" "), None)


def is_time(name: str) -> bool:
    """Whether a column of this name holds times."""
    return bool(_NAME.fullmatch(_parts(name)[0]))


def seconds(cell: str) -> float | None:
    """A cell as a number: 0.25, 1:02:03.25, 2026-01-31 10:00:00.25; None for other text."""
    text = cell.strip("'\" ").replace(",", ".")
    try:
        return float(text)
    except ValueError:
        pass
    found = _CLOCK.fullmatch(text)
    if found:
        return 3600 * int(found[1] or 0) + 60 * int(found[2]) + float(found[3])
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    # A clock without a zone has no summer time.
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def read(cells: Sequence[str], name: str | None, unit: str | None) -> Ticks | None:
    """The times of a file's lines.

    Args:
        name: the column's name; without one of time the column must rise evenly.
        unit: what a second header row says.
    Returns:
        None where it is no time column.
    """
    named = name is not None and is_time(name)
    unit = (_parts(name)[1] if name else None) or unit
    if named and _parts(name or "")[0].lower() == "milliseconds":
        unit = "ms"
    scale = _SECONDS.get((unit or "").lower())
    times = np.array([math.nan if (value := seconds(cell)) is None else value for cell in cells])
    steps = np.diff(times)
    if not named and len(times) < _FEWEST or not len(steps) or not np.isfinite(times).all() or times[-1] <= times[0]:
        return Ticks(None, None, f"its column {quoted(name or '')} does not rise, and tells no sample rate") \
            if named else None
    rate = _even_rate(times)
    if not named and (rate is None or np.abs(steps * rate - 1).max() > 0.02):
        return None
    if not named and scale is None and rate == 1:
        return Ticks(None, None, "")
    return _ticks(times * (scale or 1.0), name or "", scale is None and _are_plain(cells))


def _are_plain(cells: Sequence[str]) -> bool:
    """Whether the times are numbers, which have no unit by themselves."""
    try:
        return math.isfinite(float(cells[0]))
    except ValueError:
        return False


def _ticks(times: NDArray[np.float64], name: str, is_bare: bool) -> Ticks:
    """The rate and the places of rising times in seconds."""
    remark, rows, rate = "", None, _even_rate(times)
    if rate is None:
        rows, rate = _gapped(times)
        if rate is None:
            rate = (len(times) - 1) / float(times[-1] - times[0])
            remark = f"the times of its column {quoted(name)} are uneven: taken as even, {rate:.6g} Hz"
    if is_bare and rate < 1 and not remark:
        remark = f"its column {quoted(name)} is taken as seconds, {rate:.6g} Hz: give --rate if it has another unit"
    return Ticks(rate, rows, remark)


def _even_rate(times: NDArray[np.float64], places: NDArray[np.int64] | None = None) -> float | None:
    """The samples a second of times that stand at whole steps, as far as they are rounded; None for others."""
    places = np.arange(len(times)) if places is None else places
    span = float(times[-1] - times[0])
    rate = float(places[-1]) / span
    steps = np.abs(np.diff(times))
    resolution = float(steps[steps > 0].min())
    # Times of whole milliseconds lie up to one off, however many samples a millisecond has.
    allowed = max(0.5, resolution * rate)
    if np.abs((times - times[0]) * rate - places).max() > allowed:
        return None
    return _roundest(rate, allowed / span)


def _roundest(rate: float, tolerance: float) -> float:
    """The number with the fewest digits in rate ± tolerance, or one whose inverse has few."""
    for digits in range(-2, 12):
        if abs(round(rate, digits) - rate) <= tolerance and round(rate, digits) > 0:
            return float(round(rate, digits))
        step = round(1 / rate, digits)
        if step > 0 and abs(1 / step - rate) <= tolerance / 10:
            return 1 / step
    return rate


def _gapped(times: NDArray[np.float64]) -> tuple[NDArray[np.int64] | None, float | None]:
    """The places of times that leave out some even steps, and the rate; None for uneven times."""
    steps = np.diff(times)
    middle = float(np.median(steps))
    if middle <= 0 or steps.min() <= 0:
        return None, None
    step = float(steps[steps < 1.5 * middle].mean())
    places = np.concatenate([[0], np.cumsum(np.maximum(1, np.rint(steps / step)))])
    # More than half is missing: that is no gap.
    if places[-1] > 2 * len(times):
        return None, None
    rate = _even_rate(times, places.astype(np.int64))
    return (None, None) if rate is None else (places.astype(np.int64), rate)
