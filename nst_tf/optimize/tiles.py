"""Tiles along a side of a picture: where each is read, and which part of it counts. No TensorFlow."""

from typing import NamedTuple


class Reach(NamedTuple):
    """What the cells of some layers see along one axis.

    A cell of a layer with stride s that begins at pixel p sees no pixel before p − `before_px` and none behind
    p + s + `after_px`. `stride` is that of the deepest layer, a multiple of all others.
    """

    stride: int
    before_px: int
    after_px: int

    def lead_px(self) -> int:
        """What is read before the part that counts: `before_px`, up to the next multiple of the stride."""
        return _up(self.before_px, self.stride)

    def overlap_px(self) -> int:
        """What two neighboring tiles both read, at least."""
        return self.lead_px() + _up(self.after_px, self.stride)

    def smallest_tile_px(self) -> int:
        """The least side of a tile in which something counts, whatever the side of the picture."""
        return self.overlap_px() + 2 * self.stride


class Tile(NamedTuple):
    """One tile along one side: it is read from `start`; its cells count from `first` to `stop`."""

    start: int
    first: int
    stop: int


class Tiling(NamedTuple):
    """The tiles of a side; each reads `read_px` pixels."""

    read_px: int
    tiles: tuple[Tile, ...]


def tile_side(side_px: int, tile_px: int, reach: Reach) -> Tiling:
    """The fewest tiles of at most `tile_px` that cover a side, as small as they can be.

    All read as many pixels, n ≡ side mod stride, from multiples of the stride: so a network pads, pools and strides in
    a tile as it does in the whole picture, and a step is compiled once for all tiles. The lines between the parts that
    count are multiples of the stride. Each is further from the ends of both its tiles than their cells see.

    Args:
        tile_px: at least `reach.smallest_tile_px()`, or at least the side.
    Raises:
        ValueError: a tile in which nothing would count.

    >>> tile_side(40, 24, Reach(4, 3, 5))
    Tiling(read_px=24, tiles=(Tile(start=0, first=0, stop=12), Tile(start=8, first=12, stop=24), \
Tile(start=16, first=24, stop=40)))
    """
    if tile_px >= side_px:
        return Tiling(side_px, (Tile(0, 0, side_px),))
    if tile_px < reach.smallest_tile_px():
        raise ValueError(f"tiles of {tile_px} px are smaller than {reach.smallest_tile_px()} px")
    stride, overlap_px = reach.stride, reach.overlap_px()
    count = -(-(side_px - overlap_px) // (tile_px - overlap_px))
    while True:
        read_px = -(-(side_px + (count - 1) * overlap_px) // count)
        read_px += (side_px - read_px) % stride
        while (count - 1) * _step_px(read_px, reach) < side_px - read_px:
            read_px += stride
        if read_px <= tile_px:
            break
        count += 1
    starts = [min(k * _step_px(read_px, reach), side_px - read_px) for k in range(count)]
    lines = [0, *(start + reach.lead_px() for start in starts[1:]), side_px]
    return Tiling(read_px, tuple(map(Tile, starts, lines, lines[1:])))


def _step_px(read_px: int, reach: Reach) -> int:
    """From one tile to the next."""
    return (read_px - reach.overlap_px()) // reach.stride * reach.stride


def _up(px: int, stride: int) -> int:
    return -(-px // stride) * stride
