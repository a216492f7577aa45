"""Pixels: sizes, resampling and transparency of pictures, float32 [H, W, channels] in [0, 1]. NumPy only.

Everything is computed on pictures over white; α, float32 [H, W, 1] in [0, 1], goes around them.
"""

import os

import numpy as np
from PIL import Image
from numpy.typing import NDArray

from nst_tf.io.files import quoted
from nst_tf.vocabulary import UserError

PathLike = str | os.PathLike[str]
FloatImage = NDArray[np.float32]


def fit(long_side_px: int, width: int, height: int) -> tuple[int, int]:
    """(width, height) scaled so that the longer is exactly `long_side_px`; the other is rounded half up, at least 1.

    In integers, so that a size never depends on the rounding of a float.
    """
    longer = max(width, height)
    columns, rows = (max(1, (2 * side * long_side_px + longer) // (2 * longer)) for side in (width, height))
    return columns, rows


def resize(image: FloatImage, width: int, height: int) -> FloatImage:
    """Lanczos resampling (3 lobes, widened when it shrinks), channel by channel in float: no rounding to 8 bits.

    Args:
        image: [H, W, channels] in [0, 1].
    Returns:
        float32 [height, width, channels], clipped to [0, 1], since Lanczos overshoots at edges.
    """
    channels = [Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)) for c in range(image.shape[-1])]
    resized = [np.asarray(channel.resize((width, height), Image.Resampling.LANCZOS)) for channel in channels]
    return np.clip(np.stack(resized, axis=-1), 0, 1)


def check_smallest_side(size_px: tuple[int, int], smallest_side_px: int, name: str, path: PathLike,
                        reason: str) -> None:
    """Raises `UserError` when a side of (width, height) is below `smallest_side_px`; `reason` says who asks."""
    if min(size_px) < smallest_side_px:
        raise UserError(f"{name} {quoted(path)} is {size_px[0]} × {size_px[1]} px: both sides must be at least "
                        f"{smallest_side_px} px ({reason}); choose a larger image")


def over_white(color: FloatImage, alpha: FloatImage) -> FloatImage:
    """x = α c + (1 − α): what a viewer with a white background shows."""
    return alpha * color + (1 - alpha)


def not_over_white(picture: FloatImage, alpha: FloatImage) -> FloatImage:
    """c = (x − (1 − α)) / α, clipped to [0, 1]: the color that is x over white; soft edges bring no white.

    Where nothing of the color is seen (α = 0) it is x.
    """
    color = (picture - (1 - alpha)) / np.where(alpha > 0, alpha, 1)
    return np.where(alpha > 0, np.clip(color, 0, 1), picture)


def with_alpha(picture: FloatImage, alpha: FloatImage) -> FloatImage:
    """What was made over white, with alpha of any size: [H, W, 3], [h, w, 1] → [H, W, 4], the same over white."""
    height, width = picture.shape[:2]
    resized = resize(alpha, width, height)
    return np.concatenate([not_over_white(picture, resized), resized], axis=-1)
