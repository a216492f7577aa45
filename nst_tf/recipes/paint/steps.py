"""Paints a photo in one forward pass, whole or in tiles."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from nst_tf.generators.files import Generator
from nst_tf.generators.layers import reach_px
from nst_tf.generators.paint import paint, paint_tiles, whole
from nst_tf.io import images
from nst_tf.recipes.paint.recipe import PaintPlan
from nst_tf.runs.progress import Progress, counted
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.session import say
from nst_tf.tensors import Array

# A larger picture is painted in tiles: a pixel needs about 400 bytes.
WHOLE_PX = 2 ** 22
TILE_PX = 1024
# The moments of a picture in tiles are those of the picture at this long side: they hardly depend on the size.
THUMBNAIL_PX = 1024


def session(job: Job) -> Session:
    """One step: the picture."""
    return Session(events=_events(job), facts={"parameters": sum(
        np.size(part) for styled in job.plan.generator.weights.values() for part in styled if part is not None)})


def _events(job: Job) -> Iterator[Progress]:
    config, plan = job.config, job.plan
    photo = images.resize(plan.opened.load(config.content, "--content", config.long_side_px),
                          *images.fit(config.long_side_px, *plan.content_size_px))
    yield counted(1, 1, "pictures", state=painted(photo, plan), ends_stage=True)


def painted(photo: Array, plan: PaintPlan) -> Array:
    """The photo [H, W, 3] in the styles of a plan."""
    height, width = photo.shape[:2]
    tile_px = (TILE_PX if height * width > WHOLE_PX else 0) if plan.tile_px is None else plan.tile_px
    if tile_px and max(height, width) > tile_px:
        say(f"nst_tf: paints in tiles of {tile_px} px")
        return in_tiles(plan.generator, photo, plan.mixture, tile_px)
    return whole(plan.generator, photo, plan.mixture)


def in_tiles(generator: Generator, photo: Array, mixture: tuple[float, ...], tile_px: int) -> Array:
    """The picture of a large photo, with the moments of a small copy.

    Source: thumbnail instance normalization of Chen et al. 2022 (URST).
    """
    # Differs from Chen et al. 2022: the margin of a tile is what the network sees, so that there is no seam.
    height, width = photo.shape[:2]
    small = images.resize(photo, *images.fit(min(THUMBNAIL_PX, max(height, width)), width, height))
    _, norms = paint(generator.network, generator.weights, tf.constant(small[np.newaxis], tf.float32),
                     tf.constant([mixture]))
    return paint_tiles(generator.network, generator.weights, photo, tf.constant([mixture]), norms, tile_px,
                       reach_px(generator.network))
