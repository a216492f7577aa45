"""One network for many jobs: what is compiled serves the next one, jobs do not disturb each other, memory is level."""

import dataclasses
import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf import load_network, stylize
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.io import decode
from nst_tf.losses.statistics import STATISTICS
from nst_tf.optimize import pyramid, step as step_module
from nst_tf.recipes.stylize import network as network_module
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.steps import set_up
from nst_tf.vocabulary import UserError

from .conftest import run_stylize, save_picture

BASE = StylizeConfig(backbone="kmeans", weights="bundled", size=64, min_size=40, steps=6, precision="float32")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(name, height, width, seed) → path."""
    folder = tmp_path_factory.mktemp("pictures")

    def path(name: str, height: int, width: int, seed: int) -> str:
        return save_picture(folder / f"{name}.png", height, width, seed)

    return path


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry each time that TensorFlow traces a step: it runs the function behind it once for each trace."""
    traced: list[str] = []
    original = step_module._step

    @functools.wraps(original)
    def noted(*arguments: Any) -> Any:
        traced.append("step")
        return original(*arguments)

    monkeypatch.setattr(step_module, "_step", noted)
    return traced


def _config(pictures: Any, seed: int, style_px: tuple[int, int] = (80, 96), **others: Any) -> StylizeConfig:
    """A job of its own: another photo of the same size, and a style of any size."""
    own = {"content": pictures(f"photo{seed}", 72, 96, seed),
           "style": (pictures(f"style{seed}", *style_px, 100 + seed),)}
    return dataclasses.replace(BASE, **own | others)


def _pixels(config: StylizeConfig, network: Any = None) -> np.ndarray:
    *_, last = stylize(config, network=network)
    return last.picture()


# Shallow layers, which small pictures of any size teach all their filters.
LEARNED: dict[str, Any] = {"weights": "self", "style_layers": ("conv1", "conv2"), "content_layers": ("conv2",)}
# Of one size and on shallow layers, where neither deep layers nor several stages are what differs.
SHALLOW: dict[str, Any] = {"style_layers": ("conv1", "conv2"), "content_layers": ("conv2",)}
ONE_SIZE: dict[str, Any] = {"min_size": 64, "steps": 3}
VARIANTS: dict[str, dict[str, Any]] = {
    "bundled": {"min_size": 40, "steps": 6}, "learned": {**LEARNED, "min_size": 40, "steps": 6},
    "learned, pooled": {**LEARNED, "pooling": "average"},
    "learned, bfloat16": {**LEARNED, "precision": "bfloat16"},
    "pooled": {"pooling": "l2", "precision": "bfloat16"}, "two styles": {**SHALLOW, "style_blend": (0.3, 0.7)},
    "smoothed": {"backbone": "squeezenet", "weights": "random", "smoothing": "softmax:0.5",
                 "style_layers": ("fire9",), "content_layers": ("fire2",)},
    "pooled, float16": {"pooling": "average", "precision": "float16"},
    "copies": {**SHALLOW, "motif_size": 28}, "histogram": {**SHALLOW, "statistic": "histogram"},
    "wasserstein": {**SHALLOW, "statistic": "wasserstein"},
    "texture": {**SHALLOW, "content": "", "content_layers": ()}, "masks": SHALLOW,
    "gatys": {**SHALLOW, "normalization": "gatys"}, "ng": {**SHALLOW, "normalization": "ng"},
    "dream": {**SHALLOW, "dream": ("conv5:weak:4",)}, "jitter": {**SHALLOW, "jitter": 2},
    "fourier": {**SHALLOW, "canvas": "fourier"}, "lbfgs": {**SHALLOW, "optimizer": "lbfgs"},
    "gray": {**SHALLOW, "color": "luminance"}, "float16": {**SHALLOW, "precision": "float16"}}


def _mask(folder: Path, seed: int) -> str:
    """A region that stays the photo beside a white one, each time of another width."""
    labels = np.zeros((72, 96, 3), np.uint8)
    labels[:, 30 + 10 * seed:] = 255
    Image.fromarray(labels).save(folder / f"mask{seed}.png")
    return str(folder / f"mask{seed}.png")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_second_job_traces_nothing_and_makes_the_picture_that_it_makes_alone(
        name: str, pictures: Any, tmp_path: Path, traces: list[str]) -> None:
    settings = ONE_SIZE | VARIANTS[name]
    first, second = (_config(pictures, seed, px, **settings) for seed, px in ((1, (80, 96)), (2, (131, 90))))
    if name == "two styles":
        first, second = (dataclasses.replace(config, style=config.style * 2) for config in (first, second))
    if name == "masks":
        first, second = (dataclasses.replace(config, content_mask=_mask(tmp_path, seed), style_mask=("#ffffff",))
                         for seed, config in enumerate((first, second)))
    alone, network = _pixels(second), load_network(first)
    traces.clear()
    _pixels(first, network)
    assert traces
    traces.clear()
    np.testing.assert_array_equal(_pixels(second, network), alone)
    assert not traces


