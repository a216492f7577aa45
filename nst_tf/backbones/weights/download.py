"""Weights in Keras' cache: looked up, and downloaded where they are missing. A file that is there is never touched.

Keras, and so TensorFlow, is imported only for a download.
"""

import contextlib
import errno
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from nst_tf.backbones.weights.sources import WeightsError, ended_by_signals, keras_home
from nst_tf.io.files import DISK_FULL, could_not_be_written, quoted


class KerasFile(NamedTuple):
    """A file of ImageNet weights on Keras' server."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """Its name in the cache."""
        return self.url.rpartition("/")[2]

    @property
    def cached(self) -> Path | None:
        """Where it is in the cache, whole or not; None where it is missing."""
        return next((path for path in self.places if path.exists()), None)

    @property
    def places(self) -> list[Path]:
        """Where Keras looks for it, and puts it, first the usual place."""
        return [folder / self.name for folder in _folders()]

    @property
    def is_right(self) -> bool:
        """Whether the file in the cache is the one that Keras knows."""
        with contextlib.suppress(OSError):
            return self.cached is not None and _md5(self.cached) == self.md5
        return False


# {backbone: (folder on Keras' server, MD5 of the file without and with the classifier)}.
_SUMS = {
    "vgg19": ("vgg19", "253f8cb515780f3b799900260a226db6", "cbe5617147190e668d6c5d5026f83318"),
    "vgg16": ("vgg16", "6d6bbae143d832006294945121d1f1fc", "64373286793e3c8b2b4e3219cbf3544b"),
    "resnet50": ("resnet", "4d473c1dd8becc155b73f8504c6f6626", "2cb95161c43110f7111970584f804107"),
    "inception_v3": ("inception_v3", "bcbd6486424b2319ff4ef7d526e38f63", "9a0d58056eeedaa3f26cb7ebd46da564"),
}
# {(backbone, whether it has the classifier): the file}.
KERAS_FILES = {
    (row, has_classifier): KerasFile(
        f"https://storage.googleapis.com/tensorflow/keras-applications/{folder}/"
        f"{row}_weights_tf_dim_ordering_tf_kernels{'' if has_classifier else '_notop'}.h5", sums[has_classifier])
    for row, (folder, *sums) in _SUMS.items() for has_classifier in (False, True)}


def keras_weights(row: str, has_classifier: bool) -> str:
    """The path of the ImageNet weights of a network in Keras' cache, downloaded where they are missing."""
    with contextlib.redirect_stdout(sys.stderr):
        return cached_weights(
            f"the weights 'imagenet' of {row}", KERAS_FILES[row, has_classifier],
            "give its place with --weights=PATH, or use --backbone=kmeans, which needs no download")


def cached_weights(what: str, file: KerasFile, flags: str) -> str:
    """The path of a file in Keras' cache, downloaded where it is missing.

    `keras.utils.get_file` deletes a file with another checksum, perhaps the user's own, before it has a better one. So
    it downloads into a new folder, and the whole file is moved to its place.

    Args:
        what: names the weights.
        flags: says by which flags weights can be had elsewhere.
    Raises:
        WeightsError: the file has another checksum, or it cannot be downloaded.
        RunError: the disk refuses.
    """
    found = file.cached
    if found:
        _check_sum(found, file.md5, flags)
        return str(found)
    import keras

    folder = _writable(_folders())
    path = folder / file.name
    try:
        with ended_by_signals(), tempfile.TemporaryDirectory(dir=folder) as temporary:
            whole = keras.utils.get_file(file.name, file.url, cache_subdir=temporary, file_hash=file.md5)
            os.replace(whole, path)
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (*DISK_FULL, errno.EROFS, errno.EIO):
            raise could_not_be_written(path, error) from error
        reason = " ".join(str(error).rpartition(" -- ")[2].split())
        raise WeightsError(
            f"{what} could not be downloaded ({reason})", f"put {file.name} into {folder}", flags) from None
    return str(path)


def _folders() -> list[Path]:
    """Where Keras keeps weights, and where it keeps them when there is no home that it can write to."""
    homes = (keras_home(), Path(tempfile.gettempdir()) / ".keras")
    return [home / "models" for home in homes if home]


def _writable(folders: list[Path]) -> Path:
    """The first folder that takes files; the last one where none does."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            return folder
    return folders[-1]


def _check_sum(path: Path, md5: str, flags: str) -> None:
    """Raises `WeightsError` unless the file is the one that Keras knows."""
    try:
        found = _md5(path)
    except OSError as error:
        raise WeightsError(
            f"{quoted(path)} cannot be read ({error.strerror})", "make it readable", flags) from None
    if found != md5:
        raise WeightsError(f"{quoted(path)} is not the file that Keras downloads (MD5 {found}, not {md5}), so it is "
                           "cut off or your own", "move it away", flags)


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
