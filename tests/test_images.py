"""Reading images: every kind of file, every orientation, every way for a file to be bad."""

import itertools
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from nst_tf.io import images
from nst_tf.vocabulary import UserError

HEIGHT, WIDTH = 17, 23
KINDS = [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("TIFF", {}),
         ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {}), ("BMP", {}), ("GIF", {})]


def picture() -> Any:
    """uint8 [17, 23, 3]: other slopes along x and y in each channel, one red corner; no symmetry at all."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([10 * x, 14 * y, 40 + 3 * x + 5 * y], -1).astype(np.uint8)
    pixels[:5, :6] = 255, 0, 0
    return pixels


def write(path: Path, image: Any, kind: str, **options: Any) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, kind, **options)
    return path


def levels(path: Path, **options: Any) -> Any:
    """What `load` gives, in steps of 1/255."""
    loaded = images.load(path, **options)
    assert loaded.dtype == np.float32 and loaded.min() >= 0 and loaded.max() <= 1
    return loaded * 255


def one_line(error: pytest.ExceptionInfo[BaseException], *parts: str) -> None:
    assert "\n" not in str(error.value) and all(part in str(error.value) for part in parts)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """An 8-bit RGB PNG that ends where its pixels should begin, but for data that is not deflate."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"???") + chunk(b"IEND", b"")


