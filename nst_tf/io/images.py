"""Image files to arrays and back: orientation, color profiles, transparency, 16 bits, sizes.

Everything downstream is float32 [H, W, 3], sRGB in [0, 1].
"""

import contextlib
import io
import logging
import math
import os
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from nst_tf.io.files import check_readable, check_writable, quoted, write_atomically
from nst_tf.vocabulary import OutputFormat, RunError, UserError, names

PathLike = str | os.PathLike[str]
FloatImage = NDArray[np.float32]

MAX_PIXELS = 300_000_000
# Pillow's own limit would refuse at 179 megapixels. Beyond this one it warns, which `_opened` turns into an error.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# Some readers log a line before they raise; a bad input shows one line, ours.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# Only these: Pillow's other readers are less tested, and one of them (EPS) starts Ghostscript.
_READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
# White of the one-channel modes with more than 8 bits. Pillow holds 16-bit samples in "I".
_WHITE = {"I": 65535.0, "F": 1.0}
# Color space in an ICC header → the Pillow mode that littlecms reads with such a profile.
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_REDUCING_GAP = 3.0


class Encoder(NamedTuple):
    """How one output format is written, and the longest side that the format can hold."""

    pillow_format: str
    options: dict[str, Any]
    max_side_px: int


_JPEG = Encoder("JPEG", {"quality": 95, "subsampling": 0}, 65500)
_TIFF = Encoder("TIFF", {"compression": "tiff_adobe_deflate"}, 2**31 - 1)
_PNG = Encoder("PNG", {}, 2**31 - 1)
_WEBP = Encoder("WEBP", {"quality": 95}, 16383)
ENCODERS = {".png": _PNG, ".jpg": _JPEG, ".jpeg": _JPEG, ".webp": _WEBP, ".tif": _TIFF, ".tiff": _TIFF}


def fit(long_side_px: int, width: int, height: int) -> tuple[int, int]:
    """(width, height) scaled so that the long side is exactly `long_side_px`; the other is rounded half up, at least 1.

    In integers, so that a size never depends on the rounding of a float.
    """
    longest = max(width, height)

    def scaled(side: int) -> int:
        return max(1, (2 * side * long_side_px + longest) // (2 * longest))

    return scaled(width), scaled(height)


def resize(image: FloatImage, width: int, height: int) -> FloatImage:
    """Lanczos resampling (3 lobes, widened when it shrinks), channel by channel in float: no rounding to 8 bits.

    Args:
        image: [H, W, 3] in [0, 1].
    Returns:
        float32 [height, width, 3], clipped to [0, 1], since Lanczos overshoots at edges.
    """
    channels = [Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)) for c in range(image.shape[-1])]
    resized = [np.asarray(channel.resize((width, height), Image.Resampling.LANCZOS)) for channel in channels]
    return np.clip(np.stack(resized, axis=-1), 0, 1)


def check_smallest_side(size_px: tuple[int, int], smallest_side_px: int, name: str, path: PathLike,
                        reason: str) -> None:
    """Raise `UserError` when a side of (width, height) is below `smallest_side_px`; `reason` says who asks."""
    if min(size_px) < smallest_side_px:
        raise UserError(f"{name} {quoted(path)} is {size_px[0]} × {size_px[1]} px: both sides must be at least "
                        f"{smallest_side_px} px ({reason}); choose a larger image")


def load(path: PathLike, *, name: str = "--content", max_side_px: int | None = None) -> FloatImage:
    """An image file (JPEG, PNG, WebP, TIFF, BMP, GIF; the first frame) as the picture that a viewer shows.

    EXIF orientation is applied, an embedded ICC profile is converted to sRGB (a broken one is ignored), transparency
    is composited over white, grayscale of 16 bits or float keeps its precision (float samples are sRGB in [0, 1]).

    Args:
        name: the flag that errors name.
        max_side_px: a longer long side is shrunk to this before the conversion to float (JPEG: already while
            decoding), so that memory is bounded by the file's own samples. Never enlarges.
    Returns:
        float32 [H, W, 3], sRGB in [0, 1].
    Raises:
        UserError: the file is missing, unreadable, not an image, damaged, cut off, or above `MAX_PIXELS`.
    """
    image = _decoded(path, name, max_side_px)
    if image.mode in _WHITE:
        return _deep_gray(image)
    if image.mode == "RGBA":
        flat = Image.new("RGB", image.size, "white")
        flat.paste(_to_srgb(image.convert("RGB"), image.info), mask=image.getchannel("A"))
    else:
        flat = _to_srgb(image, image.info)
    return np.asarray(flat, np.float32) / np.float32(255)


