"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) as Caffe has it, as a Keras model, with its preprocessing inside."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import ops

from nst_tf.backbones.alexnet_facts import CONVOLUTIONS
from nst_tf.backbones.caffe import MEAN_COLOR, preprocess
from nst_tf.backbones.extractor import Extractor, cut
from nst_tf.backbones.weights import set_weights
from nst_tf.tensors import Tensor


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
    for name, kernel_px, stride, filters, groups, is_pooled in CONVOLUTIONS:
        # Differs from Krizhevsky et al. 2012: conv1 and the pools pad like all else, so that any size fits.
        convolution = GroupedConv2D if groups > 1 else keras.layers.Conv2D
        x = convolution(filters, kernel_px, strides=stride, padding="same", groups=groups, activation="relu",
                        name=name)(x)
        if is_pooled:
            x = keras.layers.MaxPooling2D(3, 2, padding="same")(LocalResponseNormalization()(x))
    model = keras.Model(image, x)
    # Caffe's files have the same names.
    set_weights(model, weights, seed, caffe_names={})
    return cut(model, layers, MEAN_COLOR)
