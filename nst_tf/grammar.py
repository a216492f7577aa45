"""How layers (`LAYER[:CHANNELS][@WEIGHT]`), sizes, smoothings, reductions, paddings, lists and paths are written.

Every `parse_` function raises `UserError` for a text that it cannot read.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from nst_tf.values import is_computed_with
from nst_tf.vocabulary import (
    PaddingName, ReductionName, SmoothingName, UserError, check_name, is_one_line, names, nearest, quoted,
)

# Further than this is another picture, not another place.
LARGEST_JITTER_PX = 64
# Beyond these, squares and exponentials of activations leave float32.
SMALLEST_SMOOTHING, LARGEST_SMOOTHING = 1e-4, 1e4
# The largest weight of a term or a layer. The square of a gradient, which Adam takes, has this factor squared, and the
# largest number of float32 is 3e38.
LARGEST_WEIGHT = 1e15
# Channels may be chosen by how strongly they respond to pictures.
RANKINGS = ("strong", "weak", "unused")


# (name of a channel, what an error names) → its index.
Finder = Callable[[str, str], int]


class LayerWeight(NamedTuple):
    """One layer of a loss and its weight w_l."""

    layer: str
    weight: float


class Channels(NamedTuple):
    """Which channels of a layer: `all`, those of `indices` (rule `index`), or the `first` so many of a ranking."""

    rule: str
    indices: tuple[int, ...] = ()
    first: int = 0

    def written(self) -> str:
        """As it is written on the command line."""
        if self.rule in RANKINGS:
            return f"{self.rule}:{self.first}"
        return "+".join(map(str, self.indices)) if self.rule == "index" else self.rule


class LayerChannels(NamedTuple):
    """Channels of one layer, `None` where none are named, and their weight."""

    layer: str
    channels: Channels | None
    weight: float


def parse_layers(texts: Iterable[str], allowed: Iterable[str], flag: str, takes_channels: bool = False,
                 finders: Mapping[str, Finder] = {}) -> tuple[LayerChannels, ...]:
    """Every layer of a list, checked against the backbone's layers; see `parse_layer_channels`."""
    allowed = list(allowed)
    parsed = tuple(parse_layer_channels(text, flag, takes_channels, allowed, finders) for text in texts)
    for index, (layer, _, _) in enumerate(parsed):
        if layer in (earlier.layer for earlier in parsed[:index]):
            raise UserError(f"{flag}: layer '{layer}' is named twice; name it once"
                            + ", with all its channels" * takes_channels)
    if parsed and not any(layer.weight for layer in parsed):
        raise UserError(f"{flag}: every weight is 0; give at least one layer a weight above 0")
    return parsed


def parse_layer_channels(text: str, flag: str, takes_channels: bool = True, allowed: Iterable[str] | None = None,
                         finders: Mapping[str, Finder] = {}) -> LayerChannels:
    """`"fire8:3+17@0.5"` → `LayerChannels("fire8", Channels("index", (3, 17)), 0.5)`.

    Args:
        text: one `LAYER[:CHANNELS][@WEIGHT]`; CHANNELS as in `parse_channels`. The default weight is 1.
        flag: the flag that an error names.
        takes_channels: whether CHANNELS are allowed.
        allowed: the layers of the backbone; by default any.
        finders: of the layers whose channels have names.
    """
    rest, at, weight_text = text.strip().partition("@")
    layer, colon, channels = rest.partition(":")
    weight = _number(weight_text) if at else 1.0
    if colon and not takes_channels:
        raise UserError(f"{flag}={text}: this flag takes whole layers, without channels: write LAYER or LAYER@WEIGHT")
    if not layer or not 0 <= weight <= LARGEST_WEIGHT or not is_computed_with(weight):
        forms, example = (("LAYER, LAYER:CHANNELS or LAYER:CHANNELS@WEIGHT", "fire8:3+17@0.5") if takes_channels
                          else ("LAYER or LAYER@WEIGHT", "block1_conv1@0.5"))
        raise UserError(f"{flag}={text}: write {forms} with a weight >= 0 and <= {LARGEST_WEIGHT:g}, such as {example}")
    if allowed is not None:
        check_name(f"{flag}: layer", layer, allowed)
    return LayerChannels(
        layer, parse_channels(channels, f"{flag}={text}", finders.get(layer), finders) if colon else None, weight)


