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

    Args:
        path: ends in one of `ENDINGS`.
        fps: frames in a second, rounded to what the format can hold (.gif: hundredths of a second).
    """
    buffer = io.BytesIO()
    pictures = [Image.open(frame).convert("RGB") for frame in frames]
    pictures[0].save(buffer, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0,
                     **_OPTIONS[Path(path).suffix.lower()])
    write_atomically(path, buffer.getvalue())
