"""How a network halves its maps: the pools that it was trained with, and others in their place."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nst_tf.tensors import BINOMIAL, Tensor


def binomial(x: Tensor) -> Tensor:
    """Halves [B, H, W, C], already padded by 1, with the kernel (1 2 1)ᵀ(1 2 1)/16.

    It passes far less of the frequencies that the halved grid cannot hold than a 2×2 average does, and so leaves the
    optimizer no woven noise to hide there (Zhang 2019, "Making convolutional networks shift-invariant again").
    """
    kernel = np.broadcast_to(np.outer(BINOMIAL, BINOMIAL)[..., None, None], (3, 3, x.shape[-1], 1))
    return tf.nn.depthwise_conv2d(x, tf.constant(kernel, x.dtype), [1, 2, 2, 1], "VALID")


def l2(x: Tensor, pool_px: int, stride: int, padding: str) -> Tensor:
    """√(mean x²) over each window. ε keeps the gradient finite where a window is 0."""
    # In float32: the square of an activation above 255 is no float16.
    squares = tf.nn.avg_pool2d(tf.square(tf.cast(x, tf.float32)), pool_px, stride, padding)
    return tf.cast(tf.sqrt(squares + 1e-6), x.dtype)


# [B, H, W, C], window, stride, "SAME" or "VALID" → the pooled map; what lies outside the map does not count in any.
POOLINGS: dict[str, Callable[[Tensor, int, int, str], Tensor]] = {
    "max": tf.nn.max_pool2d, "average": tf.nn.avg_pool2d, "l2": l2}


class BinomialPooling(keras.layers.Layer):
    """`binomial` as a layer, behind a `Pad` of 1."""

    pool_size, strides, padding = (3, 3), (2, 2), "valid"

    def call(self, x: Tensor) -> Tensor:
        """[B, H + 2, W + 2, C] → [B, ⌈H/2⌉, ⌈W/2⌉, C]."""
        return binomial(x)


class SwappedPooling(keras.layers.Layer):
    """A row of `POOLINGS` times a scale, in place of another pool."""

    def __init__(self, pooling: str, scale: float, pool_px: int, stride: int, padding: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pooling, self.pool_px, self.stride, self.padding = pooling, pool_px, stride, padding
        # A variable, since it follows from the pictures of a job and a compiled step serves many jobs.
        self.scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(scale), trainable=False,
                                     name="scale")

    @classmethod
    def like(cls, pool: keras.layers.Layer, pooling: str, scale: float) -> "SwappedPooling":
        """The windows of `pool`: a `MaxPooling2D` or a `BinomialPooling`."""
        return cls(pooling, scale, pool.pool_size[0], pool.strides[0], pool.padding.upper(), name=pool.name)

    def call(self, x: Tensor) -> Tensor:
        """[B, H, W, C] → a map of the size that the replaced pool makes."""
        return self.scale * POOLINGS[self.pooling](x, self.pool_px, self.stride, self.padding)

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return super().get_config() | {"pooling": self.pooling, "scale": float(self.scale), "pool_px": self.pool_px,
                                       "stride": self.stride, "padding": self.padding}


def pooling_scale(pool: keras.layers.Layer, pooling: str, inputs: Sequence[Tensor]) -> float:
    """√(Σ pool(x)² / Σ swapped(x)²) over some inputs x of a pool: the next layer then sees values of the usual size.

    Source: crowsonkb/style-transfer-pytorch multiplies by constants fitted to VGG19 (2 for average, 0.78 for l2).
    """
    # Differs from crowsonkb: measured on the pictures at hand, so that it holds for every network.
    swapped = SwappedPooling.like(pool, pooling, 1.0)

    def energy(layer: keras.layers.Layer) -> float:
        return sum(float(tf.reduce_sum(tf.square(layer(x)))) for x in inputs)

    return float(np.sqrt(energy(pool) / max(energy(swapped), 1e-12)))
