"""HTML pages from templates: all values are escaped, and a name that is missing is an error."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2


def render(template: Path, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """The page of a template with these values.

    Args:
        filters: functions by the names that the template gives them.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     keep_trailing_newline=True)
    environment.filters.update(filters or {})
    html = environment.from_string(template.read_text(encoding="utf-8")).render(**values)
    # The name of a file may hold bytes that no encoding knows.
    return html.encode(errors="replace").decode()
