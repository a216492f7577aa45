"""absl flags made from the config dataclasses: one flag for each field, every error one line and status 2."""

import dataclasses
import os
import sys
import textwrap
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

import nst_tf
from nst_tf.config import is_unset, write_value
from nst_tf.vocabulary import RunError, UserError

# Before NumPy is imported: its BLAS threads wait by spinning, and beside one busy core that makes learning filters five
# to ten times slower; with one thread the bits do not depend on the number of cores either.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_HELP_FLAGS = ("--help", "-help", "-h", "--helpshort", "--helpfull", "-?")


class Answer(Exception):
    """What `--help` and `--version` ask for: `text` is printed, and the script is done."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


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
    arguments = list(sys.argv if argv is None else argv)
    try:
        status = _answer_or_run(script, arguments, config_types, about, actions or {})
        sys.stdout.flush()
    except (UserError, RunError) as error:
        print(f"{_name(arguments)}: {_one_line(error)}", file=sys.stderr)
        status = 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print(f"\n{_name(arguments)}: interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # The reader of our output is gone, as in `--help | head -1`; nothing more can be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)


def _answer_or_run(script: Callable[..., int | None], arguments: Sequence[str], config_types: Sequence[type],
                   about: str, actions: dict[str, str]) -> int:
    try:
        configs, asked = parse(arguments, config_types, about, actions)
    except Answer as answer:
        print(answer.text, flush=True)
        return 0
    return script(*configs, asked) or 0


def parse(argv: Sequence[str], config_types: Sequence[type], about: str,
          actions: dict[str, str]) -> tuple[list[Any], set[str]]:
    """One config of each type from the command line, and the action flags that were given.

    Raises:
        Answer: for `--help` and `--version`.
        UserError: unknown flag, value of the wrong type, positional argument, or a list flag given twice.
    """
    if any(argument in _HELP_FLAGS for argument in argv[1:]):
        raise Answer(help_text(_name(argv), config_types, about, actions))
    if any(argument in ("--version", "-version") for argument in argv[1:]):
        raise Answer(f"nst_tf {nst_tf.__version__}")
    values = flags.FlagValues()
    _refuse_repeated_lists(argv, config_types, "the command line")
    for field in _fields(config_types):
        _define(field, values)
    for name, help_line in actions.items():
        flags.DEFINE_boolean(name, False, help_line, flag_values=values)
    try:
        rest = values(list(argv))[1:]
    except flags.Error as error:
        raise UserError(f"{_one_line(error)} (--help lists the flags)") from None
    if rest:
        raise UserError(f"'{rest[0]}' stands alone: every input has a flag, as in --content=photo.jpg "
                        "--style=a.jpg,b.jpg (no space around '=' or ',')")
    configs = [config_type(**{field.name: _value(field, values) for field in dataclasses.fields(config_type)})
               for config_type in config_types]
    return configs, {name for name in actions if values[name].value}


def help_text(script: str, config_types: Sequence[type], about: str, actions: dict[str, str]) -> str:
    """What `--help` prints: the description, then every flag with its default."""
    lines = [about.strip(), "", f"usage: {script} --flag=value ...   (--flagfile=FILE reads flags from a file)", ""]
    for field in _fields(config_types):
        choices = "|".join(field.metadata["choices"] or ())
        value = choices or field.metadata["placeholder"]
        lines.append(f"  --{field.name}{'=' + value if value else ''}")
        default = "" if is_unset(field.default) else f" (default: {write_value(field.default)})"
        lines += textwrap.wrap(field.metadata["help"] + default, 100, initial_indent=" " * 6,
                               subsequent_indent=" " * 6)
    for name, help_line in {**actions, "version": "print the version", "help": "print this"}.items():
        lines += [f"  --{name}", f"      {help_line}"]
    return "\n".join(lines)


_DEFINERS: dict[Any, Callable[..., Any]] = {
    int: flags.DEFINE_integer, int | None: flags.DEFINE_integer,
    float: flags.DEFINE_float, float | None: flags.DEFINE_float,
    bool: flags.DEFINE_boolean, str: flags.DEFINE_string,
}


def _define(field: "dataclasses.Field[Any]", values: flags.FlagValues) -> None:
    default: Any = field.default
    help_line = field.metadata["help"]
    if typing.get_origin(field.type) is tuple:
        flags.DEFINE_list(field.name, list(default), help_line, flag_values=values)
    else:
        # Names of a vocabulary are checked by `config.check`, which knows the nearest spelling.
        define = _DEFINERS.get(field.type, flags.DEFINE_string)
        define(field.name, default, help_line, flag_values=values)


def _value(field: "dataclasses.Field[Any]", values: flags.FlagValues) -> Any:
    value: Any = values[field.name].value
    if typing.get_origin(field.type) is not tuple:
        return value
    item_type = typing.get_args(field.type)[0]
    try:
        return tuple(item_type(item) for item in value)
    except ValueError:
        raise UserError(f"--{field.name}={','.join(value)}: give numbers separated by commas, without spaces") from None


def _fields(config_types: Sequence[type]) -> "list[dataclasses.Field[Any]]":
    return [field for config_type in config_types for field in dataclasses.fields(config_type)]


def _refuse_repeated_lists(arguments: Sequence[str], config_types: Sequence[type], source: str) -> None:
    """absl would silently keep the last of `--style=a.jpg --style=b.jpg`, and ignore what --undefok names.

    The command line and each flag file are looked at alone: the command line may override a file.
    """
    given = [argument.strip().lstrip("-").partition("=") for argument in arguments if argument.startswith("-")]
    names = [name for name, _, _ in given]
    for field in _fields(config_types):
        if typing.get_origin(field.type) is tuple and names.count(field.name) > 1:
            raise UserError(f"--{field.name} is given {names.count(field.name)} times in {source}: give it once, "
                            f"with commas, as in --{field.name}=A,B")
    if "undefok" in names:
        raise UserError("--undefok is not taken here: no flag is accepted and ignored")
    for path in [value for name, _, value in given if name == "flagfile"]:
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--flagfile={path} cannot be read as a list of flags ({_one_line(error)})") from None
        if any(line.strip().lstrip("-").startswith("flagfile") for line in lines):
            raise UserError(f"--flagfile={path} names another flag file: put all flags into one")
        _refuse_repeated_lists(lines, config_types, f"'{path}'")


def _name(argv: Sequence[str]) -> str:
    return argv[0].rpartition("/")[2]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
