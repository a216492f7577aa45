"""Tools for tensors [B, *space, C] that every room uses: gradients of their own, and what is done along space axes.

All axes but batch and channel are space: signals [B, T, C], pictures [B, H, W, C], clips [B, T, H, W, C]. The last two
space axes are treated together, as a plane, by TensorFlow's operations for pictures; each axis before them (and the one
of a signal) alone, as a column.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.eager import record

from nst_tf import types

Array = types.Array
Features = types.Features
Tensor = types.Tensor

# (inputs, outputs, *gradients of J by the outputs) → gradients of J by the inputs, None for one that has none.
Gradient = Callable[..., Sequence[Tensor | None]]
Function = TypeVar("Function", bound=Callable[..., Any])

# B of one axis; its outer product with itself, (1 2 1)ᵀ(1 2 1) / 16, is that of two.
BINOMIAL = np.array([0.25, 0.5, 0.25], np.float32)


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
        if "<locals>" in name:
            raise ValueError(f"{name} is made at each call of another function, and its gradient would be registered "
                             "for all of them: make it a function of the module")

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
        tensors = list(operation.inputs) if operation else []
        return [None] * outputs + list(gradient(tensors[outputs:], tensors[:outputs], *upstream[:outputs]))

    try:
        tf.RegisterGradient(name)(of_operation)
    except KeyError:
        # Another thread, or a module that was imported twice, was faster: a name has one gradient.
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


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32 where its numbers have fewer bits; else itself."""
    x = tf.convert_to_tensor(x)
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def shape_of(x: Tensor) -> Any:
    """The shape of x as numbers where all are known, else as a tensor: numbers leave nothing to trace."""
    return list(x.shape) if tf.TensorShape(x.shape).is_fully_defined() else tf.shape(x)


def of_examples(d: Tensor, x: Tensor) -> Tensor:
    """One number for each example of x [B, …], [B], as [B, 1, …]."""
    return tf.reshape(d, [-1] + [1] * (len(x.shape) - 1))


def positions(x: Tensor) -> Tensor:
    """[B, *space, C] → [B, positions, C]."""
    shape = shape_of(x)
    return tf.reshape(x, [shape[0], -1, x.shape[-1]])


def mirrored(x: Tensor, margin: int) -> Tensor:
    """x with a margin of mirrored positions around all space axes; the edge itself is not repeated.

    Args:
        x: [B, *space, C], one to three space axes, each side > margin.
        margin: positions added at each end of each axis, ≥ 0.
    """
    space = [[margin, margin]] * (len(x.shape) - 2)
    return tf.pad(x, [[0, 0], *space, [0, 0]], mode="REFLECT")


