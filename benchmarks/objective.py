"""J of a finished picture, always evaluated in float32: by this number different ways to a picture are compared."""

from collections.abc import Callable
from dataclasses import replace

import nst_tf  # noqa: F401  Before TensorFlow, which reads what it switches on.
import numpy as np
import tensorflow as tf

from nst_tf.config import StylizeConfig
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.stage import stage_losses
from nst_tf.recipes.stylize.steps import set_up


def float32_objective(config: StylizeConfig) -> Callable[[np.ndarray], float]:
    """Picture float32 [H, W, 3] of the last stage's size → J with the terms and weights of a config."""
    plan = resolve(replace(config, precision="float32"))
    measure = stage_losses(config, plan, set_up(config, plan), len(plan.stages) - 1)

    def evaluate(picture: np.ndarray) -> float:
        return float(measure(tf.constant(picture[np.newaxis]), tf.constant([0, 0]))["loss/total"])

    return evaluate
