"""What a batch has finished, one line a picture, so that the same command does nothing twice. No TensorFlow."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from nst_tf.io.files import could_not_be_written, sha256
from nst_tf.recipes.batch.driver import Outcome
from nst_tf.recipes.batch.tasks import Task

NAME = "done.jsonl"


class Journal:
    """`done.jsonl` of a batch: the run of each finished task and the checksum of its picture.

    Args:
        is_new: forgets what the file holds.
    """

    def __init__(self, folder: Path, is_new: bool) -> None:
        self._folder, self._path = folder, folder / NAME
        if is_new:
            self._path.unlink(missing_ok=True)
        self._known = _read(self._path)
        # A line that a kill or a full disk has cut does not take the next one with it.
        self._begin = "" if _ends_whole(self._path) else "\n"

    def found(self, task: Task) -> Outcome | None:
        """The outcome of a task that an earlier call finished and whose picture is untouched; None for others."""
        row = self._known.get(task.name)
        path = self._picture(task)
        if row is None or row["picture"] != str(path):
            return None
        with contextlib.suppress(OSError):
            if sha256(path) == row["sha256"]:
                return Outcome(0, seconds=row["seconds"])
        return None

    def note(self, task: Task, outcome: Outcome) -> None:
        """Adds a line for a finished task."""
        if outcome.status:
            return
        path = self._picture(task)
        try:
            row = {"run": task.name, "picture": str(path), "sha256": sha256(path),
                   "seconds": round(outcome.seconds, 2)}
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(f"{self._begin}{json.dumps(row, ensure_ascii=False)}\n")
            self._begin = ""
        except OSError as error:
            raise could_not_be_written(self._path, error) from error

    def _picture(self, task: Task) -> Path:
        return Path(task.run_config.output or self._folder / task.name / "output.png").absolute()


def _ends_whole(path: Path) -> bool:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
    return True


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """{run: its last line}; a line that a kill has cut counts for nothing."""
    known = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, LookupError, TypeError):
                row = json.loads(line)
                known[row["run"]] = {"picture": row["picture"], "sha256": row["sha256"], "seconds": row["seconds"]}
    return known
