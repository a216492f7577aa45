"""J of a finished picture, always evaluated in float32: by this number different ways to a picture are compared."""

from collections.abc import Callable
from dataclasses import replace

import nst_tf  # noqa: F401  Before TensorFlow, which reads what it switches on.
import numpy as np
import tensorflow as tf

from nst_tf.config import StylizeConfig
from nst_tf.losses.evaluation import details
from nst_tf.losses.term import Losses
from nst_tf.recipes.stylize.plan import Plan, resolve
from nst_tf.recipes.stylize.stage import Setup, losses_of_step, measure_pictures, plan_step
from nst_tf.recipes.stylize.steps import set_up
from nst_tf.tensors import Tensor


def stage_losses(config: StylizeConfig, plan: Plan, setup: Setup, stage: int,
                 jitter_px: int = 0) -> Callable[[Tensor, Tensor], Losses]:
    """(image [1, H, W, 3] of a stage's size, offset of `jitter`) → all its losses, as step and rows have them."""
    step = plan_step(config, plan, setup.decided, stage)._replace(jitter_px=jitter_px)
    pictures, of_rows = measure_pictures(plan, setup, stage, step)

    def measure(image: Tensor, offset: Tensor) -> Losses:
        losses, sums = losses_of_step(step, setup.fitted.extractor, image, offset, pictures)
        return {tag: loss[0] for tag, loss in (losses | details(step.objective, sums, of_rows)).items()}

    return measure


def float32_objective(config: StylizeConfig) -> Callable[[np.ndarray], float]:
    """Picture float32 [H, W, 3] of the last stage's size → J with the terms and weights of a config."""
    plan = resolve(replace(config, precision="float32"))
    measure = stage_losses(config, plan, set_up(config, plan), len(plan.stages) - 1)

    def evaluate(picture: np.ndarray) -> float:
        return float(measure(tf.constant(picture[np.newaxis]), tf.constant([0, 0]))["loss/total"])

    return evaluate
