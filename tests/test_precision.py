"""`--precision=auto`: decided once for a network, kept, said, and obeyed by a resume."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from nst_tf import runtime
from nst_tf.backbones import precision
from nst_tf.backbones.surgery import vary
from nst_tf.backbones.table import Variant
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.grammar import parse_padding
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.recipes.stylize.steps import set_up
from nst_tf.runs.run import plan_job, with_stored

from .conftest import build, run_stylize as run

Seconds = dict[str, float]
TIME_NETWORKS = precision.time_networks  # `own_cache` replaces it for all other tests
FASTER = {"float32": 2.0, "bfloat16": 1.0}


class Timing:
    """A stand-in for the timing: gives the same seconds each time, and counts how often it is asked."""

    def __init__(self, seconds: Seconds) -> None:
        self.seconds, self.asked = seconds, 0

    def __call__(self, *_: Any) -> Seconds:
        self.asked += 1
        return self.seconds


@pytest.mark.parametrize("gain, expected", [(1.14, "float32"), (1.16, "bfloat16"), (0.1, "float32")])
def test_bfloat16_must_gain_enough(tmp_path: Path, gain: float, expected: str) -> None:
    timing = Timing({"float32": gain, "bfloat16": 1.0})
    assert precision.fastest_precision(tmp_path / "a/b.json", "cpu", timing) == expected


def test_a_network_is_timed_once_and_another_one_anew(tmp_path: Path) -> None:
    cache, timing = tmp_path / "precision.json", Timing(FASTER)
    found = [precision.fastest_precision(cache, name, timing) for name in ("one", "one", "two")]
    assert found == ["bfloat16"] * 3 and timing.asked == 2 and len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 3}', '{"x": {"precision": "float8"}}', "\0",
                                  '{"Fast CPU, 2 cores, TensorFlow 2.21.0, oneDNN 1": {"precision": "float32"}}'])
def test_a_damaged_or_older_cache_has_no_answer(tmp_path: Path, text: str) -> None:
    cache = tmp_path / "precision.json"
    cache.write_text(text)
    assert precision.fastest_precision(cache, "one", Timing(FASTER)) == "bfloat16"
    assert "one" in [key[:3] for key in json.loads(cache.read_text())]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert precision.fastest_precision(tmp_path / "file/precision.json", "one", Timing(FASTER)) == "bfloat16"


def test_what_cannot_be_timed_is_float32(tmp_path: Path) -> None:
    def refuse() -> Seconds:
        raise tf.errors.NotFoundError(None, None, "no such kernel")

    assert precision.fastest_precision(tmp_path / "precision.json", "one", refuse) == "float32"


AUTO = Variant("auto")


def _energy(features: Any) -> Any:
    return sum(tf.reduce_sum(tf.square(F)) for F in features.values())


@pytest.mark.parametrize("seconds, expected", [(FASTER, "bfloat16"), ({"float32": 1.0, "bfloat16": 1.3}, "float32")])
def test_each_network_gets_the_precision_that_is_faster_for_it(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: Seconds, expected: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made, timing = list[Variant](), Timing(seconds)
    monkeypatch.setattr(precision, "time_networks", timing)

    def make(variant: Variant) -> Any:
        made.append(variant)
        return variant.precision

    decide = partial(precision.in_variant, make=make, loss=_energy)
    for layers in (("conv1", "conv3"), ("conv3",), ("conv2",)):
        assert decide(AUTO, backbone="kmeans", layers=layers) == (AUTO._replace(precision=expected), expected)
    # The deepest layer decides how deep a network is.
    assert timing.asked == 2
    decide(AUTO._replace(padding=parse_padding("reflect")), backbone="squeezenet", layers=("conv1",))
    decide(AUTO._replace(pooling="average"), backbone="squeezenet", layers=("conv1",))
    assert timing.asked == 4
    assert decide(Variant("float16"), backbone="kmeans", layers=("conv1",))[0] == Variant("float16")
    assert timing.asked == 4


def test_a_network_that_is_timed_is_built_once_in_each_precision(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(precision, "time_networks", TIME_NETWORKS)
    monkeypatch.setattr(precision, "SIDES_PX", (8,))
    built, made = build("kmeans", ("conv1",)), list[str]()

    def make(variant: Variant) -> Any:
        made.append(variant.precision)
        return vary(built, variant, [], 0)

    variant, extractor = precision.in_variant(AUTO, make, "kmeans", ("conv1",), _energy)
    assert sorted(made) == ["bfloat16", "float32"] and variant.precision in made
    assert {weight.dtype for weight in extractor.model.weights} == {variant.precision}
    (entry,) = json.loads((tmp_path / "nst_tf/precision.json").read_text()).values()
    assert entry["precision"] == variant.precision and entry["gain"] > 0


def test_a_cpu_is_named_by_its_model_and_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision, "threads_in_force", lambda: 6)
    monkeypatch.setattr(runtime, "threads_in_force", lambda: 1)
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "cpu_facts", lambda: runtime.cpu_facts(info))
    assert precision.device().endswith(", 6 threads")
    info.write_text("processor : 0\nmodel name\t: Fast CPU\nstepping : 7\n\nflags : fpu\n")
    assert precision.device() == "Fast CPU 7, 6 threads"
    assert runtime.start_tensorflow() == f"TensorFlow {tf.__version__} on CPU (1 thread)"


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
