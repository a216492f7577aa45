"""All losses of a picture as numbers, for tests of the objective."""

from typing import Any

from nst_tf.losses.evaluation import StageTargets, details, evaluate
from nst_tf.losses.objective import Objective


def losses_of(objective: Objective, aims: StageTargets, extract: Any, picture: Any) -> dict[str, Any]:
    """{tag: scalar} of one picture [1, *space, 3]: the losses of a step, and the details of a row."""
    losses, sums = evaluate(objective, aims.targets, extract, picture)
    return {tag: loss[0] for tag, loss in (losses | details(objective, sums, aims.details)).items()}
