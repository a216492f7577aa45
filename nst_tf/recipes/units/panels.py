"""What one unit sees as a square panel: its nine patches, or its synthesized pictures, as in Zeiler and Fergus 2014."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nst_tf.io.files import quoted
from nst_tf.io.images import FloatImage, quantize, resize
from nst_tf.vocabulary import RunError

Pixels = npt.NDArray[np.uint8]

SIDE_PX = 222  # of a panel: three tiles and the lines between them
TILE_PX = 72
GAP_PX = 3
PLACES = 9
TILE_BYTES = TILE_PX * TILE_PX * 3


class TileFile:
    """The patches of many units as tiles in a file without a name, so that memory does not grow with the units.

    Raises:
        RunError: from every method, the disk is full or refuses.
    """

    def __init__(self, folder: Path) -> None:
        with _disk_errors(folder):
            self._file = tempfile.TemporaryFile(dir=folder)
        self._folder = folder

    def place(self, panel: int, index: int, patch: FloatImage,
              box_px: tuple[int, int, int, int] | None = None) -> None:
        """Keeps a square patch, enlarged or shrunk to `TILE_PX`, for place 0 … 8 of a panel, in reading order.

        Args:
            box_px: (top, left, bottom, right) in the patch, ends exclusive, to be outlined.
        """
        tile = quantize(resize(patch, TILE_PX, TILE_PX))
        if box_px:
            _outline(tile, *(round(edge * TILE_PX / len(patch)) for edge in box_px))
        with _disk_errors(self._folder):
            self._file.seek((panel * PLACES + index) * TILE_BYTES)
            self._file.write(tile.tobytes())

    def panel(self, panel: int, count: int) -> Pixels:
        """A panel [SIDE_PX, SIDE_PX, 3] of the first `count` tiles on white; they have been placed."""
        pixels = np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8)
        with _disk_errors(self._folder):
            self._file.seek(panel * PLACES * TILE_BYTES)
            tiles = np.frombuffer(self._file.read(count * TILE_BYTES), np.uint8).reshape(count, TILE_PX, TILE_PX, 3)
        for index, tile in enumerate(tiles):
            top, left = (part * (TILE_PX + GAP_PX) for part in divmod(index, 3))
            pixels[top:top + TILE_PX, left:left + TILE_PX] = tile
        return pixels

    def close(self) -> None:
        """Frees the disk."""
        with _disk_errors(self._folder):
            self._file.close()


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{quoted(folder)} could not be written ({error.strerror}): free some space or give another "
                       "--output") from error


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


def as_picture(panel: Pixels) -> FloatImage:
    """A panel as float32 in [0, 1]."""
    return panel.astype(np.float32) / np.float32(255)


def side_by_side(panels: Sequence[FloatImage]) -> FloatImage:
    """Panels in one row."""
    gap = np.ones((SIDE_PX, GAP_PX, 3), np.float32)
    return np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=1)


def _outline(tile: Pixels, top: int, left: int, bottom: int, right: int) -> None:
    """A white line with a black one around it, to be seen on any picture."""
    for grow, value in ((1, 0), (0, 255)):
        rows = [max(0, top - grow), min(TILE_PX, bottom + grow) - 1]
        columns = [max(0, left - grow), min(TILE_PX, right + grow) - 1]
        tile[rows, columns[0]:columns[1] + 1] = value
        tile[rows[0]:rows[1] + 1, columns] = value
