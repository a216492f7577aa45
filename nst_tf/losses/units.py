"""What a synthesized picture of a unit maximizes: its activation; and what keeps several pictures of it apart."""

from collections.abc import Callable

import tensorflow as tf

from nst_tf.losses.moments import gram_sum
from nst_tf.tensors import Tensor, fork, with_gradient

# Activations of a network are of order 1 to 1000; below this a unit counts as silent.
SILENCE = 1e-6


def channel_activation(F: Tensor, channels: Tensor) -> Tensor:
    """a_b = mean over positions of F_{b,·,c_b}: the whole map of one channel for each picture.

    Args:
        F: features [B, h, w, C].
        channels: int32 [B], c.
    Returns:
        [B].
    Source: the channel objective of Olah, Mordvintsev, Schubert 2017.
    """
    return tf.reduce_mean(_chosen(F, channels), axis=[1, 2])


def neuron_activation(F: Tensor, channels: Tensor) -> Tensor:
    """a_b = F_{b,⌊h/2⌋,⌊w/2⌋,c_b}: the cell in the middle of the map; arguments as `channel_activation`."""
    shape = tf.shape(F)
    return _chosen(F, channels)[:, shape[1] // 2, shape[2] // 2]


UNIT_OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "channel": channel_activation, "neuron": neuron_activation}


def likeness(F: Tensor, pictures: int) -> Tensor:
    """Mean over the pairs a ≠ b of one unit's pictures of ⟨G_a, G_b⟩ / (‖G_a‖‖G_b‖), G the Gram matrices.

    Args:
        F: features [U · N, h, w, C] of U units with N = `pictures` each, those of a unit side by side; N ≥ 2.
    Returns:
        [U], in [−1, 1]; 1 where all pictures of a unit have the same texture.
    Source: the diversity term of Olah, Mordvintsev, Schubert 2017.
    """
    G = gram_sum(F)
    flat = tf.reshape(G, [-1, pictures, G.shape[-1] ** 2])
    cosines = _self_products(tf.math.l2_normalize(flat, axis=-1, epsilon=SILENCE ** 2))
    return (tf.reduce_sum(cosines, axis=[1, 2]) - tf.linalg.trace(cosines)) / (pictures * (pictures - 1))


def unit_loss(F: Tensor, channels: Tensor, objective: str, pictures: int, diversity_weight: float) -> Tensor:
    """J = − Σ_b log a_b + γ N Σ_u likeness_u.

    The logarithm only makes units of any strength comparable with the other term: its gradient is that of a, over a.

    Args:
        F: features [U · N, h, w, C].
        channels: int32 [U · N].
        objective: a name of `UNIT_OBJECTIVES`.
        pictures: N.
        diversity_weight: γ ≥ 0; without effect where N is 1.
    Returns:
        a scalar; no picture's gradient depends on another unit's.
    """
    if pictures == 1 or not diversity_weight:
        return -tf.reduce_sum(tf.math.log(UNIT_OBJECTIVES[objective](F, channels) + SILENCE))
    F, other = fork(F)
    activation = UNIT_OBJECTIVES[objective](F, channels)
    return (diversity_weight * pictures * tf.reduce_sum(likeness(other, pictures))
            - tf.reduce_sum(tf.math.log(activation + SILENCE)))


def _chosen(F: Tensor, channels: Tensor) -> Tensor:
    """[B, h, w]: one channel of each picture, as a product, whose gradient is summed in a fixed order."""
    return tf.einsum("bhwc,bc->bhw", F, tf.one_hot(channels, F.shape[-1], dtype=F.dtype))


def _products_gradient(inputs: list[Tensor], _: list[Tensor], D: Tensor) -> tuple[Tensor]:
    (x,) = inputs
    return (tf.matmul(D + tf.linalg.matrix_transpose(D), x),)


@with_gradient(_products_gradient)
def _self_products(x: Tensor) -> Tensor:
    """x xᵀ with one contribution to the gradient of x instead of two (see `fork`)."""
    return tf.matmul(x, x, transpose_b=True)
