"""The nine patches of each unit: a first pass over the images for the maxima, a second one that verifies and cuts."""

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.io import images
from nst_tf.io.files import quoted
from nst_tf.io.images import FloatImage
from nst_tf.io.unit_panels import Pixels, TileFile
from nst_tf.recipes.plan_unit_images import ImageFile
from nst_tf.recipes.plan_unit_memory import check_memory
from nst_tf.recipes.plan_units import LayerPlan, UnitsPlan
from nst_tf.recipes.unit_cells import Patch, patch_cutter, peak_finder
from nst_tf.recipes.unit_maxima import KEPT, Maxima, Seen, images_needed, merged, strongest
from nst_tf.vocabulary import RunError, UserError

Place = tuple[str, int, int]


class Nine(NamedTuple):
    """The patches of one unit: what is known of each, strongest first, and their panel, read from the disk."""

    places: list[dict[str, Any]]
    panel: Callable[[], Pixels]


class Patches(NamedTuple):
    """The patches by layer and unit, and how far the responses measured again are from those of the first pass."""

    layers: dict[str, dict[int, Nine]]
    largest_difference: float  # relative
    responses: int             # that were measured again
    skipped: int               # images


def look(plan: UnitsPlan, extractor: Extractor, seen: Seen, skip: Callable[[str], None]) -> Iterator[Seen]:
    """The first pass: yields what has been seen after each image, from the first that `seen` does not have.

    Args:
        skip: is told why an image is left out.
    Raises:
        RunError: an image does not fit into memory.
    """
    find = peak_finder(extractor, [layer.name for layer in plan.layers])
    for index in range(seen.images, len(plan.images)):
        maxima, skipped = seen.maxima, seen.skipped
        try:
            picture = _load(plan, plan.images[index])
        except UserError as error:
            skip(str(error))
            skipped += 1
        else:
            maxima = {layer: merged(maxima[layer], *peaks, image=index) for layer, peaks in find(picture).items()}
        seen = Seen(maxima, index + 1, skipped)
        yield seen


def chosen_units(layer: LayerPlan, maxima: Maxima) -> tuple[int, ...]:
    """The units of a layer that are shown."""
    if layer.channels.rule == "strong":
        return strongest(maxima, layer.channels.first)
    return layer.channels.indices


def shown_units(plan: UnitsPlan, seen: Seen) -> dict[str, tuple[int, ...]]:
    """The units that are shown, by layer."""
    return {layer.name: chosen_units(layer, seen.maxima[layer.name]) for layer in plan.layers}


def cut(plan: UnitsPlan, extractor: Extractor, seen: Seen, shown: Mapping[str, Sequence[int]],
        tiles: TileFile) -> Generator[int, None, Patches]:
    """The second pass: every image that holds a patch is measured again, and the patches are cut from it.

    Yields how many of `images_needed` are done, and returns the patches.

    Args:
        shown: units by layer.
        tiles: takes the patches; the panels of the result are read from it.
    Raises:
        UserError: an image that was read in the first pass cannot be read any more.
    """
    cutters = {layer.name: patch_cutter(extractor, plan.operations, layer.name,
                                        is_whole=layer.facts.receptive_field_px > plan.size_px)
               for layer in plan.layers}
    measure = tf.function(extractor, input_signature=[tf.TensorSpec([1, None, None, 3])], autograph=False)
    numbers = itertools.count()
    panels = {layer: {unit: next(numbers) for unit in units} for layer, units in shown.items()}
    places: dict[Place, dict[str, Any]] = {}
    largest_difference = 0.0
    for done, index in enumerate(images_needed(seen.maxima, shown), 1):
        picture = _load(plan, plan.images[index])
        features = measure(tf.constant(picture[np.newaxis]))
        for place in _places(seen, panels, index):
            layer, unit, rank = place
            recorded, _, row, column = (array[unit, rank] for array in seen.maxima[layer])
            patch = cutters[layer](picture, features, unit, int(row), int(column))
            tiles.place(panels[layer][unit], rank, patch.picture, patch.box_px)
            largest_difference = max(largest_difference, abs(patch.value / float(recorded) - 1))
            places[place] = {"file": plan.images[index].name, "response": float(recorded), "row": int(row),
                             "column": int(column), "pixels": _pixels(patch, picture)}
        yield done
    nines = {layer: {unit: _nine(tiles, panel, [places[layer, unit, rank] for rank in range(KEPT)
                                                if (layer, unit, rank) in places])
                     for unit, panel in units.items()} for layer, units in panels.items()}
    return Patches(nines, largest_difference, len(places), seen.skipped)


def _nine(tiles: TileFile, panel: int, places: list[dict[str, Any]]) -> Nine:
    return Nine(places, partial(tiles.panel, panel, len(places)))


def _places(seen: Seen, panels: Mapping[str, Mapping[int, int]], image: int) -> Iterator[Place]:
    """(layer, unit, rank) of every patch that is cut from an image."""
    for layer, units in panels.items():
        for unit, rank in np.argwhere(seen.maxima[layer].images == image).tolist():
            if unit in units:
                yield layer, unit, rank


def _pixels(patch: Patch, picture: FloatImage) -> str:
    """Where a patch lies in the image as the network saw it."""
    (top, bottom), (left, right) = patch.rows_px, patch.columns_px
    height, width = picture.shape[:2]
    return f"{left} to {right - 1} × {top} to {bottom - 1} of {width} × {height}"


def _load(plan: UnitsPlan, image: ImageFile) -> FloatImage:
    """An image at most as long as `--size`, never enlarged.

    Raises:
        UserError: it is damaged, or too small for the deepest layer.
        RunError: it does not fit into memory; to leave out all large images would be no answer.
    """
    picture = images.load(image.path, name="--images", max_side_px=plan.size_px)
    height, width = picture.shape[:2]
    images.check_smallest_side((width, height), plan.smallest_side_px, "--images", image.path,
                               f"at --size={plan.size_px}, for layer {plan.layers[-1].name}")
    try:
        check_memory(height * width, plan.floats_per_px,
                     f"--images {quoted(image.path)} at {width} × {height} px needs",
                     f"give a --size smaller than {plan.size_px}")
    except UserError as error:
        raise RunError(str(error)) from None
    return picture
