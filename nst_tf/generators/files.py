"""A trained generator as a folder: `network.npz` with the weights, `network.json` with what they are. No TensorFlow."""

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.generators.layers import Layer, convolutions, layers
from nst_tf.generators.weights import Styled
from nst_tf.io.files import check_writable, quoted, write_atomically
from nst_tf.vocabulary import RunError, UserError

WEIGHTS, FACTS = "network.npz", "network.json"
# Raised when a folder of before is not read any more.
VERSION = 1
_LARGEST_FACTS_BYTES = 2 ** 20
# What reading a damaged folder may raise.
_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, ArithmeticError, RecursionError,
            zipfile.BadZipFile, zlib.error)


class Style(NamedTuple):
    """A style that a network has learned: the stem of the painting's file, and the checksum of its bytes."""

    name: str
    sha256: str


class Generator(NamedTuple):
    """A trained network: its layers, its weights and its styles, in their order."""

    network: tuple[Layer, ...]
    weights: dict[str, Styled]
    styles: tuple[Style, ...]
    facts: dict[str, Any]  # how it was trained


def save(folder: str | Path, width: int, residuals: int, weights: dict[str, Styled], styles: tuple[Style, ...],
         facts: dict[str, Any]) -> None:
    """Writes both files, in half precision, each whole or not at all.

    Raises:
        RunError: a weight is not finite, or too large for half precision; nothing is written.
    """
    with np.errstate(over="ignore"):
        arrays: dict[str, Any] = {f"{name}/{part}": np.asarray(values, np.float16) for name, styled in weights.items()
                                  for part, values in styled._asdict().items() if values is not None}
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise RunError("the network has weights that are not finite: train it again with a lower --learning_rate")
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_atomically(Path(folder) / WEIGHTS, lambda file: np.savez_compressed(file, **arrays))
    about = {"version": VERSION, "width": width, "residuals": residuals,
             "styles": [style._asdict() for style in styles], "trained": facts}
    write_atomically(Path(folder) / FACTS, f"{json.dumps(about, indent=1)}\n".encode())


def load(folder: str | Path, flag: str = "--fast") -> Generator:
    """Reads a folder; every number is checked before it is used.

    Raises:
        UserError: there is no such folder, or it is damaged.
    """
    place = Path(folder)
    for name in (WEIGHTS, FACTS):
        if not (place / name).is_file():
            raise UserError(f"{flag}={quoted(folder)} holds no {name}: give a folder that train_fast.py wrote")
    try:
        about = _facts(place / FACTS)
        network = layers(int(about["width"]), int(about["residuals"]))
        styles = tuple(Style(str(style["name"]), str(style["sha256"])) for style in about["styles"])
        with np.load(place / WEIGHTS, allow_pickle=False) as arrays:
            weights = {convolution.name: _checked(arrays, convolution.name, convolution.kernel, len(styles),
                                                  convolution.is_last) for convolution in convolutions(network)}
        return Generator(network, weights, styles, dict(about.get("trained", {})))
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{flag}={quoted(folder)} is damaged ({reason}): train it again") from error


def check_folder(folder: str, flag: str = "--output") -> None:
    """Raises `UserError` unless a network can be written into this folder, which may hold one already."""
    place = Path(folder)
    if place.is_dir() and (others := sorted(set(os.listdir(place)) - {WEIGHTS, FACTS})):
        raise UserError(f"{flag}={quoted(folder)} holds other files ({others[0]}): give a new folder")
    if place.exists() and not place.is_dir():
        raise UserError(f"{flag}={quoted(folder)} is a file: give a folder")
    check_writable(place / WEIGHTS, flag)


def _facts(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        about = json.loads(file.read(_LARGEST_FACTS_BYTES))
    if about["version"] != VERSION:
        raise ValueError(f"its version is {about['version']!r}, and {VERSION} is read")
    if not (1 <= int(about["width"]) <= 512 and 0 <= int(about["residuals"]) <= 64 and about["styles"]):
        raise ValueError("its width, residual blocks or styles are out of range")
    return dict(about)


def _checked(arrays: Any, name: str, kernel: tuple[int, ...], styles: int, is_last: bool) -> Styled:
    shapes = {"kernel": kernel, "shift": (styles, kernel[-1]), "scale": (styles, kernel[-1])}
    parts = [part for part in shapes if part != "scale" or not is_last]
    found = {part: np.asarray(arrays[f"{name}/{part}"], np.float32) for part in parts}
    for part, values in found.items():
        if values.shape != shapes[part] or not np.isfinite(values).all():
            raise ValueError(f"{name}/{part} has another shape, or numbers that are not finite")
    return Styled(**found)
