"""What `--help` and `--helpfull` print, made from the config dataclasses."""

import dataclasses
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from nst_tf.config import GROUPS, is_unset, write_value
from nst_tf.presets import PRESETS

# Where the second column starts, and the narrowest and widest page.
_COLUMN, _NARROWEST, _WIDEST = 28, 60, 120
# More names than this many characters are listed in a sentence, not after `--name=`.
_LONGEST_CHOICES = 36

Field = dataclasses.Field[Any]


def fields_of(config_types: Iterable[type]) -> list[Field]:
    """The fields of all dataclasses, in order."""
    return [field for config_type in config_types for field in dataclasses.fields(config_type)]


def help_text(script: str, config_types: Sequence[type], about: str, actions: dict[str, str], is_full: bool) -> str:
    """The description, then every flag under its heading; without `is_full` those that most runs need.

    Args:
        actions: flags without a value, `{name: help}`.
    """
    fields = fields_of(config_types)
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    lines = [about.strip(), "", f"usage: {script} --flag=value ..."]
    for group in GROUPS:
        shown = [field for field in fields if field.metadata["group"] == group and (is_full or field.metadata["basic"])]
        if shown:
            lines += ["", f"{group}:"]
        for field in shown:
            flag = f"--{field.name}{_value(field)}"
            lines += _entry(flag, _full_text(field) if is_full else _short_text(field, flag, width), width)
    lines += ["", "Help:", *_flag_file_entry(fields, width)]
    if not is_full:
        return "\n".join([*lines, "", f"--helpfull shows all {len(fields)} flags, and more on each."])
    for name, help_line in {**actions, "version": "Print the version.", "help": "Print the flags that most runs need.",
                            "helpfull": "Print this."}.items():
        lines += _entry(f"--{name}", help_line, width)
    return "\n".join(lines)


def _value(field: Field) -> str:
    choices = "|".join(field.metadata["choices"] or ())
    value = field.metadata["placeholder"] or (choices if len(choices) <= _LONGEST_CHOICES else "NAME")
    return f"={value}" if value else ""


def _full_text(field: Field) -> str:
    text, choices = field.metadata["help"], field.metadata["choices"]
    if choices and "|".join(choices) not in _value(field):
        text += f" One of {', '.join(choices)}."
    return text + _default(field)


def _short_text(field: Field, flag: str, width: int) -> str:
    """The first sentence, and more of them while the entry has two lines."""
    text, *sentences = re.split(r"(?<=\.) ", field.metadata["help"])
    while sentences and len(_entry(flag, f"{text} {sentences[0]}{_default(field)}", width)) <= 2:
        text += f" {sentences.pop(0)}"
    return text + _default(field)


def _default(field: Field) -> str:
    return "" if is_unset(field.default) else f" Default: {write_value(field.default)}."


def _flag_file_entry(fields: Sequence[Field], width: int) -> list[str]:
    if any(field.name == "style_scale" for field in fields):
        presets = f"Read flags from a preset ({', '.join(PRESETS)}) or from a file."
        return _entry("--flagfile=NAME|FILE", presets, width)
    return _entry("--flagfile=FILE", "Read flags from a file.", width)


def _entry(flag: str, text: str, width: int) -> list[str]:
    """The lines of one flag: its form, and beside it what it does."""
    lines = textwrap.wrap(text, width, initial_indent=" " * _COLUMN, subsequent_indent=" " * _COLUMN,
                          break_on_hyphens=False, break_long_words=False)
    if len(flag) + 4 > _COLUMN:
        return [f"  {flag}", *lines]
    return [f"  {flag}".ljust(_COLUMN) + lines[0][_COLUMN:], *lines[1:]]
