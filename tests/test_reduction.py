"""Networks with fewer channels: the fold by hand, what is exact, how channels are chosen, and runs with --reduce."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from nst_tf import load_network, stylize
from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.reduction import (
    METHODS, Moments, choose_by_qr, choose_channels, choose_distinct, express_by_least_squares, express_by_survivor,
    fold, folded_values, measure_moments, pivot_order, thinned,
)
from nst_tf.backbones.table import BACKBONES
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.grammar import Reduction, parse_reduction
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.recipes.stylize.plan import decided_before, resolve
from nst_tf.vocabulary import ReductionName, UserError, names

from .conftest import build, make_picture, run_stylize, stored_state
from .network_jobs import ONE_SIZE, SHALLOW, job, pixels

PICTURES = [tf.constant(make_picture(48, 60, seed)[None]) for seed in (0, 1)]
HALF = Reduction("qr", 0.5)


def _covariance(channels: int, rank: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cov(rng.normal(size=(rank, channels)).T @ rng.normal(size=(rank, 500)) + 0.0)


def test_the_names_are_those_of_the_methods() -> None:
    assert names(ReductionName) == ("none", *METHODS)


def test_pivots_are_those_of_a_qr_of_the_cholesky_factor() -> None:
    S = _covariance(40, 60)
    *_, pivots = scipy.linalg.qr(scipy.linalg.cholesky(S), pivoting=True)
    assert pivot_order(S, 40) == pivots.tolist()


def test_pivots_of_a_covariance_without_full_rank_or_without_any_are_distinct() -> None:
    for S in (_covariance(40, 7), np.zeros((40, 40))):
        assert sorted(pivot_order(S, 40)) == list(range(40))


@pytest.mark.parametrize("channels, share, kept", [
    (64, 0.5, 32), (64, 0.01, 16), (64, 1.0, 64), (96, 0.5, 48), (100, 0.99, 96), (10, 0.5, 10), (128, 0.3, 32)])
def test_counts_are_multiples_of_sixteen(channels: int, share: float, kept: int) -> None:
    assert len(choose_by_qr(_covariance(channels, 200), share)) == kept


def test_the_fold_by_hand() -> None:
    """Channel 1 is 2 x_0 + 3 around its mean. What the cells read of it goes to channel 0 and to the bias."""
    kernel = np.arange(1.0, 5.0).reshape(1, 2, 2, 1)  # cells (1, 2) and (3, 4) of two channels
    moments = Moments(np.array([1.0, 5.0]), np.array([[1.0, 2.0], [2.0, 4.0]]))
    A = express_by_survivor(moments.covariance, [0], 15)
    np.testing.assert_allclose(A, [[1.0], [2.0]])
    folded, bias = fold(kernel, np.array([0.5]), moments, [0], A)
    np.testing.assert_allclose(folded.ravel(), [1 + 2 * 2, 3 + 4 * 2])
    np.testing.assert_allclose(bias, [0.5 + 3 * 2 + 3 * 4])


def _vectors(*degrees: float) -> np.ndarray:
    """The covariance of units whose vectors lie in a plane at these angles; NaN is a constant unit."""
    angles = np.radians(degrees)
    vectors = np.nan_to_num(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    return vectors @ vectors.T


@pytest.mark.parametrize("degrees, kept", [
    ((0, 14, 90), [0, 2]),            # alike: the first one stays
    ((0, 16, 90), [0, 1, 2]),
    ((0, 164, 90), [0, 1, 2]),
    ((0, 166, 90), [2]),              # opposite: both go
    ((0, 166, 90, 180), [2]),         # the fourth is like the second
    ((math.nan, 0, 90), [1, 2]),
    ((math.nan, math.nan), [0])])     # a layer keeps one
def test_distinct_units_by_hand(degrees: tuple[float, ...], kept: list[int]) -> None:
    assert choose_distinct(_vectors(*degrees), 15) == kept


def test_a_removed_unit_is_told_by_the_one_that_it_resembles() -> None:
    S = _vectors(0, 10, 90, 180, math.nan) * np.outer([1, 3, 1, 1, 1], [1, 3, 1, 1, 1])
    A = express_by_survivor(S, [0, 2], 15)
    np.testing.assert_allclose(A[1], [3 * math.cos(math.radians(10)), 0])
    np.testing.assert_array_equal(A[3:], 0)
    np.testing.assert_allclose(express_by_least_squares(S, [0, 2], 0)[1],
                               3 * np.array([math.cos(math.radians(10)), math.sin(math.radians(10))]), rtol=1e-3)


def _chain(dependent: bool, scale: float = 1.0) -> Extractor:
    """Two convolutions, a pool of averages between them. `dependent`: half of the first one's maps are half others."""
    rng = np.random.default_rng(3)
    image = keras.Input((None, None, 3))
    first = keras.layers.Conv2D(32, 3, activation="relu", name="first")
    second = keras.layers.Conv2D(8, 3, activation="relu", name="second")
    x = second(keras.layers.AveragePooling2D(2)(first(image)))
    kernel = rng.normal(size=(3, 3, 3, 32))
    if dependent:
        kernel[..., 16:] = scale * kernel[..., :16]
    first.set_weights([kernel, np.zeros(32)])
    return Extractor(keras.Model(image, {"second": x}), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("reduction", [HALF, Reduction("distinctiveness", 1.0)])
def test_what_is_a_combination_of_others_is_removed_without_loss(reduction: Reduction) -> None:
    chain = _chain(dependent=True, scale=0.5)
    moments = measure_moments(chain, (), PICTURES, ["second"])
    kept = choose_channels(moments, reduction)
    # A unit that no pixel wakes goes as well.
    assert list(kept) == ["first"] and 8 < len(kept["first"]) <= 16 == len(choose_channels(moments, HALF)["first"])
    fewer = thinned(chain, kept)
    values = [tf.constant(value, tf.float32) for value in folded_values(chain, (), moments, kept, reduction)]
    other = make_picture(40, 44, 7)[None]
    expected = chain(other)["second"]
    np.testing.assert_allclose(fewer(other, values)["second"], expected, rtol=1e-3, atol=1e-3 * np.max(expected))


def test_moments_are_those_of_all_positions_of_all_pictures() -> None:
    chain = _chain(dependent=False)
    found = measure_moments(chain, (), [PICTURES[0], PICTURES[0][:, :, ::-1]], ["second"])["first"]
    pooled = keras.Model(chain.model.inputs, chain.model.layers[-1].input)
    rows = np.concatenate([pooled(picture).numpy().reshape(-1, 32)
                           for picture in (PICTURES[0], PICTURES[0][:, :, ::-1])])
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.covariance, np.cov(rows.T, bias=True), rtol=1e-3, atol=1e-6)


