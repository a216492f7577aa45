"""What of a layer is called its style: sums over positions, so that tiles and several styles simply add.

A row of `STATISTICS` measures features F as raw moments; the distances of `style.py` compare them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any


class Moments(NamedTuple):
    """Sums over positions and how many positions were summed; two parts of a picture add field by field."""

    sums: Tensor
    count: Tensor


class Statistic(NamedTuple):
    """A style statistic: `measure(F) -> Moments`."""

    measure: Callable[[Tensor], Moments]


@tf.custom_gradient
def gram_sum(F: Tensor) -> Any:
    """Raw Gram matrix, S = Σ_p F_p F_pᵀ.

    Its gradient is dF_p = (D + Dᵀ) F_p, D the gradient of S: one product instead of the two that automatic
    differentiation makes, and one contribution to F instead of two (see `fork`).

    Args:
        F: features, float32 [B, *space, C], any number of space axes.
    Returns:
        [B, C, C].
    Source: Gatys, Ecker, Bethge 2016, eq. 3.
    """
    flat = _positions(F)
    gram = tf.matmul(flat, flat, transpose_a=True)

    def gradient(D: Tensor) -> Tensor:
        return tf.reshape(tf.matmul(flat, D + tf.linalg.matrix_transpose(D)), tf.shape(F))

    return gram, gradient


def measure_gram(F: Tensor) -> Moments:
    """The raw Gram matrix of features [B, *space, C] and the number of positions."""
    return Moments(gram_sum(F), tf.cast(tf.shape(_positions(F))[1], F.dtype))


def mean(moments: Moments) -> Tensor:
    """G = S / n: raw moments for each position, which do not depend on the picture's size."""
    return moments.sums / moments.count


def blend(means: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Raw moments of a blended style, A = Σ_k b_k A_k / Σ_k b_k.

    Raw moments mix as the positions of a picture do: half of each style is the style of a picture made of both
    halves. Covariances do not (crowsonkb/style-transfer-pytorch, 93fe0b2).
    """
    total = sum(weights)
    return sum(mean_k * (weight / total) for mean_k, weight in zip(means, weights, strict=True))


def _positions(F: Tensor) -> Tensor:
    """[B, *space, C] → [B, positions, C]."""
    shape = tf.shape(F)
    return tf.reshape(F, [shape[0], -1, F.shape[-1]])


STATISTICS: dict[str, Statistic] = {"gram": Statistic(measure_gram)}
