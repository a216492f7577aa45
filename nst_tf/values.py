"""What may be given for a setting: kinds of values, bounds of numbers, how an error shows a value. No TensorFlow."""

import math
import os
import sys
import typing
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from nst_tf.vocabulary import UserError, quoted

# The smallest and the largest number of float32 above 0; in a step, what is smaller is 0.
SMALLEST_NUMBER, LARGEST_NUMBER = 1.18e-38, 3.4e38
# Of eight bytes, as states and tables keep whole numbers.
LARGEST_WHOLE_NUMBER = 2 ** 63 - 1
# An error shows so many letters of a text, and so many items of a list.
_LETTERS_SHOWN, _ITEMS_SHOWN = 200, 3
# What values of an annotation are instances of; texts where it is none of these.
_CLASSES: dict[Any, Any] = {bool: bool, int: int, int | None: int, float: (int, float), float | None: (int, float),
                            float | str: (int, float, str)}


def is_computed_with(value: float) -> bool:
    """Whether a step, which computes in float32, has this number."""
    return not value or SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER


class Bounds(NamedTuple):
    """minimum ≤ value ≤ maximum, and value > above."""

    minimum: float
    above: float
    maximum: float

    def hold(self, value: float) -> bool:
        """Whether a finite value lies inside."""
        is_finite = isinstance(value, int) or math.isfinite(value)
        return is_finite and self.minimum <= value <= self.maximum and value > self.above

    def __str__(self) -> str:
        limits = ((">=", self.minimum), (">", self.above), ("<=", self.maximum))
        return " and ".join(f"{sign} {limit:g}" for sign, limit in limits if math.isfinite(limit))


def plain(value: Any, is_list: bool) -> Any:
    """What is kept of a value that Python gives.

    A path becomes a text, NumPy's numbers become Python's, and any sequence, generator or array of one axis a tuple. A
    value that is none of these stays, and `has_type` refuses it.
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) <= is_list:
        value = value.tolist()
    if is_list and isinstance(value, (Sequence, Iterator)) and not isinstance(value, (str, bytes)):
        return tuple(plain(item, is_list=False) for item in value)
    return value


def has_type(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind that a field of a config is annotated with."""
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(has_type(item, typing.get_args(kind)[0]) for item in value)
    if kind in (int | None, float | None) and value is None:
        return True
    allowed = _CLASSES.get(kind, str)
    return isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))


def check_class(name: str, value: Any, expected: type, remedy: str) -> None:
    """Raises `UserError` for an argument that was given and is of another class."""
    if value is not None and not isinstance(value, expected):
        raise UserError(f"{name}={shown(value)} is no {expected.__name__}: give {remedy}")


def described(kind: Any, is_path: bool) -> str:
    """What an error asks for in place of a value of another kind."""
    if typing.get_origin(kind) is tuple:
        items = {str: "paths of files" if is_path else "texts", int: "whole numbers", float: "numbers",
                 float | str: "numbers, or texts such as 400px"}
        return f"a list of {items[typing.get_args(kind)[0]]}"
    return {bool: "True or False", int: "a whole number", int | None: "a whole number", float: "a number",
            float | None: "a number"}.get(kind, "the path of a file" if is_path else "a text")


def check_number(flag: str, value: float, bounds: Bounds, kind: Any, is_of_step: bool = True) -> None:
    """Raises `UserError` for a number outside the bounds of its flag, or beyond those of its kind.

    Args:
        kind: what the field is annotated with.
        is_of_step: a step computes with it, in float32.
    """
    what = f"{flag}={shown(value)} is out of range"
    if not bounds.hold(value):
        pixels = ", or pixels such as 400px" if kind == tuple[float | str, ...] else ""
        raise UserError(f"{what}: give a number {bounds}{pixels}")
    is_whole = kind in (int, int | None, tuple[int, ...])
    if is_whole or not is_of_step:
        largest = LARGEST_WHOLE_NUMBER if is_whole else sys.float_info.max
        if abs(value) > largest:
            raise UserError(f"{what}: give at most {largest}")
    elif not is_computed_with(value):
        raise UserError(f"{what}: a step computes with numbers from {SMALLEST_NUMBER:g} to {LARGEST_NUMBER:g}")


def shown(value: Any) -> str:
    """A value as an error names it: short, whatever it is."""
    if isinstance(value, str):
        return quoted(value if len(value) <= _LETTERS_SHOWN else f"{value[:_LETTERS_SHOWN]}...")
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE_NUMBER:
        return f"(a number of {value.bit_length()} bits)"
    if value is None or isinstance(value, (int, float, type)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(shown, value[:_ITEMS_SHOWN]))}{', ...' * (len(value) > _ITEMS_SHOWN)})"
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return f"({type(value).__name__}{shape})"
