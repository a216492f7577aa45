"""Caffe's files: written byte by byte by the tests, read into Keras, compared with convolutions by hand."""

import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from nst_tf.backbones.weights.caffe import read_convolutions
from nst_tf.backbones.weights.fitting import LARGEST_FILE_BYTES
from nst_tf.backbones.weights.readers import load_weights
from nst_tf.vocabulary import UserError

from .caffe_encoder import (CONVOLUTION, DELIMITED, INNER_PRODUCT, VARINT, CaffeLayer, field, network, new_blob,
                            new_layer, old_blob, old_layer)

# A grouped layer as AlexNet's conv2, with no two sizes equal, behind a layer as VGG's conv1_1.
KERNELS = {"conv1_1": (4, 3, 3, 3), "conv2": (6, 2, 5, 4)}
CAFFE_NAMES = {"block1_conv1": "conv1_1", "second": "conv2"}


def tensors() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(7)
    return {name: (generator.normal(size=shape).astype(np.float32), generator.normal(size=shape[0]).astype(np.float32))
            for name, shape in KERNELS.items()}


def tiny_model() -> keras.Model:
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="valid", activation="relu", name="block1_conv1")(image)
    return keras.Model(image, keras.layers.Conv2D(6, (5, 4), groups=2, name="second")(x))


def tiny_file(layer: Callable[[CaffeLayer], bytes], blob: Callable[[np.ndarray], bytes],
              classifier: bool = True) -> bytes:
    layers = [layer(CaffeLayer(name, CONVOLUTION, [blob(kernel), blob(bias)]))
              for name, (kernel, bias) in tensors().items()]
    # Data and pooling layers have no blobs; two may have one name (training and testing).
    layers = [layer(CaffeLayer("data", (5, "Data"), []))] * 2 + layers
    if classifier:
        layers.append(layer(CaffeLayer("fc6", INNER_PRODUCT, [blob(np.ones((1, 1, 7, 9))), blob(np.ones(7))])))
    return network(layers)


FORMS: dict[str, bytes] = {
    "old, packed": tiny_file(old_layer, old_blob),
    "old, unpacked": tiny_file(old_layer, lambda values: old_blob(values, packed=False)),
    "new": tiny_file(new_layer, new_blob),
    "new layers, old blobs": tiny_file(new_layer, old_blob),
    "new, doubles": tiny_file(new_layer, lambda values: new_blob(values, double=True)),
    "new, unpacked shapes": tiny_file(new_layer, lambda values: new_blob(values, packed_shape=False)),
}


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Caffe's grouped convolution without padding, by its definition: x [H, W, C], kernel [out, in / groups, h, w]."""
    filters, channels, height, width = kernel.shape
    each = filters // (x.shape[-1] // channels)
    result = np.empty((x.shape[0] - height + 1, x.shape[1] - width + 1, filters))
    for index in range(filters):
        first = index // each * channels
        for row in range(result.shape[0]):
            for column in range(result.shape[1]):
                window = x[row:row + height, column:column + width, first:first + channels]
                result[row, column, index] = np.sum(window * kernel[index].transpose(1, 2, 0)) + bias[index]
    return result


@pytest.mark.parametrize("form", FORMS)
def test_a_network_computes_what_its_caffe_file_says(tmp_path: Path, form: str) -> None:
    path = tmp_path / "tiny.caffemodel"
    path.write_bytes(FORMS[form])
    model = tiny_model()
    load_weights(model, str(path), CAFFE_NAMES)
    picture = np.random.default_rng(1).normal(size=(17, 23, 3))
    first, second = tensors().values()
    expected = convolve(np.maximum(convolve(picture, *first), 0), *second)
    np.testing.assert_allclose(model(picture[None].astype(np.float32))[0], expected, rtol=1e-4, atol=1e-4)


def test_only_convolutions_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "tiny.caffemodel"
    path.write_bytes(FORMS["old, packed"])
    layers = read_convolutions(str(path))
    assert list(layers) == ["conv1_1", "conv2"]
    for name, arrays in tensors().items():
        for read, written in zip(layers[name], arrays, strict=True):
            assert read.dtype == np.float32
            np.testing.assert_array_equal(read.reshape(written.shape), written)


def conv(name: str, *blobs: bytes) -> bytes:
    return new_layer(CaffeLayer(name, CONVOLUTION, blobs))


