"""Tables in Markdown."""

from collections.abc import Mapping, Sequence


def as_markdown(titles: Mapping[str, bool], rows: Sequence[Sequence[str]]) -> str:
    """The table in Markdown, its columns aligned.

    Args:
        titles: {title of a column: whether it has numbers, which stand to the right}.
    """
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (titles, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rules = ["-" * (width - 1) + ":" if is_number else "-" * width
             for is_number, width in zip(titles.values(), widths, strict=True)]
    aligned = [[cell.rjust(width) if is_number else cell.ljust(width)
                for cell, is_number, width in zip(line, titles.values(), widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (aligned[0], rules, *aligned[1:]))
