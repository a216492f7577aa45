"""Networks whose paths branch: the gradients of a tensor with several readers are added in one fixed order."""

from collections import Counter
from typing import Any

import keras
from keras import tree

from nst_tf.tensors import Tensor, fork


class Fork(keras.layers.Layer):
    """`fork` as a layer, so that it can stand between the layers of a Keras model."""

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return fork(x)


def forked(model: keras.Model) -> keras.Model:
    """The same network, the same layers and weights, with a fork wherever a tensor has several readers.

    A residual block or an Inception block reads one tensor up to four times; TensorFlow would add the gradients of
    these readers in an order that depends on timing (see `fork`).

    Args:
        model: a Functional model whose every layer is called once.
    """
    readers = Counter(id(tensor) for operation in model.operations
                      if not isinstance(operation, keras.layers.InputLayer) for tensor in tree.flatten(operation.input))
    rest: dict[int, Tensor] = {}

    def read(original: Tensor, copy: Tensor) -> Tensor:
        """What one more reader of a tensor gets; the last one needs no fork."""
        key = id(original)
        copy = rest.pop(key, copy)
        readers[key] -= 1
        if readers[key]:
            rest[key], copy = Fork()(copy)
        return copy

    def call(operation: keras.Operation, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return operation(tree.map_structure(read, operation.input, inputs), *args, **kwargs)

    if max(readers.values()) == 1:
        return model
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
