"""WAV files: RIFF chunks to samples and back; integers of any width, floats, any number of channels.

The standard library's `wave` has no floats, and before Python 3.12 no WAVE_FORMAT_EXTENSIBLE.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.vocabulary import UserError

# RIFX has its numbers the other way round; the chunks of RF64 (and of BW64, which grew from it) may exceed 4 GiB.
MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
MAX_CHANNELS, MAX_RATE_HZ = 1024, 2 ** 32 - 1
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_COMPRESSED = {2: "Microsoft ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM 6.10", 0x50: "MPEG",
               0x55: "MP3", 0x161: "WMA", 0xFF: "AAC"}
# From here on a size of the data is what writers to pipes leave, which cannot go back: 2 or 4 GiB, about.
_UNKNOWN_SIZE = 0x7FFF0000
# How many bytes are decoded, and how many samples are encoded, at once.
_BLOCK_BYTES = 3 << 20
_BLOCK_SAMPLES = 1 << 18
_GUID = (0, 0x10, bytes.fromhex("800000aa00389b71"))


@dataclass(frozen=True)
class Encoding:
    """How samples are stored: integers of 8, 16, 24 or 32 bits, or floats of 32 or 64."""

    bits: int
    is_float: bool = False


class Compressed(Exception):
    """The samples are not stored as numbers; the text names the compression."""


class Wave(NamedTuple):
    """A file's samples, full scale = ±1, and what its header says; `lost` frames were promised and are not there."""

    values: NDArray[np.float32]
    rate_hz: int
    encoding: Encoding
    lost: int


class _Format(NamedTuple):
    channels: int
    rate_hz: int
    width_bytes: int
    is_float: bool


def read(file: BinaryIO, what: str, max_values: int) -> Wave:
    """An open WAV file as float32 [T, C].

    Numbers that fill only a part of their bytes (12 bits in two bytes) stand in the high bits, as the format has it.

    Raises:
        UserError: the header is damaged or cannot be; it starts with `what`.
        Compressed: neither integers nor floats.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(12)
    order = ">" if head.startswith(b"RIFX") else "<"
    whole, parts, long_size = struct.unpack(f"{order}I", head[4:8])[0] + 8, None, None
    for name, start, length in _chunks(file, order, size):
        if name == b"ds64" and start + 16 <= size:
            long_size = struct.unpack("<8xQ", file.read(16))[0]
        elif name == b"fmt ":
            parts = _format(file.read(min(length, 40)), order, what)
        elif name == b"data":
            if parts is None:
                break
            # A recorder that was stopped too early has filled in neither size.
            is_unknown = length >= _UNKNOWN_SIZE or not length and whole <= start
            span = _Span(start, long_size if is_unknown else length, size - start)
            return _wave(file, parts, order, span, what, max_values)
    missing = "format" if parts is None else "samples"
    raise UserError(f"{what} is a WAV file without {missing}: it is damaged or cut off; get a new copy of it")


class _Span(NamedTuple):
    """Where the samples begin, how many bytes the header promises (None: it does not tell), how many there can be."""

    start: int
    promised: int | None
    there: int


def _chunks(file: BinaryIO, order: str, size: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, place, length) of each chunk; the file stands at its place."""
    place = 12
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        yield name, place + 8, length
        # Chunks have even lengths: an odd one is followed by a byte of nothing.
        place += 8 + length + length % 2


def _format(chunk: bytes, order: str, what: str) -> _Format:
    if len(chunk) < 16:
        raise UserError(f"{what} has a format of {len(chunk)} bytes: the header is damaged; get a new copy of it")
    tag, channels, rate_hz, _, block, bits = struct.unpack(f"{order}HHIIHH", chunk[:16])
    if tag == _EXTENSIBLE and len(chunk) >= 40:
        inner, *guid = struct.unpack(f"{order}IHH8s", chunk[24:40])
        tag = inner if tuple(guid) == _GUID else tag
    if tag not in (_PCM, _FLOAT):
        raise Compressed(_COMPRESSED.get(tag, f"format {tag:#06x}"))
    if not 0 < channels <= MAX_CHANNELS:
        raise UserError(f"{what} says that it has {channels} channels: allowed are 1 to {MAX_CHANNELS}; "
                        "get a new copy of it")
    width = block // channels
    allowed = (4, 8) if tag == _FLOAT else range(1, 9)
    if width not in allowed or width * channels != block or not 0 < bits <= 8 * width \
            or tag == _FLOAT and bits != 8 * width:
        raise UserError(f"{what} says that a frame of {channels} samples of {bits} bits takes {block} bytes, which "
                        "cannot be: the header is damaged; get a new copy of it")
    return _Format(channels, rate_hz, width, tag == _FLOAT)


