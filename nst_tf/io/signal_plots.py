"""Plots of signals as PNG: waveforms and spectrograms, EKG on grid paper, excerpts.

They are drawn by matplotlib, of the extra `signals`.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.io.files import write_atomically
from nst_tf.io.pixels import PathLike
from nst_tf.io.signals import Signal
from nst_tf.io.sound import EXTRA
from nst_tf.vocabulary import UserError

Array = NDArray[np.float32]

# More channels than this are not drawn: 12 leads have their place.
_MAX_CHANNELS = 12
_COLUMNS = 1000
_BANDS = 200
_RANGE_DB = 80.0
_DPI = 100
# An EKG in the scale of paper: 25 mm/s and 10 mm/mV; 4 pixels are a millimeter.
_MM_PER_S, _MM_PER_MV, _PX_PER_MM = 25, 10, 4
_PAPER_SECONDS = 10.0
_MARGIN_MM, _LEAD_MM, _MAX_LEAD_MM = 5, 30, 100
_MILLIVOLTS = {"mv": 1.0, "v": 1e3, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3}


class Panel(NamedTuple):
    """One signal of a plot."""

    title: str
    signal: Signal


class Spectrogram(NamedTuple):
    """Power in dB below the largest, [bands, columns], low frequencies first; the frequencies of the bands."""

    power_db: Array
    frequencies: NDArray[np.float64]


def check_plots(name: str) -> None:
    """Raises `UserError`, naming the flag `name`, where matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise UserError(f"{name}: {EXTRA} brings what draws plots (matplotlib)") from None


