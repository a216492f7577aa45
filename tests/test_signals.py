"""Files of sound and arrays: read as other readers read them, written so that they read them; what is refused."""

import dataclasses
import io
import struct
import wave
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile

from nst_tf.io import sound, wav
from nst_tf.io.resampling import fitted, resampled
from nst_tf.io.signals import Array, Signal, check_output, read_signal, write_signal
from nst_tf.io.wav import Encoding
from nst_tf.vocabulary import UserError

SCIPY_WAVS = sorted((Path(scipy.io.wavfile.__file__).parent / "tests" / "data").glob("*.wav"))
ENCODINGS = [Encoding(8), Encoding(16), Encoding(24), Encoding(32), Encoding(32, True), Encoding(64, True)]
needs_soundfile = pytest.mark.skipif(find_spec("soundfile") is None, reason="the extra 'signals' is not installed")


def noise(channels: int = 2, samples: int = 301, seed: int = 0) -> Any:
    """float32 [T, C] in ±1, quiet at the start, with both ends of full scale."""
    values = np.random.default_rng(seed).uniform(-1, 1, (samples, channels)) * np.linspace(0, 1, samples)[:, None]
    values[-1], values[-2] = -1, 1
    return values.astype(np.float32)


def wav_bytes(values: Any = None, encoding: Encoding = Encoding(16), rate_hz: int = 8000) -> bytes:
    buffer = io.BytesIO()
    wav.write(buffer, noise() if values is None else values, rate_hz, encoding)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def by_scipy(path: Path) -> tuple[int, Any]:
    """What SciPy reads, full scale = ±1."""
    rate, data = scipy.io.wavfile.read(path)
    data = data.reshape(len(data), -1)
    if data.dtype == np.uint8:
        return rate, (data.astype(np.float64) - 128) / 128
    return rate, data / 2.0 ** (8 * data.dtype.itemsize - 1) if data.dtype.kind == "i" else data


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_wav_there_and_back(tmp_path: Path, encoding: Encoding, channels: int) -> None:
    values, path = noise(channels), tmp_path / "a.wav"
    remarks = write_signal(path, Signal(values, 22050.0, layout=encoding))
    read = read_signal(path)
    assert (read.rate_hz, read.layout, read.columns, read.missing, remarks) == (22050, encoding, None, None, ())
    # Half a step of the integers; +1 is one step above the largest of them.
    step = 0 if encoding.is_float else 2.0 ** (1 - min(encoding.bits, 24))
    np.testing.assert_allclose(read.values[:-2], values[:-2], atol=0.5 * step)
    np.testing.assert_allclose(read.values[-2:], values[-2:], atol=step)
    rate, other = by_scipy(path)
    assert rate == 22050
    np.testing.assert_allclose(other, read.values, atol=2 ** -24)
    write_signal(tmp_path / "b.wav", read)
    assert (tmp_path / "b.wav").read_bytes() == path.read_bytes()


def test_the_standard_library_reads_what_is_written(tmp_path: Path) -> None:
    write_signal(tmp_path / "a.wav", Signal(noise(), 8000.0))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (2, 2, 8000, 301)
        frames = np.frombuffer(file.readframes(301), "<i2").reshape(-1, 2)
    np.testing.assert_array_equal(frames, np.clip(np.rint(noise() * 32768.0), -32768, 32767))


READ_BY_ALL = [path for path in SCIPY_WAVS if not any(
    word in path.name for word in ("inconsistent", "incomplete", "no-data", "ulaw"))]


@pytest.mark.filterwarnings("ignore::scipy.io.wavfile.WavFileWarning")
@pytest.mark.parametrize("path", READ_BY_ALL, ids=lambda path: path.stem)
def test_odd_wavs_are_read_as_scipy_reads_them(path: Path) -> None:
    read, (rate, other) = read_signal(path), by_scipy(path)
    assert read.rate_hz == rate
    np.testing.assert_allclose(read.values, other, atol=2 ** -24)
    assert bool(read.remarks) == ("early-eof" in path.name)


def test_scipy_has_its_odd_wavs() -> None:
    assert len(READ_BY_ALL) > 15


