"""Large motifs: the style of a layer measured on smaller copies of the picture too, as layers of their own."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.grammar import LayerWeight
from nst_tf.losses.guides import Sight
from nst_tf.losses.terms import LARGEST_MOTIF_RATIO, PICTURE_SHARE, Objective
from nst_tf.tensors import Features, Tensor, fork


def tents(pixels: int, cells: int) -> npt.NDArray[np.float64]:
    """How much of each pixel along one side there is in each of fewer cells, [cells, pixels], rows sum to 1.

        R_ip ∝ max(0, 1 − |p − c_i| / r),    c_i = (i + ½) r − ½,    r = pixels / cells

    Tents, because under means of r pixels the gradient has steps every r-th pixel, which are seen in the picture. What
    reaches over an edge is the mirrored picture, so that no pixel counts less for being near one.
    """
    ratio = pixels / cells
    centers = (np.arange(cells) + 0.5) * ratio - 0.5
    reach = int(np.ceil(ratio))
    places = np.arange(-reach, pixels + reach)
    weights = np.maximum(0.0, 1.0 - np.abs(places - centers[:, np.newaxis]) / ratio)
    seen = weights[:, reach:-reach]
    seen[:, :reach] += weights[:, :reach][:, ::-1]
    seen[:, -reach:] += weights[:, -reach:][:, ::-1]
    return np.asarray(seen / seen.sum(axis=1, keepdims=True))


def shrink(picture: Tensor, height: int, width: int) -> Tensor:
    """x' = R x Cᵀ for each color, [B, H, W, 3] → [B, height, width, 3], R and C the `tents` of rows and columns."""
    rows, columns = (tf.constant(tents(side, cells), picture.dtype)
                     for side, cells in zip(picture.shape[1:3], (height, width), strict=True))
    return tf.einsum("wj,bhjc->bhwc", columns, tf.einsum("hi,bijc->bhjc", rows, picture))


def shrunk_layer(layer: str, copy_px: int) -> str:
    """The name of a layer that sees a copy of this long side: `conv1/128px`."""
    return f"{layer}/{copy_px}px"


def motif_shares(long_side_px: int, copies_px: Sequence[int]) -> tuple[float, ...]:
    """How much the style of the picture and of each smaller copy counts; they sum to 1.

        s_0 = 0.6,    s_L = 0.4 / n,    s_l = 0.4 (1 − 1/n) / (L − 1) between,    n = max(1, log₄ r)

    n is how many copies there would be by steps of four down to the smallest, r times smaller than the picture: so the
    weights move little from one size to the next, also where one copy becomes two.

    Args:
        long_side_px: of the picture. copies_px: of its L copies, from large to small; the picture counts 1 without any.
    """
    if not copies_px:
        return (1.0,)
    *between, smallest_px = copies_px
    steps = max(1.0, math.log(long_side_px / smallest_px, LARGEST_MOTIF_RATIO)) if between else 1.0
    rest = 1.0 - PICTURE_SHARE
    return (PICTURE_SHARE, *(rest * (1.0 - 1.0 / steps) / len(between) for _ in between), rest / steps)


def with_motifs(objective: Objective, long_side_px: int, copies_px: Sequence[int]) -> Objective:
    """The objective whose style is measured on the picture x_0 and its smaller copies x_1 … x_L.

        style(x) = Σ_l s_l style(x_l),    s the `motif_shares`

    A network sees motifs up to its receptive field: in a copy a quarter as large, those four times as large.

    Args:
        long_side_px: of the picture. copies_px: of its copies.
    Source: Snelgrove 2017, "High-resolution multi-scale neural texture synthesis".
    """
    # Differs from Gatys et al. 2016, who measure the style at one size. Differs from Snelgrove 2017, who halves until
    # nothing is left, by a Gaussian, and counts all alike: the smallest copy has the same pixels for every picture, so
    # that all sizes look alike, and a copy of a quarter costs a sixteenth of a step, one of a half a quarter.
    own, *shrunk = motif_shares(long_side_px, copies_px)
    return objective._replace(style_layers=(
        *(LayerWeight(layer, own * weight) for layer, weight in objective.style_layers),
        *(LayerWeight(shrunk_layer(layer, copy_px), share * weight)
          for copy_px, share in zip(copies_px, shrunk, strict=True) for layer, weight in objective.style_layers)))


def extract_motifs(extract: Callable[[Tensor], Features], layers: Sequence[str], long_side_px: int,
                   copies_px: Sequence[int]) -> Callable[[Tensor], Features]:
    """`extract` that also gives these layers of a picture's smaller copies, each made of the one before.

    Args:
        long_side_px: of the picture that is optimized. Other pictures are shrunk in proportion.
    """
    def extract_all(x: Tensor) -> Features:
        height, width = x.shape[1:3]
        copies = []
        for copy_px in copies_px:
            x, larger = fork(x)
            copies.append(x)
            x = shrink(larger, *(max(1, round(side * copy_px / long_side_px)) for side in (height, width)))
        copies.append(x)
        found, *shrunk = [extract(copy) for copy in copies]
        return {**found, **{shrunk_layer(layer, copy_px): features[layer]
                            for copy_px, features in zip(copies_px, shrunk, strict=True) for layer in layers}}

    return extract_all


def motif_sights(sights: Mapping[str, Sight], long_side_px: int, copies_px: Sequence[int]) -> dict[str, Sight]:
    """What the cells of all layers see, in pixels of the picture."""
    scales = [(copy_px, long_side_px / copy_px) for copy_px in copies_px]
    return {**sights, **{shrunk_layer(layer, copy_px): Sight(scale * sight.stride, scale * sight.receptive_field_px)
                         for layer, sight in sights.items() for copy_px, scale in scales}}
