"""What viewers show is read: pictures with something wrong beside their pixels, and pictures of phones."""

import io
import itertools
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, PngImagePlugin

from nst_tf.io import decode, images, png
from nst_tf.vocabulary import UserError

from .test_images import chunk, levels, picture, png_header, swapped_profile, write

ROOT = Path(__file__).resolve().parents[1]


def _wrong(part: bytes) -> bytes:
    """A chunk with a wrong checksum."""
    return part[:-1] + bytes([part[-1] ^ 1])


def _profile_chunk(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))


BESIDE_THE_PIXELS = {
    "long compressed text": chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2_000_000))),
    "long international text": chunk(b"iTXt", b"key\0\1\0\0\0" + zlib.compress(bytes(2_000_000))),
    "much text": chunk(b"tEXt", b"key\0" + bytes(300_000)),
    "text of no method": chunk(b"zTXt", b"key\0\5..."),
    "comment with a wrong checksum": _wrong(chunk(b"tEXt", b"key\0text")),
    "private chunk with a wrong checksum": _wrong(chunk(b"prVW", b"...")),
    "EXIF with a wrong checksum": _wrong(chunk(b"eXIf", b"MM\0*")),
    "profile that is a bomb": _profile_chunk(bytes(2_000_000)),
    "profile of no method": chunk(b"iCCP", b"name\0\1..."),
    "profile of no bytes": chunk(b"iCCP", b""),
    "short transparency": chunk(b"tRNS", b"\0"),
    "short resolution": chunk(b"pHYs", b"\0"),
    "short gamma": chunk(b"gAMA", b""),
    "broken animation": chunk(b"acTL", bytes([0, 0, 0, 2, 0, 0, 0, 0])) + chunk(b"fcTL", bytes(26)),
}


