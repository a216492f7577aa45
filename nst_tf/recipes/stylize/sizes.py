"""The part of a plan that says at which sizes the pictures are measured. No TensorFlow."""

import math
from collections.abc import Mapping, Sequence

from nst_tf.backbones.architectures import LEARNING_SIDE_PX
from nst_tf.backbones.table import smallest_side_px
from nst_tf.config import StylizeConfig
from nst_tf.grammar import Padding, parse_px
from nst_tf.io import files, images
from nst_tf.losses.objective import LARGEST_MOTIF_RATIO, LEAST_MOTIF_RATIO, Objective
from nst_tf.optimize.pyramid import Stage, plan_stages
from nst_tf.vocabulary import UserError


def measured_pictures(config: StylizeConfig) -> list[tuple[str, str]]:
    """(flag, path) of the pictures whose features are measured: the content if there is one, then the styles."""
    return [*([("--content", config.content)] if config.content else []), *(("--style", path) for path in config.style)]


def written_style_scales(config: StylizeConfig) -> tuple[float | str, ...]:
    """The `--style_scale` of each style as it is written: a number, or pixels such as `400px`.

    Raises:
        UserError: not one for each style or one for all.
    """
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


def smallest_measured_px(config: StylizeConfig, objective: Objective, padding: Padding) -> int:
    """The least side of a picture that can be measured."""
    # Two pixels: smoothness and the smoothed gradient need a neighbor.
    return max(2, smallest_side_px(config.backbone, objective.layers(), padding))


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


def plan_sizes(config: StylizeConfig, objective: Objective, padding: Padding,
               sizes: Mapping[str, tuple[int, int]]) -> tuple[Stage, ...]:
    """The pyramid without the stages at which a picture would be too small for the deepest layer.

    Args:
        sizes: {path: (width, height)} of the pictures that are measured.
    Raises:
        UserError: a picture is too small for it even at the last stage.
    """
    smallest, size = smallest_measured_px(config, objective, padding), config.long_side_px
    if not config.content and size < smallest:
        raise UserError(f"--size={size} is too small: the layers of {config.backbone} need {smallest} px; give a "
                        "larger --size or shallower layers")
    content = [1.0] if config.content else []
    scales, written = [*content, *plan_style_scales(config)], [*content, *written_style_scales(config)]
    measured = [(flag, path, scale) for (flag, path), scale in zip(measured_pictures(config), scales, strict=True)]
    for (flag, path, scale), given in zip(measured, written, strict=True):
        fitted = _fitted(flag, scale, size, sizes[path])
        if min(fitted) < smallest:
            size_flags, remedy = _size_flags(config, flag, given)
            if flag == "--style" and fitted == sizes[path]:
                remedy = "picture"
            raise UserError(f"{flag} {files.quoted(path)} is {fitted[0]} × {fitted[1]} px at {size_flags}: the layers "
                            f"of {config.backbone} need {smallest} px; give a larger {remedy} or shallower layers")
    min_size = min(config.min_size, size)
    while min_size < smallest or any(
            min(_fitted(flag, scale, min_size, sizes[path])) < smallest for flag, path, scale in measured):
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


def _fitted(flag: str, scale: float, long_side_px: int, size_px: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture is measured: the photo at the stage's size, a style never enlarged."""
    return images.fit(long_side_px, *size_px) if flag == "--content" else style_size_px(scale, long_side_px, size_px)


def _size_flags(config: StylizeConfig, flag: str, scale: float | str) -> tuple[str, str]:
    """The flags that a picture's size at the last stage follows from, as they are written; and which may be larger."""
    if flag == "--content" or not config.style_scale:
        return f"--size={config.long_side_px}", "--size"
    if isinstance(scale, str):
        return f"--style_scale={scale}", "--style_scale"
    return f"--size={config.long_side_px} and --style_scale={scale:g}", "--size or --style_scale"


def check_learning(config: StylizeConfig, objective: Objective, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Raises `UserError` for a picture of {path: (width, height)} that is too small for filters learned from it."""
    smallest = smallest_side_px(config.backbone, objective.layers())
    for flag, path in measured_pictures(config):
        check_learnable(sizes[path], smallest, flag, path, "its filters are learned from it; --weights=bundled learns "
                        "nothing")


def check_learnable(size_px: tuple[int, int], smallest_px: int, flag: str, path: str, reason: str) -> None:
    """Raises `UserError` for a picture that is too small to learn filters from.

    They are learned from pictures at their own size, up to `LEARNING_SIDE_PX`; pictures are not enlarged.

    Args:
        size_px: (width, height) of the file.
        smallest_px: what the deepest layer needs.
        reason: says who asks.
    """
    learned_px = images.fit(min(LEARNING_SIDE_PX, max(size_px)), *size_px)
    images.check_smallest_side(learned_px, smallest_px, flag, path, reason)