def on_plane(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Applies a function of pictures to the last two space axes.

    Args:
        x: [B, *space, C] with at least two space axes.
        function: [N, H, W, C] → [N, H', W', C'].
    Returns:
        [B, *space, C'], the last two sides H' and W'.
    """
    if len(x.shape) == 4:
        return function(x)
    shape = tf.shape(x)
    y = function(tf.reshape(x, tf.concat([[-1], shape[-3:]], 0)))
    return tf.reshape(y, tf.concat([shape[:-3], tf.shape(y)[1:]], 0))


def on_axis(x: Tensor, axis: int, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Applies a function of columns to one space axis.

    Args:
        x: [B, *space, C].
        axis: of x, from 1.
        function: [N, side, M, C] → [N, side', M, C'], the same for each of the N · M columns.
    Returns:
        [B, *space, C'], the side of `axis` being side'.
    """
    shape = tf.shape(x)
    before, after = shape[:axis], shape[axis + 1:-1]
    channels = shape[-1] if x.shape[-1] is None else x.shape[-1]
    y = function(tf.reshape(x, [tf.reduce_prod(before), shape[axis], tf.reduce_prod(after), channels]))
    return tf.reshape(y, tf.concat([before, tf.shape(y)[1:2], after, tf.shape(y)[3:]], 0))


def single_axes(x: Tensor) -> range:
    """The space axes of [B, *space, C] that belong to no plane: all but the last two, or the only one."""
    return range(1, len(x.shape) - 3 if has_plane(x) else 2)


def has_plane(x: Tensor) -> bool:
    """Whether [B, *space, C] has at least two space axes."""
    return len(x.shape) >= 4


def correlate(x: Tensor, kernel: npt.NDArray[np.float32]) -> Tensor:
    """Each channel of [N, H, W, C] correlated with the same kernels [h, w, n]; [N, H − h + 1, W − w + 1, C · n]."""
    one = tf.constant(kernel[:, :, np.newaxis], x.dtype)
    # A gradient may have lost its shape.
    channels = tf.shape(x)[-1] if x.shape[-1] is None else x.shape[-1]
    return tf.nn.depthwise_conv2d(x, tf.tile(one, [1, 1, channels, 1]), [1, 1, 1, 1], "VALID")


def blur(x: Tensor) -> Tensor:
    """B x, with B the binomial blur (1 2 1) / 4 along each space axis and the edges mirrored.

    Args:
        x: [B, *space, C], one to three space axes, each side ≥ 2.
    """
    y = mirrored(x, 1)
    column, plane = BINOMIAL[:, np.newaxis, np.newaxis], np.outer(BINOMIAL, BINOMIAL)[..., np.newaxis]
    for axis in single_axes(x):
        y = on_axis(y, axis, lambda columns: correlate(columns, column))
    return on_plane(y, lambda planes: correlate(planes, plane)) if has_plane(x) else y


def resize(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Bicubic interpolation between half-pixel centers, float32 [B, *sides, C].

    Args:
        x: [B, *space, C].
        sides: one number ≥ 1 for each space axis. Not for shrinking much: nothing is averaged.
    """
    y = on_plane(x, lambda planes: tf.image.resize(planes, sides[-2:], "bicubic")) if has_plane(x) else x
    for axis in single_axes(x):
        y = on_axis(y, axis, functools.partial(_resize_columns, side=sides[axis - 1]))
    return tf.ensure_shape(y, [x.shape[0], *sides, x.shape[-1]])


def _resize_columns(columns: Tensor, side: int) -> Tensor:
    return tf.image.resize(columns, (side, tf.shape(columns)[2]), "bicubic")


def tents(pixels: int, cells: int) -> npt.NDArray[np.float64]:
    """The weight of each pixel of a side in each of fewer cells, [cells, pixels]. Rows sum to 1.

        R_ip ∝ max(0, 1 − |p − c_i| / r),    c_i = (i + ½) r − ½,    r = pixels / cells

    Tents, because under means of r pixels the gradient has steps every r-th pixel, which are seen in the picture. What
    reaches over an edge is the mirrored picture, so that no pixel counts less for being near one.
    """
    ratio = pixels / cells
    centers = (np.arange(cells) + 0.5) * ratio - 0.5
    reach = int(np.ceil(ratio))
    places = np.arange(-reach, pixels + reach)
    weights = np.maximum(0.0, 1.0 - np.abs(places - centers[:, np.newaxis]) / ratio)
    seen = weights[:, reach:-reach]
    seen[:, :reach] += weights[:, :reach][:, ::-1]
    seen[:, -reach:] += weights[:, -reach:][:, ::-1]
    return np.asarray(seen / seen.sum(axis=1, keepdims=True))


def shrink(x: Tensor, *sides: int) -> Tensor:
    """R_k along each space axis k for each channel, R_k the `tents` of its side: x' = R_1 x R_2ᵀ for a picture.

    Args:
        x: [B, *space, C], one to three space axes of known sides.
        sides: one number for each space axis, 1 … its side.
    Returns:
        [B, *sides, C].
    """
    # The first space axis is shrunk and becomes the last one, until all had their turn: so every matrix
    # product has long rows; one along the last axis in its place would have rows of C numbers.
    spaces = len(x.shape) - 2
    turned = [0, *range(2, spaces + 1), 1, spaces + 1]
    for side, cells in zip(x.shape[1:-1], sides, strict=True):
        shape = tf.shape(x)
        rows = tf.reshape(x, [shape[0], side, -1])
        shrunk = tf.matmul(tf.constant(tents(side, cells), x.dtype), rows)
        x = tf.transpose(tf.reshape(shrunk, tf.concat([shape[:1], [cells], shape[2:]], 0)), turned)
    return x
