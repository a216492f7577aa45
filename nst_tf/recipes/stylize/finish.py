"""The last touches: what is shown and written of the picture that was optimized. No TensorFlow.

They are functions of config, plan and files alone, at any size: previews of small stages, snapshots and a resumed run
get the very same as the file at the end.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from nst_tf.config import StylizeConfig
from nst_tf.io import color, images
from nst_tf.io.images import FloatImage
from nst_tf.io.pixels import not_over_white
from nst_tf.recipes.stylize.plan import Plan
from nst_tf.recipes.stylize.regions import composer, load_masks
from nst_tf.recipes.stylize.sizes import reading_side_px

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


Touch = Callable[[FloatImage], FloatImage]


def finisher(config: StylizeConfig, plan: Plan, *, own_size: bool = False) -> Touch:
    """All touches of a run as one function, [H, W, 3] → [H, W, 3], or [H, W, 4] where the photo has alpha.

    Args:
        own_size: first enlarge (or shrink) to the photo's own size, so that colors and alpha have all its detail.
    """
    long_side_px = max(plan.content_size_px) if own_size else config.long_side_px
    touches = [_resize(plan.content_size_px)] if own_size else []
    touches += [*_color(config, plan, long_side_px), *_regions(config, plan, long_side_px),
                *_alpha(config, plan, long_side_px)]

    def finish(picture: FloatImage) -> FloatImage:
        return reduce(lambda touched, touch: touch(touched), touches, picture)

    return finish


def _resize(size_px: tuple[int, int]) -> Touch:
    return lambda picture: images.resize(picture, *size_px)


def _color(config: StylizeConfig, plan: Plan, long_side_px: int) -> list[Touch]:
    """What --color does after the optimization, with the photo at the picture's size."""
    join = COLORS[config.color].join
    if join is None:
        return []
    photo = plan.opened.load(config.content, "--content", long_side_px)
    return [lambda picture: join(picture, _at_size_of(picture, photo))]


def _regions(config: StylizeConfig, plan: Plan, long_side_px: int) -> list[Touch]:
    """The photo in the regions that have no style, after all that changes colors."""
    if not config.content_mask:
        return []
    photo = plan.opened.load(config.content, "--content", max(long_side_px, reading_side_px(config)))
    return [composer(photo, load_masks(config, plan.opened))]


def _alpha(config: StylizeConfig, plan: Plan, long_side_px: int) -> list[Touch]:
    """The photo's alpha; the picture, which was optimized over white, shows through it what it showed over white."""
    alpha = plan.opened.load_alpha(config.content, "--content", long_side_px) if config.content else None
    if alpha is None:
        return []

    def touch(picture: FloatImage) -> FloatImage:
        resized = _at_size_of(picture, alpha)
        return np.concatenate([not_over_white(picture, resized), resized], axis=-1)

    return [touch]


def _at_size_of(picture: FloatImage, other: FloatImage) -> FloatImage:
    """`other` at the size of `picture`."""
    height, width = picture.shape[:2]
    return images.resize(other, width, height)