def parse_channels(text: str, what: str, find: Finder | None = None, named: Iterable[str] = ()) -> Channels:
    """`"3+17"`, `"0-15+40"`, `"all"`, `"strong:5"`, `"weak:5"` or `"unused:5"`; a channel named twice counts once.

    Args:
        what: what an error names.
        find: of a layer whose channels have names, which may stand for their numbers: `"golden retriever+208"`.
        named: the layers whose channels have names.
    """
    rule, colon, count = text.partition(":")
    if rule in RANKINGS and colon and _is_index(count) and int(count) > 0:
        return Channels(rule, first=int(count))
    if text == "all":
        return Channels("all")
    parts = [part.strip() for part in text.split("+")]
    if find:
        # What has a letter is a name; "strong:0" is a ranking that cannot be read.
        parts = [str(find(part, what)) if part.strip("0123456789-") and ":" not in part else part for part in parts]
    ranges = [part.split("-") for part in parts]
    if not all(len(ends) <= 2 and all(map(_is_index, ends)) and int(ends[0]) <= int(ends[-1]) for ends in ranges):
        raise UserError(f"{what}: channels '{text}' cannot be read: write numbers and ranges such as 3+17 or 0-15, "
                        f"or all, or {', '.join(f'{ranking}:N' for ranking in RANKINGS)}"
                        + "".join(f"; the channels of {layer} have names too" for layer in named))
    indices = (index for ends in ranges for index in range(int(ends[0]), int(ends[-1]) + 1))
    return Channels("index", tuple(dict.fromkeys(indices)))


def parse_px(text: str, flag: str) -> int:
    """`"400px"` → 400."""
    number = text.removesuffix("px")
    if number == text or not _is_index(number) or not int(number):
        raise UserError(f"{flag}={text}: write a number such as 0.5, or pixels such as 400px")
    return int(number)


def _is_index(text: str) -> bool:
    # No layer has more channels than six digits count, and int() of a long text takes long.
    return text.isascii() and text.isdigit() and len(text) <= 6


def _number(text: str) -> float:
    """The number that a text writes; NaN where it writes none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


class Smoothing(NamedTuple):
    """A name of `SmoothingName` and its number: T of `softmax`; 1 and without meaning for `none`."""

    name: str
    value: float

    def written(self) -> str:
        """As it is written on the command line."""
        return self.name if self.name == "none" else f"{self.name}:{self.value!r}"


def parse_smoothing(text: str) -> Smoothing:
    """`"softmax:0.5"` → `Smoothing("softmax", 0.5)`; `"none"` stands alone."""
    name, colon, number = text.partition(":")
    if name not in names(SmoothingName):
        raise UserError(f"--smoothing={text} is unknown{nearest(name, names(SmoothingName))} Valid: none, softmax:T")
    if name == "none" and not colon:
        return Smoothing(name, 1.0)
    value = _number(number)
    if name == "none" or not SMALLEST_SMOOTHING <= value <= LARGEST_SMOOTHING:
        raise UserError(f"--smoothing={text}: write none, or softmax:T with a number from "
                        f"{SMALLEST_SMOOTHING:g} to {LARGEST_SMOOTHING:g}, such as softmax:10")
    return Smoothing(name, value)


class Reduction(NamedTuple):
    """A name of `ReductionName` and its number: the share of channels that `qr` keeps, or degrees of an angle."""

    name: str
    value: float = 0.0

    def written(self) -> str:
        """As it is written on the command line."""
        return self.name if self.name == "none" else f"{self.name}:{self.value!r}"


def parse_reduction(text: str) -> Reduction:
    """`"qr:0.5"` → `Reduction("qr", 0.5)`; `"none"` stands alone."""
    name, colon, number = text.partition(":")
    if name not in names(ReductionName):
        raise UserError(f"--reduce={text} is unknown{nearest(name, names(ReductionName))} Valid: none, qr:KEPT, "
                        "distinctiveness:ANGLE")
    if text == "none":
        return Reduction(name)
    value, most = _number(number), 90 if name == "distinctiveness" else 1
    if name == "none" or not 0 < value <= most or not is_computed_with(value):
        raise UserError(f"--reduce={text}: write none, or qr:KEPT with the share of the channels that is kept (> 0 and "
                        "<= 1), such as qr:0.5, or distinctiveness:ANGLE with degrees (> 0 and <= 90), such as "
                        "distinctiveness:15")
    return Reduction(name, value)


class Padding(NamedTuple):
    """What stands around maps, a name of `PaddingName`: before the first convolution only, or before every one.

    `trained` leaves the network as it is.
    """

    mode: str
    first_only: bool

    def written(self) -> str:
        """As it is written on the command line."""
        return f"{self.mode}:first" if self.first_only else self.mode


def parse_padding(text: str) -> Padding:
    """`"reflect"` → `Padding("reflect", False)`; `"reflect:first"` is the first convolution's alone."""
    mode, colon, where = text.partition(":")
    can_be_first = mode != "trained"
    if mode not in names(PaddingName) or where != ("first" if colon and can_be_first else ""):
        raise UserError(f"--padding={text} is unknown{nearest(mode, names(PaddingName))} Valid: "
                        f"{', '.join(names(PaddingName))}; reflect:first changes the first convolution alone")
    return Padding(mode, bool(colon))


