"""The image files of one job: each is decoded once for each size, and kept."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from nst_tf.io import decode
from nst_tf.io.photo import Alpha, Photo

Value = TypeVar("Value")


class PictureFiles:
    """The decoded files of a job. Its pictures are shared, and read-only.

    All instances are equal, so that plans compare by what they say.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def load(self, path: str, name: str, max_side_px: int) -> Photo:
        """The picture, as `images.load` reads it.

        Args:
            name: the flag that errors name.
        Raises:
            UserError: the file is missing, unreadable, not an image, damaged, cut off, or too large.
        """
        return self.once((path, max_side_px), lambda: decode.read(path, name, max_side_px))

    def size_px(self, path: str, name: str) -> tuple[int, int]:
        """(width, height) of the picture, from its header; raises `UserError` as `load` does."""
        return decode.size_px(path, name)

    def load_alpha(self, path: str, name: str, max_side_px: int) -> Alpha | None:
        """The alpha of a picture at the size of `load`, [H, W, 1], 1 = opaque; None where every pixel is opaque."""
        # The header of most files says that there is none, and then nothing is decoded.
        if not self.once(("transparency", path), lambda: decode.has_transparency(path, name)):
            return None
        return self.load(path, name, max_side_px).alpha

    def once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What `make` returned at the first call with this key."""
        if key not in self._kept:
            self._kept[key] = make()
        value: Value = self._kept[key]
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PictureFiles)

    def __hash__(self) -> int:
        return hash(PictureFiles)
