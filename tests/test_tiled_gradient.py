"""A step in tiles has the loss and the gradient of the whole step, whatever is measured; runs in tiles are runs."""

import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.optimize import strip_step, windows
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.jitter import shift
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.state import from_arrays, to_arrays
from nst_tf.optimize.step import Value, make_step, run_stage, start, whole
from nst_tf.optimize.windows import places
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.reduced import _reduced_at
from nst_tf.recipes.stylize.stage import losses_of_step, measure_pictures, plan_step, tiled_gradient
from nst_tf.recipes.stylize.steps import set_up, stylize
from nst_tf.tensors import shrink, tents
from nst_tf.vocabulary import UserError

from .conftest import run_stylize

Paths = Callable[[str, int, int, int], str]


def _evaluations(config: StylizeConfig) -> list[Any]:
    """Value and gradient of noise, whole and in tiles."""
    plan = resolve(config)
    setup = set_up(config, plan)
    found = []
    for tile_px in (0, plan.tile_px or 0):
        decided = setup.decided._replace(tile_px=tile_px)
        step = plan_step(config, plan, decided, -1)
        assert step.tile_px == tile_px
        pictures, _ = measure_pictures(plan, setup._replace(decided=decided), -1, step)
        offset = tf.constant([0, 2 * step.jitter_px])
        x = tf.constant(np.random.default_rng(0).uniform(size=(1, *step.size, 3)), tf.float32)
        extractor = setup.fitted.extractor
        value_and_gradient = (tiled_gradient(step, extractor, plan.sight) if tile_px
                              else whole(partial(losses_of_step, step, extractor)))
        found.append(value_and_gradient(x, offset, pictures))
    return found


CASES: dict[str, dict[str, Any]] = {
    "dream": {"dream": ("conv5:strong:3", "conv2:1+4")},
    "copies and jitter": {"backbone": "squeezenet1_1", "motif_size": 44, "weights": "random", "tile": "80"},
    "gray": {"color": "luminance", "statistic": "covariance"},
    "published": {"normalization": "gatys"},
    "neighbors": {"neighbors_weight": 0.5},
    "softmax": {"smoothing": "softmax:2", "statistic": "mean_std"},
}


@pytest.mark.parametrize("case", [
    case if case == "copies and jitter" else pytest.param(case, marks=pytest.mark.slow) for case in CASES])
def test_gradient_in_tiles_is_that_of_the_whole(case: str, pictures: Paths, shared_networks: None) -> None:
    content, *styles = (pictures(f"{name}_tiled", height, width, seed)
                        for seed, (name, height, width) in enumerate([("content", 99, 131), ("style", 119, 120),
                                                                      ("other", 101, 140)]))
    settings = {"backbone": "kmeans", "weights": "bundled", "tile": "112"} | CASES[case]
    config = StylizeConfig(content=content, style=tuple(styles), style_blend=(0.7, 0.3), size=131, min_size=131,
                           steps=2, precision="float32", **settings)
    expected, found = _evaluations(config)
    g, wanted = np.asarray(found.gradient), np.asarray(expected.gradient)
    assert np.linalg.norm(wanted) > 0
    assert np.linalg.norm(g - wanted) / np.linalg.norm(wanted) < 1e-4
    for tag, loss in expected.losses.items():
        np.testing.assert_allclose(found.losses[tag], loss, rtol=1e-4, err_msg=tag)


def _masked(folder: Path, pictures: Paths) -> dict[str, Any]:
    """A run whose photo has a region without a style."""
    areas = np.zeros((90, 130, 3), np.uint8)
    areas[:, 50:] = (255, 0, 0)
    areas[60:, 90:] = (0, 0, 255)
    Image.fromarray(areas).save(folder / "areas.png")
    return {"content": pictures("content_masked", 90, 130, 0), "style": (pictures("style_masked", 113, 120, 1),),
            "content_mask": str(folder / "areas.png"), "style_mask": ("#ff0000",)}


@pytest.mark.slow
def test_layers_of_terms_that_do_not_count_are_not_measured(pictures: Paths, shared_networks: None) -> None:
    """Tiles may be smaller than these layers would need."""
    config = StylizeConfig(
        content=pictures("content_tiled", 99, 131, 0), style=(pictures("style_tiled", 119, 120, 1),), size=131,
        min_size=131, steps=2, precision="float32", backbone="squeezenet1_1", weights="random", tile="24",
        content_weight=0.0, style_layers=("conv1",), motif_size=0)
    expected, found = _evaluations(config)
    g, wanted = np.asarray(found.gradient), np.asarray(expected.gradient)
    assert np.linalg.norm(g - wanted) / np.linalg.norm(wanted) < 1e-4


