"""The throughput of a batch relative to separate runs: one process, and two workers on the same cores.

    python -m benchmarks.batch_throughput --backbone=kmeans --weights=bundled --jobs=64 --separate=6
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ("coast", "street")


def make_photos(folder: Path, count: int) -> list[Path]:
    """Crops 4 : 3 of the sample photos, no two alike."""
    random, paths = np.random.default_rng(0), []
    sources = [path for name in PHOTOS if (path := ROOT / f"samples/{name}.jpg").exists()]
    for number in range(count):
        with Image.open(sources[number % len(sources)]) as image:
            width = int(min(image.width, image.height * 4 / 3) * random.uniform(0.6, 0.95))
            height = width * 3 // 4
            left, top = (int(random.integers(0, room + 1)) for room in (image.width - width, image.height - height))
            path = folder / f"{number:03d}.png"
            image.crop((left, top, left + width, top + height)).resize((320, 240)).save(path)
        paths.append(path)
    return paths


def seconds(script: str, *flags: str) -> float:
    """The wall time of a command."""
    start = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "scripts" / script), *flags], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Prints seconds for each picture, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="kmeans")
    parser.add_argument("--weights", default="")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=64)
    parser.add_argument("--separate", type=int, default=6, help="separate runs that are timed, of all these pictures")
    parser.add_argument("--workers", type=int, default=2, choices=(1, 2), help="1: without the batch by two workers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = folder / "photos"
        photos.mkdir()
        paths = make_photos(photos, options.jobs)
        flags = [f"--backbone={options.backbone}", f"--size={options.size}", f"--style={ROOT}/samples/swirls.jpg",
                 f"--logdir={folder}/logs"]
        flags += [f"--weights={options.weights}"] * bool(options.weights)
        flags += [f"--steps={options.steps}"] * bool(options.steps)
        single = [seconds("stylize.py", f"--content={path}", f"--run=single{number}", *flags)
                  for number, path in enumerate(paths[:options.separate])]
        of_workers = {count: seconds("run_batch.py", f"--content={photos}", f"--workers={count}",
                                     f"--run=workers{count}", *flags) / options.jobs
                      for count in range(1, options.workers + 1)}
    separate = float(np.mean(single))
    print(f"{options.backbone} {options.size} px, {options.jobs} pictures, seconds for each: separate {separate:.2f} "
          f"({min(single):.2f} ... {max(single):.2f} of {len(single)}), one process {of_workers[1]:.2f}")
    print(f"throughput: one process {separate / of_workers[1]:.2f} of separate runs")
    if 2 in of_workers:
        print(f"two workers: {of_workers[2]:.2f} seconds, {of_workers[1] / of_workers[2]:.2f} of one process")


if __name__ == "__main__":
    main()
