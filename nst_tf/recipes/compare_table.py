"""The table of a comparison: as aligned text, as Markdown, as data. No TensorFlow."""

from collections.abc import Sequence
from typing import Any, NamedTuple

COLUMNS = ("backbone", "weights", "style score", "content distance", "seconds", "steps/s", "parameters", "MB", "note")
_LEFT_ALIGNED = ("backbone", "weights", "note")


class Row(NamedTuple):
    """One network: what is None was not measured, and `note` says why."""

    backbone: str
    weights: str
    style_score: float | None = None
    content_distance: float | None = None
    seconds: float | None = None
    steps_per_second: float | None = None
    parameters: int | None = None
    note: str = ""

    @property
    def parameters_mb(self) -> float | None:
        """What the parameters weigh, in 10⁶ bytes."""
        return None if self.parameters is None else parameters_megabytes(self.parameters)

    def cells(self) -> tuple[str, ...]:
        """The texts of `COLUMNS`; a dash for what was not measured."""
        numbers = (
            (self.style_score, ".3f"), (self.content_distance, ".3f"), (self.seconds, ".1f"),
            (self.steps_per_second, ".2f"), (self.parameters, ",d"), (self.parameters_mb, ".1f"))
        return (self.backbone, self.weights or "–",
                *("–" if value is None else format(value, form) for value, form in numbers), self.note)

    def as_data(self) -> dict[str, Any]:
        """The row for JSON, numbers in full."""
        return {**self._asdict(), "parameters_mb": self.parameters_mb}


def parameters_megabytes(parameters: int) -> float:
    """What so many float32 parameters weigh, in 10⁶ bytes."""
    return 4 * parameters / 1e6


def as_text(rows: Sequence[Row]) -> str:
    """The table with aligned columns, numbers to the right."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]

    def aligned(line: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) if name in _LEFT_ALIGNED else cell.rjust(width)
                         for cell, name, width in zip(line, COLUMNS, widths, strict=True)).rstrip()

    return "\n".join(aligned(line) for line in lines)


def as_markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    rules = ["---" if name in _LEFT_ALIGNED else "---:" for name in COLUMNS]
    lines = [COLUMNS, rules, *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
