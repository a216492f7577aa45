"""Windows of a picture on the host, which may be too large for copies: what is read there, and the transpose of it.

A picture is [H, W, C]. What is read of it along an axis are places: numbers of rows or columns, one after another, but
where a picture is moved and its border enters mirrored.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.strips import Picture, filled
from nst_tf.tensors import Array

Places = npt.NDArray[np.int64]

# Cells of a shrunk side that are made by one product: more of them read more pixels that are not theirs.
BLOCK_CELLS = 64


class Clipped:
    """A picture [H, W, C] clipped to [0, 1], made where it is read: `picture[a:b]`, `picture[a:b, c:d]`."""

    def __init__(self, picture: Picture) -> None:
        self.shape, self._picture = picture.shape, picture

    def __getitem__(self, window: slice | tuple[slice, slice]) -> Array:
        return np.clip(self._picture[window], 0, 1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        whole = filled(self._picture)
        return np.clip(whole, 0, 1, out=whole)


def places(side_px: int, shift_px: int = 0) -> Places:
    """Where the pixels of a side come from when a picture moves by −shift: beyond the ends it is mirrored.

    Args:
        shift_px: of less than the side.

    >>> places(4, 2), places(4, -1)
    (array([2, 3, 2, 1]), array([1, 0, 1, 2]))
    """
    moved = np.abs(np.arange(shift_px, side_px + shift_px))
    return np.asarray(side_px - 1 - np.abs(side_px - 1 - moved))


def read(picture: Picture, rows: Places, columns: Places) -> Array:
    """The window [rows, columns, C]; a view of an array where both run on one by one."""
    part: Array = picture[rows.min():rows.max() + 1, columns.min():columns.max() + 1]
    if _run(rows) != slice(0, len(rows)):
        part = part[rows - rows.min()]
    return part if _run(columns) == slice(0, len(columns)) else part[:, columns - columns.min()]


def add(picture: Array, part: Array, rows: Places, columns: Places) -> None:
    """The transpose of `read`: picture[rows, columns] += part, in place, also where a place is named twice."""
    part = _folded(_folded(part, rows).swapaxes(0, 1), columns).swapaxes(0, 1)
    picture[rows.min():rows.max() + 1, columns.min():columns.max() + 1] += part


def _run(seen: Places) -> slice:
    """Which of the places run upward one by one, from the least to the largest."""
    return slice(int(np.argmin(seen)), int(np.argmax(seen)) + 1)


def _folded(part: Array, seen: Places) -> Array:
    """A part [places, …] by ascending place, mirrored ones added."""
    run = _run(seen)
    if run == slice(0, len(seen)):
        return part
    folded = part[run].copy()
    for index in (*range(run.start), *range(run.stop, len(seen))):
        folded[seen[index] - seen[run.start]] += part[index]
    return folded


def shrink(picture: Picture, rows: Places, columns: Places, size: Sequence[int]) -> Array:
    """The window `read` there, shrunk to (height, width) as `tensors.shrink` does, without a copy of the window."""
    height, width = size
    tall = np.empty((height, len(columns), picture.shape[2]), np.float32)
    for block, seen, R in _tent_blocks(len(rows), height):
        tall[block] = _product(R, read(picture, rows[seen], columns))
    wide = np.ascontiguousarray(tall.swapaxes(0, 1))
    shrunk = np.empty((width, height, picture.shape[2]), np.float32)
    for block, seen, R in _tent_blocks(len(columns), width):
        shrunk[block] = _product(R, wide[seen])
    return np.ascontiguousarray(shrunk.swapaxes(0, 1))


def add_shrunk(picture: Array, part: Array, rows: Places, columns: Places) -> None:
    """The transpose of `shrink`, added in place to the window of the picture."""
    height, width, channels = part.shape
    wide = np.zeros((len(columns), height, channels), np.float32)
    by_column = np.ascontiguousarray(part.swapaxes(0, 1))
    for block, seen, R in _tent_blocks(len(columns), width):
        wide[seen] += _product(R.T, by_column[block])
    tall = np.ascontiguousarray(wide.swapaxes(0, 1))
    for block, seen, R in _tent_blocks(len(rows), height):
        add(picture, _product(R.T, tall[block]), rows[seen], columns)


def _product(R: Array, x: Array) -> Array:
    """R x along the first axis of [n, …]. By TensorFlow, which keeps to the threads of the run."""
    return np.asarray(tf.matmul(R, x.reshape(len(x), -1))).reshape(len(R), *x.shape[1:])


def _tent_blocks(pixels: int, cells: int) -> Iterator[tuple[slice, slice, Array]]:
    """The matrix of `tensors.tents` in blocks that are not zero: cells, pixels and float32 [cells, pixels]."""
    ratio = pixels / cells
    reach = int(np.ceil(ratio))
    for first in range(0, cells, BLOCK_CELLS):
        block = slice(first, min(first + BLOCK_CELLS, cells))
        centers = (np.arange(block.start, block.stop) + 0.5) * ratio - 0.5
        ends = slice(max(0, int(centers[0]) - reach), min(pixels, int(centers[-1]) + reach + 2))
        own = np.arange(ends.start, ends.stop)
        # A pixel, and what it stands for beyond the edges.
        seen = np.stack([own, -1 - own, 2 * pixels - 1 - own])[:, np.newaxis]
        weights = np.maximum(0.0, 1.0 - np.abs(seen - centers[:, np.newaxis]) / ratio).sum(axis=0)
        yield block, ends, np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
