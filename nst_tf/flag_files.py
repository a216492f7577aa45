"""Flag files: one flag a line, as nst_tf, an editor of any system or a person who copies a command writes it."""

import codecs
import os
import re
from collections.abc import Collection, Mapping

from nst_tf.grammar import check_path, with_home
from nst_tf.presets import PRESETS
from nst_tf.values import shown
from nst_tf.vocabulary import UserError, nearest

# Windows' editors mark their encoding. The mark of UTF-32 begins with that of UTF-16.
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
          codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# str.splitlines would also break a line at signs that a name may have.
_LINE_END = re.compile("\r\n|\r|\n")
# A name, and the value behind "=" or, as a shell takes it too, behind a space.
_FLAG = re.compile(r"(-{1,2}\w+)(?:\s*=\s*|\s+)(.*)")
_SPACES = " \t\f\v"
# What a shell takes as one word, and the name of the flag that a word is.
_WORD = re.compile("(?:\"[^\"]*\"|'[^']*'|\\S)+")
_FLAG_NAME = re.compile("['\"]?--(\\w+)(?=['\"=]|$)")
# A larger file, such as an endless device, is no list of flags.
_LARGEST_BYTES = 1_000_000


def find_flag_file(name: str) -> str:
    """The path of a flag file, or of a preset that is given by name.

    Raises:
        UserError: there is neither.
    """
    path = with_home(name)
    check_path(path, "--flagfile")
    if os.path.exists(path) and not (name in PRESETS and os.path.isdir(path)):
        return path
    if name in PRESETS:
        return str(PRESETS[name])
    raise UserError(f"--flagfile={name} is neither a file nor a preset{nearest(name, PRESETS)} Presets: "
                    f"{', '.join(PRESETS)}")


def read_flag_file(path: str, is_list: Mapping[str, bool]) -> list[str]:
    """The flags of a file, each as `--name=value`, without comments and without what only a shell needs.

    Args:
        is_list: {name of a flag: whether it takes a list}.
    Raises:
        UserError: it cannot be read, is no text, has another thing than one flag a line, or names another flag file.
    """
    try:
        with open(path, "rb") as file:
            text = _decoded(file.read(_LARGEST_BYTES + 1))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UserError(f"--flagfile={path} cannot be read as a list of flags ({reason})") from None
    lines: list[str] = []
    for number, line in enumerate(_LINE_END.split(text), 1):
        line = line.strip(_SPACES)
        if line and not line.startswith(("#", "//")):
            flag = _flag(line, is_list)
            # A flag without a value may have it on the next line.
            is_value = bool(lines) and "=" not in lines[-1]
            _check_line(line, flag, is_list, is_value, f"--flagfile={path}: line {number}")
            lines.append(flag)
    if any(re.match("-{1,2}flagfile", line) for line in lines):
        raise UserError(f"--flagfile={path} names another flag file: put all flags into one")
    return lines


def _check_line(line: str, flag: str, names: Collection[str], is_value: bool, what: str) -> None:
    """Raises `UserError` for a line that is no flag, or more than one, as a command has them that was copied."""
    if not is_value and not re.match(r"-{1,2}\w", flag):
        raise UserError(f"{what} ({shown(flag)}) is no flag: write one flag a line, as in --content=photo.jpg")
    for match in filter(None, map(_FLAG_NAME.match, _WORD.findall(line)[1:])):
        if match[1] in names or match[1].removeprefix("no") in names:
            raise UserError(f"{what} has --{match[1]} behind another flag: write one flag a line, and a name with "
                            "' --' in it in quotes")


def _decoded(data: bytes) -> str:
    encoding = next((encoding for mark, encoding in _MARKS.items() if data.startswith(mark)), "utf-8")
    text = data.decode(encoding)
    if "\0" in text or len(data) > _LARGEST_BYTES:
        raise ValueError("binary data, or UTF-16 without a mark")
    return text


def _flag(line: str, is_list: Mapping[str, bool]) -> str:
    """A line as `--name=value`, without a shell's quotes and the backslash by which its command goes on."""
    line = _without_quotes(re.sub(r"\s+\\$", "", line), "'\"")
    match = _FLAG.fullmatch(line)
    if not match:
        return line
    # In a list, double quotes belong to its first item and its last.
    quotes = "'" if is_list.get(match[1].lstrip("-")) else "'\""
    return f"{match[1]}={_without_quotes(match[2], quotes)}"


def _without_quotes(text: str, quotes: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in quotes
    return text[1:-1] if is_quoted else text
