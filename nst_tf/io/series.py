"""Series in text (CSV): delimiters, header rows, a time column, gaps; written again as they were."""

import csv
import io
import itertools
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from nst_tf.io import clock
from nst_tf.io.files import quoted
from nst_tf.vocabulary import UserError, nearest

Row = Sequence[str]

# What stands in a cell that holds no number.
_GAPS = ("", "na", "n/a", "nan", "null", "none", "-", "--", "?", ".")
_DELIMITERS = ("\t", ";", ",", " ")
# So many lines are looked at to tell the header from the numbers.
_HEAD_LINES = 200
_COUNTED_ROWS = 1000
_MAX_DECIMALS = 9
_COMMA_NUMBER = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_UNIT = re.compile(r"[(\[]\s*([^()\[\]]+?)\s*[)\]]\s*$")
# What tells a row of units from a row of names.
_UNITS = ("v", "mv", "uv", "µv", "a", "ma", "g", "mg", "s", "ms", "hz", "mmhg", "bpm", "%", "pa", "hpa", "°c",
          "hh:mm:ss.mmm")


@dataclass(frozen=True)
class Table:
    """How a file of text is laid out, as far as the same kind is written again.

    Args:
        header: the rows before the numbers, with the cells of what is written.
        times: the cells of the time column, None where there is none; it is the column `time_at` of what is written.
        rows: the places of the lines among the even samples, None where there is a line for each.
        decimals: digits behind the point of each column, None where there are exponents or many digits.
        gap: what stands in a cell without a number.
    """

    delimiter: str = ","
    header: tuple[tuple[str, ...], ...] = ()
    times: tuple[str, ...] | None = None
    time_at: int = 0
    rows: NDArray[np.int64] | None = None
    decimals: tuple[int | None, ...] = ()
    decimal_comma: bool = False
    gap: str = "NaN"
    newline: str = "\n"
    encoding: str = "utf-8"


class Series(NamedTuple):
    """The numbers of a file [T, C], NaN where there is a gap, and what its text says about them."""

    values: NDArray[np.float64]
    rate_hz: float | None
    columns: tuple[str, ...] | None
    unit: str | None
    table: Table
    remarks: tuple[str, ...]


class _Head(NamedTuple):
    """What the first lines tell."""

    delimiter: str
    decimal_comma: bool
    rows: list[list[str]]
    header_rows: int
    width: int
    text_columns: frozenset[int]
    names: tuple[str, ...] | None
    units: tuple[str, ...] | None
    newline: str
    encoding: str


def read(path: str, encoding: str, columns: Sequence[str] | None, what: str, max_values: int) -> Series:
    """A file of text as numbers.

    Args:
        columns: the names, or the numbers from 1 on, of the columns to read; none: all but those of time and of text.
    Raises:
        UserError: no numbers, text among them, lines of unlike length, no such column; it starts with `what`.
    """
    try:
        with open(path, encoding=encoding, newline="") as file:
            lines = [line for line in itertools.islice(file, _HEAD_LINES) if line.strip()]
            if not lines:
                raise UserError(f"{what} holds no numbers, only blank lines: get a new copy of it")
            file.seek(0)
            return _series(file, _head(lines, encoding, what), columns, what, max_values)
    except (csv.Error, UnicodeError) as error:
        raise UserError(f"{what} is damaged, or no text ({error}): get a new copy of it") from error


