"""The nine patches: the running maxima against a sort of everything, crops and boxes by hand, resuming."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.table import find_backbone
from nst_tf.recipes.units import maxima as unit_maxima, patches as unit_cells, patches as unit_patches
from nst_tf.recipes.units.maxima import KEPT, Maxima, MaximaState, NO_IMAGE, empty_state, merged, strongest
from nst_tf.recipes.units.panels import TileFile
from nst_tf.recipes.units.patches import images_needed
from nst_tf.recipes.units.plan import UnitsConfig, UnitsPlan, resolve_units

from .conftest import make_picture, save_picture

SIZES = [(47, 63), (40, 41), (63, 30), (33, 52), (64, 64), (37, 49), (41, 60), (50, 35), (60, 47), (29, 64), (57, 44)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    (path / "below").mkdir()
    for index, size in enumerate(SIZES):
        save_picture(path / ("below" if index % 2 else ".") / f"{index:02d}.png", *size, seed=index)
    (path / "below" / "03b.jpg").write_bytes(b"no picture")
    return path


def _plan(folder: Path, tmp_path: Path, **settings: object) -> UnitsPlan:
    defaults: dict[str, object] = {
        "images": (str(folder),), "output": str(tmp_path / "out"), "backbone": "squeezenet", "weights": "random",
        "layers": ("conv1:3+17+90", "fire3:0-4"), "size": 48}
    return resolve_units(UnitsConfig(**(defaults | settings)))  # type: ignore[arg-type]


def _extractor(plan: UnitsPlan) -> Extractor:
    return find_backbone("squeezenet").build([layer.name for layer in plan.layers], plan.weights, 0, [])


def test_merging_image_by_image_equals_sorting_all() -> None:
    generator = np.random.default_rng(0)
    values = np.maximum(0, generator.normal(size=(30, 7))).astype(np.float32)
    values[:, 6], values[4:20, 5] = 0, 1.5  # a unit that never responds, and one with many equal responses
    places = generator.integers(0, 9, (2, 30, 7)).astype(np.int32)
    maxima = empty_state({"a": 7}).maxima["a"]
    for image in range(30):
        maxima = merged(maxima, values[image], places[0, image], places[1, image], image)
    for unit in range(7):
        order = [image for image in np.argsort(-values[:, unit], kind="stable")[:KEPT] if values[image, unit] > 0]
        count = len(order)
        assert maxima.images[unit].tolist() == order + [NO_IMAGE] * (KEPT - count)
        np.testing.assert_array_equal(maxima.values[unit, :count], values[order, unit])
        np.testing.assert_array_equal(maxima.rows[unit, :count], places[0][order, unit])
        np.testing.assert_array_equal(maxima.columns[unit, :count], places[1][order, unit])
    assert strongest(maxima, 2) == tuple(sorted(np.argsort(-maxima.values.mean(1), kind="stable")[:2].tolist()))
    assert images_needed({"a": maxima}, {"a": [6]}) == []
    assert images_needed({"a": maxima}, {"a": [5]}) == sorted(maxima.images[5].tolist())


def test_merging_leaves_the_old_maxima_whole() -> None:
    before = empty_state({"a": 2}).maxima["a"]
    merged(before, np.ones(2, np.float32), np.zeros(2, np.int32), np.zeros(2, np.int32), 0)
    assert (before.values == 0).all() and (before.images == NO_IMAGE).all()


def test_the_state_is_read_back_from_its_arrays() -> None:
    numbers = np.arange(18).reshape(2, 9)
    maxima = Maxima(numbers.astype(np.float32), *[numbers.astype(np.int32) + axis for axis in range(3)])
    arrays = unit_maxima.to_arrays(MaximaState({"a": maxima}, 3, 1))
    read = unit_maxima.from_arrays(arrays, ["a"])
    assert (read.images, read.skipped) == (3, 1)
    for stored, expected in zip(read.maxima["a"], maxima):
        np.testing.assert_array_equal(stored, expected)
    with pytest.raises(KeyError):
        unit_maxima.from_arrays(arrays, ["a", "b"])


def test_crops_are_gray_outside() -> None:
    picture = make_picture(5, 7, 0)
    cut = unit_cells.crop(picture, (-2, 3), (4, 9))
    np.testing.assert_array_equal(cut[2:, :3], picture[:3, 4:])
    assert (cut[:2] == 0.5).all() and (cut[:, 3:] == 0.5).all()
    assert (unit_cells.crop(picture, (6, 8), (0, 2)) == 0.5).all()


def test_the_box_holds_the_middle_of_the_gradient() -> None:
    magnitude = np.zeros((20, 30), np.float32)
    magnitude[5:9, 12:20] = 1
    assert unit_cells.box(magnitude) == (5, 12, 9, 20)
    magnitude[0, 0] = 0.1  # far less than a fortieth of all
    assert unit_cells.box(magnitude) == (5, 12, 9, 20)
    assert unit_cells.box(np.zeros((4, 5), np.float32) + 1) == (0, 0, 4, 5)
    one = np.zeros((4, 5), np.float32)
    one[3, 4] = 1
    assert unit_cells.box(one) == (3, 4, 4, 5)


def test_patches_equal_those_of_all_maps_at_once(folder: Path, tmp_path: Path) -> None:
    """An independent way: all maps of all images in memory, sorted."""
    plan = _plan(folder, tmp_path)
    skipped: list[str] = []
    extractor = _extractor(plan)
    *_, seen = unit_patches.find_maxima(plan, extractor, empty_state({"conv1": 96, "fire3": 128}), skipped.append)
    assert (seen.images, seen.skipped) == (12, 1) and "03b.jpg' is not an image" in skipped[0]
    names = [image.name for image in plan.images]
    assert names[0] == f"{folder.name}/00.png" and names[-1] == f"{folder.name}/below/09.png"
    shown = unit_patches.shown_units(plan, seen.maxima)
    assert shown == {"conv1": (3, 17, 90), "fire3": (0, 1, 2, 3, 4)}
    with contextlib.closing(TileFile(tmp_path)) as tiles:
        *before, patches = unit_patches.cut_patches(plan, extractor, seen.maxima, shown, tiles)
    assert patches.largest_difference < 1e-5 and len(before) + 1 == len(images_needed(seen.maxima, shown))
    for layer, units in shown.items():
        best: dict[int, list[tuple[float, str]]] = {unit: [] for unit in units}
        for image in plan.images:
            if "03b" not in image.name:
                picture = unit_patches._load(plan, image)
                F = extractor(picture[None])[layer].numpy()[0]
                for unit in units:
                    best[unit].append((float(F[..., unit].max()), image.name))
        for unit in units:
            expected = [item for item in sorted(best[unit], key=lambda item: -item[0])[:9] if item[0] > 0]
            places = patches.of_unit(layer, unit)
            assert [place["file"] for place in places] == [name for _, name in expected]
            np.testing.assert_allclose([place["response"] for place in places], [value for value, _ in expected],
                                       rtol=1e-4)
    assert len(patches.records) == sum(len(patches.of_unit(layer, unit)) for layer in shown for unit in shown[layer])


def test_stopped_and_gone_on_equals_whole(folder: Path, tmp_path: Path) -> None:
    plan = _plan(folder, tmp_path)
    extractor, start = _extractor(plan), empty_state({"conv1": 96, "fire3": 128})
    states = list(unit_patches.find_maxima(plan, extractor, start, lambda reason: None))
    stored = unit_maxima.from_arrays(unit_maxima.to_arrays(states[4]), list(start.maxima))
    *_, last = unit_patches.find_maxima(plan, extractor, stored, lambda reason: None)
    assert (last.images, last.skipped) == (states[-1].images, states[-1].skipped)
    for layer in last.maxima:
        for one, other in zip(last.maxima[layer], states[-1].maxima[layer]):
            np.testing.assert_array_equal(one, other)
            assert one.shape == start.maxima[layer].values.shape, "no larger for more images"


def test_fields_larger_than_the_image_show_it_whole(folder: Path, tmp_path: Path) -> None:
    plan = _plan(folder, tmp_path, layers=("fire3",), units_per_layer=2)
    assert plan.layers[0].facts.receptive_field_px < 48
    extractor = _extractor(plan)
    picture = make_picture(33, 45, 5)
    features = extractor(picture[None])
    cut = unit_cells.patch_cutter(extractor, plan.row.all_operations, "fire3", is_whole=True)
    patch = cut(picture, features, 7, 4, 5)
    assert patch.picture.shape == (45, 45, 3) and patch.value == float(features["fire3"][0, 4, 5, 7])
    np.testing.assert_array_equal(patch.picture[6:39], picture)
    assert patch.box_px is not None and patch.box_px[0] == patch.rows_px[0] + 6
    cut = unit_cells.patch_cutter(extractor, plan.row.all_operations, "fire3", is_whole=False)
    part = cut(picture, features, 7, 4, 5)
    # The gradient lies inside the receptive field.
    assert part.rows_px[0] <= patch.rows_px[0] < patch.rows_px[1] <= part.rows_px[1]
    assert part.columns_px[0] <= patch.columns_px[0] < patch.columns_px[1] <= part.columns_px[1]
