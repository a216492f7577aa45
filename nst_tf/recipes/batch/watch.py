"""A folder that is watched: photos are taken as they arrive, once they are whole. No TensorFlow."""

import glob
import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from nst_tf.io.decode import load
from nst_tf.io.picture_folders import is_picture
from nst_tf.vocabulary import UserError

# The folder is looked at this often, in seconds. A file that has not changed from one look to the next may be whole.
LOOKS_EVERY = 1.0
# A file that is no sound picture and does not change for so many seconds stays broken.
BROKEN_AFTER = 60.0
# What cannot be decoded at this size cannot be at any.
_DECODED_PX = 64

Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds


class Arrival(NamedTuple):
    """A photo that has arrived; one that is not whole will not become so."""

    path: str
    is_whole: bool


class _Seen(NamedTuple):
    stamp: Stamp
    since: float
    is_taken: bool = False


def find_photos(pattern: str) -> dict[str, Stamp]:
    """The pictures of a folder, or of a pattern, that are there now; no hidden ones, which are half copied."""
    paths = glob.glob(os.path.join(glob.escape(pattern), "*") if os.path.isdir(pattern) else pattern, recursive=True)
    found = {}
    for path in paths:
        name = os.path.basename(path)
        if is_picture(name) and not name.startswith("."):
            try:
                status = os.stat(path)
            except OSError:  # it has just been moved away
                continue
            found[path] = (status.st_size, status.st_mtime_ns)
    return found


def is_sound(path: str) -> bool:
    """Whether a file is a whole picture."""
    try:
        load(path, name="--content", max_side_px=_DECODED_PX)
    except UserError:
        return False
    return True


def arrivals(find: Callable[[], Mapping[str, Stamp]], is_whole: Callable[[str], bool],
             now: Callable[[], float]) -> Iterator[Arrival | None]:
    """Yields each photo when it has arrived, again when it is replaced; None while there is none. It has no end.

    A file is taken when it has the same stamp in two looks and can be decoded: who copies it has finished then.
    """
    seen: dict[str, _Seen] = {}
    last = -LOOKS_EVERY
    while True:
        if now() - last < LOOKS_EVERY:
            yield None
            continue
        last, found = now(), find()
        seen = {path: known for path, known in seen.items() if path in found}
        for path in sorted(found, key=lambda path: (found[path][1], path)):
            known = seen.get(path)
            if known is None or known.stamp != found[path]:
                seen[path] = _Seen(found[path], last)
            elif not known.is_taken and ((whole := is_whole(path)) or last - known.since >= BROKEN_AFTER):
                seen[path] = known._replace(is_taken=True)
                yield Arrival(path, whole)
