"""A million pictures, on paper: the real loop of a batch with workers and a clock that are none, and its books.

    python -m benchmarks.batch_simulation --job_seconds=5.8 --start_seconds=12 --transfer_seconds=0.1 --price=0.10

prints tables in Markdown: what the loop costs for each task among failures, losses and hangs; what plan, journal and
report cost for each picture; how long so many pictures take on N nodes, and what they cost.
"""

import argparse
import dataclasses
import heapq
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.batch_throughput import ROOT
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.batch.driver import ATTEMPTS, Driver, Event, Limits, Outcome
from nst_tf.recipes.batch.journal import Journal
from nst_tf.recipes.batch.report import Report
from nst_tf.recipes.batch.tasks import Shape, Task, plan_tasks
from nst_tf.recipes.batch.worker import memory_mb
from nst_tf.recipes.markdown import as_markdown

# What becomes of a try: shares of those that fail, whose worker is lost, that hang.
FAILS, IS_LOST, HANGS = 0.03, 0.02, 0.005
JOB_TIMEOUT = 60.0
FOREVER = 1e12
# So many pictures are planned, the rest have their plans; so many thumbnails are made, the rest are links.
_PLANNED, _THUMBNAILS = 2_000, 200


class Fakes:
    """Workers whose tries take a random time and end at random, on a clock that goes from event to event.

    Args:
        seconds: of a task, on average.
        start_seconds: of a worker that has none.
    """

    replaces = True

    def __init__(self, workers: int, seconds: float, start_seconds: float, seed: int = 0) -> None:
        self.workers, self.now, self.busy = workers, 0.0, 0.0
        self._seconds, self._start, self._random = seconds, start_seconds, np.random.default_rng(seed)
        self._due: list[tuple[float, int, int, Outcome | None]] = []
        self._try, self._is_started = [0] * workers, [False] * workers
        self._draws: Iterator[tuple[float, float]] = iter(())

    def submit(self, worker: int, task: Task) -> None:
        """Draws the end of this try."""
        chance, factor = self._draw()
        seconds = self._seconds * factor + self._start * (not self._is_started[worker])
        outcome: Outcome | None = Outcome(0)
        if chance < FAILS:
            outcome = Outcome(1, "failed")
        elif chance < FAILS + IS_LOST:
            outcome = None
        elif chance < FAILS + IS_LOST + HANGS:
            seconds = FOREVER
        self._is_started[worker] = outcome is not None
        self._try[worker] += 1
        heapq.heappush(self._due, (self.now + seconds, worker, self._try[worker], outcome))
        self.busy += self._seconds * factor

    def wait(self, seconds: float) -> list[Event]:
        """Goes to the next event, or so many seconds further."""
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            at, worker, number, outcome = heapq.heappop(self._due)
            if number == self._try[worker]:
                self.now = max(self.now, at)
                return [Event(worker, outcome, "lost")]
        self.now = until
        return []

    def end(self, worker: int) -> None:
        """The try counts for nothing any more."""
        self._try[worker] += 1
        self._is_started[worker] = False

    def stop(self) -> None:
        """Nobody stops it."""

    def close(self) -> None:
        """Nothing is open."""

    def _draw(self) -> tuple[float, float]:
        for chance, factor in self._draws:
            return chance, factor
        self._draws = zip(self._random.uniform(size=10_000).tolist(),
                          self._random.uniform(0.8, 1.2, 10_000).tolist(), strict=True)
        return self._draw()


def simulate(workers: int, tasks: int, seconds: float, start_seconds: float) -> tuple[float, float, float, int]:
    """(hours on the fake clock, share of them that workers work, seconds of the loop itself, tasks given up)."""
    engine = Fakes(workers, seconds, start_seconds)
    limits = Limits(job_timeout=JOB_TIMEOUT + 2 * seconds + start_seconds)
    ends, given_up, config = bytearray(tasks), 0, StylizeConfig()
    begun = time.perf_counter()
    for task, outcome in Driver(engine, limits, lambda: engine.now).run(
            Task(config, _RUN, str(number)) for number in range(tasks)):
        ends[int(task.source)] += 1
        given_up += outcome.status > 0
        assert outcome.attempts <= ATTEMPTS
    spent = time.perf_counter() - begun
    assert ends == b"\1" * tasks, "every task comes to one end"
    return engine.now / 3600, engine.busy / (engine.now * workers), spent, given_up


_RUN = RunConfig(run="r")


def print_loop(options: argparse.Namespace) -> None:
    """The loop, for more and more tasks and workers."""
    rows: list[tuple[str, ...]] = []
    for workers, tasks in [(200, 10 ** power) for power in range(3, options.largest + 1)] + [
            (workers, 10 ** min(4, options.largest)) for workers in (1, 1000)]:
        before = memory_mb()
        hours, share, spent, given_up = simulate(workers, tasks, options.job_seconds, options.start_seconds)
        rows.append((f"{workers:,}", f"{tasks:,}", f"{hours:.2f}", f"{100 * share:.0f} %", f"{given_up:,}",
                     f"{1e6 * spent / tasks:.0f}", f"{tasks / spent:,.0f}", f"{memory_mb() - before}"))
    _print({"workers": True, "tasks": True, "hours on the fake clock": True, "workers at work": True,
            "given up": True, "µs of the loop for each task": True, "tasks/s that it can give": True,
            "MB more": True}, rows)


