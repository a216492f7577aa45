"""The nine patches of each unit: a first pass over the images for the maxima, a second one that verifies and cuts."""

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.facts import Operation, geometry
from nst_tf.io import images
from nst_tf.io.files import quoted
from nst_tf.io.images import FloatImage
from nst_tf.recipes.units.maxima import KEPT, Maxima, Seen, images_needed, merged, strongest
from nst_tf.recipes.units.memory import check_memory
from nst_tf.recipes.units.panels import Pixels, TileFile
from nst_tf.recipes.units.plan import ImageFile, LayerPlan, UnitsPlan
from nst_tf.tensors import Tensor
from nst_tf.vocabulary import RunError, UserError

Integers = npt.NDArray[np.int32]
Peaks = Mapping[str, tuple[npt.NDArray[np.float32], Integers, Integers]]

GRAY = 0.5
# The box in a whole image holds this share of the gradient's magnitude, along each axis.
BOX_SHARE = 0.95


class Patch(NamedTuple):
    """What one cell sees: a square picture, float32 [size, size, 3], and the response measured again.

    It has the pixels [first, end) of the image's rows and columns, some of which may lie outside. `box_px` is (top,
    left, bottom, right) in the patch of what counts most, where the patch is the whole image.
    """

    picture: FloatImage
    value: float
    rows_px: tuple[int, int]
    columns_px: tuple[int, int]
    box_px: tuple[int, int, int, int] | None = None


def peak_finder(extractor: Extractor, layers: Sequence[str]) -> Callable[[FloatImage], Peaks]:
    """picture [H, W, 3] → {layer: (the largest response of each unit [C], its cell's row [C] and column [C])}.

    Of equal responses the first cell in reading order counts.
    """
    # One trace for images of all sizes.
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3])], autograph=False)
    def measure(image: Tensor) -> Any:
        features = extractor(image)
        return {layer: _peaks(features[layer][0]) for layer in layers}

    def find(picture: FloatImage) -> Peaks:
        return {layer: tuple(array.numpy() for array in found)
                for layer, found in measure(tf.constant(picture[np.newaxis])).items()}

    return find


def _peaks(F: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    flat = tf.reshape(F, [-1, F.shape[-1]])
    cell = tf.argmax(flat, axis=0, output_type=tf.int32)
    columns = tf.shape(F)[1]
    return tf.reduce_max(flat, axis=0), cell // columns, cell % columns


def crop(picture: FloatImage, row_px: tuple[int, int], column_px: tuple[int, int]) -> FloatImage:
    """The pixels [first, end) of rows and columns; what lies outside the picture is gray.

    >>> crop(np.zeros((2, 2, 3), np.float32), (-1, 1), (1, 3))[..., 0].tolist()
    [[0.5, 0.5], [0.0, 0.5]]
    """
    rows, columns = np.arange(*row_px), np.arange(*column_px)
    height, width = picture.shape[:2]
    in_rows, in_columns = (0 <= rows) & (rows < height), (0 <= columns) & (columns < width)
    cut = np.full((len(rows), len(columns), 3), GRAY, np.float32)
    cut[np.ix_(in_rows, in_columns)] = picture[np.ix_(rows[in_rows], columns[in_columns])]
    return cut


def patch_cutter(extractor: Extractor, operations: Sequence[Operation], layer: str,
                 is_whole: bool) -> Callable[[FloatImage, Mapping[str, Tensor], int, int, int], Patch]:
    """(picture, its features, unit, row, column) → the patch that the unit's cell sees.

    Args:
        is_whole: the patch is the whole image with a box, since the layer's receptive field is larger.
    """
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3]), *[tf.TensorSpec([], tf.int32)] * 3],
                 autograph=False)
    def gradient(image: Tensor, unit: Tensor, row: Tensor, column: Tensor) -> Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            value = extractor(image)[layer][0, row, column, unit]
        return tape.gradient(value, image)[0]

    def cut(picture: FloatImage, features: Mapping[str, Tensor], unit: int, row: int, column: int) -> Patch:
        value = float(features[layer][0, row, column, unit])
        if is_whole:
            g = gradient(tf.constant(picture[np.newaxis]), *map(tf.constant, (unit, row, column))).numpy()
            return _whole(picture, value, box(np.abs(g).sum(-1)))
        vertical, horizontal = (geometry(operations, layer, side_px) for side_px in picture.shape[:2])
        rows_px, columns_px = vertical.interval_px(row), horizontal.interval_px(column)
        return Patch(crop(picture, rows_px, columns_px), value, rows_px, columns_px)

    return cut


def _whole(picture: FloatImage, value: float, box_px: tuple[int, int, int, int]) -> Patch:
    """The whole picture in the middle of a gray square; its pixels are those of the box."""
    height, width = picture.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = crop(picture, (-top, side - top), (-left, side - left))
    first_row, first_column, end_row, end_column = box_px
    return Patch(square, value, (first_row, end_row), (first_column, end_column),
                 (first_row + top, first_column + left, end_row + top, end_column + left))


def box(magnitude: npt.NDArray[np.float32]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right), ends exclusive: the middle `BOX_SHARE` of a magnitude [H, W] ≥ 0 along each axis.

    What lies before it and what lies behind it hold at most (1 − `BOX_SHARE`)/2 each. Source: the effective receptive
    field of Luo, Li, Urtasun, Zemel 2016, as a box.
    """
    ends = []
    for axis in (1, 0):
        total = np.cumsum(magnitude.sum(axis, dtype=np.float64))
        outside = (1 - BOX_SHARE) / 2 * total[-1]
        ends.append((int(np.searchsorted(total, outside, side="right")),
                     int(np.searchsorted(total, total[-1] - outside, side="left")) + 1))
    (top, bottom), (left, right) = ends
    return min(top, bottom - 1), min(left, right - 1), bottom, right


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
