"""What the values of a flag cost: seconds of a step with each, in turns in one process.

    python -m benchmarks.flag_cost --flag=neighbors_weight --values=0,0.2 --backbone=squeezenet1_1 --size=512
"""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from absl import flags

from benchmarks.controls import define_base, typed
from nst_tf.config import StylizeConfig
from nst_tf.runtime import start_tensorflow

# The first steps of each are no measure: they trace and compile.
FIRST = 3


def main(argv: Sequence[str]) -> None:
    """Prints a row for each value."""
    values = flags.FlagValues()
    flags.DEFINE_string("flag", "neighbors_weight", "the flag", flag_values=values)
    flags.DEFINE_list("values", ["0", "0.2"], "its values", flag_values=values)
    flags.DEFINE_integer("rounds", 15, "steps of each", flag_values=values)
    define_base(values, 512, "")
    values(argv)
    start_tensorflow()
    from nst_tf.recipes.stylize.steps import stylize

    base = StylizeConfig(content=values.content, style=(values.style,), backbone=values.backbone,
                         weights=values.weights, size=values.size, min_size=values.size,
                         steps=FIRST + values.rounds, precision="float32")
    running = [stylize(replace(base, **{values.flag: typed(values.flag, text)})) for text in values.values]
    seconds: list[list[float]] = [[] for _ in running]
    for _ in range(base.steps):
        for steps, of_steps in zip(running, seconds, strict=True):
            start = time.perf_counter()
            next(steps)
            of_steps.append(time.perf_counter() - start)
    medians = [statistics.median(of_steps[FIRST:]) for of_steps in seconds]
    print(f"| {values.backbone}, {values.size} px: --{values.flag} | seconds a step | relative |\n| --- | --- | --- |")
    for text, median in zip(values.values, medians, strict=True):
        print(f"| `{text}` | {median:.3f} | {median / medians[0]:.2f} |")


if __name__ == "__main__":
    main(sys.argv)
