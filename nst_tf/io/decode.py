"""Image files to arrays: orientation, color profiles, transparency, 16 bits, sizes.

Everything downstream is float32 [H, W, 3], sRGB in [0, 1].
"""

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from nst_tf.io import deep, heif, jpeg, png
from nst_tf.io.files import check_readable, quoted
from nst_tf.io.photo import Photo
from nst_tf.io.pixels import FloatImage, PathLike, fit, resize
from nst_tf.io.profiles import PROFILE_MODES, to_srgb
from nst_tf.runtime import quiet_stderr
from nst_tf.vocabulary import UserError

MAX_PIXELS = 300_000_000
# Pillow's own limit would refuse at 179 megapixels. Beyond this one it warns, which `_opened` turns into an error.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# Some readers log a line before they raise; a bad input shows one line, ours.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# Only these: Pillow's other readers are less tested, and one of them (EPS) starts Ghostscript.
_READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
# White of the one-channel modes with more than 8 bits. Pillow holds 16-bit samples in "I".
_WHITE = {"I": 65535.0, "F": 1.0}
_REDUCING_GAP = 3.0
# EXIF orientation → what turns the stored samples into the picture.
_TURNS: dict[int, Callable[[Any], Any]] = {
    1: lambda s: s, 2: lambda s: s[:, ::-1], 3: lambda s: s[::-1, ::-1], 4: lambda s: s[::-1],
    5: lambda s: s.swapaxes(0, 1), 6: lambda s: np.rot90(s, -1), 7: lambda s: s[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90}


def load(path: PathLike, *, name: str = "--content", max_side_px: int | None = None) -> FloatImage:
    """An image file (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC; the first frame) as a viewer shows it.

    EXIF orientation is applied, an embedded ICC profile is converted to sRGB (a broken one is ignored), transparency
    is composited over white, 16 bits keep their precision (but see `deep.read`), as do gray float samples, which are
    sRGB in [0, 1].

    Args:
        name: the flag that errors name.
        max_side_px: a longer long side is shrunk to this before the conversion to float (JPEG: already while
            decoding), so that memory is bounded by the file's own samples. Never enlarges.
    Returns:
        float32 [H, W, 3], sRGB in [0, 1].
    Raises:
        UserError: the file is missing, unreadable, not an image, damaged, cut off, or above `MAX_PIXELS`.
    """
    return np.asarray(read(path, name, max_side_px))


def has_transparency(path: PathLike, name: str) -> bool:
    """Whether the header says that some pixels may not be opaque."""
    with _opened(path, name) as file:
        return bool(file.has_transparency_data)


def size_px(path: PathLike, name: str) -> tuple[int, int]:
    """(width, height) as `load` gives it, from the header alone."""
    with _opened(path, name) as image:
        width, height = image.size
        # Pillow gives the size of a TIFF with its orientation applied already.
        turned = image.format != "TIFF" and _orientation(image, path) in (5, 6, 7, 8)
        return (height, width) if turned else (width, height)


def read(path: PathLike, name: str, max_side_px: int | None) -> Photo:
    """The picture as `load` gives it, in the samples of its file; with alpha where not all of it is opaque."""
    with _opened(path, name) as file:
        samples = deep.read(path, file)
        if samples is not None:
            return _deep_color(_TURNS[_orientation(file, path)](samples), max_side_px)
    image = _decoded(path, name, max_side_px)
    if image.mode in _WHITE:
        return Photo(_deep_gray(image))
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    color = np.asarray(to_srgb(image.convert("RGB") if alpha else image, image.info))
    if alpha is None or alpha.getextrema() == (255, 255):
        return Photo(color)
    return Photo(color, np.asarray(alpha)[..., np.newaxis])


def _deep_color(samples: deep.Samples, max_side_px: int | None) -> Photo:
    """16-bit samples [H, W, 3 or 4] as a picture, one channel at a time: a whole picture in float is large."""
    height, width = samples.shape[:2]
    size = fit(min(max_side_px or max(samples.shape[:2]), max(samples.shape[:2])), width, height)
    is_opaque = samples.shape[-1] == 3 or samples[..., 3].min() == 65535
    stored = Photo(samples[..., :3], None if is_opaque else samples[..., 3:])
    if size == (width, height):
        return stored
    return Photo(resize(stored, *size), stored.alpha if stored.alpha is None else resize(stored.alpha, *size))


def _decoded(path: PathLike, name: str, max_side_px: int | None) -> Image.Image:
    """The oriented image, shrunk to `max_side_px`, in mode L, RGB, RGBA, CMYK, I or F."""
    with _opened(path, name) as file:
        width, height = target = file.size
        drafted = None
        if max_side_px is not None and max_side_px < max(target):
            target = fit(max_side_px, width, height)
            drafted = file.draft(None, (math.ceil(_REDUCING_GAP * target[0]), math.ceil(_REDUCING_GAP * target[1])))
        _load(file)
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


def _load(file: Image.Image) -> None:
    """Decodes the pixels, without the lines that libtiff writes to stderr beside Pillow's error."""
    failure: Exception | None = None
    with quiet_stderr() if file.format == "TIFF" else contextlib.nullcontext():
        try:
            file.load()
        except Exception as error:  # the block must not fail: its lines would be shown
            failure = error
    if failure:
        raise failure


@contextlib.contextmanager
def _opened(path: PathLike, name: str) -> Iterator[Image.Image]:
    """The file with its header read; whatever goes wrong until the block ends becomes one line."""
    check_readable(path, name)
    what = f"{name} {quoted(path)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _image(path, what) as image:
                yield image
    except UserError:
        raise
    except UnidentifiedImageError as error:
        samples = deep.other_samples(path)
        if samples:
            raise UserError(f"{what} is a TIFF of {samples}: allowed are 8 or 16 bits, and gray floats of 32 bits "
                            "from 0 to 1; convert it") from error
        raise UserError(f"{what} is not an image, or its header is damaged: allowed are {', '.join(_READABLE)} and "
                        "HEIC; convert it, or get a new copy of it") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError) as error:
        raise UserError(f"{what} is too large to decode: at most {MAX_PIXELS // 10**6} megapixels that fit into "
                        "memory; make it smaller first") from error
    except Exception as error:  # Pillow's readers raise almost anything on a damaged file.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what} is damaged or cut off ({reason}): get a new copy of it") from error


