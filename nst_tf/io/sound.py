"""FLAC, OGG, MP3 and other sound files by the package soundfile (libsndfile) of the extra `signals`."""

import io
from collections.abc import Collection
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.io.wav import Encoding, Wave
from nst_tf.runtime import quiet_stderr
from nst_tf.vocabulary import UserError

EXTRA = "pip install -e '.[signals]'"


class Format(NamedTuple):
    """A format that is written: its name in libsndfile, its most channels, its sample rates.

    libsndfile 1.2 crashes where Vorbis has more.
    """

    name: str
    channels: int
    rates_hz: Collection[int]


FORMATS = {".flac": Format("FLAC", 8, range(1, 655_351)), ".ogg": Format("OGG", 255, range(1, 192_001)),
           ".mp3": Format("MP3", 2, (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000))}
# How files of these kinds begin; an MP3 without tags begins with eleven bits of 1.
MAGICS = (b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"riff")
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}
_FLOATS = ("FLOAT", "DOUBLE")
_BLOCK_FRAMES = 1 << 16


def is_sound(head: bytes) -> bool:
    """Whether a file that begins so is one of these kinds."""
    # A text may begin with the same letters (FORMAT,…), but has no zero bytes. FF FE begins a text of UTF-16.
    is_frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] != 0xFE
    return is_frame or head.startswith(MAGICS) and b"\0" in head[:64]


def package(what: str) -> Any:
    """The package soundfile; `UserError`, which starts with `what`, where it is not installed."""
    try:
        import soundfile
    except (ImportError, OSError):
        raise UserError(f"{what}: {EXTRA} brings what reads and writes it (soundfile), or convert it to WAV") from None
    return soundfile


def read(path: str, what: str, kind: str, max_values: int) -> Wave:
    """A sound file as float32 [T, C], full scale = ±1.

    Args:
        kind: what the file is, for the error where the package is missing.
    Raises:
        UserError: no package, no sound, damaged, too long.
    """
    soundfile = package(f"{what} is {kind}")
    # The decoder of MP3 writes lines of its own.
    with quiet_stderr():
        try:
            wave = _decoded(soundfile, path, what, max_values)
        except soundfile.SoundFileError as error:
            reason = str(error).rpartition(": ")[2].rstrip(".")
            raise UserError(f"{what} cannot be read as sound ({reason}): get a new copy of it, or convert it to "
                            "WAV") from error
    if not len(wave.values):
        raise UserError(f"{what} holds no samples: get a new copy of it")
    return wave


def _decoded(soundfile: Any, path: str, what: str, max_values: int) -> Wave:
    with soundfile.SoundFile(path) as file:
        if file.frames * file.channels > max_values:
            raise UserError(f"{what} holds {file.frames * file.channels:,} samples: allowed are {max_values:,}; cut it "
                            "first")
        # The length of an MP3 is an estimate.
        promised = 0 if file.format == "MP3" else file.frames
        values = file.read(dtype="float32", always_2d=True)
        encoding = Encoding(_BITS.get(file.subtype, 16), file.subtype in _FLOATS)
        return Wave(values, file.samplerate, encoding, max(0, promised - len(values)))


def write(file: BinaryIO, values: NDArray[np.float32], rate_hz: int, suffix: str, encoding: Encoding) -> None:
    """Writes float32 [T, C] as sound: FLAC as integers of 8, 16 or 24 bits, the others compressed with loss.

    In blocks: libsndfile 1.2 overflows its stack at long blocks of Vorbis.
    """
    soundfile = package(f"a {suffix} file")
    subtype = {8: "PCM_S8", 16: "PCM_16"}.get(encoding.bits, "PCM_24") if suffix == ".flac" else None
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate_hz, values.shape[1], subtype, format=FORMATS[suffix].name) as target:
        for first in range(0, len(values), _BLOCK_FRAMES):
            target.write(np.clip(values[first:first + _BLOCK_FRAMES], -1, 1))
    file.write(buffer.getbuffer())


def check(what: str, channels: int, rate_hz: int, suffix: str) -> None:
    """Raises `UserError`, which starts with `what`, unless the format can hold such a sound."""
    package(what)
    name, most, rates = FORMATS[suffix]
    if channels > most:
        raise UserError(f"{what} cannot hold {channels} channels: {name} has at most {most}; write a .wav")
    if rate_hz not in rates:
        allowed = f"{min(rates)} to {max(rates)}" if isinstance(rates, range) else ", ".join(map(str, rates))
        raise UserError(f"{what} cannot hold {rate_hz} samples a second: {name} has {allowed}; write a .wav")
