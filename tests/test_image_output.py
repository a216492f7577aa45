"""Sizes, resampling, rounding, encoding: pictures on their way out."""

import io
import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin, PngImagePlugin

from nst_tf.io import images
from nst_tf.io.profiles import srgb_profile
from nst_tf.vocabulary import NotFinite, OutputFormat, UserError, names


def one_line(error: pytest.ExceptionInfo[BaseException], *parts: str) -> None:
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def picture() -> Any:
    """float32 [17, 23, 3], multiples of 1/255: other slopes along x and y in each channel, one red corner."""
    y, x = np.mgrid[:17, :23]
    pixels = np.stack([10 * x, 14 * y, 40 + 3 * x + 5 * y], -1)
    pixels[:5, :6] = 255, 0, 0
    return pixels.astype(np.float32) / np.float32(255)


def test_fit() -> None:
    assert images.fit(512, 1024, 768) == (512, 384)
    assert images.fit(512, 768, 1024) == (384, 512)
    assert images.fit(100, 3, 2) == (100, 67)
    assert images.fit(3, 6, 5) == (3, 3)  # 2.5 goes up
    assert images.fit(7, 1000, 1) == (7, 1)
    assert images.fit(9, 5, 5) == (9, 9)
    for size, width, height in itertools.product((1, 97, 333), (3, 7, 49), (5, 49)):
        assert max(images.fit(size, width, height)) == size


def lanczos_row(row: Any, width: int) -> Any:
    """Lanczos-3 with the support widened by the shrink factor, weights normalized at the border (float64)."""
    scale = max(len(row) / width, 1)
    centers = (np.arange(width)[:, None] + 0.5) * len(row) / width
    t = (np.arange(len(row)) + 0.5 - centers) / scale
    weights = np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0)
    return weights @ row / weights.sum(1)


def test_resize_is_lanczos_in_float() -> None:
    image: Any = np.random.default_rng(1).uniform(0.3, 0.7, (17, 23, 3)).astype(np.float32)
    for width, height in [(9, 7), (40, 31), (23, 17)]:
        rows = np.apply_along_axis(lanczos_row, 1, image.astype(float), width)
        wanted = np.apply_along_axis(lanczos_row, 0, rows, height)
        got = images.resize(image, width, height)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, np.clip(wanted, 0, 1), atol=2e-6)


def test_resize_clips_the_overshoot() -> None:
    step: Any = np.repeat(np.array([0, 1], np.float32), 8)[None, :, None].repeat(8, 0).repeat(3, -1)
    got = images.resize(step, 40, 8)
    assert got.min() == 0 and got.max() == 1
    assert lanczos_row(step[0, :, 0], 40).max() > 1.01


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_wide_image_needs_no_full_float_array(tmp_path: Path, kind: str) -> None:
    wide = np.zeros((200, 30001, 3), np.uint8)
    wide[:, :15000, 0], wide[100:, :, 2] = 255, 255
    Image.fromarray(wide).save(tmp_path / "a", kind)
    tracemalloc.start()
    got = images.load(tmp_path / "a", max_side_px=600)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6 < wide.size * 4
    assert got.shape == (4, 600, 3)
    wanted = [[1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1]]
    np.testing.assert_allclose(got[[0, 0, 3, 3], [100, 500, 100, 500]], wanted, atol=0.03)


def test_a_jpeg_shrinks_while_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp: Any = np.tile((3 * np.arange(65, dtype=np.uint8))[:, None], (33, 1, 3))
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=100)
    decoded_px = []
    decode = JpegImagePlugin.JpegImageFile.load

    def load(file: JpegImagePlugin.JpegImageFile) -> Any:
        decoded_px.append(file.size)
        return decode(file)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
    got = images.load(tmp_path / "a.jpg", max_side_px=4)
    assert decoded_px[0] == (17, 9)  # a quarter, rounded up: at least three times the 4 × 2 that are asked for
    np.testing.assert_allclose(got * 255, images.resize(ramp / np.float32(255), 4, 2) * 255, atol=2.5)


