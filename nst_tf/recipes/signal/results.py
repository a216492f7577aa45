"""What of a stylized signal is written and shown: the file, plots, pictures and sounds. No TensorFlow."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from nst_tf.io.series import Table
from nst_tf.io.signal_plots import Panel, check_plots, spectrogram, write_ekg_paper, write_overview
from nst_tf.io.signals import Signal
from nst_tf.recipes.signal.levels import Level, level_of, moments, restored
from nst_tf.recipes.signal.plan import SignalPlan
from nst_tf.runs.progress import Sound
from nst_tf.types import Array
from nst_tf.vocabulary import UserError

# Of a preview: rows of its waveform, bands and columns of its spectrogram.
WAVE_PX, BANDS, COLUMNS = 100, 160, 640
# Colors of a spectrogram from quiet to loud; between them they are mixed. Those of matplotlib's inferno.
LOUDNESS_COLORS = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]]) / 255
# Of signals that are drawn on the grid paper of an EKG.
EKG_UNITS = ("mv", "uv", "µv", "μv", "v")


def finisher(plan: SignalPlan) -> Callable[[Array], Signal]:
    """A function: values of the canvas [T, C] → the signal in the content's units, at its level."""
    return partial(_finished, plan, level_of(plan.content.values, plan.trend))


def _finished(plan: SignalPlan, level: Level, canvas: Array) -> Signal:
    values = restored(canvas, level)
    peak, allowed = (max(float(each.max()), -float(each.min())) for each in (values, plan.content.values))
    allowed = max(1.0, allowed)
    if plan.content.is_sound and peak > allowed:
        values *= np.float32(allowed / peak)
    return dataclasses.replace(plan.content, values=values, remarks=())


def lowered_db(plan: SignalPlan, signal: Signal) -> float:
    """By how many dB a sound is softer than the content, so that nothing of it is beyond full scale."""
    rms = [max(float(moments(each.values)[1].max()), 1e-30) for each in (plan.content, signal)]
    return 20 * float(np.log10(rms[0] / rms[1]))


def suffix_of(signal: Signal) -> str:
    """The format of a signal in the run folder, which needs no extra."""
    return ".wav" if signal.is_sound else ".csv" if isinstance(signal.layout, Table) else ".npy"


def snapshot_name(step: int, suffix: str) -> str:
    """The file of a kept signal in the run folder."""
    return f"signals/step_{step:06d}{suffix}"


def sound_of(signal: Signal) -> Sound:
    """A signal as TensorBoard plays it."""
    return Sound(np.clip(signal.values, -1, 1), round(signal.rate_hz or 0))


def preview(signal: Signal) -> Array:
    """The waveform of the first channel above the spectrogram of all, float32 [H, W, 3] in [0, 1]."""
    power = spectrogram(signal, COLUMNS, BANDS).power_db
    loud = 1 + power[::-1] / 80
    places = np.linspace(0, 1, len(LOUDNESS_COLORS))
    colors = np.stack([np.interp(loud, places, LOUDNESS_COLORS[:, channel]) for channel in range(3)], -1)
    colors = colors[:, np.arange(COLUMNS) * colors.shape[1] // COLUMNS]
    return np.concatenate([_waveform(signal.values[:, 0]), colors]).astype(np.float32)


def _waveform(values: Array) -> Array:
    """From the lowest to the highest sample of each column, dark on white."""
    edges = np.linspace(0, len(values) - 1, COLUMNS + 1).astype(int)
    pieces = [values[begin:end + 1] for begin, end in zip(edges[:-1], edges[1:], strict=True)]
    low, high = np.array([piece.min() for piece in pieces]), np.array([piece.max() for piece in pieces])
    span = max(float(high.max() - low.min()), 1e-30)
    top, bottom = ((high.max() - each) / span * (WAVE_PX - 1) for each in (high, low))
    rows = np.arange(WAVE_PX)[:, np.newaxis]
    is_ink = (rows >= np.floor(top)) & (rows <= np.ceil(bottom))
    return np.repeat(np.where(is_ink, 0.1, 1.0)[..., np.newaxis], 3, axis=-1)


def write_plots(folder: Path, plan: SignalPlan, signal: Signal, asked: str = "") -> list[str]:
    """Draws content, styles and result; returns the files. Nothing where matplotlib is not installed.

    Args:
        asked: a further file for the last of these plots.
    """
    try:
        check_plots("plots")
    except UserError:
        return []
    panels = [Panel("content", plan.content), *(Panel(f"style {k}", style) for k, style in enumerate(plan.styles)),
              Panel("result", signal)]
    is_ekg = (plan.content.unit or "").lower() in EKG_UNITS and plan.content.rate_hz is not None
    plots = {"plot.png": write_overview} | ({"paper.png": write_ekg_paper} if is_ekg else {})
    for name, write in plots.items():
        write(folder / name, panels)
    if asked:
        write(asked, panels)
    return [*(str(folder / name) for name in plots), *([asked] if asked else [])]
