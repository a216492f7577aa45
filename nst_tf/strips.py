"""Pictures in strips of rows: of a large one, few rows at a time are in memory as floats. NumPy only.

A picture is read by rows here: `picture[a:b]` is float32 [b − a, *space, C], and `picture.shape` is known. An array is
one, and so is `Rows`, whose rows are made when they are read.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# In a strip; a float copy of it has 12 MB.
STRIP_PIXELS = 2 ** 20


class Picture(Protocol):
    """What can be read by rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[H, *space, C]."""

    def __getitem__(self, rows: Any, /) -> Any:
        """The rows of a slice, as an array."""


class Rows:
    """A picture whose rows are made when they are read; `np.asarray` makes all of them."""

    def __init__(self, shape: Sequence[int], read: Callable[[slice], NDArray[Any]]) -> None:
        self.shape = tuple(shape)
        self._read = read

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        begin, end, _ = rows.indices(self.shape[0])
        return self._read(slice(begin, end))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return filled(self, dtype or np.float32)


def strips(shape: Sequence[int]) -> Iterator[slice]:
    """The rows of a picture of this shape as slices of about `STRIP_PIXELS` pixels, from the first on."""
    rows = max(1, STRIP_PIXELS // max(1, int(np.prod(shape[1:-1]))))
    for begin in range(0, shape[0], rows):
        yield slice(begin, min(begin + rows, shape[0]))


def filled(picture: Picture, dtype: Any = np.float32) -> NDArray[Any]:
    """All rows of a picture, in an array of its own."""
    whole = np.empty(picture.shape, dtype)
    for rows in strips(picture.shape):
        whole[rows] = picture[rows]
    return whole


def by_rows(function: Callable[..., NDArray[Any]], *pictures: Picture, channels: int | None = None) -> Rows:
    """A function of pictures of one size, each pixel of which needs the same pixel of those alone.

    Args:
        function: the same rows of each picture → those of the result.
        channels: of the result; as many as the first picture has by default.
    """
    *sides, own = pictures[0].shape
    return Rows((*sides, channels or own), lambda rows: function(*(picture[rows] for picture in pictures)))
