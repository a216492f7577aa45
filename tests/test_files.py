"""Atomic writes, checks before the work, checksums."""

import errno
import hashlib
import os
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest

from nst_tf.io import files
from nst_tf.vocabulary import RunError, UserError


def one_line(error: pytest.ExceptionInfo[BaseException], *parts: str) -> None:
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_write_makes_folders_with_normal_permissions_and_follows_links(tmp_path: Path) -> None:
    old_mask = os.umask(0o027)
    try:
        files.write_atomically(tmp_path / "new" / "folder" / "a.bin", b"abc")
    finally:
        os.umask(old_mask)
    path = tmp_path / "new" / "folder" / "a.bin"
    assert path.read_bytes() == b"abc" and stat.S_IMODE(path.stat().st_mode) == 0o640
    (tmp_path / "link").symlink_to(path)
    files.write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("broken", ["replace", "fsync"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             broken: str, failure: BaseException) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")

    def fail(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 2
        raise failure

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(RunError if isinstance(failure, OSError) else KeyboardInterrupt) as error:
        files.write_atomically(tmp_path / "a.bin", b"new")
    if isinstance(failure, OSError):
        one_line(error, "a.bin", "No space left on device", "free some space")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"old"


@pytest.mark.parametrize("number, remedy", [
    (errno.ENOSPC, "free some space there, or choose another place"), (errno.EDQUOT, "free some space there"),
    (errno.EFBIG, "raise the limit of file sizes (ulimit -f), or"), (errno.EROFS, "choose another place, or make"),
])
def test_what_the_disk_says_and_what_helps(number: int, remedy: str) -> None:
    """TensorFlow's errors are those of the system, in its own words."""
    reason = os.strerror(number)
    for text in (f"{{{{function_node __wrapped__X}}}} /a/b; {reason}\n\tFailed to flush 1 event",
                 f"/a/b.tmp; {reason} [Op:SaveV2]"):
        error = files.could_not_be_written("a.bin", files.system_error(RuntimeError(text)))
        assert str(error).startswith(f"'a.bin' could not be written ({reason}): ")
    error = files.could_not_be_written("a.bin", files.system_error(OSError(number, reason)))
    assert str(error).startswith(f"'a.bin' could not be written ({reason}): {remedy}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open
    monkeypatch.setattr(os, "open", lambda *_: opened("/dev/full", os.O_WRONLY))
    with pytest.raises(RunError) as error:
        files.write_atomically(tmp_path / "a.bin", b"new" * 10000)
    one_line(error, "No space left on device")


def test_a_disk_that_takes_no_file_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.check_writable(tmp_path / "new" / "a.bin", "--logdir")

    def fail(dir: Path) -> None:
        assert dir == tmp_path
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with pytest.raises(UserError) as error:
        files.check_writable(tmp_path / "new" / "a.bin", "--logdir")
    one_line(error, "--logdir", "a.bin", "Read-only file system")


def test_a_file_of_another_user_in_a_folder_like_tmp_is_refused_before_the_work(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").touch()
    tmp_path.chmod(0o1777)
    files.check_writable(tmp_path / "a.png", "--output")
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    files.check_writable(tmp_path / "b.png", "--output")
    with pytest.raises(UserError) as error:
        files.check_writable(tmp_path / "a.png", "--output")
    one_line(error, "--output", "a.png", "it belongs to another user, whose files this folder protects")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the example of FIPS 180-2
    assert files.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    data = np.random.default_rng(2).bytes(3_000_001)
    (tmp_path / "long").write_bytes(data)
    assert files.sha256(tmp_path / "long") == hashlib.sha256(data).hexdigest()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"):
        files.check_writable(tmp_path / "locked" / "new" / "a.png", "--output")
    with pytest.raises(RunError, match="could not be written"):
        files.write_atomically(tmp_path / "locked" / "a.png", b"new")