def test_one_trace_a_stage(pictures: Any, monkeypatch: pytest.MonkeyPatch, traces: list[str]) -> None:
    monkeypatch.setattr(pyramid, "split_steps", lambda steps, stages: [1, 1, steps - 2])
    config = _config(pictures, 1, min_size=32, **SHALLOW)
    assert len(resolve(config).stages) == 3
    network = load_network(config)
    _pixels(config, network)
    assert len(traces) == 3


def test_weights_of_terms_and_units_are_no_constants(pictures: Any, traces: list[str]) -> None:
    config = _config(pictures, 3, dream=("conv5:3+4",), **ONE_SIZE)
    network = load_network(config)
    _pixels(config, network)
    other = dataclasses.replace(config, style_weight=3.0, dream=("conv5:7@2",), style_blend=(2.0,), learning_rate=0.02,
                                content_layers=("conv4@0.5",), seed=7)
    alone = _pixels(other)
    traces.clear()
    np.testing.assert_array_equal(_pixels(other, network), alone)
    assert not traces


def test_two_jobs_in_turns_make_the_pictures_that_each_makes_alone(pictures: Any) -> None:
    jobs = [_config(pictures, seed, **ONE_SIZE, **LEARNED) for seed in (4, 5)]
    alone = [_pixels(job) for job in jobs]
    network = load_network(jobs[0])
    in_turns = [list(pair) for pair in zip(*(stylize(job, network=network) for job in jobs), strict=True)]
    for progress, wanted in zip(in_turns[-1], alone, strict=True):
        np.testing.assert_array_equal(progress.picture(), wanted)


def test_two_jobs_in_threads_trace_and_make_what_each_makes_alone(pictures: Any) -> None:
    jobs = [dataclasses.replace(_config(pictures, seed, **ONE_SIZE, **LEARNED), size=size)
            for seed, size in ((4, 64), (5, 70))]
    alone = [_pixels(job) for job in jobs]
    network, together = load_network(jobs[0]), threading.Barrier(2)

    def work(job: StylizeConfig) -> np.ndarray:
        together.wait(60)
        return _pixels(job, network)

    with ThreadPoolExecutor(2) as pool:
        for made, wanted in zip(pool.map(work, jobs), alone, strict=True):
            np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("others, named", [
    ({"backbone": "squeezenet", "weights": "random"}, "backbone, weights, padding"), ({"weights": "random"}, "weights"),
    ({"pooling": "max"}, "pooling"), ({"precision": "bfloat16"}, "precision"), ({"padding": "zero"}, "padding"),
    ({"pooling": "l2", "padding": "zero"}, "pooling, padding")])
def test_a_network_of_another_config_is_refused_by_name(others: dict[str, Any], named: str, pictures: Any) -> None:
    network = load_network(_config(pictures, 6))
    with pytest.raises(UserError, match=rf"network= was loaded for another config \({named} differ\)") as error:
        stylize(_config(pictures, 6, **others), network=network)
    assert "nst_tf.load_network(config)" in str(error.value)


def test_a_network_without_a_layer_is_refused_and_fewer_layers_are_enough(pictures: Any) -> None:
    network = load_network(_config(pictures, 6, style_layers=("conv1", "conv2"), content_layers=("conv3",)))
    with pytest.raises(UserError, match=r"\(content_layers, style_layers or dream: conv4 differ\): load one by"):
        stylize(_config(pictures, 6, style_layers=("conv1",), content_layers=("conv4",)), network=network)
    fewer = _config(pictures, 6, style_layers=("conv1",), content_layers=("conv2",), **ONE_SIZE)
    np.testing.assert_array_equal(_pixels(fewer, network), _pixels(fewer))


def test_learned_filters_and_random_weights_are_those_of_their_layers_and_seed(pictures: Any) -> None:
    learned = load_network(_config(pictures, 6, **LEARNED))
    with pytest.raises(UserError, match=r"dream: conv2 differ\)"):
        stylize(_config(pictures, 6, weights="self", style_layers=("conv1",), content_layers=("conv1",)),
                network=learned)
    random = load_network(_config(pictures, 6, weights="random"))
    with pytest.raises(UserError, match=r"another config \(seed differ\)"):
        stylize(dataclasses.replace(_config(pictures, 6, weights="random"), seed=1), network=random)
    with pytest.raises(ValueError, match="give setup= or network="):
        config = _config(pictures, 6)
        stylize(config, setup=set_up(config, resolve(config)), network=learned)


@pytest.mark.parametrize("name, kind", [
    ("network", "Network: give what nst_tf.load_network"), ("state", "State: give the state of a step"),
    ("plan", "Plan: give what resolve"), ("setup", "Setup: give what set_up")])
