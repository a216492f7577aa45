"""The generator against NumPy and SciPy, by finite differences, in tiles, and at odd sizes."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate

from nst_tf.generators.layers import Convolution, convolutions, layers, parameters, reach_px
from nst_tf.generators.paint import EPSILON, LEAST, paint, paint_tiles
from nst_tf.generators.weights import Styled, initial

SMALL = layers(width=3, residuals=1)


def _weights(styles: int, seed: int = 0) -> dict[str, Styled]:
    """Weights of which every number counts."""
    random = np.random.default_rng(seed)
    return {name: Styled(*(None if part is None else (part + random.normal(0, 0.2, part.shape)).astype(np.float32)
                           for part in styled)) for name, styled in initial(SMALL, styles, seed).items()}


def _photo(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 0.95, shape).astype(np.float32)


def _numpy(weights: dict[str, Styled], photo: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """The same network by loops over channels, of one photo [H, W, 3]."""
    def convolved(x: np.ndarray, layer: Convolution) -> np.ndarray:
        kernel, shift, scale = weights[layer.name]
        margin = layer.side_px // 2
        padded = np.pad(x, [(margin, margin), (margin, margin), (0, 0)], "reflect").astype(np.float64)
        h = np.stack([sum(correlate(padded[..., i], kernel[..., i, o], "valid") for i in range(layer.inputs))
                      for o in range(layer.channels)], -1)[::layer.stride, ::layer.stride]
        if scale is None:
            return h + mixture @ shift
        h = (h - h.mean((0, 1))) / np.sqrt(h.var((0, 1)) + EPSILON)
        return h * (mixture @ scale) + mixture @ shift

    def doubled(x: np.ndarray, like: np.ndarray) -> np.ndarray:
        return x.repeat(2, 0).repeat(2, 1)[:like.shape[0], :like.shape[1]]

    fine, half, quarter, first, second, half_again, fine_again, colors = convolutions(SMALL)
    one = np.maximum(convolved(photo, fine), 0)
    two = np.maximum(convolved(one, half), 0)
    four = np.maximum(convolved(two, quarter), 0)
    four = four + convolved(np.maximum(convolved(four, first), 0), second)
    x = np.maximum(convolved(doubled(four, two), half_again), 0)
    x = convolved(np.maximum(convolved(doubled(x, one), fine_again), 0), colors)
    inside = np.clip(photo, LEAST, 1 - LEAST)
    return 1 / (1 + (1 / inside - 1) * np.exp(-x))


@pytest.mark.parametrize("sides", [(16, 20), (13, 22), (17, 9)])
def test_the_picture_is_that_of_numpy_at_even_and_odd_sides(sides: tuple[int, int]) -> None:
    weights, photo = _weights(2), _photo(*sides, 3)
    mixture = np.array([[0.25, 0.75]], np.float32)
    picture, _ = paint(SMALL, weights, photo[np.newaxis], mixture)
    np.testing.assert_allclose(picture[0], _numpy(weights, photo, mixture[0]), atol=2e-5)


def test_an_untrained_network_gives_the_photo() -> None:
    photo = _photo(1, 12, 14, 3)
    np.testing.assert_allclose(paint(SMALL, initial(SMALL, 1, 0), photo, np.ones((1, 1), np.float32))[0], photo,
                               atol=1e-6)


def test_each_example_has_a_style_of_its_own() -> None:
    weights, photos = _weights(2), _photo(2, 12, 12, 3)
    both, _ = paint(SMALL, weights, photos, np.eye(2, dtype=np.float32))
    for k in range(2):
        alone, _ = paint(SMALL, weights, photos[k:k + 1], np.eye(2, dtype=np.float32)[k:k + 1])
        np.testing.assert_allclose(both[k], alone[0], atol=1e-6)
    assert np.abs(both[0] - paint(SMALL, weights, photos[:1], np.eye(2, dtype=np.float32)[1:])[0][0]).max() > 0.01


def test_the_gradient_is_that_of_finite_differences() -> None:
    weights = {name: Styled(*(None if part is None else tf.constant(part, tf.float64) for part in styled))
               for name, styled in _weights(1).items()}
    photo, one = tf.constant(_photo(2, 9, 11, 3), tf.float64), tf.ones((1, 1), tf.float64)
    random = np.random.default_rng(3)
    upstream = random.normal(size=photo.shape)

    def value(kernel: tf.Tensor) -> tf.Tensor:
        changed = weights | {"half": weights["half"]._replace(kernel=kernel)}
        return tf.reduce_sum(upstream * paint(SMALL, changed, photo, one, learns=True)[0])

    kernel = weights["half"].kernel
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        total = value(kernel)
    direction = random.normal(size=kernel.shape)
    along = float(tf.reduce_sum(tape.gradient(total, kernel) * direction))
    step = 1e-6
    difference = float(value(kernel + step * direction) - value(kernel - step * direction)) / (2 * step)
    assert along == pytest.approx(difference, rel=1e-4)


@pytest.mark.parametrize("sides", [(180, 131), (97, 203)])
def test_tiles_are_the_whole_picture(sides: tuple[int, int]) -> None:
    weights, photo, one = _weights(1), _photo(*sides, 3), np.ones((1, 1), np.float32)
    whole, norms = paint(SMALL, weights, photo[np.newaxis], one)
    tiled = paint_tiles(SMALL, weights, photo, one, norms, 30, reach_px(SMALL))
    np.testing.assert_allclose(tiled, whole[0], atol=3e-5)
    assert np.abs(paint_tiles(SMALL, weights, photo, one, norms, 30, 8) - whole[0]).max() > 1e-3, "margins count"


def test_the_default_network_is_small_and_sees_as_far_as_the_table_says() -> None:
    assert 4 * parameters(layers(), 1) < 2e6
    held = sum(part.size for styled in initial(layers(), 5, 0).values() for part in styled if part is not None)
    assert held == parameters(layers(), 5)
    weights, photo, one = _weights(1), _photo(1, 120, 8, 3), np.ones((1, 1), np.float32)
    whole, norms = paint(SMALL, weights, photo, one)
    furthest = 0
    for row in range(60, 64):
        other = photo.copy()
        other[:, row] = 1 - other[:, row]
        changed = np.abs(paint(SMALL, weights, other, one, norms)[0] - whole).max((0, 2, 3)) > 0
        furthest = max(furthest, np.abs(np.flatnonzero(changed) - row).max())
    assert reach_px(SMALL) - 4 < furthest <= reach_px(SMALL)
