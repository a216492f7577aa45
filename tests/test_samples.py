"""The drawn sample pictures: building blocks by hand, then what every entry of the table promises."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_tf.io.masks import load_mask, written
from sample_drawing import MASKS, SAMPLES
from sample_drawing.canvas import blur, color, ramp, smoothstep
from sample_drawing.coast import LAND, SEA, SKY
from sample_drawing.noise import Floats, cell_random, fbm, lattice, value_noise
from sample_drawing.street_plan import PLAIN, Solid, trace

from .commands import answers, assert_one_line

REPOSITORY = Path(__file__).parent.parent
CONTENTS = ("coast", "street")
STYLES = ("swirls", "mosaic", "woodcut", "watercolor")


def test_smoothstep_rises_falls_and_saturates() -> None:
    np.testing.assert_allclose(smoothstep(0, 1, [-1, 0.25, 0.5, 2]), [0, 0.15625, 0.5, 1])
    np.testing.assert_allclose(smoothstep(4, 2, [1, 3, 5]), [1, 0.5, 0])


def test_ramp_interpolates_each_channel() -> None:
    stops = [color("#000000"), color("#ff8000")]
    np.testing.assert_allclose(ramp(np.array([0.0, 1.0, 9.0]), [0.0, 2.0], stops),
                               np.array([[0, 0, 0], [0.5, 64 / 255, 0], [1, 128 / 255, 0]]), atol=1e-6)


def test_value_noise_meets_its_lattice_and_is_halfway_between_neighbors() -> None:
    table = lattice(np.random.default_rng(3))
    x, y = np.array([5.0, 5.5, -2.0], np.float32), np.array([7.0, 7.0, 1.0], np.float32)
    expected = [table[7 * 256 + 5], (table[7 * 256 + 5] + table[7 * 256 + 6]) / 2, table[256 - 2]]
    np.testing.assert_allclose(value_noise(x, y, table), expected, atol=1e-6)


def test_noise_does_not_depend_on_the_sampling() -> None:
    table = lattice(np.random.default_rng(3))
    y, x = np.mgrid[0:34, 0:46].astype(np.float32) / 9
    np.testing.assert_array_equal(fbm(x, y, table)[::2, ::2], fbm(x[::2, ::2], y[::2, ::2], table))


def test_cell_random_is_uniform_and_salted() -> None:
    table = lattice(np.random.default_rng(3))
    i, j = np.mgrid[0:150, 0:130]
    first, second = cell_random(i, j, table), cell_random(i, j, table, salt=1)
    share, _ = np.histogram(first, bins=8, range=(0, 1))
    assert np.all(np.abs(share / first.size - 1 / 8) < 0.01)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_blur_equals_scipy_and_keeps_constants() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    field = np.random.default_rng(1).uniform(size=(17, 23))
    expected = ndimage.gaussian_filter(field, 1.7, mode="nearest", truncate=8)
    np.testing.assert_allclose(blur(field, 1.7), expected, atol=2e-3)
    np.testing.assert_allclose(blur(np.full((17, 23), 0.3), 2.5), 0.3, atol=1e-6)


def _cube(low: float, high: float) -> Solid:
    normals = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], np.float32)
    offsets = np.array([1, 1, 1, 1, -low, high], np.float32)
    return Solid(normals, offsets, (PLAIN,) * 6, np.ones(3), np.ones(3), (0, 0), (1, 1), np.zeros(6))


def test_trace_finds_the_nearest_face_and_misses() -> None:
    x, y = np.array([0.0, 0.2, 0.9]), np.array([0.0, 0.1, 0.0])
    hit = trace([_cube(9, 10), _cube(4, 6)], (0.0, 0.0, 0.0), (x, y, np.ones(3)))
    np.testing.assert_allclose(hit.distance[:2], [4, 4], rtol=1e-6)  # both cubes are 2 m wide: 0.9·4 passes by
    assert hit.distance[2] == np.inf
    assert hit.solid.tolist() == [1, 1, -1] and hit.face[:2].tolist() == [4, 4]


def test_table_names_are_the_files() -> None:
    assert set(SAMPLES) == {path.stem for path in (REPOSITORY / "samples").glob("*.jpg")} == {*CONTENTS, *STYLES}


@pytest.mark.parametrize("name", SAMPLES)
def test_same_seed_same_bits_other_seed_other_picture(name: str) -> None:
    first, again, other = SAMPLES[name](4, 48), SAMPLES[name](4, 48), SAMPLES[name](5, 48)
    np.testing.assert_array_equal(first, again)
    assert np.mean(np.abs(first.astype(int) - other)) > 8


@pytest.mark.parametrize("name, long_side_px, shape", [
    *((name, 23, (15, 23, 3)) for name in CONTENTS), *((name, 101, (67, 101, 3)) for name in CONTENTS),
    *((name, 23, (18, 23, 3)) for name in STYLES), *((name, 101, (81, 101, 3)) for name in STYLES)])
def test_any_size_keeps_the_aspect(name: str, long_side_px: int, shape: tuple[int, int, int]) -> None:
    picture = SAMPLES[name](1, long_side_px)
    assert picture.shape == shape and picture.dtype == np.uint8
    assert picture.min() < 80 and picture.max() > 180


@pytest.mark.parametrize("name", SAMPLES)
def test_the_composition_is_the_same_at_another_size(name: str) -> None:
    small, large = SAMPLES[name](0, 60), Image.fromarray(SAMPLES[name](0, 120))
    shrunk = np.asarray(large.resize((small.shape[1] // 4, small.shape[0] // 4), Image.Resampling.BOX), np.float64)
    coarse = np.asarray(Image.fromarray(small).resize((small.shape[1] // 4, small.shape[0] // 4), Image.Resampling.BOX))
    assert np.corrcoef(shrunk.ravel(), coarse.ravel())[0, 1] > 0.9


def _measures(picture: Floats) -> dict[str, float]:
    gray = picture.mean(-1) / 255
    dy, dx = np.gradient(gray)
    return {"brightness": gray.mean(), "edges": np.hypot(dx, dy).mean(),
            "level": np.sum(dy ** 2) / np.sum(dx ** 2 + dy ** 2),  # 1 where all lines lie level
            "blue": (picture[..., 2] - picture[..., 0]).mean() / 255,
            "color": ((picture.max(-1) - picture.min(-1)) / (picture.max(-1) + 1)).mean()}


def test_each_style_has_its_own_hand() -> None:
    of = {name: [_measures(SAMPLES[name](seed, 128).astype(np.float64)) for seed in (0, 1)] for name in STYLES}

    def lowest(measure: str, *names: str) -> float:
        return min(measures[measure] for name in names for measures in of[name])

    def highest(measure: str, *names: str) -> float:
        return max(measures[measure] for name in names for measures in of[name])

    # Grout around every tile and carved lines are sharp, brush and water are not.
    assert lowest("edges", "mosaic", "woodcut") > highest("edges", "swirls", "watercolor")
    assert lowest("level", "woodcut") > highest("level", "swirls", "mosaic", "watercolor")
    assert highest("color", "woodcut") < lowest("color", "swirls", "mosaic")
    assert lowest("blue", "swirls") > highest("blue", "mosaic", "woodcut", "watercolor")
    # The paper shines through.
    assert lowest("brightness", "watercolor") > highest("brightness", "swirls", "mosaic", "woodcut")


@pytest.mark.parametrize("name", [
    "mosaic", *(pytest.param(name, marks=pytest.mark.slow) for name in SAMPLES if name != "mosaic")])
def test_the_file_is_what_the_code_draws(name: str) -> None:
    stored = np.asarray(Image.open(REPOSITORY / "samples" / f"{name}.jpg").convert("RGB"), np.float64)
    drawn, again = Image.fromarray(SAMPLES[name](0)), io.BytesIO()
    drawn.save(again, "JPEG", quality=86, subsampling=0)
    assert stored.shape == (drawn.height, drawn.width, 3)
    # Through the same losses of JPEG; what is left is the rounding of another processor.
    assert np.mean(np.abs(stored - np.asarray(Image.open(again), np.float64))) < 1


def test_the_mask_names_the_regions_of_the_coast() -> None:
    assert set(MASKS) == {path.stem for path in (REPOSITORY / "samples").glob("*.png")}
    mask = load_mask(REPOSITORY / "samples/coast_mask.png", "--content_mask", 1024)
    assert {written(label) for label in mask.labels} == {SKY, SEA, LAND}
    photo = np.asarray(Image.open(REPOSITORY / "samples/coast.jpg"), np.float64)
    assert photo.shape[:2] == mask.memberships.shape[:2]
    colors = {written(label): photo[mask.memberships[..., k] == 1].mean(0) for k, label in enumerate(mask.labels)}
    # The sky is brightest; sea is bluer than red, land is not.
    assert colors[SKY].min() > max(colors[SEA].max(), colors[LAND].max())
    assert colors[SEA][2] > colors[LAND][2] + 20


@pytest.mark.parametrize("seed", [0, 3])
def test_the_mask_has_the_size_and_the_horizon_of_its_coast(seed: int) -> None:
    picture, mask = SAMPLES["coast"](seed, 96), MASKS["coast_mask"](seed, 96)
    assert picture.shape == mask.shape
    is_sky = np.abs(mask - 255 * color(SKY)).max(-1) < 24
    np.testing.assert_array_equal(np.sort(is_sky[:8].all(0)), np.ones(96, bool))
    assert not is_sky[-8:].any()
    np.testing.assert_array_equal(mask, MASKS["coast_mask"](seed, 96))


@pytest.mark.slow
def test_the_file_of_the_mask_is_what_the_code_draws() -> None:
    stored = np.asarray(Image.open(REPOSITORY / "samples/coast_mask.png"), np.float64)
    assert np.mean(np.abs(stored - MASKS["coast_mask"](0))) < 1


def test_all_files_together_are_small() -> None:
    assert sum(path.stat().st_size for path in (REPOSITORY / "samples").glob("*.*g")) <= 925_000


def _script(*arguments: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *options, str(REPOSITORY / "scripts" / "make_samples.py"), *arguments],
                          capture_output=True, text=True, cwd=REPOSITORY, env={"PYTHONPATH": str(REPOSITORY)})


def test_script_refuses_in_one_line() -> None:
    for answer in answers(("make_samples.py", argument)
                          for argument in ("--seed=-1", "--seed=x", f"--output_dir={__file__}/x", "stray")):
        assert_one_line(answer, "make_samples.py: ")


def test_script_without_the_packages_names_the_command() -> None:
    done = _script(options=("-S",))  # no site-packages: as outside the virtual environment
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "pip install -e ." in done.stderr
