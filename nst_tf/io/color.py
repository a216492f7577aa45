"""Color: sRGB, Oklab, and how a picture takes colors or their statistics from another. NumPy only.

Oklab (Ottosson 2020) is linear light → responses of three cones → their cube roots → lightness L in [0, 1] and the
opponent axes a (green to red) and b (blue to yellow), made so that equal distances look equally far apart: a picture
may get the L of one and the a, b of another, and neither looks brighter or more colorful than it was.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.strips import Picture, by_rows, filled, strips

FloatArray = NDArray[Any]

# Linear sRGB → cone responses, and their cube roots → L, a, b (Ottosson 2020, as corrected on 2021-01-25).
_M1 = np.array([[0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005]])
_M2 = np.array([[0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660]])
_M1_INVERSE, _M2_INVERSE = np.linalg.inv(_M1), np.linalg.inv(_M2)

# Halvings until the chroma that fits is known to 1/65536.
_HALVINGS = 16
# Light may leave [0, 1] by this share of the light of the gray of its lightness, and is clipped then. In Oklab the
# colors of sRGB bend inward by 0.75 % near blue, where a rounding error would cost a blue half its chroma.
_TOLERANCE = 0.01
# Of color values in [0, 1]: a direction in which a picture varies less than this is noise of JPEG and of 8 bits, and is
# not stretched to more than it would be with this deviation.
SMALLEST_DEVIATION = 0.01


def linear_from_srgb(V: FloatArray) -> FloatArray:
    """Light of each sRGB value, V/12.92 below 0.04045, ((V + 0.055)/1.055)^2.4 above; mirrored below 0.

    Source: IEC 61966-2-1.
    """
    magnitude = np.abs(V)
    light = np.where(magnitude <= 0.04045, magnitude / 12.92, ((magnitude + 0.055) / 1.055) ** 2.4)
    return np.copysign(light, V).astype(V.dtype)


def srgb_from_linear(light: FloatArray) -> FloatArray:
    """The inverse of `linear_from_srgb`."""
    magnitude = np.abs(light)
    V = np.where(magnitude <= 0.0031308, 12.92 * magnitude, 1.055 * magnitude ** (1 / 2.4) - 0.055)
    return np.copysign(V, light).astype(light.dtype)


def oklab_from_linear(light: FloatArray) -> FloatArray:
    """(L, a, b) = M₂ ∛(M₁ · light), [..., 3] → [..., 3]."""
    return np.cbrt(light @ _M1.T.astype(light.dtype)) @ _M2.T.astype(light.dtype)


def linear_from_oklab(lab: FloatArray) -> FloatArray:
    """Light = M₁⁻¹ (M₂⁻¹ · (L, a, b))³; outside [0, 1] where sRGB has no such color."""
    return (lab @ _M2_INVERSE.T.astype(lab.dtype)) ** 3 @ _M1_INVERSE.T.astype(lab.dtype)


def oklab(picture: FloatArray) -> FloatArray:
    """Oklab of sRGB values [..., 3]."""
    return oklab_from_linear(linear_from_srgb(picture))


def srgb(lab: FloatArray) -> FloatArray:
    """sRGB in [0, 1] of Oklab [..., 3]; a color that sRGB does not have becomes grayer until it has.

    Lightness (clipped to [0, 1]) and hue stay: (L, s·a, s·b) with the largest s in [0, 1] that fits, by bisection.
    Clipping the channels instead would change all three, and turn saturated areas into flat blotches.
    """
    lab = np.concatenate([np.clip(lab[..., :1], 0, 1), lab[..., 1:]], axis=-1)
    outside = ~_fits(lab)
    lab[outside] = _grayed(lab[outside])
    return np.clip(srgb_from_linear(linear_from_oklab(lab)), 0, 1)


def _grayed(lab: FloatArray) -> FloatArray:
    """[N, 3] → the same with as much of its chroma as fits."""
    def with_chroma(share: FloatArray) -> FloatArray:
        return np.concatenate([lab[:, :1], share[:, np.newaxis] * lab[:, 1:]], axis=1)

    fits, fails = np.zeros_like(lab[:, 0]), np.ones_like(lab[:, 0])
    for _ in range(_HALVINGS):
        middle = (fits + fails) / 2
        middle_fits = _fits(with_chroma(middle))
        fits, fails = np.where(middle_fits, middle, fits), np.where(middle_fits, fails, middle)
    return with_chroma(fits)


def _fits(lab: FloatArray) -> NDArray[np.bool_]:
    """Whether sRGB has a color, to within `_TOLERANCE`; [..., 3] → [...]."""
    light, tolerance = linear_from_oklab(lab), _TOLERANCE * lab[..., :1] ** 3
    return np.asarray(((light >= -tolerance) & (light <= 1 + tolerance)).all(axis=-1))


def gray(lightness: FloatArray) -> FloatArray:
    """Gray sRGB [..., 3] of an Oklab lightness [...] in [0, 1]: all three channels are the same memory."""
    level = filled(by_rows(lambda strip: srgb_from_linear(strip ** 3), lightness[..., np.newaxis]), lightness.dtype)
    return np.broadcast_to(level, (*lightness.shape, 3))


def lightness_of(picture: Picture) -> FloatArray:
    """Oklab's lightness [H, W] of sRGB [H, W, 3]."""
    return filled(by_rows(lambda strip: oklab(strip)[..., :1], picture, channels=1))[..., 0]


