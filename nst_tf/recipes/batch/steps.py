"""A batch: its events are the pictures that are made, whichever engine makes them. No TensorFlow here."""

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from nst_tf.config import StylizeConfig
from nst_tf.recipes.batch.driver import Driver, Limits, Outcome
from nst_tf.recipes.batch.journal import Journal
from nst_tf.recipes.batch.local import Here, Processes
from nst_tf.recipes.batch.recipe import WorkConfig, tasks_of_photo, workers_threads
from nst_tf.recipes.batch.report import Report
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.batch.watch import arrivals, find_photos, is_sound
from nst_tf.runs.progress import Progress, counted
from nst_tf.runs.recipe import Job, Session, Written
from nst_tf.runs.session import import_function, say
from nst_tf.vocabulary import PrecisionName, UserError, check_name, names

# The fields by which networks differ in what precision is fastest for them.
_NETWORK = ("backbone", "weights", "content_layers", "style_layers", "dream", "pooling", "padding", "normalization")


def session(job: Job) -> Session:
    """Opens the journal; the events make every picture that is not there yet, the writer tells of all."""
    journal, report = Journal(job.options.place, job.options.overwrite), Report(job.options.place)
    return Session(events=_events(job, journal, report), write=partial(_write, report))


def _events(job: Job, journal: Journal, report: Report) -> Iterator[Progress]:
    counts = Counter[str]()

    def to_make() -> Iterator[Task | None]:
        for task in _watched(job) if job.config.watch else job.plan.tasks:
            task = task and _named(job, task)
            found = task and journal.found(task)
            counts["seen"] += task is not None
            if task and found:
                counts["done"] += 1
                report.add(task, found, was_there=True)
            else:
                yield task

    tasks: Iterable[Task | None] = to_make()
    if not job.config.watch:
        tasks = [task for task in tasks if task]
        if counts["done"]:
            say(f"nst_tf: {counts['done']} of {counts['seen']} pictures are there already")

    def take(task: Task, outcome: Outcome) -> None:
        journal.note(task, outcome)
        report.add(task, outcome)
        if outcome.status:
            say(f"nst_tf: {task.source}: {outcome.line}")
        report.write_when_due()

    yield from made(job, tasks, counts, take, goes_on=job.config.watch)


def made(job: Job, tasks: Iterable[Task | None], counts: Counter[str], take: Callable[[Task, Outcome], None],
         goes_on: bool = False) -> Iterator[Progress]:
    """Makes the pictures of tasks, and yields a step for each that is done or given up.

    Args:
        tasks: see `outcomes`.
        counts: the tasks that are `seen` so far, and those that are `done`, which is kept up here.
        take: called with each task and its outcome.
        goes_on: whether more tasks may come.
    """
    def progress() -> Progress:
        return counted(counts["done"], counts["seen"], "pictures", goes_on=goes_on)

    for task, outcome in outcomes(job, tasks):
        counts["done"] += 1
        take(task, outcome)
        # The first step that a stopped run tells of is its last: so all workers come to their end before.
        if not job.stop.is_requested:
            yield progress()
    if job.stop.is_requested:
        yield progress()


def _named(job: Job, task: Task) -> Task:
    """The task with the folder of its run, below that of the batch."""
    return task._replace(run_config=dataclasses.replace(task.run_config, run=task.name, logdir=str(job.options.place)))


def _watched(job: Job) -> Iterator[Task | None]:
    """The tasks of photos as they arrive; None while there is none."""
    for arrival in arrivals(partial(find_photos, job.config.content), is_sound, time.monotonic):
        if arrival is None:
            yield None
            continue
        for task in tasks_of_photo(job.config, job.run_config, arrival.path):
            # Nobody asks a broken photo which precision its network has.
            yield task if arrival.is_whole else task._replace(
                config=dataclasses.replace(task.config, precision="float32"))


def outcomes(job: Job, tasks: Iterable[Task | None]) -> Iterator[tuple[Task, Outcome]]:
    """Makes the pictures of tasks on the engine of a job, and yields each task with its outcome.

    Args:
        tasks: a list, or tasks that are still to come, None where there is none yet.
    """
    config: WorkConfig = job.config
    if isinstance(tasks, list) and not tasks:
        return
    with closing(open_engine(job)) as engine:
        limits = Limits(config.job_timeout, config.jobs_per_worker, config.worker_memory)
        driver = Driver(engine, limits, time.monotonic, lambda: job.stop.is_requested)
        decided = with_precision(tasks, engine.precision)
        # The precision of tasks that are known is decided before any picture is made.
        yield from driver.run(list(decided) if isinstance(tasks, list) else decided)


def open_engine(job: Job) -> Any:
    """The engine that the flags of a job ask for."""
    config, logs = job.config, job.options.place / "workers"
    threads = workers_threads(config)
    if config.engine == "ray":
        # Its module needs the package ray.
        return import_function("nst_tf.recipes.batch.ray_engine:Actors")(config, threads, logs)
    # This process cannot be ended when a job hangs.
    if config.workers == 1 and not config.job_timeout:
        return Here(threads, logs, job.stop)
    return Processes(config.workers, threads, logs)


def with_precision(tasks: Iterable[Task | None], decide: Callable[[StylizeConfig], str]) -> Iterator[Task | None]:
    """The tasks with the precision that `auto` is, decided once for each network."""
    known = dict[Any, PrecisionName]()
    for task in tasks:
        if task is None or task.config.precision != "auto" or task.config.fast:
            yield task
            continue
        key = tuple(getattr(task.config, name) for name in _NETWORK)
        if key not in known:
            # What is wrong with a task is its own outcome; the next one of its network decides.
            with contextlib.suppress(UserError):
                known[key] = check_name("--precision", decide(task.config), names(PrecisionName))
        yield task._replace(config=dataclasses.replace(task.config, precision=known.get(key, "auto")))


def _write(report: Report, last: Progress | None) -> Written:
    """Writes the report, also of a batch that was stopped."""
    report.write()
    failed = len(report.failed)
    return Written((*report.reasons, f"pictures:  {report.made} made, {report.found} were there, {failed} failed",
                    f"report:    {report.path}"), int(bool(failed)))