def verify(path: PathLike, name: str) -> None:
    """Decode the file once and drop the pixels: what `load` would refuse is refused before any long work."""
    _decoded(path, name, max_side_px=1)


def size_px(path: PathLike, name: str) -> tuple[int, int]:
    """(width, height) as `load` gives it, from the header alone."""
    with _opened(path, name) as image:
        width, height = image.size
        # Pillow gives the size of a TIFF with its orientation applied already.
        turned = image.format != "TIFF" and _orientation(image, path) in (5, 6, 7, 8)
        return (height, width) if turned else (width, height)


def _decoded(path: PathLike, name: str, max_side_px: int | None) -> Image.Image:
    """The oriented image, shrunk to `max_side_px`, in mode L, RGB, RGBA, CMYK, I or F."""
    with _opened(path, name) as file:
        width, height = target = file.size
        drafted = None
        if max_side_px is not None and max_side_px < max(target):
            target = fit(max_side_px, width, height)
            drafted = file.draft(None, (math.ceil(_REDUCING_GAP * target[0]), math.ceil(_REDUCING_GAP * target[1])))
        file.load()
        image = _plain(file)
        _check_samples(image, f"{name} {quoted(path)}")
        if image.size != target:
            # A drafted size is rounded up; the box leaves out the part of the last column that is not picture.
            image = image.resize(target, Image.Resampling.LANCZOS, box=drafted[1] if drafted else None,
                                 reducing_gap=_REDUCING_GAP)
        # Broken EXIF is no reason to refuse a sound picture, and Pillow raises almost anything on it.
        with contextlib.suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
    return image


@contextlib.contextmanager
def _opened(path: PathLike, name: str) -> Iterator[Image.Image]:
    """The file with its header read; whatever goes wrong until the block ends becomes one line."""
    check_readable(path, name)
    what = f"{name} {quoted(path)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_READABLE) as image:
                yield image
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{what} is not an image, or its header is damaged: allowed are {', '.join(_READABLE)}; "
                        "convert it, or get a new copy of it") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError) as error:
        raise UserError(f"{what} is too large to decode: at most {MAX_PIXELS // 10**6} megapixels that fit into "
                        "memory; make it smaller first") from error
    except Exception as error:  # Pillow's readers raise almost anything on a damaged file.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what} is damaged or cut off ({reason}): get a new copy of it") from error


def _plain(image: Image.Image) -> Image.Image:
    """One of the six modes that resampling and color conversion know."""
    if image.mode.startswith("I"):
        # Pillow 13 cannot reduce mode I;16 and resizes I;16B with its bytes swapped.
        return image.convert("I")
    if image.mode == "F":
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in _PROFILE_MODES.values() else image.convert("RGB")


def _check_samples(image: Image.Image, what: str) -> None:
    """Refuse deep gray samples of unknown scale (32-bit integers, heights, counts, NaN) instead of clipping them."""
    if image.mode in _WHITE:
        samples = np.asarray(image)
        low, high = samples.min(), samples.max()
        if not (low >= 0 and high <= _WHITE[image.mode]):
            raise UserError(f"{what} has samples from {low:g} to {high:g}: allowed are whole numbers from 0 to 65535 "
                            "or floats from 0 to 1; rescale them")


