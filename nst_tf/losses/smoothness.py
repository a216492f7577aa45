"""Smoothness: total variation in its squared form, which keeps noise out of flat areas."""


import numpy as np
import tensorflow as tf

from nst_tf.tensors import Tensor

# Differences to the right and downward of each of three colors, as one depthwise kernel [2, 2, 3, 2].
_DIFFERENCES = np.zeros((2, 2, 3, 2), np.float32)
_DIFFERENCES[0, 0, :, :] = -1.0
_DIFFERENCES[0, 1, :, 0] = 1.0
_DIFFERENCES[1, 0, :, 1] = 1.0


def measure_smoothness(x: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    padded = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]], mode="SYMMETRIC")
    differences = tf.nn.depthwise_conv2d(padded, _DIFFERENCES, [1, 1, 1, 1], "VALID")
    batch, height, width = (tf.cast(tf.shape(x)[axis], x.dtype) for axis in (0, 1, 2))
    squares = tf.reduce_sum(tf.reshape(tf.square(differences), [tf.shape(x)[0], -1, 3, 2]), axis=[1, 2])
    pairs = 3.0 * tf.ones([tf.shape(x)[0], 1]) * tf.stack([height * (width - 1.0), (height - 1.0) * width])
    return squares, pairs


def compare_smoothness(sums: Tensor, pairs: Tensor) -> Tensor:
    return tf.reduce_sum(sums / pairs, axis=-1)


def smoothness(image: Tensor) -> Tensor:
    return compare_smoothness(*measure_smoothness(image))
