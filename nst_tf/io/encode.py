"""Arrays to image files: rounding, formats, the color profile; the same picture gives the same bytes."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from nst_tf.io import deep
from nst_tf.io.files import check_writable, quoted, write_atomically
from nst_tf.io.pixels import FloatImage, PathLike, over_white
from nst_tf.io.profiles import srgb_profile
from nst_tf.vocabulary import NotFinite, OutputFormat, UserError, names


class Encoder(NamedTuple):
    """How one output format is written, the longest side that it can hold, and what else it can.

    `encode_deep` writes uint16 samples and a PNG's text; None for formats of 8 bits.
    """

    pillow_format: str
    options: dict[str, Any]
    max_side_px: int
    has_alpha: bool = True
    encode_deep: Callable[[deep.Samples, Mapping[str, str]], bytes] | None = None


_JPEG = Encoder("JPEG", {"quality": 95, "subsampling": 0}, 65500, has_alpha=False)
_TIFF = Encoder("TIFF", {"compression": "tiff_adobe_deflate"}, 2**31 - 1,
                encode_deep=lambda samples, _: deep.encode_tiff(samples))
_PNG = Encoder("PNG", {}, 2**31 - 1, encode_deep=deep.encode_png)
_WEBP = Encoder("WEBP", {"quality": 95}, 16383)
ENCODERS = {".png": _PNG, ".jpg": _JPEG, ".jpeg": _JPEG, ".webp": _WEBP, ".tif": _TIFF, ".tiff": _TIFF}


def quantize(image: FloatImage, bit_depth: int = 8) -> NDArray[Any]:
    """⌊(2ⁿ − 1)·x + 1/2⌋ as uint8 or uint16: rounding half up, values outside [0, 1] clipped.

    `load` of k/255 gives k back.
    """
    if not np.isfinite(image).all():
        raise NotFinite("the picture is not finite: lower --learning_rate")
    white = np.float32(2 ** bit_depth - 1)
    return np.floor(np.clip(image, 0, 1) * white + np.float32(0.5)).astype(np.uint8 if bit_depth == 8 else np.uint16)


def encode(image: FloatImage, suffix: str, text: Mapping[str, str] | None = None, bit_depth: int = 8) -> bytes:
    """The image as the bytes of a file with the profile of sRGB; equal input gives equal bytes.

    JPEG has quality 95 without chroma subsampling, WebP quality 95; PNG and TIFF are lossless.

    Args:
        image: [H, W, 3], sRGB in [0, 1], or [H, W, 4] with alpha, which a JPEG gets over white.
        suffix: a key of `ENCODERS`, in any case.
        text: stored in a PNG's text chunks, in this order; the other formats have no place for it.
        bit_depth: 8, or 16 for PNG and TIFF.
    Raises:
        UserError: unknown suffix, a side that is too long or a depth that is too large for the format.
        NotFinite: the image is not finite.
    """
    encoder = _encoder(suffix, max(image.shape[:2]), bit_depth, f"format {suffix!r}")
    if image.shape[-1] == 4 and not encoder.has_alpha:
        image = over_white(image[..., :3], image[..., 3:])
    samples = quantize(image, bit_depth)
    if bit_depth == 16 and encoder.encode_deep:
        return encoder.encode_deep(samples, text or {})
    options = dict(encoder.options)
    if encoder.pillow_format == "PNG":
        options["pnginfo"] = chunks = PngImagePlugin.PngInfo()
        for key, value in (text or {}).items():
            chunks.add_text(key, value)
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, encoder.pillow_format, icc_profile=srgb_profile(), **options)
    return buffer.getvalue()


def save(path: PathLike, image: FloatImage, *, text: Mapping[str, str] | None = None, bit_depth: int = 8) -> None:
    """Writes [H, W, 3 or 4] in [0, 1] to `path`, in the format of its ending, atomically; see `encode`."""
    write_atomically(path, encode(image, Path(path).suffix, text, bit_depth))


def check_output(path: PathLike, long_side_px: int, name: str = "--output", bit_depth: int = 8) -> None:
    """Raises `UserError` unless `save(path, …)` of such an image can work; leaves no trace."""
    _encoder(Path(path).suffix, long_side_px, bit_depth, f"{name} {quoted(path)}")
    check_writable(path, name)


def _encoder(suffix: str, long_side_px: int, bit_depth: int, what: str) -> Encoder:
    encoder = ENCODERS.get(suffix.lower())
    if encoder is None:
        raise UserError(f"{what} has no known image ending: allowed are {', '.join(names(OutputFormat))}; rename it")
    if long_side_px > encoder.max_side_px:
        raise UserError(f"{what} cannot hold {long_side_px} px: a side of {encoder.pillow_format} is at most "
                        f"{encoder.max_side_px} px; write a .png")
    if bit_depth != 8 and not encoder.encode_deep:
        raise UserError(f"{what} cannot hold --bit_depth={bit_depth}: {encoder.pillow_format} has 8 bits; write a .png "
                        "or .tif")
    return encoder
