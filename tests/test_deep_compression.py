"""The Deep Compression reader: by hand, by a round trip, against hostile files, and against the real network."""

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_tf.backbones.weights.deep_compression import (
    STORED_LAYERS, StoredLayer, decode_deep_compression, positions_of, read_deep_compression, unpack_nibbles,
)
from nst_tf.vocabulary import UserError

SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL_FILE = SHARED / "weights/squeezenet_v1.0_deep_compressed.net"
GOLDEN = SHARED / "weights/squeezenet_golden_top5.json"

TINY = (StoredLayer("a", (2, 3, 1, 2)), StoredLayer("b", (5, 2, 3, 1)))


def encode(layers):
    """A stream of [(codebook, bias, codes, gaps)], written item by item with `struct`."""
    stream = b"".join(struct.pack("<I", len(codes)) for _, _, codes, _ in layers)
    for codebook, bias, codes, gaps in layers:
        stream += struct.pack("<256f", *codebook) + struct.pack(f"<{len(bias)}f", *bias) + bytes(codes)
        even = [*gaps, *[0] * (len(gaps) % 2)]
        stream += bytes(low | high << 4 for low, high in zip(even[::2], even[1::2]))
    return stream


def tiny_stream(gaps_a=(1, 0, 7)):
    codebook = np.arange(256) * 0.5
    return encode([(codebook, (1.0, -2.0), (3, 200, 1), gaps_a),
                   (codebook - 7, (1.0, 2.0, 3.0, 4.0, 5.0), (9, 8, 7, 6), (15, 0, 1, 2))])


def changed_count(stream, layer, count):
    return stream[:4 * layer] + struct.pack("<I", count) + stream[4 * layer + 4:]


def test_positions_and_nibbles_by_hand():
    assert positions_of(np.array([0, 0, 2, 15], np.uint8)).tolist() == [0, 1, 4, 20]
    assert unpack_nibbles(np.array([0x21, 0x43], np.uint8), 3).tolist() == [1, 2, 3]


def test_tiny_stream_by_hand():
    kernel, bias = decode_deep_compression(tiny_stream(), TINY)["a"]
    # Gaps 1, 0, 7 are positions 1, 2, 10 of (out, in, height, width) = (2, 3, 1, 2).
    by_hand = np.zeros(12, np.float32)
    by_hand[[1, 2, 10]] = 1.5, 100.0, 0.5
    assert kernel.shape == (2, 3, 1, 2) and kernel.dtype == bias.dtype == np.float32
    assert kernel[0, 0, 0, 1] == 1.5 and kernel[0, 1, 0, 0] == 100.0 and kernel[1, 2, 0, 0] == 0.5
    np.testing.assert_array_equal(kernel.reshape(-1), by_hand)
    np.testing.assert_array_equal(bias, [1.0, -2.0])


def test_weights_not_stored_are_the_first_of_the_codebook():
    kernel, _ = decode_deep_compression(tiny_stream(), TINY)["b"]
    flat = kernel.reshape(-1)
    assert flat[[15, 16, 18, 21]].tolist() == [-2.5, -3.0, -3.5, -4.0]
    assert (np.delete(flat, [15, 16, 18, 21]) == -7.0).all()


def test_round_trip_of_a_dense_random_layer():
    rng = np.random.default_rng(5)
    layer = StoredLayer("x", (7, 5, 3, 1))
    codebook = rng.normal(size=256).astype(np.float32)
    bias = rng.normal(size=7).astype(np.float32)
    codes = rng.integers(0, 256, 105)
    kernel, read_bias = decode_deep_compression(encode([(codebook, bias, codes.tolist(), [0] * 105)]), [layer])["x"]
    np.testing.assert_array_equal(kernel, codebook[codes].reshape(layer.shape))
    np.testing.assert_array_equal(read_bias, bias)


@pytest.mark.parametrize("stream, message", [
    (b"", "fewer than the header"),
    (tiny_stream()[:7], "fewer than the header"),
    (tiny_stream()[:-1], "truncated"),
    (tiny_stream() + b"\0", "trailing bytes"),
    (changed_count(tiny_stream(), 0, 13), "layer a claims 13 weights, at most 12"),
    (changed_count(tiny_stream(), 1, 2**32 - 1), "layer b claims 4294967295"),
    (changed_count(tiny_stream(), 1, 2), "trailing bytes"),
    (tiny_stream(gaps_a=(1, 0, 9)), "position 12, only 12 exist"),
    (tiny_stream().replace(struct.pack("<2f", 1.0, -2.0), struct.pack("<2f", 1.0, float("nan"))), "not finite"),
])
def test_hostile_streams_are_refused(stream, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        decode_deep_compression(stream, TINY)


def test_every_truncation_is_refused():
    stream = tiny_stream()
    for length in range(len(stream)):
        with pytest.raises(ValueError):
            decode_deep_compression(stream[:length], TINY)


def test_unreadable_and_wrong_files_give_one_line(tmp_path):
    wrong = tmp_path / "photo.net"
    wrong.write_bytes(b"\xff\xd8\xff" * 5000)
    for path in (tmp_path / "none.net", tmp_path, wrong):
        with pytest.raises(UserError, match="SqueezeNet v1.0") as caught:
            read_deep_compression(str(path))
        assert "\n" not in str(caught.value)


def test_layer_table_has_the_published_number_of_parameters():
    assert sum(np.prod(layer.shape) + layer.shape[0] for layer in STORED_LAYERS) == 1_248_424


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs ../shared/weights (SqueezeNet and its golden answers)")
def test_golden_classes_of_the_real_network():
    from benchmarks.squeezenet import class_probabilities
    weights = read_deep_compression(str(REAL_FILE))
    for name, top5 in json.loads(GOLDEN.read_text()).items():
        picture = Image.open(SHARED / "images" / name).convert("RGB").resize((227, 227), Image.Resampling.BICUBIC)
        image = np.asarray(picture, np.float32)[None] / 255
        probabilities = np.asarray(class_probabilities(weights, image))[0]
        assert np.argsort(-probabilities)[:5].tolist() == [label for label, _ in top5]
        np.testing.assert_allclose(probabilities[[label for label, _ in top5]], [p for _, p in top5], atol=0.01)
