"""What came of a sweep: table.md, table.json, sheet.png and sheet.html, written anew after each cell. No TensorFlow."""

import contextlib
import json
import math
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.contact_sheet import LARGEST_SHEET_PX, Tile, contact_sheet
from nst_tf.io.files import write_atomically
from nst_tf.io.images import FloatImage
from nst_tf.recipes.batch.report import THUMBNAIL_PX, thumbnail
from nst_tf.recipes.batch.tasks import settings_hash
from nst_tf.recipes.contestants import Contestant
from nst_tf.recipes.markdown import as_markdown
from nst_tf.recipes.page import render
from nst_tf.recipes.sweep.grid import Cell, written
from nst_tf.runs.metrics import read_rows
from nst_tf.runs.record import DAMAGED

PAGE = Path(__file__).with_name("sheet.html")
# The picture has the first cells, the page all.
SHEET_CELLS = 150
# So many letters fit below the smallest picture of a sheet.
CAPTION_LETTERS, NAMES_LINES = 24, 6
# {title of a column: (field of `Row`, format of its numbers)}.
COLUMNS = {
    "style score": ("style_score", ".3f"), "content distance": ("content_distance", ".3f"),
    "seconds": ("seconds", ".1f"), "steps/s": ("steps_per_second", ".2f")}
# Those of networks, where cells differ in one of these flags.
OF_NETWORKS = {"parameters": ("parameters", ",d"), "MB": ("parameters_mb", ".1f")}
NETWORK_FLAGS = ("backbone", "weights")


class Row(NamedTuple):
    """A cell: what is None was not measured, and `note` says why."""

    name: str
    cell: Cell
    style_score: float | None = None
    content_distance: float | None = None
    seconds: float | None = None
    steps_per_second: float | None = None
    parameters: int | None = None
    note: str = ""

    @property
    def parameters_mb(self) -> float | None:
        """What the parameters weigh in float32, in 10⁶ bytes."""
        return None if self.parameters is None else 4 * self.parameters / 1e6

    def as_json(self) -> dict[str, Any]:
        """The row of table.json."""
        fields = self._asdict()
        return {"name": fields.pop("name"), **fields.pop("cell"), **fields, "parameters_mb": self.parameters_mb}


def read_costs(folder: Path) -> dict[str, Any]:
    """The fields of a row that the run folder of a finished cell tells, so that a later process knows them too."""
    logged, costs = read_rows(folder / "metrics.jsonl"), dict[str, Any]()
    if logged:
        speeds = [row["steps_per_second"] for row in logged
                  if row["stage"] == logged[-1]["stage"] and "steps_per_second" in row]
        costs = {"seconds": logged[-1]["seconds"], "steps_per_second": statistics.median(speeds) if speeds else None}
    with contextlib.suppress(*DAMAGED):
        costs["parameters"] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["parameters"]
    return costs


