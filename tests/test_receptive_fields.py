"""Receptive fields: by hand, published, and measured by gradient in every network of the table."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.facts import Layer, Operation, cells, trace
from nst_tf.backbones.table import BACKBONES

Tensor = Any


def test_a_chain_by_hand() -> None:
    chain = (Operation("a", 3, 1, 1, 8), Operation("", 2, 2, 0, 8), Operation("b", 5, 1, 0, 9))
    assert trace(chain) == (Layer("a", 8, 1, 3, 1), Layer("b", 9, 2, 12, 10))
    assert cells(chain, 11) == [11, 5, 1] and cells(chain, 9) == [9, 4, 0]


def test_where_paths_meet_the_field_covers_both() -> None:
    branching = (
        Operation("a", 3, 2, 1, 8), Operation("_wide", 5, 1, 2, 8, inputs=("a",)),
        Operation("_narrow", 1, 1, 0, 8, inputs=("a",)), Operation("b", 1, 1, 0, 8, inputs=("_narrow", "_wide")),
        # An unpadded path of 3 that begins where a padded one of 3 ends: pixels 0 … 2 and −1 … 1 together.
        Operation("_left", 3, 1, 1, 8, inputs=("a",)), Operation("_right", 3, 1, 0, 8, inputs=("a",)),
        Operation("c", 1, 1, 0, 8, inputs=("_left", "_right")))
    fields = {layer.name: layer.receptive_field_px for layer in trace(branching)}
    assert fields == {"a": 3, "b": 3 + 4 * 2, "c": 3 + 3 * 2}


def test_reflection_needs_more_than_its_margin() -> None:
    assert trace((Operation("a", 5, 1, 2, 8, "reflect"),))[0].smallest_side_px == 3
    assert trace((Operation("a", 5, 1, 2, 8),))[0].smallest_side_px == 1


@pytest.mark.parametrize("backbone, published", [
    ("vgg19", {"block1_conv1": 3, "block2_conv1": 10, "block3_conv1": 24, "block4_conv1": 68, "block4_conv2": 84,
               "block4_conv4": 116, "block5_conv1": 156, "block5_conv4": 252}),
    ("vgg16", {"block3_conv3": 40, "block4_conv3": 92, "block5_conv1": 132, "block5_conv3": 196, "block5_pool": 212}),
    # Araujo, Norris, Sim 2019, table 1.
    ("resnet50", {"conv5_block3_out": 483}), ("inception_v3", {"mixed10": 1311}),
    ("alexnet", {"conv1": 11, "conv2": 51, "conv3": 99, "conv4": 131, "conv5": 163}),
])
def test_published_receptive_fields(backbone: str, published: dict[str, int]) -> None:
    layers = {layer.name: layer.receptive_field_px for layer in BACKBONES[backbone].layers}
    assert {name: layers[name] for name in published} == published


def _all_positive(extractor: Extractor) -> None:
    """Makes every path count: positive kernels, so that no gradients cancel, and biases that keep each ReLU open."""
    for layer in extractor.model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, *bias = layer.get_weights()
            layer.set_weights([np.full(kernel.shape, 1 / np.prod(kernel.shape[:3])), *(values + 1 for values in bias)])


def _extent_px(extractor: Extractor, name: str, height: int, width: int, ramp: Callable[..., Any]) -> tuple[int, int]:
    """First and last pixel along the longer axis that the middle cell's gradient reaches, for a ramp of brightness."""
    axis = 0 if height > width else 1
    along = np.linspace(0.6, 1.0, max(height, width), dtype=np.float32)
    picture = np.broadcast_to(ramp(along)[:, None] if axis == 0 else ramp(along), (height, width))
    x = tf.constant(np.repeat(picture[None, ..., None], 3, -1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        features = extractor(x)[name]
        middle = features[0, features.shape[1] // 2, features.shape[2] // 2, :]
    reached = np.flatnonzero(np.abs(tape.gradient(middle, x)[0]).max(-1).max(1 - axis))
    return int(reached[0]), int(reached[-1])


def _measured_field_px(extractor: Extractor, layer: Layer, is_tall: bool) -> int:
    """A maximum passes its gradient to the brightest pixel alone: the first on a falling ramp, the last on a rising."""
    # Shapes that halve evenly, so that every pooling window is whole.
    long_px = -(-(2 * layer.receptive_field_px + 64) // 64) * 64
    short_px = max(layer.smallest_side_px, 2 * layer.stride)
    size = (long_px, short_px) if is_tall else (short_px, long_px)
    first, _ = _extent_px(extractor, layer.name, *size, lambda along: along[::-1])
    _, last = _extent_px(extractor, layer.name, *size, lambda along: along)
    return last - first + 1


def _chosen() -> list[Any]:
    """The first layer of each network, those used by default, and the last; wide fields need large pictures: slow."""
    chosen = []
    for backbone, row in BACKBONES.items():
        used = [name for layers in (row.content_layers, row.style_layers, row.dream_layers) for name, _ in layers]
        for layer in row.layers:
            if layer.name in (row.layers[0].name, *used, row.layers[-1].name):
                marks = [pytest.mark.slow] if layer.receptive_field_px > 160 else []
                chosen.append(pytest.param(backbone, layer, marks=marks, id=f"{backbone}-{layer.name}"))
    return chosen


@pytest.mark.parametrize("is_tall", [True, False])
@pytest.mark.parametrize("backbone, layer", _chosen())
def test_receptive_fields_measured_by_gradient(backbone: str, layer: Layer, is_tall: bool) -> None:
    extractor = BACKBONES[backbone].build([layer.name], "random", 0, [])
    _all_positive(extractor)
    assert _measured_field_px(extractor, layer, is_tall) == layer.receptive_field_px
