"""What Ray runs in the process of a worker. Ray imports this module there: so no NumPy, and no TensorFlow, here.

Only Ray's processes, and the engine that starts them, import it: the package may not be installed.
"""

import io
import os
import signal
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import ray

from nst_tf.runs.session import Stop, import_function
from nst_tf.version import __version__


class Setting(NamedTuple):
    """Where and how a worker works."""

    threads: int
    folder: str | None           # the driver's working folder; None where machines share no disk
    log: str | None              # the file of its lines; None where they are sent back
    temporary: str | None        # the folder for what is sent; None is that of the system
    omp_threads: str | None      # the driver's variable of this name
    workers: int                 # of all machines


class Actor:
    """A worker as Ray calls it: one task at a time, and a request to stop beside it."""

    def __init__(self, setting: Setting) -> None:
        # Ray sets this variable. NumPy, which is not there yet, would add in another order than in other workers.
        os.environ.pop("OMP_NUM_THREADS", None)
        if setting.omp_threads is not None:
            os.environ["OMP_NUM_THREADS"] = setting.omp_threads
        os.chdir(setting.folder or os.sep)
        self._log: Any = io.StringIO()
        if setting.log is not None:
            self._log = open(setting.log, "a", encoding="utf-8")
            for number in (1, 2):
                os.dup2(self._log.fileno(), number)
        self._setting, self._stop = setting, Stop()
        # Ray gives a machine no more workers than it has cores for.
        most = max(1, import_function("nst_tf.runtime:usable_cores")() // setting.threads)
        self._worker = import_function("nst_tf.recipes.batch.worker:Worker")(
            setting.threads, self._log, min(setting.workers, most))

    def version(self) -> str:
        """The version of nst_tf here."""
        return str(__version__)

    def make(self, task: Any) -> Any:
        """Makes the picture of a task; the outcome."""
        return self._worker.make(task, self._stop)

    def make_apart(self, parcel: Any) -> Any:
        """Makes the picture of a parcel; the delivery."""
        delivery = _shipping("make_apart")(_whole(parcel), self.make, self._setting.temporary)
        log = self._log.getvalue()
        self._log.seek(0)
        self._log.truncate()
        return delivery._replace(log=log)

    def precision(self, config: Any) -> Any:
        """What `--precision=auto` is here, or the error of the config."""
        try:
            return self._worker.precision(config)
        except Exception as error:
            return error

    def precision_apart(self, parcel: Any) -> Any:
        """The same, of a config whose files are sent."""
        with tempfile.TemporaryDirectory(prefix="nst_tf_", dir=self._setting.temporary) as name:
            return self.precision(_shipping("unpack")(_whole(parcel), Path(name)).config)

    def stop(self) -> None:
        """Asks the run to finish its step, as SIGTERM asks a worker process."""
        self._stop.request(signal.SIGTERM)


def _shipping(name: str) -> Any:
    return import_function(f"nst_tf.recipes.batch.shipping:{name}")


def _whole(parcel: Any) -> Any:
    """The parcel with the bytes of its files, which lie in Ray's store."""
    return parcel._replace(files=tuple(file._replace(contents=ray.get(file.contents)) for file in parcel.files))
