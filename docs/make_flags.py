"""Writes docs/flags.md, every flag of every script: python docs/make_flags.py > docs/flags.md"""

import dataclasses
import runpy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from nst_tf import flags
from nst_tf.config import GROUPS, is_unset, write_value
from nst_tf.flag_help import fields_of

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
ABOUT = """# Flags

Every flag of every script. `--help` of a script shows those in **bold**, `--helpfull` shows all. Each script also takes
`--flagfile=FILE`, which reads flags from a file, `--version`, `--help` and `--helpfull`. Lists have commas and no
spaces; a name that has a comma itself stands in double quotes, which the shell needs in single ones:
`--style='"a,b.jpg",c.jpg'`. `~` at the start of a path is your home folder. `--noNAME` switches a flag without a value
off. `python docs/make_flags.py > docs/flags.md` makes this page."""

HEADER = "| flag | default | values | meaning |\n| --- | --- | --- | --- |"


def page() -> str:
    """The whole of docs/flags.md."""
    return "\n\n".join([ABOUT, *(section(name, *command) for name, command in commands().items())]) + "\n"


def commands() -> dict[str, tuple[Sequence[type], dict[str, str]]]:
    """{script: the configs and actions that it makes its flags of}."""
    found = {}
    for path in sorted(SCRIPTS.glob("*.py")):
        with mock.patch.object(flags, "main") as main:
            runpy.run_path(str(path), run_name="__main__")
        _, config_types, _, *actions = main.call_args.args
        found[path.name] = (config_types, actions[0] if actions else {})
    return found


def section(script: str, config_types: Sequence[type], actions: dict[str, str]) -> str:
    """The flags of a script: a table for each group."""
    lines = [f"## {script}"]
    for group in GROUPS:
        rows = [_row(field) for field in fields_of(config_types) if field.metadata["group"] == group]
        if rows:
            lines += ["", f"### {group}", "", HEADER, *rows]
    return "\n".join(lines + [f"\n`--{name}`: {help_line}" for name, help_line in actions.items()])


def _row(field: "dataclasses.Field[Any]") -> str:
    described, flag = field.metadata, f"`--{field.name}`"
    default = "" if is_unset(field.default) else f"`{write_value(field.default)}`"
    cells = (f"**{flag}**" if described["basic"] else flag, default, ", ".join(_values(described)), described["help"])
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('<', '&lt;') for cell in cells)} |"


def _values(described: Any) -> Iterator[str]:
    """Names that are allowed, or a placeholder and the bounds of numbers."""
    if described["choices"]:
        yield from (f"`{name}`" for name in described["choices"])
    elif described["placeholder"]:
        yield f"`{described['placeholder']}`"
        if str(described["bounds"]):
            yield str(described["bounds"])


if __name__ == "__main__":
    print(page(), end="")
