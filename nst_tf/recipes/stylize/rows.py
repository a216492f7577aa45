"""What a logged row tells beside the step's own losses: computed operation by operation at first, then compiled."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from nst_tf.losses.evaluation import Sums, details
from nst_tf.losses.objective import Objective
from nst_tf.tensors import Tensor

# Tracing costs as much as so many rows gain (SqueezeNet at 256 px: 0.15 s against 10 - 2 ms). A short run never traces,
# and later pictures of a batch find what an earlier one has traced.
ROWS_BEFORE_TRACING = 18


class RowDetails:
    """`evaluation.details`, summed over a batch, for the sums and styles of any job with equal terms."""

    def __init__(self, objective: Objective) -> None:
        self._details = partial(_of_batch, objective)
        self._traced = tf.function(self._details, autograph=False)
        self._rows = 0

    def __call__(self, sums: Sums, of_rows: Mapping[str, Any]) -> dict[str, Tensor]:
        """Scalars by TensorBoard tag.

        Args:
            sums: what a step returned; of_rows: the details of `evaluation.measure_targets`.
        """
        self._rows += 1
        compute = self._details if self._rows <= ROWS_BEFORE_TRACING else self._traced
        return compute(sums, of_rows)


def _of_batch(objective: Objective, sums: Sums, of_rows: Mapping[str, Any]) -> dict[str, Tensor]:
    return {tag: tf.reduce_sum(loss) for tag, loss in details(objective, sums, of_rows).items()}
