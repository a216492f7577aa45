"""The extractor: picture in [0, 1] → {layer: activations}, preprocessing inside, cut at the deepest layer asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import keras
import numpy as np

from nst_tf.backbones.branches import forked
from nst_tf.backbones.fitting import needs
from nst_tf.tensors import Tensor

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Extractor:
    """A network ready to measure pictures.

    `model` maps [B, H, W, 3], RGB in [0, 1], to `{layer: activations [B, h, w, C]}`: a Keras model, or what
    `saved_model.py` loads. `mean_color` is the color that the network calls average, in [0, 1].
    """

    model: Any
    mean_color: Color

    @property
    def parameters(self) -> int:
        """How many numbers the network holds, up to its deepest layer."""
        return int(self.model.count_params())

    def __call__(self, image: Tensor) -> Mapping[str, Tensor]:
        return self.model(image, training=False)


def randomize(model: keras.Model, seed: int) -> None:
    """Normal kernels of variance 2 / fan-in (He et al. 2015), zero biases; all else as Keras makes it.

    The same for each seed on every machine, and for each layer whatever else there is: it has its own generator.

    Args:
        model: the whole network: layers that Keras numbers (`conv2d_17`) are told apart by their place in it.
    """
    layers = {layer.name: layer for layer in convolutions(model)}
    for need in needs(model):
        if need.name in layers:
            name = f"{need.kind} {need.rank}" if need.numbered else need.name
            generator = np.random.default_rng((seed, crc32(name.encode())))
            kernel, *bias = need.shapes.values()
            scale = np.sqrt(2.0 / np.prod(kernel[:3]))
            layers[need.name].set_weights([generator.normal(0.0, scale, kernel), *map(np.zeros, bias)])


def convolutions(model: keras.Model) -> list[keras.layers.Conv2D]:
    """The convolutions of a model, in its order."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def cut(model: keras.Model, layers: Sequence[str], mean_color: Color,
        aliases: Mapping[str, str] | None = None) -> Extractor:
    """The extractor of some layers of a network; what lies deeper than all of them is left out.

    Args:
        aliases: {name of a layer here: its name in `model`} where they differ.
    """
    names = {layer: (aliases or {}).get(layer, layer) for layer in layers}
    extractor = forked(keras.Model(model.inputs[0], {layer: model.get_layer(name).output
                                                     for layer, name in names.items()}))
    extractor.trainable = False
    return Extractor(extractor, mean_color)
