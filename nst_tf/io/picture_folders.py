"""Folders of pictures: which of their files are pictures, and how those that are none are told of."""

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from nst_tf.io.decode import load
from nst_tf.io.files import quoted
from nst_tf.io.pixels import FloatImage
from nst_tf.vocabulary import UserError

# Of all formats that `load` reads.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".gif",
                    ".avif", ".avifs", ".heic", ".heif")
# What macOS puts beside a file on a disk that is not its own: `._a.jpg` holds the icon and the tags of `a.jpg`.
_OF_MACOS = "._"


class Listing(NamedTuple):
    """The pictures that a path stands for, by their names, and how many files of a folder are none."""

    pictures: tuple[str, ...]
    others: int = 0


class Loaded(NamedTuple):
    """Each picture with its file, and what was left out of folders, in one line or ""."""

    pictures: list[tuple[str, FloatImage]]
    left_out: str


def listed(path: str, name: str, is_deep: bool) -> Listing:
    """The file itself, or the pictures of a folder by their names; with `is_deep` then those of each subfolder.

    Args:
        name: the flag that errors name.
    Raises:
        UserError: a folder that cannot be read, or without a picture.
    """
    if not os.path.isdir(path):
        return Listing((path,))
    pictures: list[str] = []
    others = 0
    for folder, subfolders, names in os.walk(path, onerror=partial(_raise, path=path, name=name)):
        subfolders[:] = sorted(subfolders) if is_deep else []
        found = [each for each in sorted(names) if is_picture(each)]
        pictures += [os.path.join(folder, each) for each in found]
        others += len(names) - len(found)
    if not pictures:
        raise UserError(f"{name} {quoted(path)} holds no picture ({' '.join(PICTURE_SUFFIXES)}): give another folder")
    return Listing(tuple(pictures), others)


def load_all(paths: Iterable[str], name: str, max_side_px: int) -> Loaded:
    """Every file, and every picture of every folder, but for those that cannot be read.

    Args:
        name: the flag that errors name.
    Raises:
        UserError: a file that was named is no sound picture, or a folder holds none.
    """
    pictures: list[tuple[str, FloatImage]] = []
    others, reasons = 0, list[str]()
    for path in paths:
        listing, before = listed(path, name, is_deep=False), len(pictures)
        others += listing.others
        for file in listing.pictures:
            try:
                pictures.append((file, load(file, name=name, max_side_px=max_side_px)))
            except UserError as error:
                if listing.pictures == (path,):
                    raise
                reasons.append(str(error))
        if len(pictures) == before:
            raise UserError(f"{name} {quoted(path)} holds no picture that can be read ({reasons[-1]})")
    return Loaded(pictures, left_out(name, others, reasons))


def left_out(name: str, others: int, reasons: Sequence[str] = ()) -> str:
    """How many files of the folders of a flag are not read, in one line; "" where all are.

    Args:
        others: files that are no pictures.
        reasons: why each of the rest was not read.
    """
    parts = [f"{others} that {'is' if others == 1 else 'are'} no picture{'s' * (others > 1)}"] * bool(others)
    parts += [f"{len(reasons)} that cannot be read ({reasons[0]})" for _ in reasons[:1]]
    return f"files left out of {name}: {', '.join(parts)}" if parts else ""


def is_picture(name: str) -> bool:
    """Whether a file is a picture, by its name."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(_OF_MACOS)


def _raise(error: OSError, path: str, name: str) -> None:
    """Raises `UserError` for the folder itself; a subfolder that cannot be read is passed over."""
    if error.filename == path:
        raise UserError(f"{name} {quoted(path)} cannot be read ({error.strerror}): give another folder")
