"""The table of backbones: facts against the networks themselves, VGG19 against an independent implementation."""

from collections.abc import Mapping
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.applications import build_application
from nst_tf.backbones.extractor import Extractor, convolutions
from nst_tf.backbones.kmeans import BUNDLED
from nst_tf.backbones.table import BACKBONES, check_weights, layer_listing, smallest_side_px
from nst_tf.vocabulary import UserError

from .caffe_encoder import CONVOLUTION, CaffeLayer, old_blob, old_layer
from .conftest import build, is_too_small, make_picture, map_size

# Weights that need neither a download nor a file.
WEIGHTS = {name: "self" if name == "kmeans" else "random" for name in BACKBONES}


@pytest.fixture(scope="module", params=BACKBONES)
def built(request: pytest.FixtureRequest) -> tuple[str, Extractor]:
    row = BACKBONES[request.param]
    pictures = [make_picture(64, 80, 0), make_picture(70, 60, 1)]
    return request.param, row.build([layer.name for layer in row.layers], WEIGHTS[request.param], 0, pictures)


def test_facts_equal_what_the_network_gives(built: tuple[str, Extractor]) -> None:
    name, extractor = built
    for size in ((96, 160), (75, 101)):
        features = extractor(make_picture(*size, 2)[None])
        assert list(features) == [layer.name for layer in BACKBONES[name].layers]
        for layer in BACKBONES[name].layers:
            assert features[layer.name].shape[1:3] == map_size(name, layer.name, size), layer
            channels = features[layer.name].shape[-1]
            # A network that learns from small pictures keeps fewer filters than its recipe allows.
            assert channels == layer.channels or (name == "kmeans" and 0 < channels < layer.channels)


def test_features_of_a_batch_are_those_of_its_pictures(built: tuple[str, Extractor]) -> None:
    _, extractor = built
    pictures = np.stack([make_picture(75, 91, 3), make_picture(75, 91, 4)])
    both = extractor(pictures)
    for index in range(2):
        for layer, features in extractor(pictures[index:index + 1]).items():
            np.testing.assert_allclose(both[layer][index], features[0], rtol=1e-4,
                                       atol=1e-5 * float(tf.reduce_max(tf.abs(features))))


def test_smallest_side_is_the_smallest_that_works(built: tuple[str, Extractor]) -> None:
    name, whole = built
    for layer in (BACKBONES[name].layers[0], BACKBONES[name].layers[-1]):
        extractor = Extractor(keras.Model(whole.model.inputs[0], {layer.name: whole.model.output[layer.name]}),
                              whole.mean_color)
        side = smallest_side_px(name, [layer.name])
        assert min(extractor(make_picture(side, side + 7, 0)[None])[layer.name].shape) > 0
        assert side == 1 or is_too_small(extractor, make_picture(side - 1, side + 7, 0))


def test_the_network_ends_at_the_deepest_layer_asked_for() -> None:
    extractor = build("vgg19", ["block2_conv1", "block1_conv2"])
    assert [layer.name for layer in extractor.model.layers if "conv" in layer.name] == [
        "block1_conv1", "block1_conv2", "block2_conv1"]


def _convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3×3 cross-correlation with zero padding and ReLU, [H, W, C], in float64."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.maximum(np.einsum("hwcij,ijco->hwo", windows, kernel, optimize=True) + bias, 0)


def _pool(x: np.ndarray) -> np.ndarray:
    height, width = x.shape[0] // 2, x.shape[1] // 2
    return x[:2 * height, :2 * width].reshape(height, 2, width, 2, -1).max(axis=(1, 3))


@pytest.mark.parametrize("name, blocks", [("vgg19", (2, 2, 4, 4, 4)), ("vgg16", (2, 2, 3, 3, 3))])
@pytest.mark.parametrize("size", [(17, 23), (33, 47)])
def test_vgg_equals_an_independent_implementation(name: str, blocks: tuple[int, ...],
                                                  size: tuple[int, int]) -> None:
    layers = ["block1_conv1", "block2_conv1", "block3_pool", "block4_conv2", "block5_conv1", f"block5_conv{blocks[4]}"]
    extractor = build(name, layers, "random", seed=3)
    picture = make_picture(*size, seed=5)
    features = extractor(picture[None])
    x = picture[..., ::-1].astype(np.float64) * 255 - [103.939, 116.779, 123.68]
    for block, count in enumerate(blocks, 1):
        for index in range(1, count + 1):
            layer = f"block{block}_conv{index}"
            x = _convolve(x, *(np.asarray(weight, np.float64) for weight in
                               extractor.model.get_layer(layer).get_weights()))
            _compare(features, layer, x)
        if min(x.shape[:2]) > 1:
            x = _pool(x)
            _compare(features, f"block{block}_pool", x)