def _rows(file: TextIO | Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each line that is not blank."""
    lines = (line.strip(" ") for line in file) if delimiter == " " else file
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    return ((reader.line_num, row) for row in reader if row)


def _is_text(cell: str, decimal_comma: bool) -> bool:
    cell = cell.strip()
    if decimal_comma and _COMMA_NUMBER.fullmatch(cell):
        return False
    return cell.lower() not in _GAPS and clock.seconds(cell) is None


def _head(lines: Sequence[str], encoding: str, what: str) -> _Head:
    # The middle and the end stand behind any header.
    probes = [lines[len(lines) // 2], lines[-1]] if len(lines) > 2 else lines[-1:]
    delimiter = next((mark for mark in _DELIMITERS if mark in probes[0].strip()), ",")
    rows = [row for _, row in _rows(lines, delimiter)]
    bodies = [row for _, row in _rows(probes, delimiter)]
    comma = delimiter in "\t;" and any(_COMMA_NUMBER.fullmatch(cell.strip()) for row in bodies for cell in row)
    texts = [{column for column, cell in enumerate(row) if _is_text(cell, comma)} for row in bodies]
    width, text_columns = len(bodies[0]), frozenset(set.intersection(*texts))
    if all(cell.strip().lower() in _GAPS or _is_text(cell, comma) for row in bodies for cell in row):
        raise UserError(f"{what} holds no numbers (its line {len(lines)} is {quoted(lines[-1].strip()[:40])}): allowed "
                        "are columns of numbers, with or without names in the first line")
    header_rows = next((count for count, row in enumerate(rows)
                        if not _is_header(row, rows, width, text_columns, comma)), len(rows))
    whole = [tuple(cell.lstrip("#% ").strip("'\" ") for cell in row[-width:]) for row in rows[:header_rows]
             if len(row) == width + _has_mark(row)]
    has_units = len(whole) > 1 and any(cell.lower() in _UNITS for cell in whole[-1])
    names = whole[-1 - has_units] if whole else None
    units = whole[-1] if has_units else None
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    return _Head(delimiter, comma, rows, header_rows, width, text_columns, names, units, newline, encoding)


def _has_mark(row: Row) -> bool:
    """Whether a line begins with a mark of comments that stands alone: "# time ecg"."""
    return row[0] in ("#", "%")


def _is_header(row: Row, rows: list[list[str]], width: int, text_columns: frozenset[int], comma: bool) -> bool:
    """Whether a line among the first belongs to a header: text where numbers follow, or other columns."""
    if len(row) != width and row is not rows[-1]:
        return True
    if any(_is_text(cell, comma) for column, cell in enumerate(row) if column not in text_columns):
        return True
    # The names that pandas gives to columns without one: ",0,1" above "0,…".
    return row is rows[0] and width > 1 and not row[0].strip() and len(rows) > 1 and rows[1][0].strip() == "0"


def _chosen(head: _Head, columns: Sequence[str], what: str) -> list[int]:
    """The places of the columns that the user names."""
    places = []
    for name in columns:
        if head.names and name in head.names:
            places.append(head.names.index(name))
        elif name.isdecimal() and 1 <= int(name) <= head.width:
            places.append(int(name) - 1)
        else:
            have = ", ".join(head.names) if head.names else f"1 to {head.width}"
            raise UserError(f"{what} has no column {quoted(name)}{nearest(name, head.names or ())} It has: {have}")
    if len(set(places)) < len(places):
        raise UserError(f"--columns={','.join(columns)} names a column twice: leave one out")
    return places


class _Body(NamedTuple):
    """The lines of numbers; of some of them the cells as they stand, to see how numbers are written."""

    values: NDArray[np.float64]
    times: list[str]
    sample: list[list[str]]
    gap: str | None


def _clock_at(head: _Head, wanted: Sequence[int]) -> int | None:
    """The place of the column that may hold times; one that the user wants, or that is alone, holds a signal."""
    if head.width == 1:
        return None
    named = next((place for place, name in enumerate(head.names or ()) if clock.is_time(name)), None)
    place = 0 if named is None else named
    return None if place in wanted or place in head.text_columns else place


def _series(file: TextIO, head: _Head, columns: Sequence[str] | None, what: str, max_values: int) -> Series:
    rows = itertools.islice(_rows(file, head.delimiter), head.header_rows, None)
    chosen = _chosen(head, columns, what) if columns else [
        place for place in range(head.width) if place not in head.text_columns]
    clock_at = _clock_at(head, chosen if columns else [])
    places = [place for place in chosen if place != clock_at]
    body = _body(rows, head, places, clock_at, what, max_values)
    values, ticks = body.values, None
    if clock_at is not None:
        ticks = clock.read(body.times, head.names[clock_at] if head.names else None,
                           head.units[clock_at] if head.units else None)
        if ticks is None and not columns:
            # Its lines are counted without blank ones.
            first = [_number(cell, head, clock_at, head.header_rows + line, what)
                     for line, cell in enumerate(body.times, 1)]
            places, values = [clock_at, *places], np.column_stack([first, values])
            body = body._replace(gap=_gap(body.times) if body.gap is None else body.gap)
    # A delimiter at the end of each line makes a column of nothing.
    kept = [k for k, place in enumerate(places) if np.isfinite(values[:, k]).any() or head.names and head.names[place]]
    if not kept:
        raise UserError(f"{what} holds no numbers: allowed are columns of numbers, with or without names above")
    places, values = [places[k] for k in kept], values[:, kept]
    names = tuple(head.names[place] for place in places) if head.names else None
    remarks: tuple[str, ...] = (ticks.remark,) if ticks and ticks.remark else ()
    if head.text_columns and not columns:
        left = ", ".join(head.names[place] if head.names else str(place + 1) for place in sorted(head.text_columns))
        remarks += (f"columns of text are left out: {left}",)
    return Series(values, ticks and ticks.rate_hz, names, _unit(head, places),
                  _table(head, body, places, clock_at if ticks else None, ticks), remarks)


def _body(rows: Iterator[tuple[int, list[str]]], head: _Head, places: Sequence[int], clock_at: int | None, what: str,
          max_values: int) -> _Body:
    numbers, gap = array("d"), None
    times: list[str] = []
    sample: list[list[str]] = []
    for line, row in rows:
        if len(row) > head.width and any(cell.strip() for cell in row[head.width:]):
            raise UserError(f"{what} has {len(row)} columns in line {line} and {head.width} elsewhere: correct that "
                            "line")
        # A line that is cut off has gaps at its end.
        row += [""] * (head.width - len(row))
        try:
            numbers.extend([float(row[place]) for place in places])
        except ValueError:
            numbers.extend([_number(row[place], head, place, line, what) for place in places])
            gap = _gap([row[place] for place in places]) if gap is None else gap
        if clock_at is not None:
            times.append(row[clock_at])
        if len(sample) < _COUNTED_ROWS:
            sample.append(row)
        if len(numbers) > max_values:
            raise UserError(f"{what} holds more than {max_values:,} numbers: cut it first, or name fewer --columns")
    return _Body(np.array(numbers).reshape(-1, len(places)), times, sample, gap)


def _gap(cells: Row) -> str | None:
    """The first cell without a number."""
    return next((cell for cell in cells if cell.strip().lower() in _GAPS), None)


def _number(cell: str, head: _Head, column: int, line: int, what: str) -> float:
    text = cell.strip()
    if text.lower() in _GAPS:
        return float("nan")
    if head.decimal_comma and _COMMA_NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    try:
        return float(text)
    except ValueError:
        name = head.names[column] if head.names else str(column + 1)
        raise UserError(f"{what} has {quoted(text[:40])} in line {line}, column {quoted(name)}, which is no number: "
                        "correct it, leave it empty for a gap, or name the columns of numbers (--columns)") from None


def _unit(head: _Head, places: Sequence[int]) -> str | None:
    """The unit that all columns have, from brackets behind their names or from a second row of the header."""
    units = set()
    for place in places:
        found = _UNIT.search(head.names[place]) if head.names else None
        units.add(found[1] if found else head.units[place] if head.units else None)
    return (units.pop() or None) if len(units) == 1 else None


def _table(head: _Head, body: _Body, places: Sequence[int], clock_at: int | None, ticks: clock.Ticks | None) -> Table:
    time_at = 0 if clock_at is None else sum(place < clock_at for place in places)
    written = list(places)
    if clock_at is not None:
        written.insert(time_at, clock_at)
    return Table(
        head.delimiter, tuple(_picked(row, written, head.width) for row in head.rows[:head.header_rows]),
        tuple(body.times) if clock_at is not None else None, time_at, ticks.rows if ticks else None,
        tuple(_decimals([row[place] for row in body.sample], head.decimal_comma) for place in places),
        head.decimal_comma, "NaN" if body.gap is None or head.delimiter == " " else body.gap, head.newline,
        head.encoding)


def _picked(row: Row, places: Sequence[int], width: int) -> tuple[str, ...]:
    """A row of the header with the columns that are written; lines that are no table stay whole."""
    if len(row) != width + _has_mark(row):
        return tuple(row)
    cells = row[-width:]
    picked = [cells[place] for place in places]
    if _has_mark(row):
        return (row[0], *picked)
    if row[0].startswith("#") and not picked[0].startswith("#"):
        picked[0] = f"# {picked[0]}"
    return tuple(picked)


def _decimals(cells: Sequence[str], decimal_comma: bool) -> int | None:
    """The digits behind the point; None where they are many, or where there are exponents."""
    digits = 0
    for cell in cells:
        text = cell.strip().lower()
        if text in _GAPS:
            continue
        if "e" in text:
            return None
        _, point, behind = text.partition("," if decimal_comma and "," in text else ".")
        digits = max(digits, len(behind) if point else 0)
    return digits if digits <= _MAX_DECIMALS else None


def write(file: BinaryIO, values: NDArray[np.float32], table: Table) -> None:
    """Writes [T, C] as text; NaN becomes a gap."""
    lines = values if table.rows is None else values[table.rows]
    columns = [_texts(lines[:, k], table.decimals[k] if k < len(table.decimals) else None, table)
               for k in range(lines.shape[1])]
    if table.times is not None:
        columns.insert(table.time_at, table.times)
    text = io.TextIOWrapper(file, encoding=table.encoding, newline="")
    writer = csv.writer(text, delimiter=table.delimiter, lineterminator=table.newline)
    writer.writerows(table.header)
    writer.writerows(zip(*columns, strict=True))
    text.detach()


def _texts(column: NDArray[np.float32], decimals: int | None, table: Table) -> Sequence[str]:
    texts: list[str]
    if decimals is None:
        # The fewest digits that give the same float32.
        texts = column.astype(np.float32).astype(str).tolist()
    else:
        # Zero has no sign.
        rounded = np.round(column.astype(np.float64), decimals) + 0.0
        texts = [f"{value:.{decimals}f}" for value in rounded.tolist()]
    if table.decimal_comma:
        texts = [text.replace(".", ",") for text in texts]
    for place in np.flatnonzero(np.isnan(column)):
        texts[place] = table.gap
    return texts
