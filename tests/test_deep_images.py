"""Color of 16 bits, transparency and the color profile of what is written: in, out, and the same bytes every time."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from nst_tf.io import images
from nst_tf.io.picture_files import PictureFiles
from nst_tf.io.pixels import not_over_white, over_white
from nst_tf.io.profiles import means_srgb, srgb_profile
from nst_tf.vocabulary import UserError
from tests.conftest import make_picture
from tests.test_images import SHOWN, linear_gray_profile, swapped_profile

DEEP = [".png", ".tif"]


def with_alpha(seed: int = 1) -> Any:
    """float32 [17, 23, 4]: alpha grows along x, from 0 to 1."""
    alpha = np.linspace(0, 1, 23, dtype=np.float32)[None, :, None].repeat(17, 0)
    return np.concatenate([make_picture(17, 23, seed), alpha], -1)


def load_alpha(path: Path, max_side_px: int = 100) -> Any:
    return PictureFiles().load_alpha(str(path), "--content", max_side_px)


def alpha_of(path: Path, max_side_px: int = 100) -> Any:
    alpha = load_alpha(path, max_side_px)
    assert alpha is not None
    alpha = np.asarray(alpha)
    assert alpha.dtype == np.float32
    return alpha


def stored_samples(path: Path) -> Any:
    """The file's samples; of a PNG the high bytes, by Pillow."""
    if path.suffix == ".tif":
        return tifffile.imread(path)
    with Image.open(path) as stored:
        return np.asarray(stored)


@pytest.mark.parametrize("suffix", DEEP)
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_there_and_back(tmp_path: Path, suffix: str, channels: int) -> None:
    picture, path = with_alpha()[..., :channels], tmp_path / f"a{suffix}"
    images.save(path, picture, bit_depth=16)
    levels = np.floor(picture.astype(float) * 65535 + 0.5)
    samples = stored_samples(path)
    high = samples if samples.dtype == np.uint16 else samples * 256.0
    assert np.abs(high - levels).max() < (1 if samples.dtype == np.uint16 else 256)
    wanted = over_white(picture[..., :3], picture[..., 3:]) if channels == 4 else picture
    np.testing.assert_allclose(images.load(path), wanted, atol=1.1 / 65535)
    assert np.abs(images.load(path) * 255 % 1 - 0.5).mean() < 0.3  # not on the 256 levels of 8 bits
    if channels == 4:
        np.testing.assert_allclose(alpha_of(path), picture[..., 3:], atol=1 / 65535)


def test_a_16_bit_png_is_one_for_other_readers_too(tmp_path: Path) -> None:
    """Chunks by hand (PNG specification): depth 16, color type 2 or 6, profile and text in front of the pixels."""
    text = {"Software": "nst_tf", "config": '{"steps": 500,\n "λ": 1}'}
    for channels, color_type in [(3, 2), (4, 6)]:
        data = images.encode(with_alpha()[..., :channels], ".png", text, bit_depth=16)
        assert struct.unpack(">IIBB", data[16:26]) == (23, 17, 16, color_type)
        with Image.open(io.BytesIO(data)) as stored:
            assert isinstance(stored, PngImagePlugin.PngImageFile)
            assert stored.text == text and stored.info["icc_profile"] == srgb_profile()
        assert data.index(b"iCCP") < data.index(b"tEXt") < data.index(b"IDAT")


