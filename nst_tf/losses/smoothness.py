"""Smoothness: total variation in its squared form, which keeps noise out of flat areas."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nst_tf.losses.objective import Objective
from nst_tf.losses.term import PICTURE, Source, Term, TermTargets
from nst_tf.tensors import Array, Tensor, correlate, fork, has_plane, on_axis, on_plane, single_axes

# Differences to the next position of a column, as a kernel [2, 1, 1], and along both axes of a plane, [2, 2, 2].
_OF_COLUMN = np.array([-1.0, 1.0], np.float32).reshape(2, 1, 1)
_OF_PLANE = np.zeros((2, 2, 2), np.float32)
_OF_PLANE[0, 0] = -1.0
_OF_PLANE[1, 0, 0] = 1.0
_OF_PLANE[0, 1, 1] = 1.0


def measure_smoothness(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """S_k = Σ_p w_p Σ_c (x_{p + e_k, c} − x_pc)² for each space axis k, over the positions p that have a next p + e_k.

    They add over tiles: each position counts where its weight is 1, and a margin of one position behind the tile gives
    the last ones their next. Convolutions, because slices of the image would each add a contribution to its gradient,
    and TensorFlow sums three or more of them in an order that depends on timing (see `fork`).

    Args:
        x: [B, *space, C], one to three space axes.
        weights: w, 0 or 1 for each position, [B, *space] or [1, *space]; all 1 when left out.
    Returns:
        [B, axes].
    """
    rest, sums = x, []
    for axis in single_axes(x):
        rest, one = fork(rest) if has_plane(x) else (rest, rest)
        sums.append(_sum_of_squares(on_axis(one, axis, _column_differences), x.shape[-1], weights))
    if has_plane(x):
        sums.append(_sum_of_squares(on_plane(rest, _plane_differences), x.shape[-1], weights))
    return tf.concat(sums, 1)


def pairs(size: Sequence[int], channels: int) -> Array:
    """n_k: how many pairs of values a whole picture has along each space axis, at least 1; [axes]."""
    axes = range(len(size))
    counts = [channels * math.prod(size[other] - (other == axis) for other in axes) for axis in axes]
    return np.maximum(np.array(counts, np.float32), 1.0)


def compare_smoothness(sums: Tensor, counts: Tensor) -> Tensor:
    """Σ_k S_k / n_k: the mean of the squared differences along each axis, summed over the axes.

    Args:
        sums: S, [B, axes]; counts: n, [axes], what `pairs` returns.
    Returns:
        [B], ≥ 0; 0 for a flat picture.
    Source: the squared form of Mahendran and Vedaldi 2015, β = 2; means instead of sums, as crowsonkb.
    """
    return tf.reduce_sum(sums / tf.cast(counts, sums.dtype), axis=1)


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


def _targets(objective: Objective, source: Source) -> TermTargets:
    picture, *_ = source.pictures()
    return TermTargets(target=tf.constant(pairs(source.size, picture.shape[-1])))


SMOOTHNESS = Term(
    lambda objective, view, fixed: measure_smoothness(view.picture(), view.weights(PICTURE)),
    lambda objective, sums, counts: (compare_smoothness(sums, counts), {}),
    _targets)
