"""Video files by the package av (PyAV) of the extra `video`: frames and sound in, frames and sound out."""

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.io.files import quoted, write_atomically
from nst_tf.vocabulary import UserError

Samples = NDArray[np.uint8]  # [H, W, 3 or 4]


class Format(NamedTuple):
    """How a kind of file is written."""

    container: str
    codec: str
    options: dict[str, str]


_X264 = {"crf": "16", "preset": "medium"}
FORMATS = {".mp4": Format("mp4", "libx264", _X264), ".mov": Format("mov", "libx264", _X264),
           ".mkv": Format("matroska", "libx264", _X264),
           ".webm": Format("webm", "libvpx-vp9", {"crf": "20", "b": "0", "row-mt": "1"})}
# BT.709 of limited range, as players take files of every size.
_BT709, _LIMITED = 1, 1
_TURNS = {0: 0, 90: 1, 180: 2, -180: 2, -90: 3, 270: 3}


class Facts(NamedTuple):
    """What the header and the packets of a file say; size and times are those of what is shown."""

    size_px: tuple[int, int]
    times: tuple[Fraction, ...]  # seconds of each frame


def _av(what: str) -> Any:
    """The package; raises `UserError` where it is not installed."""
    try:
        import av
    except ImportError:
        raise UserError(f"{what} is a video file: pip install -e '.[video]' brings what reads and writes it; a folder "
                        "of frames needs nothing") from None
    # Its log is silent by default. With a level, threads of a decoder call Python, and may wait for ever.
    return av


def check_video_output(path: str, name: str) -> None:
    """Raises `UserError` where the package that writes video files is missing."""
    _av(f"{name} {quoted(path)}")


def opened_file(path: str, name: str) -> Facts:
    """What a video file has.

    Raises:
        UserError: it is none, is damaged, or has no frames; or the package is missing.
    """
    what = f"{name} {quoted(path)}"
    av = _av(what)
    try:
        first = next(decoded(path), None)
        times = _times(path) if first is not None else ()
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it has no video"
        raise UserError(f"{what} is no video, or is damaged or cut off ({reason}): get a new copy of it, or give a "
                        "folder of frames") from None
    if first is None or not times:
        raise UserError(f"{what} has no frames: give another file, or a folder of frames")
    return Facts((first.shape[1], first.shape[0]), times)


def _stream(container: Any) -> Any:
    """The video of a file; the picture of an album is none."""
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        raise ValueError("no video")
    return streams[0]


def _is_cover(stream: Any) -> bool:
    return "attached_pic" in str(stream.disposition).lower()


def _times(path: str) -> tuple[Fraction, ...]:
    av = _av(path)
    with av.open(path) as container:
        stream = _stream(container)
        stamps = [packet.dts if packet.pts is None else packet.pts for packet in container.demux(stream) if packet.size]
        if None in stamps:
            # A stream without a container, such as .h264, has frames and no times.
            return tuple(number / Fraction(stream.average_rate or 25) for number in range(len(stamps)))
        return tuple(stamp * Fraction(stream.time_base) for stamp in sorted(stamps))


def decoded(path: str) -> Iterator[Samples]:
    """The frames of a file as a player shows them: turned, with square pixels. What cannot be decoded is left out."""
    av = _av(path)
    with av.open(path) as container:
        stream = _stream(container)
        # Not "AUTO": a decoder of several frames at once may wait for ever when it is left before its end.
        stream.thread_type = "SLICE"
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                yield _samples(frame, stream.codec_context.sample_aspect_ratio or Fraction(1))


def _samples(frame: Any, pixel_aspect: Fraction) -> Samples:
    has_alpha = any(component.is_alpha for component in frame.format.components)
    samples = frame.to_ndarray(format="rgba" if has_alpha else "rgb24", width=round(frame.width * pixel_aspect),
                               height=frame.height)
    return np.ascontiguousarray(np.rot90(samples, _TURNS.get(round(frame.rotation), 0)))


def write_video(path: str, frames: Iterable[Samples], times: Sequence[Fraction], sound: str = "") -> bool:
    """Writes frames as a video file, atomically; whether it has the sound too.

    Odd sides keep their size: such a file has whole chroma, which few players lack.

    Args:
        path: ends in one of `FORMATS`.
        frames: uint8 [H, W, 3] of one size.
        times: seconds of each frame.
        sound: the file whose sound is taken as it is, up to the end of the frames; "" for none.
    """
    has_sound = False

    def write(file: BinaryIO) -> None:
        nonlocal has_sound
        has_sound = _write(file, FORMATS[Path(path).suffix.lower()], frames, times, sound)

    write_atomically(path, write)
    return has_sound


def _write(file: BinaryIO, kind: Format, frames: Iterable[Samples], times: Sequence[Fraction], sound: str) -> bool:
    av = _av("--output")
    base = Fraction(1, 90_000)
    with av.open(file, "w", format=kind.container) as container:
        stream: Any = None
        track = _Sound(container, sound)
        for samples, time in zip(frames, times):
            if stream is None:
                stream = _video_stream(container, kind, samples.shape, times, base)
            frame = av.VideoFrame.from_ndarray(samples, format="rgb24").reformat(
                format=stream.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = round(time / base), base
            track.mux_until(time)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        track.mux_until(_end(times))
        track.close()
    return track.is_there


def _video_stream(container: Any, kind: Format, shape: Sequence[int], times: Sequence[Fraction], base: Fraction) -> Any:
    height, width = shape[:2]
    stream = container.add_stream(kind.codec, rate=_rate(times), options=kind.options)
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
    context = stream.codec_context
    context.time_base = base
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    return stream


def _rate(times: Sequence[Fraction]) -> Fraction:
    """Frames in a second, on average."""
    span = times[-1] - times[0]
    return ((len(times) - 1) / span).limit_denominator(1001) if span > 0 else Fraction(25)


def _end(times: Sequence[Fraction]) -> Fraction:
    return times[-1] + 1 / _rate(times)


class _Sound:
    """The sound of a file, packet by packet into another one; nothing where there is none, or it does not take it."""

    def __init__(self, container: Any, path: str) -> None:
        av = _av(path)
        self.is_there, self._container, self._packet = False, container, None
        self._source = av.open(path) if path and os.path.isfile(path) else None
        if self._source is None or not self._source.streams.audio:
            return
        try:
            self._stream = container.add_stream_from_template(self._source.streams.audio[0])
        except (ValueError, av.error.FFmpegError):
            return
        self.is_there = True
        self._packets = self._source.demux(self._source.streams.audio[0])
        self._packet = next(self._packets, None)

    def mux_until(self, time: Fraction) -> None:
        """Writes the packets that begin before a time."""
        while self._packet is not None and (self._packet.dts is None
                                            or self._packet.pts * self._packet.time_base < time):
            if self._packet.dts is not None:
                self._packet.stream = self._stream
                self._container.mux(self._packet)
            self._packet = next(self._packets, None)

    def close(self) -> None:
        """Closes the source."""
        if self._source is not None:
            self._source.close()
