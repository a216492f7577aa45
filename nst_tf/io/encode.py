"""Arrays to image files: rounding, formats, the color profile; the same picture gives the same bytes."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from nst_tf.io import deep
from nst_tf.io.files import check_writable, quoted, write_atomically
from nst_tf.io.pixels import FloatImage, PathLike, over_white
from nst_tf.io.profiles import srgb_profile
from nst_tf.strips import Picture, by_rows, filled, strips
from nst_tf.vocabulary import NotFinite, OutputFormat, UserError, names


class Encoder(NamedTuple):
    """How one output format is written, the longest side that it can hold, and what else it can.

    `write_deep` writes uint16 samples and a PNG's text; None for formats of 8 bits.
    """

    pillow_format: str
    options: dict[str, Any]
    max_side_px: int
    has_alpha: bool = True
    write_deep: Callable[[BinaryIO, deep.Samples, Mapping[str, str]], None] | None = None


_JPEG = Encoder("JPEG", {"quality": 95, "subsampling": 0}, 65500, has_alpha=False)
_TIFF = Encoder("TIFF", {"compression": "tiff_adobe_deflate"}, 2**31 - 1,
                write_deep=lambda file, samples, _: deep.write_tiff(file, samples))
_PNG = Encoder("PNG", {}, 2**31 - 1, write_deep=deep.write_png)
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


def encode(image: Picture, suffix: str, text: Mapping[str, str] | None = None, bit_depth: int = 8) -> bytes:
    """The image as the bytes of a file with the profile of sRGB; equal input gives equal bytes.

    JPEG has quality 95 without chroma subsampling, WebP quality 95; PNG and TIFF are lossless.

    Args:
        image: [H, W, 3], sRGB in [0, 1], or [H, W, 4] with alpha, which a JPEG gets over white. It is read in strips.
        suffix: a key of `ENCODERS`, in any case.
        text: stored in a PNG's text chunks, in this order; the other formats have no place for it.
        bit_depth: 8, or 16 for PNG and TIFF.
    Raises:
        UserError: unknown suffix, a side that is too long or a depth that is too large for the format.
        NotFinite: the image is not finite.
    """
    buffer = io.BytesIO()
    _write(buffer, image, suffix, text, bit_depth)
    return buffer.getvalue()


def _write(file: BinaryIO, image: Picture, suffix: str, text: Mapping[str, str] | None, bit_depth: int) -> None:
    """Writes what `encode` returns."""
    # Where they can, Pillow and NumPy write to the disk by themselves, and do not tell why it refuses.
    file = cast(BinaryIO, _Plain(file))
    encoder = _encoder(suffix, max(image.shape[:2]), bit_depth, f"format {suffix!r}")
    if image.shape[-1] == 4 and not encoder.has_alpha:
        image = by_rows(lambda strip: over_white(strip[..., :3], strip[..., 3:]), image, channels=3)
    if bit_depth == 16 and encoder.write_deep:
        samples = by_rows(lambda strip: quantize(strip, bit_depth), image)
        encoder.write_deep(file, filled(samples, np.uint16), text or {})
        return
    options = dict(encoder.options)
    if encoder.pillow_format == "PNG":
        options["pnginfo"] = chunks = PngImagePlugin.PngInfo()
        for key, value in (text or {}).items():
            chunks.add_text(key, value)
    _pillow_image(image).save(file, encoder.pillow_format, icc_profile=srgb_profile(), **options)


def _pillow_image(image: Picture) -> Image.Image:
    """[H, W, 3 or 4] with 8 bits."""
    height, width, channels = image.shape
    picture = Image.new("RGBA" if channels == 4 else "RGB", (width, height))
    for rows in strips(image.shape):
        picture.paste(Image.fromarray(quantize(image[rows])), (0, rows.start))
    return picture


class _Plain:
    """An open file without its descriptor."""

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.read, self.seek, self.tell = file.write, file.read, file.seek, file.tell
        self.flush = file.flush


def save(path: PathLike, image: Picture, *, text: Mapping[str, str] | None = None, bit_depth: int = 8) -> None:
    """Writes [H, W, 3 or 4] in [0, 1] to `path`, in the format of its ending, atomically; see `encode`."""
    write_atomically(path, lambda file: _write(file, image, Path(path).suffix, text, bit_depth))


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
    if bit_depth != 8 and not encoder.write_deep:
        raise UserError(f"{what} cannot hold --bit_depth={bit_depth}: {encoder.pillow_format} has 8 bits; write a .png "
                        "or .tif")
    return encoder
