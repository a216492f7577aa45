"""Losses: numbers by hand, an independent implementation, finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.losses import content, moments, statistics as style
from nst_tf.tensors import fork

from .losses import smoothness

# Two channels, three positions: F = [[1, 2], [3, 0], [2, 1]], so FᵀF = [[14, 4], [4, 5]].
F = np.array([[[[1, 2], [3, 0], [2, 1]]]], np.float32)
C = np.array([[[[1, 0], [1, 1], [2, 2]]]], np.float32)
# ‖F − C‖² = 0 + 4 + 4 + 1 + 0 + 1 = 10;  ‖C‖² = 1 + 0 + 1 + 1 + 4 + 4 = 11.
G = np.array([[[14, 4], [4, 5]]], np.float32) / 3
# CᵀC = [[6, 5], [5, 5]].
A = np.array([[[6, 5], [5, 5]]], np.float32) / 3
# ‖G − A‖² = (64 + 1 + 1 + 0) / 9;  ‖A‖² = (36 + 25 + 25 + 25) / 9.


def test_content_by_hand() -> None:
    sums = content.measure_content(tf.constant(F), tf.constant(C))
    assert float(content.relative(sums)[0]) == pytest.approx(10 / 11)
    assert float(content.gatys(sums)[0]) == pytest.approx(5)
    assert float(content.ng(sums)[0]) == pytest.approx(10 / (4 * 1 * 3 * 2))


def test_style_by_hand() -> None:
    assert float(style.relative((G,), (A,))[0]) == pytest.approx(66 / 111)
    assert float(style.gatys((G,), (A,))[0]) == pytest.approx(66 / 9 / (4 * 2 ** 2))
    assert float(style.ng((G,), (A,))[0]) == pytest.approx(66 / 9 / (2 * 2) ** 2)


def test_style_normalizations_equal_the_published_ones_on_raw_gram_matrices() -> None:
    generator = np.random.default_rng(0)
    height, width, channels = 5, 7, 4
    first, second = generator.normal(size=(2, height * width, channels)).astype(np.float32)
    raw = first.T @ first - second.T @ second
    means = [moments.mean(moments.measure_gram(tf.reshape(features, [1, height, width, channels])))
             for features in (first, second)]
    gatys_2016 = np.sum(raw ** 2) / (4 * channels ** 2 * (height * width) ** 2)
    ng_course = np.sum(raw ** 2) / (2 * height * width * channels) ** 2
    assert float(style.gatys(*means)[0]) == pytest.approx(gatys_2016, rel=1e-5)
    assert float(style.ng(*means)[0]) == pytest.approx(ng_course, rel=1e-5)


def test_gram_by_hand_and_on_any_number_of_space_axes() -> None:
    (gram,), count = moments.measure_gram(tf.constant(F))
    np.testing.assert_allclose(gram, [[[14, 4], [4, 5]]])
    np.testing.assert_array_equal(count, [3])
    volume = np.random.default_rng(0).normal(size=(2, 3, 5, 2, 4)).astype(np.float32)
    expected = np.einsum("btyxi,btyxj->bij", volume, volume)
    for shape in ((2, 30, 4), (2, 3, 10, 4), (2, 3, 5, 2, 4)):
        np.testing.assert_allclose(moments.gram_sum(volume.reshape(shape)), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 7, 9, 5), (2, 16, 6, 3), (1, 40, 4)])
def test_gram_matrices_of_bfloat16_are_those_of_float32_but_for_the_rounding_of_eight_parts(
        shape: tuple[int, ...]) -> None:
    F = tf.cast(np.random.default_rng(0).uniform(size=shape), tf.bfloat16)
    wide = tf.cast(F, tf.float32)
    weights = tf.constant(np.random.default_rng(1).integers(0, 2, (1, *shape[1:-1])), tf.float32)
    D = tf.constant(np.random.default_rng(2).normal(size=(shape[0], shape[-1], shape[-1])), tf.float32)
    for given in (None, weights):
        found: list[Any] = []
        expected: list[Any] = []
        for features, of in ((F, found), (wide, expected)):
            with tf.GradientTape() as tape:
                tape.watch(features)
                (gram,), count = moments.measure_gram(features, given)
            assert gram.dtype == count.dtype == tf.float32
            of.extend([gram, count, tf.cast(tape.gradient(gram, features, D), tf.float32)])
        np.testing.assert_allclose(found[0], expected[0], rtol=2 ** -8)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_allclose(found[2], expected[2], atol=2 ** -6 * float(tf.reduce_max(tf.abs(expected[2]))))


def test_more_parts_of_a_gram_matrix_of_bfloat16_round_less() -> None:
    F = tf.cast(np.random.default_rng(0).uniform(size=(1, 64, 64, 16)), tf.bfloat16)
    exact = moments.gram_sum(tf.cast(F, tf.float32))
    whole, odd = moments.gram_sum(F), moments.gram_sum(F[:, :63, :63])
    error = float(tf.norm(whole - exact) / tf.norm(exact))
    of_one_part = float(tf.norm(odd - (rest := moments.gram_sum(tf.cast(F[:, :63, :63], tf.float32)))) / tf.norm(rest))
    assert error < 0.7 * of_one_part < 2 ** -9


def test_moments_of_parts_add_to_those_of_the_whole() -> None:
    features = np.random.default_rng(0).normal(size=(1, 17, 23, 5)).astype(np.float32)
    whole, *parts = (moments.measure_gram(tf.constant(part))
                     for part in (features, features[:, :9], features[:, 9:]))
    np.testing.assert_allclose(parts[0].sums[0] + parts[1].sums[0], whole.sums[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(parts[0].count + parts[1].count, whole.count)
    np.testing.assert_array_equal(whole.count, [17 * 23])


def test_gram_does_not_depend_on_the_order_of_positions() -> None:
    features = np.random.default_rng(0).normal(size=(1, 50, 3)).astype(np.float32)
    shuffled = features[:, np.random.default_rng(1).permutation(50)]
    np.testing.assert_allclose(moments.gram_sum(features), moments.gram_sum(shuffled), rtol=1e-5)


def test_blend_mixes_raw_moments() -> None:
    first, second = (tf.constant([[1.0, 2.0]]),), (tf.constant([[5.0, 0.0]]),)
    np.testing.assert_allclose(moments.blend([first, second], [3, 1])[0], [[2.0, 1.5]])
    np.testing.assert_array_equal(moments.blend([first, second], [1, 0])[0], first[0])


def test_smoothness_by_hand() -> None:
    # One channel repeated: rows [0, 1, 3], [2, 2, 2]. Right: 1, 4, 0, 0 → mean 5/4. Down: 4, 1, 1 → mean 2.
    image = np.repeat(np.array([[0, 1, 3], [2, 2, 2]], np.float32)[None, ..., None], 3, axis=-1)
    assert float(smoothness(tf.constant(image))) == pytest.approx(5 / 4 + 2)


def test_smoothness_equals_an_independent_implementation() -> None:
    image = np.random.default_rng(0).uniform(size=(1, 17, 23, 3)).astype(np.float32)
    expected = np.mean(np.diff(image, axis=2) ** 2) + np.mean(np.diff(image, axis=1) ** 2)
    assert float(smoothness(tf.constant(image))) == pytest.approx(expected, rel=1e-5)


def _gram_loss(distance: Callable) -> Callable:
    target = tf.random.stateless_uniform((1, 3, 3), [1, 2], dtype=tf.float64)
    return lambda x: distance(moments.mean(moments.measure_gram(x)), (target,))[0]


def _content_loss(distance: Callable) -> Callable:
    target = tf.random.stateless_uniform((1, 5, 7, 3), [3, 4], dtype=tf.float64)
    return lambda x: distance(content.measure_content(x, target))[0]


LOSSES = {f"content {name}": _content_loss(distance) for name, distance in content.CONTENT_DISTANCES.items()}
LOSSES |= {f"style {name}": _gram_loss(distance) for name, distance in style.STYLE_DISTANCES.items()}
LOSSES["smoothness"] = smoothness


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_finite_differences(name: str) -> None:
    # float64, so that the difference is that of the formula and not of rounding.
    step, tolerance = 1e-6, 1e-6
    x = np.random.default_rng(0).uniform(size=(1, 5, 7, 3))
    with tf.GradientTape() as tape:
        variable = tf.constant(x)
        tape.watch(variable)
        loss = LOSSES[name](variable)
    gradient = tape.gradient(loss, variable).numpy()
    for index in ((0, 0, 0, 0), (0, 4, 6, 2), (0, 2, 3, 1), (0, 4, 0, 0)):
        nudge = np.zeros_like(x)
        nudge[index] = step
        difference = (LOSSES[name](tf.constant(x + nudge)) - LOSSES[name](tf.constant(x - nudge))) / (2 * step)
        assert gradient[index] == pytest.approx(float(difference), rel=tolerance, abs=tolerance * 0.1)


def test_fork_adds_the_gradients_of_all_readers() -> None:
    x = tf.constant([0.3, 0.7])
    with tf.GradientTape() as tape:
        tape.watch(x)
        first, rest = fork(x)
        second, third = fork(rest)
        y = tf.reduce_sum(first ** 2 + tf.sin(second) + tf.exp(third))
    np.testing.assert_allclose(tape.gradient(y, x), 2 * x + tf.cos(x) + tf.exp(x), rtol=1e-6)


@pytest.mark.slow
def test_fork_makes_the_gradient_of_five_readers_repeat() -> None:
    """Without `fork`, or without its Snapshot, 20 gradients have three or four different hashes on two cores."""
    x = tf.constant(np.random.default_rng(0).uniform(size=(1, 384, 384, 3)), tf.float32)
    kernels = [tf.constant(np.random.default_rng(1).normal(size=shape), tf.float32)
               for shape in ((3, 3, 3, 64), (3, 3, 64, 64))]

    @tf.function(autograph=False)
    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            copies, rest = [], x
            for _ in range(4):
                copy, rest = fork(rest)
                copies.append(copy)
            features = tf.nn.relu(tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(rest, kernels[0], 1, "SAME")), kernels[1], 1,
                                               "SAME"))
            a, b, c, d = copies
            loss = (1e-6 * tf.reduce_sum(moments.gram_sum(features) ** 2) / 384 ** 4
                    + tf.reduce_mean((a[:, 1:] - b[:, :-1]) ** 2) + tf.reduce_mean((c[:, :, 1:] - d[:, :, :-1]) ** 2))
        return tape.gradient(loss, x)

    assert len({gradient(x).numpy().tobytes() for _ in range(20)}) == 1
