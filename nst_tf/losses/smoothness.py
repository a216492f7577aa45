"""Smoothness: total variation in its squared form, which keeps noise out of flat areas."""


import numpy as np
import tensorflow as tf

from nst_tf.tensors import Tensor

# Differences to the right and downward of each of three colors, as one depthwise kernel [2, 2, 3, 2].
_DIFFERENCES = np.zeros((2, 2, 3, 2), np.float32)
_DIFFERENCES[0, 0, :, :] = -1.0
_DIFFERENCES[0, 1, :, 0] = 1.0
_DIFFERENCES[1, 0, :, 1] = 1.0


def smoothness(image: Tensor) -> Tensor:
    """Mean of (x_{i,j+1} − x_{i,j})² plus mean of (x_{i+1,j} − x_{i,j})², over the pairs that exist.

    One convolution, because slices of the image would each add a contribution to its gradient, and TensorFlow sums
    three or more of them in an order that depends on timing (see `fork`).

    Args:
        image: [B, H, W, 3], H and W ≥ 2.
    Returns:
        a scalar ≥ 0; 0 for a flat image.
    Source: the squared form of Mahendran and Vedaldi 2015, β = 2; means instead of sums, as crowsonkb.
    """
    # Repeating the last row and column makes the differences that do not exist zero.
    padded = tf.pad(image, [[0, 0], [0, 1], [0, 1], [0, 0]], mode="SYMMETRIC")
    differences = tf.nn.depthwise_conv2d(padded, _DIFFERENCES, [1, 1, 1, 1], "VALID")
    batch, height, width = (tf.cast(tf.shape(image)[axis], image.dtype) for axis in (0, 1, 2))
    squares = tf.reduce_sum(tf.reshape(tf.square(differences), [-1, 3, 2]), axis=[0, 1])
    pairs = 3.0 * batch * tf.stack([height * (width - 1.0), (height - 1.0) * width])
    return tf.reduce_sum(squares / pairs)
