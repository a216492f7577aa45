"""A batch whose workers and drivers are killed at random until all its pictures are there, compared with single runs.

    python -m benchmarks.batch_kills --jobs=200 --kills=20

Kills are SIGKILL, seeded, of a worker twice in three, else of the driver; the same command then goes on.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.batch_throughput import ROOT, make_photos


def children(pid: int) -> list[int]:
    """The worker processes of a driver: those that multiprocessing has spawned."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            is_worker = b"spawn_main" in (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and is_worker:
            found.append(int(path.parent.name))
    return sorted(found)


def run_with_kills(command: list[str], kills: int, seed: int) -> tuple[int, int, int]:
    """Runs a command again and again until it ends by itself; (kills of workers, kills of drivers, its status)."""
    random, workers, drivers = np.random.default_rng(seed), 0, 0
    while True:
        driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while driver.poll() is None:
            # Where no kill is left, only the end is waited for.
            due = time.monotonic() + (random.uniform(4, 12) if workers + drivers < kills else 3600)
            while driver.poll() is None and time.monotonic() < due:
                time.sleep(0.05)
            alive = children(driver.pid)
            if driver.poll() is not None or not alive:
                continue
            if random.uniform() < 2 / 3:
                os.kill(alive[int(random.integers(len(alive)))], signal.SIGKILL)
                workers += 1
            else:
                driver.kill()
                driver.wait()
                drivers += 1
        if driver.returncode != -signal.SIGKILL:
            return workers, drivers, driver.returncode


def main() -> None:
    """Prints how many kills hit, and how many pictures equal those of an undisturbed process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        photos = make_photos(folder / "photos", options.jobs)
        flags = ["--backbone=kmeans", "--weights=bundled", f"--size={options.size}", f"--min_size={options.size}",
                 f"--steps={options.steps}", "--threads=1", f"--style={ROOT}/samples/swirls.jpg",
                 "--checkpoint_every=0.2", f"--logdir={folder}/logs", f"--content={folder}/photos"]
        batch = [sys.executable, str(ROOT / "scripts/run_batch.py"), *flags]
        start = time.monotonic()
        workers, drivers, status = run_with_kills(
            [*batch, "--run=killed", "--workers=2", f"--output={folder}/killed/{{content}}.png"], options.kills,
            options.seed)
        seconds = time.monotonic() - start
        subprocess.run([*batch, "--run=calm", f"--output={folder}/calm/{{content}}.png"], check=True,
                       capture_output=True)
        equal = sum(np.array_equal(np.asarray(Image.open(folder / "killed" / photo.name)),
                                   np.asarray(Image.open(folder / "calm" / photo.name)))
                    for photo in photos if (folder / "killed" / photo.name).exists())
        report = json.loads((folder / "logs/killed/report.json").read_text())
    print(f"{options.jobs} jobs, {workers} kills of workers and {drivers} of drivers in {seconds:.0f} s: exit status "
          f"{status}, {equal} pictures equal to the last bit, {report['failed']} failed")


if __name__ == "__main__":
    main()
