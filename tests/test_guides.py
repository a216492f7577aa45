"""Guides and regions of the objective: by hand, against cropped features, and for every backbone at an odd size."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.table import BACKBONES, smallest_side_px
from nst_tf.grammar import LayerWeight
from nst_tf.losses.evaluation import StageTargets, measure_targets
from nst_tf.losses.guides import Area, EFFECTIVE_SHARE, ReceptiveField, guide, visibility
from nst_tf.losses.objective import Objective, TermWeights
from nst_tf.losses.statistics import STATISTICS

from .conftest import map_size
from .losses import losses_of

LAYERS = (LayerWeight("a", 3.0), LayerWeight("b", 1.0))
FIELDS = {"a": ReceptiveField(1, 1), "b": ReceptiveField(2, 2)}


def _extract(image: tf.Tensor) -> dict[str, tf.Tensor]:
    """A toy network whose cells see one pixel, and two by two."""
    return {"a": tf.nn.relu(image * [1.0, -2.0, 3.0] + 0.5), "b": tf.nn.avg_pool2d(image, 2, 2, "VALID") ** 2}


def _picture(seed: int, height: int = 16, width: int = 24) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).uniform(size=(1, height, width, 3)), tf.float32)


def _objective(normalization: str = "relative") -> Objective:
    return Objective(LAYERS[1:], LAYERS, TermWeights(0.5, 2.0, 0.25), normalization, "gram")


def _left(height: int = 16, width: int = 24, columns: int = 12) -> np.ndarray:
    mask = np.zeros((height, width), np.float32)
    mask[:, :columns] = 1
    return mask


def _gram(F: Any) -> np.ndarray:
    flat = np.asarray(F).reshape(-1, F.shape[-1])
    return flat.T @ flat / len(flat)


def test_views_by_hand() -> None:
    # σ = 8 · 1/8 = 1; cells 2 apart around the middle of 5 pixels: centers 0, 2 and 4.
    seen = visibility(5, 3, ReceptiveField(2, 8))
    weights = np.exp(-np.arange(5) ** 2 / 2)
    np.testing.assert_allclose(seen[0], weights / weights.sum())
    np.testing.assert_allclose(seen[1], weights[[2, 1, 0, 1, 2]] / weights[[2, 1, 0, 1, 2]].sum())
    np.testing.assert_allclose(seen[2], seen[0, ::-1])
    np.testing.assert_array_equal(visibility(7, 7, ReceptiveField(1, 1)).round(9), np.eye(7))
    # Cells beyond the picture see its border, whatever the numbers.
    np.testing.assert_allclose(visibility(3, 9, ReceptiveField(64, 1)).sum(1), 1)


def test_guides_of_all_regions_share_out_every_cell() -> None:
    first = np.random.default_rng(0).uniform(size=(17, 23)).astype(np.float32)
    guides = [guide(mask, (5, 6), ReceptiveField(4, 24)) for mask in (first, 1 - first)]
    assert guides[0].shape == (5, 6) and guides[0].dtype == np.float32
    np.testing.assert_allclose(guides[0] + guides[1], 1, atol=1e-6)
    rows, columns = visibility(17, 5, ReceptiveField(4, 24)), visibility(23, 6, ReceptiveField(4, 24))
    np.testing.assert_allclose(guides[0], np.einsum("ip,jq,pq->ij", rows, columns, first), atol=1e-6)


def test_a_guide_follows_its_mask() -> None:
    w = guide(_left(32, 48, 24), (4, 6), ReceptiveField(8, 16))
    assert (w[:, :2] > 0.999).all() and (w[:, 4:] < 0.001).all()
    np.testing.assert_allclose(w, 1 - w[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(guide(_left(32, 48, 24).T, (6, 4), ReceptiveField(8, 16)), w.T, atol=1e-6)


def test_a_region_smaller_than_a_cell_has_its_share_and_no_more() -> None:
    mask = np.zeros((64, 96), np.float32)
    mask[20, 30] = 1
    w = guide(mask, (2, 3), ReceptiveField(32, 300))
    assert 0 < w.sum() < 5 / (64 * 96) * 6


@pytest.mark.parametrize("backbone", BACKBONES)
def test_guides_share_out_the_cells_of_every_backbone(backbone: str) -> None:
    """A guide and its mirror image add to 1, where the mask does: its width is odd, the middle column is half its."""
    row = BACKBONES[backbone]
    layers = [layer for layer in row.layers if layer.name in dict(row.style_layers)]
    side = smallest_side_px(backbone, [layer.name for layer in layers]) | 1
    height, width = max(17, side), max(23, side + 6)
    mask = _left(height, width, width // 2)
    mask[:, width // 2] = 0.5
    for layer in layers:
        shape = map_size(backbone, layer.name, (height, width))
        w = guide(mask, shape, ReceptiveField(layer.stride, layer.receptive_field_px))
        assert w.shape == shape and (w >= 0).all() and (np.diff(w, axis=1) <= 1e-6).all()
        np.testing.assert_allclose(w, 1 - w[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("backbone", ["kmeans", "squeezenet", "vgg16"])
def test_cells_see_where_the_guide_says(backbone: str) -> None:
    """The middle of the gradient's energy lies within a stride of the middle of the view, σ within a factor of 2.5."""
    row = BACKBONES[backbone]
    layer = [layer for layer in row.layers if layer.stride == 4][-1]
    extractor, side = row.build([layer.name], "random", 0, []), 96
    x = _picture(1, side, side)
    with tf.GradientTape() as tape:
        tape.watch(x)
        features = extractor(x)[layer.name]
        cell = features.shape[1] // 2 - 2
        loss = tf.reduce_sum(features[0, cell, cell])
    energy = np.square(np.asarray(tape.gradient(loss, x)[0])).sum((1, 2))
    field = ReceptiveField(layer.stride, layer.receptive_field_px)
    pixels, seen = np.arange(side), visibility(side, features.shape[1], field)[cell]
    centers = [np.sum(pixels * weights) / np.sum(weights) for weights in (energy, seen)]
    spreads = [np.sqrt(np.sum((pixels - center) ** 2 * weights) / np.sum(weights))
               for center, weights in zip(centers, (energy, seen), strict=True)]
    assert abs(centers[0] - centers[1]) < layer.stride
    assert 1 / 2.5 < spreads[0] / spreads[1] < 2.5
    assert spreads[1] == pytest.approx(EFFECTIVE_SHARE * layer.receptive_field_px, rel=0.05)


