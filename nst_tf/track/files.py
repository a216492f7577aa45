"""The files of a run that people read: rows of losses, kept pictures."""

import json
import math
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from nst_tf.io import images
from nst_tf.io.files import write_atomically
from nst_tf.optimize.state import Progress
from nst_tf.track.cadence import is_logged
from nst_tf.vocabulary import RunError


class Speed:
    """Steps per second between rows; the first step of a stage, which compiles, is not counted."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._step, self._time = 0, math.nan

    def between_rows(self, progress: Progress) -> float | None:
        """Steps per second since the last row, or None when a compilation lies between."""
        state, time = progress.state, self._now()
        elapsed, steps = time - self._time, state.step - self._step
        self._step, self._time = state.step, time
        return steps / elapsed if state.stage_step > 1 and elapsed > 0 else None


class MetricsFile:
    """Appends one JSON object a logged step to `metrics.jsonl`; a resume drops the rows after its checkpoint."""

    def __init__(self, path: Path, log_every: int, now: Callable[[], float], resumed_step: int = 0) -> None:
        self._path, self._log_every, self._now = path, log_every, now
        rows = [row for row in read_rows(path) if row["step"] <= resumed_step]
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._start = now() - (rows[-1]["seconds"] if rows else 0.0)
        self._speed = Speed(now)

    def __call__(self, progress: Progress) -> None:
        if not is_logged(progress, self._log_every):
            return
        total = float(progress.losses["loss/total"])
        if not math.isfinite(total):
            raise RunError(f"the loss is {total} at step {progress.state.step}: lower --learning_rate")
        row = self._row(progress)
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise RunError(f"'{self._path}' could not be written ({error.strerror}): free some space") from error

    def _row(self, progress: Progress) -> dict[str, Any]:
        state = progress.state
        height, width = state.average.shape[1:3]
        row = {"step": state.step, "stage": state.stage, "width": width, "height": height}
        row |= {tag.removeprefix("loss/"): float(loss) for tag, loss in progress.losses.items()
                if tag.startswith("loss/")}
        measured = {"seconds": self._now() - self._start, "steps_per_second": self._speed.between_rows(progress),
                    "peak_memory_mb": peak_memory_mb()}
        return row | {name: round(value, 3) for name, value in measured.items() if value is not None}


class SnapshotFiles:
    """Keeps the picture of chosen steps as `images/step_000100.png`."""

    def __init__(self, folder: Path, steps: Collection[int], text: Mapping[str, str]) -> None:
        self._folder, self._steps, self._text = folder, frozenset(steps), text

    def __call__(self, progress: Progress) -> None:
        if progress.state.step in self._steps:
            path = self._folder / f"step_{progress.state.step:06d}.png"
            images.save(path, progress.picture(), text=self._text)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, up to the first that is damaged: a crash may have cut off the last."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
            rows.append({**row, "step": int(row["step"]), "seconds": float(row["seconds"])})
        except (ValueError, TypeError, KeyError):
            break
    return rows


def peak_memory_mb() -> float | None:
    """The largest resident memory of this process so far; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
