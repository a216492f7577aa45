"""One forward pass: a photo in, a picture in one of the network's styles out. Pure functions of weights and photo."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.generators.files import Generator
from nst_tf.generators.layers import HALVINGS, SMALLEST_PX, Convolution, Layer, Residual, reach_px
from nst_tf.generators.weights import Weights
from nst_tf.io import images
from nst_tf.tensors import Array, Tensor, shape_of, with_gradient

# Added to variances, which are those of features of unit order.
EPSILON = 1e-5
# The photo enters the output by its logit, which is finite from here to 1 − LEAST alone.
LEAST = 0.02
# A larger picture is painted in tiles: a pixel needs about 400 bytes.
WHOLE_PX = 2 ** 22
TILE_PX = 1024
# The long side of the copy whose moments those of a picture in tiles are.
THUMBNAIL_PX = 1024


class Moments(NamedTuple):
    """μ and 1 / σ of the channels of a map over all its positions, [B, 1, 1, D]."""

    center: Tensor
    sharpness: Tensor


Norms = dict[str, Moments]


def paint(network: Sequence[Layer], weights: Weights, photo: Tensor, mixture: Tensor,
          norms: Norms | None = None, learns: bool = False) -> tuple[Tensor, Norms]:
    """A photo in a mixture of the network's styles.

        y = σ(logit(x) + f(x)),  f of convolutions, ReLUs, residuals and h ↦ γ (h − μ) / σ + β,

    where γ and β are those of the styles, mixed (Dumoulin, Shlens, Kudlur 2017).

    Args:
        photo: x, [B, H, W, 3] in [0, 1], any sides ≥ 8.
        mixture: how much of each style, [B or 1, K], each row with the sum 1.
        norms: μ and σ of each convolution, as another picture has them: those of the whole picture for its tiles. Those
            of x itself when left out.
        learns: whether a gradient will be taken, which then does not depend on timing.
    Returns:
        the picture, [B, H, W, 3] in [0, 1], and the μ and σ that it was made with.
    """
    # Differs from Johnson et al. 2016: what is learned is the change of the photo, so that training starts from it.
    kept: Norms = {}

    def convolved(x: Tensor, convolution: Convolution) -> Tensor:
        styled = weights[convolution.name]
        if convolution.doubles:
            x = _doubled(x, sizes.pop())
        h = tf.nn.conv2d(_mirrored(x, convolution.side_px // 2), styled.kernel, convolution.stride, "VALID")
        shift = _mixed(mixture, styled.shift)
        if styled.scale is None:
            return h + shift
        given = norms[convolution.name] if norms else None
        normalized, kept[convolution.name] = _normalized(h, given, learns)
        return normalized * _mixed(mixture, styled.scale) + shift

    x, sizes = photo, list[Tensor]()
    for layer in network:
        if isinstance(layer, Residual):
            x += convolved(tf.nn.relu(convolved(x, layer.first)), layer.second)
            continue
        if layer.stride > 1:
            sizes.append(shape_of(x)[1:3])
        x = convolved(x, layer)
        x = x if layer.is_last else tf.nn.relu(x)
    inside = tf.clip_by_value(photo, LEAST, 1.0 - LEAST)
    return tf.sigmoid(tf.math.log(inside / (1.0 - inside)) + x), kept


def painted(generator: Generator, photo: Array, mixture: Sequence[float], tile_px: int | None = None) -> Array:
    """The picture of a photo [H, W, 3], at once or in tiles.

    The moments of a picture in tiles are those of a small copy: they hardly depend on the size.

    Args:
        tile_px: 0 for no tiles; None for tiles where the picture is large.
    Source: thumbnail instance normalization of Chen et al. 2022 (URST).
    """
    # Differs from Chen et al. 2022: the margin of a tile is what the network sees, so that there is no seam.
    # Not compiled: tracing would take longer than one pass saves.
    height, width = photo.shape[:2]
    if tile_px is None:
        tile_px = TILE_PX if height * width > WHOLE_PX else 0
    weights, shares = generator.weights, tf.constant([mixture], tf.float32)
    if not 0 < tile_px < max(height, width):
        picture, _ = paint(generator.network, weights, tf.constant(photo[np.newaxis], tf.float32), shares)
        found: Array = picture[0].numpy()
        return found
    long_side_px = max(THUMBNAIL_PX, math.ceil(SMALLEST_PX * max(height, width) / min(height, width)))
    small = images.resize(photo, *images.fit(min(long_side_px, max(height, width)), width, height))
    _, norms = paint(generator.network, weights, tf.constant(small[np.newaxis], tf.float32), shares)
    margin_px = reach_px(generator.network)
    return paint_tiles(generator.network, weights, photo, shares, norms, tile_px, margin_px)


def paint_tiles(network: Sequence[Layer], weights: Weights, photo: Array, mixture: Tensor, norms: Norms, tile_px: int,
                margin_px: int) -> Array:
    """The same picture, tile by tile, with moments that are given; equal to that of the whole, up to rounding.

    Args:
        photo: [H, W, 3].
        tile_px: the side of what is painted at once, without its margin.
        margin_px: at least `reach_px`.
    """
    cell_px = 2 ** HALVINGS
    step_px, margin_px = -(-tile_px // cell_px) * cell_px, -(-margin_px // cell_px) * cell_px
    height, width = photo.shape[:2]
    picture = np.empty_like(photo, np.float32)
    for top in range(0, height, step_px):
        for left in range(0, width, step_px):
            above, before = max(0, top - margin_px), max(0, left - margin_px)
            tile = photo[above:top + step_px + margin_px, before:left + step_px + margin_px]
            painted = paint(network, weights, tf.constant(tile[np.newaxis], tf.float32), mixture, norms)[0][0].numpy()
            picture[top:top + step_px, left:left + step_px] = painted[top - above:, left - before:][:step_px, :step_px]
    return picture


def _mixed(mixture: Tensor, of_styles: Tensor) -> Tensor:
    """[B, K] and [K, D] → [B, 1, 1, D]."""
    return tf.matmul(mixture, of_styles)[:, tf.newaxis, tf.newaxis]


def _mirrored(x: Tensor, margin_px: int) -> Tensor:
    return tf.pad(x, [[0, 0], [margin_px] * 2, [margin_px] * 2, [0, 0]], "REFLECT")


def _doubled(x: Tensor, size: Tensor) -> Tensor:
    """Each pixel four times, without the last row or column where the map was odd before it was halved."""
    sides = shape_of(x)
    return tf.image.resize(x, [2 * sides[1], 2 * sides[2]], "nearest")[:, :size[0], :size[1]]


def _normalized(x: Tensor, given: Moments | None, learns: bool) -> tuple[Tensor, Moments]:
    """(x − μ) / σ of each example and channel, and the moments."""
    if given is not None:
        return (x - given.center) * given.sharpness, given
    normalized, center, sharpness = (_learned_normalize if learns else _normalize)(x)
    return normalized, Moments(center, sharpness)


def _normalize_gradient(_: list[Tensor], outputs: list[Tensor], d: Tensor, __: Tensor, ___: Tensor) -> tuple[Tensor]:
    # x has one contribution, whose sum does not depend on timing; see `tensors.fork`.
    normalized, _, sharpness = outputs
    across = tf.reduce_mean(d * normalized, axis=[1, 2], keepdims=True)
    return (sharpness * (d - tf.reduce_mean(d, axis=[1, 2], keepdims=True) - normalized * across),)


@with_gradient(_normalize_gradient)
def _learned_normalize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`_normalize` with the gradient of its first answer alone."""
    return _normalize(x)


def _normalize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """((x − μ) / σ, μ, 1 / σ) over the positions (Ulyanov, Vedaldi, Lempitsky 2016)."""
    center = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
    variance = tf.reduce_mean(tf.square(x - center), axis=[1, 2], keepdims=True)
    sharpness = tf.math.rsqrt(variance + EPSILON)
    return (x - center) * sharpness, center, sharpness
