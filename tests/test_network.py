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

from nst_tf import load_network, stylize
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.io import decode
from nst_tf.losses.statistics import STATISTICS
from nst_tf.optimize import pyramid
from nst_tf.recipes.stylize import network as network_module
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.steps import set_up
from nst_tf.vocabulary import UserError

from .conftest import run_stylize
from .network_jobs import LEARNED, ONE_SIZE, SHALLOW, job, mask_file, pixels

_alone = functools.cache(pixels)


def test_each_picture_is_decoded_once_and_measured_and_traced_once_a_stage(
        pictures: Any, monkeypatch: pytest.MonkeyPatch, traces: list[str]) -> None:
    decoded, measured = list[str](), list[tuple[int, ...]]()
    read, measure = decode.read, network_module.Fitted.__call__

    def counted_read(path: str, *rest: Any) -> Any:
        decoded.append(path)
        return read(path, *rest)

    def counted_measure(self: Any, image: Any) -> Any:
        measured.append(tuple(image.shape))
        return measure(self, image)

    monkeypatch.setattr(decode, "read", counted_read)
    monkeypatch.setattr(network_module.Fitted, "__call__", counted_measure)
    monkeypatch.setattr(pyramid, "split_steps", lambda steps, stages: [1, 1, steps - 2])
    config = job(pictures, 1, min_size=32, **SHALLOW)
    plan = resolve(config)
    assert len(plan.stages) == 3
    list(stylize(config, plan=plan))
    assert len(traces) == 3
    assert sorted(decoded) == sorted([config.content, *config.style])
    # The content and one style, of other proportions: nothing is measured twice.
    assert len(measured) == len(set(measured)) == 6


def test_weights_of_terms_and_units_are_no_constants(pictures: Any, traces: list[str]) -> None:
    config = job(pictures, 3, dream=("conv5:3+4",), **ONE_SIZE, style_layers=("conv1", "conv2"),
                 content_layers=("conv4",))
    network = load_network(config)
    pixels(config, network)
    other = dataclasses.replace(config, style_weight=3.0, dream=("conv5:7@2",), style_blend=(2.0,), learning_rate=0.02,
                                content_layers=("conv4@0.5",), seed=7)
    alone = pixels(other)
    traces.clear()
    np.testing.assert_array_equal(pixels(other, network), alone)
    assert not traces


def test_two_jobs_in_turns_make_the_pictures_that_each_makes_alone(pictures: Any) -> None:
    jobs = [job(pictures, seed, **ONE_SIZE, **LEARNED) for seed in (4, 5)]
    alone = [_alone(each) for each in jobs]
    network = load_network(jobs[0])
    in_turns = [list(pair) for pair in zip(*(stylize(each, network=network) for each in jobs), strict=True)]
    for progress, wanted in zip(in_turns[-1], alone, strict=True):
        np.testing.assert_array_equal(progress.picture(), wanted)


def test_two_jobs_in_threads_trace_and_make_what_each_makes_alone(pictures: Any) -> None:
    jobs = [dataclasses.replace(job(pictures, seed, **ONE_SIZE, **LEARNED), size=size)
            for seed, size in ((4, 64), (5, 70))]
    alone = [_alone(each) for each in jobs]
    network, together = load_network(jobs[0]), threading.Barrier(2)

    def work(config: StylizeConfig) -> np.ndarray:
        together.wait(60)
        return pixels(config, network)

    with ThreadPoolExecutor(2) as pool:
        for made, wanted in zip(pool.map(work, jobs), alone, strict=True):
            np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("others, named", [
    ({"backbone": "squeezenet", "weights": "random"}, "backbone, weights, padding"), ({"weights": "random"}, "weights"),
    ({"pooling": "max"}, "pooling"), ({"precision": "bfloat16"}, "precision"), ({"padding": "zero"}, "padding"),
    ({"pooling": "l2", "padding": "zero"}, "pooling, padding")])
def test_a_network_of_another_config_is_refused_by_name(others: dict[str, Any], named: str, pictures: Any) -> None:
    network = load_network(job(pictures, 6))
    with pytest.raises(UserError, match=rf"network= was loaded for another config \({named} differ\)") as error:
        stylize(job(pictures, 6, **others), network=network)
    assert "nst_tf.load_network(config)" in str(error.value)


def test_a_network_without_a_layer_is_refused_and_fewer_layers_are_enough(pictures: Any) -> None:
    network = load_network(job(pictures, 6, style_layers=("conv1", "conv2"), content_layers=("conv3",)))
    with pytest.raises(UserError, match=r"\(content_layers, style_layers or dream: conv4 differ\): load one by"):
        stylize(job(pictures, 6, style_layers=("conv1",), content_layers=("conv4",)), network=network)
    fewer = job(pictures, 6, style_layers=("conv1",), content_layers=("conv2",), **ONE_SIZE)
    np.testing.assert_array_equal(pixels(fewer, network), pixels(fewer))


