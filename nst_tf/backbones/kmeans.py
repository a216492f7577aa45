"""The embedded backbone: a convolutional network whose filters are cluster centers of whitened patches.

No download and no back-propagation: `kmeans_learning.learn` finds the filters in the very pictures at hand. This file
is the network itself: the Keras model and the file format.

Source: Coates and Ng 2012, "Learning feature representations with k-means", for the filters; reflect padding and
binomial pooling are ours.
"""

import io
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from nst_tf.backbones.architectures import LayerRecipe, RECIPE
from nst_tf.backbones.extractor import Color
from nst_tf.backbones.surgery import BinomialPooling, Pad, binomial
from nst_tf.backbones.weights.npz import stored_arrays
from nst_tf.io.files import quoted, write_atomically
from nst_tf.vocabulary import UserError, check_name

BUNDLED = Path(__file__).with_name("kmeans_bundled.npz")
LARGEST_FILE_BYTES = 8_000_000


class Filters(NamedTuple):
    """kernel float32 [k, k, channels in, channels out] and bias float32 [channels out]."""

    kernel: np.ndarray
    bias: np.ndarray


def pool(features: Any) -> Any:
    """Halves [B, H, W, C] to [B, ⌈H/2⌉, ⌈W/2⌉, C] by `binomial`, edges reflected."""
    return binomial(_reflect(features, 1))


def convolve(features: Any, filters: Filters) -> Any:
    """ReLU(kernel ∗ features + bias), as large as `features`, edges reflected."""
    features = _reflect(features, filters.kernel.shape[0] // 2)
    kernel, bias = (ops.cast(values, features.dtype) for values in filters)
    return ops.relu(ops.conv(features, kernel, padding="valid") + bias)


def build(filters: Mapping[str, Filters], layers: Iterable[str],
          recipe: Sequence[LayerRecipe] = RECIPE) -> keras.Model:
    """The network up to the deepest layer asked for, as a Functional model.

    Args:
        filters: what `learn` or `load` returned.
        layers: names of `recipe`, in any order.
        recipe: the one the filters were learned with.
    Returns:
        a model: image float32 [B, H, W, 3], sRGB in [0, 1] → {layer: activations [B, h, w, channels]}.
    Raises:
        UserError: a layer that the recipe does not have.
    """
    wanted = {check_name("layer", name, [layer.name for layer in recipe]) for name in layers}
    image = features = keras.Input((None, None, 3), name="image")
    outputs: dict[str, Any] = {}
    for layer in recipe:
        if len(outputs) == len(wanted):
            break
        if layer.pool_before:
            features = BinomialPooling()(Pad.margin("reflect", 1)(features))
        padded = Pad.margin("reflect", layer.kernel_px // 2)(features)
        features = _convolution(layer, filters[layer.name])(padded)
        if layer.name in wanted:
            outputs[layer.name] = features
    return keras.Model(image, outputs, name="kmeans")


def save(path: str | os.PathLike[str], filters: Mapping[str, Filters], mean_color: Color) -> None:
    """Writes the filters as a float16 .npz file, whole or not at all; equal filters give equal bytes."""
    arrays: dict[str, Any] = {f"{name}/{part}": values.astype(np.float16)
                              for name, layer in filters.items() for part, values in layer._asdict().items()}
    buffer = io.BytesIO()
    np.savez(buffer, mean_color=np.asarray(mean_color, np.float16), **arrays)
    write_atomically(path, buffer.getvalue())


def load(path: str | os.PathLike[str], recipe: Sequence[LayerRecipe] = RECIPE) -> tuple[dict[str, Filters], Color]:
    """The filters that `save` wrote, as float32, and the mean color of the pictures that they were learned from.

    Raises:
        UserError: the file is missing, is no such archive, or does not hold the filters of `recipe`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Before anything is unpacked: a small archive may say that it unpacks to terabytes.
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_FILE_BYTES:
                raise ValueError(f"more than {LARGEST_FILE_BYTES} bytes")
            arrays = stored_arrays(archive)
            filters = {layer.name: Filters(*(np.asarray(arrays[f"{layer.name}/{part}"], np.float32)
                                             for part in Filters._fields)) for layer in recipe}
            red, green, blue = (float(value) for value in np.asarray(arrays["mean_color"]))
        _check_shapes(filters, recipe)
    except Exception as error:  # NumPy and zipfile raise almost anything on a damaged or hostile file.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UserError(f"filter file {quoted(path)} cannot be used ({reason}): give one that learn_filters.py "
                        "wrote") from None
    return filters, (red, green, blue)


def random_filters(seed: int, recipe: Sequence[LayerRecipe] = RECIPE) -> dict[str, Filters]:
    """Normal kernels of variance 2 / fan-in (He et al. 2015), zero biases; the same for each seed on every machine."""
    generator, channels, filters = np.random.default_rng(seed), 3, {}
    for layer in recipe:
        shape = (layer.kernel_px, layer.kernel_px, channels, layer.filters)
        kernel = generator.normal(0.0, np.sqrt(2.0 / np.prod(shape[:3])), shape)
        filters[layer.name] = Filters(kernel.astype(np.float32), np.zeros(layer.filters, np.float32))
        channels = layer.filters
    return filters


def _reflect(features: Any, margin_px: int) -> Any:
    margin = (margin_px, margin_px)
    return ops.pad(features, ((0, 0), margin, margin, (0, 0)), mode="reflect")


def _convolution(layer: LayerRecipe, filters: Filters) -> keras.layers.Layer:
    convolution = keras.layers.Conv2D(filters.bias.size, layer.kernel_px, activation="relu", name=layer.name,
                                      trainable=False)
    convolution.build((None, None, None, filters.kernel.shape[2]))
    convolution.set_weights(list(filters))
    return convolution


def _check_shapes(filters: Mapping[str, Filters], recipe: Iterable[LayerRecipe]) -> None:
    channels = 3
    for layer in recipe:
        kernel, bias = filters[layer.name]
        if bias.ndim != 1 or kernel.shape != (layer.kernel_px, layer.kernel_px, channels, bias.size):
            raise ValueError(f"layer {layer.name} has shapes {kernel.shape} and {bias.shape}")
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise ValueError(f"layer {layer.name} holds values that are not finite")
        channels = bias.size