@pytest.mark.parametrize("cut", [1, 7, 400])
@pytest.mark.parametrize("sizes", ["told", "unknown", "zero"])
def test_what_is_there_of_a_recording_is_read(tmp_path: Path, cut: int, sizes: str) -> None:
    data = bytearray(wav_bytes())
    if sizes != "told":
        # As by a pipe, and by a recorder that was stopped.
        data[40:44] = data[4:8] = struct.pack("<I", 0xFFFFFFFF if sizes == "unknown" else 0)
    read = read_signal(write(tmp_path / "a.wav", bytes(data[:-cut])))
    frames = 301 - -(-cut // 4)
    assert len(read.values) == frames
    np.testing.assert_allclose(read.values, noise()[:frames], atol=2 ** -15)
    assert [line.split(": ")[1] for line in read.remarks] == (
        [f"its header promises {301 - frames} samples more than there are"] if sizes == "told" else [])


def test_chunks_around_the_samples_are_passed_over(tmp_path: Path) -> None:
    data = wav_bytes()
    around = data[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + data[12:] + b"id3 " + struct.pack("<I", 2) + b"xx"
    np.testing.assert_array_equal(read_signal(write(tmp_path / "a.wav", around)).values,
                                  read_signal(write(tmp_path / "b.wav", data)).values)


def patched(place: int, data: bytes, encoding: Encoding = Encoding(16)) -> bytes:
    whole = wav_bytes(encoding=encoding)
    return whole[:place] + data + whole[place + len(data):]


REFUSED = {
    "an empty file": (b"", "is empty (0 bytes)"),
    "no samples": (wav_bytes()[:44], "holds no samples"),
    "no data": (wav_bytes()[:36], "is a WAV file without samples"),
    "no format": (wav_bytes()[:12] + wav_bytes()[36:], "is a WAV file without format"),
    "no channels": (patched(22, bytes(2)), "says that it has 0 channels: allowed are 1 to 1024"),
    "many channels": (patched(22, b"\xff\xff"), "says that it has 65535 channels"),
    "bits that cannot be": (patched(34, b"\x63\0"), "a frame of 2 samples of 99 bits takes 4 bytes, which cannot be"),
    "frames that cannot be": (patched(32, b"\x05\0"), "takes 5 bytes, which cannot be"),
    "floats of 16 bits": (patched(20, b"\3\0"), "which cannot be"),
    "one sample": (wav_bytes(noise(samples=2)[:1]), "holds one sample"),
    "silence": (wav_bytes(np.zeros((99, 2), np.float32)), "is constant (every sample is 0)"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is no signal but a picture: allowed are WAV, CSV, NPY"),
    "a WebP picture": (b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(50), "is no signal"),
    "half of it not there": (wav_bytes(np.where(noise() < 0.5, np.nan, noise()), Encoding(32, True)),
                             "at least half must be there"),
}


@pytest.mark.parametrize("data, text", REFUSED.values(), ids=REFUSED)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, data: bytes, text: str) -> None:
    with pytest.raises(UserError) as error:
        read_signal(write(tmp_path / "a.wav", data), name="--style")
    assert str(error.value).startswith("--style '") and text in str(error.value) and "\n" not in str(error.value)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    for path, text in ((tmp_path, "is a folder"), (tmp_path / "none.wav", "does not exist")):
        with pytest.raises(UserError, match=text):
            read_signal(path)


def test_a_rate_that_is_given_mends_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", patched(24, bytes(4)))
    assert read_signal(path, rate_hz=11025).rate_hz == 11025
    assert read_signal(path).rate_hz is None
    assert "says that it has 0 samples a second: its rate is taken as unknown" in read_signal(path).remarks[0]


def test_sound_that_is_not_finite_is_bridged(tmp_path: Path) -> None:
    values = noise(1)
    values[10:12], values[50] = np.nan, np.inf
    read = read_signal(write(tmp_path / "a.wav", wav_bytes(values, Encoding(32, True))))
    assert "3 of 301 numbers, at most 2 in a row" in read.remarks[0]
    np.testing.assert_allclose(read.values[9:13, 0], np.linspace(values[9, 0], values[12, 0], 4), rtol=1e-5)
    assert read.missing is None


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = io.BytesIO()
    np.save(numbers, noise())
    whole = [wav_bytes(), wav_bytes(encoding=Encoding(24)), numbers.getvalue(), b"time,ecg\n" + b"".join(
        b"%.3f,%.4f\n" % (k / 250, value) for k, value in enumerate(noise(1)[:60, 0]))]
    for trial in range(120):
        data = bytearray(whole[trial % 4])
        for place in rng.integers(0, 130, size=rng.integers(1, 4)):
            data[place] = rng.integers(256)
        if trial % 3 == 0:
            data = data[:rng.integers(1, len(data))]
        try:
            read = read_signal(write(tmp_path / "a", bytes(data)))
            assert np.isfinite(read.values).all() and read.values.ndim == 2
        except UserError as error:
            assert "\n" not in str(error)


ARRAYS = {
    "flat integers": np.arange(-40, 40, dtype=np.int16), "floats": noise(3).astype(np.float64),
    "channels first": noise(2).T.copy(), "bytes": np.arange(90, dtype=np.uint8).reshape(-1, 2),
    "swapped": noise(2).astype(">f4"), "half": noise(2).astype(np.float16)}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_npy_there_and_back(tmp_path: Path, array: Any) -> None:
    np.save(tmp_path / "a.npy", array)
    read = read_signal(tmp_path / "a.npy")
    np.testing.assert_array_equal(read.values, array.T if array.shape[0] == 2 else array.reshape(len(array), -1))
    assert bool(read.remarks) == (array.shape[0] == 2) and read.rate_hz is None
    assert write_signal(tmp_path / "b.npy", read) == ()
    back = np.load(tmp_path / "b.npy")
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_integers_are_rounded_and_clipped_and_that_is_said(tmp_path: Path) -> None:
    content = Signal(noise(1), layout=Array("<i2", True, False))
    values = np.array([[1.4], [1.6], [4e4], [-4e4]], np.float32)
    assert "2 of 4 numbers beyond int16 are clipped" in write_signal(
        tmp_path / "a.npy", dataclasses.replace(content, values=values), content)[0]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), [1, 2, 32767, -32768])
    remarks = write_signal(tmp_path / "a.wav", Signal(values, 360.4, layout=Encoding(24)))
    assert "4 of 4 samples beyond full scale are clipped" in remarks[0]
    assert "has 360 Hz in place of 360.4" in remarks[1]
    assert write_signal(tmp_path / "a.wav", Signal(values, 360.0, layout=Encoding(32, True))) == ()


