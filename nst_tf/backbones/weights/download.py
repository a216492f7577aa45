"""Weights in Keras' cache: looked up, and downloaded where they are missing. A file that is there is never touched."""

import contextlib
import errno
import hashlib
import os
import tempfile
from pathlib import Path

import keras

from nst_tf.backbones.weights.sources import keras_home
from nst_tf.io.files import DISK_FULL, could_not_be_written, quoted
from nst_tf.vocabulary import UserError


def cached_weights(what: str, url: str, md5: str, remedy: str) -> str:
    """The path of a file in Keras' cache, downloaded from `url` where it is missing.

    `keras.utils.get_file` deletes a file with another checksum, perhaps the user's own, before it has a better one. So
    it downloads into a new folder, and the whole file is moved to its place.

    Args:
        what: names the weights.
        remedy: says how else the weights can be had.
    Raises:
        UserError: the file has another checksum, or it cannot be downloaded.
        RunError: the disk refuses.
    """
    name = url.rpartition("/")[2]
    for path in (folder / name for folder in _folders()):
        if path.exists():
            _check_sum(path, md5, remedy)
            return str(path)
    folder = _writable(_folders())
    path = folder / name
    try:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            os.replace(keras.utils.get_file(name, url, cache_subdir=temporary, file_hash=md5), path)
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (*DISK_FULL, errno.EROFS, errno.EIO):
            raise could_not_be_written(path, error) from error
        reason = " ".join(str(error).rpartition(" -- ")[2].split())
        raise UserError(f"{what} could not be downloaded ({reason}): put {name} into {folder}, or {remedy}") from None
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


def _check_sum(path: Path, md5: str, remedy: str) -> None:
    """Raises `UserError` unless the file is the one that Keras knows."""
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise UserError(f"{quoted(path)} cannot be read ({error.strerror}): make it readable, or {remedy}") from None
    if found != md5:
        raise UserError(f"{quoted(path)} is not the file that Keras downloads (MD5 {found}, not {md5}), so it is cut "
                        f"off or your own: move it away, or {remedy}")
