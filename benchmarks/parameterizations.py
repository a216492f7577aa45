"""What is optimized and by what: J against seconds, for each `--canvas` with each `--optimizer`.

    python -m benchmarks.parameterizations --weights=squeezenet.net --output_dir=out/parameterizations

Every cell is a run of its own, since the learning rate falls over the steps planned. J is that of the picture that is
shown, without jitter, in float32; seconds are of CPU time, which others on the machine change little: steps
times the median step, without tracing. Needs the photos of ../shared.
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.embedded_default import PAIRS, pair_config
from benchmarks.objective import float32_objective
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, contact_sheet
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.stage import Setup
from nst_tf.recipes.stylize.steps import set_up, stylize

WAYS = (("pixels", "adam"), ("fourier", "adam"), ("pixels", "lbfgs"), ("fourier", "lbfgs"))


def run(config: StylizeConfig, setup: Setup) -> tuple[np.ndarray, float]:
    """(picture, CPU seconds) of a run at one size."""
    times = [time.process_time()]
    for progress in stylize(config, setup=setup):
        float(progress.losses["loss/total"])
        times.append(time.process_time())
    return progress.picture(), config.steps * statistics.median(np.diff(times)[1:])


def main(argv: Sequence[str]) -> None:
    """Prints a table for each pair, and writes the pictures of the most steps side by side."""
    values = flags.FlagValues()
    flags.DEFINE_string("weights", None, "the real SqueezeNet's file", flag_values=values, required=True)
    flags.DEFINE_string("output_dir", "out/parameterizations", "folder for the sheets", flag_values=values)
    flags.DEFINE_integer("size", 256, "long side in px", flag_values=values)
    flags.DEFINE_list("steps", ["25", "50", "100", "200", "400"], "steps of each column", flag_values=values)
    flags.DEFINE_list("learning_rates", [], "tried instead of the default", flag_values=values)
    flags.DEFINE_list("ways", ["+".join(way) for way in WAYS], "CANVAS+OPTIMIZER,...", flag_values=values)
    values(argv)
    steps = [int(count) for count in values.steps]
    rates: list[float | None] = [float(text) for text in values.learning_rates] or [None]
    for content, style in PAIRS[:2]:
        base = pair_config(content, style, backbone="squeezenet", weights=values.weights, size=values.size,
                           min_size=values.size, precision="float32")
        setup, measure, tiles = set_up(base, resolve(base)), float32_objective(base), []
        print(f"\n| {content} + {style} | rate | " + " | ".join(f"{count} steps" for count in steps) + " |")
        print("| --- |" + " --- |" * (len(steps) + 1))
        for way_name in values.ways:
            canvas, _, optimizer = way_name.partition("+")
            for rate in rates:
                way = dataclasses.replace(base, canvas=canvas, optimizer=optimizer, learning_rate=rate)
                rows = [run(dataclasses.replace(way, steps=count), setup) for count in steps]
                cells = [f"{measure(picture):.4f} ({seconds:.1f} s)" for picture, seconds in rows]
                print("|", " | ".join([way_name, str(resolve(way).descent.learning_rate), *cells]), "|", flush=True)
                tiles.append(Tile(rows[-1][0], (way_name, f"{steps[-1]} steps: J {cells[-1]}")))
        height, width = tiles[0].picture.shape[:2]
        images.save(Path(values.output_dir) / f"{content}_{style}.png", contact_sheet(tiles, (width, height)))


if __name__ == "__main__":
    main(sys.argv)
