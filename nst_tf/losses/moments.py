"""What is measured of features F for their style: sums over positions, so that tiles and several styles simply add."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from nst_tf.tensors import Tensor, at_least_float32, of_examples, positions, shape_of, with_gradient

Means = tuple[Tensor, ...]


class Moments(NamedTuple):
    """Σ_p w_p (…), each [B, …], and n = Σ_p w_p, [B]; two parts of a picture add field by field."""

    sums: Means
    count: Tensor


class Samples(NamedTuple):
    """Sorted values and their weights, both [B, P, m]. They are no sums: two parts of a picture do not add."""

    values: Tensor
    weights: Tensor


# Parts that a Gram matrix of bfloat16 features is summed of: TensorFlow rounds each product to 8 bits, and the rounding
# of n parts is 1/√n of that of one (1.8e-3 of ‖S‖_F: 6e-4). More parts cost time where a layer has few positions.
GRAM_PARTS = 8


def _gram_gradient(inputs: list[Tensor], _: list[Tensor], D: Tensor) -> tuple[Tensor]:
    (F,) = inputs
    return (tf.reshape(tf.matmul(positions(F), tf.cast(_symmetric(D), F.dtype)), tf.shape(F)),)


@with_gradient(_gram_gradient)
def gram_sum(F: Tensor) -> Tensor:
    """Raw Gram matrix, S = Σ_p F_p F_pᵀ.

    Its gradient is dF_p = (D + Dᵀ) F_p, D the gradient of S: one product instead of the two that automatic
    differentiation makes, and one contribution to F instead of two (see `fork`).

    Args:
        F: features, [B, *space, C], any number of space axes. Products of bfloat16 are exact and summed in float32;
            only the sums of `GRAM_PARTS` parts, and D in the gradient, are rounded.
    Returns:
        [B, C, C], float32 for bfloat16.
    Source: Gatys, Ecker, Bethge 2016, eq. 3.
    """
    flat = positions(F)
    if F.dtype != tf.bfloat16:
        return tf.matmul(flat, flat, transpose_a=True)
    batch, count, channels = tf.shape(flat)[0], tf.shape(flat)[1], F.shape[-1]
    # The largest power of two that divides the number of positions.
    parts = tf.minimum(GRAM_PARTS, tf.bitwise.bitwise_and(count, -count))
    part = tf.reshape(flat, [batch * parts, count // parts, channels])
    products = tf.cast(tf.matmul(part, part, transpose_a=True), tf.float32)
    return tf.reduce_sum(tf.reshape(products, [batch, parts, channels, channels]), axis=1)


def measure_gram(F: Tensor, weights: Tensor | None = None) -> Moments:
    """Σ_p w_p F_p F_pᵀ and n = Σ_p w_p.

    Args:
        F: features [B, *space, C].
        weights: w ≥ 0 of each position, [B, *space]; all 1 when left out.
    """
    # √w on both factors keeps the one product of the gradient.
    weighted = F if weights is None else F * tf.cast(tf.sqrt(weights), F.dtype)[..., tf.newaxis]
    return Moments((gram_sum(weighted),), total_weight(F, weights))


def measure_mean(F: Tensor, weights: Tensor) -> Moments:
    """Σ_p w_p F_p, [B, C], and n; F is [B, *space, C], w ≥ 0 [1 or B, *space]."""
    # A product: `tf.reduce_sum` over many rows rounds more.
    F = at_least_float32(F)
    sums = tf.matmul(positions(weights[..., tf.newaxis]), positions(F), transpose_a=True)[:, 0]
    return Moments((sums,), total_weight(F, weights))


def measure_mean_and_squares(F: Tensor, weights: Tensor | None = None) -> Moments:
    """Σ_p w_p F_p, Σ_p w_p F_p², both [B, C], and n.

    One contribution to F instead of two (see `fork`): dF_p = w_p (d + 2 D F_p), d and D the gradients of the sums.
    """
    F = at_least_float32(F)
    return Moments(_mean_and_squares(F, _column(F, weights)), total_weight(F, weights))


def _mean_and_squares_gradient(inputs: list[Tensor], _: list[Tensor], d: Tensor, D: Tensor) -> tuple[Tensor, None]:
    F, w = inputs
    return tf.reshape(w * (d[:, tf.newaxis] + 2.0 * D[:, tf.newaxis] * positions(F)), tf.shape(F)), None


@with_gradient(_mean_and_squares_gradient)
def _mean_and_squares(F: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    flat = positions(F)
    return _sum_over_positions(w, flat), _sum_over_positions(w, tf.square(flat))


def measure_mean_and_gram(F: Tensor, weights: Tensor | None = None) -> Moments:
    """Σ_p w_p F_p, [B, C], Σ_p w_p F_p F_pᵀ, [B, C, C], and n.

    One contribution to F instead of two (see `fork`): dF_p = w_p (d + (D + Dᵀ) F_p), d and D the gradients of the sums.
    """
    F = at_least_float32(F)
    return Moments(_mean_and_gram(F, _column(F, weights)), total_weight(F, weights))


def _mean_and_gram_gradient(inputs: list[Tensor], _: list[Tensor], d: Tensor, D: Tensor) -> tuple[Tensor, None]:
    F, w = inputs
    of_gram = tf.matmul(positions(F), _symmetric(D))
    return tf.reshape(w * (d[:, tf.newaxis] + of_gram), tf.shape(F)), None


@with_gradient(_mean_and_gram_gradient)
def _mean_and_gram(F: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    flat = positions(F)
    # √w on both factors: symmetric and positive however a product is rounded.
    weighted = tf.sqrt(w) * flat
    return _sum_over_positions(w, flat), tf.matmul(weighted, weighted, transpose_a=True)


def mean(moments: Moments | Samples) -> Means:
    """S / n: moments for each position, which do not depend on the picture's size; 0 where n is. Samples stay."""
    if isinstance(moments, Samples):
        return moments.values, moments.weights
    count = tf.maximum(moments.count, 1e-12)
    return tuple(sums / of_examples(count, sums) for sums in moments.sums)