@pytest.mark.parametrize("array, text", [
    (np.array(["a", "b"]), r"has str\d* of shape \[2\]"), (np.zeros((2, 3, 4)), r"float64 of shape \[2, 3, 4\]"),
    (np.zeros(5, complex), "complex128"), (np.zeros((0, 2)), r"shape \[0, 2\]"), (np.ones(7), "is constant"),
    (np.array([1e200, 2.0]), "numbers such as 1e[+]200"), (np.array([None, 1]), "damaged or holds no plain numbers")])
def test_arrays_that_are_no_signal_are_refused(tmp_path: Path, array: Any, text: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=text):
        read_signal(tmp_path / "a.npy")


def test_an_array_whose_header_lies_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise())
    data = (tmp_path / "a.npy").read_bytes().replace(b"(301, 2), }   ", b"(30100000, 2)}")
    with pytest.raises(UserError, match="damaged"):
        read_signal(write(tmp_path / "a.npy", data))


def test_channels_are_chosen_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", wav_bytes(noise(3), Encoding(32, True)))
    np.testing.assert_array_equal(read_signal(path, ["3", "1"]).values, noise(3)[:, [2, 0]])
    with pytest.raises(UserError, match="has no column '4': its columns are 1 to 3"):
        read_signal(path, ["4"])