class Table:
    """The rows of a sweep, in the order of its grid whichever is made first.

    Args:
        shared: the flags of all cells.
        is_new: forgets what an earlier call measured.
    """

    def __init__(self, folder: Path, cells: dict[str, Cell], judging: Contestant, shared: StylizeConfig,
                 is_new: bool = False) -> None:
        self.folder, self._cells, self._judging, self._shared = folder, cells, judging, shared
        self.flags = list(next(iter(cells.values())))
        self.columns = COLUMNS | (OF_NETWORKS if set(self.flags) & set(NETWORK_FLAGS) else {})
        self._rows: dict[str, Row] = {}
        self._tiles: dict[str, Tile] = {}
        self._inputs: list[Tile] | None = None
        # What is a file counts by its bytes.
        self._judge = {"backbone": judging.backbone, "weights": judging.weights_name,
                       "hash": settings_hash(judging._asdict())}
        self._before = {} if is_new else _read(folder / "table.json", self._judge)

    @property
    def rows(self) -> list[Row]:
        """Those that are known, in the order of the grid."""
        return [self._rows[name] for name in self._cells if name in self._rows]

    def scores(self, name: str) -> dict[str, Any] | None:
        """The fields that an earlier call with this judge measured of a cell."""
        return self._before.get(name)

    def add(self, row: Row, picture: FloatImage | None = None) -> None:
        """Adds a cell, and its picture where it has one."""
        self._rows[row.name] = row
        if picture is not None:
            style, content, seconds, *_ = self._numbers(row)
            scores = f"style {style}" + f", content {content}" * (row.content_distance is not None)
            lines = [text if flag == "backbone" else f"{flag}: {text}"
                     for flag, text in zip(row.cell, _values(row), strict=True)]
            self._tiles[row.name] = self._tile(picture, (*lines, scores, f"{seconds} s"))

    def about(self) -> str:
        """What all cells have in common and what the numbers mean, above the table."""
        config = self._shared
        files = " + ".join(Path(path).name for path in (config.content, *config.style) if path)
        common = {"content": files, "size": f"{config.long_side_px} px", "steps": f"{config.steps} steps",
                  "seed": f"seed {config.seed}"}
        said = ", ".join(text for flag, text in common.items()
                         if text and flag not in self.flags and (flag != "content" or "style" not in self.flags))
        scores = ("style score, 1 = the photo, 0 = the style; content distance, 0 = the photo" if config.content
                  else "style score, 1 = features of 0, 0 = the style")
        return (f"{said}.\nMeasured by {self._judge['backbone']} ({self._judge['weights']}): {scores}.\n"
                "Seconds of the steps alone, without building or learning the network; steps/s at the last size.")

    def text(self) -> str:
        """The table in Markdown, below what it is about."""
        titles = dict.fromkeys(self.flags, False) | dict.fromkeys(self.columns, True) | {"note": False}
        lines = [(*_values(row), *self._numbers(row), row.note or "–") for row in self.rows]
        return f"{self.about()}\n\n{as_markdown(titles, lines)}\n"

    def write(self) -> FloatImage | None:
        """Writes all four files. Returns the sheet, None while there is no picture."""
        write_atomically(self.folder / "table.md", self.text().encode())
        data = {"about": self.about(), "judge": self._judge, "rows": [row.as_json() for row in self.rows]}
        write_atomically(self.folder / "table.json", (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
        html = render(PAGE, title=self.folder.name, about=self.about(), flags=self.flags, columns=list(self.columns),
                      side_px=THUMBNAIL_PX, rows=[self._shown(row) for row in self.rows])
        write_atomically(self.folder / "sheet.html", html.encode())
        return self._write_sheet([self._tiles[name] for name in self._cells if name in self._tiles][:SHEET_CELLS])

    def _numbers(self, row: Row) -> tuple[str, ...]:
        """The columns as they are shown; a dash for what was not measured."""
        values = [(getattr(row, field), form) for field, form in self.columns.values()]
        return tuple("–" if value is None else format(value, form) for value, form in values)

    def _shown(self, row: Row) -> dict[str, Any]:
        raw = [getattr(row, field) for field, _ in self.columns.values()]
        return {"name": row.name, "values": _values(row), "numbers": list(zip(raw, self._numbers(row), strict=True)),
                "note": row.note, "thumbnail": thumbnail(self.folder, row.name) if row.name in self._tiles else ""}

    def _write_sheet(self, tiles: Sequence[Tile]) -> FloatImage | None:
        if not tiles:
            return None
        size_px = tuple(max(tile.picture.shape[axis] for tile in tiles) for axis in (1, 0))
        sheet = contact_sheet([*self._input_tiles(), *tiles, *self._left_out()], (size_px[0], size_px[1]))
        images.save(self.folder / "sheet.png", sheet)
        return sheet

    def _tile(self, picture: FloatImage, caption: tuple[str, ...]) -> Tile:
        """A tile that is no larger than a full sheet has room for."""
        side_px = LARGEST_SHEET_PX // math.ceil(math.sqrt(min(len(self._cells), SHEET_CELLS)))
        height, width = picture.shape[:2]
        is_large = max(height, width) > side_px
        return Tile(images.resize(picture, *images.fit(side_px, width, height)) if is_large else picture, caption)

    def _input_tiles(self) -> list[Tile]:
        """Photo and styles, where all cells have the same."""
        if self._inputs is None:
            named = [("content", self._shared.content), *(("style", path) for path in self._shared.style)]
            self._inputs = [self._tile(images.load(path, name=f"--{kind}"), (kind, Path(path).name))
                            for kind, path in named if path and kind not in self.flags]
        return self._inputs

    def _left_out(self) -> list[Tile]:
        """The names of the cells without a picture."""
        names = [row.name for row in self.rows if row.name not in self._tiles]
        lines = textwrap.wrap(f"left out: {', '.join(names)}", CAPTION_LETTERS, max_lines=NAMES_LINES, placeholder=" …")
        return [Tile(np.ones((1, 1, 3), np.float32), (*lines, "the table says why"))] if names else []


def _values(row: Row) -> list[str]:
    return ["–" if value is None else written(value) for value in row.cell.values()]


def _read(path: Path, judge: dict[str, str]) -> dict[str, dict[str, Any]]:
    """{cell: scores} of an earlier call with the same judge."""
    with contextlib.suppress(*DAMAGED):
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["judge"] == judge:
            return {row["name"]: {field: row[field] for field in ("style_score", "content_distance")}
                    for row in data["rows"] if row["style_score"] is not None}
    return {}
