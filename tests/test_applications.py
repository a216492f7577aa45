"""The networks of keras.applications inside ours: Keras' own network behind Keras' own preprocessing is the oracle."""

import importlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.applications import APPLICATIONS, build_application
from nst_tf.backbones.architectures import STEM
from nst_tf.backbones.table import BACKBONES
from nst_tf.vocabulary import UserError

from .conftest import build, make_picture

MODULES = {"vgg16": "vgg16", "vgg19": "vgg19", "resnet50": "resnet", "inception_v3": "inception_v3"}


def _by_creation(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers with weights: by name, numbered ones by number, which Keras counts through a session."""
    def key(layer: keras.layers.Layer) -> tuple[str, int]:
        numbered = re.fullmatch(r"(conv2d|batch_normalization)(?:_(\d+))?", layer.name)
        return (numbered[1], int(numbered[2] or 0)) if numbered else (layer.name, 0)
    return sorted((layer for layer in model.layers if layer.weights), key=key)


@pytest.mark.parametrize("row", APPLICATIONS)
def test_the_whole_network_equals_keras_behind_its_own_preprocessing(row: str) -> None:
    deepest = BACKBONES[row].layers[-1].name
    extractor = build_application(row, [deepest], "random", 3)
    reference = getattr(keras.applications, APPLICATIONS[row].name)(include_top=False, weights=None)
    rng = np.random.default_rng(0)
    for ours, theirs in zip(_by_creation(extractor.model), _by_creation(reference), strict=True):
        # Batch normalization that does something: its variables are moved off 0 and 1.
        weights = [np.abs(values + rng.normal(0, 0.1, values.shape)) if values.ndim == 1 else values
                   for values in ours.get_weights()]
        ours.set_weights(weights)
        theirs.set_weights(weights)
    preprocess = importlib.import_module(f"keras.applications.{MODULES[row]}").preprocess_input
    pictures = np.stack([make_picture(75, 91, seed) for seed in (1, 2)])
    expected = reference(preprocess(255 * pictures), training=False)
    features = extractor(pictures)[deepest]
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected).max() > 0


def test_the_stem_of_inception_v3_has_the_names_of_its_authors() -> None:
    extractor = build("inception_v3", _first_nine("inception_v3"), "random", 5)
    features = extractor(make_picture(45, 59, 0)[None])
    x = tf.constant(make_picture(45, 59, 0)[None] * 2 - 1)
    convolutions = [layer for layer in _by_creation(extractor.model) if isinstance(layer, keras.layers.Conv2D)]
    # He's random kernels and a batch normalization that only divides by √(1 + ε).
    for name, layer in zip(STEM, convolutions):
        stride, padding = 2 if name == "conv1a" else 1, "SAME" if name == "conv2b" else "VALID"
        x = tf.nn.relu(tf.nn.conv2d(x, layer.kernel, stride, padding) / np.sqrt(1 + 1e-3))
        np.testing.assert_allclose(features[name], x, rtol=1e-3, atol=1e-4 * float(tf.reduce_max(x)))
        if name == "conv2b":
            x = tf.nn.max_pool2d(x, 3, 2, "VALID")


def _first_nine(row: str) -> list[str]:
    return [layer.name for layer in BACKBONES[row].layers[:9]]


@pytest.mark.parametrize("row", APPLICATIONS)
def test_equal_layers_are_equal_however_the_network_is_cut(row: str) -> None:
    deep, picture = build(row, _first_nine(row), "random", 5)(make_picture(45, 51, 0)[None]), make_picture(45, 51, 0)
    for layer, features in build_application(row, _first_nine(row)[:3], "random", 5)(picture[None]).items():
        np.testing.assert_array_equal(features, deep[layer])


def test_keras_counter_of_layers_changes_nothing() -> None:
    """Keras numbers layers through a session; the second network of a session must equal the first."""
    first = build("inception_v3", _first_nine("inception_v3"), "random", 5)
    second = build_application("inception_v3", _first_nine("inception_v3"), "random", 5)
    picture = make_picture(45, 59, 0)[None]
    for layer, features in first(picture).items():
        np.testing.assert_array_equal(features, second(picture)[layer])


@pytest.mark.parametrize("row", APPLICATIONS)
def test_a_failed_download_is_one_line_that_helps(monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise Exception("URL fetch failure on https://x/y.h5: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(keras.applications, APPLICATIONS[row].name, refuse)
    with pytest.raises(UserError) as raised:
        build_application(row, [BACKBONES[row].layers[0].name], "imagenet", 0)
    message = str(raised.value)
    assert "\n" not in message and "Name or service not known" in message
    assert f"{row}_weights_tf_dim_ordering_tf_kernels_notop.h5" in message and "--backbone=kmeans" in message


@pytest.mark.parametrize("row", APPLICATIONS)
def test_weights_in_keras_cache_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, row: str) -> None:
    """Keras looks for exactly the file that the error names, and compares its checksum."""
    seen: dict[str, str] = {}

    def cached(name: str, origin: str, **kwargs: str) -> str:
        seen.update(kwargs, name=name, origin=origin)
        raise Exception("stop here")

    module = importlib.import_module(f"keras.src.applications.{MODULES[row]}")
    monkeypatch.setattr(module.file_utils, "get_file", cached)
    with pytest.raises(UserError, match=re.escape(f"{row}_weights_tf_dim_ordering_tf_kernels_notop.h5")):
        build_application(row, [BACKBONES[row].layers[0].name], "imagenet", 0)
    assert seen["name"] == f"{row}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert seen["cache_subdir"] == "models" and len(seen["file_hash"]) == 32
