"""The extractor: picture in [0, 1] → {layer: activations}, preprocessing inside, cut at the deepest layer asked for."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import keras
import numpy as np
from keras import ops, tree

from nst_tf.backbones.weights.fitting import needs
from nst_tf.tensors import Array, Features, Tensor, at_least_float32, fork


class Fork(keras.layers.Layer):
    """`fork` as a layer, so that it can stand between the layers of a Keras model."""

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return fork(x)


def forked(model: keras.Model) -> keras.Model:
    """The same network, the same layers and weights, with a fork wherever a tensor has several readers.

    A residual block or an Inception block reads one tensor up to four times; TensorFlow would add the gradients of
    these readers in an order that depends on timing (see `fork`).

    Args:
        model: a Functional model whose every layer is called once.
    """
    readers = Counter(id(tensor) for operation in model.operations
                      if not isinstance(operation, keras.layers.InputLayer) for tensor in tree.flatten(operation.input))
    rest: dict[int, Tensor] = {}

    def read(original: Tensor, copy: Tensor) -> Tensor:
        """What one more reader of a tensor gets; the last one needs no fork."""
        key = id(original)
        copy = rest.pop(key, copy)
        readers[key] -= 1
        if readers[key]:
            rest[key], copy = Fork()(copy)
        return copy

    def call(operation: keras.Operation, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return operation(tree.map_structure(read, operation.input, inputs), *args, **kwargs)

    if max(readers.values()) == 1:
        return model
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


Color = tuple[float, float, float]


class Adapted(NamedTuple):
    """The values of `Extractor.own` and the mean color for a job's pictures."""

    values: tuple[Tensor, ...]
    mean_color: Color


@dataclass(frozen=True, eq=False)
class Extractor:
    """A network ready to measure pictures.

    `model` maps [B, H, W, 3], RGB in [0, 1], to `{layer: activations [B, h, w, C]}`: a Keras model, or what
    `saved_model.py` loads. `mean_color` is the color that the network calls average, in [0, 1].

    The weights of `own_layers` follow from the pictures of a job, by `adapt(pictures)`: filters that are learned from
    them, scales of swapped pools. They are handed to each call, so that one compiled step serves every job; without
    them the model's own hold. `reshaped(shapes)` is the network with variables of these shapes, without values.
    """

    model: Any
    mean_color: Color
    own_layers: tuple[str, ...] = ()
    adapter: Callable[[Sequence[Array]], Adapted] | None = None
    reshaped: "Callable[[Sequence[tuple[int, ...]]], Extractor] | None" = None

    @property
    def parameters(self) -> int:
        """How many numbers the network holds, up to its deepest layer, without the scales of swapped pools."""
        return int(self.model.count_params()) - sum(variable.shape == () for variable in self.own)

    @property
    def own(self) -> list[keras.Variable]:
        """The variables of `own_layers`."""
        return [variable for name in self.own_layers for variable in self.model.get_layer(name).variables]

    def adapt(self, pictures: Sequence[Array]) -> Adapted:
        """The values of `own` for the pictures of a job, float32 [H, W, 3] in [0, 1]."""
        if self.adapter is None:
            return Adapted((), self.mean_color)
        values, mean_color = self.adapter(pictures)
        return Adapted(tuple(ops.cast(value, variable.dtype) for value, variable in zip(values, self.own, strict=True)),
                       mean_color)

    def __call__(self, image: Tensor, values: Sequence[Tensor] = ()) -> Features:
        """The features of a picture, in float32."""
        return {layer: at_least_float32(F) for layer, F in self.native(image, values).items()}

    def native(self, image: Tensor, values: Sequence[Tensor] = ()) -> Features:
        """The features as the network computes them: in bfloat16 where it computes so."""
        with self.holding(values):
            return self.model(image, training=False)

    @contextlib.contextmanager
    def holding(self, values: Sequence[Tensor]) -> Iterator[None]:
        """Within the block the variables of `own` have these values for this thread; without any their own."""
        if values:
            with keras.StatelessScope(state_mapping=list(zip(self.own, values, strict=True))):
                yield
        else:
            yield


def randomize(model: keras.Model, seed: int, used: keras.Model | None = None) -> None:
    """Normal kernels of variance 2 / fan-in (He et al. 2015), zero biases; all else as Keras makes it.

    The same for each seed on every machine, and for each layer whatever else there is: it has its own generator.

    Args:
        model: the whole network: layers that Keras numbers (`conv2d_17`) are told apart by their place in it.
        used: a network of some of its layers, all others are left as they are; `model` by default.
    """
    layers = {layer.name: layer for layer in convolutions(used or model)}
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
