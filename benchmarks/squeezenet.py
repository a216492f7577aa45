"""The real SqueezeNet v1.0 (Iandola et al. 2016) as a plain forward pass: a measuring instrument, not a backbone."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

import nst_tf  # noqa: F401  Before TensorFlow, which reads what it switches on.
import tensorflow as tf

CAFFE_MEAN_BGR = (104.0, 117.0, 123.0)
FIRES = tuple(f"fire{k}" for k in range(2, 10))
_POOL_AFTER = ("conv1", "fire4", "fire8")

Weights = Mapping[str, Sequence[np.ndarray]]  # {layer: (kernel [out, in, h, w], bias)}

Padding = Literal["SAME", "VALID"]


def caffe_input(image: tf.Tensor) -> tf.Tensor:
    """x = 255·BGR(image) − (104, 117, 123), for an RGB image [B, H, W, 3] in [0, 1]."""
    return 255.0 * image[..., ::-1] - tf.constant(CAFFE_MEAN_BGR, image.dtype)


def activations(weights: Weights, image: tf.Tensor, deepest: str = "conv10",
                padding: Padding = "SAME") -> dict[str, tf.Tensor]:
    """ReLU activations of every layer up to `deepest`; fireN = [ReLU(expand1x1), ReLU(expand3x3)].

    Args:
        weights: what `read_deep_compression` returns.
        image: float32 RGB [B, H, W, 3] in [0, 1].
        deepest: `conv1`, `fire2` … `fire9` or `conv10`; nothing deeper is computed.
        padding: of conv1 and the 3×3/2 max pools. "VALID" is what the ImageNet classes were trained with.

    Returns:
        {layer: float32 [B, h, w, channels]}.
    """
    def convolve(x: tf.Tensor, name: str, stride: int = 1, pad: Padding = "SAME") -> tf.Tensor:
        kernel, bias = weights[name]
        return tf.nn.relu(tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), stride, pad) + bias)

    layers: dict[str, tf.Tensor] = {}
    x = caffe_input(image)
    for name in ("conv1", *FIRES, "conv10"):
        if name == "conv1":
            x = convolve(x, name, stride=2, pad=padding)
        elif name == "conv10":
            x = convolve(x, name)
        else:
            squeezed = convolve(x, f"{name}/squeeze1x1")
            x = tf.concat([convolve(squeezed, f"{name}/expand1x1"), convolve(squeezed, f"{name}/expand3x3")], -1)
        layers[name] = x
        if name == deepest:
            break
        if name in _POOL_AFTER:
            x = tf.nn.max_pool2d(x, 3, 2, padding)
    return layers


def class_probabilities(weights: Weights, image: tf.Tensor) -> tf.Tensor:
    """P = softmax(mean over positions of ReLU(conv10)), [B, 1000], for images of 227×227."""
    final = activations(weights, image, padding="VALID")["conv10"]
    return tf.nn.softmax(tf.reduce_mean(final, axis=(1, 2)))
