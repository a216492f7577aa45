"""Clips in: the frames of a folder of pictures, or of a video file, one after another; memory holds one frame."""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.io import decode
from nst_tf.io.files import check_readable, quoted
from nst_tf.io.photo import Photo
from nst_tf.io.picture_folders import is_picture, listed
from nst_tf.io.pixels import fit, resize
from nst_tf.io.video_files import decoded, opened_file
from nst_tf.vocabulary import UserError

# Pictures that may have many frames, which PyAV reads too.
_ANIMATED = (".gif", ".webp", ".apng", ".png", ".avif", ".avifs")
# Small: JPEG is decoded faster then.
CHECKED_SIDE_PX = 64
# Reads a frame, shrunk to a long side.
Frame = Callable[[int], Photo]


class Clip(NamedTuple):
    """Frames of one size."""

    path: str
    size_px: tuple[int, int]   # (width, height)
    length: int                # frames, as folder or header say; a damaged file may have fewer
    read: Callable[[], Iterator[Frame]]
    files: tuple[str, ...] = ()            # of a folder
    times: tuple[Fraction, ...] = ()       # in seconds, of each frame of a file
    note: str = ""                         # what to know of the frames


def open_clip(path: str, name: str) -> Clip:
    """The clip of a path. Every picture of a folder is checked, of a file the first frame.

    Args:
        name: the flag that errors name.
    Raises:
        UserError: there are no frames, they cannot be read, or their sizes differ; or what reads files is missing.
    """
    return _of_folder(path, name) if Path(path).is_dir() else _of_file(path, name)


def _of_folder(path: str, name: str) -> Clip:
    files = sorted(listed(path, name, is_deep=False).pictures, key=_by_numbers)
    size = decode.size_px(files[0], name)
    for file in files:
        # A frame that is damaged would end the run after long work, which is far more than to decode it once.
        decode.read(file, name, CHECKED_SIDE_PX)
        other = decode.size_px(file, name)
        if other != size:
            raise UserError(f"{name} {quoted(file)} is {other[0]}x{other[1]} px, and the first frame "
                            f"{quoted(files[0])} is {size[0]}x{size[1]} px: give frames of one size")

    def read() -> Iterator[Frame]:
        for file in files:
            yield partial(decode.read, file, name)

    return Clip(path, size, len(files), read, tuple(files), note=_gaps(files))


def _by_numbers(path: str) -> list[Any]:
    """Names in the order of their numbers: frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", Path(path).name)]


def _gaps(files: list[str]) -> str:
    """What is missing between the numbers of frames, in a line; "" where nothing is."""
    found = [re.findall(r"[0-9]+", Path(file).stem) for file in files]
    if not all(found):
        return ""
    numbers = [int(each[-1]) for each in found]
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    if missing <= 0 or len(set(numbers)) < len(numbers):
        return ""
    return f"{missing} of the frames {numbers[0]} to {numbers[-1]} are missing: those that are there follow each other"


def _of_file(path: str, name: str) -> Clip:
    check_readable(path, name)
    if is_picture(path) and not path.lower().endswith(_ANIMATED):
        raise UserError(f"{name} {quoted(path)} is one picture: give a folder of frames or a video file; stylize.py "
                        "makes pictures")
    facts = opened_file(path, name)

    def read() -> Iterator[Frame]:
        for samples in decoded(path):
            yield partial(_shrunk, samples)

    return Clip(path, facts.size_px, len(facts.times), read, times=facts.times)


def _shrunk(samples: np.ndarray, max_side_px: int) -> Photo:
    """Samples uint8 [H, W, 3 or 4] as a picture."""
    height, width = samples.shape[:2]
    color, alpha = samples[..., :3], samples[..., 3:] if samples.shape[-1] == 4 else None
    if max(height, width) <= max_side_px:
        return Photo(color, alpha)
    size = fit(max_side_px, width, height)
    stored = Photo(color, alpha)
    return Photo(resize(stored, *size), None if stored.alpha is None else resize(stored.alpha, *size))
