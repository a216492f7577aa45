"""The picture plane: coordinates, mixing, blur, tone curve, and the way from float to uint8 pixels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from sample_drawing.noise import Floats

Pixels = NDArray[np.uint8]
SUPERSAMPLING = 2


class Canvas(NamedTuple):
    """Where the pixels lie: x in [0, aspect], y in [0, 1] downwards; `px` is one drawn pixel in these units."""

    x: Floats
    y: Floats
    aspect: float
    px: float


def canvas(long_side_px: int, aspect: float) -> Canvas:
    """A landscape canvas at SUPERSAMPLING times the final resolution."""
    width = SUPERSAMPLING * long_side_px
    height = SUPERSAMPLING * max(1, round(long_side_px / aspect))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    half = np.float32(0.5)
    return Canvas((x + half) / height, (y + half) / height, width / height, 1 / height)


def finish(rgb: Floats) -> Pixels:
    """Display values in [0, 1], [2H, 2W, 3] → uint8 [H, W, 3], downsampled with Lanczos."""
    image = to_image(rgb)
    size = (image.width // SUPERSAMPLING, image.height // SUPERSAMPLING)
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def to_image(rgb: Floats) -> Image.Image:
    """Display values in [0, 1] as a Pillow picture."""
    return Image.fromarray(np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8))


def to_floats(image: Image.Image) -> Floats:
    """The inverse of `to_image`."""
    return np.asarray(image, np.float32) / np.float32(255)


def color(code: str) -> Floats:
    """`"#rrggbb"` as display values in [0, 1]."""
    return np.array([int(code[k:k + 2], 16) for k in (1, 3, 5)], np.float32) / np.float32(255)


def linear(code: str) -> Floats:
    """`"#rrggbb"` as linear light (the power 2.2 stands for the sRGB curve)."""
    return (color(code) ** 2.2).astype(np.float32)


def smoothstep(low: Floats | float, high: Floats | float, value: ArrayLike) -> Floats:
    """3t² − 2t³ with t = (value − low)/(high − low) clipped to [0, 1]; low > high falls instead of rising."""
    start, end = np.asarray(low, np.float32), np.asarray(high, np.float32)
    t = np.clip((np.asarray(value, np.float32) - start) / (end - start), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def mix(first: ArrayLike, second: ArrayLike, amount: Floats | float) -> Floats:
    """first·(1 − amount) + second·amount for colors; a field `amount` [H, W] is spread over the channels."""
    weight = np.asarray(amount, np.float32)
    weight = weight[..., None] if weight.ndim else weight
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return first + (second - first) * weight


def ramp(value: Floats, stops: list[float], colors: list[Floats]) -> Floats:
    """Colors along a piecewise-linear scale."""
    table = np.stack(colors)
    return np.stack([np.interp(value, stops, table[:, k]) for k in range(3)], -1).astype(np.float32)


def blur(field: Floats, sigma_px: float) -> Floats:
    """Gaussian blur of [H, W] or [H, W, 3] through the Fourier transform, edges repeated."""
    if field.ndim == 3:
        return np.stack([blur(field[..., k], sigma_px) for k in range(3)], -1)
    pad = int(3 * sigma_px) + 1
    padded = np.pad(field, pad, mode="edge")
    rows = np.fft.fftfreq(padded.shape[0])[:, None]
    columns = np.fft.rfftfreq(padded.shape[1])[None, :]
    kernel = np.exp(-2 * (np.pi * sigma_px) ** 2 * (rows ** 2 + columns ** 2))
    out = np.fft.irfft2(np.fft.rfft2(padded) * kernel, s=padded.shape)
    return out[pad:-pad, pad:-pad].astype(np.float32)


def slopes(field: Floats) -> tuple[Floats, Floats]:
    """∂field/∂x and ∂field/∂y by central differences, for each pixel."""
    dy, dx = np.gradient(field)
    return np.asarray(dx, np.float32), np.asarray(dy, np.float32)


def expose(light: Floats, exposure: float = 1.0) -> Floats:
    """Linear light → display values through a filmic curve (the fit of Narkowicz 2015 to ACES) and 1/2.2."""
    x = np.maximum(light * np.float32(exposure), 0)
    curve = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return (np.clip(curve, 0, 1) ** (1 / 2.2)).astype(np.float32)


def glow(light: Floats, px: float, threshold: float, strength: float) -> Floats:
    """Linear light with the halo of a lens: what exceeds `threshold` is spread over two radii."""
    excess = np.maximum(light - np.float32(threshold), 0)
    excess = np.minimum(excess, 6)
    return light + np.float32(strength) * (blur(excess, 0.006 / px) + 0.8 * blur(excess, 0.03 / px))
