"""Reads Keras' weight files, old and new, by h5py, without configurations and without unpickling.

Keras' own loaders cannot take their place: they refuse a cached `.h5` that has a classifier, load a `.weights.h5` of
another network without a word, and leave a network half loaded when they refuse.

Old files (`.h5`, as `keras.applications` caches them; whole models under `model_weights`) list their layers and each
layer's tensors in attributes; Keras 3 (`.weights.h5`, or inside a `.keras` archive) names layers by class and place,
`layers/conv2d_7/vars/0`.
"""

import io
import itertools
import math
import struct
import zipfile
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from nst_tf.backbones.weights.fitting import (
    LARGEST_FILE_BYTES, Found, LayerArrays, Need, by_position, fitting_arrays, foreign_layers, names_in_file,
    one_line_errors, whole_file,
)

_LARGEST_ATTRIBUTE_BYTES = 2**16  # HDF5's own limit, where Keras splits
_HEAP = b"GCOL\x01\0\0\0"

Layers = dict[str, list[h5py.Dataset]]


def read_keras(path: str, wanted: Sequence[Need]) -> list[LayerArrays]:
    """The weights of every layer of a network, in its order; a classifier in the file is left out.

    Raises:
        UserError: no such file, the first tensor that does not fit, or a convolution that the network does not have.
    """
    with one_line_errors(path, "Keras file"):
        data = _weights(path)
        _check_heaps(data)
        with h5py.File(io.BytesIO(data), "r") as file:
            root = _item(file, "model_weights", h5py.Group) if "model_weights" in file else file
            if _strings(root, "layer_names"):
                stored = _old_layers(root)
                names = names_in_file(wanted, stored)
            elif "layers" in file:
                stored = _keras3_layers(file)
                names = [f"{need.kind}_{need.rank}" if need.rank else need.kind for need in wanted]
            else:
                raise ValueError("it lists no layers")
            found = [Found(name, by_position(need, stored.get(name, []))) for need, name in zip(wanted, names)]
            return fitting_arrays(path, wanted, found, foreign_layers(stored, names))


def _weights(path: str) -> bytes:
    """An HDF5 file, or the one in a `.keras` archive."""
    if not path.lower().endswith(".keras"):
        return whole_file(path)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("model.weights.h5")
        # Keras stores it as it is; compressed, a small archive might unpack to terabytes.
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError("its weights are compressed, which Keras never does")
        if entry.file_size > LARGEST_FILE_BYTES:
            raise ValueError(f"{entry.file_size} bytes of weights, at most {LARGEST_FILE_BYTES} are allowed")
        return archive.read(entry)


def _old_layers(root: h5py.Group) -> Layers:
    """{layer: its tensors} in the file's order, which is that of the model's layers."""
    layers = {}
    for name in _strings(root, "layer_names"):
        group = _item(root, name, h5py.Group)
        layers[name] = [_item(group, weight, h5py.Dataset) for weight in _strings(group, "weight_names")]
    return {name: tensors for name, tensors in layers.items() if tensors}


def _keras3_layers(file: h5py.File) -> Layers:
    """{class and place: its tensors}."""
    layers = {}
    root = _item(file, "layers", h5py.Group)
    for name in root:
        if "vars" in _item(root, name, h5py.Group):
            variables = _item(root, f"{name}/vars", h5py.Group)
            layers[name] = [_item(variables, key, h5py.Dataset) for key in sorted(variables, key=int)]
    return layers


def _item(group: h5py.Group, path: str, kind: type) -> Any:
    """The group or dataset at a path. Links and outside storage are refused: they can name any file of the machine."""
    for part in path.split("/"):
        if not isinstance(group, h5py.Group) or not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{path} is missing or a link")
        group = group[part]
    if not isinstance(group, kind):
        raise ValueError(f"{path} is no {kind.__name__.lower()}")
    if isinstance(group, h5py.Dataset):
        if group.is_virtual or group.external:
            raise ValueError(f"{path} is stored outside the file")
        # A chunk is unpacked whole, however little of it the dataset needs.
        if math.prod(group.chunks or ()) > max(group.size or 0, 1):
            raise ValueError(f"{path} is stored in chunks larger than itself")
    return group


def _strings(group: h5py.Group, name: str) -> list[str]:
    """A list of strings in an attribute; Keras splits a long one over `name`0, `name`1, …"""
    numbered = itertools.takewhile(lambda part: part in group.attrs, (f"{name}{index}" for index in itertools.count()))
    parts = [name] if name in group.attrs else numbered
    values = [value for part in parts for value in _attribute(group, part)]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _attribute(group: h5py.Group, name: str) -> list[Any]:
    attribute = group.attrs.get_id(name)
    if 0 in attribute.shape:  # a layer without weights
        return []
    # Checked before it is read: h5py crashes on some lists of another type.
    if not h5py.check_string_dtype(attribute.dtype):
        raise ValueError(f"{name} is no list of names")
    if math.prod(attribute.shape) * attribute.dtype.itemsize > _LARGEST_ATTRIBUTE_BYTES:
        raise ValueError(f"{name} claims more than {_LARGEST_ATTRIBUTE_BYTES} bytes")
    return np.atleast_1d(group.attrs[name]).tolist()


def _check_heaps(data: bytes) -> None:
    """HDF5 1.14 walks a damaged heap of strings for ever, with no way to interrupt it.

    Source: The HDF Group, "HDF5 file format specification", III.E, the global heap.
    """
    begin = data.find(_HEAP)
    while begin >= 0:
        size, = struct.unpack("<Q", data[begin + 8:begin + 16])
        place, end = begin + 16, begin + size
        while place + 16 <= end:
            index, length = struct.unpack("<H6xQ", data[place:place + 16])
            step = 16 + -(-length // 8) * 8 if index else length
            if not 0 < step <= end - place:
                raise ValueError(f"byte {place} stands in a damaged heap")
            place += step
        begin = data.find(_HEAP, begin + len(_HEAP))
