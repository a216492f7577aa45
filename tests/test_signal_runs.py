"""Runs of `stylize_signal.py`: files in and out, stops and resumes, TensorBoard, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nst_tf.io.signals import Signal, read_signal, write_signal
from nst_tf.io.wav import Encoding
from nst_tf.recipes.signal import steps
from nst_tf.recipes.signal.plan import SignalConfig, SignalRunConfig, complete_signal, resolve_signal
from nst_tf.recipes.table import RECIPES
from nst_tf.runs.run import run
from nst_tf.runs.session import Stop
from nst_tf.tensors import Tensor
from nst_tf.vocabulary import UserError

RATE = 100


def _series(path: Path, seed: int, channels: int = 2, samples: int = 700) -> str:
    """Noise with a level of its own in each channel, as a CSV with a header."""
    values = np.random.default_rng(seed).normal(size=(samples, channels)).cumsum(0) * [10, 0.1][:channels] + 5
    rows = [",".join(["II", "pressure"][:channels]), *(",".join(f"{x:.6f}" for x in row) for row in values)]
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def _sound(path: Path, hz: float, rate: int = 8000, channels: int = 1) -> str:
    wave = 0.5 * np.sign(np.sin(2 * np.pi * hz * np.arange(2400) / rate)).astype(np.float32)
    write_signal(path, Signal(np.repeat(wave[:, np.newaxis], channels, 1), float(rate), layout=Encoding(16)))
    return str(path)


@pytest.fixture
def config(tmp_path: Path) -> SignalConfig:
    return SignalConfig(content=_series(tmp_path / "a.csv", 0), style=(_series(tmp_path / "b.csv", 1, samples=900),),
                        rate=RATE, steps=4, style_layers=("envelope1",), optimizer="adam")


@pytest.fixture
def run_config(tmp_path: Path) -> SignalRunConfig:
    return SignalRunConfig(output=str(tmp_path / "out.csv"), logdir=str(tmp_path / "logs"), run="once", log_every=1,
                           snapshots=(2,))


def _run(config: SignalConfig, run_config: SignalRunConfig, stop: Stop | None = None) -> int:
    return run(RECIPES["signal"], config, run_config, stop)


def test_a_series_keeps_its_header_length_and_levels_and_goes_on_bit_for_bit(
        config: SignalConfig, run_config: SignalRunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("nst_tf.recipes.signal.recipe.write_plots", lambda *_: [])
    assert _run(config, run_config) == 0
    content, result = (read_signal(path, rate_hz=RATE) for path in (config.content, run_config.output))
    assert result.columns == ("II", "pressure") and result.values.shape == content.values.shape
    for moment in (np.mean, np.std):
        np.testing.assert_allclose(moment(result.values, axis=0), moment(content.values, axis=0), rtol=5e-3)
    assert np.abs(result.values - content.values).max() > 0.1
    folder, stop, no_offset = tmp_path / "logs/once", Stop(), steps._no_offset
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and rows[-1]["style"] < rows[0]["style"]
    assert {"signals/step_000002.csv", "images/step_000002.png", "output.csv", "output.png"} <= {
        str(path.relative_to(folder)) for path in folder.rglob("*.*")}

    def stopping(done: int) -> Tensor:
        if done == 2:
            stop.request()
        return no_offset(done)

    with monkeypatch.context() as patch:
        patch.setattr(steps, "_no_offset", stopping)
        assert _run(config, replace(run_config, run="twice"), stop) == 130
    assert "stopped at step 3 of 4" in capsys.readouterr().err
    assert _run(config, replace(run_config, run="twice", output=str(tmp_path / "twice.csv"))) == 0
    assert "continues at step 3 of 4" in capsys.readouterr().err
    assert (tmp_path / "twice.csv").read_bytes() == (folder / "output.csv").read_bytes()
    with pytest.raises(UserError, match="is finished"):
        _run(config, run_config)
    assert _run(replace(config, steps=5), replace(run_config, resume=True)) == 0


def test_sound_is_played_by_tensorboard_and_written_like_the_content(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = SignalConfig(content=_sound(tmp_path / "a.wav", 440), style=(_sound(tmp_path / "b.wav", 700, 16000, 2),),
                          steps=2)
    run_config = SignalRunConfig(output=str(tmp_path / "out.wav"), logdir=str(tmp_path / "logs"), run="sound")
    assert _run(config, run_config) == 0
    printed = capsys.readouterr()
    for told in ("is resampled from 16000 Hz to the 8000 Hz", "the network reads the spectrum"):
        assert told in printed.err
    result = read_signal(run_config.output)
    assert result.rate_hz == 8000 and result.values.shape == (2400, 1) and result.layout == Encoding(16)
    board = EventAccumulator(str(tmp_path / "logs/sound"), size_guidance={"tensors": 0})
    board.Reload()
    assert {"audio/0_output", "audio/1_content", "audio/2_style_0", "image/0_output", "image/1_content", "loss/style",
            "style/0/envelope1"} <= set(board.Tags()["tensors"])


def test_what_was_left_out_is_filled_in(config: SignalConfig) -> None:
    plan = resolve_signal(config)
    whole = complete_signal(config, plan)
    assert (whole.domain, whole.content_layers, whole.style_layers) == (
        "waveform", ("envelope6@1.0", "envelope4@0.5"), ("envelope1@1.0",))
    assert resolve_signal(whole)[:6] == plan[:6]


def test_what_cannot_be_is_refused_in_one_line(config: SignalConfig, tmp_path: Path) -> None:
    short = _series(tmp_path / "short.csv", 2, samples=12)
    three = _series(tmp_path / "one.csv", 2, channels=1)
    for changes, text in (
            ({"content": ""}, "--content is missing"), ({"style": ()}, "--style is missing"),
            ({"style": (short,)}, "has 12 samples at the content's rate"),
            ({"rate": None, "domain": "spectrum"}, "give --rate=HZ"), ({"domain": "wave"}, "did you mean 'waveform'"),
            ({"backbone": "kmean"}, "did you mean 'kmeans'"), ({"style_layers": ("scale0",)}, "scale0"),
            ({"content_weight": 0.0, "style_weight": 0.0}, "both 0"), ({"columns": ("V1",)}, "V1"),
            ({"style_blend": (1.0, 2.0)}, "2 weights for 1 styles")):
        with pytest.raises(UserError, match=text) as error:
            resolve_signal(replace(config, **changes))
        assert "\n" not in str(error.value)
    assert resolve_signal(replace(config, style=(three,))).styles[0].values.shape[1] == 2