def test_least_squares_lose_less_than_silence() -> None:
    """On kmeans, whose layers pad: half the channels tell nearly all; without the fold much is lost."""
    chain = build("kmeans", ("conv2", "conv3"), "bundled")
    moments = measure_moments(chain, (), PICTURES, ["conv3"])
    kept = choose_channels(moments, HALF)
    assert {layer: len(channels) for layer, channels in kept.items()} == {"conv1": 32, "conv2": 48}
    values = [tf.constant(value, tf.float32) for value in folded_values(chain, (), moments, kept, HALF)]
    picture = make_picture(52, 60, 5)[None]
    expected = chain(picture)["conv3"]

    def error(values: list[Any]) -> float:
        return float(tf.norm(thinned(chain, kept)(picture, values)["conv3"] - expected) / tf.norm(expected))

    cut = [value for name, before in (("conv1", None), ("conv2", "conv1"), ("conv3", "conv2"))
           for value in _sliced(chain, name, kept, before)]
    assert error(values) < 0.35 < 0.5 < error(cut)


def _sliced(chain: Extractor, name: str, kept: Any, before: str | None) -> list[np.ndarray]:
    kernel, bias = chain.model.get_layer(name).get_weights()
    channels = list(kept.get(name, range(len(bias))))
    read = list(kept[before]) if before else slice(None)
    return [kernel[:, :, read][..., channels], bias[channels]]


def _run(config: StylizeConfig, logs: Path, name: str, **others: Any) -> bytes:
    assert run_stylize(config, RunConfig(logdir=str(logs), run=name, checkpoint_every=0.0, **others)) == 0
    return (logs / name / "output.png").read_bytes()


