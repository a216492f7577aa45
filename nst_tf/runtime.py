"""Starts TensorFlow: quietly, with memory growth, and says on which device it runs; and how much memory there is."""

import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def start_tensorflow() -> str:
    """Imports TensorFlow and returns the line that names version and device."""
    with quiet_stderr():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.constant(0.0)
    if gpus:
        device = ", ".join(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus)
    else:
        device = f"CPU ({os.cpu_count()} cores)"
    return f"TensorFlow {tf.__version__} on {device}"


def memory_bytes() -> float:
    """The memory of this machine, or of the container that this process runs in; infinite where no system tells."""
    try:
        sizes = [float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, OSError, ValueError):
        return math.inf
    # "max" where there is no limit.
    with contextlib.suppress(OSError, ValueError):
        sizes.append(float(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))))
    return min(sizes)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps file descriptor 2 silent: TensorFlow's C++ start-up lines obey no log level. Shown if the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
