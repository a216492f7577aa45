"""One network for many jobs: what is compiled serves the next one, jobs do not disturb each other, memory is level."""

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nst_tf import load_network, stylize
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.losses.statistics import STATISTICS
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


def _config(pictures: Any, seed: int, style_px: tuple[int, int] = (80, 96), **others: Any) -> StylizeConfig:
    """A job of its own: another photo of the same size, and a style of any size."""
    return dataclasses.replace(BASE, content=pictures(f"photo{seed}", 72, 96, seed),
                               style=(pictures(f"style{seed}", *style_px, 100 + seed),), **others)


def _pixels(config: StylizeConfig, network: Any = None) -> np.ndarray:
    *_, last = stylize(config, network=network)
    return last.picture()


# Shallow layers, which small pictures of any size teach all their filters.
LEARNED: dict[str, Any] = {"weights": "self", "style_layers": ("conv1", "conv2"), "content_layers": ("conv2",)}
VARIANTS: dict[str, dict[str, Any]] = {
    "bundled": {}, "learned": LEARNED, "learned, pooled": {**LEARNED, "pooling": "average"},
    "learned, bfloat16": {**LEARNED, "precision": "bfloat16"},
    "pooled": {"pooling": "l2", "precision": "bfloat16"}, "two styles": {"style_blend": (0.3, 0.7)},
    "smoothed": {"backbone": "squeezenet", "weights": "random", "smoothing": "softmax:0.5", "steps": 2, "min_size": 64,
                 "style_layers": ("fire9",), "content_layers": ("fire2",)},
    "dream": {"dream": ("conv5:weak:4",)}, "jitter": {"jitter": 2}, "fourier": {"canvas": "fourier"},
    "lbfgs": {"optimizer": "lbfgs"}, "gray": {"color": "luminance"}, "float16": {"precision": "float16"}}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_second_job_traces_nothing_and_makes_the_picture_that_it_makes_alone(name: str, pictures: Any) -> None:
    first, second = (_config(pictures, seed, px, **VARIANTS[name]) for seed, px in ((1, (80, 96)), (2, (131, 90))))
    if name == "two styles":
        first, second = (dataclasses.replace(config, style=config.style * 2) for config in (first, second))
    network = load_network(first)
    _pixels(first, network)
    traces = network.traces()
    assert traces > 0
    np.testing.assert_array_equal(_pixels(second, network), _pixels(second))
    assert network.traces() == traces


def test_weights_of_terms_and_units_are_no_constants(pictures: Any) -> None:
    config = _config(pictures, 3, dream=("conv5:3+4",))
    network = load_network(config)
    _pixels(config, network)
    traces = network.traces()
    other = dataclasses.replace(config, style_weight=3.0, dream=("conv5:7@2",), style_blend=(2.0,), learning_rate=0.02,
                                content_layers=("conv4@0.5",), seed=7)
    np.testing.assert_array_equal(_pixels(other, network), _pixels(other))
    assert network.traces() == traces


def test_two_jobs_in_turns_and_in_threads_make_the_pictures_that_each_makes_alone(pictures: Any) -> None:
    jobs = [_config(pictures, seed, **LEARNED) for seed in (4, 5)]
    alone = [_pixels(job) for job in jobs]
    network = load_network(jobs[0])
    in_turns = [list(pair) for pair in zip(*(stylize(job, network=network) for job in jobs), strict=True)]
    for progress, wanted in zip(in_turns[-1], alone, strict=True):
        np.testing.assert_array_equal(progress.picture(), wanted)
    made: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda index=index, job=job: made.update({index: _pixels(job, network)}))
               for index, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, wanted in enumerate(alone):
        np.testing.assert_array_equal(made[index], wanted)


@pytest.mark.parametrize("others, named", [
    ({"backbone": "squeezenet", "weights": "random"}, "backbone, weights"), ({"weights": "random"}, "weights"),
    ({"pooling": "max"}, "pooling"), ({"precision": "bfloat16"}, "precision"), ({"padding": "zero"}, "padding")])
def test_a_network_of_another_config_is_refused_by_name(others: dict[str, Any], named: str, pictures: Any) -> None:
    network = load_network(_config(pictures, 6))
    with pytest.raises(UserError, match=rf"network= was loaded for another config \({named}") as error:
        stylize(_config(pictures, 6, **others), network=network)
    assert "nst_tf.load_network(config)" in str(error.value)


def test_a_network_without_a_layer_is_refused_and_fewer_layers_are_enough(pictures: Any) -> None:
    network = load_network(_config(pictures, 6, style_layers=("conv1", "conv2"), content_layers=("conv3",)))
    with pytest.raises(UserError, match="network= was loaded without the layers conv4"):
        stylize(_config(pictures, 6, style_layers=("conv1",), content_layers=("conv4",)), network=network)
    fewer = _config(pictures, 6, style_layers=("conv1",), content_layers=("conv3",))
    assert np.isfinite(_pixels(fewer, network)).all()


def test_precision_auto_takes_that_of_the_network(pictures: Any) -> None:
    network = load_network(_config(pictures, 6))
    assert np.isfinite(_pixels(_config(pictures, 6, precision="auto"), network)).all()


def test_filters_of_a_small_picture_are_fewer_and_need_no_other_network(pictures: Any) -> None:
    large = _config(pictures, 7, **LEARNED)
    small = dataclasses.replace(large, content=pictures("tiny", 19, 21, 7), style=(pictures("tinier", 18, 20, 8),),
                                size=20, min_size=20, steps=2)
    network = load_network(large)
    np.testing.assert_array_equal(_pixels(small, network), _pixels(small))
    np.testing.assert_array_equal(_pixels(large, network), _pixels(large))


@pytest.mark.slow
def test_the_second_picture_begins_at_once(pictures: Any) -> None:
    first, second = (dataclasses.replace(_config(pictures, seed), size=128, min_size=128) for seed in (8, 9))
    network = load_network(first)
    _pixels(first, network)
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        next(iter(stylize(second, network=network)))
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 0.3


def test_the_picture_does_not_depend_on_how_often_rows_are_logged(pictures: Any, tmp_path: Path) -> None:
    config = dataclasses.replace(_config(pictures, 1), style=_config(pictures, 1).style * 3)
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