def _wave(file: BinaryIO, parts: _Format, order: str, span: _Span, what: str, max_values: int) -> Wave:
    frame = parts.width_bytes * parts.channels
    frames = min(span.there, span.there if span.promised is None else span.promised) // frame
    if not frames:
        raise UserError(f"{what} holds no samples: get a new copy of it")
    if frames * parts.channels > max_values:
        raise UserError(f"{what} holds {frames * parts.channels:,} samples: allowed are {max_values:,}; cut it first")
    values = np.empty(frames * parts.channels, np.float32)
    file.seek(span.start)
    block = _BLOCK_BYTES // parts.width_bytes
    for first in range(0, values.size, block):
        part = values[first:first + block]
        part[...] = _decoded(file.read(part.size * parts.width_bytes), parts, order)
    lost = max(0, (span.promised or 0) // frame - frames)
    bits = 8 * parts.width_bytes if parts.is_float else 8 * min(parts.width_bytes, 4)
    return Wave(values.reshape(frames, parts.channels), parts.rate_hz, Encoding(bits, parts.is_float), lost)


def _decoded(data: bytes, parts: _Format, order: str) -> NDArray[Any]:
    """Samples, full scale = ±1."""
    width = parts.width_bytes
    if parts.is_float:
        with np.errstate(over="ignore"):
            return np.frombuffer(data, f"{order}f{width}").astype(np.float32)
    if width == 2:
        return np.frombuffer(data, f"{order}i2") * np.float32(2.0 ** -15)
    samples = np.frombuffer(data, np.uint8).reshape(-1, width)
    if order == ">":
        samples = samples[:, ::-1]
    # More than the four high bytes are finer than float32.
    used = min(width, 4)
    wide = np.zeros((len(samples), 4), np.uint8)
    wide[:, 4 - used:] = samples[:, width - used:]
    if width == 1:
        # Eight bits have no sign: silence is 128.
        wide[:, 3] ^= 0x80
    return wide.view("<i4")[:, 0] * np.float32(2.0 ** -31)


def write(file: BinaryIO, values: NDArray[np.float32], rate_hz: int, encoding: Encoding) -> None:
    """Writes float32 [T, C] as a WAV file; what lies beyond full scale is clipped where the samples are integers."""
    frames, channels = values.shape
    size = values.size * encoding.bits // 8
    chunks = _header(channels, rate_hz, encoding, frames)
    file.write(struct.pack("<4sI4s", b"RIFF", 4 + len(chunks) + 8 + size + size % 2, b"WAVE"))
    file.write(chunks)
    file.write(struct.pack("<4sI", b"data", size))
    rows = max(1, _BLOCK_SAMPLES // channels)
    for first in range(0, frames, rows):
        file.write(_encoded(values[first:first + rows], encoding))
    file.write(bytes(size % 2))


def _header(channels: int, rate_hz: int, encoding: Encoding, frames: int) -> bytes:
    """The chunks before the data. More than two channels or 16 bits want WAVE_FORMAT_EXTENSIBLE."""
    tag, width = _FLOAT if encoding.is_float else _PCM, encoding.bits // 8
    is_plain = channels <= 2 and (encoding.is_float or encoding.bits <= 16)
    body = struct.pack("<HHIIHH", tag if is_plain else _EXTENSIBLE, channels, rate_hz,
                       min(rate_hz * width * channels, MAX_RATE_HZ), width * channels, encoding.bits)
    if not is_plain:
        body += struct.pack("<HHIIHH8s", 22, encoding.bits, 0, tag, *_GUID)
    elif encoding.is_float:
        body += struct.pack("<H", 0)
    fact = b"" if tag == _PCM else struct.pack("<4sII", b"fact", 4, frames)
    return struct.pack("<4sI", b"fmt ", len(body)) + body + fact


def _encoded(values: NDArray[np.float32], encoding: Encoding) -> bytes:
    if encoding.is_float:
        return values.astype(f"<f{encoding.bits // 8}").tobytes()
    samples = integers(values, encoding.bits)
    if encoding.bits == 8:
        return (samples + 128).astype(np.uint8).tobytes()
    return samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :encoding.bits // 8].tobytes()


def integers(values: NDArray[np.float32], bits: int) -> NDArray[np.int32]:
    """round(2ⁿ⁻¹·x), clipped to n bits."""
    full = 2.0 ** (bits - 1)
    return np.clip(np.rint(values.astype(np.float64) * full), -full, full - 1).astype(np.int32)
