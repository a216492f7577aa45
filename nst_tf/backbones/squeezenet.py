"""SqueezeNet v1.0 (Iandola et al. 2016) as a Keras model, with its preprocessing inside."""

from collections.abc import Sequence

import keras
import numpy as np

from nst_tf.backbones.extractor import Extractor, convolutions, randomize, wrap
from nst_tf.backbones.squeezenet_facts import FIRES, MEAN_COLOR, MEAN_RGB_255, POOL_AFTER
from nst_tf.backbones.weights import load_weights


def build_squeezenet(layers: Sequence[str], weights: str, seed: int) -> Extractor:
    """SqueezeNet v1.0 with weights from a file (the published `.net` or `.caffemodel`, or Keras'), or `random`.

    Preprocessing as in Caffe: RGB → BGR, 0–255, minus (104, 117, 123). Layers are `conv1` and `fire2` … `fire9`, after
    their ReLU; a fire is the concatenation of its 1×1 and its 3×3 expand.

    Raises:
        UserError: the file does not hold this network.
    """
    image = keras.Input((None, None, 3), name="image")
    x = image[..., ::-1] * 255.0 - np.asarray(MEAN_RGB_255[::-1], np.float32)
    # Differs from Iandola et al. 2016: conv1 and the pools pad like all else, so that any size fits and borders count.
    x = keras.layers.Conv2D(96, 7, strides=2, padding="same", activation="relu", name="conv1")(x)
    for name, (squeeze, expand) in FIRES.items():
        before = "conv1" if name == "fire2" else f"fire{int(name[4:]) - 1}"
        if before in POOL_AFTER:
            x = keras.layers.MaxPooling2D(3, 2, padding="same")(x)
        x = _fire(x, name, squeeze, expand)
    # Nothing measures it, but it is a part of every file.
    x = keras.layers.Conv2D(1000, 1, activation="relu", name="conv10")(x)
    model = keras.Model(image, x)
    if weights == "random":
        randomize(model, seed)
    else:
        load_weights(model, weights, {layer.name: layer.name.replace("-", "/") for layer in convolutions(model)})
    return wrap(model, layers, MEAN_COLOR)


def _fire(x: keras.KerasTensor, name: str, squeeze: int, expand: int) -> keras.KerasTensor:
    """ReLU(1×1 squeeze), then [ReLU(1×1 expand), ReLU(3×3 expand)] side by side."""
    def convolve(x: keras.KerasTensor, kind: str, filters: int, kernel_px: int) -> keras.KerasTensor:
        return keras.layers.Conv2D(filters, kernel_px, padding="same", activation="relu", name=f"{name}-{kind}")(x)

    squeezed = convolve(x, "squeeze1x1", squeeze, 1)
    expands = [convolve(squeezed, "expand1x1", expand, 1), convolve(squeezed, "expand3x3", expand, 3)]
    return keras.layers.Concatenate(name=name)(expands)
