"""The extractor: picture in [0, 1] → {layer: activations}, preprocessing inside, cut at the deepest layer asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

Tensor = Any


@dataclass(frozen=True)
class Extractor:
    """A network ready to measure pictures.

    `model` maps [B, H, W, 3], RGB in [0, 1], to `{layer: activations [B, h, w, C]}`. `mean_color` is the color that the
    network calls average, in [0, 1].
    """

    model: keras.Model
    mean_color: tuple[float, float, float]

    @property
    def parameters(self) -> int:
        """How many numbers the network holds, up to its deepest layer."""
        return int(self.model.count_params())

    def __call__(self, image: Tensor) -> Mapping[str, Tensor]:
        return self.model(image, training=False)


def randomize(model: keras.Model, seed: int) -> None:
    """Normal weights of variance 2 / fan-in (He et al. 2015), zero biases; the same for each seed on every machine."""
    generator = np.random.default_rng(seed)
    for layer in convolutions(model):
        shape = layer.kernel.shape
        scale = np.sqrt(2.0 / np.prod(shape[:3]))
        layer.set_weights([generator.normal(0.0, scale, shape), np.zeros(shape[3])])


def convolutions(model: keras.Model) -> list[keras.layers.Conv2D]:
    """The convolutions of a model, in its order."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def wrap(model: keras.Model, layers: Sequence[str], mean_color: tuple[float, float, float]) -> Extractor:
    """The extractor of some layers of a Keras model; what lies deeper than all of them is left out."""
    outputs = {layer: model.get_layer(layer).output for layer in layers}
    extractor = keras.Model(model.inputs[0], outputs)
    extractor.trainable = False
    return Extractor(extractor, mean_color)