def _png(image: Image.Image, beside: bytes) -> tuple[bytes, bytes]:
    """A PNG with chunks before and behind its pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    plain = buffer.getvalue()
    return plain[:33] + beside + plain[33:], plain[:-12] + beside + plain[-12:]


@pytest.mark.parametrize("beside", BESIDE_THE_PIXELS.values(), ids=BESIDE_THE_PIXELS)
def test_a_png_is_read_whatever_stands_beside_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         beside: bytes) -> None:
    # Instead of 64 MiB each.
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 200_000)
    monkeypatch.setattr(png, "_MOST_PROFILE_BYTES", 1_500_000)
    settings = ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    for data in _png(Image.fromarray(picture()), beside):
        (tmp_path / "a.png").write_bytes(data)
        np.testing.assert_allclose(levels(tmp_path / "a.png"), picture(), atol=1e-4)
        assert images.size_px(tmp_path / "a.png", "--content") == (23, 17)
    assert settings == (ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


def test_other_kinds_of_png_are_read_beside_a_wrong_checksum(tmp_path: Path) -> None:
    image, path = Image.fromarray(picture()), tmp_path / "a.png"
    for each in (image.convert("1"), image.quantize(16), image.convert("LA"),
                 Image.fromarray(picture()[..., 0].astype(np.uint16) * 257)):
        each.save(path)
        wanted = levels(path)
        path.write_bytes(_png(each, BESIDE_THE_PIXELS["comment with a wrong checksum"])[0])
        np.testing.assert_array_equal(levels(path), wanted)


def test_a_large_profile_is_converted(tmp_path: Path) -> None:
    red = Image.fromarray(np.tile(np.array([255, 0, 0], np.uint8), (4, 4, 1)))
    (tmp_path / "a.png").write_bytes(_png(red, _profile_chunk(swapped_profile() + bytes(3_000_000)))[0])
    np.testing.assert_allclose(levels(tmp_path / "a.png")[1, 1], [0, 255, 0], atol=3)


def test_the_end_of_a_png_does_not_count_but_its_pixels_do(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.png", picture(), "PNG").read_bytes()
    for data in (whole[:-12], whole + b"<html>", whole[:-12] + chunk(b"tEXt", bytes(99))[:40]):
        (tmp_path / "a.png").write_bytes(data)
        np.testing.assert_allclose(levels(tmp_path / "a.png"), picture(), atol=1e-4)
    # A text that goes on to the end of the file, and pixels that are cut off behind a text that is dropped.
    for data in (whole[:33] + chunk(b"tEXt", bytes(99))[:40], _png(Image.fromarray(picture()), _wrong(
            chunk(b"tEXt", b"key\0text")))[0][:-60], whole[:29] + bytes(4) + whole[33:], png_header(9, 9)):
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(UserError, match="damaged"):
            images.load(tmp_path / "a.png")


@pytest.mark.parametrize("default_image", [False, True])
def test_an_animated_png_is_its_first_picture(tmp_path: Path, default_image: bool) -> None:
    others = [Image.fromarray(picture()[::-1]), Image.fromarray(picture()[:, ::-1])]
    path = write(tmp_path / "a.png", picture(), "PNG", save_all=True, append_images=others, default_image=default_image)
    np.testing.assert_allclose(levels(path), picture(), atol=1e-4)


@pytest.mark.parametrize("dtype, channels", [*itertools.product(["float16", "float32", "float64", "uint32"], [3]),
                                             ("float16", 1), ("float64", 1), ("complex64", 1), ("uint8", 5)])
def test_a_tiff_is_refused_for_its_samples(tmp_path: Path, dtype: str, channels: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 9, channels), dtype)[..., :None if channels > 1 else 1].squeeze(),
                     photometric="rgb" if channels == 3 else "minisblack",
                     planarconfig="contig" if channels > 1 else None)
    with pytest.raises(UserError, match=rf"is a TIFF of {dtype} samples, {channels} in a pixel: allowed are 8 or 16 "
                       "bits, and gray floats of 32 bits"):
        images.load(tmp_path / "a.tif")


def test_only_our_line_tells_of_a_damaged_tiff(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        path = write(tmp_path / "a.tif", picture(), "TIFF", compression=compression)
        data = bytearray(path.read_bytes())
        data[60:200:7] = bytes(value ^ 0x5A for value in data[60:200:7])
        path.write_bytes(data)
        with pytest.raises(UserError, match="damaged"):
            images.load(path)
        with pytest.raises(OSError), Image.open(path) as image:
            image.load()
        shown = capfd.readouterr().err
        # One line of libtiff, of the load by Pillow alone.
        assert shown.count("\n") == 1


def _segment(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(data) + 2).to_bytes(2) + data


@pytest.mark.parametrize("segment", [
    _segment(0xEE, b"Adobe"), _segment(0xED, b"Photoshop 3.0\x008BIM\4\4"), _segment(0xE2, b"ICC_PROFILE\0"),
    _segment(0xE1, b"Exif\0\0MM\0*"), _segment(0xFE, bytes(65000)), _segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\1")],
    ids=["Adobe", "Photoshop", "profile", "EXIF", "comment", "more pictures"])
def test_a_jpeg_is_read_whatever_stands_beside_its_pixels(tmp_path: Path, segment: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path / "a.jpg", picture(), "JPEG", quality=100, subsampling=0, exif=exif,
                 icc_profile=swapped_profile())
    wanted, data = levels(path), path.read_bytes()
    for beside in (segment, 2 * segment):
        path.write_bytes(data[:-2].replace(b"\xff\xdb", beside + b"\xff\xdb", 1) + data[-2:])
        np.testing.assert_array_equal(levels(path), wanted)
        assert images.size_px(path, "--content") == (17, 23)
    path.write_bytes(data[:300])
    with pytest.raises(UserError, match="damaged"):
        images.load(path)


def test_pictures_of_phones(tmp_path: Path) -> None:
    """A JPEG with a second picture inside, one with bytes behind it, and AVIF with its orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    second = Image.fromarray(picture()[::-1])
    path = write(tmp_path / "a.jpg", picture(), "MPO", save_all=True, append_images=[second], quality=100,
                 subsampling=0, exif=exif)
    path.write_bytes(path.read_bytes() + b"SEFT")
    np.testing.assert_allclose(levels(path), np.rot90(picture(), -1), atol=8)
    path = write(tmp_path / "a.avif", picture(), "AVIF", quality=100, subsampling="4:4:4", exif=exif)
    np.testing.assert_allclose(levels(path), np.rot90(picture(), -1), atol=8)
    assert images.size_px(path, "--content") == (17, 23)


# Made by pillow-heif, which can encode: 48 × 32 px, red and blue, turned by a quarter to the right, with a profile in
# which red and green have changed places.
HEIC = ROOT / "tests" / "data" / "turned.heic"


def test_a_heic_is_read_with_its_orientation_and_profile(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="the extra 'heic' is not installed")
    formats = set(Image.OPEN)
    got = levels(HEIC)
    assert got.shape == (48, 32, 3) and images.size_px(HEIC, "--content") == (32, 48)
    np.testing.assert_allclose(got[4, 16], [0, 255, 0], atol=4)
    np.testing.assert_allclose(got[-4, 16], [0, 0, 255], atol=4)
    assert images.load(HEIC, max_side_px=12).shape == (12, 8, 3) and not decode.has_transparency(HEIC, "--content")
    assert set(Image.OPEN) == formats
    data, path = HEIC.read_bytes(), tmp_path / "cut.heic"
    for size in range(40, len(data), 100):
        path.write_bytes(data[:size])
        with pytest.raises(UserError, match="damaged"):
            images.load(path)


def test_a_heic_with_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pi_heif", reason="the extra 'heic' is not installed")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="too large"):
        images.load(HEIC)


def test_a_heic_without_its_reader_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    for read in (images.load, lambda path: images.size_px(path, name="--content")):
        with pytest.raises(UserError, match=r"is a HEIC picture: pip install -e '\.\[heic\]'"):
            read(HEIC)
