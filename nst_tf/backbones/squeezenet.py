"""SqueezeNet v1.0 and v1.1 (Iandola et al. 2016) as Keras models, with their preprocessing inside."""

from collections.abc import Sequence

import keras

from nst_tf.backbones.caffe import MEAN_COLOR, preprocess
from nst_tf.backbones.extractor import Extractor, convolutions, cut
from nst_tf.backbones.squeezenet_facts import FIRES, VERSIONS
from nst_tf.backbones.weights import set_weights


def build_squeezenet(version: str, layers: Sequence[str], weights: str, seed: int) -> Extractor:
    """SqueezeNet with weights from a file, or `random`.

    Layers are `conv1` and `fire2` … `fire9`, after their ReLU; a fire is the concatenation of its 1×1 and its 3×3
    expand.

    Args:
        version: a key of `VERSIONS`.
    Raises:
        UserError: the file does not hold this network.
    """
    filters, kernel_px, pool_after = VERSIONS[version]
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
    set_weights(model, weights, seed, {layer.name: layer.name.replace("-", "/") for layer in convolutions(model)})
    return cut(model, layers, MEAN_COLOR)


def _fire(x: keras.KerasTensor, name: str, squeeze: int, expand: int) -> keras.KerasTensor:
    """ReLU(1×1 squeeze), then [ReLU(1×1 expand), ReLU(3×3 expand)] side by side."""
    def convolve(x: keras.KerasTensor, kind: str, filters: int, kernel_px: int) -> keras.KerasTensor:
        # Keras allows no "/" in a name, which Caffe's files have there.
        return keras.layers.Conv2D(filters, kernel_px, padding="same", activation="relu", name=f"{name}-{kind}")(x)

    squeezed = convolve(x, "squeeze1x1", squeeze, 1)
    expands = [convolve(squeezed, "expand1x1", expand, 1), convolve(squeezed, "expand3x3", expand, 3)]
    return keras.layers.Concatenate(name=name)(expands)
