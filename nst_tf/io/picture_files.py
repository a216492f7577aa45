"""The image files of one job: each is decoded once for each size that is asked for, and kept for the next who asks."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from nst_tf.io import decode
from nst_tf.io.pixels import FloatImage

Made = TypeVar("Made")


class PictureFiles:
    """What a job has read of its files. Two are equal: they say nothing of the job.

    What it returns is shared by all who ask, and cannot be written to.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def load(self, path: str, name: str, max_side_px: int) -> FloatImage:
        """The picture, as `images.load` reads it.

        Args:
            name: the flag that errors name.
        Raises:
            UserError: the file is missing, unreadable, not an image, damaged, cut off, or too large.
        """
        return self._read(path, name, max_side_px)[0]

    def load_alpha(self, path: str, name: str, max_side_px: int) -> FloatImage | None:
        """The alpha of a picture, as `images.load_alpha` reads it; None where every pixel is opaque."""
        # The header of most files says that there is none, and then nothing is decoded.
        if not self.once(("transparency", path), lambda: decode.has_transparency(path, name)):
            return None
        return self._read(path, name, max_side_px)[1]

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` made of the files at the first call with this key."""
        if key not in self._kept:
            self._kept[key] = make()
        made: Made = self._kept[key]
        return made

    def _read(self, path: str, name: str, max_side_px: int) -> tuple[FloatImage, FloatImage | None]:
        def read() -> tuple[FloatImage, FloatImage | None]:
            picture, alpha = decode.read(path, name, max_side_px)
            for array in (picture, alpha):
                if array is not None:
                    array.flags.writeable = False
            return picture, alpha

        return self.once((path, max_side_px), read)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PictureFiles)

    def __hash__(self) -> int:
        return hash(PictureFiles)
