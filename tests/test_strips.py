"""Pictures in strips of rows: the same values as whole, at odd sizes and with tiny strips."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nst_tf import strips
from nst_tf.io import color, images, masks, pixels
from nst_tf.io.files import write_atomically
from nst_tf.io.photo import Photo
from nst_tf.optimize import first_image
from nst_tf.recipes.stylize.finish import COLORS
from nst_tf.runs import checkpoint
from nst_tf.runs.tensorboard import LARGEST_SIDE_PX, _bounded
from nst_tf.vocabulary import NotFinite, RunError

from .conftest import make_picture


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of three rows of 31 px."""
    for module in (strips, pixels):
        monkeypatch.setattr(module, "STRIP_PIXELS", 100)


def _read(picture: Any) -> np.ndarray:
    """Strip by strip."""
    assert len(list(strips.strips(picture.shape))) > 3
    return strips.filled(picture)


def test_strips_cover_every_row_once(tiny: None) -> None:
    for shape in ((1, 31, 3), (43, 31, 3), (43, 1000, 3), (43, 3), (43, 5, 31, 3)):
        assert [row for rows in strips.strips(shape) for row in range(shape[0])[rows]] == list(range(shape[0]))


@pytest.mark.parametrize("size", [(31, 43), (67, 89), (19, 23), (31, 97), (64, 43)])
@pytest.mark.parametrize("resampling", [pixels.LANCZOS, pixels.TRIANGLE])
def test_resized_strips_are_pillows_picture(tiny: None, size: tuple[int, int], resampling: Any) -> None:
    picture = make_picture(43, 31, 1)
    expected = pixels.resize(picture, *size, resampling)
    got = _read(pixels.resized_rows(picture, *size, resampling))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)
    assert np.mean(got != expected) < 0.005
    made = strips.Rows(picture.shape, lambda rows: picture[rows])
    np.testing.assert_array_equal(got, _read(pixels.resized_rows(made, *size, resampling)))