def swapped_profile() -> bytes:
    """An sRGB profile whose red and green primaries have changed places: its red is the green of sRGB."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")


def linear_gray_profile() -> bytes:
    """The smallest ICC profile of a gray that is proportional to light (kTRC: a curve of no entries = identity)."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * v) for v in (0.9642, 1, 0.8249)))
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 12)
    body = table + white + b"curv" + bytes(8)
    header = struct.pack(">I4sI4s4s4s12x4s28x", 188, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    return header + white[8:] + bytes(48) + body


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_rgb_is_exact(tmp_path: Path, kind: str) -> None:
    np.testing.assert_allclose(levels(write(tmp_path / "a", picture(), kind)), picture(), atol=1e-4)


@pytest.mark.parametrize("kind, options", [("JPEG", {"quality": 95, "subsampling": 0}), ("WEBP", {"quality": 95})])
def test_lossy_rgb_is_close(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    assert np.abs(levels(write(tmp_path / "a", picture(), kind, **options)) - picture()).mean() < 5


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_the_first_frame_counts(tmp_path: Path, kind: str) -> None:
    first, second = Image.new("RGB", (5, 4), "red"), Image.new("RGB", (5, 4), "blue")
    path = write(tmp_path / "a", first, kind, save_all=True, append_images=[second], lossless=True)
    np.testing.assert_allclose(levels(path), np.broadcast_to([255, 0, 0], (4, 5, 3)), atol=1e-4)


def test_gray_bilevel_and_palette(tmp_path: Path) -> None:
    gray = picture()[..., 0]
    np.testing.assert_allclose(levels(write(tmp_path / "l", gray, "PNG")), gray[..., None].repeat(3, -1), atol=1e-4)
    bits = np.array([[True, False, False]])
    np.testing.assert_allclose(levels(write(tmp_path / "1", bits, "PNG"))[0, :, 1], [255, 0, 0])
    palette = Image.fromarray(picture() // 64 * 64).quantize(64)
    np.testing.assert_allclose(levels(write(tmp_path / "p", palette, "PNG")), np.asarray(palette.convert("RGB")),
                               atol=1e-4)


def test_alpha_goes_over_white(tmp_path: Path) -> None:
    """x·a + 255·(1 − a): (10, 20, 200) at a = 51/255 = 0.2 gives (206, 208, 244)."""
    rgba = np.array([[[10, 20, 200, 51], [10, 20, 200, 0], [10, 20, 200, 255]]], np.uint8)
    wanted = [[206, 208, 244], [255, 255, 255], [10, 20, 200]]
    for kind, options in [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})]:
        np.testing.assert_allclose(levels(write(tmp_path / "a", rgba, kind, **options))[0], wanted, atol=0.51)
    gray = Image.fromarray(rgba[..., [2, 3]])
    assert gray.mode == "LA"
    np.testing.assert_allclose(levels(write(tmp_path / "la", gray, "PNG"))[0, :, 0], [244, 255, 200], atol=0.51)


def test_transparent_colors_go_over_white(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for kind, transparency in [("PNG", 1), ("GIF", 1), ("PNG", b"\xff\x00\xff")]:
        got = levels(write(tmp_path / "p", palette, kind, transparency=transparency))[0]
        np.testing.assert_allclose(got, [[255, 0, 0], [255, 255, 255], [0, 0, 255]], atol=1e-4)
    rgb = Image.fromarray(np.array([[[9, 8, 7], [1, 2, 3]]], np.uint8))
    got = levels(write(tmp_path / "rgb", rgb, "PNG", transparency=(9, 8, 7)))[0]
    np.testing.assert_allclose(got, [[255, 255, 255], [1, 2, 3]], atol=1e-4)


def test_cmyk(tmp_path: Path) -> None:
    """No ink, cyan, magenta, yellow, black, as TIFF and as the inverted JPEG that Adobe (and Pillow) write."""
    inks = np.array([[[0] * 4, [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255]]], np.uint8)
    inks = inks.repeat(16, axis=1).repeat(16, axis=0)
    wanted = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
    for kind in ["TIFF", "JPEG"]:
        got = levels(write(tmp_path / "c", Image.fromarray(inks, "CMYK"), kind))
        np.testing.assert_allclose(got[8, 8::16], wanted, atol=3)


@pytest.mark.parametrize("shrink", [None, 1000])
def test_deep_gray_keeps_its_precision(tmp_path: Path, shrink: int | None) -> None:
    deep = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 167 + 1).astype(np.uint16)
    big_endian = Image.frombytes("I;16B", (WIDTH, HEIGHT), deep.astype(">u2").tobytes())
    for image, kind in [(deep, "PNG"), (deep, "TIFF"), (big_endian, "TIFF"), (deep.astype(np.int32), "TIFF"),
                        ((deep / 65535).astype(np.float32), "TIFF")]:
        got = images.load(write(tmp_path / "a", image, kind), max_side_px=shrink)
        np.testing.assert_allclose(got, (deep / 65535)[..., None].repeat(3, -1), atol=1e-6)


def test_deep_gray_shrinks_like_float(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(3000, 60000, 96).astype(np.uint16), (48, 1))
    for mode, order in [("I;16", "<u2"), ("I;16B", ">u2")]:
        path = write(tmp_path / "a", Image.frombytes(mode, (96, 48), ramp.astype(order).tobytes()), "TIFF")
        got = images.load(path, max_side_px=6)
        assert got.shape == (3, 6, 3)
        # The mean over 16 columns, away from the ends, where the filter is cut off.
        np.testing.assert_allclose(got[1, 1:-1, 0], ramp[0].reshape(6, 16).mean(-1)[1:-1] / 65535, atol=5e-3)


@pytest.mark.parametrize("samples", [np.array([[0, 70000]], np.int32), np.array([[-1, 5]], np.int32),
                                     np.array([[0, 254.5]], np.float32), np.array([[0.5, np.nan]], np.float32)])
def test_samples_of_unknown_scale_are_refused(tmp_path: Path, samples: Any) -> None:
    path = write(tmp_path / "a.tif", samples, "TIFF")
    for read in (images.load, lambda path: images.load(path, max_side_px=1)):
        with pytest.raises(UserError) as error:
            read(path)
        one_line(error, "--content", "a.tif", "0 to 65535", "rescale")


SHOWN = {1: lambda s: s, 2: lambda s: s[:, ::-1], 3: lambda s: s[::-1, ::-1], 4: lambda s: s[::-1],
         5: lambda s: s.swapaxes(0, 1), 6: lambda s: np.rot90(s, -1), 7: lambda s: s[::-1, ::-1].swapaxes(0, 1),
         8: lambda s: np.rot90(s)}


@pytest.mark.parametrize("orientation, kind", [*itertools.product(SHOWN, ["PNG", "TIFF", "WEBP", "JPEG"])])
def test_exif_orientation(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "a", picture(), kind, exif=exif, lossless=True, quality=100, subsampling=0)
    wanted = SHOWN[orientation](picture())
    np.testing.assert_allclose(levels(path), wanted, atol=8 if kind == "JPEG" else 1e-4)
    assert images.size_px(path, "--content") == wanted.shape[1::-1]
    half = levels(path, max_side_px=12)
    small = images.resize(wanted / np.float32(255), *images.fit(12, *wanted.shape[1::-1])) * 255
    assert half.shape == small.shape and np.abs(half - small).mean() < 2  # a mirrored one: above 30


def test_exif_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = write(tmp_path / "a", picture(), "PNG").read_bytes()
    (tmp_path / "b").write_bytes(plain[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + plain[-12:])
    np.testing.assert_allclose(levels(tmp_path / "b"), np.rot90(picture(), -1), atol=1e-4)
    assert images.size_px(tmp_path / "b", "--content") == (HEIGHT, WIDTH)


def test_broken_exif_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "a", picture(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    np.testing.assert_allclose(levels(path), picture(), atol=1e-4)
    assert images.size_px(path, "--content") == (WIDTH, HEIGHT)


def test_size_needs_the_header_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png_header(20000, 15000))
    decoded: list[Image.Image] = []
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: decoded.append(self))
    assert images.size_px(tmp_path / "a.png", "--content") == (20000, 15000)
    assert not decoded


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_profile_is_converted(tmp_path: Path, kind: str) -> None:
    red = np.tile(np.array([255, 0, 0], np.uint8), (16, 16, 1))
    path = write(tmp_path / "a", red, kind, icc_profile=swapped_profile(), lossless=True)
    np.testing.assert_allclose(levels(path)[4, 5], [0, 255, 0], atol=3)


def test_profile_with_alpha_and_palette(tmp_path: Path) -> None:
    rgba = np.array([[[255, 0, 0, 51], [0, 255, 0, 255]]], np.uint8)
    path = write(tmp_path / "a", rgba, "PNG", icc_profile=swapped_profile())
    np.testing.assert_allclose(levels(path)[0], [[204, 255, 204], [255, 0, 0]], atol=2)
    palette = Image.fromarray(rgba[..., :3]).quantize(2)
    path = write(tmp_path / "p", palette, "PNG", icc_profile=swapped_profile())
    np.testing.assert_allclose(levels(path)[0], [[0, 255, 0], [255, 0, 0]], atol=2)


def test_gray_profile_at_8_and_16_bits(tmp_path: Path) -> None:
    """sRGB(128/255) = 1.055·(128/255)^(1/2.4) − 0.055 = 0.7367 (IEC 61966-2-1), with a profile of gray or of color."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    linear_rgb = srgb[:128] + re.sub(b"(?s)para.{8}", b"curv" + bytes(8), srgb[128:])
    grays: list[Any] = [np.array([[0, 128, 255]], np.uint8), np.array([[0, 32896, 65535]], np.uint16)]
    for gray, profile in itertools.product(grays, [linear_gray_profile(), linear_rgb]):
        got = images.load(write(tmp_path / "g", gray, "PNG", icc_profile=profile))
        np.testing.assert_allclose(got[0], np.array([[0.0], [0.7367], [1.0]]).repeat(3, -1), atol=3e-3)


@pytest.mark.parametrize("profile", [b"garbage", swapped_profile()[:300], linear_gray_profile(),
                                     swapped_profile()[:128] + bytes(400)])
def test_profile_that_is_broken_or_of_another_kind_is_ignored(tmp_path: Path, profile: bytes) -> None:
    path = write(tmp_path / "a", picture(), "PNG", icc_profile=profile)
    np.testing.assert_allclose(levels(path), picture(), atol=1e-4)


@pytest.mark.parametrize("kind, options", KINDS)
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    data = write(tmp_path / "whole", picture(), kind, **options).read_bytes()
    whole, path = images.load(tmp_path / "whole"), tmp_path / "cut"
    refused = 0
    for size in {*range(1, len(data), len(data) // 30), *range(len(data) - 30, len(data))}:
        path.write_bytes(data[:size])
        try:
            # The last bytes of PNG, BMP and GIF are checksums, end marks and padding: all pixels stand before them.
            np.testing.assert_array_equal(images.load(path), whole)
            images.load(path, max_side_px=1)
            assert size >= len(data) - 21 and kind in ("PNG", "BMP", "GIF")
        except UserError as error:
            refused += 1
            assert str(error).startswith("--content ") and "\n" not in str(error)
            with pytest.raises(UserError):
                images.load(path, max_side_px=1)
    assert refused >= 35


def test_bytes_changed_at_random_never_end_in_a_traceback(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "a"
    for kind in ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"]:
        data = np.frombuffer(write(path, picture(), kind).read_bytes(), np.uint8)
        for _ in range(40):
            changed = data.copy()
            changed[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4)
            path.write_bytes(changed.tobytes())
            for read in (images.load, lambda p: images.size_px(p, "-"), lambda p: images.load(p, max_side_px=1)):
                try:
                    read(path)
                except UserError as error:
                    assert "\n" not in str(error)


def test_bad_paths(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text\n.png").write_text("This is no image.")
    write(tmp_path / "icon.ico", picture(), "ICO")
    os.mkfifo(tmp_path / "pipe.png")
    for path, parts in [("absent.png", ["does not exist"]), ("", ["is a folder"]), ("empty.png", ["is empty"]),
                        ("text\n.png", ["not an image", "JPEG", "text\\n"]), ("icon.ico", ["not an image"]),
                        ("pipe.png", ["a pipe or device"]), ("nul\0.png", ["cannot be read"]),
                        ("x" * 300, ["cannot be read"]), ("empty.png/a.png", ["cannot be read"])]:
        for read in (images.size_px, lambda p, name: images.load(p, name=name)):
            with pytest.raises(UserError) as error:
                read(tmp_path / path, "--style")
            one_line(error, "--style", *parts)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", picture(), "PNG")
    path.chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        images.load(path)


def test_too_many_pixels(tmp_path: Path) -> None:
    for width, height in [(20001, 15000), (60000, 60000)]:
        (tmp_path / "a.png").write_bytes(png_header(width, height))
        with pytest.raises(UserError) as error:
            images.load(tmp_path / "a.png", max_side_px=100)
        one_line(error, "too large", "300 megapixels")
