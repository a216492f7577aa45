"""Writes `.caffemodel` files byte by byte, as Caffe would: an independent witness, without google.protobuf."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

VARINT, EIGHT_BYTES, DELIMITED, FOUR_BYTES = 0, 1, 2, 5
CONVOLUTION, INNER_PRODUCT = (4, "Convolution"), (14, "InnerProduct")


class CaffeLayer(NamedTuple):
    name: str
    kind: tuple[int, str]
    blobs: Sequence[bytes]


def varint(number: int) -> bytes:
    number %= 2**64
    digits = []
    while number >= 128:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])


def field(number: int, wire_type: int, value: bytes | str | int) -> bytes:
    tag = varint(number * 8 + wire_type)
    if wire_type == VARINT:
        assert isinstance(value, int)
        return tag + varint(value)
    data = value.encode() if isinstance(value, str) else value
    assert isinstance(data, bytes)
    return tag + (varint(len(data)) if wire_type == DELIMITED else b"") + data


def old_blob(values: np.ndarray, packed: bool = True) -> bytes:
    """BlobProto with num, channels, height, width: a bias is (1, 1, 1, n)."""
    shape = (1,) * (4 - values.ndim) + values.shape
    sizes = b"".join(field(number, VARINT, size) for number, size in enumerate(shape, 1))
    flat = values.astype("<f4").reshape(-1)
    if packed:
        return sizes + field(5, DELIMITED, flat.tobytes())
    return b"".join(field(5, FOUR_BYTES, struct.pack("<f", value)) for value in flat) + sizes


def new_blob(values: np.ndarray, double: bool = False, packed_shape: bool = True) -> bytes:
    """BlobProto with a BlobShape."""
    if packed_shape:
        shape = field(1, DELIMITED, b"".join(varint(size) for size in values.shape))
    else:
        shape = b"".join(field(1, VARINT, size) for size in values.shape)
    data = field(8, DELIMITED, values.astype("<f8").tobytes()) if double else field(
        5, DELIMITED, values.astype("<f4").tobytes())
    return data + field(7, DELIMITED, shape)


def old_layer(layer: CaffeLayer) -> bytes:
    """V1LayerParameter with neighbors that a reader must skip: bottom, top, blobs_lr, convolution_param."""
    body = field(2, DELIMITED, "data") + field(3, DELIMITED, layer.name) + field(4, DELIMITED, layer.name)
    body += field(5, VARINT, layer.kind[0]) + b"".join(field(6, DELIMITED, blob) for blob in layer.blobs)
    return field(2, DELIMITED, body + field(7, FOUR_BYTES, struct.pack("<f", 2.0)) + field(10, DELIMITED, b"\x08\x40"))


def new_layer(layer: CaffeLayer) -> bytes:
    """LayerParameter with neighbors that a reader must skip."""
    body = field(1, DELIMITED, layer.name) + field(2, DELIMITED, layer.kind[1]) + field(3, DELIMITED, "data")
    body += field(5, FOUR_BYTES, struct.pack("<f", 1.0)) + field(6, DELIMITED, field(3, FOUR_BYTES, b"\0\0\x80\x3f"))
    body += b"".join(field(7, DELIMITED, blob) for blob in layer.blobs)
    return field(100, DELIMITED, body + field(10, VARINT, 1))


def network(layers: Sequence[bytes]) -> bytes:
    """NetParameter with a name, deprecated input sizes, and fields that no caffe.proto knows."""
    head = field(1, DELIMITED, "a net") + field(4, VARINT, 10) + field(777, EIGHT_BYTES, b"unknown!")
    return head + b"".join(layers) + field(4000, DELIMITED, b"unknown") + field(4001, VARINT, -1)
