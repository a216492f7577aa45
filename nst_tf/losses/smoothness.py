"""Smoothness: total variation in its squared form, which keeps noise out of flat areas."""

import numpy as np
import tensorflow as tf

from nst_tf.losses.term import PICTURE, Term, no_aim
from nst_tf.tensors import Tensor, correlate, fork, has_plane, on_axis, on_plane, single_axes

# Differences to the next position of a column, as a kernel [2, 1, 1], and along both axes of a plane, [2, 2, 2].
_OF_COLUMN = np.array([-1.0, 1.0], np.float32).reshape(2, 1, 1)
_OF_PLANE = np.zeros((2, 2, 2), np.float32)
_OF_PLANE[0, 0] = -1.0
_OF_PLANE[1, 0, 0] = 1.0
_OF_PLANE[0, 1, 1] = 1.0


def smoothness(image: Tensor) -> Tensor:
    """Mean over the pictures of `compare_smoothness`; a scalar ≥ 0, 0 for a flat image [B, *space, C]."""
    return tf.reduce_mean(compare_smoothness(*measure_smoothness(image)))


def measure_smoothness(x: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """S_k = Σ_p w_p Σ_c (x_{p + e_k, c} − x_pc)² and n_k = C Σ_p w_p for each space axis k, over p with a next p + e_k.

    Both add over tiles: each position counts where its weight is 1, and a margin of one position behind the tile gives
    the last ones their next. Convolutions, because slices of the image would each add a contribution to its gradient,
    and TensorFlow sums three or more of them in an order that depends on timing (see `fork`).

    Args:
        x: [B, *space, C], one to three space axes.
        weights: w, 0 or 1 for each position, [B, *space] or [1, *space]; all 1 when left out.
    Returns:
        (S, n), each [B, axes].
    """
    rest, sums = x, []
    for axis in single_axes(x):
        rest, one = fork(rest) if has_plane(x) else (rest, rest)
        sums.append(_sum_of_squares(on_axis(one, axis, _column_differences), x.shape[-1], weights))
    if has_plane(x):
        sums.append(_sum_of_squares(on_plane(rest, _plane_differences), x.shape[-1], weights))
    return tf.concat(sums, 1), _pairs(x, weights)


def compare_smoothness(sums: Tensor, pairs: Tensor) -> Tensor:
    """Σ_k S_k / n_k: the mean of the squared differences along each axis, summed over the axes.

    Args:
        sums, pairs: what `measure_smoothness` returns, [B, axes]. An axis without pairs counts 0.
    Returns:
        [B], ≥ 0; 0 for a flat picture.
    Source: the squared form of Mahendran and Vedaldi 2015, β = 2; means instead of sums, as crowsonkb.
    """
    return tf.reduce_sum(sums / tf.maximum(pairs, 1.0), axis=1)


def _column_differences(columns: Tensor) -> Tensor:
    """[N, side, M, C], the last 0: repeating an edge makes the differences that do not exist zero."""
    return correlate(tf.pad(columns, [[0, 0], [0, 1], [0, 0], [0, 0]], mode="SYMMETRIC"), _OF_COLUMN)


def _plane_differences(planes: Tensor) -> Tensor:
    """[N, H, W, 2 C]: of each channel that along the rows' axis, then that along the columns'."""
    return correlate(tf.pad(planes, [[0, 0], [0, 1], [0, 1], [0, 0]], mode="SYMMETRIC"), _OF_PLANE)


def _sum_of_squares(differences: Tensor, channels: int, weights: Tensor | None) -> Tensor:
    """[B, axes] of [B, *space, C · axes]."""
    shape = tf.shape(differences)
    squares = tf.reshape(tf.square(differences), [shape[0], -1, channels, differences.shape[-1] // channels])
    if weights is not None:
        squares *= tf.reshape(tf.cast(weights, squares.dtype), [tf.shape(weights)[0], -1, 1, 1])
    return tf.reduce_sum(squares, axis=[1, 2])


def _pairs(x: Tensor, weights: Tensor | None) -> Tensor:
    """n, [B, axes]."""
    channels = float(x.shape[-1])
    axes = range(1, len(x.shape) - 1)
    if weights is None:
        sides = [tf.cast(tf.shape(x)[axis], x.dtype) for axis in axes]
        counts = [tf.reduce_prod([side - 1.0 if other == axis else side for other, side in enumerate(sides)])
                  for axis in range(len(sides))]
        return channels * tf.ones([tf.shape(x)[0], 1], x.dtype) * tf.stack(counts)
    w = tf.cast(weights, x.dtype)
    counts = [tf.reduce_sum(tf.gather(w, tf.range(tf.shape(w)[axis] - 1), axis=axis), axis=list(axes)) for axis in axes]
    return channels * tf.ones([tf.shape(x)[0], 1], x.dtype) * tf.stack(counts, axis=1)


# Pixels are all that it reads.
SMOOTHNESS = Term(
    no_aim,
    lambda objective, view, fixed: measure_smoothness(view.picture(), view.weights(PICTURE)),
    lambda objective, sums, target: (compare_smoothness(*sums), {}))