def test_a_run_tells_and_keeps_what_it_kept(pictures: Any, tmp_path: Path, shared_networks: None,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    config = job(pictures, 1, reduce="qr:0.5", dream=("conv3:3",), **ONE_SIZE, **SHALLOW)
    _run(config, tmp_path, "run")
    assert "--reduce=qr:0.5 keeps 80 of 160 channels for the first 2 of 3 steps" in capsys.readouterr().err
    record = json.loads((tmp_path / "run/config.json").read_text())
    assert (record["settings"]["--reduce"], record["settings"]["--reduce_share"]) == ("qr:0.5", 0.6)
    kept = {layer: text.split("+") for layer, text in record["resolved"]["reduced_layers"].items()}
    assert {layer: len(channels) for layer, channels in kept.items()} == {
        "conv1": 32, "conv2": 48}, "the dream's layer is whole"
    assert record["resolved"]["reduced_steps"] == 2
    assert "--reduce=qr:0.5\n" in (tmp_path / "run/flags.txt").read_text()


@pytest.mark.parametrize("optimizer", [
    optimizer if optimizer == "adam" else pytest.param(optimizer, marks=pytest.mark.slow) for optimizer in OPTIMIZERS])
@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_stop_before_at_and_after_the_switch_changes_nothing(
        optimizer: Any, stop: int, pictures: Any, shared_networks: None) -> None:
    """The switch is within the only stage, after step 3."""
    config = job(pictures, 2, reduce="qr:0.5", reduce_share=0.5, optimizer=optimizer, min_size=64, steps=6,
                 style_layers=("conv1", "conv2"), content_layers=("conv2",))
    steps = list(stylize(config))
    before = steps[stop - 1].state
    assert before.step == stop and steps[-1].step == 6
    *_, last = stylize(config, before)
    np.testing.assert_array_equal(last.picture(), steps[-1].picture())
    assert [step.left for step in steps[2:4]] == [{(3072, 0): 0, (3072,): 3}, {(3072,): 2}]


def test_a_resumed_run_takes_the_channels_of_its_record(pictures: Any, tmp_path: Path, shared_networks: None,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    config = job(pictures, 3, reduce="qr:0.5", reduce_share=1.0, **ONE_SIZE, **SHALLOW)
    whole = _run(config, tmp_path, "whole")

    def stopped(*args: Any, **kwargs: Any) -> Any:
        for progress in stylize(*args, **kwargs):
            yield progress
            if progress.step == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nst_tf.recipes.stylize.steps.stylize", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_stylize(config, RunConfig(logdir=str(tmp_path), run="stopped", checkpoint_every=0.0))
    state = stored_state(tmp_path / "stopped")
    assert state and state.step < 3

    def choose(*_: Any) -> None:
        raise AssertionError("they are chosen already")

    with monkeypatch.context() as patch:
        patch.setattr("nst_tf.recipes.stylize.network.choose_channels", choose)
        assert _run(config, tmp_path, "stopped") == whole


def test_the_switch_stays_where_it_was_when_steps_are_added(pictures: Any) -> None:
    config = job(pictures, 1, reduce="qr:0.5", reduce_share=0.5)
    plan = resolve(config)
    stored: dict[str, Any] = {"stages": [stage._asdict() for stage in plan.stages],
                              "reduced_layers": {"conv1": "0+5+3"}}
    record = {"settings": {"--steps": 6, "--precision": "float32", "--backbone": "kmeans"}, "resolved": stored}
    decided = decided_before(plan, record, 60)
    assert (decided.total_steps, decided.reduced_steps(plan), decided.kept) == (60, 3, {"conv1": (0, 3, 5)})
    all_reduced = resolve(dataclasses.replace(config, reduce_share=1.0))
    assert decided.reduced_steps(all_reduced) == 60 and decided.steps_left(all_reduced, 0, 1)
    for damaged in ({"conv1": "64"}, {"conv9": "0"}, {"conv1": ""}, {"conv1": "-1"}):
        with pytest.raises((LookupError, ValueError)):
            decided_before(plan, {**record, "resolved": stored | {"reduced_layers": damaged}})


@pytest.mark.slow
def test_a_loaded_network_serves_whole_and_reduced_jobs(pictures: Any, traces: list[str]) -> None:
    whole = job(pictures, 4, **ONE_SIZE, **SHALLOW)
    reduced, other = (dataclasses.replace(each, reduce="qr:0.5", reduce_share=1.0)
                      for each in (whole, job(pictures, 5, **ONE_SIZE, **SHALLOW)))
    network = load_network(whole)
    made = [pixels(config, network) for config in (whole, reduced, other, whole)]
    assert len(traces) == 2, "one of the whole network, one of the reduced for all pictures"
    np.testing.assert_array_equal(made[0], made[3])
    for config, picture in ((reduced, made[1]), (other, made[2])):
        np.testing.assert_array_equal(pixels(config), picture)
    assert np.abs(made[1] - made[0]).max() > 0.01


# One of each kind of network, and what changes what the network is made of.
VARIANTS: list[dict[str, Any]] = [{"weights": "self"}, {"reduce": "distinctiveness:30", "normalization": "gatys"}]
SLOW_VARIANTS: list[dict[str, Any]] = [
    {"pooling": "l2", "precision": "bfloat16", "statistic": "wasserstein", "style_layers": ("conv5",)},
    {"normalization": "ng", "smoothing": "softmax:10", "style_layers": ("conv5",)},
    {"backbone": "vgg16", "weights": "random", "pooling": "average", "precision": "bfloat16", "padding": "reflect",
     "style_layers": ("block3_conv1",), "content_layers": ("block2_conv1",)},
    {"backbone": "vgg19", "weights": "random", "precision": "float16", "dream": ("block3_conv1:strong:2",),
     "style_layers": ("block2_conv2",), "content_layers": ("block2_conv1",)}]


def _is_finite(pictures: Any, of: dict[str, Any]) -> None:
    config = job(pictures, 6, **{"reduce": "qr:0.25", "reduce_share": 0.5, "steps": 2, "min_size": 64, **SHALLOW} | of)
    steps = [step.picture() for step in stylize(config)]
    assert len(steps) == 2 and np.isfinite(steps).all() and np.ptp(steps[-1]) > 0.1


@pytest.mark.parametrize("of", [
    pytest.param(of, marks=pytest.mark.slow if of.get("weights") == "self" else ()) for of in VARIANTS], ids=str)
def test_two_steps_of_every_variant_are_finite(of: dict[str, Any], pictures: Any) -> None:
    _is_finite(pictures, of)


@pytest.mark.slow
@pytest.mark.parametrize("of", SLOW_VARIANTS, ids=str)
def test_two_steps_of_deeper_variants_are_finite(of: dict[str, Any], pictures: Any) -> None:
    _is_finite(pictures, of)


@pytest.mark.parametrize("text, expected", [
    ("qr", "such as qr:0.5"), ("qr:0", "> 0 and <= 1"), ("qr:1.5", "> 0 and <= 1"), ("qr:nan", "such as qr:0.5"),
    ("distinctiveness:91", "<= 90"), ("none:1", "write none"), ("gr:0.5", "did you mean 'qr'?")])
def test_wrong_reductions_are_one_line(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=f"^--reduce={text}") as error:
        parse_reduction(text)
    assert expected in str(error.value) and "\n" not in str(error.value)
    assert parse_reduction(Reduction("qr", 0.5).written()) == HALF


@pytest.mark.parametrize("settings, expected", [
    ({"backbone": "squeezenet", "weights": "random"}, "--backbone=squeezenet is no plain chain"),
    ({"reduce": "none", "reduce_share": 0.3}, "--reduce_share=0.3 needs --reduce"),
    ({"reduce_share": 0.0}, "--reduce_share=0.0 is out of range"),
    ({"reduce_share": 1.5}, "give a number > 0 and <= 1")])
def test_what_cannot_be_reduced_is_refused_in_one_line(settings: dict[str, Any], expected: str, pictures: Any) -> None:
    with pytest.raises(UserError) as error:
        resolve(job(pictures, 1, **{"reduce": "qr:0.5"} | settings))
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_the_chains_of_the_table_read_one_layer_after_another() -> None:
    chains = {name: row for name, row in BACKBONES.items() if row.is_chain}
    assert list(chains) == ["vgg19", "vgg16", "kmeans"]
    assert not any(operation.inputs for row in chains.values() for operation in row.operations)
