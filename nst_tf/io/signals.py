"""Signals: sound and series of numbers from files, and back in the kind, level, units and sample rate of the content.

WAV, CSV and NPY need NumPy alone; FLAC, OGG and MP3 need the extra `signals`.
"""

import codecs
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.io import series, sound, wav
from nst_tf.io.files import check_readable, check_writable, write_atomically
from nst_tf.io.pixels import PathLike
from nst_tf.io.series import Table
from nst_tf.io.wav import Encoding
from nst_tf.vocabulary import UserError, quoted

# A day of twelve leads at 250 Hz, or 50 minutes of stereo at 48 kHz; 1.2 GB as floats.
MAX_VALUES = 300_000_000
_HEAD_BYTES = 4096
_BLOCK = 1 << 16
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
# Marks at the start of a text that tell its encoding.
_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Array(NamedTuple):
    """How an NPY file holds its numbers: their type, whether it is [T], and whether channels come first."""

    dtype: str
    is_flat: bool
    channels_first: bool


@dataclass(frozen=True, eq=False)
class Signal:
    """Samples of one or more channels at even times.

    Args:
        values: [T, C] in the file's units; sound has full scale = ±1. Gaps are bridged by straight lines.
        rate_hz: samples a second, None where the file does not tell.
        columns: the names of the channels in the header of a CSV, None where there was none.
        unit: the unit of all channels ("mV"), None where the file does not tell.
        layout: how the file holds it, so that the same kind can be written again.
        missing: [T, C], True where the file has a gap; None where it has none.
        remarks: what a user should know of the file, a line each.
    """

    values: NDArray[np.float32]
    rate_hz: float | None = None
    columns: tuple[str, ...] | None = None
    unit: str | None = None
    layout: Encoding | Table | Array = Encoding(16)
    missing: NDArray[np.bool_] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether it comes from a file of sound, so that full scale is ±1."""
        return isinstance(self.layout, Encoding)


def read_signal(path: PathLike, columns: Sequence[str] | None = None, rate_hz: float | None = None, *,
                name: str = "--content") -> Signal:
    """A file as a signal; what it is follows from its first bytes, not from its ending.

    Args:
        columns: the channels to read, by name or by number from 1 on; none = all.
        rate_hz: in place of what the file tells.
        name: the flag that errors name.
    Raises:
        UserError: missing, unreadable, no signal, damaged, too long, without numbers, or constant.
    """
    check_readable(path, name)
    what = f"{name} {quoted(path)}"
    try:
        signal = _read(path, columns, what)
    except MemoryError as error:
        raise UserError(f"{what} does not fit into memory: cut it first") from error
    if rate_hz is not None:
        signal = dataclasses.replace(signal, rate_hz=float(rate_hz))
    _check_varies(signal, what)
    return signal


def _read(path: PathLike, columns: Sequence[str] | None, what: str) -> Signal:
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(0)
        if head.startswith(wav.MAGICS) and head[8:12] == b"WAVE":
            try:
                wave = wav.read(file, what, MAX_VALUES)
            except wav.Compressed as error:
                wave = sound.read(str(path), what, f"a WAV file compressed as {error}", MAX_VALUES)
            return _of_wave(wave, columns, what)
        if head.startswith(b"\x93NUMPY"):
            return _read_array(path, columns, what)
    if sound.is_sound(head):
        return _of_wave(sound.read(str(path), what, "sound of another kind than WAV", MAX_VALUES), columns, what)
    return _read_text(path, head, columns, what)


def _of_wave(wave: wav.Wave, columns: Sequence[str] | None, what: str) -> Signal:
    values, _, remarks = _bridged(_picked(wave.values, columns, what), None, what)
    if wave.lost:
        remarks += (f"{what} is cut off: its header promises {wave.lost:,} samples more than there are",)
    if not wave.rate_hz:
        remarks += (f"{what} says that it has 0 samples a second: its rate is taken as unknown",)
    return Signal(values, float(wave.rate_hz) or None, layout=wave.encoding, remarks=remarks)


def _picked(values: NDArray[Any], columns: Sequence[str] | None, what: str) -> NDArray[Any]:
    """The channels of a file without names."""
    if not columns:
        return values
    channels = values.shape[1]
    for column in columns:
        if not (column.isdecimal() and 1 <= int(column) <= channels):
            raise UserError(f"{what} has no column {quoted(column)}: its columns are 1 to {channels}")
    return values[:, [int(column) - 1 for column in columns]]


def _read_array(path: PathLike, columns: Sequence[str] | None, what: str) -> Signal:
    try:
        # The map is refused where the header promises more than there is.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy's reader raises almost anything on a damaged file.
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{what} is damaged or holds no plain numbers ({reason}): save numbers of shape [time] or "
                        "[time, channels]") from error
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or not array.size:
        raise UserError(f"{what} has {array.dtype.name} of shape {list(array.shape)}: allowed are integers or floats "
                        "of shape [time] or [time, channels]")
    if array.size > MAX_VALUES:
        raise UserError(f"{what} holds {array.size:,} numbers: allowed are {MAX_VALUES:,}; cut it first")
    layout = Array(array.dtype.str, array.ndim == 1, array.ndim == 2 and array.shape[0] < array.shape[1])
    table = array[:, np.newaxis] if layout.is_flat else array.T if layout.channels_first else array
    values, missing, remarks = _bridged(_picked(table, columns, what), None, what)
    if layout.channels_first:
        remarks += (f"{what} has shape {list(array.shape)}: its longer side is taken as time",)
    return Signal(values, layout=layout, missing=missing, remarks=remarks)


def _read_text(path: PathLike, head: bytes, columns: Sequence[str] | None, what: str) -> Signal:
    encoding = next((name for mark, name in _ENCODINGS.items() if head.startswith(mark)), None)
    if encoding is None and (b"\0" in head or head.startswith(_PICTURES)):
        is_picture = " but a picture" if head.startswith(_PICTURES) else ""
        raise UserError(f"{what} is no signal{is_picture}: allowed are WAV, CSV, NPY, FLAC, OGG and MP3; convert it")
    found = series.read(str(path), encoding or _text_encoding(path), columns, what, MAX_VALUES)
    values, missing, remarks = _bridged(_on_grid(found), found.columns, what)
    return Signal(values, found.rate_hz, found.columns, found.unit, found.table, missing,
                  (*(f"{what}: {line}" for line in found.remarks), *remarks))


def _text_encoding(path: PathLike) -> str:
    """UTF-8, or Latin-1 (in which every byte has a meaning) where that fails, as in "µV" of old programs."""
    with open(path, encoding="utf-8") as file:
        try:
            while file.read(1 << 20):
                pass
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8"


def _on_grid(found: series.Series) -> NDArray[np.float64]:
    """The numbers at even times: NaN in lines that the file leaves out."""
    rows = found.table.rows
    if rows is None:
        return found.values
    values = np.full((int(rows[-1]) + 1, found.values.shape[1]), np.nan)
    values[rows] = found.values
    return values


def _bridged(numbers: NDArray[Any], columns: Sequence[str] | None,
             what: str) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, tuple[str, ...]]:
    """Numbers as float32, where gaps are and a remark of them.

    Raises:
        UserError: numbers beyond those of float32, or more gaps than numbers.
    """
    with np.errstate(over="ignore"):
        # A file that is mapped is not to be written to.
        values = numbers.astype(np.float32, copy=isinstance(numbers, np.memmap))
    if np.isfinite(values).all():
        return values, None, _coarse(numbers, values, what)
    missing = ~np.isfinite(values)
    beyond = missing & np.isfinite(numbers)
    if beyond.any():
        raise UserError(f"{what} has numbers such as {numbers[beyond][0]:g}: allowed is up to 3.4e38; rescale them")
    for channel in np.flatnonzero(missing.any(0)):
        lost = missing[:, channel]
        if lost.mean() > 0.5:
            label = quoted(columns[int(channel)]) if columns else str(channel + 1)
            raise UserError(f"{what} has numbers in only {1 - lost.mean():.0%} of column {label}: at least half must "
                            "be there; leave that column out")
        values[lost, channel] = np.interp(np.flatnonzero(lost), np.flatnonzero(~lost), values[~lost, channel])
    longest = max(_longest(missing[:, channel]) for channel in range(missing.shape[1]))
    return values, missing, (f"{what} has gaps (NaN or infinite): {missing.sum():,} of {missing.size:,} numbers, at "
                             f"most {longest:,} in a row; straight lines bridge them",)


def _coarse(numbers: NDArray[Any], values: NDArray[np.float32], what: str) -> tuple[str, ...]:
    """A remark where float32 has too few digits for small changes of large numbers."""
    if numbers.dtype.itemsize < 8:
        return ()
    spread = float(numbers.std(0).max())
    error = float(np.abs(values - numbers).max())
    if error <= 0.01 * spread:
        return ()
    return (f"{what} has large numbers that change little (by {spread:.3g}): they are kept to {error:.2g}; subtract a "
            "constant first",)


def _longest(lost: NDArray[np.bool_]) -> int:
    """The longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _check_varies(signal: Signal, what: str) -> None:
    if len(signal.values) < 2:
        raise UserError(f"{what} holds one sample: a signal has many")
    # Most signals vary in the first block.
    blocks = (signal.values[first:first + _BLOCK] for first in range(0, len(signal.values), _BLOCK))
    if all((block == signal.values[0]).all() for block in blocks):
        raise UserError(f"{what} is constant (every sample is {signal.values[0, 0]:g}): there is nothing in it to keep "
                        "or to copy")


