"""A tensor with several readers whose gradient is summed in one fixed order."""

from typing import Any

import tensorflow as tf

Tensor = Any


@tf.custom_gradient
def fork(x: Tensor) -> Any:
    """Two copies (x, x) whose gradients are added as one pair.

    TensorFlow adds the gradients of all readers of a tensor by one AddN, which starts with whichever buffer is free
    first: for three or more readers the rounding depends on timing, and equal runs differ. A tensor read only through
    `fork` has at most two contributions, and a sum of two is the same in either order. `Snapshot` copies nothing; it
    keeps the graph optimizer from merging nested pairs into one AddN again.
    """
    def gradient(first: Tensor, second: Tensor) -> Tensor:
        return tf.raw_ops.Snapshot(input=tf.add(first, second))

    return (tf.identity(x), tf.identity(x)), gradient
