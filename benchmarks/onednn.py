"""Seconds of one step with oneDNN's kernels and without, in turns: what importing nst_tf switches on.

    python -m benchmarks.onednn --backbones=squeezenet,kmeans,vgg19 --size=256 --rounds=3

TensorFlow uses oneDNN by itself where the processor has instructions for networks. Each round is a process
of its own, since TensorFlow reads the switch once; random weights cost what trained ones cost.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from nst_tf.config import StylizeConfig
from nst_tf.runtime import start_tensorflow

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
WARM_UP_STEPS, STEPS = 2, 9


def median_step_seconds(backbone: str, size_px: int) -> float:
    """Of float32 steps of this process, after the first two."""
    from nst_tf.recipes.stylize.steps import stylize

    config = StylizeConfig(content=str(SAMPLES / "street.jpg"), style=(str(SAMPLES / "swirls.jpg"),),
                           backbone=backbone, weights="random", size=size_px, min_size=size_px, precision="float32")
    seconds = []
    start = time.perf_counter()
    for progress in itertools.islice(stylize(config), WARM_UP_STEPS + STEPS):
        progress.losses["loss/total"].numpy()
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return float(np.median(seconds[WARM_UP_STEPS:]))


def in_own_process(backbone: str, size_px: int, switch: str) -> float:
    """`median_step_seconds` in a process with the switch at 0 or 1."""
    command = [sys.executable, "-m", "benchmarks.onednn", f"--one={backbone}", f"--size={size_px}"]
    done = subprocess.run(command, cwd=ROOT, text=True, check=True, stdout=subprocess.PIPE,
                          env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": switch})
    return float(done.stdout.split()[-1])


def main(argv: Sequence[str]) -> None:
    """Prints a row for each backbone."""
    values = flags.FlagValues()
    flags.DEFINE_list("backbones", ["squeezenet", "kmeans", "vgg19"], "rows of the table", flag_values=values)
    flags.DEFINE_integer("size", 256, "long side in px", flag_values=values)
    flags.DEFINE_integer("rounds", 3, "processes of each", flag_values=values)
    flags.DEFINE_string("one", "", "measures this backbone in this process", flag_values=values)
    values(argv)
    if values.one:
        start_tensorflow()
        print(median_step_seconds(values.one, values.size))
        return
    print("| float32 step | without | with oneDNN | as fast (single rounds) |\n| --- | ---: | ---: | ---: |")
    for backbone in values.backbones:
        pairs = np.array([[in_own_process(backbone, values.size, switch) for switch in "01"]
                          for _ in range(values.rounds)])
        gains = pairs[:, 0] / pairs[:, 1]
        without, with_ = np.median(pairs, axis=0)
        print(f"| {backbone} | {without:.3f} s | {with_:.3f} s | {np.median(gains):.2f} × ({gains.min():.2f} … "
              f"{gains.max():.2f}) |", flush=True)


if __name__ == "__main__":
    main(sys.argv)
