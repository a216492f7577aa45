"""Engines on this machine: the process itself, or processes beside it. No TensorFlow is imported here."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from nst_tf.config import StylizeConfig
from nst_tf.recipes.batch.driver import Event, Outcome
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.batch.worker import Worker
from nst_tf.runs.session import Stop
from nst_tf.streams import open_log
from nst_tf.vocabulary import RunError

# Spawned, never forked: TensorFlow's threads do not survive a fork.
_SPAWN = multiprocessing.get_context("spawn")
# A worker that was asked to stop finishes its step within so many seconds, or is ended.
STOPS_WITHIN = 60.0


class Here:
    """One worker: this process."""

    workers, replaces = 1, False

    def __init__(self, threads: int, logs: Path, stop: Stop) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._log = open_log(logs / "worker_1.log")
        self._worker, self._stop = Worker(threads, self._log), stop
        self._task: Task | None = None

    def precision(self, config: StylizeConfig) -> str:
        """What `--precision=auto` is here, for the network of a config."""
        return self._worker.precision(config)

    def submit(self, worker: int, task: Task) -> None:
        """Keeps the task until the driver waits."""
        self._task = task

    def wait(self, seconds: float) -> list[Event]:
        """Makes the picture."""
        task, self._task = self._task, None
        if task is None:
            time.sleep(seconds)
            return []
        return [Event(0, self._worker.make(task, self._stop))]

    def end(self, worker: int) -> None:
        """Nothing: the process ends with the batch."""

    def stop(self) -> None:
        """Nothing: the run in this process hears of it by itself."""

    def close(self) -> None:
        """Closes the log."""
        self._log.close()


class Processes:
    """Workers that are processes of their own, each with its log."""

    replaces = True

    def __init__(self, workers: int, threads: int, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.workers, self._threads, self._logs = workers, threads, logs
        self._started: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._stops_before = float("inf")

    def precision(self, config: StylizeConfig) -> str:
        """What `--precision=auto` is here: the first worker finds it out while no other works."""
        process, connection = self._start(0)
        connection.send(config)
        try:
            answer = connection.recv()
        except EOFError:
            process.join()
            self._started.pop(0)
            raise RunError(f"the first worker was lost ({_reason(process)}): {self._log(0)} may tell why") from None
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    def submit(self, worker: int, task: Task) -> None:
        """Sends the task to the worker; starts it where there is none."""
        try:
            self._start(worker)[1].send(task)
        except OSError:  # it has died while it had nothing to do
            self.end(worker)
            self._start(worker)[1].send(task)

    def wait(self, seconds: float) -> list[Event]:
        """The outcomes that have come, and the workers that are lost."""
        events, numbers = [], {connection: number for number, (_, connection) in self._started.items()}
        if not numbers:
            time.sleep(seconds)
        ready: list[Any] = wait(list(numbers), seconds) if numbers else []
        for connection in ready:
            number = numbers[connection]
            try:
                events.append(Event(number, connection.recv()))
            except (EOFError, OSError):
                process, _ = self._started.pop(number)
                process.join()
                events.append(Event(number, None, _reason(process)))
        if time.monotonic() > self._stops_before:
            for number in list(self._started):
                self.end(number)
                events.append(Event(number, None, "it did not stop"))
        return events

    def end(self, worker: int) -> None:
        """Kills a worker."""
        if worker in self._started:
            process, connection = self._started.pop(worker)
            process.kill()
            process.join()
            connection.close()

    def stop(self) -> None:
        """Sends SIGTERM, by which a run finishes its step."""
        self._stops_before = time.monotonic() + STOPS_WITHIN
        for process, _ in self._started.values():
            process.terminate()

    def close(self) -> None:
        """Ends all workers. Where the batch has failed, they first store what they have done."""
        deadline = time.monotonic() + STOPS_WITHIN
        for process, _ in self._started.values():
            process.terminate()
        for worker, (process, _) in list(self._started.items()):
            process.join(max(0.0, deadline - time.monotonic()))
            self.end(worker)

    def _start(self, worker: int) -> tuple[SpawnProcess, Connection]:
        if worker not in self._started:
            own, theirs = _SPAWN.Pipe()
            process = _SPAWN.Process(target=_serve, daemon=True, args=(
                theirs, self._threads, self._log(worker), self.workers))
            process.start()
            theirs.close()  # so that the end of the process ends the connection
            self._started[worker] = process, own
        return self._started[worker]

    def _log(self, worker: int) -> Path:
        return self._logs / f"worker_{worker + 1}.log"


def _reason(process: SpawnProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}" + ", perhaps for want of memory" * (code == -signal.SIGKILL)
    return f"it ended with status {code}"


def _serve(connection: Connection, threads: int, log: Path, workers: int) -> None:
    """The life of a worker process: tasks come, outcomes go, until the driver is gone."""
    # Ctrl-C reaches all processes of a terminal; the driver passes it on in its own way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    with open_log(log) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        worker = Worker(threads, file, workers)
        while True:
            try:
                work = connection.recv()
            except EOFError:
                return
            connection.send(_answer(worker, work))


def _answer(worker: Worker, work: Task | StylizeConfig) -> Outcome | str | Exception:
    if isinstance(work, Task):
        return worker.make(work, Stop())
    try:
        return worker.precision(work)
    except Exception as error:
        return error


def _end_with_the_driver() -> None:
    """Ends this process when the driver is gone, however it went: it would hold the folder of a run."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        sys.stderr.flush()
        os._exit(1)
