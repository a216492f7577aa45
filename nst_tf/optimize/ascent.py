"""Gradient ascent with steps of one size, as dreams take them."""


import tensorflow as tf

from nst_tf.optimize.gradient import smooth
from nst_tf.tensors import Tensor

# A gradient of a root mean square below this is none.
SILENCE = 1e-12


def ascend(x: Tensor, g: Tensor, step_size: float) -> Tensor:
    """x ← clip(x + η g / rms(g)), so that each step changes the picture by as much, whatever the network's units.

    Args:
        x: pixels [1, H, W, 3] in [0, 1].
        g: gradient by them; all zero leaves x as it is.
        step_size: η, the root mean square of the change.
    """
    # Differs from Mordvintsev, Olah, Tyka 2015, who divide by mean |g|: where few pixels have all the gradient, as for
    # one neuron, that takes steps without bound.
    return tf.clip_by_value(x + step_size * g / (root_mean_square(g) + SILENCE), 0.0, 1.0)


def root_mean_square(g: Tensor) -> Tensor:
    """√ mean g² over all."""
    return tf.sqrt(tf.reduce_mean(tf.square(g)))


def smooth_scales(g: Tensor, octaves: int) -> Tensor:
    """Σ_k B_k g / rms(B_k g) for k = 1 … octaves: blurs of doubled width, each of the same strength.

    B_k applies the binomial blur of `gradient.smooth` 4^(k−1) times, σ ≈ 2^(k−1) · 0.7 px. The gradient of a network is
    mostly fine weave; what is large in it makes motifs.

    Args:
        g: gradient by pixels [1, H, W, 3], H and W ≥ 2.
        octaves: 0 leaves g as it is.
    Source: the multi-scale blur of gordicaleksa/pytorch-deepdream (2020), with the scales made equally strong as in
        the Laplacian normalization of Mordvintsev's notebook (2016).
    """
    if not octaves:
        return g
    total = tf.zeros_like(g)
    for k in range(octaves):
        for _ in range(4 ** k - 4 ** (k - 1) if k else 1):
            g = smooth(g, 1.0)
        total += g / (root_mean_square(g) + SILENCE)
    return total
