"""A sweep: makes every cell that is not there yet on the engines of batches, and measures each. No TensorFlow here."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from nst_tf.backbones.table import check_weights
from nst_tf.io import images
from nst_tf.recipes.batch.driver import WRONG, Outcome
from nst_tf.recipes.batch.journal import Journal
from nst_tf.recipes.batch.recipe import network_of, unfetched, workers_threads
from nst_tf.recipes.batch.steps import made
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.contestants import Contestant
from nst_tf.recipes.stylize.recipe import ALL_PICTURES
from nst_tf.recipes.sweep.recipe import SweepPlan, named_tasks
from nst_tf.recipes.sweep.table import NETWORK_FLAGS, Row, Table, read_costs
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session, Written
from nst_tf.runs.session import import_function, say, tensorboard_line
from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import UserError


class Sweep:
    """The work of a sweep: its journal, its table, its judge, which TensorFlow brings when a cell is to be measured.

    Raises:
        UserError: the judge cannot be had, or there are weights for no cell.
    """

    def __init__(self, job: Job) -> None:
        plan: SweepPlan = job.plan
        self._job, self._plan, self._tasks, self._judges = job, plan, named_tasks(job), None
        self._journal = Journal(job.options.place, job.options.overwrite)
        self._table = Table(job.options.place, plan.cells, plan.judging, plan.shared, job.options.overwrite)
        self._found = {task.name for task in self._tasks if self._journal.found(task)}
        missing = [task for task in self._tasks if task.name not in self._found]
        self._lost = unfetched([task.config for task in missing])
        self._missing = [task for task in missing if network_of(task.config) not in self._lost]
        if self._lost and not self._missing and not self._found:
            raise UserError(self._said(missing[0], next(iter(self._lost.values()))))
        unmeasured = [task for task in self._tasks if task.name in self._found and not self._table.scores(task.name)]
        for task in (*self._missing, *unmeasured)[:1]:
            self._judge().of(task.config)  # what it lacks is said before any work
        self._made, self._is_failed = 0, False

    def events(self) -> Iterator[Progress]:
        """Makes and measures what is not there."""
        for name, why in (self._plan.left_out or {}).items():
            self._give_up(name, why)
        for task in self._tasks:
            if task.name in self._found:
                self._add(task, self._table.scores(task.name))
            elif error := self._lost.get(network_of(task.config)):
                self._take(task, Outcome(WRONG, str(error)))
        if self._found:
            say(f"nst_tf: {len(self._found)} of {len(self._tasks)} cells are there already")
        counts = Counter(seen=len(self._tasks), done=len(self._tasks) - len(self._missing))
        yield from made(self._job, self._missing, counts, self._take)

    def _take(self, task: Task, outcome: Outcome) -> None:
        self._journal.note(task, outcome)
        if outcome.status:
            self._is_failed |= self._plan.left_out is None or outcome.status != WRONG
            self._give_up(task.name, self._said(task, outcome.line))
        else:
            self._made += 1
            self._add(task, None)
        self._table.write()

    def _said(self, task: Task, error: object) -> str:
        """What is wrong with a cell; a comparison has other flags than a single run."""
        return str(error) if self._plan.left_out is None else Contestant(task.config.backbone, "").said(error)

    def _give_up(self, name: str, why: str) -> None:
        say(f"nst_tf: {name} is left out: {why}")
        self._table.add(Row(name, self._plan.cells[name], note=why))

    def _add(self, task: Task, scores: dict[str, Any] | None) -> None:
        """Adds a finished cell, measured where its scores are not known."""
        folder, config = self._job.options.place / task.name, task.config
        picture = images.load(folder / "output.png", name="picture")
        own = Contestant(config.backbone, check_weights(config.backbone, config.weights))
        is_partial = bool(set(self._table.flags) & set(NETWORK_FLAGS)) and own.is_same(self._plan.judging)
        row = Row(task.name, self._plan.cells[task.name], **read_costs(folder),
                  note="partial: it is its own judge" * is_partial)
        row = row._replace(**scores) if scores else self._judge().measured(config, row, picture, folder)
        self._table.add(row, picture)

    def _judge(self) -> Any:
        if self._judges is None:
            start_tensorflow(workers_threads(self._job.config))
            self._judges = import_function("nst_tf.recipes.sweep.judging:Judges")(self._plan.judging, self._table.flags)
        return self._judges

    def write(self, _: Progress | None) -> Written:
        """Writes the table and the sheet, also of a sweep that was stopped."""
        folder, sheet = self._job.options.place, self._table.write()
        if sheet is not None and (self._judges is not None or not any(folder.glob("events.*.comparison"))):
            self._judge().compare(folder, sheet)
        left_out = len(self._table.rows) - self._made - len(self._found)
        return Written((self._table.text(),
                        f"cells:       {self._made} made, {len(self._found)} were there, {left_out} left out",
                        f"sheet:       {folder / 'sheet.png'}, {folder / 'sheet.html'}",
                        f"tables:      {folder / 'table.md'}, {folder / 'table.json'}",
                        tensorboard_line(folder, *ALL_PICTURES)), int(self._is_failed or sheet is None))


def session(job: Job) -> Session:
    """The events make every cell that is not there yet, the writer tells of all."""
    sweep = Sweep(job)
    return Session(events=sweep.events(), write=sweep.write)
