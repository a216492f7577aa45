"""What a cell sees, proved in every network: pixels outside its crop change nothing, those inside do."""

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.facts import Geometry, Layer, Operation, geometry
from nst_tf.backbones.table import BACKBONES

from .conftest import make_picture
from .test_receptive_fields import _all_positive, _chosen


def test_where_a_cell_begins_by_hand() -> None:
    # Kernel 7 at stride 2 needs 6 more pixels of an odd side, 3 before it; of an even one 5, and 2 before it.
    first = Operation("a", 7, 2, 3, 8, "same")
    assert geometry([first], "a", 17) == Geometry(-3, 2, 7)
    assert geometry([first], "a", 18) == Geometry(-2, 2, 7)
    assert geometry([first._replace(padding="zero")], "a", 18) == Geometry(-3, 2, 7)
    # 18 → 9 → 5: the pool of an odd side begins one cell, two pixels, before it.
    chain = [first, Operation("b", 3, 2, 1, 8, "same")]
    assert geometry(chain, "b", 18) == Geometry(-2 - 2, 4, 7 + 2 * 2)
    assert geometry(chain, "b", 19) == Geometry(-3, 4, 7 + 2 * 2)  # 19 → 10 → 5: nothing before an even side
    assert Geometry(-4, 4, 11).interval_px(3) == (8, 19)


def test_where_paths_meet_a_cell_sees_from_the_first_start_to_the_last_end() -> None:
    operations = (Operation("a", 3, 2, 0, 8), Operation("_left", 3, 1, 2, 8, inputs=("a",)),
                  Operation("_right", 3, 1, 0, 8, inputs=("a",)),
                  Operation("b", 1, 1, 0, 8, inputs=("_left", "_right")))
    assert geometry(operations, "b", 31) == Geometry(-4, 2, 4 + 3 + 2 * 2)


def test_every_row_has_its_operations() -> None:
    for name, row in BACKBONES.items():
        for layer in row.layers:
            found = geometry(row.operations, layer.name, 2 * layer.receptive_field_px)
            assert (found.stride, found.size_px) == (layer.stride, layer.receptive_field_px)


def _crop(backbone: str, layer: str, size: tuple[int, int], cell: tuple[int, int]) -> tuple[slice, slice]:
    rows, columns = (geometry(BACKBONES[backbone].operations, layer, side_px).interval_px(index)
                     for side_px, index in zip(size, cell))
    return slice(max(0, rows[0]), rows[1]), slice(max(0, columns[0]), columns[1])


@functools.lru_cache(maxsize=1)
def _network(backbone: str, deepest: str, is_open: bool) -> Extractor:
    """The network up to a layer; with `is_open`, every ReLU passes."""
    names = [layer.name for layer in BACKBONES[backbone].layers]
    extractor = BACKBONES[backbone].build(names[:names.index(deepest) + 1], "random", 0, [])
    if is_open:
        _all_positive(extractor)
    return extractor


def _deepest(backbone: str, layer: Layer) -> Layer:
    """The layer up to which a network is built, once for all that need no large pictures."""
    narrow = [other for other in BACKBONES[backbone].layers if other.receptive_field_px <= 160]
    return narrow[-1] if layer in narrow else layer


def _sizes(layer: Layer, smallest_side_px: int) -> list[tuple[int, int]]:
    """Two sizes whose long sides reach beyond the field and differ by an odd number; the short ones are as small."""
    short_px = smallest_side_px + 6
    long_px = layer.receptive_field_px + 3 * layer.stride + short_px
    return [(short_px, long_px), (long_px + 1, short_px + 1)]


@pytest.mark.parametrize("backbone, layer", _chosen())
def test_pixels_outside_the_crop_change_nothing_and_those_inside_do(backbone: str, layer: Layer) -> None:
    deepest = _deepest(backbone, layer)
    extractor = _network(backbone, deepest.name, False)
    for size in _sizes(layer, deepest.smallest_side_px):
        picture, other = make_picture(*size, seed=1), make_picture(*size, seed=2)
        features = extractor(picture[None])[layer.name]
        rows, columns = features.shape[1:3]
        # A corner, where padding counts, the middle, and the opposite corner.
        for cell in ((0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)):
            crop = _crop(backbone, layer.name, size, cell)
            outside, inside = other.copy(), picture.copy()
            outside[crop], inside[crop] = picture[crop], other[crop]
            pair = extractor(np.stack([outside, inside]))[layer.name].numpy()[(slice(None), *cell)]
            recorded = features.numpy()[(0, *cell)]
            noise = 1e-5 * np.abs(features).max()
            np.testing.assert_allclose(pair[0], recorded, rtol=1e-4, atol=noise)
            assert np.abs(pair[1] - recorded).max() > 100 * noise


def _reached(extractor: Extractor, layer: str, picture: np.ndarray, cell: tuple[int, int]) -> tuple[Any, Any]:
    """The rows and columns of the pixels on which a cell depends."""
    x = tf.constant(picture[None])
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = extractor(x)[layer][(0, *cell)]
    reached = np.abs(tape.gradient(value, x)[0]).max(-1) > 0
    return np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))


@pytest.mark.parametrize("backbone, layer", _chosen())
def test_no_side_of_the_crop_is_too_far_out(backbone: str, layer: Layer) -> None:
    """With open ReLUs a cell depends on the outermost pixels: of the brightest where a maximum chooses one."""
    deepest = _deepest(backbone, layer)
    extractor = _network(backbone, deepest.name, True)
    height = deepest.smallest_side_px + 8
    width = height + layer.receptive_field_px + 4 * layer.stride + 1
    size = (height, width)
    cells = extractor(np.zeros((1, *size, 3), np.float32))[layer.name].shape[1:3]
    cell = (cells[0] // 2, cells[1] // 2)
    crop = _crop(backbone, layer.name, size, cell)
    ramp = np.broadcast_to(np.linspace(0.6, 1.0, width, dtype=np.float32)[None, :, None], (*size, 3))
    assert _reached(extractor, layer.name, ramp[:, ::-1], cell)[1][0] == crop[1].start
    assert _reached(extractor, layer.name, ramp, cell)[1][-1] == min(crop[1].stop, width) - 1
