"""What a cell sees, proved in every network: pixels outside its crop change nothing, those inside do."""

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.facts import Geometry, Layer, Operation, geometry
from nst_tf.backbones.table import BACKBONES

from .conftest import build, make_picture, map_size


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


def _sizes(layer: Layer) -> list[tuple[int, int]]:
    """Two sizes whose long sides reach beyond the field and differ by an odd number; the short ones are as small."""
    short_px = layer.smallest_side_px + 6
    long_px = layer.receptive_field_px + 3 * layer.stride + short_px
    return [(short_px, long_px), (long_px + 1, short_px + 1)]


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


def _all_positive(extractor: Extractor) -> None:
    """Makes every path count: positive kernels, so that no gradients cancel, and biases that keep each ReLU open."""
    for layer in extractor.model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, *bias = layer.get_weights()
            layer.set_weights([np.full(kernel.shape, 1 / np.prod(kernel.shape[:3])), *(values + 1 for values in bias)])


@functools.lru_cache(maxsize=4)
def _opened_up_to(backbone: str, deepest: str) -> Extractor:
    names = [layer.name for layer in BACKBONES[backbone].layers]
    extractor = build(backbone, names[:names.index(deepest) + 1])
    opened = Extractor(keras.models.clone_model(extractor.model), extractor.mean_color)
    _all_positive(opened)
    return opened


def _only(extractor: Extractor, layer: Layer) -> Extractor:
    """The same network up to a layer: what lies behind it need not be computed."""
    model = extractor.model
    return Extractor(keras.Model(model.inputs[0], {layer.name: model.output[layer.name]}), extractor.mean_color)


def _deepest(backbone: str, layer: Layer) -> Layer:
    """The layer up to which a network is built, once for all that need no large pictures."""
    narrow = [other for other in BACKBONES[backbone].layers if other.receptive_field_px <= 160]
    return narrow[-1] if layer in narrow else layer


def _opened(backbone: str, layer: Layer) -> Extractor:
    """The network up to a layer or deeper, every ReLU of which passes."""
    return _only(_opened_up_to(backbone, _deepest(backbone, layer).name), layer)


@pytest.mark.parametrize("backbone, layer", _chosen())
def test_pixels_outside_the_crop_change_nothing_and_those_inside_do(backbone: str, layer: Layer) -> None:
    deepest, names = _deepest(backbone, layer), [layer.name for layer in BACKBONES[backbone].layers]
    extractor = _only(build(backbone, names[:names.index(deepest.name) + 1]), layer)
    for size in _sizes(layer):
        picture, other = make_picture(*size, seed=1), make_picture(*size, seed=2)
        rows, columns = map_size(backbone, layer.name, size)
        # A corner, where padding counts, the middle, and the opposite corner.
        cells = ((0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1))
        changed = []
        for cell in cells:
            crop = _crop(backbone, layer.name, size, cell)
            outside, inside = other.copy(), picture.copy()
            outside[crop], inside[crop] = picture[crop], other[crop]
            changed += [outside, inside]
        features = extractor(np.stack([picture, *changed]))[layer.name].numpy()
        noise = 1e-5 * np.abs(features[0]).max()
        for index, cell in enumerate(cells):
            recorded, *pair = features[[0, 2 * index + 1, 2 * index + 2]][(slice(None), *cell)]
            np.testing.assert_allclose(pair[0], recorded, rtol=1e-4, atol=noise)
            assert np.abs(pair[1] - recorded).max() > 100 * noise


def _reached(extractor: Extractor, layer: str, pictures: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    """Which pixels a cell depends on, [B, H, W]."""
    x = tf.constant(pictures)
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = extractor(x)[layer][(slice(None), *cell)]
    return np.abs(tape.gradient(values, x)).max(-1) > 0


@pytest.mark.parametrize("backbone, layer", _chosen())
def test_no_side_of_the_crop_is_too_far_out(backbone: str, layer: Layer) -> None:
    """With open ReLUs a cell depends on the outermost pixels: of the brightest where a maximum chooses one."""
    extractor, short_px = _opened(backbone, layer), layer.smallest_side_px + 8
    long_px = short_px + layer.receptive_field_px + 4 * layer.stride + 1
    rows, columns = map_size(backbone, layer.name, (short_px, long_px))
    cell = (rows // 2, columns // 2)
    first, end = geometry(BACKBONES[backbone].operations, layer.name, long_px).interval_px(cell[1])
    assert 0 <= first < end <= long_px and end - first == layer.receptive_field_px
    ramp = np.linspace(0.6, 1.0, long_px, dtype=np.float32)[:, np.newaxis].repeat(3, 1)
    ramps = np.stack([np.broadcast_to(along, (short_px, long_px, 3)) for along in (ramp[::-1], ramp)])
    wide = _reached(extractor, layer.name, ramps, cell).any(1)
    tall = _reached(extractor, layer.name, ramps.transpose(0, 2, 1, 3), cell[::-1]).any(2)
    for falling, rising in np.stack([np.asarray(wide), np.asarray(tall)]):
        assert (np.flatnonzero(falling)[0], np.flatnonzero(rising)[-1] + 1) == (first, end)
