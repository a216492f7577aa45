"""A worker: makes the pictures of tasks one after another in this process, each as an ordinary run.

TensorFlow starts with the first task.
"""

import contextlib
import dataclasses
import json
import os
import traceback
from pathlib import Path
from typing import Any, TextIO

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.batch.driver import WRONG, Outcome
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.paint.recipe import recipe_of
from nst_tf.runs.metrics import peak_memory_mb
from nst_tf.runs.record import DAMAGED
from nst_tf.runs.run import run
from nst_tf.runs.session import Stop, import_function
from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import InUse, RunError, UserError


class Worker:
    """Keeps networks, compiled steps and measured styles from task to task.

    Args:
        threads: that TensorFlow has in this process.
        log: takes the lines of the runs.
        workers: how many there are on this machine.
    """

    def __init__(self, threads: int, log: TextIO, workers: int = 1) -> None:
        self._threads, self._log, self._workers = threads, log, workers
        self._shared: Any = None

    def make(self, task: Task, stop: Stop) -> Outcome:
        """Makes the picture of a task; the outcome tells what went wrong."""
        folder = Path(task.run_config.logdir) / task.name
        config = dataclasses.replace(task.config, threads=self._threads)
        begins_anew = task.run_config.overwrite or _is_of_other_bits(folder, self._threads)
        run_config = dataclasses.replace(task.run_config, run=task.name, resume=not begins_anew, overwrite=begins_anew)
        with contextlib.redirect_stdout(self._log), contextlib.redirect_stderr(self._log):
            print(f"nst_tf: {task.name}: {task.source}")
            status, line = self._status(config, run_config, stop)
            self._log.flush()
        return Outcome(status, line, memory_mb=memory_mb())

    def precision(self, config: StylizeConfig) -> str:
        """What `--precision=auto` is here, for the network of a config."""
        with contextlib.redirect_stdout(self._log), contextlib.redirect_stderr(self._log):
            self._start()
            return str(import_function("nst_tf.recipes.stylize.steps:decided_precision")(config, self._shared))

    def _status(self, config: StylizeConfig, run_config: RunConfig, stop: Stop) -> tuple[int, str]:
        """The exit status of a run, and the line of its error."""
        try:
            self._start()
            status = run(recipe_of(config), config, run_config, stop, self._shared)
            return status, f"its worker was asked to stop (signal {status - 128})" * (status > 128)
        except (UserError, RunError) as error:
            line = " ".join(str(error).split())
            print(f"nst_tf: {line}")
            is_wrong = isinstance(error, UserError) and not isinstance(error, InUse)
            return WRONG if is_wrong else 1, line
        except Exception as error:  # one task does not end the batch
            traceback.print_exc()
            return 1, f"{type(error).__name__}: {' '.join(str(error).split())} (the log has more)"

    def _start(self) -> None:
        if self._shared is None:
            start_tensorflow(self._threads)
            self._shared = import_function("nst_tf.recipes.stylize.shared:Shared")(self._workers)


def _is_of_other_bits(folder: Path, threads: int) -> bool:
    """Whether a run was begun with another number of threads, so that it cannot go on here bit for bit."""
    with contextlib.suppress(*DAMAGED):
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))["settings"]
        return settings.get("--threads", threads) != threads
    return False


def memory_mb() -> int:
    """The memory that this process holds now, in MB; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 2 ** 20
    return round(peak_memory_mb() or 0)  # a Mac tells of the largest so far alone
