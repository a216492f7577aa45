"""What one unit sees as a square panel: its nine patches, or its synthesized pictures, as in Zeiler and Fergus 2014."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nst_tf.io.images import FloatImage, quantize, resize

Pixels = npt.NDArray[np.uint8]

SIDE_PX = 222  # of a panel: three tiles and the lines between them
TILE_PX = 72
GAP_PX = 3
PLACES = 9


def empty() -> Pixels:
    """A panel [SIDE_PX, SIDE_PX, 3] without tiles, white."""
    return np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8)


def place(panel: Pixels, index: int, patch: FloatImage, box_px: tuple[int, int, int, int] | None = None) -> None:
    """Puts a square patch into place 0 … 8 of a panel, in reading order, enlarged or shrunk to `TILE_PX`.

    Args:
        box_px: (top, left, bottom, right) in the patch, ends exclusive, to be outlined.
    """
    tile = quantize(resize(patch, TILE_PX, TILE_PX))
    if box_px:
        _outline(tile, *(round(edge * TILE_PX / len(patch)) for edge in box_px))
    row, column = divmod(index, 3)
    top, left = row * (TILE_PX + GAP_PX), column * (TILE_PX + GAP_PX)
    panel[top:top + TILE_PX, left:left + TILE_PX] = tile


def whole(picture: FloatImage) -> Pixels:
    """A panel that is one square picture, enlarged or shrunk."""
    return quantize(resize(picture, SIDE_PX, SIDE_PX))


def crossed_out() -> Pixels:
    """A panel for a unit of which there is no picture: gray with a diagonal cross."""
    rows, columns = np.indices((SIDE_PX, SIDE_PX))
    is_cross = (np.abs(rows - columns) < 2) | (np.abs(rows + columns - SIDE_PX + 1) < 2)
    return np.repeat(np.where(is_cross, 160, 225).astype(np.uint8)[..., np.newaxis], 3, axis=2)


def place_shares() -> list[tuple[float, float, float]]:
    """(left, top, side) of each place as shares of a panel's side."""
    return [(column * (TILE_PX + GAP_PX) / SIDE_PX, row * (TILE_PX + GAP_PX) / SIDE_PX, TILE_PX / SIDE_PX)
            for row in range(3) for column in range(3)]


def side_by_side(panels: Sequence[Pixels]) -> FloatImage:
    """Panels in one row, float32 in [0, 1]."""
    gap = np.full((SIDE_PX, GAP_PX, 3), 255, np.uint8)
    joined = [part for panel in panels for part in (gap, panel)][1:]
    return np.concatenate(joined, axis=1).astype(np.float32) / np.float32(255)


def _outline(tile: Pixels, top: int, left: int, bottom: int, right: int) -> None:
    """A white line with a black one around it, to be seen on any picture."""
    for grow, value in ((1, 0), (0, 255)):
        rows = [max(0, top - grow), min(TILE_PX, bottom + grow) - 1]
        columns = [max(0, left - grow), min(TILE_PX, right + grow) - 1]
        tile[rows, columns[0]:columns[1] + 1] = value
        tile[rows[0]:rows[1] + 1, columns] = value