@pytest.mark.parametrize("bits, suffix", [(8, suffix) for suffix in images.ENCODERS] + [(16, s) for s in DEEP])
def test_profile_and_bytes_do_not_depend_on_the_time(bits: int, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(year: int) -> bytes:
        made = bytearray(real(ImageCms.createProfile("sRGB")).tobytes())
        made[24:36] = struct.pack(">6H", year, 5, 6, 7, 8, 9)  # as littlecms does

        class Profile:
            def tobytes(self) -> bytes:
                return bytes(made)

        with monkeypatch.context() as patch:
            patch.setattr(ImageCms, "ImageCmsProfile", lambda profile: Profile())
            srgb_profile.cache_clear()
            return images.encode(with_alpha(), suffix, {"a": "b"}, bit_depth=bits)

    real = ImageCms.ImageCmsProfile
    first, second = at(2001), at(2002)
    srgb_profile.cache_clear()
    assert first == second
    with Image.open(io.BytesIO(first)) as stored:
        profile = stored.info["icc_profile"]
    assert profile == srgb_profile() and ImageCms.getProfileDescription(
        ImageCms.ImageCmsProfile(io.BytesIO(profile))).startswith("sRGB")


@pytest.mark.parametrize("suffix", DEEP)
@pytest.mark.parametrize("orientation", SHOWN)
def test_deep_pictures_are_turned_and_shrunk(tmp_path: Path, suffix: str, orientation: int) -> None:
    picture, path, exif = with_alpha(), tmp_path / f"a{suffix}", Image.Exif()
    exif[0x0112] = orientation
    if suffix == ".tif":
        tifffile.imwrite(path, images.quantize(picture, 16), photometric="rgb", extrasamples=["unassalpha"],
                         extratags=[(274, 3, 1, orientation, True)])
    else:
        plain = images.encode(picture, ".png", bit_depth=16)
        chunks = io.BytesIO()
        PngImagePlugin.putchunk(chunks, b"eXIf", exif.tobytes()[6:])
        path.write_bytes(plain[:33] + chunks.getvalue() + plain[33:])
    turned = SHOWN[orientation](picture)
    assert images.size_px(path, "-") == turned.shape[1::-1]
    np.testing.assert_allclose(alpha_of(path), turned[..., 3:], atol=1e-4)
    np.testing.assert_allclose(images.load(path), over_white(turned[..., :3], turned[..., 3:]), atol=1e-4)
    small = images.resize(over_white(turned[..., :3], turned[..., 3:]), *images.fit(11, *turned.shape[1::-1]))
    np.testing.assert_allclose(images.load(path, max_side_px=11), small, atol=1e-4)
    assert images.load(path, max_side_px=99).shape == turned.shape[:2] + (3,)


def test_gray_with_alpha_of_16_bits(tmp_path: Path) -> None:
    import tensorflow as tf

    gray_alpha: Any = images.quantize(with_alpha()[..., 2:], 16)
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(gray_alpha).numpy())
    gray, alpha = gray_alpha[..., :1] / np.float32(65535), gray_alpha[..., 1:] / np.float32(65535)
    np.testing.assert_allclose(images.load(tmp_path / "a.png"), over_white(gray, alpha).repeat(3, -1), atol=1e-6)


