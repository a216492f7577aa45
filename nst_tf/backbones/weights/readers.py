"""Pretrained weights from a file into a whole network, whatever the file's format."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from nst_tf.backbones.extractor import randomize
from nst_tf.backbones.weights.caffe import read_convolutions
from nst_tf.backbones.weights.deep_compression import read_deep_compression
from nst_tf.backbones.weights.fitting import (
    Found, LayerArrays, Need, by_position, fitting_arrays, foreign_layers, needs,
)
from nst_tf.backbones.weights.keras import read_keras
from nst_tf.backbones.weights.npz import read_npz
from nst_tf.io.files import check_readable, quoted
from nst_tf.vocabulary import UserError

READERS: dict[str, Callable[[str, Sequence[Need]], list[LayerArrays]]] = {
    ".h5": read_keras, ".keras": read_keras, ".npz": read_npz}
# {ending: reader of {layer in Caffe: [kernel [out, in / groups, h, w], bias]}}.
CAFFE_READERS: dict[str, Callable[[str], dict[str, LayerArrays]]] = {
    ".caffemodel": read_convolutions, ".net": read_deep_compression}


def set_weights(model: keras.Model, weights: str, seed: int, caffe_names: Mapping[str, str] | None = None,
                used: keras.Model | None = None) -> None:
    """Random weights of a seed for `random`, otherwise those of a file: see `randomize` and `load_weights`."""
    if weights == "random":
        randomize(model, seed, used)
    else:
        load_weights(model, weights, caffe_names)


def load_weights(model: keras.Model, path: str, caffe_names: Mapping[str, str] | None = None) -> None:
    """Replaces every weight of a network, or none.

    Args:
        model: the whole network, before it is cut to some layers: names, numbers and places are those of all layers.
        path: Keras' `.h5`, `.weights.h5` or `.keras`, `.npz` with arrays LAYER/VARIABLE, Caffe's `.caffemodel`, or
            SqueezeNet's Deep Compression `.net`.
        caffe_names: {layer: its name in Caffe}, those that are equal left out; None for a network that Caffe's files do
            not have.
    Raises:
        UserError: a file of another format, damaged or hostile, or the first tensor that does not fit.
    """
    ending = Path(path).suffix.lower()
    wanted = needs(model, caffe_names)
    endings = [*READERS, *(CAFFE_READERS if caffe_names is not None else ())]
    if ending not in endings:
        raise UserError(f"--weights={quoted(path)} is no weights file of this backbone: give one that ends in "
                        f"{', '.join(endings)}")
    check_readable(path, "--weights")
    if ending in READERS:
        arrays = READERS[ending](path, wanted)
    else:
        arrays = _from_caffe(path, wanted, CAFFE_READERS[ending](path))
    for need, values in zip(wanted, arrays, strict=True):
        model.get_layer(need.name).set_weights(values)


def _from_caffe(path: str, wanted: Sequence[Need], stored: Mapping[str, LayerArrays]) -> list[LayerArrays]:
    names = [need.caffe_name for need in wanted]
    found = [Found(name, by_position(need, _in_keras_order(stored.get(name, [])))) for need, name in zip(wanted, names)]
    return fitting_arrays(path, wanted, found, foreign_layers(stored, names))


def _in_keras_order(blobs: Sequence[np.ndarray]) -> LayerArrays:
    """Kernel [out, in / groups, h, w] → [h, w, in / groups, out]; old files write a bias as [1, 1, 1, out]."""
    kernels = [kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel for kernel in blobs[:1]]
    biases = [bias.reshape(-1) if bias.shape[:-1] == (1, 1, 1) else bias for bias in blobs[1:]]
    return kernels + biases
