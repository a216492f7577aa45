"""The value of a flag from its text, as on the command line, in a flag file or in a file of jobs. No absl here."""

import dataclasses
import os
import re
import shlex
import typing
from collections.abc import Callable, Sequence
from typing import Any

from nst_tf.grammar import parse_list, with_home, written_list
from nst_tf.values import described, shown
from nst_tf.vocabulary import UserError, quoted


def _number_or_text(item: str) -> float | str:
    try:
        return float(item)
    except ValueError:
        return item


# What reads a value, or an item of a list. Names of a vocabulary are texts here. `config.check` checks them: it knows
# the nearest spelling.
_READERS: dict[Any, Callable[[str], Any]] = {
    int: int, int | None: int, float: float, float | None: float, float | str: _number_or_text}
_SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
# Commas of one name by which a list is found to be cut.
_MOST_COMMAS = 4


def read_value(text: str, field: "dataclasses.Field[Any]") -> Any:
    """The value of a field of a config dataclass.

    Raises:
        UserError: the text is of another type, or a list in which a comma of a name was read as the end of it.
    """
    if field.type is bool:
        if text.lower() not in _SWITCHES:
            raise UserError(f"--{field.name}={shown(text)}: give true or false")
        return _SWITCHES[text.lower()]
    is_list = isinstance(field.default, tuple)
    items, kind = (parse_list(text), typing.get_args(field.type)[0]) if is_list else ((text,), field.type)
    try:
        read = tuple(map(_READERS.get(kind, str), items))
    except ValueError:
        asked = "numbers separated by commas, without spaces" if is_list else described(kind, is_path=False)
        raise UserError(f"--{field.name}={shown(text)}: give {asked}") from None
    if is_list and field.metadata["before_path"] is not None:
        _check_commas(f"--{field.name}", items, field.metadata["before_path"])
    return read if is_list else read[0]


def _check_commas(flag: str, items: Sequence[str], before_path: str) -> None:
    """Raises `UserError` for a list in which a comma of a name was read as the end of it, or the other way round.

    Args:
        before_path: a pattern of what may stand before a path.
    """
    def exists(item: str) -> bool:
        return os.path.exists(with_home(re.sub(f"^{before_path}", "", item)))

    for start, item in enumerate(items):
        names = [",".join(items[start:start + count]) for count in range(2, 2 + _MOST_COMMAS)]
        name = next(filter(exists, names), "") if not exists(item) else ""
        if name:
            raise UserError(f"{flag} names {quoted(item)}, which does not exist: a name with a comma stands in double "
                            f"quotes, as in {flag}={shlex.quote(written_list([name]))}")
        parts = parse_list(item)
        if len(parts) > 1 and not exists(item) and all(map(exists, parts)):
            raise UserError(f"{flag} {quoted(item)} does not exist: what double quotes hold is one name; give the "
                            f"names without them, as in {flag}={item}")