def test_arguments_of_other_classes_are_one_line(name: str, kind: str, pictures: Any) -> None:
    given: Any
    for given, shown in (("x", "'x'"), (np.zeros(3), r"\(ndarray of shape \(3,\)\)")):
        with pytest.raises(UserError, match=f"^{name}={shown} is no {kind}"):
            stylize(_config(pictures, 6), **{name: given})


def test_precision_auto_takes_that_of_the_network(pictures: Any) -> None:
    network = load_network(_config(pictures, 6))
    assert np.isfinite(_pixels(_config(pictures, 6, precision="auto", **ONE_SIZE), network)).all()


def test_filters_of_a_small_picture_are_fewer_and_need_no_other_network(pictures: Any) -> None:
    large = _config(pictures, 7, **ONE_SIZE, **LEARNED)
    small = dataclasses.replace(large, content=pictures("tiny", 19, 21, 7), style=(pictures("tinier", 18, 20, 8),),
                                size=20, min_size=20, steps=2)
    network = load_network(large)
    np.testing.assert_array_equal(_pixels(small, network), _pixels(small))
    np.testing.assert_array_equal(_pixels(large, network), _pixels(large))
    counts = [set_up(config, resolve(config), network=network).fitted.extractor.parameters for config in (small, large)]
    assert counts[0] < counts[1] == set_up(large, resolve(large)).fitted.extractor.parameters


def test_steps_that_were_not_used_for_longest_are_dropped(
        pictures: Any, monkeypatch: pytest.MonkeyPatch, traces: list[str]) -> None:
    monkeypatch.setattr(network_module, "KEPT_STEPS", 1)
    config = _config(pictures, 1, **SHALLOW)
    alone, network = _pixels(config), load_network(config)
    traces.clear()
    np.testing.assert_array_equal(_pixels(config, network), alone)
    assert len(traces) == 2
    _pixels(config, network)
    assert len(traces) == 4


@pytest.mark.slow
def test_the_second_picture_begins_at_once(pictures: Any) -> None:
    """The first one waits until a step is compiled, which takes more than ten times as long as what is left to do."""
    first, second = (dataclasses.replace(_config(pictures, seed), size=128, min_size=128) for seed in (8, 9))
    network = load_network(first)

    def seconds_to_begin(config: StylizeConfig) -> float:
        start = time.process_time()
        next(iter(stylize(config, network=network)))
        return time.process_time() - start

    compiled = seconds_to_begin(first)
    assert min(seconds_to_begin(second) for _ in range(3)) < compiled / 5


def test_the_picture_does_not_depend_on_how_often_rows_are_logged(pictures: Any, tmp_path: Path) -> None:
    config = _config(pictures, 1, **SHALLOW)
    config = dataclasses.replace(config, style=config.style * 3)
    made = {}
    for log_every in (1, 1000):
        run = RunConfig(logdir=str(tmp_path), run=f"every{log_every}", log_every=log_every)
        assert run_stylize(config, run) == 0
        made[log_every] = (tmp_path / run.run / "output.png").read_bytes()
        rows = (tmp_path / run.run / "metrics.jsonl").read_text().splitlines()
        assert len(rows) == (config.steps if log_every == 1 else 3)
    assert made[1] == made[1000]


def test_single_styles_are_measured_when_a_row_is_read_alone(pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(_config(pictures, 1), style=_config(pictures, 1).style * 3, min_size=64)
    calls: list[int] = []
    distance = STATISTICS["gram"].distance

    def counted(G: Any, A: Any) -> Any:
        calls.append(1)
        return distance(G, A)

    monkeypatch.setitem(STATISTICS, "gram", STATISTICS["gram"]._replace(distance=counted))
    *_, last = stylize(config)
    in_the_step = len(calls)
    assert in_the_step == 5, "one trace, five layers, however many styles and steps"
    assert len(last.details()) == 1 + 15 and len(calls) == in_the_step + 15


def test_files_are_decoded_once(pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, int | None]] = []
    original = decode.read

    def counted(path: Any, name: str, max_side_px: int | None) -> Any:
        read.append((str(path), max_side_px))
        return original(path, name, max_side_px)

    monkeypatch.setattr(decode, "read", counted)
    mask = _mask(tmp_path, 0)
    alone = _config(pictures, 11, (72, 96), content_mask=mask, **ONE_SIZE, **SHALLOW)
    config = dataclasses.replace(alone, style=alone.style * 2, style_mask=(mask,) * 2)
    assert run_stylize(config, RunConfig(logdir=str(tmp_path / "logs"), run="r", output=str(tmp_path / "o.png"))) == 0
    assert len(read) == len(set(read)), "no file is decoded twice at one size"
    assert sum(path == mask for path, _ in read) == 1
