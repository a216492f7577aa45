"""VGG16 and VGG19 (Simonyan and Zisserman 2015) from `keras.applications`, with their preprocessing inside."""

import contextlib
import sys
from collections.abc import Sequence

import keras
import numpy as np

from nst_tf.backbones.extractor import Extractor, convolutions, randomize, wrap
from nst_tf.backbones.vgg_facts import MEAN_COLOR, MEAN_RGB_255
from nst_tf.backbones.weights import load_weights
from nst_tf.vocabulary import UserError


def build_vgg(name: str, layers: Sequence[str], weights: str, seed: int) -> Extractor:
    """VGG16 or VGG19 with weights `imagenet` (Keras' own download, cache and checksum), `random` or a file.

    Preprocessing as `keras.applications.vgg19.preprocess_input`: RGB → BGR, 0–255, minus the mean color, no scaling.
    Convolutions pad with zeros and include their ReLU, so `block4_conv2` is relu4_2 of the papers.

    Args:
        name: `VGG16` or `VGG19`, as `keras.applications` spells it.
    Raises:
        UserError: the download failed, or the file does not hold this network.
    """
    image = keras.Input((None, None, 3), name="image")
    bgr = image[..., ::-1] * 255.0 - np.asarray(MEAN_RGB_255[::-1], np.float32)
    model = _imagenet(name, bgr) if weights == "imagenet" else getattr(keras.applications, name)(
        include_top=False, weights=None, input_tensor=bgr)
    if weights == "random":
        randomize(model, seed)
    elif weights != "imagenet":
        # block1_conv1 is conv1_1 in the authors' own Caffe files.
        load_weights(model, weights, {layer.name: layer.name.replace("_conv", "_").replace("block", "conv")
                                      for layer in convolutions(model)})
    return wrap(model, layers, MEAN_COLOR)


def _imagenet(name: str, bgr: keras.KerasTensor) -> keras.Model:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return getattr(keras.applications, name)(include_top=False, weights="imagenet", input_tensor=bgr)
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        reason = str(error).rpartition(" -- ")[2]
        raise UserError(
            f"{name}'s ImageNet weights could not be downloaded ({reason}): put {name.lower()}_weights_tf_dim_ordering"
            "_tf_kernels_notop.h5 into ~/.keras/models/, or give its place with --weights=PATH, or use "
            "--backbone=kmeans, which needs no download") from None
