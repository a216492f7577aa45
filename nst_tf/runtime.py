"""Starts TensorFlow without its start-up lines, and tells the device and the memory of this machine."""

import contextlib
import gc
import math
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nst_tf.keras_settings import import_keras
from nst_tf.vocabulary import RunError, UserError

# File descriptor 2 belongs to the process: one thread at a time may silence it, also while it has silenced it before.
_STDERR = threading.RLock()
# What people read: descriptor 2, or the copy of it that `quiet_stderr` keeps.
_shown = 2


def start_tensorflow(threads: int | None = None) -> str:
    """Imports TensorFlow and returns the line that names version and device.

    A TensorFlow that is loaded already prints no more start-up lines, so that stderr stays as it is.

    Args:
        threads: see `use_threads`.
    Raises:
        UserError: TensorFlow computes with another number of threads already.
    """
    with _STDERR, contextlib.nullcontext() if "tensorflow" in sys.modules else quiet_stderr():
        with contextlib.nullcontext() if "tensorflow" in sys.modules else _without_collections():
            tf, _ = import_keras()
        use_threads(threads)
        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.constant(0.0)
    if gpus:
        device = ", ".join(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus)
    else:
        device = f"CPU ({threads_text(threads_in_force())})"
    return f"TensorFlow {tf.__version__} on {device}"


def use_threads(threads: int | None) -> None:
    """Lets TensorFlow compute each operation with so many threads, on which the bits of its sums depend.

    Args:
        threads: None leaves TensorFlow as it is.
    Raises:
        UserError: TensorFlow has begun to compute with another number, which it keeps until Python ends.
    """
    if threads is None:
        return
    tf, _ = import_keras()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        in_force = threads_in_force()
        if in_force != threads:
            raise UserError(f"--threads={threads}: TensorFlow computes with {threads_text(in_force)} in this Python "
                            f"session already: leave threads out, give {in_force}, or start Python anew") from None


def threads_in_force() -> int:
    """How many threads compute an operation: what TensorFlow was told where it is loaded, else what it will be told."""
    if "tensorflow" not in sys.modules:
        return _threads_of_environment() or usable_cores()
    tf, _ = import_keras()
    # TensorFlow by itself takes as many as there are cores, whatever share of their time a container has.
    return tf.config.threading.get_intra_op_parallelism_threads() or _threads_of_environment() or _cores()


def threads_text(threads: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{threads} thread{'s' * (threads != 1)}"


def usable_cores(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use: of this machine, or those whose time the container around it has."""
    # "max 100000" where there is no limit, else microseconds of all cores in a period and that period.
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        share, period = map(int, path.read_text(encoding="ascii").split())
        return max(1, min(_cores(), math.ceil(share / period)))
    return _cores()


def _cores() -> int:
    """The cores on which this process may run."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS and Windows have no such call
        return os.cpu_count() or 1


def _threads_of_environment() -> int:
    """TensorFlow's own variable for what it is not told, 0 where that is not set."""
    with contextlib.suppress(ValueError):
        return max(0, int(os.environ.get("TF_NUM_INTRAOP_THREADS", "")))
    return 0


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Collects no garbage within the block, and afterwards never searches for any among what there is by then.

    TensorFlow's import makes a million objects that stay: searching them again and again was a fifth of its time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


def cpu_facts(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What the system tells of a processor, {name: value}: `model name`, `flags`; nothing but on Linux."""
    with contextlib.suppress(OSError):
        pairs = [line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line]
        return {name.strip(): value.strip() for name, value in pairs}
    return {}


def memory_bytes() -> float:
    """The memory of this machine or of the container around this process; infinite where the system does not tell."""
    try:
        sizes = [float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, OSError, ValueError):
        return math.inf
    for path in _memory_limits():
        with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
            sizes.append(float(int(path.read_text(encoding="ascii"))))
    return min(sizes)


def _memory_limits() -> Iterator[Path]:
    """The files that tell the limits of the control groups around this process, of version 2 and 1."""
    groups = {"/"}
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        groups |= {group for _, kinds, group in (line.split(":", 2) for line in lines) if kinds in ("", "memory")}
    for group in sorted(groups):
        yield Path(f"/sys/fs/cgroup{group}", "memory.max")
        yield Path(f"/sys/fs/cgroup/memory{group}", "memory.limit_in_bytes")


@contextlib.contextmanager
def quiet_stderr(drops: bool = True) -> Iterator[None]:
    """Holds back what is written to file descriptor 2, and shows it if the block fails. Other threads wait here.

    No log level silences TensorFlow's start-up lines, which come from C++. An error of ours says all by itself.

    Args:
        drops: what a block has written that ends well is never shown.
    """
    global _shown
    with _STDERR, _temporary_file() as held:
        if sys.stderr is not None:
            sys.stderr.flush()
        saved, is_shown, outer = os.dup(2), not drops, _shown
        _shown = saved if outer == 2 else outer
        os.dup2(held.fileno(), 2)
        try:
            yield
        except (UserError, RunError):
            is_shown = False
            raise
        except BaseException:
            is_shown = True
            raise
        finally:
            os.dup2(saved, 2)
            _shown = outer
            os.close(saved)
            if is_shown:
                held.seek(0)
                with contextlib.suppress(OSError):  # the reader may be gone
                    os.write(2, held.read())


def write_stderr(line: bytes) -> None:
    """Writes a line that people see at once, also while `quiet_stderr` holds the others back.

    The handler of a signal may call it, which must not print: the signal may have interrupted a print, and Python's
    buffers are not reentrant.
    """
    with contextlib.suppress(OSError):
        os.write(_shown, line)


def _temporary_file() -> IO[bytes]:
    """A file that goes when it is closed; it keeps nothing where no folder takes temporary files."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "r+b")