def test_memberships_in_strips_still_sum_to_one(tiny: None) -> None:
    w = masks.memberships(make_picture(43, 31, 1), ((0, 0, 0), (255, 255, 255)))
    np.testing.assert_allclose(_read(pixels.resized_rows(w, 67, 89, pixels.TRIANGLE)).sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_photo_reads_as_its_floats(tiny: None, kind: Any) -> None:
    generator, white = np.random.default_rng(0), np.iinfo(kind).max
    samples, alpha = (generator.integers(0, white + 1, (43, 31, c)).astype(kind) for c in (3, 1))
    floats, opacity = (each.astype(np.float32) / np.float32(white) for each in (samples, alpha))
    for photo, expected in ((Photo(samples), floats), (Photo(samples, alpha), pixels.over_white(floats, opacity))):
        np.testing.assert_array_equal(np.asarray(photo), expected)
        np.testing.assert_array_equal(photo[5:17, 3:9], expected[5:17, 3:9])
        np.testing.assert_array_equal(photo[..., 1], expected[..., 1])
        np.testing.assert_array_equal(pixels.resize(photo, 20, 30), pixels.resize(expected, 20, 30))
    made = Photo(floats, opacity)
    np.testing.assert_array_equal(made[3:5], floats[3:5])
    with pytest.raises(ValueError, match="read-only"):
        made[3:5][:] = 0


@pytest.mark.parametrize("mode", ["match", "luminance"])
def test_colors_are_prepared_alike_in_strips(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, styles = 0.2 + 0.6 * make_picture(43, 31, 1), [make_picture(67, 19, 2), make_picture(11, 29, 3)]
    expected = COLORS[mode].prepare(photo, styles)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 100)
    for one, other in zip([expected[0], *expected[1]], [(got := COLORS[mode].prepare(photo, styles))[0], *got[1]],
                          strict=True):
        # The sums of `match` are added in another order.
        np.testing.assert_allclose(np.asarray(other), np.asarray(one), atol=2e-6 if mode == "match" else 0)


@pytest.mark.parametrize("join", ["keep", "luminance"])
def test_joined_colors_and_alpha_are_the_same_in_strips(join: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, photo, alpha = make_picture(43, 31, 1), make_picture(43, 31, 2), make_picture(43, 31, 3)[..., :1]
    function: Any = COLORS[join].join
    expected, seen = function(picture, photo), pixels.with_alpha(picture, alpha)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 100)
    np.testing.assert_array_equal(_read(strips.by_rows(function, picture, photo)), expected)
    np.testing.assert_array_equal(_read(pixels.with_alpha_rows(picture, alpha)), seen)


@pytest.mark.parametrize("name", first_image.INITIALIZERS)
def test_first_images_are_the_same_in_strips(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, *styles = (make_picture(43, 31, seed) for seed in range(3))
    origins = first_image.Origins(content.shape, lambda: content, lambda: styles, (0.25, 0.75), (0.2, 0.4, 0.6), 5)
    expected = first_image.first_image(name, origins)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 100)
    np.testing.assert_array_equal(first_image.first_image(name, origins), expected)


@pytest.mark.parametrize("suffix, depth", [
    (".png", 8), (".jpg", 8), (".webp", 8), (".tif", 8), (".png", 16), (".tif", 16)])
def test_files_have_the_same_bytes_in_strips(tmp_path: Path, suffix: str, depth: int,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    for channels in (3, 4):
        picture = np.concatenate([make_picture(43, 31, 1), make_picture(43, 31, 2)], -1)[..., :channels]
        monkeypatch.setattr(strips, "STRIP_PIXELS", 2 ** 20)
        expected = images.encode(picture, suffix, {"key": "value"}, depth)
        monkeypatch.setattr(strips, "STRIP_PIXELS", 100)
        images.save(tmp_path / f"a{suffix}", picture, text={"key": "value"}, bit_depth=depth)
        assert (tmp_path / f"a{suffix}").read_bytes() == expected


def test_a_picture_that_is_not_finite_in_its_last_rows_leaves_the_old_file(tiny: None, tmp_path: Path) -> None:
    picture, path = make_picture(43, 31, 1), tmp_path / "a.png"
    images.save(path, picture)
    before = path.read_bytes()
    picture[42, 30, 2] = np.nan
    with pytest.raises(NotFinite):
        images.save(path, picture)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_what_fails_while_it_writes_leaves_the_old_file(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    write_atomically(tmp_path / "a", b"old")
    with pytest.raises(RunError, match="No space left on device.*free some space"):
        write_atomically(tmp_path / "a", write)
    assert (tmp_path / "a").read_bytes() == b"old" and [each.name for each in tmp_path.iterdir()] == ["a"]


def test_ends_make_no_copy_of_a_large_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of NumPy's memory: a checkpoint of four pictures, a file, a file in other colors at another size."""
    monkeypatch.setattr(strips, "STRIP_PIXELS", 2 ** 13)
    monkeypatch.setattr(pixels, "STRIP_PIXELS", 2 ** 13)
    picture = np.broadcast_to(make_picture(600, 1, 1), (600, 800, 3)).copy()
    photo = Photo(images.quantize(picture[::2, ::2]))
    whole = strips.by_rows(COLORS["keep"].join, picture, pixels.resized_rows(photo, 800, 600))  # type: ignore[arg-type]

    def peak(act: Any) -> float:
        tracemalloc.start()
        act()
        copies = tracemalloc.get_traced_memory()[1] / picture.nbytes
        tracemalloc.stop()
        return copies

    assert peak(lambda: checkpoint.save(tmp_path, 1, {str(k): picture for k in range(4)})) < 1.01
    assert peak(lambda: images.save(tmp_path / "a.png", picture)) < 0.2
    assert peak(lambda: images.save(tmp_path / "a.png", whole)) < 0.6
    assert peak(lambda: np.asarray(photo)) > 0.2  # what is measured is seen


def test_tensorboard_shows_large_pictures_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    small = make_picture(43, 31, 1)
    np.testing.assert_array_equal(_bounded(small), small)
    large = np.broadcast_to(make_picture(1, 31, 1), (2 * LARGEST_SIDE_PX, 31, 3))
    assert np.asarray(_bounded(large)).shape == (LARGEST_SIDE_PX, 16, 3)


def test_color_statistics_by_hand(tiny: None) -> None:
    colors = make_picture(43, 31, 1).reshape(-1, 3).astype(np.float64)
    got = color.color_statistics(make_picture(43, 31, 1))
    np.testing.assert_allclose(got.mean, colors.mean(0), rtol=1e-12)
    np.testing.assert_allclose(got.covariance, np.cov(colors.T, bias=True), rtol=1e-10)