@pytest.mark.parametrize("rates", [(8000, 96000), (96000, 8000), (44100, 48000), (360, 250)])
def test_a_tone_keeps_its_pitch_and_level_at_another_rate(rates: tuple[int, int]) -> None:
    tone = [np.sin(2 * np.pi * 0.05 * min(rates) * np.arange(rate // 2) / rate) + 3 for rate in rates]
    moved = resampled(Signal(tone[0][:, None].astype(np.float32), rates[0]), rates[1], len(tone[1]))
    assert moved.rate_hz == rates[1] and moved.values.dtype == np.float32
    inner = slice(len(tone[1]) // 10, -len(tone[1]) // 10)
    np.testing.assert_allclose(moved.values[inner, 0], tone[1][inner], atol=0.02)
    # The level lasts to the ends.
    assert abs(moved.values - 3).max() < 1.2


def test_a_style_takes_rate_and_channels_of_the_content() -> None:
    content = Signal(noise(2, 800), 16000.0)
    style = fitted(Signal(noise(1, 400), 8000.0), content, "--style 'b.wav'")
    assert style.values.shape == (800, 2) and style.rate_hz == 16000
    assert style.remarks == ("--style 'b.wav' is resampled from 8000 Hz to the 16000 Hz of the content",)
    for channels in (1, 3):
        mixed = fitted(content, Signal(noise(channels), 16000.0), "s")
        np.testing.assert_allclose(mixed.values, content.values.mean(1, keepdims=True).repeat(channels, 1))
        assert mixed.remarks == ("s: its 2 channels are averaged",)
    named = Signal(noise(3), None, ("I", "II", "V5"), layout=Array("<f4", False, False))
    picked = fitted(named, Signal(noise(2), 250.0, ("V5", "I")), "s")
    np.testing.assert_array_equal(picked.values, named.values[:, [2, 0]])
    assert "tells no sample rate" in picked.remarks[0] and picked.rate_hz == 250
    with pytest.raises(UserError, match="has 3 channels and the content 2"):
        fitted(named, content, "s")
    with pytest.raises(UserError, match="too far apart"):
        fitted(content, Signal(noise(2), 4e9), "s")


def test_what_cannot_be_written_is_said_before(tmp_path: Path) -> None:
    sounds = Signal(noise(), 8000.0)
    for path, like, text in (
            (tmp_path / "a.mid", None, "has no known ending of a signal: allowed are .wav, .csv"),
            (tmp_path / "a.wav", Signal(noise()), "the content tells none: give --rate, or write .csv or .npy"),
            (tmp_path / "a.wav", Signal(noise(), 0.01), "the content tells 0.01 Hz"),
            (tmp_path / "a.wav", Signal(np.zeros((2, 2000), np.float32), 1.0), "cannot hold 2000 channels"),
            (Path("/proc/x/a.csv"), sounds, "cannot be written")):
        with pytest.raises(UserError, match=text):
            check_output(path, like)
    check_output(tmp_path / "a.wav", sounds)
    assert list(tmp_path.iterdir()) == []


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    law = next(path for path in SCIPY_WAVS if "ulaw" in path.name)
    with pytest.raises(UserError, match=r"is a WAV file compressed as mu-law: pip install -e '.\[signals\]' brings"):
        read_signal(law)
    with pytest.raises(UserError, match=r"is sound of another kind than WAV: pip install"):
        read_signal(write(tmp_path / "a.mp3", b"ID3\4\0\0" + bytes(99)))
    with pytest.raises(UserError, match=r"a.ogg': pip install -e"):
        check_output(tmp_path / "a.ogg")


@needs_soundfile
@pytest.mark.parametrize("suffix, closeness", [(".flac", 2 ** -15), (".ogg", 0.1), (".mp3", 0.1)])
def test_other_sound_there_and_back(tmp_path: Path, suffix: str, closeness: float) -> None:
    tone = 0.5 * np.sin(np.arange(9000) * 0.05)[:, None].astype(np.float32) * np.ones((1, 2), np.float32)
    content = Signal(tone, 22050.0)
    check_output(tmp_path / f"a{suffix}", content)
    assert write_signal(tmp_path / f"a{suffix}", content) == ()
    read = read_signal(tmp_path / f"a{suffix}")
    assert read.rate_hz == 22050 and read.values.shape[1] == 2
    np.testing.assert_allclose(read.values[2000:7000], tone[2000:7000], atol=closeness)
    for channels, rate, text in ((300, 22050.0, "cannot hold 300 channels: "), (1, 1e6, "1000000 samples a second: ")):
        with pytest.raises(UserError, match=text):
            check_output(tmp_path / f"a{suffix}", Signal(noise(channels), rate))


@needs_soundfile
def test_compressed_wav_is_read_by_soundfile(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import soundfile

    for subtype in ("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"):
        soundfile.write(tmp_path / "a.wav", noise() * 0.5, 8000, subtype=subtype)
        read = read_signal(tmp_path / "a.wav")
        assert read.layout == Encoding(16)
        np.testing.assert_array_equal(read.values, soundfile.read(tmp_path / "a.wav", dtype="float32")[0])
    for data in (b"fLaC" + bytes(50), b"OggS" + bytes(50), b"\xff\xfb\x90\x64" + bytes(500)):
        with pytest.raises(UserError, match="cannot be read as sound"):
            read_signal(write(tmp_path / "a", data))
    assert capfd.readouterr() == ("", "")


def test_a_text_that_begins_like_sound_is_text(tmp_path: Path) -> None:
    assert not sound.is_sound(b"FORMAT,ID3\n1,2\n") and not sound.is_sound("ab".encode("utf-16"))
    assert read_signal(write(tmp_path / "a.csv", b"FORMAT\n1\n2\n4\n")).columns == ("FORMAT",)
