"""What single cells of a layer tell of a picture: where each unit responds most, and what the cell there sees."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.facts import Operation, geometry
from nst_tf.io.images import FloatImage
from nst_tf.tensors import Tensor

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
