"""AlexNet and both SqueezeNets against plain NumPy, and AlexNet's normalization by its formula."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from nst_tf.backbones.applications import VGG_MEAN_RGB_255, build_application
from nst_tf.backbones.caffe_networks import LocalResponseNormalization, build_alexnet, build_squeezenet
from nst_tf.backbones.extractor import Extractor, convolutions
from nst_tf.vocabulary import UserError

from .caffe_encoder import CONVOLUTION, INNER_PRODUCT, CaffeLayer, network, old_blob, old_layer
from .conftest import make_picture
from .numpy_networks import (
    POOL_AFTER, caffe_input, convolve, pool, read_classic_file, squeezenet, windows_of,
)


def _normalize(x: np.ndarray) -> np.ndarray:
    squares = np.pad(x ** 2, ((0, 0), (0, 0), (2, 2)))
    total = sum(squares[..., start:start + x.shape[-1]] for start in range(5))
    return x / (1 + 1e-4 / 5 * total) ** 0.75


def test_local_response_normalization_by_hand() -> None:
    x = np.array([100, 0, 0, 200, 0, 0, 300], np.float32).reshape(1, 1, 1, 7)
    y = LocalResponseNormalization()(x).numpy().reshape(-1)
    # Channel 0 sees 0 … 2, channel 3 sees 1 … 5, channel 6 sees 4 … 6.
    np.testing.assert_allclose(y[[0, 3, 6]], [100 / 1.2 ** 0.75, 200 / 1.8 ** 0.75, 300 / 2.8 ** 0.75], rtol=1e-5)
    assert (y[[1, 2, 4, 5]] == 0).all()
    features = np.random.default_rng(0).uniform(0, 200, (3, 5, 11)).astype(np.float32)
    np.testing.assert_allclose(LocalResponseNormalization()(features[None])[0], _normalize(features), rtol=1e-5)


@pytest.mark.parametrize("size", [(17, 23), (64, 49)])
def test_alexnet_equals_numpy(size: tuple[int, int]) -> None:
    names = [f"conv{index}" for index in range(1, 6)]
    extractor = build_alexnet(names, "random", seed=3)
    layers = {layer.name: layer for layer in convolutions(extractor.model)}
    assert [layer.groups for layer in layers.values()] == [1, 2, 1, 2, 2]
    picture = make_picture(*size, seed=5)
    features = extractor(picture[None])
    x = caffe_input(picture)
    for name in names:
        x = convolve(x, layers[name].get_weights(), layers[name].strides[0])
        np.testing.assert_allclose(features[name][0], x, rtol=1e-3, atol=1e-4 * x.max(), err_msg=name)
        if name in ("conv1", "conv2"):
            x = pool(_normalize(x))


@pytest.mark.parametrize("version", POOL_AFTER)
def test_squeezenet_equals_numpy(version: str) -> None:
    names = ["conv1", *(f"fire{index}" for index in range(2, 10)), "conv10"]
    extractor = build_squeezenet(version, names, "random", seed=3)
    picture = make_picture(37, 53, seed=5)
    features = extractor(picture[None])
    expected = squeezenet(lambda name: extractor.model.get_layer(name.replace("/", "-")).get_weights(), picture,
                          version)
    for name in names:
        values = expected[name]
        np.testing.assert_allclose(features[name][0], values, rtol=1e-3, atol=1e-4 * values.max(), err_msg=name)


@pytest.mark.slow
def test_the_published_squeezenet1_1_equals_numpy(published: Callable[[str, str], str]) -> None:
    path = published("squeezenet1_1", "imagenet")
    picture = make_picture(75, 61, seed=5)
    expected = squeezenet(read_classic_file(path).__getitem__, picture, "squeezenet1_1")["conv10"]
    found = build_squeezenet("squeezenet1_1", ["conv10"], path, 0)(picture[None])["conv10"]
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-4 * expected.max())


@pytest.mark.slow
def test_the_published_hed_is_a_vgg16(published: Callable[[str, str], str]) -> None:
    path = published("vgg16", "hed")
    extractor = build_application("vgg16", ["block1_conv2", "block5_conv3"], path, 0)
    picture = make_picture(33, 41, seed=5)
    x = caffe_input(picture, VGG_MEAN_RGB_255[::-1])
    with h5py.File(path) as file:
        for layer in ("block1/layers/conv2d", "block1/layers/conv2d_1"):
            x = convolve(x, [file[f"{layer}/vars/{index}"][:] for index in (0, 1)])
        deepest = file["block5/layers/conv2d_2/vars/0"][:]
    np.testing.assert_allclose(extractor(picture[None])["block1_conv2"][0], x, rtol=1e-3, atol=1e-4 * x.max())
    np.testing.assert_array_equal(extractor.model.get_layer("block5_conv3").get_weights()[0], deepest)
    with pytest.raises(UserError, match="has no kernel of layer block3_conv4"):
        build_application("vgg19", ["block1_conv1"], path, 0)


def _caffe_file(path: Path, extractor: Extractor, rename: Callable[[str], str]) -> dict[str, list[np.ndarray]]:
    """A file with other weights for every convolution, (out, in / groups, h, w), and a classifier; what it holds."""
    rng = np.random.default_rng(1)
    stored = {rename(layer.name): [rng.normal(size=kernel.transpose(3, 2, 0, 1).shape), rng.normal(size=bias.shape)]
              for layer in convolutions(extractor.model) for kernel, bias in [layer.get_weights()]}
    layers = [old_layer(CaffeLayer(name, CONVOLUTION, [old_blob(values) for values in blobs]))
              for name, blobs in stored.items()]
    classifier = old_layer(CaffeLayer("fc8", INNER_PRODUCT, [old_blob(rng.normal(size=(10, 7)))]))
    path.write_bytes(network([*layers, classifier]))
    return stored


def test_alexnet_reads_caffes_grouped_kernels(tmp_path: Path) -> None:
    path = tmp_path / "bvlc_alexnet.caffemodel"
    stored = _caffe_file(path, build_alexnet(["conv5"], "random", 0), lambda name: name)
    assert stored["conv2"][0].shape == (256, 48, 5, 5)
    extractor = build_alexnet(["conv1", "conv2"], str(path), seed=0)
    picture = make_picture(40, 51, seed=5)
    features = extractor(picture[None])
    pooled = pool(_normalize(np.asarray(features["conv1"][0], np.float64)))
    # The second half of the filters sees the second half of the channels.
    kernel, bias = stored["conv2"]
    windows = windows_of(pooled, 5, 1, 0.0)[:, :, 48:]
    expected = np.maximum(np.einsum("hwcij,ocij->hwo", windows, kernel[128:], optimize=True) + bias[128:], 0)
    np.testing.assert_allclose(features["conv2"][0][..., 128:], expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_squeezenet1_1_reads_caffes_names(tmp_path: Path) -> None:
    whole = build_squeezenet("squeezenet1_1", ["fire9"], "random", 0)
    path = tmp_path / "squeezenet_v1.1.caffemodel"
    stored = _caffe_file(path, whole, lambda name: name.replace("-", "/"))
    with pytest.raises(UserError, match="conv10"):  # the file above ends at fire9
        build_squeezenet("squeezenet1_1", ["fire2"], str(path), seed=0)
    last = [np.zeros((1000, 512, 1, 1)), np.zeros(1000)]
    path.write_bytes(path.read_bytes() + old_layer(CaffeLayer("conv10", CONVOLUTION, [old_blob(v) for v in last])))
    extractor = build_squeezenet("squeezenet1_1", ["fire2"], str(path), seed=0)
    kernel, _ = extractor.model.get_layer("fire2-expand3x3").get_weights()
    np.testing.assert_allclose(kernel, stored["fire2/expand3x3"][0].transpose(2, 3, 1, 0), rtol=1e-6)
