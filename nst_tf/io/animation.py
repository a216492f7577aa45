"""Frames to one animated file: .gif and .webp, which loop for ever."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nst_tf.io.encode import quantize
from nst_tf.io.files import write_atomically
from nst_tf.io.pixels import FloatImage, with_alpha

ENDINGS = (".gif", ".webp")
_OPTIONS: dict[str, dict[str, Any]] = {
    ".gif": {"format": "GIF"}, ".webp": {"format": "WEBP", "quality": 90}}


def save_animation(path: str, frames: Sequence[Path], fps: float, alpha: FloatImage | None = None) -> None:
    """Writes image files of one size as an animation, atomically; equal frames give equal bytes.

    Memory: one frame, and the file; while a .gif is made, also a byte for each pixel of each frame.

    Args:
        path: ends in one of `ENDINGS`.
        alpha: of every frame, which are over white, [H, W, 1]; a .gif has pixels that are opaque or are not there.
        fps: frames in a second, rounded to what the format can hold (.gif: hundredths of a second).
    """
    buffer = io.BytesIO()
    options = _OPTIONS[Path(path).suffix.lower()]
    if alpha is not None and options["format"] == "GIF":
        alpha = np.round(alpha)
        # Each frame begins with nothing: where it is transparent, the one before would shine through.
        options = options | {"disposal": 2}
    # Pillow makes a list of `append_images`. A list of the frames would hold all of them in memory.
    _read(frames[0], alpha).save(buffer, save_all=True, append_images=[_Film(frames[1:], alpha)],
                                 duration=round(1000 / fps), loop=0, **options)
    write_atomically(path, buffer.getvalue())


class _Film:
    """Image files as one image of many frames for Pillow, which reads one frame at a time."""

    def __init__(self, frames: Sequence[Path], alpha: FloatImage | None) -> None:
        self._frames, self._alpha = frames, alpha
        self.n_frames = len(frames)
        self._picture: Image.Image | None = None

    def seek(self, number: int) -> None:
        if number >= self.n_frames:
            raise EOFError
        self._picture = _read(self._frames[number], self._alpha)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._picture, name)


def _read(frame: Path, alpha: FloatImage | None) -> Image.Image:
    with Image.open(frame) as file:
        picture = file.convert("RGB")
    if alpha is None:
        return picture
    color = np.asarray(picture, np.float32) / np.float32(255)
    return Image.fromarray(quantize(with_alpha(color, alpha)))
