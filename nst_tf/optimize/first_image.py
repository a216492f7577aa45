"""The first image: one function for each `--init`, and how a picture moves to the next size."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.strips import Rows, filled
from nst_tf.tensors import Tensor, resize

Picture = np.ndarray
Read = Callable[[slice], Picture]

NOISE_STANDARD_DEVIATION = 0.2
FAINT_NOISE_STANDARD_DEVIATION = 0.05


class Origins(NamedTuple):
    """What a first image can be made from; pictures float32 [*space, C] in [0, 1], all of the first stage's size.

    `shape` is [*space, C]; `mean_color` has C numbers. A content or style that is not needed is not made.
    """

    shape: tuple[int, ...]
    content: Callable[[], Any]  # read by rows
    styles: Callable[[], Sequence[Picture]]
    style_blend: Sequence[float]
    mean_color: Sequence[float]
    seed: int


def _style(origins: Origins) -> Read:
    styles = origins.styles()
    return lambda rows: np.average(np.stack([style[rows] for style in styles]), axis=0, weights=origins.style_blend)


def _blend(origins: Origins) -> Read:
    content, style = origins.content(), _style(origins)
    return lambda rows: (content[rows] + style(rows)) / 2


def _content(origins: Origins) -> Read:
    content = origins.content()
    return lambda rows: content[rows]


def _white_noise(origins: Origins) -> Read:
    generator = np.random.default_rng(origins.seed)
    return lambda rows: generator.uniform(0, 1, _shape(origins, rows))


def _gaussian_noise(origins: Origins, standard_deviation: float = NOISE_STANDARD_DEVIATION) -> Read:
    generator, mean = np.random.default_rng(origins.seed), np.asarray(origins.mean_color)
    return lambda rows: mean + standard_deviation * generator.normal(size=_shape(origins, rows))


def _even(origins: Origins, color: Any) -> Read:
    return lambda rows: np.broadcast_to(np.asarray(color), _shape(origins, rows))


def _shape(origins: Origins, rows: slice) -> tuple[int, ...]:
    return (rows.stop - rows.start, *origins.shape[1:])


# Each reads the rows of its image in their order, once.
INITIALIZERS: dict[str, Callable[[Origins], Read]] = {
    "content": _content,
    "style": _style,
    "blend": _blend,
    "white_noise": _white_noise,
    "gaussian_noise": _gaussian_noise,
    "faint_noise": partial(_gaussian_noise, standard_deviation=FAINT_NOISE_STANDARD_DEVIATION),
    "white": partial(_even, color=1.0),
    "black": partial(_even, color=0.0),
    "mean": lambda origins: _even(origins, origins.mean_color),
}


def first_image(name: str, origins: Origins) -> Tensor:
    """The first image, float32 [1, *space, C] in [0, 1].

    `white_noise` is uniform in [0, 1]; `gaussian_noise` has the backbone's mean color and standard deviation 0.2,
    `faint_noise` 0.05.
    """
    read = INITIALIZERS[name](origins)
    image = filled(Rows(origins.shape, lambda rows: np.clip(read(rows), 0, 1)))
    return tf.constant(image[np.newaxis])


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
    sides, moved = large.shape[1:-1], np.array(large)
    # Channel by channel, because large pictures are many here.
    for channel in np.split(np.arange(moved.shape[-1]), moved.shape[-1]):
        x, p_small = (tf.constant(np.asarray(each)[..., channel]) for each in (image, small))
        changes = resize(x, sides) - resize(p_small, sides)
        moved[..., channel] = tf.clip_by_value(moved[..., channel] + changes, 0.0, 1.0)
    return tf.constant(moved)