def print_books(options: argparse.Namespace) -> None:
    """Plan, journal and report of more and more pictures, all of which an earlier call may have made."""
    rows: list[tuple[str, ...]] = []
    for power in range(4, min(options.largest, 5) + 1):
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            rows.append((f"{10 ** power:,}", *_books(Path(name), 10 ** power, options.size)))
    _print({"pictures": True, "plan, µs": True, "plan, KB": True, "journal, µs": True, "thumbnail and row, µs": True,
            "row, KB": True, "same command again, µs": True, "both files written, s": True, "report.json, MB": True,
            "report.html, MB": True}, rows)


def _books(folder: Path, count: int, side_px: int) -> tuple[str, ...]:
    (tasks, plan_us, plan_kb), done = _planned(folder, count), Outcome(0, seconds=1.0)
    logs = folder / "logs"
    logs.mkdir()
    with Image.open(ROOT / "samples/coast.jpg") as image:
        image.resize((side_px, side_px * 3 // 4)).save(logs / "picture.png")
    for task in tasks:
        (logs / task.name).mkdir()
        # Links: a disk may have no room for so many pictures.
        os.symlink(logs / "picture.png", logs / task.name / "output.png")
    report = Report(logs)
    row_us = _each(lambda task: report.add(task, done), tasks[:_THUMBNAILS])
    for task in tasks[_THUMBNAILS:]:
        os.symlink(logs / f"thumbnails/{tasks[0].name}.jpg", logs / f"thumbnails/{task.name}.jpg")
    journal = Journal(logs, is_new=True)
    journal_us = _each(lambda task: journal.note(task, done), tasks)
    before = memory_mb()
    for task in tasks[_THUMBNAILS:]:
        report.add(task, done)
    row_kb = 1000 * (memory_mb() - before) / max(1, count - _THUMBNAILS)
    begun = time.perf_counter()
    report.write()
    written = time.perf_counter() - begun
    again, report = Journal(logs, is_new=False), Report(logs)

    def go_on(task: Task) -> None:
        found = again.found(task)
        assert found is not None
        report.add(task, found, was_there=True)

    sizes = [(logs / name).stat().st_size / 1e6 for name in ("report.json", "report.html")]
    return (f"{plan_us:.0f}", f"{plan_kb:.1f}", f"{journal_us:.0f}", f"{row_us:.0f}", f"{row_kb:.1f}",
            f"{_each(go_on, tasks):.0f}", f"{written:.2f}", *(f"{size:.1f}" for size in sizes))


def _planned(folder: Path, count: int) -> tuple[list[Task], float, float]:
    """Tasks with the names of their folders, µs and KB for each."""
    (folder / "photos").mkdir()
    wanted, count = count, min(count, _PLANNED)
    for number in range(count):
        (folder / f"photos/{number:06d}.jpg").write_bytes(b"%d" % number)
    before, begun = memory_mb(), time.perf_counter()
    tasks = plan_tasks(Shape("", str(folder / "photos"), (str(ROOT / "samples/swirls.jpg"),)), StylizeConfig(),
                       RunConfig(logdir=str(folder / "logs")))
    tasks = [task._replace(run_config=dataclasses.replace(task.run_config, run=task.name)) for task in tasks]
    plan_us, plan_kb = 1e6 * (time.perf_counter() - begun) / count, 1000 * (memory_mb() - before) / count
    return [task._replace(run_config=dataclasses.replace(task.run_config, run=f"{task.name}{copy or ''}"))
            for copy in range(wanted // count) for task in tasks], plan_us, plan_kb


def _each(work: object, tasks: list[Task]) -> float:
    """µs of some work for each task."""
    assert callable(work)
    begun = time.perf_counter()
    for task in tasks:
        work(task)
    return 1e6 * (time.perf_counter() - begun) / len(tasks)


def print_cost(options: argparse.Namespace) -> None:
    """How long the pictures take on N nodes, and what they cost, with the failures of the simulation."""
    seconds = options.job_seconds + options.transfer_seconds
    workers, tasks = 200, 200_000
    hours, *_ = simulate(workers, tasks, seconds, options.start_seconds)
    useful = tasks * seconds / (3600 * hours * workers)
    rows: list[tuple[str, ...]] = []
    for nodes in (1, 10, 50, 100, 500):
        workers = nodes * options.workers_per_node
        rate = workers * useful / seconds
        hours = (options.start_seconds + options.pictures / rate) / 3600
        rows.append((f"{nodes}", f"{workers:,}", f"{rate:.1f}", f"{hours:,.1f}", f"{nodes * hours:,.0f}",
                     f"{nodes * hours * options.price:,.0f}"))
    _print({"nodes": True, "workers": True, "pictures/s": True, "hours": True, "node-hours": True, "cost": True}, rows)


def _print(columns: dict[str, bool], rows: Sequence[tuple[str, ...]]) -> None:
    print(as_markdown(columns, rows), end="\n\n", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="loop,books,cost")
    parser.add_argument("--largest", type=int, default=5, help="the largest number of tasks is 10 to this")
    parser.add_argument("--size", type=int, default=256, help="of the pictures whose thumbnails are made")
    parser.add_argument("--folder", help="where the pictures of the books lie for a while")
    parser.add_argument("--job_seconds", type=float, required=True, help="of a picture on one worker, measured")
    parser.add_argument("--start_seconds", type=float, required=True, help="of a worker until its first step, measured")
    parser.add_argument("--transfer_seconds", type=float, default=0.0, help="of a photo to a node and a picture back")
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--workers_per_node", type=int, default=2)
    parser.add_argument("--price", type=float, default=0.10, help="of a node for an hour, in any currency")
    options = parser.parse_args()
    for part in options.parts.split(","):
        {"loop": print_loop, "books": print_books, "cost": print_cost}[part](options)


if __name__ == "__main__":
    main()
