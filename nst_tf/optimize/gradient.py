"""What happens to the gradient before the optimizer sees it, and gradient ascent with steps of one size."""

import tensorflow as tf

from nst_tf.tensors import Tensor, blur


def smooth(g: Tensor, share: float) -> Tensor:
    """g ← (1 − s) g + s B g, with B the binomial `blur`, (1 2 1)ᵀ(1 2 1)/16 for a picture, and the edges mirrored.

    Away from the edges B is symmetric with eigenvalues in [0, 1], so the result still points downhill (at the default
    s = 0.7 with the edges too) and vanishes where g does; only the finest frequencies move more slowly. Without it
    Adam, which gives every pixel the same step however small its gradient, weaves a pattern of one or two pixels into
    flat areas.

    Args:
        g: gradient by the pixels [B, *space, C], each side ≥ 2.
        share: s in [0, 1]; 0 leaves g as it is.
    """
    # Differs from Gatys et al. 2016, who use the gradient itself. The idea is that of a Sobolev gradient
    # (Neuberger 1997); the dream scripts of 2015 blur or normalize gradients by frequency for the same reason.
    if not share:
        return g
    return (1.0 - share) * g + share * blur(g)


# A gradient of a root mean square below this is none.
SMALLEST_RMS = 1e-12


def ascend(x: Tensor, g: Tensor, step_size: float) -> Tensor:
    """x ← clip(x + η g / rms(g)), so that each step changes the picture by as much, whatever the network's units.

    Args:
        x: pixels [1, H, W, 3] in [0, 1].
        g: gradient by them; all zero leaves x as it is.
        step_size: η, the root mean square of the change.
    """
    # Differs from Mordvintsev, Olah, Tyka 2015, who divide by mean |g|: where few pixels have all the gradient, as for
    # one neuron, that takes steps without bound.
    return tf.clip_by_value(x + step_size * g / (root_mean_square(g) + SMALLEST_RMS), 0.0, 1.0)


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
        total += g / (root_mean_square(g) + SMALLEST_RMS)
    return total