def test_learned_filters_and_random_weights_are_those_of_their_layers_and_seed(pictures: Any) -> None:
    learned = load_network(job(pictures, 6, **LEARNED))
    with pytest.raises(UserError, match=r"dream: conv2 differ\)"):
        stylize(job(pictures, 6, weights="self", style_layers=("conv1",), content_layers=("conv1",)),
                network=learned)
    random = load_network(job(pictures, 6, weights="random"))
    with pytest.raises(UserError, match=r"another config \(seed differ\)"):
        stylize(dataclasses.replace(job(pictures, 6, weights="random"), seed=1), network=random)
    with pytest.raises(ValueError, match="give setup= or network="):
        config = job(pictures, 6)
        stylize(config, setup=set_up(config, resolve(config)), network=learned)


@pytest.mark.parametrize("name, kind", [
    ("network", "Network: give what nst_tf.load_network"), ("state", "State: give the state of a step"),
    ("plan", "Plan: give what resolve"), ("setup", "Setup: give what set_up")])
def test_arguments_of_other_classes_are_one_line(name: str, kind: str, pictures: Any) -> None:
    given: Any
    for given, shown in (("x", "'x'"), (np.zeros(3), r"\(ndarray of shape \(3,\)\)")):
        with pytest.raises(UserError, match=f"^{name}={shown} is no {kind}"):
            stylize(job(pictures, 6), **{name: given})


def test_precision_auto_takes_that_of_the_network(pictures: Any) -> None:
    network = load_network(job(pictures, 6))
    assert np.isfinite(pixels(job(pictures, 6, precision="auto", **ONE_SIZE), network)).all()


def test_filters_of_a_small_picture_are_fewer_and_need_no_other_network(pictures: Any) -> None:
    large = job(pictures, 7, **ONE_SIZE, **LEARNED)
    small = dataclasses.replace(large, content=pictures("tiny", 19, 21, 7), style=(pictures("tinier", 18, 20, 8),),
                                size=20, min_size=20, steps=2)
    network = load_network(large)
    np.testing.assert_array_equal(pixels(small, network), pixels(small))
    np.testing.assert_array_equal(pixels(large, network), pixels(large))
    counts = [set_up(config, resolve(config), network=network).fitted.extractor.parameters for config in (small, large)]
    assert counts[0] < counts[1] == set_up(large, resolve(large)).fitted.extractor.parameters


def test_steps_that_were_not_used_for_longest_are_dropped(
        pictures: Any, monkeypatch: pytest.MonkeyPatch, traces: list[str]) -> None:
    monkeypatch.setattr(network_module, "KEPT_STEPS", 1)
    config = job(pictures, 1, **SHALLOW)
    alone, network = pixels(config), load_network(config)
    traces.clear()
    np.testing.assert_array_equal(pixels(config, network), alone)
    assert len(traces) == 2
    pixels(config, network)
    assert len(traces) == 4


@pytest.mark.slow
def test_the_second_picture_begins_at_once(pictures: Any) -> None:
    """The first one waits until a step is compiled, which takes more than ten times as long as what is left to do."""
    first, second = (dataclasses.replace(job(pictures, seed), size=128, min_size=128) for seed in (8, 9))
    network = load_network(first)

    def seconds_to_begin(config: StylizeConfig) -> float:
        start = time.process_time()
        next(iter(stylize(config, network=network)))
        return time.process_time() - start

    compiled = seconds_to_begin(first)
    assert min(seconds_to_begin(second) for _ in range(3)) < compiled / 5


@pytest.mark.usefixtures("shared_networks")
def test_the_picture_does_not_depend_on_how_often_rows_are_logged(pictures: Any, tmp_path: Path) -> None:
    config = job(pictures, 1, **SHALLOW)
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
    config = dataclasses.replace(job(pictures, 1), style=job(pictures, 1).style * 3, min_size=64)
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
    mask = mask_file(tmp_path, 0)
    alone = job(pictures, 11, (72, 96), content_mask=mask, **ONE_SIZE, **SHALLOW)
    config = dataclasses.replace(alone, style=alone.style * 2, style_mask=(mask,) * 2)
    assert run_stylize(config, RunConfig(logdir=str(tmp_path / "logs"), run="r", output=str(tmp_path / "o.png"))) == 0
    assert len(read) == len(set(read)), "no file is decoded twice at one size"
    assert sum(path == mask for path, _ in read) == 1
