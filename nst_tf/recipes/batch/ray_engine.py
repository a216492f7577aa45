"""An engine on Ray: each worker is an actor, on this machine or on those of a cluster. No TensorFlow here.

The loop is the driver's own. Ray starts processes, carries tasks and bytes, and tells of what is lost.
"""

import contextlib
import functools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.io.files import could_not_be_written
from nst_tf.recipes.batch import shipping
from nst_tf.recipes.batch.driver import WRONG, Event, Outcome
from nst_tf.recipes.batch.local import STOPS_WITHIN
from nst_tf.recipes.batch.ray_flags import AUTO
from nst_tf.recipes.batch.tasks import Task
from nst_tf.runs.session import say
from nst_tf.runtime import quiet_stderr, threads_text
from nst_tf.version import __version__
from nst_tf.vocabulary import RunError, UserError

# Read by Ray when it is imported, and by the processes that it starts. No report to its makers; no lines of its own;
# no GPU is hidden from workers, who share it as those of --engine=local do.
_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal",
              "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
for _name, _value in _VARIABLES.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import ray.exceptions  # noqa: E402

from nst_tf.recipes.batch.ray_actor import Actor, Setting  # noqa: E402

# A small object store: /dev/shm of a container has 64 MB, and what does not fit goes to the disk.
_STORE_BYTES = 100 * 2 ** 20
# The first worker of a cluster begins within so many seconds, or none does.
_BEGINS_WITHIN = 120.0
# Files that stay in Ray's store, such as the styles, since the next tasks need them too.
_FILES_KEPT = 64
# After its end Ray's processes go within so many seconds.
_GOES_WITHIN = 15.0


