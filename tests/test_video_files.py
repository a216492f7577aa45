"""Video files: what a player shows is what is read and written. Without the extra `video` these tests are left out."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nst_tf.io.clips import open_clip
from nst_tf.io.video_files import decoded, write_video
from nst_tf.vocabulary import UserError

av: Any = pytest.importorskip("av", reason="the extra 'video' is not installed")
# Frame times of a camera that slows down.
TIMES = [Fraction(n, 100) for n in (0, 4, 8, 20, 44, 60)]


def _frames(height: int, width: int, count: int = 6) -> list[np.ndarray]:
    """Four flat quarters, each of another color, which differ from frame to frame."""
    frames = []
    for number in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:height // 2, :width // 2] = (200, 30 + 10 * number, 40)
        frame[:height // 2, width // 2:] = (20, 180, 60)
        frame[height // 2:, :width // 2] = (30, 50, 220)
        frame[height // 2:, width // 2:] = (235, 235, 16)
        frames.append(frame)
    return frames


def _middles(frame: np.ndarray) -> np.ndarray:
    """The colors of the four quarters."""
    rows, columns = frame.shape[0] // 4, frame.shape[1] // 4
    return np.array([[frame[r, c] for c in (columns, 3 * columns)] for r in (rows, 3 * rows)], int)


def _with_sound(path: Path, frames: Sequence[np.ndarray], **context: Any) -> None:
    """A file with a tone, of a color range and matrix."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = context.get("pix_fmt", "yuv420p")
        if "sample_aspect_ratio" in context:
            video.codec_context.sample_aspect_ratio = context["sample_aspect_ratio"]
        video.codec_context.color_range = context.get("color_range", 1)
        video.codec_context.colorspace = context.get("colorspace", 1)
        sound = container.add_stream("aac", rate=44_100, layout="mono")
        for frame in frames:
            whole = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format=video.pix_fmt, dst_colorspace=context.get("colorspace", 1),
                dst_color_range=context.get("color_range", 1))
            container.mux(video.encode(whole))
        container.mux(video.encode(None))
        tone = np.sin(np.arange(22_050, dtype=np.float32) / 10)[np.newaxis]
        samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        samples.sample_rate = 44_100
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_a_file_keeps_colors_times_and_sizes(ending: str, size: tuple[int, int], tmp_path: Path) -> None:
    path, frames = str(tmp_path / f"clip{ending}"), _frames(*size)
    assert not write_video(path, frames, TIMES)
    clip = open_clip(path, "--content")
    assert clip.size_px == size[::-1] and clip.length == len(frames)
    assert np.abs(np.array(clip.times, float) - np.array(TIMES, float)).max() < 1e-3
    for frame, made in zip(decoded(path), frames, strict=True):
        assert np.abs(_middles(frame) - _middles(made)).max() <= 5


@pytest.mark.parametrize("context", [{}, {"color_range": 2}, {"colorspace": 5}, {"pix_fmt": "yuv420p10le"}])
def test_range_and_matrix_of_a_file_are_obeyed(context: dict[str, Any], tmp_path: Path) -> None:
    _with_sound(tmp_path / "a.mp4", _frames(48, 64), **context)
    for frame, made in zip(decoded(str(tmp_path / "a.mp4")), _frames(48, 64), strict=True):
        assert np.abs(_middles(frame) - _middles(made)).max() <= 6


def test_pixels_are_square(tmp_path: Path) -> None:
    _with_sound(tmp_path / "a.mp4", _frames(48, 64), sample_aspect_ratio=Fraction(4, 3))
    assert open_clip(str(tmp_path / "a.mp4"), "--content").size_px == (85, 48)
    assert np.abs(_middles(next(decoded(str(tmp_path / "a.mp4")))) - _middles(_frames(48, 64)[0])).max() <= 6


def test_the_sound_is_that_of_the_content(tmp_path: Path) -> None:
    frames = _frames(48, 64, 10)
    _with_sound(tmp_path / "a.mp4", frames)
    clip = open_clip(str(tmp_path / "a.mp4"), "--content")
    assert write_video(str(tmp_path / "b.mp4"), frames, clip.times, clip.path)

    def packets(name: str) -> list[bytes]:
        with av.open(str(tmp_path / name)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    before, after = packets("a.mp4"), packets("b.mp4")
    assert after == before[:len(after)] and 0.35 < len(after) * 1024 / 44_100 < 0.5
    assert not write_video(str(tmp_path / "c.webm"), frames, clip.times, clip.path), "it has no AAC"


def test_a_file_is_turned_as_players_turn_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(str(path), _frames(48, 64), TIMES)
    upright = next(decoded(str(path)))
    one, zero, last = (number.to_bytes(4, "big") for number in (1 << 16, 0, 1 << 30))
    minus = (2 ** 32 - (1 << 16)).to_bytes(4, "big")
    still = one + zero * 3 + one + zero * 3 + last
    data = path.read_bytes()
    assert data.count(still) == 2, "of the whole film, then of its only track"
    head, tail = data.rsplit(still, 1)
    path.write_bytes(head + zero + one + zero + minus + zero * 4 + last + tail)  # a quarter clockwise
    np.testing.assert_array_equal(next(decoded(str(path))), np.rot90(upright, -1))
    assert open_clip(str(path), "--content").size_px == (48, 64)


def test_damaged_files_give_what_they_have_or_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_video(str(path), [np.random.default_rng(k).integers(0, 255, (48, 64, 3), np.uint8) for k in range(20)],
                [Fraction(k, 25) for k in range(20)])
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2])
    assert 1 <= len(list(decoded(str(path)))) < 20
    for name, content in (("b.mp4", data[:30]), ("c.mp4", b"no video at all" * 10), ("d.mp4", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="get a new copy of it") as error:
            open_clip(str(tmp_path / name), "--content")
        assert "\n" not in str(error.value)
    with av.open(str(tmp_path / "e.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(UserError, match="is no video"):
        open_clip(str(tmp_path / "e.wav"), "--content")
