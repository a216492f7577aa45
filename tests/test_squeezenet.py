"""SqueezeNet as a Keras model: against the benchmark's plain forward pass, with random and with the real weights."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks.embedded_default import score_pair
from benchmarks.squeezenet import activations
from nst_tf.backbones.architectures import FIRES
from nst_tf.backbones.caffe_networks import build_squeezenet
from nst_tf.backbones.extractor import convolutions
from nst_tf.backbones.weights.deep_compression import STORED_LAYERS, read_deep_compression

from .caffe_encoder import CONVOLUTION, CaffeLayer, network, new_blob, new_layer
from .conftest import SHARED, make_picture
from .numpy_networks import photo, probabilities

REAL_FILE = SHARED / "weights/squeezenet_v1.0_deep_compressed.net"
# `python -m tests.numpy_networks` made it.
GOLDEN = Path(__file__).parent / "data/squeezenet1_1_top5.json"
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


def _padded_as_trained(model: keras.Model) -> keras.Model:
    """The same network without what this project pads: conv1 and the pools."""
    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        is_padded = layer.name == "conv1" or isinstance(layer, keras.layers.MaxPooling2D)
        return type(layer).from_config(layer.get_config() | ({"padding": "valid"} if is_padded else {}))

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


@pytest.mark.slow
@pytest.mark.usefixtures("shared_images")
def test_the_published_squeezenet1_1_sees_the_golden_classes(published: Callable[[str, str], str]) -> None:
    weights = published("squeezenet1_1", "imagenet")
    network = _padded_as_trained(build_squeezenet("squeezenet1_1", ("conv10",), weights, seed=0).model)
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(golden) == 6
    for name, top5 in golden.items():
        found = probabilities(np.asarray(network(photo(name)[None])["conv10"][0]))
        labels = [label for label, _ in top5]
        assert np.argsort(-found)[:5].tolist() == labels, name
        np.testing.assert_allclose(found[labels], [value for _, value in top5], atol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_images")
@pytest.mark.skipif(not REAL_FILE.exists(), reason="its judge is SqueezeNet v1.0 in ../shared, not the project's")
def test_the_defaults_of_squeezenet1_1_suit_its_strides(published: Callable[[str, str], str], tmp_path: Path) -> None:
    """By the layers that suit v1.0, with the common content weight, the scores are 0.41 and 0.91."""
    scores, _ = score_pair("tubingen", "the_scream", tmp_path, size=160, steps=100, backbone="squeezenet1_1",
                           weights=published("squeezenet1_1", "imagenet"))
    assert scores.style < 0.3 and scores.content < 0.87
