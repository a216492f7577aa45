"""Files as bytes: checks before any long work, atomic writes, checksums."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from nst_tf.vocabulary import RunError, UserError, quoted as quoted

# The files of `write_atomically` until they are whole. Only a process that was killed leaves them behind.
TEMPORARY = f".{'[0-9a-f]' * 16}.tmp"
# A disk, a quota or a limit is reached.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def check_readable(path: str | os.PathLike[str], name: str) -> None:
    """Raises `UserError`, naming the flag `name`, unless `path` is a regular, readable file that is not empty."""
    what = f"{name} {quoted(path)}"
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            open(path, "rb").close()
    except FileNotFoundError as error:
        raise UserError(f"{what} does not exist: check the path") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{what} cannot be read ({_reason(error)}): name a file that you may read") from error
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{what} is a folder: name one file")
    # Files are read more than once (check, decode, checksum), which a pipe does not survive.
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{what} is a pipe or device: name a regular file")
    if status.st_size == 0:
        raise UserError(f"{what} is empty (0 bytes): get a new copy of it")


def check_writable(path: str | os.PathLike[str], name: str, inside: str = "") -> None:
    """Raises `UserError`, naming the flag `name`, unless `write_atomically(path, …)` can work; leaves no trace.

    Missing folders are not made: the nearest existing one must take a temporary file (permission bits alone do not
    tell of read-only disks, quotas or access lists).

    Args:
        inside: a file that is written, where `path` is its folder.
    """
    try:
        target = Path(os.path.realpath(Path(path) / inside))
        if target.is_dir():
            raise IsADirectoryError(f"{inside or 'it'} is a folder")
        folder = next(parent for parent in target.parents if os.path.lexists(parent))
        if not folder.is_dir():
            raise NotADirectoryError(f"{quoted(folder)} is no folder")
        for part in target.relative_to(folder).parts:
            # A lookup that fails for any reason but absence (a name too long for the disk) fails the write too.
            with contextlib.suppress(FileNotFoundError):
                os.lstat(folder / part)
        tempfile.TemporaryFile(dir=folder).close()
        if os.path.lexists(target) and _is_protected(target):
            raise PermissionError("it belongs to another user, whose files this folder protects")
    except (OSError, ValueError) as error:
        raise UserError(f"{name} {quoted(path)} cannot be written ({_reason(error)}): name "
                        f"{'' if inside else 'a file in '}a folder that you may write to") from error


def _is_protected(path: Path) -> bool:
    """Whether its folder, such as /tmp, lets nobody but the owner replace this file."""
    folder = path.parent.stat()
    return bool(folder.st_mode & stat.S_ISVTX and hasattr(os, "geteuid")
                and os.geteuid() not in (0, folder.st_uid, path.stat().st_uid))


def write_atomically(path: str | os.PathLike[str], data: bytes | Callable[[BinaryIO], None]) -> None:
    """Writes `data`, or what it writes into an open file, to `path`, whole or not at all; missing folders are made.

    A reader, or a run that resumes after a crash at any instant, finds the old file or the new one. A symbolic link
    is followed: the file that it names is replaced, not the link.

    Raises:
        RunError: the disk is full or refuses; the old file is intact and no temporary file is left.
    """
    target = Path(os.path.realpath(path))
    # Not tempfile.mkstemp: its files are 0600 forever, while mode 0666 below is narrowed by the user's umask.
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                if callable(data):
                    data(file)
                else:
                    file.write(data)
                file.flush()
                # Without it a crash of the machine may leave the new name on an empty file.
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise could_not_be_written(path, error) from error


def could_not_be_written(path: str | os.PathLike[str], error: OSError) -> RunError:
    """The error of a disk that refuses a file: its reason, and what helps against it."""
    return RunError(f"{quoted(path)} could not be written ({_reason(error)}): {disk_remedy(error)}")


def system_error(error: Exception) -> OSError:
    """The error of a disk inside an error of TensorFlow, whose text is `{{node}} path; reason [Op:name]`, or itself."""
    if isinstance(error, OSError):
        return error
    text = getattr(error, "message", str(error)).strip().partition("\n")[0].rpartition("; ")[2].partition(" [Op:")[0]
    return OSError({os.strerror(number): number for number in DISK_FULL}.get(text), text[:100])


def disk_remedy(error: OSError) -> str:
    """What helps against an error of the disk."""
    if error.errno == errno.EFBIG:
        return "raise the limit of file sizes (ulimit -f), or choose another place"
    if error.errno in DISK_FULL:
        return "free some space there, or choose another place"
    return "choose another place, or make this one writable"


def sha256_of_folder(path: str | os.PathLike[str]) -> str:
    """The SHA-256 checksum of every file of a folder, with its place in it; where the folder lies does not count."""
    files = sorted((file.relative_to(path).as_posix(), file) for file in Path(path).rglob("*") if file.is_file())
    lines = [f"{sha256(file)}  {name}\n" for name, file in files]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 checksum of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
