"""Transparency: everything is computed on pictures over white, α goes around them. NumPy only.

Colors c and alpha α are float32 [H, W, channels] and [H, W, 1] in [0, 1].
"""

import numpy as np

from nst_tf.io.resampling import FloatImage


def over_white(color: FloatImage, alpha: FloatImage) -> FloatImage:
    """x = α c + (1 − α): what a viewer with a white background shows."""
    return alpha * color + (1 - alpha)


def not_over_white(picture: FloatImage, alpha: FloatImage) -> FloatImage:
    """c = (x − (1 − α)) / α, clipped to [0, 1]: the color that is x over white; soft edges bring no white.

    Where nothing of the color is seen (α = 0) it is x.
    """
    color = (picture - (1 - alpha)) / np.where(alpha > 0, alpha, 1)
    return np.where(alpha > 0, np.clip(color, 0, 1), picture)
