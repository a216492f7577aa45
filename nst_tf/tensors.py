"""Tools for tensors [B, *space, C] that every room uses: functions with gradients of their own, and `fork`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tensorflow as tf
from tensorflow.python.eager import record

from nst_tf import types

Array = types.Array
Features = types.Features
Tensor = types.Tensor

# (inputs, outputs, *gradients of J by the outputs) → gradients of J by the inputs, None for one that has none.
Gradient = Callable[..., Sequence[Tensor | None]]
Function = TypeVar("Function", bound=Callable[..., Any])


def with_gradient(gradient: Gradient) -> Callable[[Function], Function]:
    """A decorator: a function of tensors, with `gradient` in place of the gradients of its operations.

    `tf.custom_gradient` registers another closure at each call inside a `tf.function`, and TensorFlow keeps it, with
    its whole graph, until the process ends. Here a function registers once for each number of channels that it meets,
    and nothing that is registered holds a tensor.

    Args:
        gradient: (inputs, outputs, *upstream) → one gradient, or None, for each input. The inputs and outputs are lists
            of tensors, upstream the gradients by each output. While a SavedModel is written both lists are empty: a
            function that is to be saved must do without them.
    Returns:
        decorator of a function (*tensors) → a tensor or a tuple of tensors.
    """
    def decorate(forward: Function) -> Function:
        name = f"{forward.__module__}.{forward.__qualname__}"

        @functools.wraps(forward)
        def call(*arguments: Tensor) -> Any:
            inputs = [tf.convert_to_tensor(argument) for argument in arguments]
            with record.stop_recording():
                result = forward(*inputs)
                outputs = list(result) if isinstance(result, tuple) else [result]
                marked = ([tf.identity(output) for output in outputs] if tf.executing_eagerly()
                          else _mark(name, gradient, inputs, outputs))
            # For tapes. There is no public function for this: `tf.custom_gradient` registers as well.
            record.record_operation(name, marked, inputs, functools.partial(gradient, inputs, outputs))
            return tuple(marked) if isinstance(result, tuple) else marked[0]

        return call  # type: ignore[return-value]

    return decorate


def _mark(name: str, gradient: Gradient, inputs: list[Tensor], outputs: list[Tensor]) -> list[Tensor]:
    """Copies of the outputs, made by one operation of the graph that has inputs and outputs and names the gradient.

    Functions that are differentiated as a whole, such as those of a SavedModel, find it by this name.
    """
    # A SavedModel holds one gradient function for each name, traced for the channels of the first tensor that it meets.
    kinds = [f"{x.dtype.name}{'?' if x.shape.rank is None else [x.shape.rank, *x.shape[-1:]]}" for x in inputs]
    registered = _register(f"{name}({', '.join(kinds)})", gradient, len(inputs))
    with tf.compat.v1.get_default_graph().gradient_override_map({"IdentityN": registered}):
        copies: list[Tensor] = tf.raw_ops.IdentityN(input=[*outputs, *inputs])
    return copies[:len(outputs)]


@functools.cache
def _register(name: str, gradient: Gradient, inputs: int) -> str:
    """Registers the gradient of `_mark`'s operation, by (outputs, inputs); nothing flows into the outputs."""
    def of_operation(operation: Any, *upstream: Tensor) -> list[Tensor | None]:
        outputs = len(upstream) - inputs
        # Without an operation while a SavedModel is written.
        given, made = (operation.inputs[outputs:], operation.inputs[:outputs]) if operation else ((), ())
        return [None] * outputs + list(gradient(list(given), list(made), *upstream[:outputs]))

    try:
        tf.RegisterGradient(name)(of_operation)
    except KeyError:
        # This module was imported twice.
        pass
    return name


def _add_pair(_: list[Tensor], __: list[Tensor], first: Tensor, second: Tensor) -> tuple[Tensor]:
    return (tf.raw_ops.Snapshot(input=tf.add(first, second)),)


@with_gradient(_add_pair)
def fork(x: Tensor) -> Any:
    """Two copies (x, x) whose gradients are added as one pair.

    TensorFlow adds the gradients of all readers of a tensor by one AddN, which starts with whichever buffer is free
    first: for three or more readers the rounding depends on timing, and equal runs differ. A tensor read only through
    `fork` has at most two contributions, and a sum of two is the same in either order. `Snapshot` copies nothing; it
    keeps the graph optimizer from merging nested pairs into one AddN again.
    """
    return tf.identity(x), tf.identity(x)


def positions(x: Tensor) -> Tensor:
    """[B, *space, C] → [B, positions, C]."""
    shape = tf.shape(x)
    return tf.reshape(x, [shape[0], -1, x.shape[-1]])
