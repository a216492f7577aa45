"""What low precision costs: J in float32 of the pictures that float32, bfloat16 and float16 make.

    python -m benchmarks.precision --weights=squeezenet.net

A run's J moves by a percent when its learning rate moves by a third of one, so each is run at three: the ratio to the
mean of float32 is printed with the spread of each.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from absl import flags

from benchmarks.embedded_default import PAIRS, pair_config
from benchmarks.objective import float32_objective
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.runtime import start_tensorflow

LEARNING_RATES = (0.0498, 0.05, 0.0502)


def main(argv: Sequence[str]) -> None:
    """Prints a row for each pair and precision."""
    values = flags.FlagValues()
    flags.DEFINE_integer("size", 256, "long side in px", flag_values=values)
    flags.DEFINE_string("backbone", "squeezenet", "a row of the table", flag_values=values)
    flags.DEFINE_string("weights", "", "as for stylize.py", flag_values=values)
    flags.DEFINE_list("precisions", ["float32", "bfloat16"], "the first is compared with", flag_values=values)
    flags.DEFINE_integer("pairs", 2, "how many photos and paintings", flag_values=values)
    values(argv)
    print(start_tensorflow())
    print("| pair | precision | mean J | least … largest | ratio | seconds |\n| --- | --- | --- | --- | --- | --- |")
    for content, style in PAIRS[:values.pairs]:
        base = pair_config(content, style, backbone=values.backbone, weights=values.weights, size=values.size)
        evaluate, means = float32_objective(base), []
        for precision in values.precisions:
            start, found = time.perf_counter(), []
            for rate in LEARNING_RATES:
                *_, last = stylize(replace(base, precision=precision, learning_rate=rate))
                found.append(evaluate(last.picture()))
            means.append(float(np.mean(found)))
            print(f"| {content} + {style} | {precision} | {means[-1]:.4f} | {min(found):.4f} … {max(found):.4f} | "
                  f"{means[-1] / means[0]:.3f} | {(time.perf_counter() - start) / len(found):.1f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv)
