"""The run folder: its name, its lock, what it may hold. No TensorFlow."""

import contextlib
import glob
import importlib
import importlib.util
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from nst_tf.io.files import check_printable, quoted
from nst_tf.runs import checkpoint
from nst_tf.runs.record import Input
from nst_tf.vocabulary import UserError

# What the machinery writes into a run folder; --overwrite deletes these and what the recipe's row names.
# config.json, by which a folder is known as a run, is replaced whole, and the lock is held.
CONTENTS = ("flags.txt", "metrics.jsonl", checkpoint.FOLDER)
_KEPT = ("config.json", ".lock")


def run_name(run: str, logdir: str, pictures: Iterable[str]) -> str:
    """The name given, or one made of the pictures and the time.

    Raises:
        UserError: it is no name for a folder, or the folder of all runs has a name that cannot be printed.
    """
    check_printable(Path(logdir).absolute(), "--logdir")
    if run:
        if not re.fullmatch(r"\w[\w.+-]*", run):
            raise UserError(f"--run {quoted(run)} is no name for a folder: use letters, digits, '_', '-', '+', '.'")
        return run
    stems = [re.sub(r"[^\w.+-]+", "-", Path(path).stem) for path in pictures if path]
    # Names of folders are limited in bytes, and a letter may have four.
    name = "_".join(stem.encode()[:40].decode(errors="ignore") for stem in stems)
    name += time.strftime("_%Y%m%d-%H%M%S")
    taken = sum(1 for _ in Path(logdir).glob(f"{glob.escape(name)}*"))
    return f"{name}-{taken + 1}" if taken else name


@contextlib.contextmanager
def locked(folder: Path, flag: str = "--run") -> Iterator[None]:
    """Keeps a second process out of a run folder, from before its record is read to the end of the run.

    The system frees the lock when the process ends, however it ends. A folder that was made for the lock alone is
    removed again.

    Raises:
        UserError: another process holds the lock.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    was_there = (folder / ".lock").exists()
    file = _lock(folder, flag)
    try:
        yield
    finally:
        # While the lock is held: who opened the file before finds another one there, and opens that.
        if not was_there and not (folder / "config.json").exists():
            (folder / ".lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                for path in made:
                    path.rmdir()
        file.close()


def _lock(folder: Path, flag: str) -> IO[str]:
    """The locked file; opened again where another process has removed it meanwhile."""
    path = folder / ".lock"
    # Windows has no fcntl; there, two processes in one folder are not noticed.
    fcntl = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None
    while True:
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            file = open(path, "a", encoding="utf-8")
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                raise UserError(f"run '{folder.name}' is being written by another process: give another "
                                f"{flag}") from None
            try:
                is_same = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
            except FileNotFoundError:
                is_same = False
            if is_same:
                return file
            file.close()


def check_is_run_or_empty(folder: Path, contents: Sequence[str], flag: str) -> None:
    """Only a folder that is ours, or nothing, may be written to; an interrupted start leaves known names only."""
    if not folder.is_dir() or (folder / "config.json").exists():
        return
    known = {path for pattern in (*CONTENTS, *_KEPT, *contents) for path in folder.glob(pattern)}
    if set(folder.iterdir()) - known:
        raise UserError(f"{quoted(folder)} is no run folder (it has no config.json): give another {flag}")


def check_inputs_survive(folder: Path, inputs: Iterable[Input], flag: str) -> None:
    """Raises `UserError` for an input inside the folder: a start from the beginning deletes what the folder holds."""
    for item in inputs:
        if Path(os.path.realpath(folder)) in Path(os.path.realpath(item.path)).parents:
            raise UserError(f"{item.flag} {quoted(item.path)} lies in the folder of this run, which it rewrites: give "
                            f"another {flag}, or copy the file")


def remove_contents(folder: Path, contents: Sequence[str]) -> None:
    """Deletes what an older run left."""
    for pattern in (*CONTENTS, *contents):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
