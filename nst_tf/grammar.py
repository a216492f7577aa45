"""How layers (`LAYER[@WEIGHT]`, several separated by commas) and smoothings are written on the command line."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from nst_tf.vocabulary import PaddingName, SmoothingName, UserError, names, nearest, unknown


# Further than this is another picture, not another place.
LARGEST_JITTER_PX = 64
# Beyond these, squares and exponentials of activations leave float32.
SMALLEST_SMOOTHING, LARGEST_SMOOTHING = 1e-4, 1e4


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
    try:
        weight = float(weight_text) if at else 1.0
    except ValueError:
        weight = math.nan
    if not layer or not math.isfinite(weight) or weight < 0:
        raise UserError(f"{flag}={text}: write LAYER or LAYER@WEIGHT with a weight >= 0, such as block1_conv1@0.5")
    if ":" in layer:
        raise UserError(f"{flag}={text}: channels (':') cannot be chosen; write LAYER or LAYER@WEIGHT")
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


class Smoothing(NamedTuple):
    """A row of `SMOOTHINGS` and its number: T of `softmax`, s of `scale`; 1 and without meaning for `none`."""

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
        raise UserError(f"--smoothing={text} is unknown{nearest(name, names(SmoothingName))} Valid: none, softmax:T, "
                        "scale:S")
    if name == "none" and not colon:
        return Smoothing(name, 1.0)
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name == "none" or not SMALLEST_SMOOTHING <= value <= LARGEST_SMOOTHING:
        raise UserError(f"--smoothing={text}: write none, softmax:T or scale:S with a number from "
                        f"{SMALLEST_SMOOTHING:g} to {LARGEST_SMOOTHING:g}, such as softmax:10")
    return Smoothing(name, value)


class Padding(NamedTuple):
    """What stands around maps, a name of `PaddingName`: before the first convolution only, or before every one."""

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
    if mode not in names(PaddingName) or where != ("first" if colon else ""):
        raise UserError(f"--padding={text} is unknown{nearest(mode, names(PaddingName))} Valid: "
                        f"{', '.join(names(PaddingName))}, each for every convolution or, as in "
                        f"{names(PaddingName)[1]}:first, for the first")
    return Padding(mode, bool(colon))