def spectrogram(signal: Signal, columns: int = _COLUMNS, bands: int = _BANDS) -> Spectrogram:
    """The mean power of the channels over time and logarithmic frequency.

    The window is 50 ms of sound, an eighth of a short signal, and 256 samples of a slow one. Frequencies are cycles a
    sample where the rate is unknown.
    """
    rate = signal.rate_hz or 1.0
    samples = len(signal.values)
    window = 2 ** int(np.clip(np.rint(np.log2(max(rate * 0.05, 256))), 2, max(2, np.log2(samples / 8))))
    starts = np.unique(np.linspace(0, max(0, samples - window), columns).astype(np.int64))
    taper = np.hanning(window + 2)[1:-1]
    power = np.zeros((len(starts), window // 2 + 1))
    for channel in range(signal.values.shape[1]):
        values = signal.values[:, channel]
        values = np.pad(values, (0, max(0, window - samples)), mode="edge")
        frames = np.stack([values[start:start + window] for start in starts]) - values.mean()
        power += np.abs(np.fft.rfft(frames * taper)) ** 2
    frequencies = np.geomspace(rate / window, rate / 2, bands)
    decibels = 10 * np.log10(np.maximum(power / max(power.max(), 1e-30), 10 ** (-_RANGE_DB / 10)))
    places = frequencies * window / rate
    low = np.minimum(places.astype(np.int64), window // 2 - 1)
    part = places - low
    picture = decibels[:, low] * (1 - part) + decibels[:, low + 1] * part
    return Spectrogram(picture.T.astype(np.float32), frequencies)


def write_overview(path: PathLike, panels: Sequence[Panel]) -> None:
    """A row for each signal: its waveform, and its spectrogram with logarithmic frequency in dB."""
    height = 2.3 * len(panels)
    with _figure(13, height) as figure:
        axes = figure.subplots(len(panels), 2, squeeze=False)
        # In inches; matplotlib's own layout draws everything twice.
        figure.subplots_adjust(0.8 / 13, 0.5 / height, 1, 1 - 0.3 / height, wspace=0.16, hspace=0.5)
        for (left, right), panel in zip(axes, panels, strict=True):
            _draw_waveform(left, panel)
            _draw_spectrogram(right, panel.signal)
        _save(path, figure)


def write_excerpts(path: PathLike, excerpts: Sequence[Array], titles: Sequence[str], rate_hz: float | None = None,
                   columns: int = 3) -> None:
    """A sheet of short signals [T, C], such as the nine that excite a unit most, in one scale."""
    rows = -(-len(excerpts) // columns)
    width, height = 3.6 * columns, 1.9 * rows
    with _figure(width, height) as figure:
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        figure.subplots_adjust(0.6 / width, 0.5 / height, 1 - 0.2 / width, 1 - 0.3 / height, wspace=0.1, hspace=0.6)
        for place in axes:
            place.set_axis_off()
        for place, values, title in zip(axes, excerpts, titles, strict=False):
            place.set_axis_on()
            place.plot(_times(len(values), rate_hz), values, linewidth=0.9)
            place.set_title(title, fontsize="small")
            place.set_xlabel(_time_label(rate_hz), fontsize="small")
            place.tick_params(labelsize="small")
            place.margins(x=0)
        _save(path, figure)


def write_ekg_paper(path: PathLike, panels: Sequence[Panel], start_seconds: float = 0.0) -> None:
    """Ten seconds of each lead of each signal on grid paper: 25 mm/s and, where the unit is known, 10 mm/mV.

    Raises:
        UserError: a signal of unknown sample rate.
    """
    leads = [_lead(f"{panel.title} {name}".strip(), panel.signal, channel, start_seconds)
             for panel in panels for channel, name in enumerate(_names(panel.signal))]
    width, height = _MM_PER_S * _PAPER_SECONDS, sum(lead.height for lead in leads)
    with _figure((width + 2 * _MARGIN_MM) / 25.4, (height + 2 * _MARGIN_MM) / 25.4, 25.4 * _PX_PER_MM) as figure:
        paper = figure.add_axes((0, 0, 1, 1))
        paper.set(xlim=(-_MARGIN_MM, width + _MARGIN_MM), ylim=(-height - _MARGIN_MM, _MARGIN_MM))
        paper.set_axis_off()
        for spacing, color, line in ((1, "#f7d4d4", 0.4), (5, "#eba5a5", 0.8)):
            paper.vlines(np.arange(0, width + 1, spacing), -height, 0, color=color, linewidth=line)
            paper.hlines(-np.arange(0, height + 1, spacing), 0, width, color=color, linewidth=line)
        top = 0
        for lead in leads:
            paper.plot(lead.times, top - lead.height / 2 + lead.values, color="black", linewidth=0.9)
            paper.text(1, top - 1, lead.text, fontsize=8, va="top",
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
            top -= lead.height
        _save(path, figure)


class _Lead(NamedTuple):
    """A line on the paper, in millimeters around its middle, and the height that it has."""

    text: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    height: int


def _lead(label: str, signal: Signal, channel: int, start_seconds: float) -> _Lead:
    if not signal.rate_hz:
        raise UserError("EKG paper has 25 mm a second: give --rate")
    first = min(round(start_seconds * signal.rate_hz), len(signal.values) - 1)
    values = signal.values[first:first + round(_PAPER_SECONDS * signal.rate_hz) + 1, channel].astype(np.float64)
    values -= (values.max() + values.min()) / 2
    millivolts = _MILLIVOLTS.get((signal.unit or "").lower())
    if millivolts is None:
        # The lead takes 20 mm.
        size = float(np.ptp(values)) / 20 or 1.0
        scale, text = 1 / size, f"10 mm = {10 * size:.3g} {signal.unit or ''}"
    else:
        scale, text = millivolts * _MM_PER_MV, "10 mm/mV"
    height = int(np.clip(np.ceil(np.ptp(values) * scale / 5) * 5 + 5, _LEAD_MM, _MAX_LEAD_MM))
    times = np.arange(len(values)) / signal.rate_hz * _MM_PER_S
    return _Lead(f"{label}   25 mm/s   {text}".strip(), times, values * scale, height)


def _names(signal: Signal) -> list[str]:
    """The names of the channels that are drawn."""
    channels = min(signal.values.shape[1], _MAX_CHANNELS)
    if signal.columns:
        return list(signal.columns[:channels])
    return [str(channel + 1) if channels > 1 else "" for channel in range(channels)]


def _times(samples: int, rate_hz: float | None) -> NDArray[np.float64]:
    return np.arange(samples) / (rate_hz or 1.0)


def _time_label(rate_hz: float | None) -> str:
    return "s" if rate_hz else "sample"


def _draw_waveform(axes: Any, panel: Panel) -> None:
    """Channels below each other; of long signals the lowest and the highest sample of each column of pixels."""
    signal, names = panel.signal, _names(panel.signal)
    shown = signal.values[:, :len(names)]
    step = float(np.ptp(shown, axis=0).max()) * 1.05 or 1.0
    for channel in range(len(names)):
        times, values = _outline(shown[:, channel])
        axes.plot(times / (signal.rate_hz or 1.0), values - channel * step, linewidth=0.8)
    if len(names) > 1:
        axes.set_yticks([float(shown[:, channel].mean()) - channel * step for channel in range(len(names))], names)
    else:
        axes.set_ylabel(" ".join(part for part in (names[0], f"({signal.unit})" if signal.unit else "") if part))
    axes.set_title(panel.title, fontsize="medium", loc="left")
    axes.set_xlabel(_time_label(signal.rate_hz))
    axes.margins(x=0)


def _outline(values: Array) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Places and values of the line that looks like all samples: two for each column of pixels of long signals."""
    block = len(values) // (2 * _COLUMNS)
    if block < 2:
        return np.arange(len(values), dtype=np.float64), values
    blocks = values[:len(values) // block * block].reshape(-1, block)
    places: NDArray[np.float64] = np.arange(2 * len(blocks)) * np.float64(block / 2)
    return places, np.stack([blocks.min(1), blocks.max(1)], 1).ravel()


def _draw_spectrogram(axes: Any, signal: Signal) -> None:
    from matplotlib import ticker

    found = spectrogram(signal)
    seconds = len(signal.values) / (signal.rate_hz or 1.0)
    # Equal steps of a picture are equal factors of the axis.
    axes.set_yscale("log")
    edges = np.geomspace(found.frequencies[0], found.frequencies[-1], len(found.frequencies) + 1)
    mesh = axes.pcolormesh(np.linspace(0, seconds, found.power_db.shape[1] + 1), edges, found.power_db, cmap="magma",
                           vmin=-_RANGE_DB, vmax=0, rasterized=True)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.figure.colorbar(mesh, ax=axes, label="dB", pad=0.01)
    axes.set_xlabel(_time_label(signal.rate_hz))
    axes.set_ylabel("Hz" if signal.rate_hz else "cycles a sample")


@contextlib.contextmanager
def _figure(width: float, height: float, dpi: float = _DPI) -> Iterator[Any]:
    """A figure in inches, drawn as matplotlib does by default, whatever the user's settings are."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context("default"):
        yield Figure(figsize=(width, height), dpi=dpi)


def _save(path: PathLike, figure: Any) -> None:
    # Equal plots are equal bytes: no version is written.
    write_atomically(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))
