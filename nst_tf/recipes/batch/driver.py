"""The loop of a batch: gives tasks to workers, tries failed ones again, replaces workers. No TensorFlow, no clock.

Engines run the tasks: in this process, in processes beside it or, in tests, nowhere.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from nst_tf.recipes.batch.tasks import Task

# A failed task is tried so often in all.
ATTEMPTS = 3
# The exit status of a task whose files or flags are wrong, and stay so: it is not tried again.
WRONG = 2
# A free driver looks this often, in seconds, whether a task hangs or has arrived.
LOOKS_EVERY = 0.5
# A task that failed waits for so many seconds: what held its folder or its memory may go.
RETRY_AFTER = 1.0


class Outcome(NamedTuple):
    """What became of a task. `status` is an exit status: 0, 1, 2, or 128 + a signal where the worker was stopped."""

    status: int
    line: str = ""               # what went wrong
    seconds: float = 0.0
    memory_mb: int = 0           # of the worker, after the task
    attempts: int = 1


class Event(NamedTuple):
    """What a worker reports: the outcome of its task, or None where the worker is lost, and why."""

    worker: int
    outcome: Outcome | None
    reason: str = ""


class Engine(Protocol):
    """Workers that make pictures, numbered from 0. Each has one task at a time."""

    workers: int
    replaces: bool               # whether a worker can be ended and started anew

    def submit(self, worker: int, task: Task) -> None:
        """Gives a task to a worker that has none; starts the worker where there is none."""

    def wait(self, seconds: float) -> list[Event]:
        """What has happened; waits at most so long for it."""

    def end(self, worker: int) -> None:
        """Ends a worker at once, whatever it does; no event comes of it."""

    def stop(self) -> None:
        """Asks the workers to store what they have done and to end: each reports an outcome, or is lost."""

    def close(self) -> None:
        """Ends all workers."""


class Limits(NamedTuple):
    """When a task is given up and a worker replaced; 0 is no limit."""

    job_timeout: float = 0.0     # seconds
    jobs_per_worker: int = 0
    worker_memory_mb: int = 0


class _Running(NamedTuple):
    task: Task
    attempt: int
    since: float


class Driver:
    """Drives the tasks of a batch to their end.

    Args:
        now: seconds of a clock that never goes back.
        is_stopped: whether no task shall begin any more.
    """

    def __init__(self, engine: Engine, limits: Limits, now: Callable[[], float],
                 is_stopped: Callable[[], bool] = lambda: False) -> None:
        self._engine, self._limits, self._now, self._is_stopped = engine, limits, now, is_stopped
        self._running: dict[int, _Running] = {}
        self._free = deque(range(engine.workers))
        self._again: deque[tuple[float, Task, int]] = deque()  # (not before, task, attempt)
        self._done_by = [0] * engine.workers

    def run(self, tasks: Iterable[Task | None]) -> Iterator[tuple[Task, Outcome]]:
        """Yields each task with its outcome, as they come.

        A task that was stopped is not yielded: the same command goes on with it.

        Args:
            tasks: None where there is none yet, as in a folder that is watched.
        """
        waiting, has_stopped = iter(tasks), False
        while True:
            if self._is_stopped() and not has_stopped:
                has_stopped = True
                self._engine.stop()
            more = not has_stopped and self._fill(waiting)
            if not self._running and not more:
                return
            yield from [done for event in self._engine.wait(LOOKS_EVERY) if (done := self._ended(event))]
            yield from self._timed_out()

    def _fill(self, waiting: Iterator[Task | None]) -> bool:
        """Gives tasks to free workers; returns whether any are left, or may come."""
        while self._free:
            due = self._again and self._again[0][0] <= self._now()
            task, attempt = self._again.popleft()[1:] if due else (next(waiting, _END), 1)
            if task is None or isinstance(task, _End):
                return task is None or bool(self._again)
            worker = self._free.popleft()
            self._running[worker] = _Running(task, attempt, self._now())
            self._engine.submit(worker, task)
        return True

    def _ended(self, event: Event) -> tuple[Task, Outcome] | None:
        """Notes what a worker reports. Returns its task where that is done or given up."""
        running = self._running.pop(event.worker, None)
        if running is None:
            return None
        outcome = event.outcome or Outcome(1, f"its worker was lost ({event.reason})")
        outcome = outcome._replace(seconds=self._now() - running.since, attempts=running.attempt)
        self._done_by[event.worker] = 0 if event.outcome is None else self._done_by[event.worker] + 1
        if event.outcome and self._is_worn(event.worker, outcome):
            self._replace(event.worker)
        self._free.append(event.worker)
        if self._is_stopped() and (event.outcome is None or outcome.status > 128):
            return None
        return self._judged(running, outcome)

    def _judged(self, running: _Running, outcome: Outcome) -> tuple[Task, Outcome] | None:
        if outcome.status not in (0, WRONG) and running.attempt < ATTEMPTS:
            self._again.append((self._now() + RETRY_AFTER, running.task, running.attempt + 1))
            return None
        return running.task, outcome

    def _is_worn(self, worker: int, outcome: Outcome) -> bool:
        limits = self._limits
        return self._engine.replaces and (
            0 < limits.jobs_per_worker <= self._done_by[worker] or 0 < limits.worker_memory_mb < outcome.memory_mb)

    def _replace(self, worker: int) -> None:
        self._engine.end(worker)
        self._done_by[worker] = 0

    def _timed_out(self) -> list[tuple[Task, Outcome]]:
        """Ends the workers whose tasks take longer than the limit. Returns the tasks that are given up."""
        limit, given_up = self._limits.job_timeout, []
        for worker, running in list(self._running.items()) if limit else ():
            if self._now() - running.since > limit:
                self._replace(worker)
                del self._running[worker]
                self._free.append(worker)
                outcome = Outcome(1, f"it took longer than --job_timeout={limit:g} seconds",
                                  seconds=self._now() - running.since, attempts=running.attempt)
                if done := self._judged(running, outcome):
                    given_up.append(done)
        return given_up


class _End:
    """Stands behind the last task."""


_END = _End()
