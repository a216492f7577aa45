"""Tiles by arithmetic alone: their cells are those of the whole picture, each counts once, none sees a tile's end."""

from collections.abc import Sequence

import numpy as np
import pytest

from nst_tf.backbones.facts import geometry, trace
from nst_tf.backbones.table import BACKBONES, Backbone
from nst_tf.optimize.tiles import Reach, tile_side
from nst_tf.recipes.stylize.plan_tiles import PIXELS, Sight, parse_tile, written_tile
from nst_tf.vocabulary import UserError


def _names(row: Backbone) -> list[str]:
    return [layer for layer, _ in (*row.content_layers, *row.style_layers)]


def _check_cells(sight: Sight, names: Sequence[str], side_px: int, tile_px: int) -> None:
    """By the geometry of each layer in a tile, and in the whole."""
    layers = {name: name for name in names}
    axis = sight.axis(side_px, tile_px, layers)
    read_px, tiles = axis.tiling
    strides = {layer.name: layer.stride for layer in trace(sight.operations)}
    assert read_px <= tile_px and tiles[0].start == 0 and tiles[-1].start == side_px - read_px
    for name, count in sight.cells(side_px, layers).items():
        counted = np.zeros(count, int)
        whole = geometry(sight.operations, name, side_px + 2 * sight.margin_px)
        part = geometry(sight.operations, name, read_px + 2 * sight.margin_px)
        for index, tile in enumerate(tiles):
            assert tile.start % strides[name] == 0
            for cell in np.flatnonzero(axis.inside[name][index]):
                place = tile.start // strides[name] + int(cell)
                first, end = (px + tile.start - sight.margin_px for px in part.interval_px(int(cell)))
                assert (first, end) == tuple(px - sight.margin_px for px in whole.interval_px(place))
                # What it sees beyond an end of the tile is padding of the whole picture too.
                assert first >= tile.start or tile.start == 0, (name, side_px, tile)
                assert end <= tile.start + read_px or tile.start + read_px == side_px, (name, side_px, tile)
                counted[place] += 1
        assert (counted == 1).all(), (name, side_px)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_cells_of_tiles_are_those_of_the_whole(backbone: str) -> None:
    """Sides of every rest of the stride, at the smallest tile and at a larger one."""
    row = BACKBONES[backbone]
    for margin_px in {0, row.unpadded_px}:
        sight, names = Sight(row.all_operations, margin_px), _names(row)
        smallest_px = sight.smallest_tile_px(names)
        stride = max(layer.stride for layer in trace(row.operations) if layer.name in names)
        for rest in range(0, stride, 3):
            _check_cells(sight, names, 3 * smallest_px + rest, smallest_px)
            _check_cells(sight, names[:2], 2 * smallest_px + rest, smallest_px + 5)


def test_tiles_are_as_few_and_as_small_as_they_can_be() -> None:
    for side_px, tile_px in [(1000, 300), (999, 300), (513, 512), (5000, 1024)]:
        reach = Reach(16, 70, 70)
        tiling = tile_side(side_px, tile_px, reach)
        largest_px = tile_px - (tile_px - side_px) % reach.stride
        kept_px = (largest_px - reach.overlap_px()) // reach.stride * reach.stride
        assert (len(tiling.tiles) - 2) * kept_px + largest_px < side_px
        assert tiling.read_px <= tile_px and tiling.read_px % 16 == side_px % 16


def test_a_side_that_fits_is_one_tile() -> None:
    axis = Sight(BACKBONES["vgg19"].operations, 0).axis(300, 300, {"a": "block1_conv1", "b": "block3_conv1"})
    assert axis.tiling.read_px == 300
    assert [mask.all() for mask in axis.inside.values()] == [True, True]
    assert Sight((), 0).axis(9, 4, {}).inside[PIXELS].sum() == 9


@pytest.mark.parametrize("text, tile_px", [("auto", None), ("off", 0), ("1024", 1024)])
def test_tile_is_written_as_it_is_read(text: str, tile_px: int | None) -> None:
    assert parse_tile(text) == tile_px
    assert written_tile(tile_px) == text


@pytest.mark.parametrize("text", ["", "0", "-5", "1e3", "512px", "on", "١"])
def test_other_tiles_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="auto, off or a side in pixels"):
        parse_tile(text)


def test_layers_decide_how_small_a_tile_may_be() -> None:
    def smallest(*names: str) -> int:
        return Sight(BACKBONES["vgg19"].operations, 0).smallest_tile_px(names)

    assert smallest("block1_conv1") == 4
    assert smallest("block1_conv1", "block5_conv1") == 192
