"""The files of a run that people read: rows of losses and pictures."""

import json
import math
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from nst_tf.io import images
from nst_tf.io.files import could_not_be_written, write_atomically
from nst_tf.runs.progress import Failure, Interval, Progress


class Speed:
    """Steps per second between rows. The first step of a stage is not counted, since it compiles."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._step, self._time = 0, math.nan

    def between_rows(self, progress: Progress) -> float | None:
        """Steps per second since the last row, or None when a compilation or a way back lies between."""
        time = self._now()
        elapsed, steps = time - self._time, progress.step - self._step
        self._step, self._time = progress.step, time
        return steps / elapsed if progress.stage_step > 1 and elapsed > 0 and steps > 0 else None


class MetricsFile:
    """Appends one JSON object a logged step to `metrics.jsonl`. A resume drops the rows after its checkpoint."""

    def __init__(self, path: Path, log_every: int, now: Callable[[], float], resumed_step: int = 0) -> None:
        self._path, self._log_every, self._now = path, log_every, now
        rows = [row for row in read_rows(path) if row["step"] <= resumed_step]
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._start = now() - (rows[-1]["seconds"] if rows else 0.0)
        self._speed = Speed(now)

    def __call__(self, progress: Progress) -> None:
        if progress.is_logged(self._log_every):
            # `loss/style` is `style` in a row, `dream/excitation` is `excitation`.
            self._append(progress, {tag.rpartition("/")[2]: float(loss) for tag, loss in progress.losses.items()})

    def go_back(self, progress: Progress, failure: Failure) -> None:
        """Appends a row that tells of a step that failed, and of the step that the run has gone back to."""
        self._append(progress, {"failed_step": failure.step, "not_finite": failure.what, "rate_share": failure.share})

    def _append(self, progress: Progress, values: dict[str, Any]) -> None:
        row = self._row(progress, values)
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise could_not_be_written(self._path, error) from error

    def _row(self, progress: Progress, values: dict[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {"step": progress.step, "stage": progress.stage}
        if len(progress.size) == 2:
            row |= {"width": progress.size[1], "height": progress.size[0]}
        measured = {"seconds": self._now() - self._start, "steps_per_second": self._speed.between_rows(progress),
                    "peak_memory_mb": peak_memory_mb()}
        return row | values | {name: round(value, 3) for name, value in measured.items() if value is not None}


def snapshot_name(step: int) -> str:
    """The file of a kept picture in the run folder."""
    return f"images/step_{step:06d}.png"


def missed_snapshots(folder: Path, kept_steps: Collection[int], done: int, total: int) -> list[int]:
    """The steps whose picture is not there and never comes, in a run that has done `done` of `total` steps."""
    return [step for step in kept_steps
            if step > total or step <= done and not (folder / snapshot_name(step)).exists()]


class PictureTracker:
    """Keeps the picture of chosen steps as `images/step_000100.png`, and shows the picture so far as `output.png`.

    `output.png` is written after the first step, at the end of each stage and now and then. The last stage ends with
    the result itself.
    """

    def __init__(self, folder: Path, kept_steps: Collection[int], interval_seconds: float, now: Callable[[], float],
                 text: Mapping[str, str]) -> None:
        self._folder, self._kept_steps, self._text = folder, frozenset(kept_steps), text
        self._interval = Interval(interval_seconds, now)

    def __call__(self, progress: Progress) -> None:
        shown = self._folder / "output.png"
        if progress.step in self._kept_steps:
            self._save(self._folder / snapshot_name(progress.step), progress)
        if self._interval.is_due() or progress.ends_stage and not progress.is_last or not shown.exists():
            with self._interval.measured():
                self._save(shown, progress)

    def go_back(self, progress: Progress, failure: Failure) -> None:
        """Shows the picture that the run has gone back to."""
        self._save(self._folder / "output.png", progress)

    def _save(self, path: Path, progress: Progress) -> None:
        images.save(path, progress.read(), text=self._text)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a `metrics.jsonl` up to the first damaged one. A crash may have cut off the last row."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
            rows.append({**row, "step": int(row["step"]), "seconds": float(row["seconds"])})
        except (ValueError, TypeError, KeyError):
            break
    return rows


def peak_memory_mb() -> float | None:
    """The largest resident memory of this process so far; None on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