# An item of a list and the comma behind it. In double quotes it may have commas and spaces at its ends, and "" is one
# quote.
_ITEM = re.compile(r'[ \t]*(?:"((?:[^"]|"")*)"|([^,]*?))[ \t]*,')


def parse_list(text: str) -> tuple[str, ...]:
    """`'a.jpg,"b,c.jpg"'` → `("a.jpg", "b,c.jpg")`; an empty text is an empty list."""
    return tuple(item[2] if item[1] is None else item[1].replace('""', '"')
                 for item in _ITEM.finditer(f"{text}," * bool(text)))


def written_list(items: Iterable[object]) -> str:
    """The text that `parse_list` reads, also from a line of a flag file."""
    texts = [str(item) for item in items]
    return ",".join(_in_quotes(text) if _is_misread(text) or re.search("^'|[,\"]", text) or texts == [""] else text
                    for text in texts)


def with_ends(text: str) -> str:
    """A value as a line of a flag file has it: in quotes where it would not be read as it is."""
    quote = "'" if '"' in text else '"'
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return f"{quote}{text}{quote}" if is_quoted or _is_misread(text) else text


def _is_misread(text: str) -> bool:
    """Whether a line loses an end (spaces, a backslash by which a shell's command goes on) or seems to have two flags.
    """
    return text != text.strip() or text.endswith("\\") or bool(re.search(r"\s--\w", text))


def _in_quotes(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))


# Two letters at least: C:// is a drive of Windows.
_URL = re.compile("[A-Za-z][A-Za-z0-9+.-]+://")


def with_home(path: str) -> str:
    """A path with the folder that `~` or `~user` stands for. A shell puts it only where a word begins."""
    return os.path.expanduser(path)


def check_path(path: str, flag: str) -> None:
    """Raises `UserError`, naming the flag, for a path that no file on this machine has, or that breaks a line."""
    what, (start, slash, _) = f"{flag} {quoted(path)}", path.partition("/")
    if not is_one_line(path):
        raise UserError(f"{what} has a name that cannot be printed: give another, or rename it")
    if _URL.match(path):
        raise UserError(f"{what} is a URL: files are read and written on this machine alone, so give a path of it")
    # What is left of `with_home`.
    if start == "~":
        raise UserError(f"{what}: it is not known which folder ~ is (HOME is not set): give the whole path")
    if start.startswith("~") and slash and not os.path.exists(start):
        raise UserError(f"{what}: there is no user {quoted(start[1:])}: give the whole path, or ./{path} for a folder "
                        "of that name")
