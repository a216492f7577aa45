"""The table of `--color`: what happens to photo and styles before the optimization, and to the picture after. No TF."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nst_tf.io import color
from nst_tf.io.images import FloatImage

# The photo and the styles.
PhotoAndStyles = tuple[FloatImage, list[FloatImage]]


class ColorMode(NamedTuple):
    """One way to choose colors.

    `prepare(photo, styles)` is what is measured instead of them; with `is_gray` the image is gray and stays so;
    `join(picture, photo)` is what is shown, of one size; None shows the picture. All pictures are sRGB in [0, 1].
    """

    prepare: Callable[[FloatImage, Sequence[FloatImage]], PhotoAndStyles]
    is_gray: bool = False
    join: Callable[[FloatImage, FloatImage], FloatImage] | None = None


def _as_they_are(photo: FloatImage, styles: Sequence[FloatImage]) -> PhotoAndStyles:
    return photo, list(styles)


def _matched(photo: FloatImage, styles: Sequence[FloatImage]) -> PhotoAndStyles:
    """Each style with the mean and covariance of the photo's colors; what leaves sRGB then loses chroma."""
    target = color.color_statistics(photo)
    return photo, [color.srgb(color.oklab(color.match_colors(style, target))) for style in styles]


def _lightness(photo: FloatImage, styles: Sequence[FloatImage]) -> PhotoAndStyles:
    """The gray photo, and each style gray with the mean and standard deviation of the photo's lightness."""
    target, *others = (color.oklab(picture)[..., 0] for picture in (photo, *styles))
    matched = [np.clip(color.match_lightness(lightness, target), 0, 1) for lightness in others]
    return color.gray(np.clip(target, 0, 1)), [color.gray(lightness) for lightness in matched]


def _gray_with_colors_of(picture: FloatImage, photo: FloatImage) -> FloatImage:
    """The mean of the channels is all that the objective sees, so it is all that is shown."""
    return color.with_colors_of(np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1), photo)


COLORS: dict[str, ColorMode] = {
    "style": ColorMode(_as_they_are),
    "keep": ColorMode(_as_they_are, join=color.with_colors_of),
    "match": ColorMode(_matched),
    "luminance": ColorMode(_lightness, is_gray=True, join=_gray_with_colors_of),
}
