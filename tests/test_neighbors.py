"""Neighbors: numbers by hand, the formulas again in NumPy, and what must hold of every picture."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nst_tf.config import StylizeConfig
from nst_tf.losses import neighbors
from nst_tf.losses.neighbors import Bank, bank, chosen_positions, measure_neighbors
from nst_tf.losses.objective import COSINES_AT_ONCE
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.plan_memory import predicted_bytes
from nst_tf.recipes.stylize.stage import measure_pictures, plan_step
from nst_tf.recipes.stylize.steps import set_up, stylize
from nst_tf.vocabulary import UserError


def _features(seed: int, shape: tuple[int, ...], dtype: str = "float64") -> Any:
    return tf.constant(np.random.default_rng(seed).normal(size=shape), dtype)


def _bank(seed: int, count: int, channels: int, dtype: str = "float64") -> Bank:
    return bank([_features(seed, (count, channels), dtype)], [1.0])


def _by_numpy(F: np.ndarray, style: np.ndarray) -> np.ndarray:
    """1 − the largest cosine about the style's mean, of rows one by one."""
    center = style.mean(0)
    return np.array([min(1 - np.dot(f - center, a - center) / np.linalg.norm(f - center) / np.linalg.norm(a - center)
                         for a in style) for f in F])


def test_numbers_by_hand() -> None:
    """About the mean (1, 1) the style points right, up, left and down."""
    style = bank([tf.constant([[3.0, 1.0], [1.0, 2.0], [-1.0, 1.0], [1.0, 0.0]])], [1.0])
    np.testing.assert_allclose(style.center, [1, 1])
    np.testing.assert_allclose(style.unit, [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-5)
    # Right itself, five times as far, and (4, 3) / 5 from the mean: cos = 0.8.
    F = tf.constant([[[3.0, 1.0], [11.0, 1.0], [5.0, 4.0]]])
    sums, count = measure_neighbors(F, style)
    np.testing.assert_allclose([*sums, count], [[0.2], [3.0]], atol=1e-5)
    assert neighbors._nearest(F[0], style)[1].numpy().tolist() == [0, 0, 0]
    (weighted,), count = measure_neighbors(F, style, tf.constant([[7.0, 0.0, 0.5]]))
    np.testing.assert_allclose([weighted, count], [[0.1], [7.5]], atol=1e-5)


@pytest.mark.parametrize("size", [(17,), (7, 9), (3, 5, 2)])
def test_the_formulas_again_in_numpy(size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last chunk of positions is not full."""
    F, style = _features(1, (2, *size, 5)), _features(2, (19, 5)).numpy()
    expected = [_by_numpy(example, style) for example in F.numpy().reshape(2, -1, 5)]
    w = np.random.default_rng(3).uniform(size=(1, *size))
    for chunk in (2 ** 22, 4 * 19):
        monkeypatch.setattr(neighbors, "COSINES_AT_ONCE", chunk)
        sums, _ = measure_neighbors(F, bank([tf.constant(style)], [1.0]))
        np.testing.assert_allclose(sums[0], np.sum(expected, axis=1), rtol=1e-5)
        sums, count = measure_neighbors(F, bank([tf.constant(style)], [1.0]), tf.constant(w))
        np.testing.assert_allclose(sums[0], expected @ w.ravel(), rtol=1e-5)
        np.testing.assert_allclose(count, [w.sum()] * 2)


def test_the_gradient_is_that_of_differences() -> None:
    F, style, w = _features(1, (1, 4, 3, 5)), _bank(2, 11, 5), tf.constant(np.linspace(0, 1, 12).reshape(1, 4, 3))
    loss = tf.function(lambda x: measure_neighbors(x, style, w).sums[0][0])
    with tf.GradientTape() as tape:
        tape.watch(F)
        J = loss(F)
    g = tape.gradient(J, F)
    step = 1e-5 * _features(4, F.shape)
    for sign in (1, -1):
        moved = sign * step / tf.norm(step) * 1e-5
        assert float(loss(F + moved) - loss(F - moved)) == pytest.approx(2 * float(tf.reduce_sum(g * moved)), rel=1e-5)
    assert not np.any(g[0, 0, 0]), "a position that does not count"
    np.testing.assert_allclose(tf.reduce_sum(g * (F - style.center), -1), 0, atol=1e-5)  # lengths are no matter


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_features_of_fewer_bits_are_compared_in_float32(dtype: str) -> None:
    F, style = _features(1, (1, 9, 7, 6), "float32"), _bank(2, 31, 6, "float32")
    few = tf.cast(F, dtype)
    with tf.GradientTape() as tape:
        tape.watch(few)
        (total,), count = measure_neighbors(few, style)
    assert (total.dtype, count.dtype, tape.gradient(total, few).dtype) == (tf.float32, tf.float32, few.dtype)
    assert float(total[0]) == pytest.approx(float(measure_neighbors(F, style).sums[0][0]), rel=2e-2)


@pytest.mark.parametrize("value", [0.0, 1e-8, 1e8])
def test_flat_pictures_have_finite_losses_and_gradients(value: float) -> None:
    """A style of one color has no directions, and a position at the center is like none."""
    flat, F = tf.fill([5, 3], value), tf.fill([1, 2, 4, 3], value)
    for style in (bank([flat], [1.0]), _bank(1, 7, 3, "float32")):
        with tf.GradientTape() as tape:
            tape.watch(F)
            (total,), _ = measure_neighbors(F, style)
        assert np.isfinite(total).all() and np.isfinite(tape.gradient(total, F)).all()


def test_positions_are_spread_and_each_is_chosen_once() -> None:
    everywhere = np.ones((30, 40), bool)
    chosen = chosen_positions(everywhere, 64)
    assert len(set(chosen)) == 64
    assert len(chosen_positions(everywhere, 5000)) == 1200 and set(chosen_positions(everywhere, 5000)) == {*range(1200)}
    quarters = np.histogram2d(chosen // 40, chosen % 40, bins=2, range=[[0, 30], [0, 40]])[0]
    assert quarters.min() >= 8, "of 64 in four quarters"
    np.testing.assert_array_equal(chosen_positions(everywhere, 20), chosen[:20])
    half = np.zeros((30, 40), bool)
    half[:, 20:] = True
    assert (chosen_positions(half, 64) % 40 >= 20).all()
    assert len(chosen_positions(np.zeros((3, 3), bool), 64)) == 0


def test_each_style_has_the_share_of_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "BANK", 40)
    first, second = tf.ones([40, 2]), -tf.ones([40, 2])
    for weights, counts in (((3.0, 1.0), (30, 10)), ((0.0, 2.0), (0, 40)), ((1e-9, 1.0), (1, 40))):
        unit = bank([first + _features(0, (40, 2), "float32") / 100, second], weights).unit
        assert (int(tf.reduce_sum(tf.cast(unit[:, 0] > 0, tf.int32))), len(unit)) == (counts[0], sum(counts)) or \
            counts[0] == 0 and len(unit) == 40
    # Of a small layer the first has only 12: the ratio stays.
    assert len(bank([first[:12], second], (3.0, 1.0)).unit) == 16


@pytest.fixture
def config(photo: str, painting: str, second_painting: str) -> StylizeConfig:
    """Two stages (45 and 64 px) on shallow layers of filters that need not be learned."""
    return StylizeConfig(content=photo, style=(painting, second_painting), backbone="kmeans", weights="bundled",
                         size=64, min_size=45, steps=12, style_blend=(0.7, 0.3), content_layers=("conv2",),
                         style_layers=("conv1", "conv2"), precision="float32", neighbors_weight=1.0)


@pytest.mark.slow
def test_positions_come_nearer_at_the_last_size_alone_and_runs_repeat_and_go_on_bit_for_bit(
        config: StylizeConfig, shared_networks: None) -> None:
    first, again = list(stylize(config)), list(stylize(config))
    told = ["loss/neighbors" in progress.losses for progress in first]
    assert told == [progress.stage == 1 for progress in first] and 4 < sum(told) < len(told)
    begun = next(progress for progress in first if progress.stage)
    assert float(first[-1].losses["loss/neighbors"]) < 0.9 * float(begun.losses["loss/neighbors"])
    assert first[-1].picture().tobytes() == again[-1].picture().tobytes()
    *_, last = stylize(config, first[-4].state)
    assert last.picture().tobytes() == first[-1].picture().tobytes()


def test_each_region_has_neighbors_of_its_own_style(config: StylizeConfig, tmp_path: Path,
                                                    shared_networks: None) -> None:
    mask = Image.new("RGB", (63, 47), "black")
    mask.paste("white", (25, 0, 63, 47))
    mask.save(tmp_path / "mask.png")
    placed = dataclasses.replace(config, content_mask=str(tmp_path / "mask.png"), style_mask=("#000000", "#ffffff"),
                                 steps=2, min_size=64)
    plan = resolve(placed)
    setup = set_up(placed, plan)
    step = plan_step(placed, plan, setup.decided, -1)
    # The larger region, which is white, is the first.
    (_, right), (_, left) = measure_pictures(plan, setup, -1, step)[0].targets.fixed["neighbors"]
    for own, k in ((left, 0), (right, 1)):
        alone = dataclasses.replace(config, style=(config.style[k],), style_blend=(), steps=2, min_size=64)
        plan = resolve(alone)
        setup = set_up(alone, plan)
        (_, only), = measure_pictures(plan, setup, -1, plan_step(alone, plan, setup.decided, -1),
                                      )[0].targets.fixed["neighbors"]
        for layer in ("conv1", "conv2"):
            np.testing.assert_array_equal(own[layer].value.unit, only[layer].value.unit)


def test_neighbors_need_no_style_term_and_layers(config: StylizeConfig) -> None:
    objective = resolve(dataclasses.replace(config, style_weight=0.0, content_weight=0.0)).objective
    assert objective.layers() == ("conv1", "conv2") == tuple(dict(objective.neighbor_layers))
    with pytest.raises(UserError, match="--neighbors_weight are all 0"):
        resolve(dataclasses.replace(config, style_weight=0.0, content_weight=0.0, neighbors_weight=0.0))
    with pytest.raises(UserError, match="--neighbors_weight=-1"):
        resolve(dataclasses.replace(config, neighbors_weight=-1.0))


def test_the_plan_counts_their_memory(config: StylizeConfig) -> None:
    (plan, without) = (resolve(dataclasses.replace(config, neighbors_weight=weight)) for weight in (1.0, 0.0))
    for tile_px in (0, 48):
        assert (predicted_bytes(config, plan, "float32", tile_px)
                > predicted_bytes(config, without, "float32", tile_px) + 4 * COSINES_AT_ONCE)