def _compare(features: Mapping[str, Any], name: str, expected: np.ndarray) -> None:
    if name in features:
        np.testing.assert_allclose(features[name][0], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_a_file_of_the_other_vgg_is_refused(weight_files: dict[str, str]) -> None:
    with pytest.raises(UserError, match="has a layer 'layers/conv2d_7', which"):
        build_application("vgg16", ["block2_conv1"], weight_files["new"], 0)
    for kind in ("model", "applications"):
        with pytest.raises(UserError, match="has a layer 'block3_conv4', which this backbone does not have"):
            build_application("vgg16", ["block2_conv1"], weight_files[kind], 0)


def test_random_weights_follow_the_seed() -> None:
    row = BACKBONES["squeezenet"]
    first, again, other = (row.build(["fire2"], "random", seed, []).model.get_weights() for seed in (1, 1, 2))
    for left, right, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.ndim == 1 or np.abs(left - different).max() > 0
    deeper = row.build(["fire4"], "random", 1, []).model.get_weights()
    assert len(deeper) > len(first)
    for left, right in zip(first, deeper):
        np.testing.assert_array_equal(left, right)


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of every true format: Keras 3 weights, a whole model, what keras.applications caches, and Caffe's."""
    folder = tmp_path_factory.mktemp("weights")
    model = keras.applications.VGG19(include_top=False, weights=None)
    paths = {name: str(folder / f"vgg19{ending}") for name, ending in
             (("new", ".weights.h5"), ("model", "_model.h5"), ("applications", "_notop.h5"), ("caffe", ".caffemodel"))}
    model.save_weights(paths["new"])
    model.save(paths["model"])
    with h5py.File(paths["applications"], "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            names = [f"{layer.name}_{letter}_1:0" for letter, _ in zip("Wb", layer.weights)]
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = np.array(names, "S")
            group.update(dict(zip(names, layer.get_weights())))
    with open(paths["caffe"], "wb") as caffe_file:
        for layer in convolutions(model):
            kernel, bias = layer.get_weights()
            block, index = layer.name[5], layer.name[-1]
            caffe_file.write(old_layer(CaffeLayer(f"conv{block}_{index}", CONVOLUTION, [
                old_blob(kernel.transpose(3, 2, 0, 1)), old_blob(bias)])))
    paths["kernel"] = str(folder / "kernel.npy")
    np.save(paths["kernel"], model.get_layer("block3_conv2").get_weights()[0])
    return paths


@pytest.mark.parametrize("kind", ["new", "model", "applications", "caffe"])
def test_vgg19_loads_every_kind_of_file(weight_files: dict[str, str], kind: str) -> None:
    extractor = build_application("vgg19", ["block3_conv2"], weight_files[kind], 0)
    kernel, _ = extractor.model.get_layer("block3_conv2").get_weights()
    np.testing.assert_array_equal(kernel, np.load(weight_files["kernel"]))


def test_check_weights() -> None:
    assert check_weights("vgg19", "") == "imagenet" and check_weights("kmeans", "") == "self"
    assert check_weights("vgg19", "random") == "random"
    with pytest.raises(UserError, match="--backbone=squeezenet needs --weights: give a .h5 .* .net file, or random"):
        check_weights("squeezenet", "")
    for backbone, weights, text in (("vgg19", "imagnet", "did you mean 'imagenet'"),
                                    ("kmeans", "imagenet", "self or bundled or random"),
                                    ("vgg19", "none.h5", "no such file"), ("vgg19", "a" * 300 + ".h5", "no such file"),
                                    ("vgg19", __file__, "is no weights file of --backbone=vgg19")):
        with pytest.raises(UserError, match=text):
            check_weights(backbone, weights)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_listing_and_defaults(backbone: str) -> None:
    row = BACKBONES[backbone]
    listing = layer_listing(backbone)
    assert all(layer.name in listing for layer in row.layers) and f"{row.weights_mb} MB" in listing
    for chosen in (row.content_layers, row.style_layers, row.dream_layers):
        assert {name for name, _ in chosen} <= {layer.name for layer in row.layers}
        assert sum(weight for _, weight in chosen) == pytest.approx(1)


def test_a_file_costs_what_the_table_says(built: tuple[str, Extractor]) -> None:
    """Four bytes a parameter; the files of AlexNet and SqueezeNet hold their classifiers too."""
    name, extractor = built
    if name == "kmeans":
        file_bytes: float = BUNDLED.stat().st_size
    else:
        classifier = {"alexnet": 9216 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000,
                      "squeezenet": 512 * 1000 + 1000, "squeezenet1_1": 512 * 1000 + 1000}.get(name, 0)
        # The file of SqueezeNet is compressed.
        bytes_each = {"squeezenet": 675_763 / 1_248_424}.get(name, 4)
        file_bytes = (extractor.model.count_params() + classifier) * bytes_each
    assert BACKBONES[name].weights_mb == pytest.approx(file_bytes / 1e6, rel=0.05)
