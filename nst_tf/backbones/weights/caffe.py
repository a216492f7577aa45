"""Reads the convolutions of a `.caffemodel` (Caffe's NetParameter, a protocol buffer) without Caffe.

    NetParameter = layers:2 V1LayerParameter …, or since 2014 layer:100 LayerParameter …
    V1LayerParameter = name:4, type:5 (a number), blobs:6 BlobProto …
    LayerParameter = name:1, type:2 (a string), blobs:7 BlobProto …

The two outer levels are walked here by their wire format, so that nothing of a classifier of hundreds of megabytes is
copied; protobuf itself parses the blobs of the convolutions. Source: caffe.proto (Jia et al. 2014, "Caffe").
"""

import functools
import math
import mmap
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from nst_tf.backbones.weights.fitting import Arrays, one_line_errors

LARGEST_FILE_BYTES = 2**31 - 1  # protobuf's own limit
_MOST_FIELDS = 2000             # of a network or of a layer; ResNet-152 has fewer
_CONVOLUTIONS = (4, 39, b"Convolution", b"Deconvolution")
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5


class _LayerFields(NamedTuple):
    name: int
    type: int
    blobs: int


_LAYERS = {2: _LayerFields(name=4, type=5, blobs=6), 100: _LayerFields(name=1, type=2, blobs=7)}

_Field = descriptor_pb2.FieldDescriptorProto
_OLD_SHAPE = ("num", "channels", "height", "width")
_BLOB_FIELDS = [(name, number, _Field.TYPE_INT64, _Field.LABEL_OPTIONAL) for number, name in enumerate(_OLD_SHAPE, 1)]
_BLOB_FIELDS += [("data", 5, _Field.TYPE_FLOAT, _Field.LABEL_REPEATED),
                 ("shape", 7, _Field.TYPE_MESSAGE, _Field.LABEL_OPTIONAL),
                 ("double_data", 8, _Field.TYPE_DOUBLE, _Field.LABEL_REPEATED)]


def read_convolutions(path: str) -> dict[str, Arrays]:
    """{layer: [kernel [out, in / groups, h, w], bias, if any]} of every convolution in a `.caffemodel`, in its order.

    A bias is [out], or [1, 1, 1, out] in old files.

    Raises:
        UserError: the file is too large, cut or no such file, or one of its blobs is inconsistent.
    """
    with one_line_errors(path, "Caffe model"), open(path, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if len(data) > LARGEST_FILE_BYTES:
                raise ValueError(f"{len(data)} bytes, at most {LARGEST_FILE_BYTES} are allowed")
            layers: dict[str, Arrays] = {}
            names = set()
            for layer in _layers(data):
                if layer.name in names:
                    raise ValueError(f"two layers are called {layer.name}")
                names.add(layer.name)
                if layer.type in _CONVOLUTIONS:
                    layers[layer.name] = [_array(layer.name, data[span]) for span in layer.blobs]
            if not names:
                raise ValueError("no layer has weights")
            return layers


class _Layer(NamedTuple):
    name: str
    type: Any           # bytes, or a number in old files
    blobs: list[slice]


def _layers(data: mmap.mmap) -> Iterator[_Layer]:
    """The layers that have blobs."""
    for number, span in _fields(data, 0, len(data)):
        if number in _LAYERS and isinstance(span, slice):
            fields = _LAYERS[number]
            name, kind, blobs = b"", None, []
            for part, value in _fields(data, span.start, span.stop):
                if part == fields.blobs and isinstance(value, slice):
                    blobs.append(value)
                elif part == fields.type:
                    kind = data[value] if isinstance(value, slice) else value
                elif part == fields.name and isinstance(value, slice):
                    name = data[value]
            if blobs:
                yield _Layer(name.decode(), kind, blobs)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int | slice]]:
    """(field number, value) of the message in data[start:end]; strings and messages as where they stand.

    Source: Google, "Protocol Buffers: encoding".
    """
    for _ in range(_MOST_FIELDS):
        if start == end:
            return
        tag, start = _varint(data, start, end)
        wire_type = tag & 7
        if wire_type == _VARINT:
            number, start = _varint(data, start, end)
            yield tag >> 3, number
            continue
        if wire_type == _DELIMITED:
            size, start = _varint(data, start, end)
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire_type == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"byte {start} is no field")
        if size > end - start:
            raise ValueError(f"a field of {size} bytes at byte {start}, where only {end - start} follow")
        yield tag >> 3, slice(start, start + size)
        start += size
    raise ValueError(f"more than {_MOST_FIELDS} fields")


def _varint(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and where it ends."""
    number = 0
    for index, byte in enumerate(data[start:min(start + 10, end)]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, start + index + 1
    raise ValueError(f"byte {start} begins no number")


def _array(layer: str, data: bytes) -> np.ndarray:
    """The values of one BlobProto, float32 in its shape."""
    blob = _blob_message().FromString(data)
    # As Caffe reads it: the old four sizes before `shape`, doubles before floats.
    old = any(blob.HasField(name) for name in _OLD_SHAPE)
    shape = [getattr(blob, name) for name in _OLD_SHAPE] if old else list(blob.shape.dim)
    values = blob.double_data or blob.data
    if min(shape, default=0) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"layer {layer} holds {len(values)} values for the shape {shape}")
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32).reshape(shape)


@functools.cache
def _blob_message() -> Any:
    """The class of BlobProto, made here from the field numbers of caffe.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="blob.proto", package="caffe", syntax="proto2")
    shape = file.message_type.add(name="BlobShape")
    shape.field.add(name="dim", number=1, type=_Field.TYPE_INT64, label=_Field.LABEL_REPEATED)
    blob = file.message_type.add(name="BlobProto")
    for name, number, kind, label in _BLOB_FIELDS:
        blob.field.add(name=name, number=number, type=kind, label=label,
                       type_name=".caffe.BlobShape" if kind == _Field.TYPE_MESSAGE else None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.BlobProto"))
