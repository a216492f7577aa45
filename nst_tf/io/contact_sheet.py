"""A contact sheet: pictures side by side on white, each with lines of text below it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nst_tf.io.images import FloatImage, quantize, resize
from nst_tf.vocabulary import UserError

LARGEST_SHEET_PX = 4096
MARGIN_PX = 20
FONT_PX = 15
LINE_PX = 20
CAPTION_GAP_PX = 6
SMALLEST_CELL_PX = 200  # so that a line of figures fits below a small picture
SHAPE = 4 / 3           # width : height that the grid comes near to


class Tile(NamedTuple):
    """A picture, float32 [H, W, 3] in [0, 1], and its lines of text."""

    picture: FloatImage
    caption: tuple[str, ...]


class Grid(NamedTuple):
    """Equal cells in rows: a picture stands on the caption below it, both at the cell's left edge."""

    columns: int
    rows: int
    picture_px: tuple[int, int]  # (width, height) that no picture exceeds
    caption_px: int

    @property
    def cell_width_px(self) -> int:
        return max(self.picture_px[0], SMALLEST_CELL_PX)

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the sheet."""
        return (MARGIN_PX + self.columns * (self.cell_width_px + MARGIN_PX),
                MARGIN_PX + self.rows * (self.picture_px[1] + self.caption_px + MARGIN_PX))

    def caption_at(self, index: int) -> tuple[int, int]:
        """(left, top) of the text of a tile, counted by rows."""
        row, column = divmod(index, self.columns)
        return (MARGIN_PX + column * (self.cell_width_px + MARGIN_PX),
                MARGIN_PX + row * (self.picture_px[1] + self.caption_px + MARGIN_PX) + self.picture_px[1])


def contact_sheet(tiles: Sequence[Tile], picture_px: tuple[int, int]) -> FloatImage:
    """All tiles on one white picture, none stretched or enlarged.

    Args:
        tiles: at least one, in the order of reading.
        picture_px: (width, height) that each picture is shrunk to fit into; less where the sheet would be larger than
            `LARGEST_SHEET_PX`.
    Returns:
        float32 [H, W, 3] in [0, 1].
    Raises:
        UserError: more tiles than such a sheet can hold.
    """
    return drawn(tiles, plan_grid(len(tiles), picture_px, max(len(tile.caption) for tile in tiles)))


def drawn(tiles: Iterable[Tile], grid: Grid) -> FloatImage:
    """The sheet of `contact_sheet` on a grid that was planned for these tiles; reads one tile at a time."""
    sheet = Image.new("RGB", grid.size_px, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for index, tile in enumerate(tiles):
        left, top = grid.caption_at(index)
        picture = Image.fromarray(quantize(_shrunk(tile.picture, grid.picture_px)))
        sheet.paste(picture, (left, top - picture.height))
        for number, line in enumerate(tile.caption):
            at = (left, top + CAPTION_GAP_PX + number * LINE_PX)
            draw.text(at, _elided(line, grid.cell_width_px, font), "black" if number == 0 else "#444444", font)
    return np.asarray(sheet, np.float32) / np.float32(255)


def plan_grid(tiles: int, picture_px: tuple[int, int], lines: int) -> Grid:
    """The grid nearest to `SHAPE` that holds so many tiles, with pictures as large as the largest sheet allows.

    Raises:
        UserError: not even pictures of one pixel fit.
    """
    width, height = picture_px
    caption_px = CAPTION_GAP_PX + lines * LINE_PX
    for shrink in np.geomspace(1.0, 1.0 / max(picture_px), 100):
        size_px = (max(1, int(width * shrink)), max(1, int(height * shrink)))
        grids = [Grid(columns, -(-tiles // columns), size_px, caption_px) for columns in range(1, tiles + 1)]
        fitting = [grid for grid in grids if max(grid.size_px) <= LARGEST_SHEET_PX]
        if fitting:
            return min(fitting, key=lambda grid: abs(np.log(grid.size_px[0] / grid.size_px[1] / SHAPE)))
    raise UserError(f"{tiles} pictures do not fit on a sheet of {LARGEST_SHEET_PX} px: give fewer at once")


def _shrunk(picture: FloatImage, size_px: tuple[int, int]) -> FloatImage:
    """The picture inside (width, height), its aspect kept; never enlarged."""
    height, width = picture.shape[:2]
    scale = min(1.0, size_px[0] / width, size_px[1] / height)
    if scale == 1.0:
        return picture
    return resize(picture, max(1, round(width * scale)), max(1, round(height * scale)))


def _elided(line: str, width_px: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The line without its middle where it is too long: the names of files differ at both ends."""
    length, text = len(line), line
    while length > 2 and font.getlength(text) > width_px:
        length -= 1
        text = f"{line[:-(-length // 2)]}…{line[-(length // 2):]}"
    return text
