"""Signals whose truth is known, and what stylize_signal.py makes of them.

    python -m benchmarks.signals timbre ekg    these parts; all by default

    timbre    the timbre of a saw, a bell and a sine moved onto another melody
    equalizer what a filter alone does to the same melodies
    ekg       the beats of another heart at the times of this one
    banks     both truths by each network, for the default
    seconds   ten seconds of sound of 22 kHz with the defaults
    example   writes the signals of docs/signals.md into docs/sounds
    memory    two steps of half a minute and of two minutes of stereo sound of 44.1 kHz

docs/signals.md has the tables.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.backbones.signal_facts import Hearing
from nst_tf.backbones.signal_networks import SignalNetwork
from nst_tf.grammar import LayerWeight
from nst_tf.io.signals import Signal, write_signal
from nst_tf.io.wav import Encoding
from nst_tf.losses.evaluation import evaluate, measure_targets
from nst_tf.losses.objective import Objective, TermWeights
from nst_tf.optimize.state import averaged_rows
from nst_tf.recipes.signal.levels import standardized
from nst_tf.recipes.signal.plan import SignalConfig, resolve_signal
from nst_tf.recipes.signal.results import finisher
from nst_tf.recipes.signal.steps import stylize_signal
from nst_tf.runs.metrics import peak_memory_mb
from nst_tf.strips import filled
from nst_tf.types import Array

SOUND_HZ, EKG_HZ = 22050, 250
# Notes of a scale of five tones, as numbers of MIDI.
SCALE = (57, 60, 62, 64, 67, 69, 72, 74)
# (multiple of the fundamental, amplitude). The bell's are those of a free bar.
TIMBRES = {"sine": ((1.0, 1.0),), "saw": tuple((float(k), 1 / k) for k in range(1, 17)),
           "bell": ((1.0, 1.0), (2.76, 0.8), (5.4, 0.6), (8.93, 0.4))}
PAIRS = (("sine", "saw"), ("saw", "bell"), ("saw", "sine"))
# (seconds from the R peak, mV, width in seconds) of P, Q, R, S and T.
HEARTS = {"healthy": ((-0.17, 0.12, 0.025), (-0.035, -0.10, 0.010), (0.0, 1.0, 0.011), (0.035, -0.20, 0.010),
                      (0.22, 0.28, 0.045)),
          "other": ((-0.20, 0.22, 0.030), (-0.05, -0.05, 0.012), (0.0, 0.9, 0.025), (0.07, -0.45, 0.030),
                    (0.26, -0.35, 0.050))}
WINDOW = 4096  # of the judge, not of the network
STRONG_DB, FLOOR = 20, 1e-6
# Banks that nothing was optimized by: other windows, other filters.
JUDGES = tuple(Hearing("random", window, 1, 77) for window in (512, 1024, 2048))


class Note(NamedTuple):
    """When a note begins, how long it lasts, both in seconds, and its fundamental."""

    start: float
    seconds: float
    hz: float


def melody(seed: int, seconds: float) -> list[Note]:
    """The notes of the scale in one random order after another, of 0.2 or 0.4 s."""
    rng, notes, start, left = np.random.default_rng(seed), list[Note](), 0.0, list[int]()
    while start < seconds - 1e-6:
        left = left or list(rng.permutation(SCALE))
        length = min(float(rng.choice([0.2, 0.2, 0.4])), seconds - start)
        notes.append(Note(start, length, 440 * 2 ** ((int(left.pop()) - 69) / 12)))
        start += length
    return notes


def sound(notes: Sequence[Note], timbre: str, rate: int = SOUND_HZ) -> Array:
    """The notes in a timbre, [T, 1]. A bell fades, the others last."""
    x, rng = np.zeros(round((notes[-1].start + notes[-1].seconds) * rate)), np.random.default_rng(1)
    for note in notes:
        begin = round(note.start * rate)
        t = np.arange(min(round(note.seconds * rate), len(x) - begin)) / rate
        strength = np.minimum(1, t / 0.01) * np.clip((note.seconds - t) / 0.02, 0, 1)
        strength = strength * np.exp(-5 * t) if timbre == "bell" else strength
        for multiple, amplitude in TIMBRES[timbre]:
            if multiple * note.hz < 0.45 * rate:
                x[begin:begin + len(t)] += amplitude * strength * np.sin(
                    2 * np.pi * multiple * note.hz * t + rng.uniform(0, 2 * np.pi))
    return (0.13 * x / x.std()).astype(np.float32)[:, np.newaxis]


def beat_times(seed: int, seconds: float, interval: float, spread: float) -> Array:
    """R peaks at intervals that vary."""
    rng, times = np.random.default_rng(seed), [0.5]
    while times[-1] + interval < seconds - 0.6:
        times.append(times[-1] + interval + spread * rng.normal())
    return np.array(times)


def ekg(times: Array, heart: str, seconds: float, rate: int = EKG_HZ) -> Array:
    """A sum of Gaussians for each beat, in mV, [T, 1]."""
    t, x = np.arange(round(seconds * rate)) / rate, 0.0
    for beat in times:
        for after, millivolts, width in HEARTS[heart]:
            x = x + millivolts * np.exp(-0.5 * ((t - beat - after) / width) ** 2)
    return np.asarray(x, np.float32)[:, np.newaxis]


def stylized(content: Array, style: Array, rate: int, **settings: Any) -> Array:
    """What the recipe makes of two signals [T, C], with its defaults but for `settings`."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{name}.wav")) for name in ("content", "style")]
        for path, values in zip(paths, (content, style), strict=True):
            write_signal(path, Signal(values, float(rate), layout=Encoding(32, is_float=True)))
        config = SignalConfig(content=paths[0], style=(paths[1],), **settings)
        plan = resolve_signal(config)
        for progress in stylize_signal(config, plan):
            last = progress
        return finisher(plan)(filled(averaged_rows(last.state))).values