def check_output(path: PathLike, like: Signal | None = None, name: str = "--output") -> None:
    """Raises `UserError` unless `write_signal(path, …)` can work; leaves no trace.

    Args:
        like: the content, where it is read already.
    """
    suffix, what = Path(path).suffix.lower(), f"{name} {quoted(path)}"
    if suffix not in WRITERS:
        raise UserError(f"{what} has no known ending of a signal: allowed are {', '.join(WRITERS)}; rename it")
    if suffix in sound.FORMATS:
        sound.package(what)
    if like is not None and (suffix == ".wav" or suffix in sound.FORMATS):
        _check_sound(like, suffix, what)
    check_writable(path, name)


def _check_sound(like: Signal, suffix: str, what: str) -> None:
    """Raises `UserError` unless a file of sound can hold such a signal."""
    channels, rate = like.values.shape[1], like.rate_hz
    if rate is None or not 1 <= round(rate) <= wav.MAX_RATE_HZ:
        told = "none" if rate is None else f"{rate:g} Hz"
        raise UserError(f"{what}: a file of sound has a sample rate of 1 Hz or more, and the content tells {told}: "
                        "give --rate, or write .csv or .npy")
    if channels > wav.MAX_CHANNELS:
        raise UserError(f"{what} cannot hold {channels} channels: write .csv or .npy")
    if suffix != ".wav":
        sound.check(what, channels, round(rate), suffix)