def _targets(areas: list[Area], styles: list[tf.Tensor], blend: tuple[float, ...],
             normalization: str = "relative") -> StageTargets:
    return measure_targets(_objective(normalization), _extract, _picture(1), styles, blend, areas, FIELDS)


def test_measuring_with_a_guide_equals_measuring_what_is_cropped() -> None:
    style = _picture(2)
    target = _targets([Area(_left(), {0: _left()})], [style], (1.0,)).targets.target["style"]
    for layer, features in _extract(style[:, :, :12]).items():
        np.testing.assert_allclose(target.regions[0][layer][0][0], _gram(features), rtol=1e-4)
    np.testing.assert_array_equal(target.shares, [0.5])


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_region_of_every_statistic_counts_as_the_crop_does(statistic: str) -> None:
    x, style, objective = _picture(0), _picture(2), _objective()._replace(statistic=statistic)
    areas = [Area(_left(), {0: _left()})]
    losses = [losses_of(objective, measure_targets(objective, _extract, image, [target], (1.0,), placed, FIELDS),
                        _extract, image)["loss/style"]
              for image, target, placed in ((x, style, areas), (x[:, :, :12], style[:, :, :12], []))]
    assert float(losses[0]) == pytest.approx(0.5 * float(losses[1]), rel=2e-3)


@pytest.mark.parametrize("normalization", ["relative", "gatys", "ng"])
def test_one_region_that_covers_everything_equals_no_region(normalization: str) -> None:
    everywhere, styles = np.ones((16, 24), np.float32), [_picture(2), _picture(3, 12, 18)]
    areas = [Area(everywhere, {0: everywhere, 1: np.ones((12, 18), np.float32)})]
    whole, region = (losses_of(_objective(normalization), _targets(given, styles, (0.7, 0.3), normalization), _extract,
                               _picture(0)) for given in ([], areas))
    assert set(whole) == set(region)
    for tag, value in whole.items():
        assert float(region[tag]) == pytest.approx(float(value), rel=1e-4), tag


