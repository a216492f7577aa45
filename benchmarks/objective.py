"""J of a finished picture, always evaluated in float32: by this number different ways to a picture are compared."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nst_tf.config import StylizeConfig  # noqa: E402
from nst_tf.recipes.plan import resolve  # noqa: E402
from nst_tf.recipes.stage import stage_losses  # noqa: E402
from nst_tf.recipes.stylize import set_up  # noqa: E402


def float32_objective(config: StylizeConfig) -> Callable[[np.ndarray], float]:
    """Picture float32 [H, W, 3] of the last stage's size → J with the terms and weights of a config."""
    plan = resolve(replace(config, precision="float32"))
    measure = stage_losses(config, plan, set_up(config, plan), len(plan.stages) - 1)

    def evaluate(picture: np.ndarray) -> float:
        return float(measure(tf.constant(picture[np.newaxis]), tf.constant([0, 0]))["loss/total"])

    return evaluate