def _cliff(x: Any, offset: Any, pictures: Any) -> Value:
    """J falls towards 1, and cannot be evaluated above 0.58."""
    J = tf.where(tf.reduce_max(x) > 0.58, np.nan, 0.0) - tf.reduce_sum(x)
    return Value(J, -tf.ones_like(x), {"loss/total": J}, {})


def test_a_step_in_strips_goes_back_as_the_whole_step_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_tf.strips.STRIP_PIXELS", 3 * 5)
    canvas, optimizer = CANVASES["pixels"], OPTIMIZERS["adam"]
    image = tf.fill([1, 8, 5, 3], 0.5)
    seen = []
    for step in (make_step(_cliff, canvas, optimizer, 0.7), strip_step.StripStep(_cliff, canvas, optimizer, 0.7)):
        state = start(image, canvas, optimizer, 0, 0)
        if isinstance(step, strip_step.StripStep):
            state = strip_step.on_host(state)
        told = [(state.stage_step, float(np.max(state.parameters)), told.failures)
                for state, told in itertools.islice(run_stage(
                    state, 9, optimizer, step, lambda t: 0.05, lambda t: tf.constant([0, 0]), ()), 5)]
        seen.append(told)
    (*first, failed, after), (*first_in_strips, failed_in_strips, after_in_strips) = ([*told[:4]] for told in seen)
    for one, other in zip(first, first_in_strips, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert failed[2] == 1 and failed == pytest.approx(failed_in_strips, abs=1e-3)
    assert after[2] == after_in_strips[2] == 0 and after_in_strips[1] <= 0.58


def test_steps_in_strips_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_tf.strips.STRIP_PIXELS", 3 * 5)
    canvas, optimizer = CANVASES["pixels"], OPTIMIZERS["adam"]
    image, slope = (tf.constant(np.random.default_rng(seed).uniform(size=(1, 8, 5, 3)), tf.float32) for seed in (0, 1))

    def value(x: Any, offset: Any, pictures: Any) -> Value:
        return Value(tf.reduce_sum(slope * x), slope * (x - 0.4), {}, {})

    whole_step, strips = make_step(value, canvas, optimizer, 0.7), strip_step.StripStep(value, canvas, optimizer, 0.7)
    begun = start(image, canvas, optimizer, 0, 0)
    ends = [list(run_stage(state, 4, optimizer, step, lambda t: 0.05, lambda t: tf.constant([0, 0]), ()))[-1][0]
            for state, step in ((begun, whole_step), (strip_step.on_host(begun), strips))]
    for name in ("parameters", "average", "average_weight"):
        found, expected = (np.asarray(getattr(state, name)) for state in ends)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(begun.parameters, image)


@pytest.mark.slow
def test_regions_in_tiles(tmp_path: Path, pictures: Paths, shared_networks: None) -> None:
    """Guides are cut as the tiles are; outside of them the image stays the photo."""
    config = StylizeConfig(**_masked(tmp_path, pictures), backbone="squeezenet1_1", weights="random", size=130,
                           min_size=130, steps=2, precision="float32", tile="80", motif_size=0)
    expected, found = _evaluations(config)
    g, wanted = np.asarray(found.gradient), np.asarray(expected.gradient)
    assert np.linalg.norm(g - wanted) / np.linalg.norm(wanted) < 1e-4
    assert not wanted[0, 70:, 100:].any() and not g[0, 70:, 100:].any()


@pytest.mark.parametrize("moved_px", [(0, 0), (2, -1), (-3, 3)])
def test_windows_are_shift_and_shrink_of_the_whole_and_their_transposes(moved_px: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    x, d = (generator.normal(size=shape).astype(np.float32) for shape in ((101, 83, 3), (35, 26, 3)))
    rows, columns = (places(side, px) for side, px in zip(x.shape[:2], moved_px, strict=True))
    with tf.GradientTape(persistent=True) as tape:
        image = tf.constant(x[np.newaxis])
        tape.watch(image)
        moved = shift(image, tf.constant(moved_px) + 3, 3)
        part = moved[:, 60:101, :40]
        small = shrink(moved, 35, 26)
    np.testing.assert_array_equal(windows.read(x, rows[60:], columns[:40]), part[0])
    np.testing.assert_allclose(windows.shrink(x, rows, columns, (35, 26)), small[0], atol=1e-5)
    for y, by_y, transpose in ((part, d[:, :, :1] * np.ones((1, 1, 3), np.float32), windows.add),
                               (small, d, windows.add_shrunk)):
        by_y = np.resize(by_y, y.shape[1:])
        g = np.zeros_like(x)
        seen = (rows[60:], columns[:40]) if transpose is windows.add else (rows, columns)
        transpose(g, by_y, *seen)
        np.testing.assert_allclose(g, tape.gradient(y, image, by_y[np.newaxis])[0], atol=1e-5)


@pytest.mark.parametrize("pixels, cells", [(37, 11), (300, 299), (5, 5), (7, 1), (400, 90)])
def test_blocks_are_the_tents(pixels: int, cells: int) -> None:
    matrix = np.zeros((cells, pixels))
    for block, seen, R in windows._tent_blocks(pixels, cells):
        matrix[block, seen] += R
    np.testing.assert_allclose(matrix, tents(pixels, cells), atol=1e-6)


def _picture(folder: Path) -> Any:
    return np.asarray(Image.open(folder / "output.png"), int)


@pytest.mark.slow
def test_a_run_in_tiles_makes_the_picture_and_goes_on_with_its_tiles(tmp_path: Path, pictures: Paths,
                                                                     shared_networks: None) -> None:
    config: dict[str, Any] = {
        "content": pictures("content_run", 100, 130, 0), "style": (pictures("style_run", 90, 120, 1),), "size": 130,
        "min_size": 130, "backbone": "squeezenet1_1", "weights": "random", "precision": "float32"}

    def made(name: str, **changes: Any) -> Path:
        assert run_stylize(StylizeConfig(**config | changes), RunConfig(logdir=str(tmp_path), run=name)) == 0
        return tmp_path / name

    whole_run, tiled = made("whole", steps=4), made("tiled", steps=4, tile="96")
    assert abs(_picture(whole_run) - _picture(tiled)).max() <= 1
    record = json.loads((tiled / "config.json").read_text())
    assert (record["settings"]["--tile"], record["resolved"]["tile_px"]) == ("96", 96)
    with pytest.raises(UserError, match="--tile"):
        made("tiled", steps=4, tile="off")


@pytest.mark.slow
def test_a_run_in_tiles_goes_on_bit_for_bit(pictures: Paths, shared_networks: None) -> None:
    """From the arrays of a step in the middle of the size that is measured in tiles."""
    config = StylizeConfig(content=pictures("content_run", 100, 130, 0), style=(pictures("style_run", 90, 120, 1),),
                           size=130, min_size=64, steps=10, backbone="squeezenet1_1", weights="random", tile="96",
                           precision="float32")
    stored: dict[int, Any] = {}
    for progress in stylize(config):
        assert progress.arrays is not None
        stored[progress.step] = {name: np.array(value) for name, value in progress.arrays().items()}
    middle = from_arrays(stored[8])
    assert middle.stage == 1 and 0 < middle.stage_step
    for again in stylize(config, middle):
        pass
    for name, value in stored[10].items():
        np.testing.assert_array_equal(to_arrays(again.state)[name], value, err_msg=name)
    np.testing.assert_array_equal(middle.parameters, stored[8]["parameters"])


@pytest.mark.parametrize("changes, line", [
    ({"tile": "40"}, "--tile=40 is too small"), ({"tile": "wide"}, "auto, off or a side in pixels"),
    ({"tile": "300", "statistic": "histogram"}, "sorts the values of the whole picture")])
def test_tiles_that_cannot_be_are_refused_before_work(changes: dict[str, Any], line: str, pictures: Paths) -> None:
    config = StylizeConfig(content=pictures("content_run", 100, 130, 0), style=(pictures("style_run", 90, 120, 1),),
                           size=130, backbone="kmeans", weights="bundled", **changes)
    with pytest.raises(UserError, match=line):
        resolve(config)


@pytest.mark.slow
def test_a_reduced_network_in_tiles(pictures: Paths, shared_networks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is chosen at a smaller size than the first, whose pictures are too large to be whole."""
    monkeypatch.setattr("nst_tf.recipes.stylize.reduced.REDUCED_AT_PX", 100)
    config = StylizeConfig(content=pictures("content_run", 100, 130, 0), style=(pictures("style_run", 90, 120, 1),),
                           size=130, min_size=130, backbone="kmeans", weights="bundled", precision="float32", steps=2,
                           reduce="qr:0.5", reduce_share=0.5, tile="112")
    plan = resolve(config)
    setup = set_up(config, plan)
    assert setup.reduced
    assert [_reduced_at(plan, setup.decided._replace(tile_px=tile_px)).stages[0].long_side_px
            for tile_px in (0, 112)] == [130, 100]
    *_, tiled = stylize(config, plan=plan, setup=setup)
    *_, at_once = stylize(config, plan=plan, setup=setup._replace(decided=setup.decided._replace(tile_px=0)))
    assert np.abs(tiled.picture() - at_once.picture()).max() < 0.02