def test_two_regions_equal_an_independent_implementation() -> None:
    x, styles = _picture(0), [_picture(2), _picture(3, 12, 18), _picture(4)]
    right = 1 - _left(16, 24, 8)
    # The first region has a blend of two, the second has the third style's right part; weights are shared anew.
    areas = [Area(1 - right, {0: np.ones((16, 24), np.float32), 1: np.ones((12, 18), np.float32)}),
             Area(right, {2: right})]
    losses = losses_of(_objective(), _targets(areas, styles, (0.3, 0.1, 0.6)), _extract, x)

    def grams(picture: tf.Tensor) -> dict[str, np.ndarray]:
        return {layer: _gram(features) for layer, features in _extract(picture).items()}

    def distance(G: Mapping[str, np.ndarray], A: Mapping[str, np.ndarray], layer: str) -> float:
        return float(np.sum((G[layer] - A[layer]) ** 2) / np.sum(A[layer] ** 2))

    first, second = grams(x[:, :, :8]), grams(x[:, :, 8:])
    A = [grams(style) for style in styles[:2]]
    blended = {layer: 0.75 * A[0][layer] + 0.25 * A[1][layer] for layer in A[0]}
    third = grams(styles[2][:, :, 8:])
    expected = sum(share * (0.75 * distance(G, target, "a") + 0.25 * distance(G, target, "b"))
                   for share, G, target in ((1 / 3, first, blended), (2 / 3, second, third)))
    assert float(losses["loss/style"]) == pytest.approx(expected, rel=1e-3)
    assert float(losses["style/1/a"]) == pytest.approx(distance(first, A[1], "a"), rel=1e-3)
    assert float(losses["style/2/b"]) == pytest.approx(distance(second, third, "b"), rel=1e-3)


def test_the_distance_to_a_style_of_two_regions_is_their_mean_by_share() -> None:
    x, styles, right = _picture(0), [_picture(2), _picture(3)], 1 - _left(16, 24, 8)
    ones = np.ones((16, 24), np.float32)
    areas = [Area(1 - right, {0: ones, 1: ones}), Area(right, {0: ones})]
    both = losses_of(_objective(), _targets(areas, styles, (0.5, 0.5)), _extract, x)
    each = [losses_of(_objective(), _targets([Area(mask, {0: ones})], styles, (0.5, 0.5)), _extract, x)
            for mask in (1 - right, right)]
    expected = float(each[0]["style/0/a"] + 2 * each[1]["style/0/a"]) / 3
    assert float(both["style/0/a"]) == pytest.approx(expected, rel=1e-4)


def test_a_region_without_style_has_no_gradient_of_style() -> None:
    targets = _targets([Area(_left(), {0: np.ones((16, 24), np.float32)})], [_picture(2)], (1.0,))
    objective = _objective()._replace(weights=TermWeights(0.0, 1.0, 0.0))
    x = _picture(0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = losses_of(objective, targets, _extract, x)["loss/total"]
    g = np.abs(tape.gradient(loss, x))
    # Two-pixel cells of layer b see a little across the edge.
    assert g[:, :, :11].min() > 0 and g[:, :, 14:].max() < 1e-6 * g.max()


def test_a_tiny_region_counts_by_its_share_and_stays_finite() -> None:
    speck = np.zeros((16, 24), np.float32)
    speck[5, 7] = 1
    ones = np.ones((16, 24), np.float32)
    x, fields = _picture(0), {"a": ReceptiveField(1, 1), "b": ReceptiveField(2, 300)}
    gradients = []
    for areas in ([Area(1 - speck, {0: ones}), Area(speck, {1: ones})], [Area(1 - speck, {0: ones})]):
        objective = _objective()._replace(weights=TermWeights(0.0, 1.0, 0.0))
        targets = measure_targets(objective, _extract, x, [_picture(2), _picture(3)], (0.5, 0.5), areas, fields)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = losses_of(objective, targets, _extract, x)["loss/total"]
        gradients.append(np.asarray(tape.gradient(loss, x)))
    assert np.isfinite(gradients[0]).all()
    change = np.abs(gradients[0] - gradients[1])
    elsewhere = speck[None, ..., None] == 0
    assert np.max(change * elsewhere) < 0.1 * np.abs(gradients[1]).max()


def test_gradient_by_finite_differences() -> None:
    mask = np.random.default_rng(5).uniform(size=(6, 8)).astype(np.float32)
    styles, ones = [_picture(2, 6, 8), _picture(3, 6, 8)], np.ones((6, 8), np.float32)
    targets = measure_targets(_objective(), _extract, _picture(1, 6, 8), styles, (0.5, 0.5),
                              [Area(mask, {0: ones}), Area(1 - mask, {0: mask, 1: ones})], FIELDS)
    x = _picture(0, 6, 8)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = losses_of(_objective(), targets, _extract, x)["loss/total"]
    direction = tf.constant(np.random.default_rng(6).normal(size=x.shape), tf.float32)
    along = float(tf.reduce_sum(tape.gradient(loss, x) * direction))
    step = 1e-3
    high, low = (float(losses_of(_objective(), targets, _extract, x + sign * step * direction)["loss/total"])
                 for sign in (1, -1))
    assert (high - low) / (2 * step) == pytest.approx(along, rel=2e-2)