def test_what_16_bits_do_without(tmp_path: Path) -> None:
    """Another profile than sRGB, premultiplied alpha, another color space: as Pillow reads them, in 8 bits."""
    picture = make_picture(17, 23, 1)
    path = tmp_path / "a.tif"
    samples: Any = images.quantize(picture, 16)
    tifffile.imwrite(path, samples, photometric="rgb", iccprofile=swapped_profile())
    loaded = images.load(path)
    np.testing.assert_allclose(loaded[4, 5], images.quantize(picture)[4, 5][[1, 0, 2]] / 255, atol=0.02)
    premultiplied = np.concatenate([samples // 2, np.full((17, 23, 1), 32768, np.uint16)], -1)
    tifffile.imwrite(path, premultiplied, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_allclose(images.load(path), 0.5 * picture + 0.5, atol=0.02)


def test_a_compression_that_only_pillow_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tifffile without imagecodecs on LZW: `KeyError: ... requires the 'imagecodecs' package`."""
    picture, path = make_picture(17, 23, 1), tmp_path / "a.tif"
    images.save(path, picture, bit_depth=16)

    def refuse(path: Path, **options: Any) -> None:
        raise KeyError("requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile, "imread", refuse)
    loaded = images.load(path)
    assert 0 < np.abs(loaded - picture).max() < 1.01 / 255
    np.testing.assert_allclose(loaded * 255, np.round(loaded * 255), atol=1e-4)


def test_which_profiles_mean_srgb() -> None:
    assert means_srgb({}) and means_srgb({"icc_profile": srgb_profile()}) and means_srgb({"icc_profile": b"garbage"})
    assert not means_srgb({"icc_profile": swapped_profile()})
    assert means_srgb({"icc_profile": linear_gray_profile()})  # of gray: RGB samples ignore it, as `load` does


def test_a_damaged_deep_file_is_one_line(tmp_path: Path) -> None:
    for suffix in DEEP:
        path = tmp_path / f"a{suffix}"
        data = images.encode(with_alpha(), suffix, bit_depth=16)
        for size in (len(data) // 3, len(data) // 2, len(data) - 40):
            path.write_bytes(data[:size])
            with pytest.raises(UserError) as error:
                images.load(path)
            assert "\n" not in str(error.value) and str(error.value).startswith("--content")


def test_depths_that_a_format_has_not(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.webp"):
        with pytest.raises(UserError, match=r"--bit_depth=16.*has 8 bits; write a \.png or \.tif"):
            images.check_output(tmp_path / name, 100, bit_depth=16)
    images.check_output(tmp_path / "a.tiff", 100, bit_depth=16)


def test_over_white_and_back() -> None:
    color, alpha = with_alpha()[..., :3], with_alpha()[..., 3:]
    np.testing.assert_allclose(over_white(color, alpha)[:, 0], 1)
    np.testing.assert_array_equal(over_white(color, alpha)[:, -1], color[:, -1])
    np.testing.assert_allclose(not_over_white(over_white(color, alpha), alpha)[:, 1:], color[:, 1:], atol=1e-5)
    # Over white again it is the same picture, but where that is darker than any color of this alpha.
    dark: Any = np.full((1, 3, 3), 0.25, np.float32)
    share: Any = np.array([0, 0.5, 1], np.float32)[None, :, None]
    np.testing.assert_allclose(not_over_white(dark, share)[0, :, 0], [0.25, 0, 0.25])


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_out_and_in(tmp_path: Path, suffix: str) -> None:
    picture, path = with_alpha(), tmp_path / f"a{suffix}"
    images.save(path, picture)
    np.testing.assert_allclose(alpha_of(path), picture[..., 3:], atol=0.51 / 255)
    assert alpha_of(path, max_side_px=11).shape == (8, 11, 1)
    difference = np.abs(images.load(path) - over_white(picture[..., :3], picture[..., 3:]))
    assert difference.mean() < (0.06 if suffix == ".webp" else 0.003)


def test_a_jpeg_gets_alpha_over_white(tmp_path: Path) -> None:
    picture = with_alpha()
    images.save(tmp_path / "a.jpg", picture)
    assert load_alpha(tmp_path / "a.jpg") is None
    flat = over_white(picture[..., :3], picture[..., 3:])
    assert np.abs(images.load(tmp_path / "a.jpg") - flat).mean() < 0.02


def test_files_where_nothing_is_transparent_have_no_alpha(tmp_path: Path) -> None:
    opaque = np.concatenate([make_picture(17, 23, 1), np.ones((17, 23, 1), np.float32)], -1)
    for bits in (8, 16):
        images.save(tmp_path / "a.png", opaque, bit_depth=bits)
        assert load_alpha(tmp_path / "a.png") is None
        images.save(tmp_path / "a.png", opaque[..., :3], bit_depth=bits)
        assert load_alpha(tmp_path / "a.png") is None
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "p.png", transparency=1)
    np.testing.assert_array_equal(alpha_of(tmp_path / "p.png"), [[[1], [0]]])
