"""Canvases: round trips, an independent NumPy implementation, gradients by finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.optimize.canvas import CANVASES, POLE, color_mixture, frequency_scale

from .conftest import make_picture

SIZES = [(17, 23), (16, 24), (1, 7), (24, 17), (2, 2)]


@pytest.mark.parametrize("name", CANVASES)
@pytest.mark.parametrize("height, width", SIZES)
def test_round_trips(name: str, height: int, width: int) -> None:
    canvas, image = CANVASES[name], tf.constant(make_picture(height, width, 0)[None])
    theta = canvas.encode(image)
    decoded = canvas.decode(theta, height, width)
    assert decoded.shape == image.shape and decoded.dtype == tf.float32
    np.testing.assert_allclose(decoded, image, atol=1.001e-3)
    np.testing.assert_allclose(canvas.encode(decoded), theta, atol=1e-3)


def test_pixels_are_the_image_itself_clipped() -> None:
    canvas, image = CANVASES["pixels"], tf.constant(make_picture(17, 23, 0)[None])
    assert canvas.encode(image) is image and canvas.decode(image, 17, 23) is image
    np.testing.assert_array_equal(canvas.project(4.0 * image - 1.0), np.clip(4 * image.numpy() - 1, 0, 1))


def test_the_scale_by_hand() -> None:
    scale = frequency_scale(4, 5)
    assert scale.shape == (4, 3)
    np.testing.assert_allclose(scale[0], [5, 5, 2.5])         # f = 0, 1/5, 2/5
    np.testing.assert_allclose(scale[:, 0], [5, 4, 2, 4])     # f = 0, 1/4, 1/2, −1/4
    np.testing.assert_allclose(scale[2, 2], 1 / np.hypot(0.5, 0.4), rtol=1e-6)


def test_the_colors_have_the_covariance_of_natural_photos() -> None:
    mixture = color_mixture().astype(np.float64)
    covariance = 0.2175 * mixture @ mixture.T
    # Red, green and blue vary alike and together, as pixels do.
    deviations = np.sqrt(np.diag(covariance))
    assert np.all((0.27 < deviations) & (deviations < 0.30))
    correlations = covariance / np.outer(deviations, deviations)
    assert 0.7 < correlations.min() and correlations[0, 1] > correlations[0, 2]
    np.testing.assert_allclose(mixture.T @ mixture, np.diag([1, 0.0188 / 0.2175, 0.0045 / 0.2175]), atol=2e-4)


@pytest.mark.parametrize("height, width", SIZES)
def test_fourier_equals_a_sum_of_waves(height: int, width: int) -> None:
    theta = np.random.default_rng(0).normal(size=(1, 3, height, width // 2 + 1, 2)).astype(np.float32)
    weights = (theta[0, ..., 0] + 1j * theta[0, ..., 1]) * frequency_scale(height, width)
    y, x = np.mgrid[0:height, 0:width]
    colors = np.zeros((3, height, width))
    for row in range(height):
        for column in range(width // 2 + 1):
            wave = np.exp(2j * np.pi * (row * y / height + column * x / width))
            # All but the first column, and the last of an even width, stand for their mirrored frequency too.
            count = 1 if column == 0 or 2 * column == width else 2
            colors += count * np.real(weights[:, row, column, None, None] * wave)
    logits = np.einsum("rc,chw->hwr", color_mixture(), colors / np.sqrt(height * width))
    image = CANVASES["fourier"].decode(tf.constant(theta), height, width)
    np.testing.assert_allclose(image[0], 1 / (1 + np.exp(-logits)), atol=2e-5)


@pytest.mark.parametrize("height, width", [(17, 23), (16, 24)])
def test_fourier_gradient_by_finite_differences(height: int, width: int) -> None:
    canvas = CANVASES["fourier"]
    theta = canvas.encode(tf.constant(make_picture(height, width, 0)[None]))
    weights = make_picture(height, width, 1)[None]
    with tf.GradientTape() as tape:
        tape.watch(theta)
        value = tf.reduce_sum(weights * canvas.decode(theta, height, width))
    gradient = tape.gradient(value, theta).numpy()
    for index in ((0, 0, 0, 0, 0), (0, 1, 2, 3, 1), (0, 2, height - 1, 1, 0), (0, 0, 5, width // 2, 0)):
        values = []
        for sign in (-1, 1):
            moved = theta.numpy()
            moved[index] += 0.05 * sign
            values.append(float(tf.reduce_sum(weights * canvas.decode(tf.constant(moved), height, width))))
        np.testing.assert_allclose(gradient[index], (values[1] - values[0]) / 0.1, rtol=2e-2, atol=5e-3)


def test_poles_are_within_a_gray_level() -> None:
    checkers = (np.indices((8, 9)).sum(0)[None, ..., None] % 2 * np.ones((1, 1, 1, 3))).astype(np.float32)
    decoded = CANVASES["fourier"].decode(CANVASES["fourier"].encode(tf.constant(checkers)), 8, 9).numpy()
    assert np.abs(decoded - checkers).max() < 1.1 * POLE and POLE < 0.5 / 255
