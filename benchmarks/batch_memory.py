"""The memory, threads and open files of one worker from job to job, and what it leaves in the temporary folder.

    python -m benchmarks.batch_memory --jobs=500
"""

import argparse
import io
import os
import tempfile
import threading
from pathlib import Path

from benchmarks.batch_throughput import ROOT, make_photos
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.batch.worker import Worker, memory_mb
from nst_tf.runs.session import Stop


def level() -> tuple[int, int, int, int]:
    """Memory in MB, threads, open files, and files in the temporary folder."""
    files, temporary = os.listdir("/proc/self/fd"), os.listdir(tempfile.gettempdir())
    return memory_mb(), threading.active_count(), len(files), len(temporary)


def main() -> None:
    """Prints the levels now and then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, shown = Path(name), max(1, options.jobs // 10)
        worker = Worker(1, io.StringIO())
        photos = make_photos(folder, min(options.jobs, 50))
        for number in range(1, options.jobs + 1):
            config = StylizeConfig(
                content=str(photos[number % len(photos)]), style=(str(ROOT / "samples/swirls.jpg"),), backbone="kmeans",
                weights="bundled", size=options.size, min_size=options.size // 2, steps=options.steps, seed=number,
                precision="float32")
            outcome = worker.make(Task(config, RunConfig(run=f"r{number}", logdir=name), f"job {number}"), Stop())
            assert outcome.status == 0, outcome.line
            if number % shown == 0:
                print("job {}: {} MB, {} threads, {} open files, {} temporary files".format(number, *level()),
                      flush=True)


if __name__ == "__main__":
    main()
