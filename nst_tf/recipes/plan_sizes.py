"""The part of a plan that says at which sizes the pictures are measured. No TensorFlow."""

from collections.abc import Mapping

from nst_tf.backbones.kmeans_recipe import LEARNING_SIDE_PX
from nst_tf.backbones.table import smallest_side_px
from nst_tf.config import StylizeConfig
from nst_tf.grammar import Padding
from nst_tf.io import files, images
from nst_tf.losses.terms import Objective
from nst_tf.optimize.pyramid import Stage, plan_stages
from nst_tf.vocabulary import UserError


def measured_pictures(config: StylizeConfig) -> list[tuple[str, str]]:
    """(flag, path) of the pictures whose features are measured: the content, then the styles."""
    return [("--content", config.content), *(("--style", path) for path in config.style)]


def reading_side_px(config: StylizeConfig) -> int:
    """The long side that pictures are shrunk to when they are read: enough for every stage, and to learn from."""
    return max(config.size, LEARNING_SIDE_PX)


def plan_sizes(config: StylizeConfig, objective: Objective, padding: Padding,
               sizes: Mapping[str, tuple[int, int]]) -> tuple[Stage, ...]:
    """The pyramid without the stages at which a picture would be too small for the deepest layer.

    Args:
        sizes: {path: (width, height)} of the pictures that are measured.
    Raises:
        UserError: a picture is too small for it even at the last stage.
    """
    # Two pixels: smoothness and the smoothed gradient need a neighbor.
    smallest = max(2, smallest_side_px(config.backbone, objective.layers(), padding))
    measured = measured_pictures(config)
    for flag, path in measured:
        fitted = _fitted(flag, config.size, sizes[path])
        if min(fitted) < smallest:
            is_shrunk = flag == "--content" or max(sizes[path]) > config.size
            raise UserError(
                f"{flag} {files.quoted(path)} is {fitted[0]} × {fitted[1]} px at --size={config.size}: the layers of "
                f"{config.backbone} need {smallest} px; give a larger {'--size' if is_shrunk else 'picture'} "
                "or shallower layers")
    min_size = min(config.min_size, config.size)
    while any(min(_fitted(flag, min_size, sizes[path])) < smallest for flag, path in measured):
        min_size += 1
    return plan_stages(config.size, min_size, config.steps)


def _fitted(flag: str, long_side_px: int, size_px: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture is measured: the photo at the stage's size, a style never enlarged."""
    if flag == "--style":
        long_side_px = min(long_side_px, max(size_px))
    return images.fit(long_side_px, *size_px)


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
