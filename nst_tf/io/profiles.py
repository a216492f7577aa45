"""ICC profiles: colors of a file to sRGB, and the profile that says of a file that it is sRGB."""

import contextlib
import functools
import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# Color space in an ICC header → the Pillow mode that littlecms reads with such a profile.
PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# Where an ICC header says when the profile was made (ICC.1, table 17): littlecms writes the time of day.
_DATE = slice(24, 36)


def to_srgb(image: Image.Image, info: Mapping[Any, Any]) -> Image.Image:
    """RGB in sRGB from mode L, RGB or CMYK: relative colorimetric with black point compensation, as in viewers."""
    with contextlib.suppress(OSError, TypeError, ValueError, ImageCms.PyCMSError):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(info["icc_profile"])) if info.get("icc_profile") else None
        mode = PROFILE_MODES.get(profile.profile.xcolor_space.strip()) if profile else None
        if profile and mode and (mode == image.mode or (image.mode, mode) == ("L", "RGB")):
            transform = ImageCms.buildTransform(
                profile, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION)
            return transform.apply(image.convert(mode))
    return image.convert("RGB")


def means_srgb(info: Mapping[Any, Any]) -> bool:
    """Whether the RGB values of a file are sRGB as they are: its profile, if any, moves no color by more than 1/255."""
    if not info.get("icc_profile"):
        return True
    steps = np.linspace(0, 255, 17).astype(np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, -1, 3)
    converted = np.asarray(to_srgb(Image.fromarray(colors), info), np.int16)
    return bool(np.abs(converted - colors).max() <= 1)


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, the same bytes at any time."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_DATE] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)
