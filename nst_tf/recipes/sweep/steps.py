"""A sweep: makes every cell that is not there yet on the engines of batches, and measures each. No TensorFlow here."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from nst_tf.io import images
from nst_tf.recipes.batch.driver import Outcome
from nst_tf.recipes.batch.journal import Journal
from nst_tf.recipes.batch.recipe import workers_threads
from nst_tf.recipes.batch.steps import made
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.stylize.recipe import ALL_PICTURES
from nst_tf.recipes.sweep.recipe import named_tasks
from nst_tf.recipes.sweep.table import Row, Table
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session, Written
from nst_tf.runs.session import import_function, say, tensorboard_line
from nst_tf.runtime import start_tensorflow


class Sweep:
    """The work of a sweep: its journal, its table, its judge, which TensorFlow brings when a cell is to be measured."""

    def __init__(self, job: Job) -> None:
        plan, judging = job.plan, job.plan.judging
        self._job, self._tasks, self._judges = job, named_tasks(job), None
        self._journal = Journal(job.options.place, job.options.overwrite)
        self.table = Table(job.options.place,
                           {task.name: cell for task, cell in zip(plan.tasks, plan.cells, strict=True)},
                           f"{judging.backbone} ({judging.weights_name})")
        self.made = self.found = self.failed = 0

    def events(self) -> Iterator[Progress]:
        """Makes and measures what is not there."""
        counts, missing = Counter(seen=len(self._tasks)), list[Task | None]()
        for task in self._tasks:
            found = self._journal.found(task)
            if found is None:
                missing.append(task)
                continue
            self.found += 1
            self._add(task, found, self.table.scores(task.name))
        if self.found:
            say(f"nst_tf: {self.found} of {counts['seen']} cells are there already")
        counts["done"] = self.found
        yield from made(self._job, missing, counts, self._take)

    def _take(self, task: Task, outcome: Outcome) -> None:
        self._journal.note(task, outcome)
        if outcome.status:
            self.failed += 1
            self.table.add(Row(task.name, self._cell(task), note=outcome.line))
        else:
            self.made += 1
            self._add(task, outcome, None)
        self.table.write()

    def _add(self, task: Task, outcome: Outcome, scores: tuple[float, float | None] | None) -> None:
        """Adds a finished cell, measured where its scores are not known."""
        folder = self._job.options.place / task.name
        picture = images.load(folder / "output.png", name="picture")
        style, content = scores or self._judge().score(task.config, picture, folder)
        self.table.add(Row(task.name, self._cell(task), style, content, round(outcome.seconds, 2)), picture)

    def _cell(self, task: Task) -> dict[str, Any]:
        return {flag: getattr(task.config, flag) for flag in self.table.flags}

    def _judge(self) -> Any:
        if self._judges is None:
            start_tensorflow(workers_threads(self._job.config))
            self._judges = import_function("nst_tf.recipes.sweep.judging:Judges")(self._job.plan.judging)
        return self._judges

    def write(self, _: Progress | None) -> Written:
        """Writes the table and the sheet, also of a sweep that was stopped."""
        folder, sheet = self._job.options.place, self.table.write()
        if sheet is not None and self._judges is not None:
            self._judges.compare(folder, self.table.flags, sheet)
        failed = [f"failed: {row.name}: {row.note}" for row in self.table.rows if row.note]
        return Written((self.table.text(), "", *failed,
                        f"cells:       {self.made} made, {self.found} were there, {self.failed} failed",
                        f"sheet:       {folder / 'sheet.png'}, {folder / 'sheet.html'}",
                        tensorboard_line(folder, *ALL_PICTURES)), int(bool(self.failed)))


def session(job: Job) -> Session:
    """The events make every cell that is not there yet, the writer tells of all."""
    sweep = Sweep(job)
    return Session(events=sweep.events(), write=sweep.write)
