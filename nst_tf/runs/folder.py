"""Names, makes, locks, checks and clears run folders. No TensorFlow."""

import contextlib
import errno
import itertools
import os
import re
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from nst_tf.io.files import DISK_FULL, TEMPORARY, could_not_be_written, quoted
from nst_tf.runs import checkpoint
from nst_tf.runs.recipe import Options
from nst_tf.runs.record import Input
from nst_tf.runs.session import say
from nst_tf.vocabulary import InUse, RunError, UserError

try:
    import fcntl
except ImportError:  # Windows: there, two processes in one folder are not noticed.
    fcntl = None  # type: ignore[assignment]

# The machinery writes these into a run folder. --overwrite deletes them, and what the recipe's row names.
CONTENTS = ("flags.txt", "metrics.jsonl", f"{checkpoint.FOLDER}/step_*.npz", TEMPORARY)
# Half files of a process that was killed. Only the holder of the lock writes, so that they are nobody's.
LEFTOVERS = tuple(f"{place}{TEMPORARY}" for place in ("", f"{checkpoint.FOLDER}/", "images/", "units/*/"))
# --overwrite keeps these: config.json marks the folder as a run and is replaced whole, and the lock is held.
_NOT_DELETED = ("config.json", ".lock")
# The longest name of a folder, on most disks.
_LONGEST_NAME_BYTES = 255
# So often the lock file is opened again after another process has removed it.
_LOCK_TRIES = 100
# Something else stands where the lock file or its folder shall be; other errors are those of the disk.
_IN_THE_WAY = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)


def run_options(config: Any, run_config: Any = None, **more: Any) -> Options:
    """The options of a run below `--logdir`, from those flags that the two configs have."""
    given = vars(config) | (vars(run_config) if run_config else {})
    name = run_name(given["run"], (given.get("content", ""), *given.get("style", ())[:3]))
    return Options(folder=Path(given["logdir"]) / name, is_new=not given["run"],
                   **{field: given[field] for field in Options._fields if field in given}, **more)


def run_name(run: str, pictures: Iterable[str]) -> str:
    """The name given, or one made of the pictures and the time.

    Raises:
        UserError: it is no name for a folder.
    """
    if run and not (_can_begin(run[0]) and all(map(_is_in_names, run))):
        raise UserError(f"--run {quoted(run)} is no name for a folder: use letters, digits, '_', '-', '+', '.', and "
                        "begin with a letter, a digit or '_'")
    if len(run.encode()) > _LONGEST_NAME_BYTES:
        raise UserError(f"--run {quoted(run[:40])}... is too long for the name of a folder: give at most "
                        f"{_LONGEST_NAME_BYTES} bytes (a letter has 1 to 4)")
    return run or "_".join([*filter(None, map(name_of, pictures)), time.strftime("%Y%m%d-%H%M%S")])


def name_of(path: str) -> str:
    """The name of a file as a part of that of a folder, which can begin it; empty where it has no letter or digit."""
    # A Mac writes é as two signs.
    stem = unicodedata.normalize("NFC", Path(path).stem)
    signs = itertools.dropwhile(lambda sign: not _can_begin(sign), (s if _is_in_names(s) else "-" for s in stem))
    # Names of folders are limited in bytes, and a letter may have four.
    return re.sub("-+", "-", "".join(signs)).encode()[:40].decode(errors="ignore").rstrip("-")


