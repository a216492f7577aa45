"""What came of a sweep: table.md, table.json, sheet.png and sheet.html, written anew after each cell. No TensorFlow."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, contact_sheet
from nst_tf.io.files import write_atomically
from nst_tf.io.images import FloatImage
from nst_tf.recipes.batch.report import THUMBNAIL_PX, thumbnail
from nst_tf.recipes.markdown import as_markdown
from nst_tf.recipes.page import render
from nst_tf.recipes.sweep.grid import Cell, written

PAGE = Path(__file__).with_name("sheet.html")
# The picture has the first cells, the page all.
SHEET_CELLS = 150
TILE_PX = 320


class Row(NamedTuple):
    """A cell: what is None was not measured, and `note` says why."""

    name: str
    cell: Cell
    style_score: float | None = None
    content_distance: float | None = None
    seconds: float | None = None
    note: str = ""

    def numbers(self) -> tuple[str, ...]:
        """Scores and seconds as they are shown."""
        return tuple("–" if value is None else format(value, form) for value, form in (
            (self.style_score, ".3f"), (self.content_distance, ".3f"), (self.seconds, ".1f")))


class Table:
    """The rows of a sweep, in the order of its grid whichever is made first."""

    def __init__(self, folder: Path, cells: dict[str, Cell], judge: str) -> None:
        self.folder, self._cells, self._judge = folder, cells, judge
        self.flags = list(next(iter(cells.values())))
        self._rows: dict[str, Row] = {}
        self._tiles: dict[str, Tile] = {}
        self._before = _read(folder / "table.json", judge)

    @property
    def rows(self) -> list[Row]:
        """Those that are known, in the order of the grid."""
        return [self._rows[name] for name in self._cells if name in self._rows]

    def scores(self, name: str) -> tuple[float, float | None] | None:
        """What an earlier call with this judge measured of a cell."""
        return self._before.get(name)

    def add(self, row: Row, picture: FloatImage | None = None) -> None:
        """Adds a cell, and its picture where it has one."""
        self._rows[row.name] = row
        if picture is not None:
            style, content, _ = row.numbers()
            scores = f"style {style}" + f", content {content}" * (row.content_distance is not None)
            lines = (*(f"{flag}={written(value)}" for flag, value in row.cell.items()), scores)
            height, width = picture.shape[:2]
            small = images.resize(picture, *images.fit(TILE_PX, width, height)) if max(height, width) > TILE_PX \
                else picture
            self._tiles[row.name] = Tile(small, lines)

    def text(self) -> str:
        """The table in Markdown."""
        titles = dict.fromkeys(self.flags, False) | dict.fromkeys(
            ("style score", "content distance", "seconds"), True) | {"note": False}
        lines = [(*map(written, row.cell.values()), *row.numbers(), row.note or "–") for row in self.rows]
        return as_markdown(titles, lines)

    def write(self) -> FloatImage | None:
        """Writes all four files. Returns the sheet, None while there is no picture."""
        write_atomically(self.folder / "table.md", f"Measured by {self._judge}.\n\n{self.text()}\n".encode())
        data = {"judge": self._judge, "rows": [row._asdict() for row in self.rows]}
        write_atomically(self.folder / "table.json", (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
        html = render(PAGE, title=self.folder.name, judge=self._judge, flags=self.flags, side_px=THUMBNAIL_PX,
                      rows=[self._shown(row) for row in self.rows])
        write_atomically(self.folder / "sheet.html", html.encode())
        return self._write_sheet([self._tiles[name] for name in self._cells if name in self._tiles][:SHEET_CELLS])

    def _shown(self, row: Row) -> dict[str, Any]:
        return {"name": row.name, "values": list(map(written, row.cell.values())), "numbers": row.numbers(),
                "note": row.note, "thumbnail": thumbnail(self.folder, row.name) if row.name in self._tiles else ""}

    def _write_sheet(self, tiles: Sequence[Tile]) -> FloatImage | None:
        if not tiles:
            return None
        size_px = tuple(max(tile.picture.shape[axis] for tile in tiles) for axis in (1, 0))
        sheet = contact_sheet(tiles, (size_px[0], size_px[1]))
        images.save(self.folder / "sheet.png", sheet)
        return sheet


def _read(path: Path, judge: str) -> dict[str, tuple[float, float | None]]:
    """{cell: scores} of an earlier call with the same judge."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["judge"] == judge:
            return {row["name"]: (row["style_score"], row["content_distance"]) for row in data["rows"]
                    if row["style_score"] is not None}
    return {}
