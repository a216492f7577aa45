"""Activation and diversity: by hand, against NumPy, by finite differences; the views against SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from nst_tf.losses.activations import UNIT_ACTIVATIONS, mean_of_channel, likeness, middle_of_channel, unit_loss
from nst_tf.optimize import transforms
from nst_tf.vocabulary import UnitObjectiveName, names

from .conftest import make_picture


def _features(seed: int, pictures: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 1.0, (pictures, 3, 5, 4)).astype(np.float32)


def test_activations_by_hand() -> None:
    F = np.zeros((2, 2, 3, 2), np.float32)
    F[0, :, :, 1] = [[1, 2, 3], [4, 5, 9]]
    F[1, :, :, 0] = [[6, 0, 0], [0, 12, 0]]
    channels = tf.constant([1, 0])
    np.testing.assert_allclose(mean_of_channel(F, channels), [4, 3])
    np.testing.assert_allclose(middle_of_channel(F, channels), [5, 12])
    assert tuple(UNIT_ACTIVATIONS) == names(UnitObjectiveName)


def test_likeness_equals_numpy_and_its_bounds() -> None:
    F = _features(0, 6)
    flat = F.reshape(2, 3, -1, 4)
    grams = np.einsum("unpc,unpd->uncd", flat, flat).reshape(2, 3, 16)
    unit = grams / np.linalg.norm(grams, axis=-1, keepdims=True)
    expected = [(a[0] @ a[1] + a[0] @ a[2] + a[1] @ a[2]) / 3 for a in unit]
    np.testing.assert_allclose(likeness(tf.constant(F), 3), expected, rtol=1e-5)
    same = np.repeat(F[:1], 2, axis=0)
    np.testing.assert_allclose(likeness(tf.constant(same), 2), [1], rtol=1e-6)
    apart = np.zeros((2, 1, 2, 2), np.float32)
    apart[0, ..., 0] = apart[1, ..., 1] = 1
    np.testing.assert_allclose(likeness(tf.constant(apart), 2), [0], atol=1e-7)


@pytest.mark.parametrize("objective", UNIT_ACTIVATIONS)
@pytest.mark.parametrize("pictures", [1, 2])
def test_unit_loss_gradient_by_finite_differences(objective: str, pictures: int) -> None:
    F, channels = _features(1), tf.constant([2, 2, 0, 0])

    def loss(F: np.ndarray) -> float:
        return float(unit_loss(tf.constant(F), channels, objective, pictures, 0.7))

    x = tf.constant(F)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = unit_loss(x, channels, objective, pictures, 0.7)
    direction = np.random.default_rng(2).normal(size=F.shape).astype(np.float32)
    step = 1e-2
    expected = (loss(F + step * direction) - loss(F - step * direction)) / (2 * step)
    assert np.sum(tape.gradient(value, x) * direction) == pytest.approx(expected, rel=2e-2)


def test_units_of_a_batch_do_not_feel_one_another() -> None:
    F, channels = tf.constant(_features(3)), tf.constant([1, 1, 3, 3])
    other = tf.concat([F[:2], 5 * F[2:] ** 2], 0)
    gradients = []
    for x in (F, other):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = unit_loss(x, channels, "channel", 2, 1.0)
        gradients.append(tape.gradient(value, x)[:2])
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5)


def test_a_silent_unit_has_a_finite_loss() -> None:
    assert np.isfinite(unit_loss(tf.zeros([2, 3, 3, 4]), tf.constant([0, 1]), "channel", 2, 1.0))


def test_views_without_strength_are_the_middle() -> None:
    pictures = np.stack([make_picture(31, 31, seed) for seed in range(2)])
    maps = transforms.view_maps(0, 5, 2, 23, 31, strength=0.0)
    np.testing.assert_allclose(transforms.view(tf.constant(pictures), maps, 23), pictures[:, 4:27, 4:27], atol=1e-6)


def test_views_equal_an_independent_resampling() -> None:
    picture = make_picture(41, 41, 0)
    maps = transforms.view_maps(3, 7, 2, 29, 41, strength=1.0)
    seen = transforms.view(tf.constant(np.stack([picture, picture])), maps, 29).numpy()
    for index, (a, b, x, c, d, y, _, _) in enumerate(maps.numpy()):
        # SciPy's axes are (row, column), the maps' (x, y).
        expected = np.stack([ndimage.affine_transform(
            picture[..., color], [[d, c], [b, a]], [y, x], (29, 29), order=1, cval=0.5) for color in range(3)], -1)
        np.testing.assert_allclose(seen[index], expected, atol=1e-4)
    assert np.abs(seen[0] - seen[1]).max() > 0.01, "each picture has a view of its own"


def test_views_are_a_function_of_seed_and_step_and_keep_their_bounds() -> None:
    one, again = (transforms.view_maps(1, 2, 3, 20, 30, 1.0) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - transforms.view_maps(1, 3, 3, 20, 30, 1.0)).max() > 0
    assert np.abs(one - transforms.view_maps(2, 2, 3, 20, 30, 1.0)).max() > 0
    many = transforms.view_maps(0, 0, 2000, 20, 20, 1.0).numpy()
    scale = 1 / np.hypot(many[:, 0], many[:, 3])
    angle = np.rad2deg(np.arctan2(many[:, 3], many[:, 0]))
    middle = np.stack([many[:, 0] * 9.5 + many[:, 1] * 9.5 + many[:, 2], many[:, 3] * 9.5 + many[:, 4] * 9.5
                       + many[:, 5]]) - 9.5
    for values, bound in ((scale - 1, 0.1), (angle, 10), (middle, 6)):
        assert 0.85 * bound < np.abs(values).max() <= bound * (1 + 1e-4)


def test_the_gradient_of_a_view_points_the_right_way() -> None:
    """TensorFlow's gradient of the resampling is an approximation: nearly the true one for a smooth picture."""
    target = ndimage.gaussian_filter(make_picture(25, 25, 1), (2, 2, 0)).astype(np.float32)
    maps = transforms.view_maps(0, 1, 1, 25, 25, 1.0)
    x = tf.constant(ndimage.gaussian_filter(make_picture(25, 25, 2), (2, 2, 0)).astype(np.float32)[None])
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(tf.square(transforms.view(x, maps, 25) - target))
    g = tape.gradient(value, x).numpy().ravel()
    # The resampling is linear, so that its transpose can be had from all unit pictures.
    basis = tf.reshape(tf.eye(625), [625, 25, 25, 1])
    offset = transforms.view(tf.zeros([1, 25, 25, 1]), maps, 25)
    matrix = tf.reshape(transforms.view(basis, tf.repeat(maps, 625, 0), 25) - offset, [625, 625]).numpy()
    residual = 2 * (transforms.view(x, maps, 25) - target).numpy().reshape(625, 3)
    exact = (matrix @ residual).ravel()
    assert g @ exact / np.linalg.norm(g) / np.linalg.norm(exact) > 0.97