def spectra(x: Array, hop: int = 512) -> Array:
    """Magnitudes over time, [frames, bins]."""
    padded = np.pad(x[:, 0], WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::hop]
    return np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1))


def fundamentals(x: Array) -> Array:
    """The lowest peak of each frame within `STRONG_DB` of the highest, in Hz; 0 where there is none."""
    found = []
    for row in 20 * np.log10(spectra(x)[:, :4000 * WINDOW // SOUND_HZ] + 1e-9):
        is_peak = (row[1:-1] > row[:-2]) & (row[1:-1] >= row[2:]) & (row[1:-1] > row.max() - STRONG_DB)
        peaks = np.flatnonzero(is_peak) + 1
        if not peaks.size:
            found.append(0.0)
            continue
        a, b, c = row[peaks[0] - 1:peaks[0] + 2]
        found.append((peaks[0] + 0.5 * (a - c) / (a - 2 * b + c)) * SOUND_HZ / WINDOW)
    return np.array(found)


def kept_pitch(x: Array, notes: Sequence[Note]) -> float:
    """The share of frames, all of whose middle half lies in one note, with its fundamental within 20 cents."""
    found = fundamentals(x)
    times, quarter = np.arange(len(found)) * 512 / SOUND_HZ, 0.25 * WINDOW / SOUND_HZ
    cents = [1200 * np.log2(max(hz, 1.0) / note.hz) for note in notes
             for hz in found[(times >= note.start + quarter) & (times <= note.start + note.seconds - quarter)]]
    return float(np.mean(np.abs(cents) < 20))


def envelope_db(x: Array) -> Array:
    """The mean power in thirds of octaves from 125 Hz to 10 kHz, relative to the whole, in dB above -60."""
    power = (spectra(x) ** 2).mean(0)
    hz, middle = np.arange(len(power)) * SOUND_HZ / WINDOW, 1000 * 2 ** (np.arange(-9, 11) / 3)
    bands = [power[(hz >= m * 2 ** (-1 / 6)) & (hz < m * 2 ** (1 / 6))].sum() for m in middle]
    return 10 * np.log10(np.array(bands) / power.sum() + FLOOR)


def style_distance(judge: Hearing, x: Array, style: Array) -> float:
    """The style loss of a bank at each of two scales, their mean."""
    objective = Objective((), tuple(LayerWeight(f"scale{k}", 1.0) for k in (1, 2)), TermWeights(0.0, 1.0, 0.0),
                          "relative", "gram")
    network = SignalNetwork(judge, objective.layers())
    values = network.fit([])
    a, b = (standardized(each)[np.newaxis] for each in (x, style))

    def extract(signal: Any) -> Any:
        return network.native(signal, values)

    targets = measure_targets(objective, extract, None, [b], [1.0], size=a.shape[1:-1]).targets
    return float(evaluate(objective, targets, extract, a)[0]["loss/style"][0])


class Timbre(NamedTuple):
    """How a result stands to the truths of timbre.

    The share of frames that keep the fundamental; the distance of its spectral envelope to the style's in dB, and that
    of the content; the style distance in banks that nothing was optimized by, as a share of the content's, the worst.
    """

    kept_pitch: float
    envelope_db: float
    content_envelope_db: float
    style_share: float


def judge_timbre(result: Array, content: Array, style: Array, notes: Sequence[Note]) -> Timbre:
    """The truths of a melody in another timbre."""
    envelopes = [np.sqrt(np.mean((envelope_db(x) - envelope_db(style)) ** 2)) for x in (result, content)]
    share = max(style_distance(judge, result, style) / style_distance(judge, content, style) for judge in JUDGES)
    return Timbre(kept_pitch(result, notes), float(envelopes[0]), float(envelopes[1]), share)


def melodies(pair: tuple[str, str], seconds: float) -> tuple[Array, Array, list[Note]]:
    """A melody in the first timbre, another, twice as long, in the second, and the notes of the first."""
    notes = melody(0, seconds)
    return sound(notes, pair[0]), sound(melody(5, 2 * seconds), pair[1]), notes


def timbre(pair: tuple[str, str], seconds: float = 4.0, **settings: Any) -> Timbre:
    """The truths of the recipe's result for a pair of timbres."""
    content, style, notes = melodies(pair, seconds)
    return judge_timbre(stylized(content, style, SOUND_HZ, **settings), content, style, notes)


def equalized(content: Array, style: Array) -> Array:
    """The content by the one filter that gives it the style's mean power at each frequency."""
    power = [(spectra(x) ** 2).mean(0) for x in (style, content)]
    gain = np.sqrt(power[0] / np.maximum(power[1], 1e-9 * power[1].max()))
    X = np.fft.rfft(content[:, 0])
    hz = [np.linspace(0, SOUND_HZ / 2, len(each)) for each in (X, gain)]
    filtered = np.fft.irfft(X * np.interp(hz[0], hz[1], gain), len(content))
    return np.asarray(filtered, np.float32)[:, np.newaxis]


def find_beats(x: Array, rate: int = EKG_HZ) -> Array:
    """R peaks: the highest samples, at least 0.3 s apart, above half of what almost none reaches; in seconds."""
    x = x[:, 0] - np.median(x)
    is_peak = (x[1:-1] > x[:-2]) & (x[1:-1] >= x[2:]) & (x[1:-1] > 0.5 * np.percentile(x, 99.5))
    peaks, kept = np.flatnonzero(is_peak) + 1, list[int]()
    for peak in peaks[np.argsort(-x[peaks], kind="stable")]:
        if all(abs(peak - other) > 0.3 * rate for other in kept):
            kept.append(int(peak))
    return np.asarray(np.sort(kept) / rate, np.float32)


def mean_beat(x: Array, times: Array, rate: int = EKG_HZ) -> Array:
    """The mean from 0.3 s before to 0.45 s after the beats."""
    first = [round((beat - 0.3) * rate) for beat in times]
    length = round(0.75 * rate)
    return np.mean([x[k:k + length, 0] for k in first if 0 <= k <= len(x) - length], axis=0)


class Beats(NamedTuple):
    """The truths of an EKG: beats found and asked for, the largest error in ms, and of the mean beat its correlation
    with the style's, and that of the content's."""

    found: int
    asked: int
    largest_error_ms: float
    correlation: float
    content_correlation: float


def heartbeats(seconds: float = 20.0, rate: int = EKG_HZ, **settings: Any) -> Beats:
    """The truths of the recipe's result: the other heart's beats at the times of the healthy one's."""
    times = beat_times(0, seconds, 0.9, 0.06), beat_times(1, seconds, 0.72, 0.03)
    content, style = (ekg(each, heart, seconds, rate) for each, heart in zip(times, HEARTS, strict=True))
    result = stylized(content, style, rate, domain="waveform", **settings)
    found = find_beats(result, rate)
    errors = [np.abs(found - beat).min() for beat in times[0]]
    of_style = mean_beat(style, times[1], rate)
    correlations = [float(np.corrcoef(mean_beat(x, times[0], rate), of_style)[0, 1]) for x in (result, content)]
    return Beats(len(found), len(times[0]), 1000 * float(max(errors)), *correlations)


def _timbre_row(name: str, found: Timbre) -> str:
    return (f"| {name} | {found.kept_pitch:.1%} | {found.content_envelope_db:.1f} → {found.envelope_db:.1f} dB | "
            f"{found.style_share:.2f} |")


TIMBRE_HEAD = "| melody → timbre | fundamental kept | spectral envelope | style left |\n| --- | --- | --- | --- |"
BEATS_HEAD = "| | beats | largest error | correlation of the mean beat |\n| --- | --- | --- | --- |"


def _beats_row(name: str, found: Beats) -> str:
    return (f"| {name} | {found.found} of {found.asked} | {found.largest_error_ms:.0f} ms | "
            f"{found.content_correlation:.2f} → {found.correlation:.3f} |")


def _timbres() -> Iterator[str]:
    yield TIMBRE_HEAD
    for pair in PAIRS:
        yield _timbre_row(" → ".join(pair), timbre(pair))


def _equalizer() -> Iterator[str]:
    yield TIMBRE_HEAD
    for pair in PAIRS:
        content, style, notes = melodies(pair, 4.0)
        yield _timbre_row(" → ".join(pair), judge_timbre(equalized(content, style), content, style, notes))


def _ekg() -> Iterator[str]:
    yield BEATS_HEAD
    for rate in (250, 500):
        yield _beats_row(f"{rate} Hz", heartbeats(rate=rate))


def _banks() -> Iterator[str]:
    yield TIMBRE_HEAD
    for backbone, domain, layers in (("random", "spectrum", ()), ("random", "spectrum", ("scale1",)),
                                     ("kmeans", "spectrum", ("conv1", "conv2")), ("random", "waveform", ())):
        name = f"{backbone}, {domain}{', ' * bool(layers)}{', '.join(layers)}"
        yield _timbre_row(name, timbre(("saw", "bell"), backbone=backbone, domain=domain, style_layers=layers))
    yield BEATS_HEAD
    for backbone in ("random", "kmeans"):
        yield _beats_row(f"{backbone}, waveform", heartbeats(backbone=backbone))


def _seconds() -> Iterator[str]:
    content, style, _ = melodies(("sine", "saw"), 10.0)
    start = time.monotonic()
    stylized(content, style, SOUND_HZ)
    yield f"ten seconds of {SOUND_HZ} Hz: {time.monotonic() - start:.0f} s"


def _example() -> Iterator[str]:
    """A melody and other notes of a bell, two hearts."""
    folder = Path(__file__).resolve().parents[1] / "docs/sounds"
    folder.mkdir(exist_ok=True)
    for name, notes, timbre in (("melody", melody(0, 4.0), "saw"), ("bells", melody(5, 8.0), "bell")):
        write_signal(folder / f"{name}.wav", Signal(sound(notes, timbre, 16_000), 16_000.0, layout=Encoding(16)))
    for name, times in (("healthy", beat_times(0, 20.0, 0.9, 0.06)), ("other", beat_times(1, 20.0, 0.72, 0.03))):
        rows = (f"{k / EKG_HZ:.3f},{value:.4f}" for k, value in enumerate(ekg(times, name, 20.0)[:, 0]))
        (folder / f"{name}.csv").write_text("\n".join(["time (s),II (mV)", *rows]) + "\n")
    yield f"written: {folder}"


def _memory(lengths: tuple[int, int] = (30, 120)) -> Iterator[str]:
    """Bytes for each sample and channel beyond what half a minute of the same sound needs."""
    rng, rate, peaks, counts = np.random.default_rng(0), 44_100, list[float](), list[int]()
    style = rng.random((2 * rate, 2), np.float32)
    for seconds in lengths:
        content, start = rng.random((seconds * rate, 2), np.float32), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder, f"{name}.wav")) for name in ("content", "style")]
            for path, values in zip(paths, (content, style), strict=True):
                write_signal(path, Signal(values, float(rate), layout=Encoding(16)))
            counts.append(content.size)
            del content
            config = SignalConfig(content=paths[0], style=(paths[1],), steps=2)
            plan = resolve_signal(config)
            for progress in stylize_signal(config, plan):
                last = progress
            write_signal(paths[0], finisher(plan)(filled(averaged_rows(last.state))), like=plan.content)
        peaks.append(1e6 * (peak_memory_mb() or 0))
        yield f"{seconds} s: {peaks[-1] / 1e9:.2f} GB in {time.monotonic() - start:.0f} s"
    yield f"{(peaks[1] - peaks[0]) / (counts[1] - counts[0]):.0f} bytes for each sample and channel"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "timbre": _timbres, "equalizer": _equalizer, "ekg": _ekg, "banks": _banks, "seconds": _seconds,
    "example": _example, "memory": _memory}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    for part in parser.parse_args().parts or PARTS:
        for line in PARTS[part]():
            print(line, flush=True)