def _deep_gray(image: Image.Image) -> FloatImage:
    gray = np.clip(np.asarray(image, np.float32) / np.float32(_WHITE[image.mode]), 0, 1)
    if not image.info.get("icc_profile"):
        return np.repeat(gray[..., np.newaxis], 3, axis=-1)
    # littlecms through Pillow has 8 bits, so the profile acts through the curve that it makes of 256 grays.
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    curve = np.asarray(_to_srgb(ramp, image.info), np.float32)[0] / np.float32(255)
    levels = np.linspace(0, 1, 256)
    return np.stack([np.interp(gray, levels, curve[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _to_srgb(image: Image.Image, info: Mapping[Any, Any]) -> Image.Image:
    """RGB in sRGB from mode L, RGB or CMYK: relative colorimetric with black point compensation, as in viewers."""
    with contextlib.suppress(OSError, TypeError, ValueError, ImageCms.PyCMSError):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(info["icc_profile"])) if info.get("icc_profile") else None
        mode = _PROFILE_MODES.get(profile.profile.xcolor_space.strip()) if profile else None
        if profile and mode and (mode == image.mode or (image.mode, mode) == ("L", "RGB")):
            transform = ImageCms.buildTransform(
                profile, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION)
            return transform.apply(image.convert(mode))
    return image.convert("RGB")


def _orientation(image: Image.Image, path: PathLike) -> int:
    """EXIF orientation 1 … 8 without decoding pixels, unless a PNG may hold it behind them."""
    # Pillow decodes every PNG without EXIF in front of its pixels in search of it.
    searched = image.format != "PNG" or "exif" in image.info or _has_chunks_behind_pixels(path)
    with contextlib.suppress(Exception):
        exif = image.getexif() if searched else Image.Image.getexif(image)
        return int(exif.get(ExifTags.Base.Orientation, 1))
    return 1


def _has_chunks_behind_pixels(path: PathLike) -> bool:
    with open(path, "rb") as file:
        file.seek(8)
        pixels_seen = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if pixels_seen and kind not in (b"IDAT", b"IEND"):
                return True
            pixels_seen |= kind == b"IDAT"
            file.seek(length + 4, os.SEEK_CUR)
    return False


def quantize(image: FloatImage) -> NDArray[np.uint8]:
    """⌊255·x + 1/2⌋ as uint8: rounding half up, values outside [0, 1] clipped; `load` of k/255 gives k back."""
    if not np.isfinite(image).all():
        raise RunError("the image has values that are not finite: lower the learning rate")
    return np.floor(np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def encode(image: FloatImage, suffix: str, text: Mapping[str, str] | None = None) -> bytes:
    """The image as the bytes of a file; equal input gives equal bytes.

    JPEG has quality 95 without chroma subsampling, WebP quality 95; PNG and TIFF are lossless.

    Args:
        image: [H, W, 3], sRGB in [0, 1].
        suffix: a key of `ENCODERS`, in any case.
        text: stored in a PNG's text chunks, in this order; the other formats have no place for it.
    Raises:
        UserError: unknown suffix, or a side that is too long for the format.
        RunError: the image is not finite.
    """
    encoder = _encoder(suffix, max(image.shape[:2]), f"format {suffix!r}")
    options = dict(encoder.options)
    if encoder.pillow_format == "PNG":
        # Not an ICC profile: littlecms writes the time of day into it, and bytes must repeat. Files without any
        # mark, as the other formats are, are read as sRGB everywhere.
        options["pnginfo"] = chunks = PngImagePlugin.PngInfo()
        chunks.add(b"sRGB", b"\x00")
        for key, value in (text or {}).items():
            chunks.add_text(key, value)
    buffer = io.BytesIO()
    Image.fromarray(quantize(image)).save(buffer, encoder.pillow_format, **options)
    return buffer.getvalue()


def save(path: PathLike, image: FloatImage, *, text: Mapping[str, str] | None = None) -> None:
    """Write [H, W, 3] in [0, 1] to `path`, in the format of its ending, atomically; see `encode`."""
    write_atomically(path, encode(image, Path(path).suffix, text))


def check_output(path: PathLike, long_side_px: int, name: str = "--output") -> None:
    """Raise `UserError` unless `save(path, …)` of an image with this long side can work; leaves no trace."""
    _encoder(Path(path).suffix, long_side_px, f"{name} {quoted(path)}")
    check_writable(path, name)


def _encoder(suffix: str, long_side_px: int, what: str) -> Encoder:
    encoder = ENCODERS.get(suffix.lower())
    if encoder is None:
        raise UserError(f"{what} has no known image ending: allowed are {', '.join(names(OutputFormat))}; rename it")
    if long_side_px > encoder.max_side_px:
        raise UserError(f"{what} cannot hold {long_side_px} px: a side of {encoder.pillow_format} is at most "
                        f"{encoder.max_side_px} px; write a .png")
    return encoder
