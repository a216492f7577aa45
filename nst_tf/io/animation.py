"""Frames to one animated file: .gif and .webp, which loop for ever."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from nst_tf.io.files import write_atomically

ENDINGS = (".gif", ".webp")
_OPTIONS: dict[str, dict[str, Any]] = {
    ".gif": {"format": "GIF"}, ".webp": {"format": "WEBP", "quality": 90}}


def save_animation(path: str, frames: Sequence[Path], fps: float) -> None:
    """Writes image files of one size as an animation, atomically; equal frames give equal bytes.

    Memory: one frame, and the file; while a .gif is made, also a byte for each pixel of each frame.

    Args:
        path: ends in one of `ENDINGS`.
        fps: frames in a second, rounded to what the format can hold (.gif: hundredths of a second).
    """
    buffer = io.BytesIO()
    options = _OPTIONS[Path(path).suffix.lower()]
    # Pillow makes a list of `append_images`. A list of the frames would hold all of them in memory.
    _read(frames[0]).save(buffer, save_all=True, append_images=[_Film(frames[1:])], duration=round(1000 / fps), loop=0,
                          **options)
    write_atomically(path, buffer.getvalue())


class _Film:
    """Image files as one image of many frames for Pillow, which reads one frame at a time."""

    def __init__(self, frames: Sequence[Path]) -> None:
        self._frames = frames
        self.n_frames = len(frames)
        self._picture: Image.Image | None = None

    def seek(self, number: int) -> None:
        if number >= self.n_frames:
            raise EOFError
        self._picture = _read(self._frames[number])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._picture, name)


def _read(frame: Path) -> Image.Image:
    with Image.open(frame) as picture:
        return picture.convert("RGB")
