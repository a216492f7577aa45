"""One suite over signals, pictures and clips: each helper against NumPy or SciPy, and against each other's ranks."""

import itertools

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from nst_tf.losses.guides import ReceptiveField, guide, visibility
from nst_tf.losses.motifs import extract_motifs
from nst_tf.losses.smoothness import compare_smoothness, measure_smoothness, pairs
from nst_tf.optimize import first_image as canvas
from nst_tf.optimize.gradient import smooth
from nst_tf.optimize.jitter import offset, shift
from nst_tf.tensors import Tensor, blur, mirrored, positions, resize, shrink, tents

from .losses import smoothness

Array = np.ndarray

# [B, *space, C]: odd and even sides, no two alike, not three channels.
SHAPES = {"signal": (2, 19, 5), "picture": (2, 13, 18, 4), "clip": (2, 7, 12, 9, 2)}
RANKS = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
PICTURE = (1, 17, 23, 3)


def _random(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def _sides(shape: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """Each side times a factor and one more for each axis, so that the axes differ."""
    return tuple(round(side * factor) + axis for axis, side in enumerate(shape[1:-1]))


def _gradient(function, x: Tensor) -> Tensor:
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x)


# What maps [B, *space, C] → [B, *space', C], with sides that follow from the shape.
MAPS = {
    "mirrored": lambda x: mirrored(x, 3),
    "blur": blur,
    "smooth": lambda x: smooth(x, 0.7),
    "resize": lambda x: resize(x, _sides(x.shape, 1.6)),
    "enlarge": lambda x: canvas.enlarge(x, *_sides(x.shape, 1.6)),
    "shrink": lambda x: shrink(x, *_sides(x.shape, 0.4)),
    "shift": lambda x: shift(x, offset(0, 3, 2, len(x.shape) - 2), 2),
}


@RANKS
def test_positions_and_margins_equal_numpy(shape: tuple[int, ...]) -> None:
    x = _random(shape)
    np.testing.assert_array_equal(positions(x), x.reshape(shape[0], -1, shape[-1]))
    margins = [(0, 0), *[(3, 3)] * (len(shape) - 2), (0, 0)]
    np.testing.assert_array_equal(mirrored(x, 3), np.pad(x, margins, mode="reflect"))


@RANKS
def test_blur_equals_scipy(shape: tuple[int, ...]) -> None:
    x = expected = _random(shape)
    for axis in range(1, len(shape) - 1):
        expected = scipy.ndimage.correlate1d(expected, [0.25, 0.5, 0.25], axis=axis, mode="mirror")
    np.testing.assert_allclose(blur(x), expected, atol=1e-6)
    np.testing.assert_allclose(smooth(tf.constant(x), 0.7), 0.3 * x + 0.7 * expected, atol=1e-6)


@RANKS
def test_shift_equals_numpy(shape: tuple[int, ...]) -> None:
    x, axes = _random(shape), len(shape) - 2
    padded = np.pad(x, [(0, 0), *[(2, 2)] * axes, (0, 0)], mode="reflect")
    for step in range(5):
        begin = offset(1, step, 2, axes).numpy()
        seen = tuple(slice(first, first + side) for first, side in zip(begin, shape[1:-1], strict=True))
        np.testing.assert_array_equal(shift(tf.constant(x), begin, 2), padded[(slice(None), *seen)])
    np.testing.assert_array_equal(shift(tf.constant(x), [2] * axes, 2), x)


def test_offsets_of_pictures_stay_and_those_of_all_ranks_reach_every_place() -> None:
    assert [offset(3, step, 4).numpy().tolist() for step in range(3)] == [[7, 0], [8, 2], [7, 0]]
    for axes in (1, 2, 3):
        drawn = {tuple(offset(0, step, 1, axes).numpy()) for step in range(400)}
        assert drawn == set(itertools.product(range(3), repeat=axes))


def _keys_cubic(side: int, new_side: int) -> Array:
    """Weights [new_side, side] of Keys' cubic interpolation, a = −½; outside of the edges nothing counts."""
    places = (np.arange(new_side) + 0.5) * side / new_side - 0.5
    t = np.abs(places[:, None] - np.arange(side))
    near, far = 1.5 * t ** 3 - 2.5 * t ** 2 + 1, -0.5 * t ** 3 + 2.5 * t ** 2 - 4 * t + 2
    weights = np.where(t <= 1, near, np.where(t < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


@RANKS
def test_resize_equals_an_independent_implementation(shape: tuple[int, ...]) -> None:
    x, expected = _random(shape), _random(shape)
    sides = _sides(shape, 1.6)
    for axis, (side, new_side) in enumerate(zip(shape[1:-1], sides, strict=True), start=1):
        expected = np.moveaxis(np.tensordot(_keys_cubic(side, new_side), expected, (1, axis)), 0, axis)
    # TensorFlow takes the cubic from a table of 1024 places.
    np.testing.assert_allclose(resize(x, sides), expected, atol=2e-3)
    np.testing.assert_allclose(canvas.enlarge(x, *sides), np.clip(expected, 0, 1), atol=2e-3)


@RANKS
def test_changes_are_enlarged_onto_the_original(shape: tuple[int, ...]) -> None:
    sides = _sides(shape, 1.6)
    large, small = tf.constant(0.2 + 0.5 * _random((shape[0], *sides, shape[-1]), 1)), tf.constant(_random(shape))
    np.testing.assert_allclose(canvas.enlarge_changes(small, small, large), large, atol=1e-6)
    np.testing.assert_allclose(canvas.enlarge_changes(small + 0.1, small, large), large + 0.1, atol=1e-5)


@RANKS
def test_first_images_have_any_rank(shape: tuple[int, ...]) -> None:
    pictures = [_random(shape[1:], seed) for seed in range(3)]
    mean_color = np.linspace(0.2, 0.7, shape[-1]).tolist()
    origins = canvas.Origins(shape[1:], lambda: pictures[0], lambda: pictures[1:], (0.25, 0.75), mean_color, 5)
    for name in canvas.INITIALIZERS:
        image = canvas.first_image(name, origins).numpy()
        assert image.shape == (1, *shape[1:]) and image.min() >= 0 and image.max() <= 1
    np.testing.assert_allclose(canvas.first_image("mean", origins)[0, ..., -1], 0.7, rtol=1e-6)


@RANKS
def test_shrink_equals_numpy(shape: tuple[int, ...]) -> None:
    x, sides = _random(shape), _sides(shape, 0.4)
    expected = x.astype(np.float64)
    for axis, (side, cells) in enumerate(zip(shape[1:-1], sides, strict=True), start=1):
        expected = np.moveaxis(np.tensordot(tents(side, cells), expected, (1, axis)), 0, axis)
    assert shrink(x, *sides).shape == (shape[0], *sides, shape[-1])
    np.testing.assert_allclose(shrink(x, *sides), expected, atol=1e-6)


@RANKS
def test_motifs_see_copies_of_any_rank(shape: tuple[int, ...]) -> None:
    longest = max(shape[1:-1])
    extract = extract_motifs(lambda x: {"a": 2.0 * x}, ["a"], longest, (longest // 2, 3))
    x = tf.constant(_random(shape))
    half = shrink(x, *(max(1, round(side * (longest // 2) / longest)) for side in shape[1:-1]))
    features = extract(x)
    np.testing.assert_array_equal(features[f"a/{longest // 2}px"], 2 * half)
    assert max(features["a/3px"].shape[1:-1]) == 3


@RANKS
def test_guides_equal_numpy_and_share_out_every_cell(shape: tuple[int, ...]) -> None:
    mask, cells, field = _random(shape[1:-1]), _sides(shape, 0.4), ReceptiveField(2, 9)
    expected = mask.astype(np.float64)
    for axis, (side, count) in enumerate(zip(mask.shape, cells, strict=True)):
        expected = np.moveaxis(np.tensordot(visibility(side, count, field), expected, (1, axis)), 0, axis)
    w = guide(mask, cells, field)
    assert w.shape == cells and w.dtype == np.float32
    np.testing.assert_allclose(w, expected, atol=1e-6)
    np.testing.assert_allclose(w + guide(1 - mask, cells, field), 1, atol=1e-6)


@RANKS
def test_smoothness_equals_numpy(shape: tuple[int, ...]) -> None:
    x = _random(shape)
    sums, counts = measure_smoothness(tf.constant(x)), pairs(shape[1:-1], shape[-1])
    axes = range(1, len(shape) - 1)
    squares = [np.diff(x.astype(np.float64), axis=axis) ** 2 for axis in axes]
    np.testing.assert_allclose(sums, np.stack([s.reshape(shape[0], -1).sum(1) for s in squares], 1), rtol=1e-5)
    np.testing.assert_array_equal(counts, [s[0].size for s in squares])
    means = [s.reshape(shape[0], -1).mean(1) for s in squares]
    np.testing.assert_allclose(compare_smoothness(sums, counts), sum(means), rtol=1e-5)
    assert float(smoothness(tf.constant(x))) == pytest.approx(np.mean(sum(means)), rel=1e-5)


def test_an_axis_of_one_position_has_no_differences() -> None:
    x = _random((1, 1, 9, 2))
    assert float(smoothness(tf.constant(x))) == pytest.approx(np.mean(np.diff(x, axis=2) ** 2), rel=1e-5)


@RANKS
@pytest.mark.parametrize("weighted", [False, True], ids=["all", "weighted"])
def test_the_gradient_of_smoothness_equals_finite_differences(shape: tuple[int, ...], weighted: bool) -> None:
    x = tf.constant(_random(shape), tf.float64)
    weights = tf.constant(_random((1, *shape[1:-1]), 7) < 0.6, tf.float64) if weighted else None

    def value(x: Tensor) -> Tensor:
        sums = measure_smoothness(x, weights)
        return tf.reduce_sum(compare_smoothness(sums, pairs(shape[1:-1], shape[-1])) * [1.0, 2.0])

    g = _gradient(value, x)
    direction = np.random.default_rng(1).normal(size=shape)
    difference = (value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
    assert float(tf.reduce_sum(g * direction)) == pytest.approx(float(difference), rel=1e-7)


@RANKS
def test_smoothness_adds_over_tiles_with_margins(shape: tuple[int, ...]) -> None:
    """Tiles of half of each side, each read with a margin where there is one; values and gradients add."""
    x = tf.constant(_random(shape), tf.float64)
    spans = [((0, side // 2), (side // 2, side)) for side in shape[1:-1]]
    sums, g = 0.0, np.zeros(shape)
    upstream = tf.constant(np.random.default_rng(2).normal(size=(shape[0], len(spans))))
    for tile in itertools.product(*spans):
        margins = [(min(first, 1), min(side - stop, 2)) for (first, stop), side in zip(tile, shape[1:-1], strict=True)]
        read = (slice(None), *(slice(first - before, stop + after)
                               for (first, stop), (before, after) in zip(tile, margins, strict=True)))
        ones = np.ones([stop - first for first, stop in tile])
        with tf.GradientTape() as tape:
            part = tf.constant(x.numpy()[read])
            tape.watch(part)
            of_tile = measure_smoothness(part, tf.constant(np.pad(ones, margins)[np.newaxis]))
        sums = sums + of_tile
        g[read] += tape.gradient(of_tile, part, upstream)
    np.testing.assert_allclose(sums, measure_smoothness(x), rtol=1e-12)
    whole = _gradient(lambda x: tf.reduce_sum(measure_smoothness(x) * upstream), x)
    np.testing.assert_allclose(g, whole, atol=1e-12)


def test_weights_are_those_of_each_example() -> None:
    x = tf.constant(_random((2, 6, 7, 2)))
    weights = np.stack([np.ones((6, 7)), np.zeros((6, 7))]).astype(np.float32)
    sums = measure_smoothness(x, tf.constant(weights))
    np.testing.assert_allclose(sums[0], measure_smoothness(x)[0], rtol=1e-6)
    assert not sums[1].numpy().any()
    assert float(compare_smoothness(sums, pairs((6, 7), 2))[1]) == 0


@RANKS
@pytest.mark.parametrize("name", MAPS)
def test_what_is_constant_stays_and_batches_and_channels_do_not_mix(name: str, shape: tuple[int, ...]) -> None:
    constant = np.broadcast_to(np.linspace(0.1, 0.9, shape[-1]), shape).astype(np.float32)
    y = MAPS[name](tf.constant(constant)).numpy()
    np.testing.assert_allclose(y, np.broadcast_to(constant.reshape(-1, shape[-1])[0], y.shape), atol=1e-6)
    assert float(smoothness(tf.constant(constant))) == 0
    x = _random(shape)
    alone = MAPS[name](tf.constant(x[1:, ..., :1]))
    np.testing.assert_allclose(MAPS[name](tf.constant(x))[1:, ..., :1], alone, atol=1e-6)


# The same maps with sides and offsets that a further axis in front does not change.
SAME_MAPS = MAPS | {
    "resize": lambda x: resize(x, [2 * side + 1 for side in x.shape[1:-1]]),
    "enlarge": lambda x: canvas.enlarge(x, *[2 * side + 1 for side in x.shape[1:-1]]),
    "shrink": lambda x: shrink(x, *[side // 2 for side in x.shape[1:-1]]),
    "shift": lambda x: shift(x, [1] * (len(x.shape) - 2), 2),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_picture_constant_along_an_axis_is_a_signal_and_a_clip_constant_in_time_is_a_picture(name: str) -> None:
    for shape, repeats in ((SHAPES["signal"], 6), (SHAPES["picture"], 7)):
        x = _random(shape)
        # One axis more in front of space, along which nothing changes.
        repeated = SAME_MAPS[name](tf.constant(np.repeat(x[:, np.newaxis], repeats, axis=1)))
        alone = SAME_MAPS[name](tf.constant(x))
        np.testing.assert_allclose(repeated, np.broadcast_to(np.asarray(alone)[:, np.newaxis], repeated.shape),
                                   atol=1e-5)
        assert float(smoothness(tf.constant(np.repeat(x[:, np.newaxis], repeats, axis=1)))) == pytest.approx(
            float(smoothness(tf.constant(x))), rel=1e-5)


@RANKS
@pytest.mark.parametrize("name", [name for name in MAPS if name not in ("resize", "enlarge", "shrink")])
def test_sides_need_not_be_known(name: str, shape: tuple[int, ...]) -> None:
    x = tf.constant(_random(shape))
    unknown = [None] * (len(shape) - 1)
    traced = tf.function(MAPS[name], autograph=False, input_signature=[tf.TensorSpec([*unknown, shape[-1]])])
    np.testing.assert_allclose(traced(x), MAPS[name](x), atol=1e-6)
    measured = tf.function(measure_smoothness, autograph=False, input_signature=[tf.TensorSpec([*unknown, shape[-1]])])
    np.testing.assert_allclose(measured(x), measure_smoothness(x), rtol=1e-6)


@RANKS
def test_gradients_that_have_lost_their_shape_are_blurred(shape: tuple[int, ...]) -> None:
    def step(x: Tensor, begin: Tensor) -> Tensor:
        return smooth(_gradient(lambda x: tf.reduce_sum(tf.sin(shift(x, begin, 2))), x), 0.7)

    x, begin = tf.constant(_random(shape)), offset(0, 1, 2, len(shape) - 2)
    np.testing.assert_allclose(tf.function(step, autograph=False)(x, begin), step(x, begin), atol=1e-6)


def test_pictures_are_what_they_were() -> None:
    """Bit for bit: the operations of the two-dimensional code before, which are TensorFlow's own for pictures."""
    x = tf.constant(_random(PICTURE))
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT")
    binomial = np.repeat(np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32)[..., None, None] / 16, 3, axis=2)
    blurred = tf.nn.depthwise_conv2d(padded, binomial, [1, 1, 1, 1], "VALID")
    np.testing.assert_array_equal(smooth(x, 0.7), 0.3 * x + 0.7 * blurred)
    np.testing.assert_array_equal(resize(x, (29, 31)), tf.image.resize(x, (29, 31), "bicubic"))
    rows, columns = (tf.constant(tents(side, cells), tf.float32) for side, cells in ((17, 7), (23, 9)))
    np.testing.assert_allclose(
        shrink(x, 7, 9), tf.einsum("wj,bhjc->bhwc", columns, tf.einsum("hi,bijc->bhjc", rows, x)), atol=1e-6)
    mask, field = _random((17, 23)), ReceptiveField(2, 9)
    np.testing.assert_array_equal(guide(mask, (5, 7), field),
                                  (visibility(17, 5, field) @ mask @ visibility(23, 7, field).T).astype(np.float32))


def _smoothness_before(image: Tensor) -> Tensor:
    differences = np.zeros((2, 2, 3, 2), np.float32)
    differences[0, 0], differences[0, 1, :, 0], differences[1, 0, :, 1] = -1, 1, 1
    padded = tf.pad(image, [[0, 0], [0, 1], [0, 1], [0, 0]], mode="SYMMETRIC")
    squares = tf.square(tf.nn.depthwise_conv2d(padded, differences, [1, 1, 1, 1], "VALID"))
    height, width = map(float, image.shape[1:3])
    pairs = 3.0 * tf.stack([height * (width - 1.0), (height - 1.0) * width])
    return tf.reduce_sum(tf.reduce_sum(tf.reshape(squares, [-1, 3, 2]), axis=[0, 1]) / pairs)


@pytest.mark.parametrize("traced", [False, True])
def test_the_smoothness_of_pictures_is_what_it_was(traced: bool) -> None:
    x = tf.constant(_random(PICTURE))
    found, before = (tf.function(function, autograph=False) if traced else function
                     for function in (smoothness, _smoothness_before))
    np.testing.assert_allclose(found(x), before(x), rtol=1e-6)
    np.testing.assert_allclose(_gradient(found, x), _gradient(before, x), rtol=1e-5, atol=1e-7)
