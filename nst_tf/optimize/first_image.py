"""The first image: one function for each `--init`, and how a picture moves to the next size."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.tensors import Tensor, resize

Picture = np.ndarray

NOISE_STANDARD_DEVIATION = 0.2
FAINT_NOISE_STANDARD_DEVIATION = 0.05


class Origins(NamedTuple):
    """What a first image can be made from; pictures float32 [*space, C] in [0, 1], all of the first stage's size.

    `mean_color` has C numbers.
    """

    content: Picture
    styles: Sequence[Picture]
    style_blend: Sequence[float]
    mean_color: Sequence[float]
    seed: int


def _style(origins: Origins) -> Picture:
    return np.average(np.stack(origins.styles), axis=0, weights=origins.style_blend)


def _blend(origins: Origins) -> Picture:
    return (origins.content + _style(origins)) / 2


def _white_noise(origins: Origins) -> Picture:
    return np.random.default_rng(origins.seed).uniform(0, 1, origins.content.shape)


def _gaussian_noise(origins: Origins, standard_deviation: float = NOISE_STANDARD_DEVIATION) -> Picture:
    noise = np.random.default_rng(origins.seed).normal(size=origins.content.shape)
    return np.asarray(origins.mean_color) + standard_deviation * noise


def _faint_noise(origins: Origins) -> Picture:
    return _gaussian_noise(origins, FAINT_NOISE_STANDARD_DEVIATION)


INITIALIZERS: dict[str, Callable[[Origins], Picture]] = {
    "content": lambda origins: origins.content,
    "style": _style,
    "blend": _blend,
    "white_noise": _white_noise,
    "gaussian_noise": _gaussian_noise,
    "faint_noise": _faint_noise,
    "white": lambda origins: np.ones_like(origins.content),
    "black": lambda origins: np.zeros_like(origins.content),
    "mean": lambda origins: np.broadcast_to(np.asarray(origins.mean_color), origins.content.shape),
}


def first_image(name: str, origins: Origins) -> Tensor:
    """The first image, float32 [1, *space, C] in [0, 1].

    `white_noise` is uniform in [0, 1]; `gaussian_noise` has the backbone's mean color and standard deviation 0.2,
    `faint_noise` 0.05.
    """
    image = np.clip(INITIALIZERS[name](origins), 0, 1)
    return tf.constant(image[np.newaxis], tf.float32)


def enlarge(image: Tensor, *sides: int) -> Tensor:
    """The image [B, *space, C] at the next stage's sides, bicubic, clipped to [0, 1]."""
    return tf.clip_by_value(resize(image, sides), 0.0, 1.0)


def enlarge_changes(image: Tensor, small: Tensor, large: Tensor) -> Tensor:
    """Moves a stylized photo to the next size. The changes are enlarged; the photo keeps its detail.

        x ← U x + (p − U p_s)        U: bicubic enlargement

    Where x equals the photo, it equals the sharp photo at the next size too.

    Args:
        image: x, [B, *space, C]; small: p_s, the photo at that size.
        large: p, the photo at the next size.
    Source: the octaves of Mordvintsev, Olah, Tyka 2015 (deep dream), there on what the steps have added.
    """
    # Differs from Gatys et al. 2017, who enlarge the picture. Enlarging loses detail of the photo, which comes back
    # only after many steps at the next size.
    sides = large.shape[1:-1]
    changes = resize(image, sides) - resize(small, sides)
    return tf.clip_by_value(large + changes, 0.0, 1.0)