KERNEL, BIAS = tensors()["conv1_1"]
GOOD = new_blob(KERNEL), new_blob(BIAS)
SECOND = conv("conv2", *(new_blob(values) for values in tensors()["conv2"]))
NEGATIVE = field(5, DELIMITED, struct.pack("<4f", 1, 2, 3, 4)) + b"".join(
    field(number, VARINT, size) for number, size in enumerate((-2, -2, 1, 1), 1))


@pytest.mark.parametrize("data, message", [
    (FORMS["new"][:-40], "is not a readable Caffe model ("),
    (b"\xff\xd8\xff\xe0 a photo", "is not a readable Caffe model ("),
    (b"layer { name: 'conv1' }", "is not a readable Caffe model ("),
    (network([conv("conv1_1", field(7, DELIMITED, field(1, DELIMITED, b"\x04\x03")) + old_blob(BIAS)[8:])]),
     "layer conv1_1 holds 4 values for the shape [4, 3]"),
    (network([conv("conv1_1", NEGATIVE)]), "layer conv1_1 holds 4 values for the shape [-2, -2, 1, 1]"),
    (network([conv("conv1_1", field(5, DELIMITED, b"\0" * 7))]), "is not a readable Caffe model ("),
    (network([conv("conv1_1", *GOOD), conv("conv1_1", *GOOD)]), "two layers are called conv1_1"),
    (network([conv("conv1_1"), conv("conv2")]), "no layer has weights"),
    (network([field(100, DELIMITED, b"")] * 2001), "more than 2000 layers"),
    (network([conv("conv1_1", *[b""] * 2001)]), "more than 2000 blobs"),
    (network([SECOND]), "has no kernel of layer block1_conv1 ('conv1_1' in the file): it is not a file of this"),
    (network([conv("conv1_1", GOOD[0]), SECOND]), "has no bias of layer block1_conv1 ('conv1_1' in the file)"),
    (network([conv("conv1_1", *GOOD, GOOD[1]), SECOND]),
     "has a tensor 3 of layer block1_conv1 ('conv1_1' in the file), which in this backbone has only kernel, bias"),
    (network([conv("conv1_1", new_blob(KERNEL[:, :2]), GOOD[1]), SECOND]),
     "the kernel of layer block1_conv1 ('conv1_1' in the file) is float32 [3, 3, 2, 4], this backbone needs float "
     "[3, 3, 3, 4]"),
    (network([conv("conv1_1", *GOOD), SECOND, conv("conv3_4", *GOOD)]),
     "has a layer 'conv3_4', which this backbone does not have"),
    (network([conv("conv1_1", new_blob(KERNEL * np.inf), GOOD[1]), SECOND]),
     "the kernel of layer block1_conv1 holds values that are not finite"),
    (network([conv("conv1_1", new_blob(KERNEL.astype(float) * 1e300, double=True), GOOD[1]), SECOND]),
     "the kernel of layer block1_conv1 holds values that are not finite"),
])
def test_refusals_are_one_line_and_change_nothing(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.caffemodel"
    path.write_bytes(data)
    model = tiny_model()
    before = model.get_weights()
    with np.errstate(invalid="ignore"), pytest.raises(UserError, match=re.escape(message)) as raised:
        load_weights(model, str(path), CAFFE_NAMES)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.caffemodel"
    with open(path, "wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)  # takes no room on the disk
    with pytest.raises(UserError, match="2147483648 bytes, at most 2147483647 are allowed"):
        read_convolutions(str(path))


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_give_one_line_or_finite_weights(tmp_path: Path, form: str) -> None:
    generator = np.random.default_rng(3)
    path = tmp_path / "damaged.caffemodel"
    refused, slowest = 0, 0.0
    model = tiny_model()
    for attempt in range(150):
        data = bytearray(FORMS[form])
        for position in generator.integers(0, len(data), generator.integers(1, 9)):
            data[position] ^= 1 << generator.integers(0, 8)
        if attempt % 3 == 0:
            del data[generator.integers(0, len(data)):]
        path.write_bytes(data)
        start = time.process_time()
        try:
            load_weights(model, str(path), CAFFE_NAMES)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        assert all(np.isfinite(weight).all() for weight in model.get_weights())
        slowest = max(slowest, time.process_time() - start)
    assert 50 <= refused < 150 and slowest < 2
