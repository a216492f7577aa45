"""Smoothness: total variation in its squared form, which keeps noise out of flat areas."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nst_tf.losses.objective import Objective
from nst_tf.losses.term import PICTURE, Source, Term, TermTargets
from nst_tf.tensors import Array, Tensor, of_examples, with_gradient


def _differences(x: Tensor, axis: int) -> Tensor:
    """x_{p + e_k} − x_p: [B, *space, C], one position less along the axis k."""
    before = (slice(None),) * axis
    return x[(*before, slice(1, None))] - x[(*before, slice(None, -1))]


def _counted(weights: Tensor, axis: int) -> Tensor:
    """The weights of the differences along an axis, [B, *space, 1]."""
    return weights[(*(slice(None),) * axis, slice(None, -1))][..., tf.newaxis]


def _between(differences: Tensor, axis: int) -> Tensor:
    """The transpose of `_differences`: one position more along the axis."""
    before, behind = ([[0, 0]] * axis + [margins] + [[0, 0]] * (len(differences.shape) - 1 - axis)
                      for margins in ([1, 0], [0, 1]))
    return tf.pad(differences, before) - tf.pad(differences, behind)


def _gradient(inputs: list[Tensor], _: list[Tensor], g: Tensor) -> tuple[Tensor | None, ...]:
    """Σ_k 2 g_k Dᵀ_k (w D_k x)."""
    x, *weights = inputs
    total = None
    for axis in range(1, len(x.shape) - 1):
        scaled = _differences(x, axis) * of_examples(2 * g[:, axis - 1], x)
        part = _between(scaled * _counted(weights[0], axis) if weights else scaled, axis)
        # One pair after another, as in `fork`.
        total = part if total is None else tf.raw_ops.Snapshot(input=total + part)
    return total, *[None] * len(weights)


@with_gradient(_gradient)
def _sums(x: Tensor, *weights: Tensor) -> Tensor:
    """`measure_smoothness` with none or one weights."""
    sums = []
    for axis in range(1, len(x.shape) - 1):
        squares = tf.square(_differences(x, axis))
        sums.append(tf.reduce_sum(squares * _counted(weights[0], axis) if weights else squares,
                                  axis=range(1, len(x.shape))))
    return tf.stack(sums, 1)


def measure_smoothness(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """S_k = Σ_p w_p Σ_c (x_{p + e_k, c} − x_pc)² for each space axis k, over the positions p that have a next p + e_k.

    They add over tiles: each position counts where its weight is 1, and a margin of one position behind the tile gives
    the last ones their next. The gradient is written out: that of slices is a whole picture of zeros for each, and
    TensorFlow sums three or more of them in an order that depends on timing (see `fork`).

    Args:
        x: [B, *space, C], one to three space axes.
        weights: w, 0 or 1 for each position, [B, *space] or [1, *space]; all 1 when left out.
    Returns:
        [B, axes].
    """
    sums: Tensor = _sums(x) if weights is None else _sums(x, tf.cast(weights, tf.convert_to_tensor(x).dtype))
    return sums


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


def _targets(objective: Objective, source: Source) -> TermTargets:
    picture, *_ = source.pictures()
    return TermTargets(target=tf.constant(pairs(source.size, picture.shape[-1])))


SMOOTHNESS = Term(
    lambda objective, view, fixed: measure_smoothness(view.picture(), view.weights(PICTURE)),
    lambda objective, sums, counts: (compare_smoothness(sums, counts), {}),
    _targets)