def _image(path: PathLike, what: str) -> Image.Image:
    """The file with its header read."""
    with open(path, "rb") as file:
        if heif.is_heic(file.read(heif.HEAD_BYTES)):
            return heif.opened(path, what)
        sieved = png.sieve(file)
    try:
        image = Image.open(sieved.file if sieved else path, formats=_READABLE)
    except UnidentifiedImageError:
        plain = jpeg.without_remarks(path)
        if plain is None:
            raise
        image = Image.open(plain, formats=["JPEG"])
    if sieved and sieved.profile:
        image.info["icc_profile"] = sieved.profile
    return image


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
    return image if image.mode in PROFILE_MODES.values() else image.convert("RGB")


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
        return np.broadcast_to(gray[..., np.newaxis], (*gray.shape, 3))
    # littlecms through Pillow has 8 bits, so the profile acts through the curve that it makes of 256 grays.
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    curve = np.asarray(to_srgb(ramp, image.info), np.float32)[0] / np.float32(255)
    levels = np.linspace(0, 1, 256)
    return np.stack([np.interp(gray, levels, curve[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _orientation(image: Image.Image, path: PathLike) -> int:
    """EXIF orientation 1 … 8 without decoding pixels, unless a PNG may hold it behind them."""
    # Pillow decodes every PNG without EXIF in front of its pixels in search of it.
    with contextlib.suppress(Exception):
        searched = image.format != "PNG" or "exif" in image.info or png.has_chunks_behind_pixels(path)
        exif = image.getexif() if searched else Image.Image.getexif(image)
        orientation = int(exif.get(ExifTags.Base.Orientation, 1))
        return orientation if orientation in _TURNS else 1
    return 1
