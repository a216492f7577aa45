"""The last touches of an optimized picture, before it is shown or written. No TensorFlow.

They depend on config, plan and files alone, at any size. So previews, snapshots and resumed runs get the same touches
as the file at the end.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from nst_tf.config import StylizeConfig
from nst_tf.io import color
from nst_tf.io.images import FloatImage
from nst_tf.io.picture_files import PictureFiles
from nst_tf.io.pixels import resized_rows, with_alpha_rows
from nst_tf.recipes.stylize.plan_regions import composer, load_masks
from nst_tf.recipes.stylize.plan_sizes import reading_side_px
from nst_tf.strips import Picture, by_rows, strips

# The photo and the styles.
PhotoAndStyles = tuple[Picture, Sequence[Picture]]


class ColorMode(NamedTuple):
    """One way to choose colors.

    `prepare(photo, styles)` gives the pictures that are measured in their place. With `is_gray` the image is gray and
    stays gray. `join(picture, photo)`, rows of both at one size, gives those of the picture that is shown; None
    shows the picture itself. All pictures are sRGB in [0, 1].
    """

    prepare: Callable[[Picture, Sequence[Picture]], PhotoAndStyles]
    is_gray: bool = False
    join: Callable[[FloatImage, FloatImage], FloatImage] | None = None


def _as_they_are(photo: Picture, styles: Sequence[Picture]) -> PhotoAndStyles:
    return photo, list(styles)


def _matched(photo: Picture, styles: Sequence[Picture]) -> PhotoAndStyles:
    """Each style with the mean and covariance of the photo's colors; what leaves sRGB then loses chroma."""
    target = color.color_statistics(photo)
    matched = [color.match_colors(style, target) for style in styles]
    for style in matched:
        for rows in strips(style.shape):
            style[rows] = color.srgb(color.oklab(style[rows]))
    return photo, matched


def _lightness(photo: Picture, styles: Sequence[Picture]) -> PhotoAndStyles:
    """The gray photo, and each style gray with the mean and standard deviation of the photo's lightness."""
    target, *others = map(color.lightness_of, (photo, *styles))
    matched = [np.clip(color.match_lightness(lightness, target), 0, 1) for lightness in others]
    return color.gray(np.clip(target, 0, 1)), [color.gray(lightness) for lightness in matched]


def _gray_with_colors_of(picture: FloatImage, photo: FloatImage) -> FloatImage:
    """The objective reads the mean of the channels alone, so the picture shows the mean alone."""
    return color.with_colors_of(np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1), photo)


COLORS: dict[str, ColorMode] = {
    "style": ColorMode(_as_they_are),
    "keep": ColorMode(_as_they_are, join=color.with_colors_of),
    "match": ColorMode(_matched),
    "luminance": ColorMode(_lightness, is_gray=True, join=_gray_with_colors_of),
}


Touch = Callable[[Picture], Picture]


class Origin(Protocol):
    """What the touches read of a plan."""

    @property
    def content_size_px(self) -> tuple[int, int]:
        """(width, height) of the photo."""

    @property
    def opened(self) -> PictureFiles:
        """The decoded files."""


def finisher(config: StylizeConfig, plan: Origin, *, own_size: bool = False) -> Touch:
    """All touches of a run as one function, [H, W, 3] → [H, W, 3], or [H, W, 4] where the photo has alpha.

    What it returns is made strip by strip, when it is read.

    Args:
        own_size: first enlarge (or shrink) to the photo's own size, so that colors and alpha have all its detail.
    """
    side_px, opened = max(plan.content_size_px) if own_size else config.long_side_px, plan.opened
    join, masks = COLORS[config.color].join, load_masks(config, opened)
    photo = opened.load(config.content, "--content", side_px) if join else None
    alpha = opened.load_alpha(config.content, "--content", side_px) if config.content else None
    unstyled = opened.load(config.content, "--content", max(side_px, reading_side_px(config))) if masks else None
    composed = composer(unstyled, masks)

    def finish(picture: Picture) -> Picture:
        if own_size:
            picture = resized_rows(picture, *plan.content_size_px)
        height, width = picture.shape[:2]
        if join and photo is not None:
            picture = by_rows(join, picture, resized_rows(photo, width, height))
        # After all that changes colors: a region without a style is the very photo.
        picture = composed(picture)
        return picture if alpha is None else with_alpha_rows(picture, alpha)

    return finish