def write_signal(path: PathLike, signal: Signal, like: Signal | None = None) -> tuple[str, ...]:
    """Writes a signal to `path`, in the format of its ending, atomically; returns what a user should know, a line each.

    Args:
        like: the content: its layout, names, times, gaps and rate are written. None: those of the signal itself.
    """
    like = signal if like is None else like
    values = np.asarray(signal.values, np.float32)
    return WRITERS[Path(path).suffix.lower()](path, values, like)


def _sound_remarks(path: PathLike, values: NDArray[np.float32], like: Signal, is_clipped: bool) -> tuple[str, ...]:
    """What a file of sound could not hold: samples beyond full scale, parts of a hertz."""
    beyond = int((values > 1).sum() + (values < -1).sum()) if is_clipped else 0
    remarks = []
    if beyond:
        remarks.append(f"{quoted(path)}: {beyond:,} of {values.size:,} samples beyond full scale are clipped")
    if like.rate_hz != round(like.rate_hz or 0):
        remarks.append(f"{quoted(path)} has {round(like.rate_hz or 0)} Hz in place of {like.rate_hz:g}: sound has "
                       "whole rates")
    return tuple(remarks)


def _write_wav(path: PathLike, values: NDArray[np.float32], like: Signal) -> tuple[str, ...]:
    # Numbers in other units than sound may have any size.
    encoding = like.layout if isinstance(like.layout, Encoding) else Encoding(32, is_float=True)
    write_atomically(path, lambda file: wav.write(file, values, round(like.rate_hz or 0), encoding))
    return _sound_remarks(path, values, like, not encoding.is_float)


def _write_sound(path: PathLike, values: NDArray[np.float32], like: Signal) -> tuple[str, ...]:
    suffix, rate = Path(path).suffix.lower(), round(like.rate_hz or 0)
    encoding = like.layout if isinstance(like.layout, Encoding) else Encoding(24)
    write_atomically(path, lambda file: sound.write(file, values, rate, suffix, encoding))
    return _sound_remarks(path, values, like, is_clipped=True)


def _write_text(path: PathLike, values: NDArray[np.float32], like: Signal) -> tuple[str, ...]:
    is_same = values.shape == like.values.shape
    table = Table("\t" if Path(path).suffix.lower() == ".tsv" else ",")
    if isinstance(like.layout, Table) and is_same:
        table = like.layout
    gapped = _with_gaps(values, like)
    write_atomically(path, lambda file: series.write(file, gapped, table))
    return ()


def _with_gaps(values: NDArray[np.float32], like: Signal) -> NDArray[np.float32]:
    """NaN where the content has gaps."""
    if like.missing is None or like.missing.shape != values.shape:
        return values
    return np.where(like.missing, np.float32(np.nan), values)


def _write_array(path: PathLike, values: NDArray[np.float32], like: Signal) -> tuple[str, ...]:
    layout = like.layout if isinstance(like.layout, Array) else Array("<f4", False, False)
    dtype, array = np.dtype(layout.dtype), _with_gaps(values, like)
    remarks: tuple[str, ...] = ()
    if dtype.kind in "iu":
        low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
        whole = np.rint(array.astype(np.float64))
        beyond = int(((whole < low) | (whole > high)).sum())
        if beyond:
            remarks = (f"{quoted(path)}: {beyond:,} of {whole.size:,} numbers beyond {dtype.name} are clipped",)
        # The largest integer of 64 bits is no float: the one below it is.
        array = np.clip(whole, low, high if dtype.itemsize < 8 else np.nextafter(high, 0))
    array = array[:, 0] if layout.is_flat and array.shape[1] == 1 else array.T if layout.channels_first else array
    array = np.ascontiguousarray(array.astype(dtype))
    write_atomically(path, lambda file: np.lib.format.write_array(file, array, allow_pickle=False))
    return remarks


WRITERS: dict[str, Callable[[PathLike, NDArray[np.float32], Signal], tuple[str, ...]]] = {
    ".wav": _write_wav, ".csv": _write_text, ".tsv": _write_text, ".txt": _write_text, ".npy": _write_array,
    ".flac": _write_sound, ".ogg": _write_sound, ".mp3": _write_sound}
