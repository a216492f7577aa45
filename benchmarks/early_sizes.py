"""J in float32 after whole runs that grow from 128 px, and after runs at the last size alone, against their seconds.

    python -m benchmarks.early_sizes --weights=squeezenet.net --pairs=2

Seconds are those of `benchmarks.quality`: tracing of every size included, reading and building left out. Each run has
a network of its own, so that none finds a step that another one traced.
"""

import sys
from collections.abc import Sequence

from absl import flags

from benchmarks.embedded_default import PAIRS, pair_config
from benchmarks.quality import default_curve
from benchmarks.style_score import DEFAULT_WEIGHTS
from nst_tf.runtime import start_tensorflow


def main(argv: Sequence[str]) -> None:
    """Prints a row for each pair and number of steps."""
    values = flags.FlagValues()
    flags.DEFINE_integer("size", 512, "long side in px", flag_values=values)
    flags.DEFINE_list("steps", ["50", "100", "200"], "of the runs", flag_values=values)
    flags.DEFINE_integer("pairs", len(PAIRS), "how many photos and paintings", flag_values=values)
    flags.DEFINE_string("weights", str(DEFAULT_WEIGHTS), "SqueezeNet v1.0's", flag_values=values)
    values(argv)
    print(start_tensorflow())
    print("| pair | steps | from 128 px | one size |\n| --- | ---: | ---: | ---: |")
    for content, style in PAIRS[:values.pairs]:
        for steps in map(int, values.steps):
            cells = []
            for least_px in (128, values.size):
                config = pair_config(content, style, backbone="squeezenet", weights=values.weights, size=values.size,
                                     min_size=least_px)
                [(_, seconds, objective)], _ = default_curve(config, [steps], 0.0)
                cells.append(f"J {objective:.4f} after {seconds:.1f} s")
            print(f"| {content} + {style} | {steps} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main(sys.argv)
