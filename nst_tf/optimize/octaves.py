"""The arithmetic of a dream: octaves, tiles, steps. No pictures, no TensorFlow."""

from typing import NamedTuple

import numpy as np


def long_sides_px(size_px: int, octaves: int, ratio: float) -> list[int]:
    """size / ratio^k for k = octaves − 1, …, 0, rounded; ascending.

    >>> long_sides_px(392, 3, 1.4)
    [200, 280, 392]
    """
    return [round(size_px / ratio ** k) for k in reversed(range(octaves))]


class Span(NamedTuple):
    """One tile along one side. It is read from `start`. Its gradient counts from `first` to `stop`."""

    start: int
    first: int
    stop: int


def spans(side_px: int, tile_px: int, overlap_px: int, offset_px: int, stride: int) -> list[Span]:
    """Tiles that cover a side without a gap, each with what lies around it.

        … , offset + k c, offset + (k + 1) c, …   with   c = tile − 2 · overlap − (stride − 1)

    are the lines between them; at each end of the side the rest is a tile too. Reading begins at a multiple of `stride`
    where the side allows, so that the cells of a tile are the cells of the whole.

    Args:
        offset_px: ≥ 0; another one for each step, so that no line is always in the same place.

    >>> spans(20, 12, 2, 5, 1)
    [Span(start=0, first=0, stop=5), Span(start=3, first=5, stop=13), Span(start=8, first=13, stop=20)]
    """
    if tile_px >= side_px:
        return [Span(0, 0, side_px)]
    kept_px = kept(tile_px, overlap_px, stride)
    lines = [0, *(line for line in range(offset_px % kept_px, side_px, kept_px) if line), side_px]
    return [Span(min(max(0, (first - overlap_px) // stride * stride), side_px - tile_px), first, stop)
            for first, stop in zip(lines, lines[1:])]


def kept(tile_px: int, overlap_px: int, stride: int) -> int:
    """c of `spans`: how much of each tile's gradient is kept; below 1 where a tile is too small."""
    return tile_px - 2 * overlap_px - (stride - 1)


def tile_offsets(seed: int, step: int, tile_px: int) -> tuple[int, int]:
    """(rows, columns) that the lines between tiles are moved by: a function of seed and step alone."""
    # The third number keeps these apart from the jitter of the same step.
    rows, columns = np.random.default_rng((seed, step, 1)).integers(0, tile_px, 2)
    return int(rows), int(columns)
