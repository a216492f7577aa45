"""The networks that were trained in Caffe, as Keras models with their preprocessing inside.

AlexNet: Krizhevsky, Sutskever, Hinton 2012. SqueezeNet v1.0 and v1.1: Iandola et al. 2016.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from nst_tf.backbones.architectures import ALEXNET_CONVOLUTIONS, FIRES, SQUEEZENET_VERSIONS
from nst_tf.backbones.extractor import Color, Extractor, convolutions, cut
from nst_tf.backbones.weights.readers import set_weights
from nst_tf.backbones.weights.sources import weights_file
from nst_tf.tensors import Tensor

# ImageNet's mean color, rounded as Caffe's examples have it, RGB.
CAFFE_MEAN_RGB_255 = (123.0, 117.0, 104.0)


def preprocess(image: keras.KerasTensor, mean_rgb_255: Color = CAFFE_MEAN_RGB_255) -> keras.KerasTensor:
    """RGB in [0, 1] → BGR, 0–255, minus the mean color, no scaling."""
    # Not a slice of step −1: with its gradient it took a twentieth of a whole step of SqueezeNet.
    return keras.ops.flip(image, axis=-1) * 255.0 - np.asarray(mean_rgb_255[::-1], np.float32)


def in_unit(color_255: Color) -> Color:
    """A color of 0–255 in [0, 1]."""
    red, green, blue = color_255
    return red / 255, green / 255, blue / 255


class GroupedConv2D(keras.layers.Conv2D):
    """A convolution of stride 1 whose filters see only their own share of the channels, group by group.

    Keras' own runs grouped convolutions through XLA on a CPU, which traces anew for every size and prints about it.
    """

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        groups = zip(ops.split(inputs, self.groups, -1), ops.split(kernel, self.groups, -1))
        return ops.concatenate([ops.conv(x, filters, padding=self.padding) for x, filters in groups], -1)


class LocalResponseNormalization(keras.layers.Layer):
    """x_c / (k + α/n · Σ x²)^β, the sum over the n channels around c: k = 1, n = 5, α = 1e-4, β = 0.75.

    Source: Krizhevsky et al. 2012, section 3.3, with the k and the α/n of Caffe, where the paper has k = 2 and α.
    """

    def call(self, x: Tensor) -> Tensor:
        # In float32: TensorFlow's kernel for a CPU knows no other.
        normalized = tf.nn.local_response_normalization(
            tf.cast(x, tf.float32), depth_radius=2, bias=1.0, alpha=1e-4 / 5, beta=0.75)
        return tf.cast(normalized, x.dtype)


def build_alexnet(layers: Sequence[str], weights: str, seed: int) -> Extractor:
    """AlexNet with Caffe's weights (`bvlc_alexnet.caffemodel`, an .npz file) or `random`.

    Layers are `conv1` … `conv5`, after their ReLU and before normalization and pooling. conv2, conv4 and conv5 see half
    of the channels each with half of their filters, as on the authors' two GPUs.

    Raises:
        UserError: the file is not that of this network.
    """
    image = keras.Input((None, None, 3), name="image")
    x = preprocess(image)
    for name, kernel_px, stride, filters, groups, is_pooled in ALEXNET_CONVOLUTIONS:
        # Differs from Krizhevsky et al. 2012: conv1 and the pools pad like all else, so that any size fits.
        convolution = GroupedConv2D if groups > 1 else keras.layers.Conv2D
        x = convolution(filters, kernel_px, strides=stride, padding="same", groups=groups, activation="relu",
                        name=name)(x)
        if is_pooled:
            x = keras.layers.MaxPooling2D(3, 2, padding="same")(LocalResponseNormalization()(x))
    model = keras.Model(image, x)
    # Caffe's files have the same names.
    set_weights(model, weights, seed, caffe_names={})
    return cut(model, layers, in_unit(CAFFE_MEAN_RGB_255))


def build_squeezenet(version: str, layers: Sequence[str], weights: str, seed: int) -> Extractor:
    """SqueezeNet with weights of `SOURCES`, from a file, or `random`.

    Layers are `conv1` and `fire2` … `fire9`, after their ReLU; a fire is the concatenation of its 1×1 and its 3×3
    expand.

    Args:
        version: a key of `SQUEEZENET_VERSIONS`.
    Raises:
        UserError: the file does not hold this network.
    """
    filters, kernel_px, pool_after = SQUEEZENET_VERSIONS[version]
    image = keras.Input((None, None, 3), name="image")
    # Differs from Iandola et al. 2016: conv1 and the pools pad like all else, so that any size fits and borders count.
    x = keras.layers.Conv2D(filters, kernel_px, strides=2, padding="same", activation="relu", name="conv1")(
        preprocess(image))
    before = "conv1"
    for name, (squeeze, expand) in FIRES.items():
        if before in pool_after:
            x = keras.layers.MaxPooling2D(3, 2, padding="same")(x)
        x = _fire(x, name, squeeze, expand)
        before = name
    # Nothing measures it, but it is a part of every file.
    x = keras.layers.Conv2D(1000, 1, activation="relu", name="conv10")(x)
    model = keras.Model(image, x)
    set_weights(model, weights_file(version, weights), seed,
                {layer.name: layer.name.replace("-", "/") for layer in convolutions(model)})
    return cut(model, layers, in_unit(CAFFE_MEAN_RGB_255))


def _fire(x: keras.KerasTensor, name: str, squeeze: int, expand: int) -> keras.KerasTensor:
    """ReLU(1×1 squeeze), then [ReLU(1×1 expand), ReLU(3×3 expand)] side by side."""
    def convolve(x: keras.KerasTensor, kind: str, filters: int, kernel_px: int) -> keras.KerasTensor:
        # Keras allows no "/" in a name, which Caffe's files have there.
        return keras.layers.Conv2D(filters, kernel_px, padding="same", activation="relu", name=f"{name}-{kind}")(x)

    squeezed = convolve(x, "squeeze1x1", squeeze, 1)
    expands = [convolve(squeezed, "expand1x1", expand, 1), convolve(squeezed, "expand3x3", expand, 3)]
    return keras.layers.Concatenate(name=name)(expands)
