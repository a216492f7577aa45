"""The image files of one job: each is decoded once for each size that is asked for, and kept for the next who asks."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from nst_tf.io import decode
from nst_tf.io.resampling import FloatImage

Made = TypeVar("Made")


class PictureFiles:
    """What a job has read of its files. Two are equal: they say nothing of the job.

    What it returns is shared by all who ask: change none of it.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def load(self, path: str, name: str, max_side_px: int) -> FloatImage:
        """The picture, as `images.load` reads it.

        Raises:
            UserError: the file is missing, unreadable, not an image, damaged, cut off, or too large.
        """
        return self._read(path, name, max_side_px)[0]

    def load_alpha(self, path: str, name: str, max_side_px: int) -> FloatImage | None:
        """The alpha of a picture, as `images.load_alpha` reads it; None where every pixel is opaque."""
        return self._read(path, name, max_side_px)[1]

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` made of the files at the first call with this key."""
        if key not in self._kept:
            self._kept[key] = make()
        made: Made = self._kept[key]
        return made

    def _read(self, path: str, name: str, max_side_px: int) -> tuple[FloatImage, FloatImage | None]:
        return self.once((path, max_side_px), lambda: decode.read(path, name, max_side_px))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PictureFiles)

    def __hash__(self) -> int:
        return hash(PictureFiles)
