"""The memory that `visualize_units.py` needs for few and for many images.

    python -m benchmarks.units_memory --counts=200,4000,20000

Each count of small images, made here and deleted afterwards, is looked at in a process of its own, whose largest
resident memory is printed: most of it is TensorFlow itself. No download, nothing of ../shared.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from nst_tf.recipes.units.plan import UnitsConfig
from nst_tf.recipes.units.recipe import UNITS
from nst_tf.runs.metrics import peak_memory_mb
from nst_tf.runs.run import run

ROOT = Path(__file__).resolve().parents[1]


def look(images: str) -> None:
    """Looks at a folder of images in this process and prints the peak."""
    run(UNITS, UnitsConfig(images=(images,), output=f"{images}_units", size=64, backbone="squeezenet", weights="random",
                           layers=("conv1",)))
    print(peak_memory_mb())


def make_images(folder: Path, count: int) -> None:
    """Writes so many images of noise, 17 to 23 px high and 23 wide."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(count):
        noise = generator.integers(0, 256, (17 + index % 7, 23, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index:06d}.png", compress_level=0)


def peak_mb(folder: Path, count: int) -> float:
    """The largest resident memory of a run over so many images, which are made below `folder`."""
    images = folder / f"{count}_images"
    make_images(images, count)
    result = subprocess.run([sys.executable, "-m", "benchmarks.units_memory", f"--look={images}"], cwd=ROOT,
                            stdout=subprocess.PIPE, text=True, check=True)
    return float(result.stdout.splitlines()[-1])


def main(argv: Sequence[str]) -> None:
    """Prints a table: images, MB."""
    values = flags.FlagValues()
    flags.DEFINE_list("counts", ["200", "4000"], "numbers of images", flag_values=values)
    flags.DEFINE_string("look", "", "looks at this folder in this process", flag_values=values)
    values(list(argv))
    if values.look:
        look(values.look)
        return
    print("| images | largest resident memory, MB |\n| --- | --- |")
    for count in map(int, values.counts):
        with tempfile.TemporaryDirectory() as folder:
            print(f"| {count} | {peak_mb(Path(folder), count):.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv)
