"""How layers (`LAYER[:CHANNELS][@WEIGHT]`), sizes in pixels, smoothings and paddings are written."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from nst_tf.vocabulary import PaddingName, SmoothingName, UserError, names, nearest, unknown


# Further than this is another picture, not another place.
LARGEST_JITTER_PX = 64
# Beyond these, squares and exponentials of activations leave float32.
SMALLEST_SMOOTHING, LARGEST_SMOOTHING = 1e-4, 1e4
# Channels may be chosen by how strongly they respond to pictures.
RANKINGS = ("strong", "weak", "unused")


class LayerWeight(NamedTuple):
    """One layer of a loss and its weight w_l."""

    layer: str
    weight: float


def parse_layer(text: str, flag: str) -> LayerWeight:
    """`"block1_conv1@0.5"` → `LayerWeight("block1_conv1", 0.5)`; the weight is 1 where it is left out.

    Args:
        text: one `LAYER[@WEIGHT]`, WEIGHT a finite number ≥ 0.
        flag: the flag that an error names.
    Raises:
        UserError: empty name, a weight that is no number, negative or not finite, or channels (`LAYER:3`),
            which content and style do not take.
    """
    layer, at, weight_text = text.strip().partition("@")
    weight = _weight(weight_text) if at else 1.0
    if not layer or not weight >= 0:
        raise UserError(f"{flag}={text}: write LAYER or LAYER@WEIGHT with a weight >= 0, such as block1_conv1@0.5")
    if ":" in layer:
        raise UserError(f"{flag}={text}: this flag takes whole layers, without channels: write LAYER or LAYER@WEIGHT")
    return LayerWeight(layer, weight)


def parse_layers(texts: Iterable[str], allowed: Iterable[str], flag: str) -> tuple[LayerWeight, ...]:
    """Every `LAYER[@WEIGHT]` of a list, checked against the backbone's layers.

    Raises:
        UserError: an unknown layer (the answer lists the valid ones and the nearest), one named twice, or weights
            that are all zero.
    """
    allowed = list(allowed)
    parsed = tuple(parse_layer(text, flag) for text in texts)
    for index, (layer, _) in enumerate(parsed):
        if layer not in allowed:
            raise unknown(f"{flag}: layer", layer, allowed)
        if layer in (earlier.layer for earlier in parsed[:index]):
            raise UserError(f"{flag}: layer '{layer}' is named twice; name it once with one weight")
    if parsed and not any(weight for _, weight in parsed):
        raise UserError(f"{flag}: every weight is 0; give at least one layer a weight above 0")
    return parsed


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


def parse_layer_channels(text: str, flag: str) -> LayerChannels:
    """`"fire8:3+17@0.5"` → `LayerChannels("fire8", Channels("index", (3, 17)), 0.5)`.

    Args:
        text: one `LAYER[:CHANNELS][@WEIGHT]`; CHANNELS as in `parse_channels`.
        flag: the flag that an error names.
    Raises:
        UserError: empty name, channels that cannot be read, or a weight that is no finite number ≥ 0.
    """
    rest, at, weight_text = text.strip().partition("@")
    layer, colon, channels = rest.partition(":")
    weight = _weight(weight_text) if at else 1.0
    if not layer or not weight >= 0:
        raise UserError(f"{flag}={text}: write LAYER, LAYER:CHANNELS or LAYER:CHANNELS@WEIGHT with a weight >= 0, such "
                        "as fire8:3+17@0.5")
    return LayerChannels(layer, parse_channels(channels, f"{flag}={text}") if colon else None, weight)


def parse_channels(text: str, what: str) -> Channels:
    """`"3+17"`, `"0-15+40"`, `"all"`, `"strong:5"`, `"weak:5"` or `"unused:5"`; a channel named twice counts once.

    Args:
        what: what an error names.
    """
    rule, colon, count = text.partition(":")
    if rule in RANKINGS and colon and _is_index(count) and int(count) > 0:
        return Channels(rule, first=int(count))
    if text == "all":
        return Channels("all")
    ranges = [part.split("-") for part in text.split("+")]
    if not all(len(ends) <= 2 and all(map(_is_index, ends)) and int(ends[0]) <= int(ends[-1]) for ends in ranges):
        raise UserError(f"{what}: channels '{text}' cannot be read: write numbers and ranges such as 3+17 or 0-15, "
                        f"or all, or {', '.join(f'{ranking}:N' for ranking in RANKINGS)}")
    indices = (index for ends in ranges for index in range(int(ends[0]), int(ends[-1]) + 1))
    return Channels("index", tuple(dict.fromkeys(indices)))


def parse_px(text: str, flag: str) -> int:
    """`"400px"` → 400.

    Raises:
        UserError: anything else.
    """
    number = text.removesuffix("px")
    if number == text or not _is_index(number) or not int(number):
        raise UserError(f"{flag}={text}: write a number such as 0.5, or pixels such as 400px")
    return int(number)


def _is_index(text: str) -> bool:
    # No layer has more channels than six digits count, and int() of a long text takes long.
    return text.isascii() and text.isdigit() and len(text) <= 6


def _weight(text: str) -> float:
    """The number that is written, or NaN where it is none or not finite."""
    try:
        weight = float(text)
    except ValueError:
        return math.nan
    return weight if math.isfinite(weight) else math.nan


class Smoothing(NamedTuple):
    """A name of `SmoothingName` and its number: T of `softmax`; 1 and without meaning for `none`."""

    name: str
    value: float

    def written(self) -> str:
        """As it is written on the command line."""
        return self.name if self.name == "none" else f"{self.name}:{self.value!r}"


def parse_smoothing(text: str) -> Smoothing:
    """`"softmax:0.5"` → `Smoothing("softmax", 0.5)`; `"none"` stands alone.

    Raises:
        UserError: another name, or a number that is missing or out of range.
    """
    name, colon, number = text.partition(":")
    if name not in names(SmoothingName):
        raise UserError(f"--smoothing={text} is unknown{nearest(name, names(SmoothingName))} Valid: none, softmax:T")
    if name == "none" and not colon:
        return Smoothing(name, 1.0)
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name == "none" or not SMALLEST_SMOOTHING <= value <= LARGEST_SMOOTHING:
        raise UserError(f"--smoothing={text}: write none, or softmax:T with a number from "
                        f"{SMALLEST_SMOOTHING:g} to {LARGEST_SMOOTHING:g}, such as softmax:10")
    return Smoothing(name, value)


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
    """`"reflect"` → `Padding("reflect", False)`; `"reflect:first"` is the first convolution's alone.

    Raises:
        UserError: another name, or another word behind the colon.
    """
    mode, colon, where = text.partition(":")
    can_be_first = mode != "trained"
    if mode not in names(PaddingName) or where != ("first" if colon and can_be_first else ""):
        raise UserError(f"--padding={text} is unknown{nearest(mode, names(PaddingName))} Valid: "
                        f"{', '.join(names(PaddingName))}; reflect:first changes the first convolution alone")
    return Padding(mode, bool(colon))
