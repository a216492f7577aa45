"""The nine patches of each unit: a first pass over the images finds the maxima, a second one cuts the patches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.facts import Operation, geometry
from nst_tf.io import images
from nst_tf.io.files import quoted
from nst_tf.io.images import FloatImage
from nst_tf.recipes.memory import check_memory
from nst_tf.recipes.units.maxima import KEPT, Maxima, MaximaState, NO_IMAGE, merged, strongest
from nst_tf.recipes.units.panels import TileFile
from nst_tf.recipes.units.plan import ImageFile, UnitsPlan
from nst_tf.tensors import Tensor
from nst_tf.vocabulary import RunError, UserError

Integers = npt.NDArray[np.int32]
Peaks = Mapping[str, tuple[npt.NDArray[np.float32], Integers, Integers]]
Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels, ends exclusive
Place = tuple[str, int, int]     # layer, unit, rank

GRAY = 0.5
# The box in a whole image holds this share of the gradient's magnitude, along each axis.
BOX_SHARE = 0.95


class Patch(NamedTuple):
    """The square picture that one cell sees, float32 [size, size, 3], and the response of the second pass.

    It has the pixels [first, end) of the image's rows and columns, some of which may lie outside. Where the patch is
    the whole image, `box_px` is the part of the patch that counts most, and the pixels are those of the box.
    """

    picture: FloatImage
    value: float
    rows_px: tuple[int, int]
    columns_px: tuple[int, int]
    box_px: Box | None = None


class Patches(NamedTuple):
    """What the second pass has found so far."""

    records: Mapping[Place, dict[str, Any]]  # file, response and place of each patch
    largest_difference: float                # of a response from that of the first pass, relative

    def of_unit(self, layer: str, unit: int) -> list[dict[str, Any]]:
        """The records of a unit, the strongest first."""
        places = ((layer, unit, rank) for rank in range(KEPT))
        return [self.records[place] for place in places if place in self.records]


def peak_finder(extractor: Extractor, layers: Sequence[str]) -> Callable[[FloatImage], Peaks]:
    """picture [H, W, 3] → {layer: (the largest response of each unit [C], its cell's row [C] and column [C])}.

    Of equal responses the first cell in reading order counts.
    """
    # One trace for images of all sizes.
    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3])], autograph=False)
    def measure(image: Tensor) -> Any:
        peaks, features = {}, extractor(image)
        for layer in layers:
            F = features[layer][0]
            flat, columns = tf.reshape(F, [-1, F.shape[-1]]), tf.shape(F)[1]
            cell = tf.argmax(flat, axis=0, output_type=tf.int32)
            peaks[layer] = tf.reduce_max(flat, axis=0), cell // columns, cell % columns
        return peaks

    def find(picture: FloatImage) -> Peaks:
        return {layer: tuple(array.numpy() for array in peaks)
                for layer, peaks in measure(tf.constant(picture[np.newaxis])).items()}

    return find


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
            return _whole_image(picture, value, box(np.abs(g).sum(-1)))
        vertical, horizontal = (geometry(operations, layer, side_px) for side_px in picture.shape[:2])
        rows_px, columns_px = vertical.interval_px(row), horizontal.interval_px(column)
        return Patch(crop(picture, rows_px, columns_px), value, rows_px, columns_px)

    return cut


def _whole_image(picture: FloatImage, value: float, box_px: Box) -> Patch:
    """The whole picture in the middle of a gray square."""
    height, width = picture.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = crop(picture, (-top, side - top), (-left, side - left))
    first_row, first_column, end_row, end_column = box_px
    return Patch(square, value, (first_row, end_row), (first_column, end_column),
                 (first_row + top, first_column + left, end_row + top, end_column + left))


def box(magnitude: npt.NDArray[np.float32]) -> Box:
    """The middle `BOX_SHARE` of a magnitude [H, W] ≥ 0 along each axis.

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


def find_maxima(plan: UnitsPlan, extractor: Extractor, state: MaximaState,
                skip: Callable[[str], None]) -> Iterator[MaximaState]:
    """The first pass: yields the state after each image that `state` does not have yet.

    Args:
        skip: is told why an image is left out.
    Raises:
        RunError: an image does not fit into memory.
    """
    find = peak_finder(extractor, [layer.name for layer in plan.layers])
    for index in range(state.images, len(plan.images)):
        maxima, skipped = state.maxima, state.skipped
        try:
            picture = _load(plan, plan.images[index])
        except UserError as error:
            skip(str(error))
            skipped += 1
        else:
            maxima = {layer: merged(maxima[layer], *peaks, image=index) for layer, peaks in find(picture).items()}
        state = MaximaState(maxima, index + 1, skipped)
        yield state


def shown_units(plan: UnitsPlan, maxima: Mapping[str, Maxima]) -> dict[str, tuple[int, ...]]:
    """The units that are shown, by layer."""
    return {layer.name: strongest(maxima[layer.name], layer.channels.first) if layer.channels.rule == "strong"
            else layer.channels.indices for layer in plan.layers}


def images_needed(maxima: Mapping[str, Maxima], units: Mapping[str, Sequence[int]]) -> list[int]:
    """The indices of the images that hold a patch of these units of each layer, ascending."""
    taken = [maxima[layer].images[list(chosen)].ravel() for layer, chosen in units.items()]
    return [int(image) for image in np.unique(np.concatenate(taken)) if image != NO_IMAGE]


def cut_patches(plan: UnitsPlan, extractor: Extractor, maxima: Mapping[str, Maxima],
                units: Mapping[str, Sequence[int]], tiles: TileFile) -> Iterator[Patches]:
    """The second pass: measures each of `images_needed` again, cuts its patches into `tiles`, and yields all so far.

    Args:
        units: those that are shown, by layer.
    Raises:
        UserError: an image of the first pass can no longer be read.
    """
    cutters = {layer.name: patch_cutter(extractor, plan.row.all_operations, layer.name,
                                        is_whole=layer.facts.receptive_field_px > plan.size_px)
               for layer in plan.layers}
    measure = tf.function(extractor, input_signature=[tf.TensorSpec([1, None, None, 3])], autograph=False)
    records: dict[Place, dict[str, Any]] = {}
    largest_difference = 0.0
    for index in images_needed(maxima, units):
        picture = _load(plan, plan.images[index])
        features = measure(tf.constant(picture[np.newaxis]))
        for layer, unit, rank in _places(maxima, units, index):
            response, _, row, column = (array[unit, rank].item() for array in maxima[layer])
            patch = cutters[layer](picture, features, unit, row, column)
            tiles.place(layer, unit, rank, patch.picture, patch.box_px)
            largest_difference = max(largest_difference, abs(patch.value / response - 1))
            records[layer, unit, rank] = {"file": plan.images[index].name, "response": response, "row": row,
                                          "column": column, "pixels": _pixels(patch, picture)}
        yield Patches(records, largest_difference)


def _places(maxima: Mapping[str, Maxima], units: Mapping[str, Sequence[int]], image: int) -> Iterator[Place]:
    """The places of the patches that are cut from an image."""
    for layer, shown in units.items():
        for unit, rank in np.argwhere(maxima[layer].images == image).tolist():
            if unit in shown:
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
        RunError: it does not fit into memory. Such an image is not skipped: all large images would be.
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
