"""Regions of a run: which styles count in which region of the content mask, and the masks themselves. No TensorFlow.

A setting or a mask that is wrong raises `UserError`, whose text says what to give instead.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.io import images, masks
from nst_tf.io.files import quoted
from nst_tf.io.images import FloatImage
from nst_tf.io.masks import Color, Mask, written
from nst_tf.io.picture_files import PictureFiles
from nst_tf.io.pixels import TRIANGLE, resized_rows
from nst_tf.losses.guides import Area, ReceptiveField
from nst_tf.recipes.stylize.plan_sizes import plan_style_scales, style_size_px
from nst_tf.strips import Picture, Rows, by_rows
from nst_tf.vocabulary import UserError

# Masks are read at the size of the output, and at least at this one, so that small outputs find the same labels.
SMALLEST_MASK_SIDE_PX = 1024
SMALLEST_REGION_PX = 16


class PlannedRegion(NamedTuple):
    """A label of the content mask, its share of the picture, and the styles that count there, by index.

    Where no style counts, the picture is the photo.
    """

    color: str
    share: float
    styles: tuple[int, ...]


class Masks(NamedTuple):
    """Memberships in the R regions: [H, W, R] of the photo, [h, w, R] of each style; 0 where a style does not count.

    A style with a color or an empty item in place of a mask has one pixel: all its parts are alike.
    """

    labels: tuple[Color, ...]
    content: FloatImage
    styles: tuple[FloatImage, ...]
    counting: tuple[tuple[int, ...], ...]  # the styles of each region, by index
    fields: dict[str, ReceptiveField]  # what the cells of each layer of the network see


def mask_files(config: StylizeConfig) -> list[tuple[str, str]]:
    """(flag, path) of every mask that is a file."""
    if config.style_mask and not config.content_mask:
        raise UserError("--style_mask needs --content_mask: give a label image of the photo, in the same colors")
    if not config.content_mask:
        return []
    if len(config.style_mask) != len(config.style):
        raise UserError(f"--style_mask has {len(config.style_mask)} items for {len(config.style)} styles: give one for "
                        "each --style, a label image of it or a color such as #ffffff; an empty one lets a style count "
                        "in every region")
    for item in config.style_mask:
        if item.startswith("#") and not _color(item):
            raise UserError(f"--style_mask={item} is no color: write # and six hexadecimal digits, such as #ff8000")
    files = [("--style_mask", item) for item in config.style_mask if item and not _color(item)]
    return [("--content_mask", config.content_mask), *files]


def plan_regions(config: StylizeConfig, sizes: Mapping[str, tuple[int, int]],
                 style_blend: Sequence[float], opened: PictureFiles) -> tuple[PlannedRegion, ...]:
    """The regions of a config, the largest first; none without masks.

    Args:
        sizes: {path: (width, height)} of pictures and masks.
        opened: keeps the masks.
    """
    loaded = load_masks(config, opened)
    if loaded is None:
        return ()
    _check_aspect("--content_mask", config.content_mask, sizes, config.content)
    for item, style in zip(config.style_mask, config.style, strict=True):
        if item and not _color(item):
            _check_aspect("--style_mask", item, sizes, style)
    _check_areas(loaded.content, loaded.labels, config.long_side_px, sizes[config.content], "--content_mask")
    for membership, style, scale in zip(loaded.styles, config.style, plan_style_scales(config), strict=True):
        side_px = max(style_size_px(scale, config.long_side_px, sizes[style]))
        _check_areas(membership, loaded.labels, side_px, sizes[style], f"--style_mask of {quoted(style)}")
    regions = []
    for r, (label, counting) in enumerate(zip(loaded.labels, loaded.counting, strict=True)):
        if counting and not any(style_blend[k] for k in counting):
            raise UserError(f"--style_blend gives 0 to every style of region {written(label)}: give one of them a "
                            "weight above 0, or take the color out of --style_mask")
        share = float(np.mean(loaded.content[..., r], dtype=np.float64))
        regions.append(PlannedRegion(written(label), share, counting))
    return tuple(regions)


def load_masks(config: StylizeConfig, opened: PictureFiles) -> Masks | None:
    """The masks of a config, decoded and solved once; None where it has none."""
    if not config.content_mask:
        return None
    key = ("masks", config.backbone, config.content_mask, config.style_mask, config.long_side_px)
    return opened.once(key, lambda: _load_masks(config, opened))


def _load_masks(config: StylizeConfig, opened: PictureFiles) -> Masks:
    side_px = max(config.long_side_px, SMALLEST_MASK_SIDE_PX)

    def load(path: str, flag: str) -> Mask:
        return opened.once(("mask", path, side_px), lambda: masks.load_mask(path, flag, side_px))

    content = load(config.content_mask, "--content_mask")
    known = ", ".join(written(label) for label in content.labels)

    def of_style(item: str) -> FloatImage:
        if not item:
            return np.ones((1, 1, len(content.labels)), np.float32)
        color = _color(item)
        mask = Mask((color,), np.ones((1, 1, 1), np.float32)) if color else load(item, "--style_mask")
        regions = [masks.match(label, content.labels) for label in mask.labels]
        if None in regions:
            unknown = ", ".join(written(label) for label, r in zip(mask.labels, regions, strict=True) if r is None)
            raise UserError(f"--style_mask {quoted(item)}: --content_mask has no region {unknown}; its colors are "
                            f"{known}: use the same")
        w = np.zeros((*mask.memberships.shape[:2], len(content.labels)), np.float32)
        for index, r in enumerate(regions):
            w[..., r] += mask.memberships[..., index]
        return w

    fields = {layer.name: ReceptiveField(layer.stride, layer.receptive_field_px)
              for layer in find_backbone(config.backbone).all_layers}
    styles = tuple(of_style(item) for item in config.style_mask)
    counting = tuple(tuple(k for k, w in enumerate(styles) if w[..., r].any()) for r in range(len(content.labels)))
    return Masks(content.labels, content.memberships, styles, counting, fields)


def areas(loaded: Masks, size_px: tuple[int, int], style_sizes_px: Sequence[tuple[int, int]]) -> list[Area]:
    """The area of each region that has a style, at the sizes (width, height) of picture and styles."""
    content = masks.resize_memberships(loaded.content, *size_px)
    styles = [masks.resize_memberships(w, *size) for w, size in zip(loaded.styles, style_sizes_px, strict=True)]
    return [Area(content[..., r], {k: styles[k][..., r] for k in counting})
            for r, counting in enumerate(loaded.counting) if counting]


def touched(loaded: Masks, size_px: tuple[int, int]) -> Rows | None:
    """How much of each pixel is stylized, [H, W, 1] in [0, 1]; None where every region has a style.

    Exactly 0 where a pixel is all of regions without style.
    """
    if all(loaded.counting):
        return None
    is_counting = [bool(counting) for counting in loaded.counting]
    return by_rows(lambda w: np.clip(w[..., is_counting].sum(-1, keepdims=True), 0, 1),
                   resized_rows(loaded.content, *size_px, TRIANGLE), channels=1)


def composer(photo: Picture | None, loaded: Masks | None) -> Callable[[Picture], Picture]:
    """A function of an optimized image [H, W, 3], of any size, that puts the photo where no style counts."""
    def composed(image: Picture) -> Picture:
        height, width = image.shape[:2]
        share = loaded and touched(loaded, (width, height))
        if share is None or photo is None:
            return image
        return by_rows(masks.compose, image, resized_rows(photo, width, height), share)

    return composed


def _color(item: str) -> Color | None:
    if not re.fullmatch("#[0-9a-fA-F]{6}", item):
        return None
    red, green, blue = bytes.fromhex(item[1:])
    return red, green, blue


def _check_aspect(flag: str, path: str, sizes: Mapping[str, tuple[int, int]], picture: str) -> None:
    """A mask is resized to its picture; at the smaller of both sizes they must agree to a pixel."""
    side_px = min(max(sizes[path]), max(sizes[picture]))
    fitted = [images.fit(side_px, *sizes[each]) for each in (path, picture)]
    if max(abs(a - b) for a, b in zip(*fitted, strict=True)) > 1:
        (width, height), (columns, rows) = sizes[path], sizes[picture]
        raise UserError(f"{flag} {quoted(path)} is {width} × {height} px and its picture {quoted(picture)} {columns} × "
                        f"{rows} px: give a mask of the same aspect")


def _check_areas(w: FloatImage, labels: Sequence[Color], long_side_px: int, size_px: tuple[int, int],
                 what: str) -> None:
    """Raises `UserError` for a region that has too few pixels at the size at which it is measured."""
    width, height = images.fit(long_side_px, *size_px)
    for share, label in zip(w.reshape(-1, len(labels)).mean(0, np.float64), labels, strict=True):
        area_px = share * width * height
        if 0 < area_px < SMALLEST_REGION_PX:
            raise UserError(f"{what}: region {written(label)} covers {area_px:.0f} px at {width} × {height} px, at "
                            f"least {SMALLEST_REGION_PX} are needed: paint it larger, or give a larger --size")
