"""What is optimized: θ, from which an image is made; one row for each `--canvas`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.tensors import Array, Tensor

# Principal axes of the colors (R, G, B) of ImageNet's photos, one a column, and the variances along them: measured by
# Gross and Wilber 2016 (fb.resnet.torch) for the color augmentation of Krizhevsky et al. 2012. Roughly: light against
# dark, red against blue, green against magenta.
COLOR_AXES = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
COLOR_VARIANCES = np.array([0.2175, 0.0188, 0.0045])

# Values nearer to 0 or 1 than this, a quarter of a gray level, have logits so large that they would hardly move.
POLE = 1e-3


class Canvas(NamedTuple):
    """A parameterization x = x(θ) as pure functions.

    `encode(image [1, H, W, 3] in [0, 1]) -> θ`; `decode(θ, height, width) -> image`, in which every tensor is read
    once (see `fork`); `project(θ) -> θ`, onto the values allowed, after each update.
    """

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor, int, int], Tensor]
    project: Callable[[Tensor], Tensor]


def frequency_scale(height: int, width: int) -> Array:
    """1 / max(f, 1 / max(H, W)), f in cycles per pixel: the spectrum of a natural image, at real-FFT frequencies.

    Returns:
        float32 [H, ⌊W/2⌋ + 1].
    """
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    return (1.0 / np.maximum(f, 1.0 / max(height, width))).astype(np.float32)


def color_mixture() -> Array:
    """M = E diag(√λ / √λ₁): independent colors of unit variance → correlated (R, G, B), the largest axis of length 1.

    Returns:
        float32 [3, 3]; rgb = M c.
    """
    return (COLOR_AXES * np.sqrt(COLOR_VARIANCES / COLOR_VARIANCES[0])).astype(np.float32)


def fourier_decode(theta: Tensor, height: int, width: int) -> Tensor:
    """x = σ(M F⁻¹(w θ)): real-FFT coefficients of decorrelated colors as an image.

    w is `frequency_scale`, so that all frequencies have the same share in natural images; M `color_mixture`; F is
    unitary, so that one learning rate holds for every size; the sigmoid σ keeps values in (0, 1).

    Args:
        theta: [1, 3, H, ⌊W/2⌋ + 1, 2], real and imaginary parts.
    Returns:
        [1, H, W, 3].
    Source: Olah, Mordvintsev, Schubert 2017 (Feature visualization).
    """
    real, imaginary = tf.unstack(theta * frequency_scale(height, width)[..., np.newaxis], axis=-1)
    colors = tf.signal.irfft2d(tf.complex(real, imaginary), [height, width]) * np.sqrt(np.float32(height * width))
    return tf.sigmoid(tf.einsum("bchw,rc->bhwr", colors, color_mixture()))


def fourier_encode(image: Tensor) -> Tensor:
    """θ = F(M⁻¹ σ⁻¹(x)) / w; values are first moved `POLE` away from 0 and 1.

    Args:
        image: [1, H, W, 3] in [0, 1].
    """
    height, width = image.shape[1:3]
    x = tf.clip_by_value(image, POLE, 1.0 - POLE)
    colors = tf.einsum("bhwr,cr->bchw", tf.math.log(x / (1.0 - x)), np.linalg.inv(color_mixture()))
    spectrum = tf.signal.rfft2d(colors) / np.sqrt(np.float32(height * width))
    parts = tf.stack([tf.math.real(spectrum), tf.math.imag(spectrum)], -1)
    return parts / frequency_scale(height, width)[..., np.newaxis]


CANVASES: dict[str, Canvas] = {
    "pixels": Canvas(lambda image: image, lambda theta, *size: theta,
                     lambda theta: tf.clip_by_value(theta, 0.0, 1.0)),
    "fourier": Canvas(fourier_encode, fourier_decode, lambda theta: theta),
}
