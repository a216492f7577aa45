"""Reads Keras' weight files, old and new, by h5py, without configurations and without unpickling.

Keras' own loaders cannot take their place: they refuse a cached `.h5` that has a classifier, load a `.weights.h5` of
another network without a word, and leave a network half loaded when they refuse.

Old files (`.h5`, as `keras.applications` caches them; whole models under `model_weights`) list their layers and each
layer's tensors in attributes. Keras 3 (`.weights.h5`, or inside a `.keras` archive) names layers by class and
place, `layers/conv2d_7/vars/0`, also in a network inside of the network, `block5/layers/conv2d_2/vars/0`. Newer files
keep the name of a layer in an attribute of its `vars`.
"""

import io
import itertools
import math
import re
import struct
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np

from nst_tf.backbones.weights.fitting import (
    LARGEST_FILE_BYTES, Found, LayerArrays, Need, by_position, fitting_arrays, foreign_layers, is_numbered,
    names_in_file, one_line_errors, whole_file,
)
from nst_tf.io.files import quoted
from nst_tf.vocabulary import UserError

_LARGEST_ATTRIBUTE_BYTES = 2**16  # HDF5's own limit, where Keras splits
_MOST_GROUPS = 5_000  # of a file; hard links may go round in circles
_HEAP = b"GCOL\x01\0\0\0"

Layers = dict[str, list[h5py.Dataset]]


class _StoredLayer(NamedTuple):
    """A layer in a file of Keras 3; its name is "" in an older one."""

    name: str
    tensors: list[h5py.Dataset]


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
                _check_backend(path, root, file)
                compared = stored = _old_layers(root)
                names = names_in_file(wanted, stored)
            else:
                layers = _keras3_layers(file)
                names = _keras3_names(wanted, layers)
                stored = {place: layer.tensors for place, layer in layers.items()}
                # What stands beside the group of the network's layers is a head on them.
                groups = {_group(name) for name in names}
                compared = {place: tensors for place, tensors in stored.items() if _group(place) in groups}
            found = [Found(name, by_position(need, stored.get(name, []))) for need, name in zip(wanted, names)]
            return fitting_arrays(path, wanted, found, foreign_layers(compared, names))


def _check_backend(path: str, *groups: h5py.Group) -> None:
    if any("theano" in _strings(group, "backend") for group in groups):
        raise UserError(f"--weights={quoted(path)} was saved by Keras on Theano, whose kernels are mirrored: load it "
                        "there, and save it by Keras on TensorFlow")


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
    layers: Layers = {}
    for name in _strings(root, "layer_names"):
        group = _item(root, name, h5py.Group)
        weights = _strings(group, "weight_names")
        # A network in the network is one layer here; its tensors tell by their names which of its layers has them.
        owners = {weight: weight.rpartition("/")[0] for weight in weights}
        is_network = len(set(owners.values())) > 1
        for weight in weights:
            owner = owners[weight].rpartition("/")[2] if is_network else name
            layers.setdefault(owner, []).append(_item(group, weight, h5py.Dataset))
    return layers


def _keras3_layers(file: h5py.File) -> dict[str, _StoredLayer]:
    """{place: layer}, in the order of the places: `conv2d_2` comes before `conv2d_10`."""
    layers, groups = {}, [("", file)]
    for path, group in groups:  # which grows meanwhile
        for name in group:
            child = _item(group, name, h5py.HLObject)
            if name == "vars" and isinstance(child, h5py.Group) and len(child):
                tensors = [_item(child, key, h5py.Dataset) for key in sorted(child, key=int)]
                layers[path.strip("/")] = _StoredLayer("".join(_strings(child, "name")), tensors)
            elif isinstance(child, h5py.Group):
                groups.append((f"{path}/{name}", child))
            if len(groups) > _MOST_GROUPS:
                raise ValueError(f"more than {_MOST_GROUPS} groups")
    if not layers:
        raise ValueError("it lists no layers")
    return {place: layers[place] for place in sorted(layers, key=_in_words_and_numbers)}


def _in_words_and_numbers(place: str) -> list[str | int]:
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", place))]


def _keras3_names(wanted: Sequence[Need], stored: dict[str, _StoredLayer]) -> list[str]:
    """The place of each layer: by the names that the file keeps, or by its class and rank if that finds more."""
    places: dict[str, str] = {}
    for place, layer in stored.items():
        if layer.name:
            places.setdefault(layer.name, place)
    named = [places.get(name, "") for name in names_in_file(wanted, places)]
    by_class = {need.kind: iter([place for place in stored if is_numbered(place.rpartition("/")[2], need.kind)])
                for need in wanted}
    in_order = [next(by_class[need.kind], "") for need in wanted]
    return max(named, in_order, key=lambda found: sum(map(bool, found)))


def _group(place: str) -> str:
    return place.rpartition("/")[0]


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
