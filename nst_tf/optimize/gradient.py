"""What happens to the gradient before the optimizer sees it."""


import numpy as np
import tensorflow as tf

from nst_tf.tensors import Tensor

# (1 2 1)ᵀ (1 2 1) / 16 for each of three colors, as a depthwise kernel [3, 3, 3, 1].
_BINOMIAL = np.repeat(np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32)[..., None, None] / 16, 3, axis=2)


def smooth(g: Tensor, share: float) -> Tensor:
    """g ← (1 − s) g + s B g, with B the binomial blur (1 2 1)ᵀ(1 2 1)/16 and the edges mirrored.

    Away from the edges B is symmetric with eigenvalues in [0, 1], so the result still points downhill (at the default
    s = 0.7 with the edges too) and vanishes where g does; only the finest frequencies move more slowly. Without it
    Adam, which gives every pixel the same step however small its gradient, weaves a pattern of one or two pixels into
    flat areas.

    Args:
        g: gradient by the pixels [1, H, W, 3], H and W ≥ 2.
        share: s in [0, 1]; 0 leaves g as it is.
    """
    # Differs from Gatys et al. 2016, who use the gradient itself. The idea is that of a Sobolev gradient
    # (Neuberger 1997); the dream scripts of 2015 blur or normalize gradients by frequency for the same reason.
    if not share:
        return g
    padded = tf.pad(g, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT")
    return (1.0 - share) * g + share * tf.nn.depthwise_conv2d(padded, _BINOMIAL, [1, 1, 1, 1], "VALID")
