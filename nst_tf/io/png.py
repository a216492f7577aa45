"""PNG files as viewers take them: what is wrong beside the pixels does not cost the picture.

Pillow refuses a PNG whole for a comment that is long or has a wrong checksum, a large color profile or a broken
animation. Its limits can only be changed for the whole process.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from PIL import PngImagePlugin

from nst_tf.io.pixels import PathLike

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The frames of an animation. Without them the picture is the one that stands for the animation.
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
# More than this is no color profile.
_MOST_PROFILE_BYTES = 2 ** 26


class Chunk(NamedTuple):
    """A part of a PNG file: its place, and its data where that is not pixels."""

    kind: bytes
    start: int
    stop: int
    data: bytes | None
    is_whole: bool  # all of it is there, and its checksum is right

    @property
    def is_critical(self) -> bool:
        """Whether no picture can be shown without it."""
        return not self.kind[0] & 0x20


class Sieved(NamedTuple):
    """A PNG file without what Pillow would stumble over, and the color profile that was too large for Pillow."""

    file: io.BytesIO
    profile: bytes | None


def sieve(file: BinaryIO) -> Sieved | None:
    """The file as Pillow can read it; None where it is no PNG, or can be left as it is."""
    file.seek(0)
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return None
    # Pillow's own reader says what Pillow takes: it counts the text of all chunks.
    reader, profile, dropped = PngImagePlugin.PngStream(io.BytesIO()), None, []
    for chunk in _chunks(file):
        is_taken = _is_taken(reader, chunk)
        if not is_taken and not chunk.is_critical:
            dropped.append(chunk)
            if chunk.kind == b"iCCP" and chunk.is_whole:
                profile = _profile(chunk.data or b"")
    if not dropped:
        return None
    return Sieved(_without(file, dropped), profile)


def has_chunks_behind_pixels(path: PathLike) -> bool:
    """Whether anything but the end mark follows the pixels."""
    with open(path, "rb") as file:
        kinds = [chunk.kind for chunk in _chunks(file)]
    return b"IDAT" in kinds and not set(kinds[kinds.index(b"IDAT"):]) <= {b"IDAT", b"IEND"}


def _chunks(file: BinaryIO) -> Iterator[Chunk]:
    """The chunks up to the end mark, or as far as the file can be understood."""
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if not kind.isalpha():
            return
        start = file.tell() - 8
        if kind in (b"IDAT", b"fdAT"):
            file.seek(length + 4, io.SEEK_CUR)
            yield Chunk(kind, start, file.tell(), None, True)
        else:
            data, checksum = file.read(length), file.read(4)
            yield Chunk(kind, start, file.tell(), data, checksum == struct.pack(">I", zlib.crc32(kind + data)))
        if kind == b"IEND":
            return


def _is_taken(reader: PngImagePlugin.PngStream, chunk: Chunk) -> bool:
    """Whether Pillow takes a chunk; the reader has taken those before it."""
    if chunk.kind in _ANIMATION or not chunk.is_whole:
        return False
    if chunk.data is None or not hasattr(reader, f"chunk_{chunk.kind.decode()}"):
        return True
    reader.fp = io.BytesIO(chunk.data)
    try:
        reader.call(chunk.kind, 0, len(chunk.data))
    except EOFError:  # the end mark
        return True
    except Exception:  # of whatever kind: Pillow would raise it again
        return False
    return True


def _profile(data: bytes) -> bytes | None:
    """The color profile of an iCCP chunk: name, 0, method 0, deflated bytes."""
    _, _, compressed = data.partition(b"\0")
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(compressed[1:], _MOST_PROFILE_BYTES)
    except zlib.error:
        return None
    return None if decompressor.unconsumed_tail else profile


def _without(file: BinaryIO, dropped: list[Chunk]) -> io.BytesIO:
    """The bytes of a file but for some chunks."""
    kept, position = io.BytesIO(), 0
    for chunk in dropped:
        file.seek(position)
        kept.write(file.read(chunk.start - position))
        position = chunk.stop
    file.seek(position)
    kept.write(file.read())
    kept.seek(0)
    return kept