def _can_begin(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def _is_in_names(sign: str) -> bool:
    """Whether a sign stands in the names of runs, which shells take as they are: letters with their marks, digits."""
    is_mark = unicodedata.category(sign) in ("Mn", "Mc") and not "\ufe00" <= sign <= "\ufe0f"
    return _can_begin(sign) or sign in "-+." or is_mark


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Makes a folder that no other process has: where there is one of this name, it gets the next number.

    A folder that then is empty is removed, with those above it that were made for it.
    """
    with _without_litter(folder) as made:
        own = _make_new(folder)
        made.insert(0, own)
        yield own


@contextlib.contextmanager
def _without_litter(folder: Path) -> Iterator[list[Path]]:
    """Removes what of its list is an empty folder at the end: at first those above `folder` that are not there yet."""
    made = [path for path in folder.parents if not path.exists()]
    try:
        yield made
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _make_new(folder: Path) -> Path:
    """Makes the folder, or the first of `folder-2`, `folder-3`, … that is not there.

    Raises:
        RunError: the disk refuses.
    """
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for path in itertools.chain([folder], numbered):
            with contextlib.suppress(FileExistsError):
                path.mkdir()  # which fails where another process has just made it
                return path
        raise AssertionError("numbers have no end")
    except OSError as error:
        raise RunError(f"{quoted(folder)} could not be made ({error.strerror}): give another --logdir") from error


@contextlib.contextmanager
def locked(folder: Path, flag: str = "--run") -> Iterator[None]:
    """Makes a run folder and locks it until the run ends, so that no second process writes into it.

    The system frees the lock when the process ends, however it ends. A folder that then holds nothing but the lock is
    removed, with those folders above it that were made for it. A folder that is no run keeps no lock file.

    Raises:
        UserError: another process holds the lock, or the folder takes none.
        RunError: the disk is full.
    """
    was_there = os.path.lexists(folder / ".lock")
    with _without_litter(folder) as made:
        made.insert(0, folder)
        file = _lock(folder, flag, was_there)
        try:
            yield
        finally:
            # The file is always closed. A failed clean-up does not hide the error of the run.
            with contextlib.suppress(OSError), contextlib.closing(file):
                if fcntl is None:
                    file.close()  # Windows removes no open file.
                # Elsewhere the lock is held until the file is removed: who waits for it sees that it is another.
                held = {path.name for path in folder.iterdir()}
                if held == {".lock"} or not was_there and "config.json" not in held:
                    (folder / ".lock").unlink(missing_ok=True)


def _lock(folder: Path, flag: str, was_there: bool) -> IO[str]:
    """Opens and locks the file, again if another process has removed it meanwhile.

    Args:
        was_there: whether the file was there before this run; otherwise it goes again where it cannot be locked.
    Raises:
        UserError: another process holds the lock, or the file cannot be opened.
        RunError: the disk is full.
    """
    path, reason, remedy = folder / ".lock", "it is removed again and again", f"{flag}, or remove that file"
    for _ in range(_LOCK_TRIES):
        try:
            with contextlib.ExitStack() as opened:
                folder.mkdir(parents=True, exist_ok=True)
                file = opened.enter_context(open(path, "a", encoding="utf-8"))
                _lock_file(file, folder, flag, was_there)
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    opened.pop_all()
                    return file
        except FileNotFoundError as error:
            # Another process has just removed it, or it is a link that leads nowhere.
            reason = str(error.strerror)
        except PermissionError as error:
            # A run of that user may hold it: it is not to be removed.
            reason, remedy = f"{error.strerror}; another user may own it", f"{flag}, or make that file writable"
            break
        except OSError as error:
            if error.errno in DISK_FULL:
                raise could_not_be_written(path, error) from error
            reason = str(error.strerror)
            if error.errno not in _IN_THE_WAY:
                remedy = "--logdir" if flag == "--run" else flag
            break
    raise UserError(f"{quoted(path)} cannot be locked ({reason}): give another {remedy}")


def _lock_file(file: IO[str], folder: Path, flag: str, was_there: bool) -> None:
    """Takes the lock. Some network disks have no locks: there the run goes on, and a line says so.

    Raises:
        InUse: another process holds the lock.
        OSError: the disk refuses for another reason.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUse(f"run '{folder.name}' is being written by another process: give another {flag}") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            if not was_there:
                with contextlib.suppress(OSError):
                    os.unlink(file.name)
            raise
        say(f"nst_tf: the disk of {quoted(folder)} has no locks, and a second process is not noticed: start one at a "
            f"time with this {flag}")


def check_is_run_or_empty(folder: Path, contents: Sequence[str], flag: str) -> None:
    """Raises `UserError` for a folder that holds other things than a run. An interrupted start leaves known names."""
    if not folder.is_dir() or (folder / "config.json").exists():
        return
    known = {path.name for pattern in (*CONTENTS, *_NOT_DELETED, *contents)
             for path in folder.glob(pattern.partition("/")[0])}
    if any(path.name not in known for path in folder.iterdir()):
        raise UserError(f"{quoted(folder)} is no run folder (it has no config.json): give another {flag}")


def check_inputs_survive(folder: Path, inputs: Iterable[Input], flag: str) -> None:
    """Raises `UserError` for an input inside the folder, whose contents a new start deletes."""
    for item in inputs:
        if Path(os.path.realpath(folder)) in Path(os.path.realpath(item.path)).parents:
            raise UserError(f"{item.flag} {quoted(item.path)} lies in the folder of this run, which it rewrites: give "
                            f"another {flag}, or copy the file")


def remove_files(folder: Path, patterns: Iterable[str]) -> None:
    """Deletes files that runs write, and folders that are empty then. What else lies in the folder stays."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()
        place, slash, _ = pattern.partition("/")
        if slash:
            with contextlib.suppress(OSError):
                (folder / place).rmdir()
