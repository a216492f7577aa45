"""Pixels: sizes, resampling and transparency of pictures, float32 [H, W, channels] in [0, 1]. NumPy only.

Everything is computed on pictures over white; α, float32 [H, W, 1] in [0, 1], goes around them.
"""

import math
import os

import numpy as np
from PIL import Image
from numpy.typing import NDArray

from nst_tf.io.files import quoted
from nst_tf.strips import STRIP_PIXELS, Picture, Rows, by_rows, filled
from nst_tf.vocabulary import UserError

PathLike = str | os.PathLike[str]
FloatImage = NDArray[np.float32]
LANCZOS, TRIANGLE = Image.Resampling.LANCZOS, Image.Resampling.BILINEAR
# So many pixels to each side of the middle count, of the coarser of both grids.
LOBES = {LANCZOS: 3, TRIANGLE: 1}


def fit(long_side_px: int, width: int, height: int) -> tuple[int, int]:
    """(width, height) scaled so that the longer is exactly `long_side_px`; the other is rounded half up, at least 1.

    In integers, so that a size never depends on the rounding of a float.
    """
    longer = max(width, height)
    columns, rows = (max(1, (2 * side * long_side_px + longer) // (2 * longer)) for side in (width, height))
    return columns, rows


def resize(image: Picture, width: int, height: int, resampling: Image.Resampling = LANCZOS) -> FloatImage:
    """Lanczos resampling (3 lobes, widened when it shrinks), channel by channel in float: no rounding to 8 bits.

    Args:
        image: [H, W, channels] in [0, 1], an array or a `Photo`.
    Returns:
        float32 [height, width, channels], clipped to [0, 1], since Lanczos overshoots at edges.
    """
    if tuple(image.shape[:2]) == (height, width):
        resized = filled(image)
    else:
        resized = np.empty((height, width, image.shape[-1]), np.float32)
        for c in range(image.shape[-1]):
            channel = Image.fromarray(np.ascontiguousarray(image[..., c], np.float32))
            resized[..., c] = np.asarray(channel.resize((width, height), resampling))
            del channel
    return np.clip(resized, 0, 1, out=resized)


def resized_rows(image: Picture, width: int, height: int, resampling: Image.Resampling = LANCZOS) -> Rows:
    """`resize`, strip by strip. Where a strip is not the whole picture, few values differ, by the last bit."""
    rows_px, columns_px, channels = image.shape
    # Of the result, for which so many pixels are read.
    step = max(1, STRIP_PIXELS * height // (rows_px * columns_px))

    def read(rows: slice) -> FloatImage:
        resized = np.empty((rows.stop - rows.start, width, channels), np.float32)
        for begin in range(rows.start, rows.stop, step):
            end = min(begin + step, rows.stop)
            resized[begin - rows.start:end - rows.start] = (
                resize(filled(image), width, height, resampling) if (begin, end) == (0, height)
                else _resized_strip(image, (width, height), begin, end, resampling))
        return resized

    if (rows_px, columns_px) == (height, width):
        return by_rows(lambda strip: np.clip(strip, 0, 1), image)
    return Rows((height, width, channels), read)


def _resized_strip(image: Picture, size_px: tuple[int, int], begin: int, end: int,
                   resampling: Image.Resampling) -> FloatImage:
    """The rows `begin` … `end` of an image that is resized to (width, height)."""
    # Pillow resamples along rows first. Along columns it could not: it takes the place of a strip as a float32.
    lobes, scale = LOBES[resampling], image.shape[0] / size_px[1]
    widened = max(1.0, scale)
    reach = math.ceil(lobes * widened) + 1
    top, bottom = max(0, math.floor(begin * scale) - reach), min(image.shape[0], math.ceil(end * scale) + reach)
    t = (np.arange(top, bottom) + 0.5 - (np.arange(begin, end)[:, np.newaxis] + 0.5) * scale) / widened
    kernel = np.sinc(t) * np.sinc(t / lobes) if resampling == LANCZOS else 1 - np.abs(t)
    weights = np.where(np.abs(t) < lobes, kernel, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    read = image[top:bottom]
    channels = [Image.fromarray(np.ascontiguousarray(read[..., c], np.float32)) for c in range(read.shape[-1])]
    narrowed = [np.asarray(channel.resize((size_px[0], bottom - top), resampling)) for channel in channels]
    resized = np.stack([weights @ channel.astype(np.float64) for channel in narrowed], axis=-1)
    return np.clip(resized.astype(np.float32), 0, 1)


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
    return filled(with_alpha_rows(picture, alpha))


def with_alpha_rows(picture: Picture, alpha: Picture) -> Rows:
    """`with_alpha`, strip by strip."""
    height, width = picture.shape[:2]
    return by_rows(lambda color, alpha: np.concatenate([not_over_white(color, alpha), alpha], axis=-1),
                   picture, resized_rows(alpha, width, height), channels=4)
