"""The networks of `keras.applications`, with their preprocessing inside: VGG16, VGG19, ResNet50, Inception v3."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import keras

from nst_tf.backbones.architectures import OPERATIONS, POOLED_CLASSIFIER, STEM, VGG_CLASSIFIER
from nst_tf.backbones.caffe_networks import in_unit, preprocess
from nst_tf.backbones.extractor import Color, Extractor, cut
from nst_tf.backbones.facts import Operation
from nst_tf.backbones.weights.download import keras_weights
from nst_tf.backbones.weights.readers import set_weights
from nst_tf.backbones.weights.sources import weights_file


# ImageNet's mean color as VGG was trained on it, RGB.
VGG_MEAN_RGB_255 = (123.68, 116.779, 103.939)
_as_vgg = partial(preprocess, mean_rgb_255=VGG_MEAN_RGB_255)


def _stem_activations(model: keras.Model) -> dict[str, str]:
    """Keras numbers these layers through a whole session (`activation_94`): they are known by their order alone."""
    activations = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Activation)]
    activations.sort(key=lambda name: int(name.rpartition("_")[2]) if "_" in name else 0)
    return dict(zip(STEM, activations))


class ConvolvedDense(keras.layers.Conv2D):
    """A dense layer as the convolution that it is, so that a picture of any size gives a map of scores.

    Of 7 × 7 cells it is a convolution of 7 × 7 without padding. Behind a mean over positions it is one of 1 × 1 before
    that mean: both are linear, so that the mean of its map is what the dense layer gives.

    Source: Long, Shelhamer, Darrell 2015, "Fully convolutional networks for semantic segmentation", section 3.1.
    """

    stored_as = "dense"  # its class in files of weights


class Application(NamedTuple):
    """What `keras.applications` does not say of a network in one form for all.

    `preprocess` is that of RGB in [0, 1], as the network's `preprocess_input`; it maps `mean_color` to 0. `aliases` are
    {name in our tables: name in Keras' model} where they differ, `caffe_names` {name in Keras' model: name in Caffe's
    files}, None for a network that Caffe's files do not have. `classifier` ends in the scores, before their softmax.
    """

    name: str  # as `keras.applications` spells it
    preprocess: Callable[[keras.KerasTensor], keras.KerasTensor] = _as_vgg
    mean_color: Color = in_unit(VGG_MEAN_RGB_255)
    aliases: Callable[[keras.Model], Mapping[str, str]] = lambda model: {}
    caffe_names: Mapping[str, str] | None = None
    classifier: tuple[Operation, ...] = POOLED_CLASSIFIER


# `block1_conv2` is `conv1_2` in the files of VGG's authors.
_VGG_CAFFE_NAMES = {name: name.replace("block", "conv").replace("_conv", "_")
                    for name, *_ in OPERATIONS["vgg19"] if "conv" in name}
APPLICATIONS = {
    "vgg19": Application("VGG19", caffe_names=_VGG_CAFFE_NAMES, classifier=VGG_CLASSIFIER),
    "vgg16": Application("VGG16", caffe_names=_VGG_CAFFE_NAMES, classifier=VGG_CLASSIFIER),
    "resnet50": Application("ResNet50"),
    "inception_v3": Application(
        "InceptionV3", lambda image: image * 2.0 - 1.0, (0.5, 0.5, 0.5), _stem_activations),
}


def build_application(row: str, layers: Sequence[str], weights: str, seed: int) -> Extractor:
    """A row of `APPLICATIONS` with weights `imagenet` (Keras' own download, cache and checksum), of `SOURCES`, `random`
    or a file.

    VGG's convolutions pad with zeros and include their ReLU, so `block4_conv2` is relu4_2 of the papers.

    Args:
        row: a key of `APPLICATIONS`.
        layers: names of the network's table of facts. Those of the classifier need other files of weights, so that it
            is built for them alone.
    Raises:
        UserError: the download failed, or the file does not hold this network.
    """
    application = APPLICATIONS[row]
    has_classifier = any(operation.name in layers for operation in application.classifier)
    file = keras_weights(row, has_classifier) if weights == "imagenet" else weights_file(row, weights)
    image = keras.Input((None, None, 3), name="image")
    preprocessed = application.preprocess(image)
    model = getattr(keras.applications, application.name)(include_top=False, weights=None, input_tensor=preprocessed)
    if has_classifier:
        model = _with_classifier(model, application.classifier)
    extractor = cut(model, layers, application.mean_color, application.aliases(model))
    set_weights(model, file, seed, application.caffe_names, extractor.model)
    return extractor


def _with_classifier(model: keras.Model, operations: Sequence[Operation]) -> keras.Model:
    """The model with its dense layers, which end in a ReLU except for the last one."""
    x = model.output
    for operation in operations:
        activation = None if operation is operations[-1] else "relu"
        x = ConvolvedDense(operation.channels, operation.kernel_px, activation=activation, name=operation.name)(x)
    return keras.Model(model.inputs[0], x)
