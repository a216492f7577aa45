"""SqueezeNet as a Keras model: against the benchmark's plain forward pass, with random and with the real weights."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.squeezenet import activations
from nst_tf.backbones.architectures import FIRES
from nst_tf.backbones.caffe_networks import build_squeezenet
from nst_tf.backbones.extractor import convolutions
from nst_tf.backbones.weights.deep_compression import STORED_LAYERS, read_deep_compression

from .caffe_encoder import CONVOLUTION, CaffeLayer, network, new_blob, new_layer
from .conftest import SHARED, make_picture

REAL_FILE = SHARED / "weights/squeezenet_v1.0_deep_compressed.net"
LAYERS = ("conv1", *FIRES, "conv10")


@pytest.mark.parametrize("size", [(17, 23), (64, 49)])
def test_every_layer_equals_an_independent_forward_pass(size: tuple[int, int]) -> None:
    extractor = build_squeezenet("squeezenet", LAYERS, "random", seed=3)
    weights = {layer.name.replace("-", "/"): (kernel.transpose(3, 2, 0, 1), bias)
               for layer in convolutions(extractor.model) for kernel, bias in [layer.get_weights()]}
    picture = make_picture(*size, seed=5)[None]
    expected = activations(weights, picture)
    features = extractor(picture)
    for layer in LAYERS:
        np.testing.assert_allclose(features[layer], expected[layer], rtol=1e-4,
                                   atol=1e-5 * float(np.max(expected[layer])), err_msg=layer)


def test_a_caffe_file_is_loaded_layer_by_layer(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    weights = {layer.name: (generator.normal(0, 0.05, layer.shape).astype(np.float32),
                            generator.normal(size=layer.shape[0]).astype(np.float32)) for layer in STORED_LAYERS}
    (tmp_path / "squeezenet.caffemodel").write_bytes(network([
        new_layer(CaffeLayer(name, CONVOLUTION, [new_blob(kernel), new_blob(bias)]))
        for name, (kernel, bias) in weights.items()]))
    extractor = build_squeezenet("squeezenet", ("fire3",), str(tmp_path / "squeezenet.caffemodel"), seed=0)
    picture = make_picture(33, 47, seed=5)[None]
    expected = activations(weights, picture, deepest="fire3")["fire3"]
    np.testing.assert_allclose(extractor(picture)["fire3"], expected, rtol=1e-3, atol=1e-4 * float(np.max(expected)))


@pytest.mark.skipif(not REAL_FILE.exists(), reason="needs the real weights in ../shared, which are not the project's")
def test_the_real_weights_are_loaded_layer_by_layer() -> None:
    extractor = build_squeezenet("squeezenet", ("conv10",), str(REAL_FILE), seed=0)
    picture = make_picture(65, 47, seed=5)[None]
    expected = activations(read_deep_compression(str(REAL_FILE)), picture)["conv10"]
    np.testing.assert_allclose(extractor(picture)["conv10"], expected, rtol=1e-3, atol=1e-4 * float(np.max(expected)))
