"""SqueezeNet as a Keras model: against the benchmark's plain forward pass, with random and with the real weights."""

import numpy as np
import pytest

from benchmarks.squeezenet import activations
from nst_tf.backbones.extractor import convolutions
from nst_tf.backbones.squeezenet import build_squeezenet
from nst_tf.backbones.squeezenet_facts import FIRES
from nst_tf.backbones.deep_compression import read_deep_compression

from .conftest import SHARED, make_picture

REAL_FILE = SHARED / "weights/squeezenet_v1.0_deep_compressed.net"
LAYERS = ("conv1", *FIRES)


@pytest.mark.parametrize("size", [(17, 23), (64, 49)])
def test_every_layer_equals_an_independent_forward_pass(size: tuple[int, int]) -> None:
    extractor = build_squeezenet("squeezenet", LAYERS, "random", seed=3)
    weights = {layer.name.replace("-", "/"): tuple(layer.get_weights()) for layer in convolutions(extractor.model)}
    picture = make_picture(*size, seed=5)[None]
    expected = activations(weights, picture, deepest="fire9")
    features = extractor(picture)
    for layer in LAYERS:
        np.testing.assert_allclose(features[layer], expected[layer], rtol=1e-4,
                                   atol=1e-5 * float(np.max(expected[layer])), err_msg=layer)


@pytest.mark.skipif(not REAL_FILE.exists(), reason="needs the real weights in ../shared, which are not the project's")
def test_the_real_weights_are_loaded_layer_by_layer() -> None:
    extractor = build_squeezenet("squeezenet", ("fire9",), str(REAL_FILE), seed=0)
    picture = make_picture(65, 47, seed=5)[None]
    expected = activations(read_deep_compression(REAL_FILE), picture, deepest="fire9")["fire9"]
    np.testing.assert_allclose(extractor(picture)["fire9"], expected, rtol=1e-3, atol=1e-4 * float(np.max(expected)))
