"""The loop of a batch against workers that are none, on a clock that is none."""

from collections import Counter, deque
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.batch.driver import ATTEMPTS, WRONG, Driver, Event, Limits, Outcome
from nst_tf.recipes.batch.tasks import Task

# What a try of a task comes to: (seconds, outcome); None for a worker that is lost, no end for one that hangs.
Trial = tuple[float, Outcome | None]
DONE, FAILED = Outcome(0), Outcome(1, "failed")
FOREVER = 1e9


class Fakes:
    """Workers whose trials `decide(task, attempt)` knows beforehand; time passes in `wait` alone."""

    replaces = True

    def __init__(self, workers: int, decide: Callable[[str, int], Trial]) -> None:
        self.workers, self._decide, self.time = workers, decide, 0.0
        self.tries, self.ended, self.submitted = Counter[str](), list[int](), list[tuple[float, int, str]]()
        self._due: dict[int, tuple[float, Outcome | None]] = {}
        self.stopped = False

    def submit(self, worker: int, task: Task) -> None:
        assert worker not in self._due, "a worker has one task at a time"
        self.tries[task.source] += 1
        seconds, outcome = self._decide(task.source, self.tries[task.source])
        self._due[worker] = (self.time + seconds, outcome)
        self.submitted.append((self.time, worker, task.source))

    def wait(self, seconds: float) -> list[Event]:
        first = min([at for at, _ in self._due.values()], default=FOREVER)
        self.time = max(self.time, min(first, self.time + seconds))
        ready = [worker for worker, (at, _) in self._due.items() if at <= self.time]
        return [Event(worker, self._due.pop(worker)[1], "killed") for worker in ready]

    def end(self, worker: int) -> None:
        self.ended.append(worker)
        self._due.pop(worker, None)

    def stop(self) -> None:
        self.stopped = True
        self._due = {worker: (self.time + 1, Outcome(143)) for worker in self._due}

    def close(self) -> None:
        """Nothing is open."""


def _task(name: str) -> Task:
    return Task(StylizeConfig(), RunConfig(run=name), name)


def _drive(engine: Fakes, tasks: Iterable[str | None], limits: Limits = Limits(),  # noqa: B008
           is_stopped: Callable[[], bool] = lambda: False) -> list[tuple[str, Outcome]]:
    driver = Driver(engine, limits, lambda: engine.time, is_stopped)
    given = (name if name is None else _task(name) for name in tasks)
    return [(done[0].source, done[1]) for done in driver.run(given) if done is not None]


def test_tasks_go_to_free_workers_in_their_order() -> None:
    seconds = {"a": 5.0, "b": 1.0, "c": 1.0, "d": 1.0}
    engine = Fakes(2, lambda name, _: (seconds[name], DONE))
    done = _drive(engine, "abcd")
    assert [name for name, _ in done] == ["b", "c", "d", "a"]
    assert engine.submitted == [(0, 0, "a"), (0, 1, "b"), (1, 1, "c"), (2, 1, "d")]
    assert [round(outcome.seconds, 6) for _, outcome in done] == [1, 1, 1, 5]


@pytest.mark.parametrize("bad", [FAILED, None])
def test_a_task_that_fails_is_tried_again_after_the_others(bad: Outcome | None) -> None:
    engine = Fakes(1, lambda name, attempt: (1.0, bad if name == "a" and attempt < ATTEMPTS else DONE))
    done = _drive(engine, "abc")
    assert [name for name, _ in done] == ["b", "c", "a"] and dict(done)["a"].attempts == ATTEMPTS
    assert all(outcome.status == 0 for _, outcome in done) and engine.tries == {"a": 3, "b": 1, "c": 1}


def test_a_task_whose_files_are_wrong_is_tried_once() -> None:
    wrong = Outcome(WRONG, "no such file")
    engine = Fakes(1, lambda name, _: (1.0, wrong if name == "a" else DONE))
    done = dict(_drive(engine, "ab"))
    assert done["a"].line == wrong.line and engine.tries == {"a": 1, "b": 1}


def test_after_three_failures_a_task_is_given_up_with_its_line() -> None:
    engine = Fakes(2, lambda name, _: (1.0, {"a": FAILED, "b": None}.get(name, DONE)))
    done = dict(_drive(engine, "abc"))
    assert (done["a"].line, done["a"].status, done["a"].attempts) == ("failed", 1, ATTEMPTS)
    assert done["b"].line == "its worker was lost (killed)" and done["b"].status == 1 and not done["c"].status
    times = [time for time, _, name in engine.submitted if name == "a"]
    assert all(later - earlier >= 2.0 for earlier, later in zip(times, times[1:], strict=False)), "a second of rest"


def test_a_task_that_hangs_is_ended_and_tried_again() -> None:
    engine = Fakes(2, lambda name, attempt: (FOREVER if name == "a" and attempt == 1 else 1.0, DONE))
    done = dict(_drive(engine, "abc", Limits(job_timeout=10)))
    assert engine.ended == [0] and done["a"].status == 0 and done["a"].attempts == 2
    engine = Fakes(1, lambda name, _: (FOREVER, DONE))
    ((_, outcome),) = _drive(engine, "a", Limits(job_timeout=10))
    assert outcome.line == "it took longer than --job_timeout=10 seconds" and len(engine.ended) == 3


def test_workers_are_replaced_when_they_are_old_or_large() -> None:
    engine = Fakes(1, lambda name, _: (1.0, DONE))
    _drive(engine, map(str, range(7)), Limits(jobs_per_worker=3))
    assert len(engine.ended) == 2
    engine = Fakes(1, lambda name, _: (1.0, Outcome(0, memory_mb=900 if name == "1" else 100)))
    _drive(engine, map(str, range(4)), Limits(worker_memory_mb=500))
    assert len(engine.ended) == 1


def test_a_stop_begins_nothing_more_and_tells_of_what_is_done() -> None:
    engine = Fakes(2, lambda name, _: (3.0 if name == "a" else 1.0, DONE))
    done = _drive(engine, "abcdef", is_stopped=lambda: engine.time >= 2)
    assert engine.stopped and [name for name, _ in done] == ["b", "c"] and set(engine.tries) <= set("abcd")


def test_none_stands_for_nothing_yet() -> None:
    engine = Fakes(2, lambda name, _: (1.0, DONE))
    assert [name for name, _ in _drive(engine, [None, "a", None, None, None, "b"])] == ["a", "b"]


def test_every_task_comes_to_one_end_whatever_happens() -> None:
    random = np.random.default_rng(0)
    trials = random.choice(["done", "failed", "lost", "hangs"], size=(2000, ATTEMPTS), p=[0.7, 0.1, 0.1, 0.1])
    kinds: dict[str, Trial] = {"done": (0, DONE), "failed": (0, FAILED), "lost": (0, None), "hangs": (FOREVER, DONE)}
    seconds = random.uniform(1, 9, trials.shape)

    def decide(name: str, attempt: int) -> Trial:
        more, outcome = kinds[trials[int(name), attempt - 1]]
        return seconds[int(name), attempt - 1] + more, outcome

    engine = Fakes(200, decide)
    done = _drive(engine, map(str, range(2000)), Limits(job_timeout=20, jobs_per_worker=5))
    assert Counter(name for name, _ in done) == Counter(map(str, range(2000)))
    expected = {str(row) for row, kind in enumerate(trials) if "done" in kind}
    assert {name for name, outcome in done if not outcome.status} == expected
    first = [deque(kind).index("done") + 1 if "done" in kind else ATTEMPTS for kind in trials]
    assert [engine.tries[str(row)] for row in range(2000)] == first
