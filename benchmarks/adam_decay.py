"""Which β₂ suits a picture: J in float32 of whole runs of the defaults, with other decays of Adam's second moment.

    python -m benchmarks.adam_decay --weights=squeezenet.net

Needs the photos of ../shared. J does not depend on how busy the machine is.
"""

import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from benchmarks.embedded_default import PAIRS, pair_config
from benchmarks.objective import float32_objective
from nst_tf.config import StylizeConfig
from nst_tf.optimize import optimizers
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.steps import set_up, stylize
from nst_tf.runtime import start_tensorflow


def objectives(config: StylizeConfig, decays: Sequence[float]) -> list[float]:
    """J of the picture that each β₂ makes."""
    plan = resolve(config)
    setup, evaluate, found = set_up(config, plan), float32_objective(config), []
    for decay in decays:
        optimizers.BETA_2 = decay  # read when a step is traced, which every run does anew
        for progress in stylize(config, plan=plan, setup=setup):
            pass
        found.append(evaluate(progress.picture()))
    return found


def main(argv: Sequence[str]) -> None:
    """Prints a row for each pair and their mean."""
    values = flags.FlagValues()
    flags.DEFINE_string("weights", None, "the real SqueezeNet's file", flag_values=values, required=True)
    flags.DEFINE_list("beta_2", ["0.8", "0.9", "0.95", "0.99", "0.999"], "decays to try", flag_values=values)
    flags.DEFINE_integer("size", 512, "long side in px", flag_values=values)
    values(argv)
    print(start_tensorflow())
    print("| | β₂ = " + " | ".join(values.beta_2) + " |\n| --- |" + " ---: |" * len(values.beta_2))
    rows = []
    for content, style in PAIRS:
        config = pair_config(content, style, backbone="squeezenet", weights=values.weights, size=values.size)
        rows.append(objectives(config, [float(text) for text in values.beta_2]))
        print(f"| {content} + {style} | " + " | ".join(f"{value:.4f}" for value in rows[-1]) + " |", flush=True)
    print("| mean | " + " | ".join(f"{value:.4f}" for value in np.mean(rows, axis=0)) + " |")


if __name__ == "__main__":
    main(sys.argv)
