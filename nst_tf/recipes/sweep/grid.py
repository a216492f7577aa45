"""The cells of a sweep: which flags have which values. No TensorFlow."""

import dataclasses
import itertools
import math
import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.config import RunConfig, StylizeConfig, write_value
from nst_tf.flag_values import read_value
from nst_tf.grammar import parse_list
from nst_tf.io.files import check_readable
from nst_tf.runs.folder import name_of
from nst_tf.vocabulary import UserError, quoted, unknown

LARGEST_SWEEP = 1000
# A grid is read whole.
_LARGEST_BYTES = 1_000_000
_LONGEST_NAME = 180
# The threads are those of the workers, not of a picture.
FIELDS = {field.name: field for field in dataclasses.fields(StylizeConfig) if field.name != "threads"}
_PART = re.compile(r'(?:"[^"]*"|[^;"]|")+')
_RANGE = re.compile(r"([-+.\deE]+?)\.\.([-+.\deE]+)")

Cell = dict[str, Any]


class Range(NamedTuple):
    """Numbers from which values are drawn; their logarithms are equally likely where both ends are above 0."""

    low: float
    high: float
    is_whole: bool

    def draw(self, numbers: random.Random) -> float:
        """One number, with four digits that count."""
        if self.low > 0:
            value = math.exp(numbers.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = numbers.uniform(self.low, self.high)
        value = min(max(float(f"{value:.4g}"), self.low), self.high)
        return round(value) if self.is_whole else value


class Axis(NamedTuple):
    """A flag and what it may be: values, or a range."""

    flag: str
    values: tuple[Any, ...]
    range: Range | None = None


def read_grid(text: str, draws: int = 0, seed: int = 0) -> list[Cell]:
    """The cells of --grid in a fixed order: the first flag changes slowest; or so many that are drawn.

    Args:
        text: `FLAG:V1,V2;FLAG:V1,V2`, or a file with such a part on each line.
        draws: cells to draw; 0 takes every combination.
    Raises:
        UserError: it cannot be read, or names a flag or a value that is not allowed, or a cell twice, or too many.
    """
    axes = [_axis(part, bool(draws)) for part in _parts(text)]
    if not axes:
        raise UserError("--grid is missing: give one, as in --grid='style_scale:0.5,1;content_weight:0.1,0.2'")
    twice = next((flag for flag, count in Counter(axis.flag for axis in axes).items() if count > 1), None)
    if twice:
        raise UserError(f"--grid names {twice} twice: give all its values at once")
    count = draws or math.prod(len(axis.values) for axis in axes)
    if count > LARGEST_SWEEP:
        raise UserError(f"--grid has {count} cells: give at most {LARGEST_SWEEP}, or draw some with --random=N")
    return _drawn(axes, draws, seed) if draws else list(_product(axes))


def _parts(text: str) -> Iterator[str]:
    if os.path.isfile(text):
        check_readable(text, "--grid")
        try:
            lines = Path(text).read_bytes()[:_LARGEST_BYTES].decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise UserError(f"--grid {quoted(text)} is no text in UTF-8: save it so") from None
        lines = [line for line in lines if not line.lstrip().startswith("#")]
    else:
        lines = _PART.findall(text)
    yield from (line.strip() for line in lines if line.strip())


def _axis(part: str, is_drawn: bool) -> Axis:
    flag, colon, text = part.partition(":")
    flag = flag.strip().lstrip("-")
    if not colon or not text.strip():
        raise UserError(f"--grid: {quoted(part)} cannot be read: write FLAG:V1,V2;FLAG:V1,V2, or a file with "
                        "FLAG: V1, V2 on each line")
    if flag not in FIELDS:
        if flag in ("threads", "grid", "random", "judge", *(field.name for field in dataclasses.fields(RunConfig))):
            raise UserError(f"--grid: {flag} holds for the whole sweep: give it as a flag of its own")
        raise unknown("flag", flag, FIELDS)
    field = FIELDS[flag]
    items = parse_list(re.sub(r',\s+(?=\S)', ",", text.strip()))
    ends = _RANGE.fullmatch(items[0]) if len(items) == 1 else None
    if ends and is_drawn:
        return Axis(flag, (), _range(part, field, *ends.groups()))
    if ends:
        raise UserError(f"--grid: {quoted(part)} is a range: give values, or --random=N to draw from it")
    values = tuple(_value(item, field) for item in items)
    for index, value in enumerate(values):
        if value in values[:index]:
            raise UserError(f"--grid: {flag} has {write_value(value)} twice: name each value once")
    return Axis(flag, values)


def _value(item: str, field: "dataclasses.Field[Any]") -> Any:
    try:
        return read_value(item, field)
    except UserError as error:
        raise UserError(f"--grid: {error}") from None


def _range(part: str, field: "dataclasses.Field[Any]", low: str, high: str) -> Range:
    of_low, of_high = (_value(end, field) for end in (low, high))
    numbers = [value[0] if isinstance(value, tuple) else value for value in (of_low, of_high)]
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        raise UserError(f"--grid: {quoted(part)} is no range of numbers: write FLAG:LOW..HIGH")
    if not numbers[0] < numbers[1]:
        raise UserError(f"--grid: {quoted(part)} has a low end that is not below the high one: exchange them")
    return Range(numbers[0], numbers[1], is_whole=isinstance(numbers[0], int) and isinstance(numbers[1], int))


def _product(axes: Sequence[Axis]) -> Iterator[Cell]:
    flags = [axis.flag for axis in axes]
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip(flags, values, strict=True))


def _drawn(axes: Sequence[Axis], draws: int, seed: int) -> list[Cell]:
    """Cells that differ from each other; more draws begin with the cells of fewer."""
    numbers, cells = random.Random(seed), list[Cell]()
    for _ in range(100 * draws):
        cell = {axis.flag: _draw(axis, numbers) for axis in axes}
        if cell not in cells:
            cells.append(cell)
        if len(cells) == draws:
            return cells
    raise UserError(f"--random={draws}: --grid has only {len(cells)} different cells: give fewer, or wider ranges")


def _draw(axis: Axis, numbers: random.Random) -> Any:
    if axis.range is None:
        return numbers.choice(axis.values)
    value = axis.range.draw(numbers)
    return (value,) if isinstance(FIELDS[axis.flag].default, tuple) else value


def written(value: Any) -> str:
    """A value as people are shown it: files without their folders."""
    items = value if isinstance(value, tuple) else (value,)
    return "+".join(Path(item).name if isinstance(item, str) and os.sep in item else write_value(item)
                    for item in items) or "default"


def cell_names(cells: Sequence[Cell]) -> list[str]:
    """A folder for each cell, `style_scale-0.5_content_weight-0.1`; where names meet, the later have numbers."""
    names, seen = list[str](), set[str]()
    for cell in cells:
        # What `name_of` takes for a suffix is part of a number.
        name = "_".join(f"{flag}-{name_of(written(value) + '.x') or 'default'}" for flag, value in cell.items())
        name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
        own = next(each for number in itertools.count(1)
                   if (each := name if number == 1 else f"{name}-{number}") not in seen)
        seen.add(own)
        names.append(own)
    return names
