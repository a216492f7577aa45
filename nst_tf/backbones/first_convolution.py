"""The first convolution of a network, with a gradient by the picture that takes a third of the time.

A picture has three channels. Processors multiply by sixteen or more at once, so that the gradient by three channels
wastes most of what they compute. Here the gradient by a block of 2 × 2 pixels is computed at once, as twelve channels.
"""

import contextlib
import functools
import math
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.eager import record

from nst_tf.runtime import cpu_facts
from nst_tf.tensors import Tensor, shape_of

CHANNELS = 3
BLOCK_PX = 2
_GRADIENT = "nst_tf.first_convolution"


def block_taps(kernel_px: int, stride: int, before_px: int, block_px: int) -> tuple[npt.NDArray[np.int64], int]:
    """Which tap of a kernel joins which pixel of a block to which output of the convolution, along one axis.

        y_i = Σ_t W_t x_{s i + t − p}    ⇒    ∂J/∂x_{b m + r} = Σ_j W_{r + p − s j} ∂J/∂y_{(b / s) m + j}

    Args:
        before_px: p, the padding before the first pixel.
        block_px: b, a multiple of the stride s.
    Returns:
        t of [j − j₀, r], `kernel_px` where there is no such tap; and j₀.
    """
    first, last = -((kernel_px - 1 - before_px) // stride), (block_px - 1 + before_px) // stride
    taps = np.arange(block_px) + before_px - stride * np.arange(first, last + 1)[:, np.newaxis]
    return np.where((taps >= 0) & (taps < kernel_px), taps, kernel_px), first


def gradient_by_picture(W: Tensor, gradient: Tensor, size: Any, stride: int, before_px: Sequence[int]) -> Tensor:
    """∂J/∂x of y = W ∗ x, by a convolution of ∂J/∂y with stride b / s whose channels are the pixels of a block.

    Args:
        W: [k, k, C, filters].
        gradient: ∂J/∂y, [B, h, w, filters].
        size: H and W of the picture, numbers or int32 [2].
        stride: s, of both axes.
        before_px: the padding above and to the left.
    Returns:
        [B, H, W, C].
    """
    *kernel_px, channels, filters = W.shape
    block_px = math.lcm(BLOCK_PX, stride)
    (rows, top), (columns, left) = (block_taps(side_px, stride, before, block_px)
                                    for side_px, before in zip(kernel_px, before_px, strict=True))
    padded = tf.pad(W, [[0, 1], [0, 1], [0, 0], [0, 0]])
    # [j, r, j', r', C, F] → [j, j', F, r, r', C].
    of_pixels = tf.gather(tf.gather(padded, rows, axis=0), columns, axis=2)
    kernel = tf.reshape(tf.transpose(of_pixels, [0, 2, 5, 1, 3, 4]),
                        [len(rows), len(columns), filters, block_px ** 2 * channels])
    # As far behind the last output as any padding reaches; blocks outside the picture are cut off.
    (below, right) = (first + len(taps) + max(side_px - 2, 0) // stride
                      for first, taps, side_px in zip((top, left), (rows, columns), kernel_px, strict=True))
    of_blocks = tf.nn.conv2d(gradient, kernel, block_px // stride, [[0, 0], [-top, below], [-left, right], [0, 0]])
    return tf.nn.depth_to_space(of_blocks, block_px)[:, :size[0], :size[1]]


def _gradients(x: Tensor, W: Tensor, stride: int, padding: str, gradient: Tensor) -> tuple[Tensor, None]:
    """The gradients by x and by W, which is not trained."""
    before_px = (0, 0) if padding == "VALID" else tuple((side_px - 1) // 2 for side_px in W.shape[:2])
    by_picture = gradient_by_picture(W, gradient, shape_of(x)[1:3], stride, before_px)
    return tf.ensure_shape(by_picture, x.shape), None


@tf.RegisterGradient(_GRADIENT)
def _of_operation(operation: Any, gradient: Tensor) -> tuple[Tensor, None]:
    """`_gradients` for functions that are differentiated as a whole."""
    x, W = operation.inputs
    return _gradients(x, W, operation.get_attr("strides")[1], operation.get_attr("padding").decode(), gradient)


def convolve(x: Tensor, W: Tensor, stride: int, padding: str) -> Tensor:
    """W ∗ x, whose gradient by x is `gradient_by_picture`.

    Args:
        padding: `VALID`, or `SAME` with a stride of 1.
    """
    # One operation of the graph, which TensorFlow still merges with the bias and the ReLU behind it: `with_gradient`
    # would put another between them.
    with record.stop_recording(), _overridden():
        y = tf.nn.conv2d(x, W, stride, padding)
    record.record_operation(_GRADIENT, [y], [x, W], functools.partial(_gradients, x, W, stride, padding))
    return y


def _overridden() -> Any:
    """Within the block operations of the graph name the gradient of `convolve`."""
    if tf.executing_eagerly():
        return contextlib.nullcontext()
    return tf.compat.v1.get_default_graph().gradient_override_map({"Conv2D": _GRADIENT})


def multiplies_sixteen() -> bool:
    """Whether this machine computes on a processor that multiplies sixteen numbers at once (AVX-512, AMX).

    On one with AVX2 the convolution to few channels takes twice the time of the gradient that it replaces.
    """
    is_wide = "avx512f" in cpu_facts().get("flags", "").split()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    is_limited = limit == "AVX" or limit.startswith(("SSE", "AVX2"))
    return is_wide and not is_limited and not tf.config.list_physical_devices("GPU")


class FirstConvolution(keras.layers.Conv2D):
    """A convolution whose input is a picture."""

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        W = tf.convert_to_tensor(keras.ops.convert_to_tensor(kernel))
        return convolve(inputs, W, self.strides[0], self.padding.upper())

    @classmethod
    def like(cls, layer: keras.layers.Layer) -> keras.layers.Layer:
        """The layer itself, or where it is a convolution of a picture that has this gradient, one like it."""
        fits = (type(layer) is keras.layers.Conv2D and layer.kernel.shape[2] == CHANNELS
                and layer.strides[0] == layer.strides[1] and layer.dilation_rate == (1, 1) and layer.groups == 1
                and (layer.padding == "valid" or layer.strides == (1, 1)) and multiplies_sixteen())
        return cls.from_config(layer.get_config()) if fits else layer
