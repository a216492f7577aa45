"""Jitter: each step the network sees the image from a slightly other place, so that its strides leave no lattice."""

import itertools

import numpy as np
import tensorflow as tf

from nst_tf.tensors import Tensor, mirrored


def offset(seed: int, step: int, jitter_px: int, axes: int = 2) -> Tensor:
    """One number for each space axis, uniform in 0 … 2 · jitter_px: a function of seed and step alone (runs resume).

    Args:
        axes: how many space axes there are, ≥ 1.
    Returns:
        int32 [axes]; (rows, columns) for a picture.
    """
    return tf.constant(np.random.default_rng((seed, step)).integers(0, 2 * jitter_px + 1, axes), tf.int32)


def offsets(jitter_px: int, axes: int = 2) -> list[Tensor]:
    """All that `offset` may return, by their `index`."""
    return [tf.constant(place, tf.int32) for place in itertools.product(range(2 * jitter_px + 1), repeat=axes)]


def index(offset: Tensor, jitter_px: int) -> Tensor:
    """The place of an offset among `offsets`, an int32 scalar."""
    side = 2 * jitter_px + 1
    return tf.reduce_sum(offset * [side ** axis for axis in reversed(range(offset.shape[0]))])


def shift(image: Tensor, offset: Tensor, jitter_px: int) -> Tensor:
    """The image moved by `offset` − jitter_px; what enters at a border is the mirrored image.

    A cell of a layer with stride s reads the image at every s-th pixel only. Where its kernels do not overlap evenly,
    some pixels get more gradient than others, always the same ones: a lattice. Moved anew each step, all get the same.

    Args:
        image: [B, *space, C], one to three space axes, each side > jitter_px.
        offset: what `offset` returns, int32, one for each space axis; jitter_px along an axis moves nothing there.
    Source: the jitter of Mordvintsev, Olah, Tyka 2015 (Inceptionism); there the image is rolled, which brings a seam.
    """
    if not jitter_px:
        return image
    begin = tf.concat([[0], offset, [0]], 0)
    return tf.ensure_shape(tf.slice(mirrored(image, jitter_px), begin, tf.shape(image)), image.shape)
