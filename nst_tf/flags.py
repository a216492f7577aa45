"""absl flags made from the config dataclasses: one flag for each field, every error one line and status 2."""

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

import nst_tf
from nst_tf.flag_files import find_flag_file, read_flag_file
from nst_tf.flag_help import fields_of, help_text
from nst_tf.flag_values import read_value
from nst_tf.streams import outlive_readers
from nst_tf.vocabulary import REPLACED, RunError, UserError

# Before NumPy is imported: its BLAS threads wait by spinning, and beside one busy core that makes learning filters five
# to ten times slower; with one thread the bits do not depend on the number of cores either.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_HELP_FLAGS = ("help", "helpshort", "h", "?", "helpfull")


class Answer(Exception):
    """The text that `--help` or `--version` prints. The script is done then."""


def main(script: Callable[..., int | None], config_types: Sequence[type], about: str,
         actions: dict[str, str] | None = None, argv: Sequence[str] | None = None) -> None:
    """Parses the command line, runs `script(*configs, actions)` and leaves with its exit status.

    Args:
        script: called with one config of each type and the set of action flags given; returns a status or None (0).
        config_types: frozen dataclasses whose fields become flags.
        about: the first lines of `--help`.
        actions: flags without a value that ask for something else than the run, `{name: help}`.
        argv: the command line; `sys.argv` by default.
    """
    outlive_readers()
    arguments = list(sys.argv if argv is None else argv)
    try:
        status = _answer_or_run(script, arguments, config_types, about, actions or {})
    except (UserError, RunError) as error:
        print(f"{_name(arguments)}: {_one_line(error)}", file=sys.stderr)
        status = 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print(f"\n{_name(arguments)}: interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(f"the working folder cannot be found ({error.strerror}): change to another with cd") from error


def _answer_or_run(script: Callable[..., int | None], arguments: Sequence[str], config_types: Sequence[type],
                   about: str, actions: dict[str, str]) -> int:
    try:
        configs, given_actions = parse(arguments, config_types, about, actions)
    except Answer as answer:
        print(answer, flush=True)
        return 0
    _check_working_folder()
    return script(*configs, given_actions) or 0


def parse(argv: Sequence[str], config_types: Sequence[type], about: str,
          actions: dict[str, str]) -> tuple[list[Any], set[str]]:
    """One config of each type from the command line, and the action flags that were given.

    Raises:
        Answer: for `--help` and `--version`.
        UserError: unknown flag, value of the wrong type, positional argument, or a list flag given twice.
    """
    _answer(argv, config_types, about, actions)
    values = flags.FlagValues()
    for field in fields_of(config_types):
        _define(field, values)
    for name, help_line in actions.items():
        flags.DEFINE_boolean(name, False, help_line, flag_values=values)
    try:
        rest = values(_with_flag_files(argv, config_types))[1:]
    except flags.Error as error:
        raise UserError(f"{_one_line(error)} (--help lists the flags)") from None
    if rest:
        raise UserError(f"'{rest[0]}' stands alone: every input has a flag, as in --content=photo.jpg "
                        "--style=a.jpg,b.jpg (no space around '=' or ',')")
    configs = [config_type(**{field.name: _value(field, values) for field in dataclasses.fields(config_type)})
               for config_type in config_types]
    return configs, {name for name in actions if values[name].value}


def _answer(argv: Sequence[str], config_types: Sequence[type], about: str, actions: dict[str, str]) -> None:
    """Raises `Answer` where help or the version is asked for."""
    names = [argument.lstrip("-") for argument in argv[1:] if argument.startswith("-")]
    for name in names:
        if name in _HELP_FLAGS:
            raise Answer(help_text(_name(argv), config_types, about, actions, is_full=name == "helpfull"))
    if "version" in names:
        raise Answer(f"nst_tf {nst_tf.__version__}")


def _define(field: "dataclasses.Field[Any]", values: flags.FlagValues) -> None:
    """A flag whose value `_value` reads: absl would take spaces from the ends of names in lists."""
    is_switch, default = field.type is bool, field.default
    define: Callable[..., Any] = flags.DEFINE_boolean if is_switch else flags.DEFINE_string
    define(field.name, default if is_switch else None, field.metadata["help"], flag_values=values)


def _value(field: "dataclasses.Field[Any]", values: flags.FlagValues) -> Any:
    text: Any = values[field.name].value
    if text is None or field.type is bool:
        return field.default if text is None else text
    return read_value(text, field)


def _with_flag_files(argv: Sequence[str], config_types: Sequence[type]) -> list[str]:
    """The command line with the lines of each flag file in the file's place.

    The command line and each file are checked alone: the command line may override a file.
    """
    _check_arguments(argv, config_types, "the command line")
    is_list = {field.name: isinstance(field.default, tuple) for field in fields_of(config_types)}
    arguments, rest = [], iter(argv)
    for argument in rest:
        name, equals, value = _parts(argument)
        if name != "flagfile":
            arguments.append(argument)
            continue
        path = find_flag_file(value if equals else next(rest, ""))
        lines = read_flag_file(path, is_list)
        _check_arguments(lines, config_types, f"'{path}'")
        arguments += lines
    return arguments


def _check_arguments(arguments: Sequence[str], config_types: Sequence[type], source: str) -> None:
    """Refuses flags that are gone, list flags given twice (absl keeps the last), and `--undefok` (absl ignores some).

    Args:
        source: where the arguments stand, for the message.
    """
    parts = [_parts(argument) for argument in arguments]
    names, fields = [name for name, _, _ in parts], fields_of(config_types)
    # A flag file may be empty.
    for (name, equals, value), following in zip(parts, [*arguments[1:], ""], strict=False):
        if following and not equals and not following.startswith("-"):
            equals, value = " ", following
        new = REPLACED.get(name) or REPLACED.get(f"{name}={value.partition(':')[0]}", "")
        if new.partition("=")[0] in [field.name for field in fields]:
            raise UserError(f"--{name}{equals}{value} no longer exists: give --{new.format(value=value or 400)} in "
                            f"{source}")
    for field in fields:
        if isinstance(field.default, tuple) and names.count(field.name) > 1:
            raise UserError(f"--{field.name} is given {names.count(field.name)} times in {source}: give it once, "
                            f"with commas, as in --{field.name}=A,B")
    if "undefok" in names:
        raise UserError("--undefok is not taken here: no flag is accepted and ignored")


def _parts(argument: str) -> tuple[str, str, str]:
    """(name, "=", value) of `--name=value`; a name of "" where the argument is no flag."""
    name, equals, value = argument.lstrip("-").partition("=")
    return (name, equals, value) if argument.startswith("-") else ("", "", "")


def _name(argv: Sequence[str]) -> str:
    return argv[0].rpartition("/")[2]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