def blend(means: Sequence[Means], weights: Sequence[float]) -> Means:
    """Raw moments of a blended style, A = Σ_k b_k A_k / Σ_k b_k.

    Raw moments mix as the positions of a picture do: half of each style is the style of a picture made of both
    halves. Covariances do not (crowsonkb/style-transfer-pytorch, 93fe0b2).
    """
    total = sum(weights)
    return tuple(sum(mean_k * (weight / total) for mean_k, weight in zip(of_styles, weights, strict=True))
                 for of_styles in zip(*means, strict=True))


def _symmetric(D: Tensor) -> Tensor:
    """D + Dᵀ."""
    return D + tf.linalg.matrix_transpose(D)


def _column(F: Tensor, weights: Tensor | None) -> Tensor:
    """Weights of positions as [B, positions, 1]."""
    w = tf.ones_like(F[..., 0]) if weights is None else weights
    return positions(w[..., tf.newaxis])


def _sum_over_positions(w: Tensor, x: Tensor) -> Tensor:
    """Σ_p w_p x_p of [B, positions, 1] and [B, positions, C], [B, C]."""
    # √w on both factors again; a product, because `tf.reduce_sum` over 512² rows was wrong by 3e-5, too much for σ.
    root = tf.sqrt(w)
    return tf.matmul(root, root * x, transpose_a=True)[:, 0]


def total_weight(F: Tensor, weights: Tensor | None) -> Tensor:
    """n = Σ_p w_p of features [B, *space, C], [B]."""
    if weights is None:
        shape = shape_of(F)
        dtype = tf.as_dtype(F.dtype) if tf.as_dtype(F.dtype).size >= 4 else tf.float32
        count = (tf.cast(tf.reduce_prod(shape[1:-1]), dtype) if isinstance(shape, tf.Tensor)
                 else tf.constant(math.prod(shape[1:-1]), dtype))
        return tf.fill(shape[:1], count)
    counts = tf.reduce_sum(weights, axis=list(range(1, len(weights.shape))))
    return tf.broadcast_to(counts, tf.shape(F)[:1])
