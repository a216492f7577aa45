"""The Deep Compression stream of SqueezeNet v1.0.

A stream is little-endian: one uint32 count of non-zero weights for each layer; then, layer after layer, a codebook
of 256 float32, the biases (float32), one uint8 code for each non-zero weight, and 4-bit gaps between them, two in a
byte, low nibble first (Han, Mao & Dally 2016, "Deep Compression"; Iandola et al. 2016, "SqueezeNet").
"""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nst_tf.backbones.architectures import FIRES
from nst_tf.backbones.weights.fitting import LayerArrays, one_line_errors

CODEBOOK_SIZE = 256


class StoredLayer(NamedTuple):
    """One convolution in a stream; `shape` is Caffe's (out, in, height, width)."""

    name: str
    shape: tuple[int, int, int, int]


def _squeezenet_layers() -> tuple[StoredLayer, ...]:
    layers = [StoredLayer("conv1", (96, 3, 7, 7))]
    channels = 96
    for fire, (squeeze, expand) in FIRES.items():
        layers += [StoredLayer(f"{fire}/squeeze1x1", (squeeze, channels, 1, 1)),
                   StoredLayer(f"{fire}/expand1x1", (expand, squeeze, 1, 1)),
                   StoredLayer(f"{fire}/expand3x3", (expand, squeeze, 3, 3))]
        channels = 2 * expand
    return (*layers, StoredLayer("conv10", (1000, channels, 1, 1)))


STORED_LAYERS = _squeezenet_layers()


def positions_of(gaps: np.ndarray) -> np.ndarray:
    """Flat positions of the stored weights: p_i = Σ_{j≤i} (gap_j + 1) − 1.

    Args:
        gaps: integers [n] ≥ 0, the number of skipped weights before each stored one.

    Returns:
        int64 [n], strictly increasing.
    """
    return np.cumsum(gaps.astype(np.int64) + 1) - 1


def unpack_nibbles(packed: np.ndarray, count: int) -> np.ndarray:
    """The first `count` 4-bit numbers of uint8 [ceil(count / 2)], low nibble first."""
    return np.stack([packed & 0x0F, packed >> 4], axis=-1).reshape(-1)[:count]


def decode_deep_compression(data: bytes, layers: Sequence[StoredLayer]) -> dict[str, LayerArrays]:
    """The kernels and biases in a Deep Compression stream.

    A weight at a stored position is codebook[code]; every other one is codebook[0].

    Args:
        data: the whole stream.
        layers: what it must contain, in order.

    Returns:
        {name: [kernel float32 [out, in, h, w], bias float32 [out]]}.

    Raises:
        ValueError: the stream is truncated, has trailing bytes, or holds impossible counts, positions or values.

    Source: Han, Mao & Dally (2016), section 3.
    """
    counts = _checked_counts(data, layers)
    stream = io.BytesIO(data)
    stream.seek(4 * len(layers))

    def read(dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(stream.read(count * np.dtype(dtype).itemsize), dtype)

    weights = {}
    for layer, count in zip(layers, counts):
        codebook, bias = read("<f4", CODEBOOK_SIZE), read("<f4", layer.shape[0])
        codes, packed = read("u1", count), read("u1", (count + 1) // 2)
        kernel = _kernel(layer, codebook, codes, positions_of(unpack_nibbles(packed, count)))
        weights[layer.name] = [_finite(layer, kernel), _finite(layer, bias)]
    return weights


def read_deep_compression(path: str) -> dict[str, LayerArrays]:
    """The weights of SqueezeNet v1.0 from its Deep Compression file (675,763 bytes, 1,248,424 parameters).

    Args:
        path: the file, for example `squeezenet_v1.0_deep_compressed.net`.

    Returns:
        {name: [kernel float32 [out, in, h, w], bias float32 [out]]}, by the names of the `.caffemodel` that it was made
        from: `conv1`, `fire2/squeeze1x1`, `fire2/expand1x1`, `fire2/expand3x3` … `fire9/expand3x3`, `conv10`. The
        network expects BGR.

    Raises:
        UserError: the file is missing, unreadable, or not that stream.

    Source: Iandola et al. (2016).
    """
    largest = _stream_bytes(STORED_LAYERS, [math.prod(layer.shape) for layer in STORED_LAYERS])
    with one_line_errors(path, "SqueezeNet v1.0 Deep Compression stream"), open(path, "rb") as file:
        return decode_deep_compression(file.read(largest + 1), STORED_LAYERS)


def _stream_bytes(layers: Sequence[StoredLayer], counts: Sequence[int]) -> int:
    return sum(4 + 4 * CODEBOOK_SIZE + 4 * layer.shape[0] + count + (count + 1) // 2
               for layer, count in zip(layers, counts))


def _checked_counts(data: bytes, layers: Sequence[StoredLayer]) -> list[int]:
    """The header, once it is sure that it fits both the layers and the length of the stream."""
    header_bytes = 4 * len(layers)
    if len(data) < header_bytes:
        raise ValueError(f"{len(data)} bytes are fewer than the header's {header_bytes}")
    counts = np.frombuffer(data, "<u4", len(layers)).tolist()
    for layer, count in zip(layers, counts):
        if count > math.prod(layer.shape):
            raise ValueError(f"layer {layer.name} claims {count} weights, at most {math.prod(layer.shape)} fit")
    expected = _stream_bytes(layers, counts)
    if len(data) != expected:
        kind = "truncated" if len(data) < expected else "trailing bytes"
        raise ValueError(f"{kind} ({len(data)} bytes, {expected} expected)")
    return counts


def _kernel(layer: StoredLayer, codebook: np.ndarray, codes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    size = math.prod(layer.shape)
    if positions.size and positions[-1] >= size:
        raise ValueError(f"layer {layer.name} has a weight at position {positions[-1]}, only {size} exist")
    flat = np.full(size, codebook[0], np.float32)
    flat[positions] = codebook[codes]
    return flat.reshape(layer.shape)


def _finite(layer: StoredLayer, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"layer {layer.name} holds values that are not finite")
    return values.astype(np.float32)
