"""`--precision=auto`: decided once for a device, kept, said, and obeyed by a resume."""

import json
import os
from pathlib import Path

import pytest
import tensorflow as tf

from nst_tf import runtime
from nst_tf.backbones import precision
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.recipes.stylize.steps import set_up
from nst_tf.runs.run import plan_job, with_stored

from .conftest import run_stylize as run

Seconds = dict[str, float]


def _time(monkeypatch: pytest.MonkeyPatch, seconds: Seconds) -> list[Seconds]:
    """Replaces the timing by these seconds; the list grows by one for each timing asked for."""
    asked: list[Seconds] = []

    def time_blocks() -> Seconds:
        asked.append(seconds)
        return seconds

    monkeypatch.setattr(precision, "time_blocks", time_blocks)
    return asked


@pytest.mark.parametrize("gain, expected", [(1.29, "float32"), (1.31, "bfloat16"), (0.1, "float32")])
def test_bfloat16_must_gain_three_tenths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gain: float,
                                         expected: str) -> None:
    _time(monkeypatch, {"float32": gain, "bfloat16": 1.0})
    assert precision.fastest_precision(tmp_path / "a/b.json", "cpu") == expected


def test_a_device_is_timed_once_and_another_device_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "precision.json"
    asked = _time(monkeypatch, {"float32": 2.0, "bfloat16": 1.0})
    assert [precision.fastest_precision(cache, name) for name in ("one", "one", "two")] == ["bfloat16"] * 3
    assert len(asked) == 2 and len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 3}', '{"x": {"precision": "float8"}}', "\0"])
def test_a_damaged_cache_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    cache = tmp_path / "precision.json"
    cache.write_text(text)
    _time(monkeypatch, {"float32": 2.0, "bfloat16": 1.0})
    assert precision.fastest_precision(cache, "one") == "bfloat16"
    assert "one" in next(iter(json.loads(cache.read_text())))


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _time(monkeypatch, {"float32": 2.0, "bfloat16": 1.0})
    assert precision.fastest_precision(tmp_path / "file/precision.json", "one") == "bfloat16"


def test_both_blocks_are_timed() -> None:
    seconds = precision.time_blocks()
    assert set(seconds) == {"float32", "bfloat16"} and all(value > 0 for value in seconds.values())


def test_a_cpu_is_named_by_its_model_and_its_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "_CPU_INFO", info)
    assert precision.device().endswith(", 6 cores")
    info.write_text("processor : 0\nmodel name\t: Fast CPU\nstepping : 7\n\nflags : fpu\n")
    assert precision.device() == "Fast CPU 7, 6 cores"
    assert runtime.start_tensorflow() == f"TensorFlow {tf.__version__} on CPU (6 cores)"


def test_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a", "b"] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, grows: grown.append((gpu, grows)))
    monkeypatch.setattr(tf.config.experimental, "get_device_details",
                        lambda gpu: {"device_name": "Fast GPU"} if gpu == "a" else {})
    assert precision.device() == "Fast GPU, GPU"
    assert runtime.start_tensorflow().endswith(" on Fast GPU, GPU") and grown == [("a", True), ("b", True)]


def test_a_resume_keeps_the_precision_that_the_run_began_with(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photo: str, painting: str,
        capsys: pytest.CaptureFixture[str]) -> None:
    config = StylizeConfig(content=photo, style=(painting,), backbone="kmeans", weights="bundled",
                           size=48, min_size=48, steps=2)
    run_config = RunConfig(logdir=str(tmp_path), run="r")
    monkeypatch.setattr(precision, "fastest_precision", lambda *_: "bfloat16")
    assert run(config, run_config) == 0
    assert "the network computes in bfloat16" in capsys.readouterr().err
    stored = json.loads((tmp_path / "r/config.json").read_text())
    assert stored["settings"]["--precision"] == "bfloat16"
    assert "--precision=bfloat16" in (tmp_path / "r/flags.txt").read_text()
    monkeypatch.setattr(precision, "fastest_precision", lambda *_: "float32")
    job = with_stored(plan_job(STYLIZE, config, RunConfig(logdir=str(tmp_path), run="r", resume=True)))
    assert job.plan.variant.precision == "auto" and job.decided.variant.precision == "bfloat16"


def test_the_trunk_computes_in_what_was_asked_for(photo: str, painting: str) -> None:
    config = StylizeConfig(content=photo, style=(painting,), backbone="squeezenet", weights="random", size=48,
                           precision="bfloat16")
    extractor = set_up(config, resolve(config)).fitted.extractor
    assert {weight.dtype for weight in extractor.model.weights} == {"bfloat16"}
