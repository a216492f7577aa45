"""The part of a plan that says in which tiles pictures are measured. No TensorFlow."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from nst_tf.backbones.facts import Operation, cells, reach, trace
from nst_tf.backbones.saved_model_facts import exported_folder
from nst_tf.optimize.tiles import Reach, Tiling, tile_side
from nst_tf.types import Array
from nst_tf.vocabulary import UserError

PIXELS = "picture"  # the name of the pixels among layers, as `losses.term.PICTURE`


def parse_tile(text: str) -> int | None:
    """The side of tiles in pixels; 0 for none, None for `auto`."""
    if text in ("auto", "off"):
        return None if text == "auto" else 0
    if not text.isdecimal() or not text.isascii() or int(text) < 1:
        raise UserError(f"--tile={text} is no size: give auto, off or a side in pixels such as 1024")
    return int(text)


def written_tile(tile_px: int | None) -> str:
    """What `parse_tile` reads as this."""
    return "auto" if tile_px is None else str(tile_px or "off")


def why_whole(backbone: str, statistic: str) -> str:
    """Why a picture cannot be measured in tiles; empty where it can."""
    if statistic == "histogram":
        return "--statistic=histogram sorts the values of the whole picture"
    if exported_folder(backbone) is not None:
        return "an exported network does not say what is padded around its maps"
    return ""


def check_tile(tile_px: int | None, sight: "Sight", layers: Collection[str], reason: str) -> None:
    """Raises `UserError` for a `--tile` in pixels where `reason` forbids tiles, or too small a one for these layers."""
    if not tile_px:
        return
    if reason:
        raise UserError(f"--tile={tile_px}: {reason}; give --tile=off, or another")
    smallest_px = sight.smallest_tile_px(layers)
    if tile_px < smallest_px:
        raise UserError(f"--tile={tile_px} is too small: these layers of the network see so far that tiles need "
                        f"{smallest_px} px; give at least that, or shallower layers")


class Sight(NamedTuple):
    """What tiles must know of a network: its operations, and what is padded around a picture before the first."""

    operations: tuple[Operation, ...]
    margin_px: int

    def axis(self, side_px: int, tile_px: int, layers: Mapping[str, str]) -> "Axis":
        """The tiles of a side. `layers` are {name in the objective: name in the network}; none for the pixels."""
        if not layers:
            # Smoothness compares a pixel with the next one.
            tiling = tile_side(side_px, tile_px, Reach(1, 0, 1))
            return _axis(tiling, {PIXELS: 1}, {PIXELS: tiling.read_px})
        tiling = tile_side(side_px, tile_px, self.reach(side_px, layers.values()))
        strides = {layer.name: layer.stride for layer in trace(self.operations)}
        counts = self.cells(tiling.read_px, layers)
        return _axis(tiling, {layer: strides[name] for layer, name in layers.items()}, counts)

    def smallest_tile_px(self, names: Collection[str]) -> int:
        """The least side of tiles for some layers, whatever the side of the picture."""
        # Padding depends on the rest that strides leave. No cell sees less than a receptive field.
        largest_px = max(layer.receptive_field_px for layer in trace(self.operations) if layer.name in names)
        sides = range(largest_px, largest_px + max(layer.stride for layer in trace(self.operations)))
        return max(self.reach(side_px, names).smallest_tile_px() for side_px in sides)

    def reach(self, side_px: int, names: Collection[str]) -> Reach:
        """What the cells of some layers see of a side."""
        return Reach(*reach(self.operations, set(names), side_px, self.margin_px))

    def cells(self, side_px: int, layers: Mapping[str, str]) -> dict[str, int]:
        """How many cells each layer has of a side."""
        counts = cells(self.operations, side_px + 2 * self.margin_px)
        of_names = {operation.name: count for operation, count in zip(self.operations, counts, strict=True)}
        return {layer: of_names[name] for layer, name in layers.items()}


class Axis(NamedTuple):
    """The tiles of a side; of each layer the stride, the cells in a tile, and which of them count, [tiles, cells]."""

    tiling: Tiling
    strides: dict[str, int]
    counts: dict[str, int]
    inside: dict[str, Array]

    def span(self, tile: int, layer: str) -> slice:
        """The cells of a tile among those of the whole side."""
        first = self.tiling.tiles[tile].start // self.strides[layer]
        return slice(first, first + self.counts[layer])


def _axis(tiling: Tiling, strides: dict[str, int], counts: dict[str, int]) -> Axis:
    inside = {}
    for layer, stride in strides.items():
        masks = np.zeros((len(tiling.tiles), counts[layer]), np.float32)
        for mask, tile in zip(masks, tiling.tiles, strict=True):
            # Cells behind the last pixel, which padding makes, are the last tile's.
            last = counts[layer] if tile is tiling.tiles[-1] else (tile.stop - tile.start) // stride
            mask[(tile.first - tile.start) // stride:last] = 1.0
        inside[layer] = masks
    return Axis(tiling, strides, counts, inside)
