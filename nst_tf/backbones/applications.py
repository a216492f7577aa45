"""The networks of `keras.applications`, with their preprocessing inside: VGG16, VGG19, ResNet50, Inception v3."""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import keras

from nst_tf.backbones.architectures import OPERATIONS, STEM
from nst_tf.backbones.caffe_networks import in_unit, preprocess
from nst_tf.backbones.extractor import Color, Extractor, cut
from nst_tf.backbones.weights.readers import set_weights
from nst_tf.backbones.weights.sources import weights_file
from nst_tf.vocabulary import UserError


# ImageNet's mean color as VGG was trained on it, RGB.
VGG_MEAN_RGB_255 = (123.68, 116.779, 103.939)
_as_vgg = partial(preprocess, mean_rgb_255=VGG_MEAN_RGB_255)


def _stem_activations(model: keras.Model) -> dict[str, str]:
    """Keras numbers these layers through a whole session (`activation_94`): they are known by their order alone."""
    activations = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Activation)]
    activations.sort(key=lambda name: int(name.rpartition("_")[2]) if "_" in name else 0)
    return dict(zip(STEM, activations))


class Application(NamedTuple):
    """What `keras.applications` does not say of a network in one form for all.

    `preprocess` is that of RGB in [0, 1], as the network's `preprocess_input`; it maps `mean_color` to 0. `aliases` are
    {name in our tables: name in Keras' model} where they differ, `caffe_names` {name in Keras' model: name in Caffe's
    files}, None for a network that Caffe's files do not have.
    """

    name: str  # as `keras.applications` spells it
    preprocess: Callable[[keras.KerasTensor], keras.KerasTensor] = _as_vgg
    mean_color: Color = in_unit(VGG_MEAN_RGB_255)
    aliases: Callable[[keras.Model], Mapping[str, str]] = lambda model: {}
    caffe_names: Mapping[str, str] | None = None


# `block1_conv2` is `conv1_2` in the files of VGG's authors.
_VGG_CAFFE_NAMES = {name: name.replace("block", "conv").replace("_conv", "_")
                    for name, *_ in OPERATIONS["vgg19"] if "conv" in name}
APPLICATIONS = {
    "vgg19": Application("VGG19", caffe_names=_VGG_CAFFE_NAMES),
    "vgg16": Application("VGG16", caffe_names=_VGG_CAFFE_NAMES),
    "resnet50": Application("ResNet50"),
    "inception_v3": Application("InceptionV3", lambda image: image * 2.0 - 1.0, (0.5, 0.5, 0.5), _stem_activations),
}


def build_application(row: str, layers: Sequence[str], weights: str, seed: int) -> Extractor:
    """A row of `APPLICATIONS` with weights `imagenet` (Keras' own download, cache and checksum), of `SOURCES`, `random`
    or a file.

    VGG's convolutions pad with zeros and include their ReLU, so `block4_conv2` is relu4_2 of the papers.

    Args:
        row: a key of `APPLICATIONS`.
        layers: names of the network's table of facts.
    Raises:
        UserError: the download failed, or the file does not hold this network.
    """
    application = APPLICATIONS[row]
    image = keras.Input((None, None, 3), name="image")
    preprocessed = application.preprocess(image)
    model = _downloaded(row, preprocessed) if weights == "imagenet" else _network(row, None, preprocessed)
    if weights != "imagenet":
        set_weights(model, weights_file(row, weights), seed, application.caffe_names)
    return cut(model, layers, application.mean_color, application.aliases(model))


def _network(row: str, weights: str | None, preprocessed: keras.KerasTensor) -> keras.Model:
    return getattr(keras.applications, APPLICATIONS[row].name)(
        include_top=False, weights=weights, input_tensor=preprocessed)


def _downloaded(row: str, preprocessed: keras.KerasTensor) -> keras.Model:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return _network(row, "imagenet", preprocessed)
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        reason = str(error).rpartition(" -- ")[2]
        raise UserError(
            f"{APPLICATIONS[row].name}'s ImageNet weights could not be downloaded ({reason}): put "
            f"{row}_weights_tf_dim_ordering_tf_kernels_notop.h5 into ~/.keras/models/, or give its place with "
            "--weights=PATH, or use --backbone=kmeans, which needs no download") from None
