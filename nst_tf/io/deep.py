"""Color of 16 bits, which Pillow has not: PNG by TensorFlow's codec (libpng), TIFF by tifffile.

Both are imported when such a file is met, and only then.
"""

import contextlib
import logging
import zlib
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

from nst_tf.io.pixels import PathLike
from nst_tf.io.profiles import means_srgb, srgb_profile
from nst_tf.runtime import quiet_stderr

Samples = NDArray[np.uint16]

logging.getLogger("tifffile").setLevel(logging.CRITICAL)

# Signature and IHDR, behind which all other chunks of a PNG may stand.
_PNG_HEAD_BYTES = 8 + 25
_RGB, _UNSIGNED, _STRAIGHT_ALPHA = 2, 1, 2


def read(path: PathLike, file: Image.Image) -> Samples | None:
    """uint16 [H, W, 3 or 4] as stored (not turned), sRGB; None where the file must be read with 8 bits.

    That is: the file has no 16 bits; or another color profile than sRGB, which littlecms applies in 8 bits through
    Pillow; or a TIFF's compression needs the package imagecodecs (LZW) and it is not installed.

    Args:
        file: the same, opened by Pillow, its pixels not yet read.
    """
    decode = {"PNG": _read_png, "TIFF": _read_tiff}.get(file.format or "")
    if decode is None or not _is_deep(file) or not means_srgb(file.info):
        return None
    # A file that is damaged is refused by Pillow, with its reason: TensorFlow's and libpng's lines are not wanted.
    with quiet_stderr(), contextlib.suppress(Exception):
        samples = decode(path)
        if samples.dtype == np.uint16 and sorted(samples.shape[:2]) == sorted(file.size):
            return samples
    return None


def _is_deep(file: Image.Image) -> bool:
    """Whether an opened file has color, and perhaps alpha, of 16 bits."""
    if isinstance(file, TiffImagePlugin.TiffImageFile):
        tags = TiffImagePlugin
        bits, photometric = file.tag_v2.get(tags.BITSPERSAMPLE), file.tag_v2.get(tags.PHOTOMETRIC_INTERPRETATION)
        formats, extra = file.tag_v2.get(tags.SAMPLEFORMAT, (_UNSIGNED,)), file.tag_v2.get(tags.EXTRASAMPLES, ())
        return (bits in ((16,) * 3, (16,) * 4) and photometric == _RGB and set(formats) == {_UNSIGNED}
                and tuple(extra) == (_STRAIGHT_ALPHA,) * (len(bits) - 3))
    if isinstance(file, PngImagePlugin.PngImageFile) and file.tile:
        deep = ";16" in str(file.tile[0].args)
        return deep and file.mode in ("RGB", "RGBA", "LA") and "transparency" not in file.info
    return False


def _read_png(path: PathLike) -> Samples:
    import tensorflow as tf

    with open(path, "rb") as file:
        samples: Samples = tf.io.decode_png(file.read(), dtype=tf.uint16).numpy()
    return samples[..., [0, 0, 0, 1]] if samples.shape[-1] == 2 else samples


def _read_tiff(path: PathLike) -> Samples:
    import tifffile

    return np.asarray(tifffile.imread(path, key=0))


def other_samples(path: PathLike) -> str:
    """The samples of a TIFF that Pillow does not know, such as "float32 samples, 3 in a pixel"; "" for other files."""
    # Whatever tifffile cannot read has no samples of which to tell.
    with contextlib.suppress(Exception):
        import tifffile

        with tifffile.TiffFile(path) as file:
            page = file.pages[0].aspage()
            channels = page.samplesperpixel
            if page.dtype is not None and (page.dtype.kind in "fc" or page.dtype.itemsize > 2 or channels > 4):
                return f"{page.dtype.name} samples, {channels} in a pixel"
    return ""


def write_png(file: BinaryIO, samples: Samples, text: Mapping[str, str]) -> None:
    """Writes a PNG of uint16 [H, W, 3 or 4] in sRGB, with its profile and text chunks."""
    import tensorflow as tf

    plain = memoryview(tf.io.encode_png(samples).numpy())
    info = PngImagePlugin.PngInfo()
    info.add(b"iCCP", b"sRGB\0\0" + zlib.compress(srgb_profile()))
    for key, value in text.items():
        info.add_text(key, value)
    file.write(plain[:_PNG_HEAD_BYTES])
    for kind, data, _ in info.chunks:
        PngImagePlugin.putchunk(file, kind, data)
    file.write(plain[_PNG_HEAD_BYTES:])


def write_tiff(file: BinaryIO, samples: Samples) -> None:
    """Writes a TIFF of uint16 [H, W, 3 or 4] in sRGB, with its profile."""
    import tifffile

    tifffile.imwrite(file, samples, byteorder="<", photometric="rgb", compression="zlib", predictor=True,
                     extrasamples=["unassalpha"] if samples.shape[-1] == 4 else None, metadata=None, software=False,
                     iccprofile=srgb_profile())
