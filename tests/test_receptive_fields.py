"""Receptive fields by hand and published; test_geometry.py measures them in every network of the table."""

import pytest

from nst_tf.backbones.facts import Layer, Operation, cells, trace
from nst_tf.backbones.table import BACKBONES


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
