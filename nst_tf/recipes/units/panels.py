"""The square panels of a unit: its nine patches on one panel, as in Zeiler and Fergus 2014, or one picture.

Panels are float32 [SIDE_PX, SIDE_PX, 3] in [0, 1].
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nst_tf.io.files import could_not_be_written
from nst_tf.io.images import FloatImage, quantize, resize

SIDE_PX = 222  # three tiles and the lines between them
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
        self._units: dict[tuple[str, int], tuple[int, int]] = {}  # index in the file, and number of tiles

    def place(self, layer: str, unit: int, rank: int, patch: FloatImage,
              box_px: tuple[int, int, int, int] | None = None) -> None:
        """Keeps a square patch, enlarged or shrunk to `TILE_PX`, for place 0 … 8 of a unit, in reading order.

        Args:
            box_px: (top, left, bottom, right) in the patch, ends exclusive, to be outlined.
        """
        tile = quantize(resize(patch, TILE_PX, TILE_PX))
        if box_px:
            _outline(tile, *(round(edge * TILE_PX / len(patch)) for edge in box_px))
        index, count = self._units.get((layer, unit), (len(self._units), 0))
        self._units[layer, unit] = index, count + 1
        with _disk_errors(self._folder):
            self._file.seek((index * PLACES + rank) * TILE_BYTES)
            self._file.write(tile.tobytes())

    def panel(self, layer: str, unit: int) -> FloatImage:
        """The panel of a unit on white, once all its tiles are placed; crossed out where it has none."""
        if (layer, unit) not in self._units:
            return crossed_out()
        index, count = self._units[layer, unit]
        with _disk_errors(self._folder):
            self._file.seek(index * PLACES * TILE_BYTES)
            tiles = np.frombuffer(self._file.read(count * TILE_BYTES), np.uint8).reshape(count, TILE_PX, TILE_PX, 3)
        panel = np.ones((SIDE_PX, SIDE_PX, 3), np.float32)
        for place, tile in enumerate(tiles):
            top, left = (part * (TILE_PX + GAP_PX) for part in divmod(place, 3))
            panel[top:top + TILE_PX, left:left + TILE_PX] = tile / np.float32(255)
        return panel

    def close(self) -> None:
        """Frees the disk."""
        with _disk_errors(self._folder):
            self._file.close()


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise could_not_be_written(folder, error) from error


def crossed_out() -> FloatImage:
    """A panel for a unit of which there is no picture: gray with a diagonal cross."""
    rows, columns = np.indices((SIDE_PX, SIDE_PX))
    is_cross = (np.abs(rows - columns) < 2) | (np.abs(rows + columns - SIDE_PX + 1) < 2)
    return np.repeat(np.where(is_cross, 160, 225)[..., np.newaxis], 3, axis=2).astype(np.float32) / np.float32(255)


def side_by_side(panels: Sequence[FloatImage]) -> FloatImage:
    """Panels in one row."""
    gap = np.ones((SIDE_PX, GAP_PX, 3), np.float32)
    return np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=1)


def _outline(tile: npt.NDArray[np.uint8], top: int, left: int, bottom: int, right: int) -> None:
    """A white line with a black one around it, which contrasts with any picture."""
    for grow, value in ((1, 0), (0, 255)):
        rows = [max(0, top - grow), min(TILE_PX, bottom + grow) - 1]
        columns = [max(0, left - grow), min(TILE_PX, right + grow) - 1]
        tile[rows, columns[0]:columns[1] + 1] = value
        tile[rows[0]:rows[1] + 1, columns] = value
