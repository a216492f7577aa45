"""The part of a plan that says at which sizes the pictures are measured. No TensorFlow.

A setting or a file that is wrong raises `UserError`, whose text says what to give instead.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from nst_tf.backbones.architectures import LEARNING_SIDE_PX
from nst_tf.config import StylizeConfig, write_value
from nst_tf.grammar import parse_px
from nst_tf.io import files, images
from nst_tf.losses.objective import LARGEST_MOTIF_RATIO, LEAST_MOTIF_RATIO
from nst_tf.optimize.pyramid import Stage, plan_stages
from nst_tf.vocabulary import UserError

# The remedy that only those recipes have whose layers can be chosen; an error ends with it.
SHALLOWER = " or shallower layers"


def measured_pictures(config: StylizeConfig) -> list[tuple[str, str]]:
    """(flag, path) of the pictures whose features are measured: the content if there is one, then the styles."""
    return [*([("--content", config.content)] if config.content else []), *(("--style", path) for path in config.style)]


def written_style_scales(config: StylizeConfig) -> tuple[float | str, ...]:
    """The `--style_scale` of each style as it is written: a number, or pixels such as `400px`."""
    scales = config.style_scale or (1.0,)
    if len(scales) not in (1, len(config.style)):
        raise UserError(f"--style_scale has {len(scales)} values for {len(config.style)} styles: give one for each "
                        "--style, or one for all")
    return scales * (len(config.style) // len(scales))


def plan_style_scales(config: StylizeConfig) -> tuple[float, ...]:
    """The long side at which each style is measured, relative to that of the picture."""
    return tuple(parse_px(scale, "--style_scale") / config.long_side_px if isinstance(scale, str) else scale
                 for scale in written_style_scales(config))


def style_size_px(scale: float, long_side_px: int, size_px: tuple[int, int]) -> tuple[int, int]:
    """(width, height) at which a style is measured beside a picture of this long side.

    Never stretched, and never enlarged: a blurred painting would teach blurred strokes.

    Args:
        size_px: (width, height) of the style's file.
    """
    return images.fit(max(1, min(round(scale * long_side_px), max(size_px))), *size_px)


def reading_side_px(config: StylizeConfig) -> int:
    """The long side that pictures are shrunk to when they are read: enough for every stage, and to learn from."""
    return max(config.long_side_px, LEARNING_SIDE_PX)


def plan_copies(long_side_px: int, shortest_px: int, motif_size_px: int, smallest_px: int) -> tuple[int, ...]:
    """Long sides of the smaller copies of a picture on which its style is measured too, in equal ratios.

    The last has the motif size, whatever the picture's (or the smallest that network and pictures allow, if that is
    larger): that is what makes pictures of all sizes look alike.

    Args:
        long_side_px: of the picture; shortest_px: the shortest side of all pictures that are measured.
        motif_size_px: 0 for no copies; smallest_px: the least side that the network takes.

    >>> plan_copies(512, 384, 128, 2), plan_copies(1024, 768, 128, 2), plan_copies(255, 192, 128, 2)
    ((128,), (362, 128), ())
    """
    last_px = max(motif_size_px, math.ceil(smallest_px * long_side_px / shortest_px))
    if not motif_size_px or long_side_px < LEAST_MOTIF_RATIO * last_px:
        return ()
    # Rounded, lest 4³ be a hair more than a factor of four three times.
    count = math.ceil(round(math.log(long_side_px / last_px, LARGEST_MOTIF_RATIO), 9))
    return tuple(round(long_side_px * (last_px / long_side_px) ** (k / count)) for k in range(1, count + 1))


def plan_sizes(config: StylizeConfig, smallest_px: int, sizes: Mapping[str, tuple[int, int]]) -> tuple[Stage, ...]:
    """The pyramid without the stages at which a picture would be too small for the deepest layer.

    Args:
        smallest_px: the least side that the network takes.
        sizes: {path: (width, height)} of the pictures that are measured.
    """
    size, scales = config.long_side_px, plan_style_scales(config)
    needs = f"the layers of {config.backbone} need {smallest_px} px; give a larger"
    if not config.content and size < smallest_px:
        raise UserError(f"--size={size} is too small: {needs} --size{SHALLOWER}")

    def measured_px(long_side_px: int) -> list[tuple[int, int]]:
        styles = [style_size_px(scale, long_side_px, sizes[path])
                  for path, scale in zip(config.style, scales, strict=True)]
        return [*([images.fit(long_side_px, *sizes[config.content])] if config.content else []), *styles]

    for (flag, path), (width, height) in zip(measured_pictures(config), measured_px(size), strict=True):
        if min(width, height) < smallest_px:
            at, remedy = f"--size={size}", "--size"
            if flag == "--style" and config.style_scale:
                at, remedy = f"{at} and --style_scale={write_value(config.style_scale)}", "--style_scale"
            if flag == "--style" and (width, height) == sizes[path]:
                remedy = "picture"
            raise UserError(f"{flag} {files.quoted(path)} is {width} × {height} px at {at}: {needs} {remedy}"
                            f"{SHALLOWER}")
    min_size = min(config.min_size, size)
    while min_size < smallest_px or min(map(min, measured_px(min_size))) < smallest_px:
        min_size += 1
    stages = plan_stages(size, min_size, config.steps)
    return _without_single_steps(stages) if config.optimizer == "lbfgs" else stages


def _without_single_steps(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages of L-BFGS, whose first step measures where it starts: a single step goes to the next stage."""
    kept: list[Stage] = []
    single = 0
    for stage in stages:
        steps = single + stage.steps
        single = steps if steps == 1 else 0
        if not single:
            kept.append(Stage(stage.long_side_px, steps, steps))
    if single:
        raise UserError("--steps=1 is too few for --optimizer=lbfgs, whose first step only measures where it starts: "
                        "give 2 or more")
    return tuple(kept)


def check_learnable(pictures: Iterable[tuple[str, str]], sizes: Mapping[str, tuple[int, int]], smallest_px: int,
                    reason: str) -> None:
    """Raises `UserError` for the first of (flag, path) that is too small to learn filters from.

    They are learned from pictures at their own size, up to `LEARNING_SIDE_PX`; pictures are not enlarged.

    Args:
        sizes: {path: (width, height)} of the files.
        smallest_px: what the deepest layer needs.
        reason: says who asks.
    """
    for flag, path in pictures:
        learned_px = images.fit(min(LEARNING_SIDE_PX, max(sizes[path])), *sizes[path])
        images.check_smallest_side(learned_px, smallest_px, flag, path, reason)