def with_colors_of(picture: FloatArray, photo: FloatArray) -> FloatArray:
    """The lightness L of a picture with the colors a, b of a photo of the same size, sRGB [H, W, 3] in [0, 1]."""
    return srgb(np.concatenate([oklab(picture)[..., :1], oklab(photo)[..., 1:]], axis=-1))


class ColorStatistics(NamedTuple):
    """Mean μ [3] and covariance Σ [3, 3] over the positions of a picture, in float64."""

    mean: FloatArray
    covariance: FloatArray


def color_statistics(picture: Picture) -> ColorStatistics:
    """μ and Σ of sRGB values [H, W, 3]."""
    height, width = picture.shape[:2]

    def over_pixels(sums: Callable[[FloatArray], FloatArray]) -> FloatArray:
        strip_sums = [sums(picture[rows].reshape(-1, 3).astype(np.float64)) for rows in strips(picture.shape)]
        return np.sum(strip_sums, axis=0) / (height * width)

    mean = over_pixels(lambda colors: colors.sum(axis=0))
    return ColorStatistics(mean, over_pixels(lambda colors: (colors - mean).T @ (colors - mean)))


def match_colors(style: Picture, target: ColorStatistics) -> FloatArray:
    """The style with the mean and covariance of other colors: x ↦ A (x − μ_S) + μ_C, A = Σ_C^½ Σ_S^-½.

    Symmetric roots rather than Cholesky's, which gives equal statistics too: Cholesky's A = L_C L_S⁻¹ depends on the
    order in which red, green and blue are written. A gray photo (Σ_C of rank 1) makes the style gray.

    Args:
        style: sRGB [H, W, 3].
    Returns:
        sRGB [H, W, 3] that may leave [0, 1].
    Source: Hertzmann 2001 (Image Analogies); Gatys, Bethge, Hertzmann, Shechtman 2016; Gatys et al. 2017.
    """
    of_style = color_statistics(style)
    # Differs from Gatys et al. 2017: nearly gray styles have directions that are hardly more than noise.
    A = _power(target.covariance, 0.5, 0.0) @ _power(of_style.covariance, -0.5, SMALLEST_DEVIATION ** 2)
    return filled(by_rows(lambda strip: (strip - of_style.mean) @ A.T + target.mean, style))


def _power(covariance: FloatArray, exponent: float, smallest: float) -> FloatArray:
    """Q Λ^p Qᵀ of a symmetric matrix Q Λ Qᵀ, its eigenvalues at least `smallest`."""
    eigenvalues, Q = np.linalg.eigh(covariance)
    return (Q * np.maximum(eigenvalues, smallest) ** exponent) @ Q.T


def match_lightness(lightness: FloatArray, target: FloatArray) -> FloatArray:
    """L ↦ σ_C/σ_S (L − μ_S) + μ_C: lightness with the mean and standard deviation of other lightness.

    Source: Gatys, Bethge, Hertzmann, Shechtman 2016, luminance-only transfer; Gatys et al. 2017.
    """
    # Differs from Gatys et al. 2017: the lightness of Oklab instead of the Y of YIQ.
    gain = target.std() / max(lightness.std(), SMALLEST_DEVIATION)
    return (gain * (lightness - lightness.mean()) + target.mean()).astype(lightness.dtype)
