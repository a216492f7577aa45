"""Reads the convolutions of a `.caffemodel` (Caffe's NetParameter, a protocol buffer) without Caffe.

protobuf parses the few fields of caffe.proto that are needed, and passes over all others. A message stays bytes until
it is needed: the numbers of a classifier of hundreds of megabytes are never unpacked, and millions of empty layers are
counted before they take memory. Source: caffe.proto (Jia et al. 2014, "Caffe").
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from nst_tf.backbones.weights.fitting import LayerArrays, one_line_errors, whole_file

_MOST_LAYERS = 2000             # and blobs of a layer; ResNet-152 has fewer layers
_CONVOLUTIONS = (4, 39, b"Convolution", b"Deconvolution")  # old files number the types of their layers

_Field = descriptor_pb2.FieldDescriptorProto
_INT, _BYTES, _FLOAT, _DOUBLE = _Field.TYPE_INT64, _Field.TYPE_BYTES, _Field.TYPE_FLOAT, _Field.TYPE_DOUBLE
_ONE, _MANY = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
_OLD_SHAPE = ("num", "channels", "height", "width")
# {message: (field, its number in caffe.proto, type, how many), …}; messages inside are bytes.
_MESSAGES = {
    # Files have had `layer` instead of `layers` since 2014.
    "NetParameter": (("layers", 2, _BYTES, _MANY), ("layer", 100, _BYTES, _MANY)),
    "V1LayerParameter": (("name", 4, _BYTES, _ONE), ("type", 5, _INT, _ONE), ("blobs", 6, _BYTES, _MANY)),
    "LayerParameter": (("name", 1, _BYTES, _ONE), ("type", 2, _BYTES, _ONE), ("blobs", 7, _BYTES, _MANY)),
    "BlobProto": (*((name, number, _INT, _ONE) for number, name in enumerate(_OLD_SHAPE, 1)),
                  ("data", 5, _FLOAT, _MANY), ("shape", 7, _BYTES, _ONE), ("double_data", 8, _DOUBLE, _MANY)),
    "BlobShape": (("dim", 1, _INT, _MANY),),
}


def read_convolutions(path: str) -> dict[str, LayerArrays]:
    """{layer: [kernel [out, in / groups, h, w], bias, if any]} of every convolution in a `.caffemodel`, in its order.

    A bias is [out], or [1, 1, 1, out] in old files.

    Raises:
        UserError: the file is too large, cut or no such file, or one of its blobs is inconsistent.
    """
    with one_line_errors(path, "Caffe model"):
        network = _message("NetParameter").FromString(whole_file(path))
        layers: dict[str, LayerArrays] = {}
        for name, layer in itertools.chain(_layers("V1LayerParameter", network.layers),
                                           _layers("LayerParameter", network.layer)):
            if name in layers:
                raise ValueError(f"two layers are called {name}")
            is_convolution = layer.type in _CONVOLUTIONS
            layers[name] = [_array(name, blob) for blob in layer.blobs] if is_convolution else []
        if not layers:
            raise ValueError("no layer has weights")
        return {name: arrays for name, arrays in layers.items() if arrays}


def _layers(message: str, stored: Sequence[bytes]) -> Iterator[tuple[str, Any]]:
    """(name, message) of each layer that has blobs, parsed one by one."""
    _check_count("layers", stored)
    for data in stored:
        layer = _message(message).FromString(data)
        _check_count("blobs", layer.blobs)
        if layer.blobs:
            yield layer.name.decode(), layer


def _check_count(what: str, stored: Sequence[bytes]) -> None:
    if len(stored) > _MOST_LAYERS:
        raise ValueError(f"more than {_MOST_LAYERS} {what}")


def _array(layer: str, data: bytes) -> np.ndarray:
    """The values of one BlobProto, float32 in its shape."""
    blob = _message("BlobProto").FromString(data)
    # As Caffe reads it: the old four sizes before `shape`, doubles before floats.
    old = any(blob.HasField(name) for name in _OLD_SHAPE)
    shape = ([getattr(blob, name) for name in _OLD_SHAPE] if old
             else list(_message("BlobShape").FromString(blob.shape).dim))
    values = blob.double_data or blob.data
    if min(shape, default=0) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"layer {layer} holds {len(values)} values for the shape {shape}")
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32).reshape(shape)


@functools.cache
def _message(name: str) -> Any:
    """The class of a message of `_MESSAGES`."""
    file = descriptor_pb2.FileDescriptorProto(name=name, syntax="proto2")
    described = file.message_type.add(name=name)
    for field, number, kind, label in _MESSAGES[name]:
        described.field.add(name=field, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
