"""All losses of a picture and terms as numbers, for tests of the objective."""

from typing import Any

import tensorflow as tf

from nst_tf.losses.evaluation import StageTargets, details, evaluate
from nst_tf.losses.objective import Objective
from nst_tf.losses.smoothness import compare_smoothness, measure_smoothness, pairs


def smoothness(image: Any) -> Any:
    """The mean of the smoothness term over pictures [B, *space, C], a scalar tensor."""
    sums = measure_smoothness(image)
    return tf.reduce_mean(compare_smoothness(sums, pairs(image.shape[1:-1], image.shape[-1])))


def losses_of(objective: Objective, aims: StageTargets, extract: Any, picture: Any) -> dict[str, Any]:
    """{tag: scalar} of one picture [1, *space, 3]: the losses of a step, and the details of a row."""
    losses, sums = evaluate(objective, aims.targets, extract, picture)
    return {tag: loss[0] for tag, loss in (losses | details(objective, sums, aims.details)).items()}
