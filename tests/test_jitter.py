"""Jitter: by hand, against NumPy, its gradient, and that it is a function of seed and step."""

import numpy as np
import tensorflow as tf

from nst_tf.optimize.jitter import index, offset, offsets, shift

from .conftest import make_picture


def test_by_hand() -> None:
    row = tf.reshape(tf.constant([1.0, 2.0, 3.0, 4.0]), [1, 1, 4, 1])
    image = tf.concat([row, row + 10], 1)
    assert shift(image, tf.constant([1, 0]), 1)[0, :, :, 0].numpy().tolist() == [[2, 1, 2, 3], [12, 11, 12, 13]]
    assert shift(image, tf.constant([0, 2]), 1)[0, :, :, 0].numpy().tolist() == [[12, 13, 14, 13], [2, 3, 4, 3]]


def test_it_equals_numpy_at_odd_sizes_and_the_middle_offset_moves_nothing() -> None:
    picture = make_picture(17, 23, 0)
    padded = np.pad(picture, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    for rows, columns in ((0, 0), (8, 3), (5, 8)):
        moved = shift(tf.constant(picture[None]), tf.constant([rows, columns]), 4)
        np.testing.assert_array_equal(moved[0], padded[rows:rows + 17, columns:columns + 23])
    np.testing.assert_array_equal(shift(tf.constant(picture[None]), tf.constant([4, 4]), 4)[0], picture)
    assert shift(picture, None, 0) is picture


def test_the_gradient_is_that_of_the_pixels_that_were_seen() -> None:
    x = tf.constant(make_picture(7, 9, 1)[None])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(shift(x, tf.constant([0, 1]), 2))
    # Rows −2 … 4 and columns −1 … 7 are seen: −2, −1 are rows 2, 1 again, −1 is column 1 again.
    rows, columns = [1, 2, 2, 1, 1, 0, 0], [1, 2, 1, 1, 1, 1, 1, 1, 0]
    np.testing.assert_allclose(tape.gradient(total, x)[0, ..., 0], np.outer(rows, columns))


def test_offsets_follow_seed_and_step_alone_and_reach_every_place() -> None:
    drawn = [tuple(offset(3, step, 2).numpy()) for step in range(400)]
    assert drawn == [tuple(offset(3, step, 2).numpy()) for step in range(400)]
    assert set(drawn) == {(row, column) for row in range(5) for column in range(5)}
    assert drawn != [tuple(offset(4, step, 2).numpy()) for step in range(400)]


def test_every_offset_is_found_by_its_index() -> None:
    for jitter_px, axes in ((1, 2), (2, 1), (1, 3)):
        places = offsets(jitter_px, axes)
        assert len(places) == (2 * jitter_px + 1) ** axes
        assert [int(index(place, jitter_px)) for place in places] == list(range(len(places)))
    assert int(index(offset(3, 5, 2), 2)) == [tuple(place.numpy()) for place in offsets(2)].index(
        tuple(offset(3, 5, 2).numpy()))
