"""What became of the pictures of a batch: report.json for programs, report.html with thumbnails for people."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

from nst_tf.io.files import write_atomically
from nst_tf.recipes.batch.driver import Outcome
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.page import render

PAGE = Path(__file__).with_name("page.html")
THUMBNAIL_PX = 200


class Report:
    """The rows of a batch, in the order in which its pictures were made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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

    def write(self) -> None:
        """Writes both files anew."""
        counts = {"made": self.made, "found": self.found, "failed": len(self.failed)}
        data = json.dumps({**counts, "pictures": self._rows}, indent=2, ensure_ascii=False)
        write_atomically(self._folder / "report.json", f"{data}\n".encode())
        html = render(PAGE, title=self._folder.name, counts=counts, rows=self._rows, side_px=THUMBNAIL_PX)
        write_atomically(self.path, html.encode())


def thumbnail(folder: Path, run: str) -> str:
    """The file of a small picture of a run below the folder; "" where the picture cannot be read."""
    name = f"thumbnails/{run}.jpg"
    picture, path = folder / run / "output.png", folder / name
    with contextlib.suppress(OSError, ValueError):
        if not path.exists() or os.path.getmtime(path) < os.path.getmtime(picture):
            path.parent.mkdir(exist_ok=True)
            with Image.open(picture) as image:
                image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
                image.convert("RGB").save(path, quality=85)
        return name
    return ""
