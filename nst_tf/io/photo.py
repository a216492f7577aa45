"""A decoded picture in few bytes: the samples of its file, as floats only where they are read. NumPy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_tf.io.pixels import FloatImage, over_white
from nst_tf.strips import filled

_WHITE = {"uint8": 255, "uint16": 65535}


class Photo:
    """sRGB [H, W, 3] in [0, 1] over white, float32 where it is read: `photo[a:b]`, `photo[a:b, c:d]`, `photo[..., c]`.

    `np.asarray` reads all of it, into an array of its own.
    """

    def __init__(self, color: NDArray[Any], alpha: NDArray[Any] | None = None) -> None:
        """Color [H, W, 3] and alpha [H, W, 1] of one kind: 8 or 16 bits as in a file, or float32 with the color over
        white already."""
        self.shape = color.shape
        self.alpha = alpha if alpha is None else Alpha(alpha)
        self._color = color.view()
        self._color.flags.writeable = False  # floats are read as they are

    def __getitem__(self, index: Any) -> FloatImage:
        color = _unit(self._color[index])
        if self.alpha is None or self._color.dtype == np.float32:
            return color
        is_channel = isinstance(index, tuple) and index[0] is Ellipsis and isinstance(index[1], int)
        place = slice(None) if isinstance(index, tuple) and index[0] is Ellipsis else index
        alpha = self.alpha[place]
        return over_white(color, alpha[..., 0] if is_channel else alpha)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return filled(self, dtype or np.float32)


class Alpha:
    """How opaque each pixel is, float32 [H, W, 1] in [0, 1] where it is read, as a `Photo`."""

    def __init__(self, samples: NDArray[Any]) -> None:
        self.shape = samples.shape
        self._samples = samples

    def __getitem__(self, index: Any) -> FloatImage:
        return _unit(self._samples[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return filled(self, dtype or np.float32)


def _unit(samples: NDArray[Any]) -> FloatImage:
    """Samples as float32 in [0, 1]; floats as they are."""
    white = _WHITE.get(samples.dtype.name)
    return samples if white is None else samples.astype(np.float32) / np.float32(white)