class Actors:
    """Workers that are Ray's actors. One that is lost is replaced by a new one."""

    replaces = True

    def __init__(self, config: Any, threads: int, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.workers, self._threads, self._logs, self._ships = config.workers, threads, logs, config.ship_files
        self._started: dict[int, Any] = {}
        self._running: dict[Any, tuple[int, Task]] = {}
        self._failed: list[Event] = []
        self._stops_before = float("inf")
        # Ray of this machine alone leaves nothing outside of this folder.
        self._own = None if config.ray_address else tempfile.mkdtemp(prefix="nst_ray_")
        with contextlib.ExitStack() as opened:
            opened.callback(self.close)
            _connect(config.ray_address, self.workers * threads, self._own)
            if config.ray_address:
                self._find_places()
            self._check_first(config.ray_address)
            opened.pop_all()

    def precision(self, config: StylizeConfig) -> str:
        """What `--precision=auto` is there: the first worker finds it out while no other works."""
        actor = self._start(0)
        if self._ships:
            # A new start, so that no run folder is sent.
            task = Task(config, RunConfig(run="precision", overwrite=True), "")
            asked = actor.precision_apart.remote(self._packed(task))
        else:
            asked = actor.precision.remote(config)
        try:
            answer = ray.get(asked)
        except ray.exceptions.RayError as error:
            self.end(0)
            raise RunError(f"the first worker was lost ({_reason(error)}): {self._log(0)} may tell why") from None
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    def submit(self, worker: int, task: Task) -> None:
        """Gives the task to the actor; starts it where there is none."""
        if not self._ships:
            self._running[self._start(worker).make.remote(task)] = worker, task
            return
        try:
            parcel = self._packed(task)
        except (UserError, OSError) as error:
            status = 1 if isinstance(error, OSError) else WRONG
            self._failed.append(Event(worker, Outcome(status, " ".join(str(error).split()))))
            return
        self._running[self._start(worker).make_apart.remote(parcel)] = worker, task

    def wait(self, seconds: float) -> list[Event]:
        """The outcomes that have come, and the workers that are lost."""
        events, self._failed = self._failed, []
        if not events and not self._running:
            time.sleep(seconds)
        if self._running:
            ready, rest = ray.wait(list(self._running), timeout=0 if events else seconds)
            if rest:
                ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
            events += [self._event(reference) for reference in ready]
        if time.monotonic() > self._stops_before:
            for worker, _ in list(self._running.values()):
                self.end(worker)
                events.append(Event(worker, None, "it did not stop"))
        return events

    def end(self, worker: int) -> None:
        """Kills a worker."""
        self._running = {reference: of for reference, of in self._running.items() if of[0] != worker}
        if worker in self._started:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(self._started.pop(worker))

    def stop(self) -> None:
        """Asks all actors to finish their step."""
        self._stops_before = time.monotonic() + STOPS_WITHIN
        for actor in self._started.values():
            actor.stop.options(concurrency_group="control").remote()

    def close(self) -> None:
        """Ends all workers, and Ray where it was started here. Where the batch has failed, they first store."""
        try:
            if self._running and ray.is_initialized():
                self.stop()
                while self._running:
                    with contextlib.suppress(RunError):  # the error of the batch counts more
                        self.wait(1.0)
            for worker in list(self._started):
                self.end(worker)
        finally:
            ray.shutdown()
            if self._own:
                _wait_for_end(self._own)
                shutil.rmtree(self._own, ignore_errors=True)

    def _event(self, reference: Any) -> Event:
        worker, task = self._running.pop(reference)
        try:
            answer = ray.get(reference)
        except ray.exceptions.RayError as error:
            self.end(worker)  # one that Ray cannot reach may still work
            return Event(worker, None, _reason(error))
        if isinstance(answer, Outcome):
            return Event(worker, answer)
        _append(self._log(worker), answer.log)
        return Event(worker, shipping.deliver(answer, task))

    def _start(self, worker: int) -> Any:
        if worker not in self._started:
            here = None if self._ships else os.getcwd()
            log = None if self._ships else str(self._log(worker).absolute())
            setting = Setting(self._threads, here, log, self._own, os.environ.get("OMP_NUM_THREADS"), self.workers)
            # A worker that is lost is the driver's to replace, and what it did is the driver's to repeat.
            kind = ray.remote(num_cpus=self._threads, max_restarts=0, max_task_retries=0,
                              concurrency_groups={"control": 1})(Actor)
            self._started[worker] = kind.remote(setting)
        return self._started[worker]

    def _packed(self, task: Task) -> Any:
        return shipping.pack(task, lambda path: _stored(path, os.stat(path).st_mtime_ns))

    def _log(self, worker: int) -> Path:
        return self._logs / f"worker_{worker + 1}.log"

    def _find_places(self) -> None:
        """Takes as many workers as the cluster has places for: others would wait until all is done.

        Raises:
            UserError: there is no place.
        """
        places = sum(int(node["Resources"].get("CPU", 0)) // self._threads for node in ray.nodes() if node["Alive"])
        if not places:
            raise UserError(f"no machine of the Ray cluster has {threads_text(self._threads)} for a worker: give "
                            "fewer --threads")
        if places < self.workers:
            say(f"nst_tf: the Ray cluster has places for {places} workers of {threads_text(self._threads)}")
        self.workers = min(places, self.workers)

    def _check_first(self, address: str) -> None:
        """Raises `UserError` where no worker begins, or with another version of nst_tf, or on another disk."""
        where = f"--ray_address={address}" if address else "--engine=ray"
        try:
            version = ray.get(self._start(0).version.remote(), timeout=_BEGINS_WITHIN)
        except ray.exceptions.GetTimeoutError:
            raise UserError(f"{where}: no worker began within {_BEGINS_WITHIN:g} seconds: the cluster may be busy, try "
                            "again later, or give fewer --threads") from None
        except ray.exceptions.RayError as error:
            remedy = "" if self._ships else "; where the machines share no disk, give --ship_files"
            raise UserError(f"{where}: the first worker could not begin ({_reason(error)}): every machine needs nst_tf "
                            f"{__version__}{remedy}") from None
        if version != __version__:
            raise UserError(f"{where}: the machines there have nst_tf {version}: install {__version__} as here")


def _connect(address: str, cpus: int, own: str | None) -> None:
    """Starts Ray on this machine, or joins a cluster.

    Raises:
        UserError: it does not start, or is not reached.
    """
    # Ray has no public switch for the lines that it prints of lost workers, which the driver tells of itself.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    places = {"address": address} if address else {
        "address": "local", "num_cpus": cpus, "include_dashboard": False, "object_store_memory": _STORE_BYTES,
        "_temp_dir": own}
    try:
        with _own_signals(), quiet_stderr():
            try:
                ray.init(log_to_driver=False, logging_level="error", **places)
            except (Exception, SystemExit) as error:
                raise UserError(_refusal(address, error)) from None
    except OSError as error:
        raise UserError(_refusal(address, error)) from None


def _refusal(address: str, error: BaseException) -> str:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if address == AUTO:
        return f"--ray_address=auto: no Ray runs on this machine ({reason}): start one by 'ray start --head'"
    if address:
        return (f"--ray_address={address}: the Ray there does not take this machine ({reason}): give the address of a "
                "running head, with Ray's version as here and, where its RAY_AUTH_MODE is token, that variable and the "
                "token here too")
    return f"--engine=ray: Ray does not start ({reason}): leave --engine out"


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Puts the handlers of signals back, which Ray replaces by its own."""
    numbers = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _reason(error: Exception) -> str:
    """One short line of what happened to a worker."""
    text = str(error)
    if isinstance(error, ray.exceptions.OutOfMemoryError) or "memory monitor" in text:
        return "Ray ended it for want of memory"
    if isinstance(error, ray.exceptions.ActorDiedError) and "creation task" in text or isinstance(
            error, ray.exceptions.RayTaskError):
        return text.strip().splitlines()[-1].strip()[:300]
    if "node" in text and "died" in text and "worker process has died" not in text:
        return "its machine is gone"
    return "its process was killed, perhaps for want of memory"


@functools.lru_cache(maxsize=_FILES_KEPT)
def _stored(path: str, changed: int) -> Any:
    """The bytes of a file or folder in Ray's store."""
    return ray.put(shipping.contents_of(path))


def _append(log: Path, text: str) -> None:
    try:
        with open(log, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise could_not_be_written(log, error) from error


def _wait_for_end(own: str) -> None:
    """Waits until the processes are gone whose command lines name the folder of a Ray; ends those that stay."""
    deadline = time.monotonic() + _GOES_WITHIN
    while pids := _pids(own):
        if time.monotonic() > deadline:
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def _pids(own: str) -> list[int]:
    """The processes whose command lines name a folder; nothing where the system does not tell."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if own.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found
