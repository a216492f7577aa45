"""Label images: which colors name regions, and how much of each pixel belongs to each; by hand."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from nst_tf.io.masks import (
    compose, find_labels, load_mask, match, memberships, resize_memberships, written,
)
from nst_tf.vocabulary import UserError

from .conftest import make_picture

BLACK, WHITE, GRAY, RED, BLUE = (0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0), (0, 0, 255)


def _drawn(ground: str, disk: str, square: str = "") -> Image.Image:
    """A disk left of the middle and, where asked for, a square at the right: 161 × 97 px."""
    image = Image.new("RGB", (161, 97), ground)
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 12, 88, 80), fill=disk)
    if square:
        draw.rectangle((118, 30, 149, 69), fill=square)
    return image


def _floats(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32) / np.float32(255)


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data)


def test_memberships_by_hand() -> None:
    row = np.array([0, 0, 0, 0, 0, 64, 128, 255, 255, 255, 255], np.float32) / np.float32(255)
    picture = row[None, :, None].repeat(5, 0).repeat(3, 2)
    w = memberships(picture, [BLACK, WHITE])
    e = 24 / 255
    expected = [0, 0, 0, 0, 0, (64 / 255 - e) / (1 - 2 * e), (128 / 255 - e) / (1 - 2 * e), 1, 1, 1, 1]
    np.testing.assert_allclose(w[2, :, 1], expected, atol=1e-6)
    np.testing.assert_allclose(w.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("sigma_px", [0, 0.7, 2, 6])
def test_soft_edges_are_no_labels_and_sum_to_1(sigma_px: float) -> None:
    hard = _drawn("red", "blue")
    picture = _floats(hard.filter(ImageFilter.GaussianBlur(sigma_px)))
    assert find_labels(picture) == (RED, BLUE)
    w = memberships(picture, (RED, BLUE))
    np.testing.assert_allclose(w.sum(-1), 1, atol=1e-6)
    assert w.min() >= 0 and (w[40:50, 50:60, 1] == 1).all() and (w[:, 140:, 0] == 1).all()
    is_blue = np.asarray(hard)[..., 2] > 0
    assert abs(w[..., 1].mean() - is_blue.mean()) < 0.01
    is_soft = (w > 0.01) & (w < 0.99)
    assert is_soft.any() == bool(sigma_px)


@pytest.mark.parametrize("quality", [95, 75, 40])
def test_the_noise_of_jpeg_is_no_label_and_leaves_regions_whole(quality: int) -> None:
    hard = _drawn("black", "white", "red")
    picture = _floats(_jpeg(hard, quality))
    labels = find_labels(picture)
    assert [match(label, (BLACK, WHITE, RED)) for label in labels] == [0, 1, 2]
    w, levels = memberships(picture, labels), np.asarray(hard).astype(int)
    for k, (label, inside) in enumerate(((BLACK, 0.9), (WHITE, 0.9), (RED, 0.75))):
        there = (levels == label).all(-1)
        assert np.mean(w[there][:, k] == 1) > inside, "a sharp edge of JPEG is soft for some pixels only"
        assert w[~there][:, k].mean() < 0.02


def test_an_edge_from_black_to_white_has_no_part_in_a_gray_region_elsewhere() -> None:
    picture = _floats(_drawn("black", "white", "#808080").filter(ImageFilter.GaussianBlur(1)))
    labels = find_labels(picture)
    assert labels == (BLACK, WHITE, GRAY)
    w = memberships(picture, labels)
    assert w[:, :100, 2].max() == 0 and abs(w[..., 2].sum() - 32 * 40) < 20


def test_a_line_of_its_own_color_stays_itself_where_no_mixture_explains_it() -> None:
    image = _drawn("red", "blue", "lime")
    ImageDraw.Draw(image).line((0, 5, 160, 5), fill="lime")
    w = memberships(_floats(image), (RED, BLUE, (0, 255, 0)))
    assert (w[5, :, 2] == 1).all()


def test_labels_come_from_the_largest_to_the_smallest_and_small_specks_are_none() -> None:
    image = _drawn("white", "red", "blue")
    ImageDraw.Draw(image).point([(3, 3), (4, 3)], fill="black")
    assert find_labels(_floats(image)) == (WHITE, RED, BLUE)
    assert find_labels(make_picture(97, 161, seed=1)) == ()
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 30, 0).repeat(3, 2)
    assert find_labels(ramp) == ()


def test_resized_memberships_sum_to_1_and_stay_exact_inside() -> None:
    w = memberships(_floats(_drawn("black", "white", "red")), (BLACK, WHITE, RED))
    for size in ((23, 17), (400, 241), (161, 97), (1, 1)):
        resized = resize_memberships(w, *size)
        assert resized.shape == (size[1], size[0], 3) and resized.min() >= 0
        np.testing.assert_allclose(resized.sum(-1), 1, atol=1e-6)
        if size != (1, 1):
            np.testing.assert_allclose(resized.mean((0, 1)), w.mean((0, 1)), atol=0.03)
    assert (resize_memberships(w, 80, 48)[22:26, 24:28, 1] == 1).all()
    assert np.isin(resize_memberships(w, 161, 97), (0, 1)).all()


def test_compose_is_the_very_photo_or_the_very_image() -> None:
    image, photo = make_picture(7, 9, 1), make_picture(7, 9, 2)
    share = np.zeros((7, 9, 1), np.float32)
    share[2:] = 1
    share[4] = 0.25
    composed = compose(image, photo, share)
    np.testing.assert_array_equal(composed[:2], photo[:2])
    np.testing.assert_array_equal(composed[2:4], image[2:4])
    np.testing.assert_allclose(composed[4], 0.25 * image[4] + 0.75 * photo[4], atol=1e-6)


def test_match_takes_the_nearest_within_tolerance() -> None:
    assert match((250, 3, 0), (BLUE, RED)) == 1
    assert match((200, 0, 0), (BLUE, RED)) is None
    assert match((20, 20, 20), (BLACK, (24, 24, 24))) == 1
    assert written((255, 0, 10)) == "#ff000a"


def _many(count: int) -> Image.Image:
    image = Image.new("RGB", (20 * count, 24))
    for k in range(count):
        image.paste((60 * (k % 5), 60 * (k // 5 % 5), 200 * (k // 25)), (20 * k, 0, 20 * k + 20, 24))
    return image


@pytest.mark.parametrize("image, text", [
    (Image.fromarray(np.round(make_picture(97, 161, 1) * 255).astype(np.uint8)), "looks like a picture, not like a"),
    (Image.new("RGB", (40, 30), "red"), "has one color, #ff0000: paint each region"),
    (_drawn("#000000", "#0a0a0a"), "has one color"),
    (_many(17), "has more than 16 colors"),
])
def test_what_is_no_mask_is_refused(tmp_path: Path, image: Image.Image, text: str) -> None:
    path = tmp_path / "mask.png"
    image.save(path)
    with pytest.raises(UserError, match=f"--content_mask '.*mask.png' {text}") as raised:
        load_mask(path, "--content_mask", 1024)
    assert "\n" not in str(raised.value)


def test_masks_of_other_kinds(tmp_path: Path) -> None:
    _many(16).save(tmp_path / "many.png")
    assert len(load_mask(tmp_path / "many.png", "--content_mask", 1024).labels) == 16
    # As pictures are read: what is transparent is white; a palette is its colors.
    alpha = _drawn("black", "black").convert("RGBA")
    alpha.paste((255, 0, 0, 0), (0, 0, 40, 97))
    alpha.save(tmp_path / "alpha.png")
    assert load_mask(tmp_path / "alpha.png", "--content_mask", 1024).labels == (BLACK, WHITE)
    _drawn("red", "blue").quantize(4).save(tmp_path / "palette.png")
    assert load_mask(tmp_path / "palette.png", "--content_mask", 1024).labels == (RED, BLUE)
