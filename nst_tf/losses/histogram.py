"""A style as the distribution of its features: how their projections onto many directions are distributed.

The sliced Wasserstein distance of Heitz et al. 2021: in one dimension the best transport pairs what is sorted.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nst_tf.losses.moments import Means, Samples
from nst_tf.tensors import Tensor, at_least_float32, positions

# Values that are sorted of one layer: with more positions, each direction reads a part of them.
SORTED_VALUES = 2 ** 18
# Levels at which the style's quantile functions are kept.
LEVELS = 4096
# Each direction sees only its share of how two distributions differ. This much brings the distance of a photo from a
# painting to about that of their Gram matrices (coast and swirls, SqueezeNet), so that one --style_weight holds.
FACTOR = 3.0
# Prime, so that i · STRIDE mod n visits each of n positions once, far apart.
_STRIDE = 2_654_435_761


def directions(channels: int) -> Tensor:
    """Unit vectors θ, float64 [P, C], uniform on the sphere: the same for the same number of channels C.

    P is the first power of two that is no less than C, and at least 64: they reach every direction of the features.
    """
    count = max(64, 2 ** (channels - 1).bit_length())
    theta = np.random.default_rng(channels).normal(size=(count, channels))
    return theta / np.linalg.norm(theta, axis=-1, keepdims=True)


def measure_histogram(F: Tensor, weights: Tensor | None = None) -> Samples:
    """Sorted projections θᵀF_p and the weights that go with them, both [B, P, m].

    Args:
        F: features [B, *space, C].
        weights: w ≥ 0 of each position, [B, *space]; all 1 when left out.
    """
    # Differs from Heitz et al. 2021: the directions are constant, not drawn anew each step, so that the loss is one
    # function; and where P values of each position are more than SORTED_VALUES, each direction reads another part of
    # the positions, since sorting 64 times 262,144 values takes seconds on a CPU.
    flat = positions(at_least_float32(F))
    w = tf.ones_like(flat[..., :1]) if weights is None else positions(weights[..., tf.newaxis])
    theta = tf.constant(directions(F.shape[-1]), flat.dtype)
    shares, w = (_shared(values, theta.shape[0]) for values in (flat, w))
    by_group = tf.reshape(theta, [tf.shape(shares)[1], -1, F.shape[-1]])
    # [B, groups, directions of a group, m] → [B, P, m].
    projections = tf.matmul(by_group, shares, transpose_b=True)
    w = tf.broadcast_to(tf.linalg.matrix_transpose(w), tf.shape(projections))
    x, w = (tf.reshape(values, [-1, theta.shape[0], tf.shape(shares)[2]]) for values in (projections, w))
    negative, order = tf.math.top_k(-x, k=tf.shape(x)[-1])
    return Samples(-negative, tf.gather(w, order, batch_dims=2))


def target_histogram(means: Sequence[Means], weights: Sequence[float]) -> Means:
    """(q_A,), [B, P, LEVELS]: quantiles at the levels (j + ½) / LEVELS, averaged over the styles.

    The average of quantile functions is that of the Wasserstein barycenter of distributions in one dimension: half of
    each style lies between both, where the other statistics mix the positions of two pictures.
    Source: Rabin, Peyré, Delon, Bernot 2011.
    """
    total = sum(weights)
    return (sum(_quantiles(*mean_k) * (weight / total) for mean_k, weight in zip(means, weights, strict=True)),)


def histogram(G: Means, A: Means) -> Tensor:
    """FACTOR · Σ_d Σ_i w_di (x_di − q_d(t_di))² / Σ_d Σ_i w_di q_d(t_di)², the weights of each direction sum to 1.

    x_d1 ≤ x_d2 ≤ … are the picture's projections onto direction d, t_di their levels in (0, 1), q_d the style's
    quantile function.

    Args:
        G: (x, w) as `measure_histogram` returns.
        A: (q,) as `target_histogram` returns.
    Source: Heitz, Vanhoey, Chambon, Belcour 2021, eq. 8.
    """
    # Differs from Heitz et al. 2021: relative to the style's own energy, times FACTOR.
    (x, w), (q,) = G, A
    share = tf.math.divide_no_nan(w, tf.reduce_sum(w, axis=-1, keepdims=True))
    level = tf.cumsum(share, axis=-1) - share / 2
    index = tf.clip_by_value(tf.cast(level * LEVELS, tf.int32), 0, LEVELS - 1)
    # One style may stand for a whole batch.
    q = tf.broadcast_to(q, tf.concat([tf.shape(x)[:1], tf.shape(q)[1:]], 0))
    wanted = tf.gather(q, index, batch_dims=2)
    energy = tf.maximum(tf.reduce_sum(share * tf.square(wanted), axis=[1, 2]), 1e-12)
    return FACTOR * tf.reduce_sum(share * tf.square(x - wanted), axis=[1, 2]) / energy


def _shared(flat: Tensor, count: int) -> Tensor:
    """[B, n, C] → [B, groups, m, C]: the positions dealt into groups, each of which is spread over the picture.

    The groups are the fewest that keep `count` · m ≤ SORTED_VALUES, a power of two that divides `count`; some
    positions, fewer than there are groups, are left over.
    """
    batch, n = tf.shape(flat)[0], tf.shape(flat)[1]
    powers = tf.constant([2 ** k for k in range(count.bit_length())])
    groups = tf.reduce_min(tf.where(powers * (SORTED_VALUES // count) >= n, powers, count))
    m = n // groups
    index = tf.cast(tf.range(groups * m, dtype=tf.int64) * _STRIDE % tf.cast(n, tf.int64), tf.int32)
    # Rows of the whole batch: the gradient of a gather along another axis transposes twice.
    rows = tf.gather(tf.reshape(flat, [batch * n, flat.shape[-1]]), tf.range(batch)[:, tf.newaxis] * n + index)
    return tf.reshape(rows, [batch, groups, m, flat.shape[-1]])


def _quantiles(x: Tensor, w: Tensor) -> Tensor:
    """The quantile function of sorted x with weights w, [B, P, m], at each level: [B, P, LEVELS]."""
    upper = tf.cumsum(w, axis=-1)
    total = upper[..., -1:]
    level = tf.constant((np.arange(LEVELS) + 0.5) / LEVELS, x.dtype) * total
    index = tf.minimum(tf.searchsorted(upper, level, side="left"), tf.shape(x)[-1] - 1)
    return tf.gather(x, index, batch_dims=2)
