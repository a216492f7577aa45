"""What became of the pictures of a batch: report.json for programs, report.html with thumbnails for people."""

import contextlib
import io
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from nst_tf.io.files import write_atomically
from nst_tf.recipes.batch.driver import Outcome
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.page import render
from nst_tf.vocabulary import RunError

PAGE = Path(__file__).with_name("page.html")
THUMBNAIL_PX = 200
# A browser shows so many pictures at once; report.json has all.
PAGE_ROWS = 5_000
# The report is written anew so often, in seconds, but takes no more than this share of the time.
WRITTEN_EVERY, WRITING_SHARE = 30.0, 0.02


class Report:
    """The rows of a batch, in the order in which its pictures were made."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._now = folder, now
        self._due = now() + WRITTEN_EVERY
        self._rows: list[dict[str, Any]] = []
        self.found = 0

    @property
    def path(self) -> Path:
        """The page."""
        return self._folder / "report.html"

    @property
    def made(self) -> int:
        """How many pictures this call made."""
        return len(self._rows) - len(self.failed) - self.found

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows of the tasks that were given up."""
        return [row for row in self._rows if row["status"]]

    @property
    def reasons(self) -> list[str]:
        """A line for each reason for which tasks were given up."""
        sources = defaultdict[str, list[str]](list)
        for row in self.failed:
            sources[row["line"]].append(row["source"])
        return [f"failed: {first}{f' and {len(more)} more' * bool(more)}: {line}"
                for line, (first, *more) in sources.items()]

    def add(self, task: Task, outcome: Outcome, was_there: bool = False) -> None:
        """Adds a task, and a thumbnail of its picture."""
        config = task.config
        self.found += was_there
        self._rows.append({
            "run": task.name, "source": task.source, "content": config.content, "style": list(config.style),
            "styles": ", ".join(Path(path).name for path in config.style),
            "output": task.run_config.output, "status": outcome.status, "line": outcome.line,
            "seconds": round(outcome.seconds, 2), "attempts": outcome.attempts, "was_there": was_there,
            "thumbnail": "" if outcome.status else thumbnail(self._folder, task.name)})

    def write_when_due(self) -> None:
        """Writes both files anew where that has not been done for a while."""
        if (begun := self._now()) >= self._due:
            self.write()
            ended = self._now()
            self._due = ended + max(WRITTEN_EVERY, (ended - begun) / WRITING_SHARE)

    def write(self) -> None:
        """Writes both files anew."""
        failed, sound = self.failed, [row for row in self._rows if not row["status"]]
        counts = {"made": self.made, "found": self.found, "failed": len(failed)}
        # A row a line: json is slow to indent.
        rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in self._rows)
        data = f'{json.dumps(counts)[:-1]}, "pictures": [\n{rows}\n]}}\n'
        write_atomically(self._folder / "report.json", data.encode())
        left_out = len(self._rows) - len(failed[-PAGE_ROWS:]) - len(sound[-PAGE_ROWS:])
        html = render(PAGE, title=self._folder.name, counts=counts, failed=failed[-PAGE_ROWS:],
                      rows=sound[-PAGE_ROWS:], left_out=left_out, side_px=THUMBNAIL_PX)
        write_atomically(self.path, html.encode())


def thumbnail(folder: Path, run: str) -> str:
    """The file of a small picture of a run below the folder; "" where the picture cannot be read."""
    name = f"thumbnails/{run}.jpg"
    picture, path = folder / run / "output.png", folder / name
    with contextlib.suppress(OSError, ValueError, RunError):
        if not path.exists() or os.path.getmtime(path) < os.path.getmtime(picture):
            small = io.BytesIO()
            with Image.open(picture) as image:
                image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
                image.convert("RGB").save(small, "JPEG", quality=85)
            write_atomically(path, small.getvalue())
        return name
    return ""