def test_load_never_enlarges(tmp_path: Path) -> None:
    images.save(tmp_path / "a.png", picture())
    assert images.load(tmp_path / "a.png", max_side_px=1000).shape == (17, 23, 3)
    assert images.load(tmp_path / "a.png", max_side_px=23).shape == (17, 23, 3)
    images.save(tmp_path / "b.png", picture()[:1, :1])
    assert images.load(tmp_path / "b.png").shape == (1, 1, 3)


def test_quantize_rounds_half_up_and_clips() -> None:
    values: Any = np.array([-1, 0, 0.5, 1.4999, 1.5, 2.5, 254.5, 255, 300], np.float32) / 255
    assert images.quantize(values).tolist() == [0, 0, 1, 1, 2, 3, 255, 255, 255]
    every: Any = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(images.quantize(every / np.float32(255)), every)
    with pytest.raises(NotFinite, match="the picture is not finite: lower --learning_rate"):
        images.quantize(np.array([0, np.nan], np.float32))


def test_encoders_are_the_vocabulary() -> None:
    assert tuple(images.ENCODERS) == names(OutputFormat)


@pytest.mark.parametrize("suffix", [*images.ENCODERS, ".PNG"])
def test_save_and_load(tmp_path: Path, suffix: str) -> None:
    image = picture()
    images.save(tmp_path / f"a{suffix}", image)
    images.save(tmp_path / f"b{suffix}", image)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    difference = np.abs(images.load(tmp_path / f"a{suffix}") - image)
    assert difference.mean() < 0.02 if suffix in (".jpg", ".jpeg", ".webp") else difference.max() == 0
    with Image.open(tmp_path / f"a{suffix}") as stored:
        assert stored.format == images.ENCODERS[suffix.lower()].pillow_format and stored.mode == "RGB"
        assert stored.info["icc_profile"] == srgb_profile()
        if isinstance(stored, JpegImagePlugin.JpegImageFile):
            assert stored.layer[0][1:3] == (1, 1)  # no chroma subsampling


def test_png_carries_text() -> None:
    text = {"config": '{"steps": 500,\n "λ": 1}', "Software": "nst_tf"}
    data = images.encode(picture(), ".png", text)
    with Image.open(io.BytesIO(data)) as stored:
        assert isinstance(stored, PngImagePlugin.PngImageFile)
        assert stored.text == text
    assert data == images.encode(picture(), ".png", text)


def test_output_is_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    (tmp_path / "file").touch()
    for path, side, parts in [("a.gif", 9, [".png, .jpg, .jpeg, .webp, .tif, .tiff"]), ("a", 9, ["ending"]),
                              ("a.webp", 16384, ["16383"]), ("a.jpg", 65501, ["65500"]), ("a.png", 9, ["folder"]),
                              ("file/a.png", 9, ["written"]), ("x" * 300 + "/a.png", 9, ["written"]),
                              ("new/" + "x" * 300 + ".png", 9, ["written"]), ("nul\0.png", 9, ["written"])]:
        with pytest.raises(UserError) as error:
            images.check_output(tmp_path / path, side)
        one_line(error, "--output", *parts)
    for path in ["b.png", "new/folder/b.JPG", "file.tif"]:
        images.check_output(tmp_path / path, 16383)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.png", "file"]
    for suffix, shape in [(".bmp", (2, 2, 3)), (".webp", (1, 16384, 3))]:
        with pytest.raises(UserError):
            images.encode(np.zeros(shape, np.float32), suffix)


def test_smallest_side() -> None:
    images.check_smallest_side((16, 99), 16, "--content", "a.png", "vgg19")
    with pytest.raises(UserError) as error:
        images.check_smallest_side((99, 15), 16, "--content", "a.png", "block5_conv1 pools four times")
    one_line(error, "--content 'a.png' is 99 × 15 px", "16 px", "block5_conv1 pools four times")
