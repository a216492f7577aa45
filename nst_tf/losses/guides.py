"""Guides: how much each cell of a layer belongs to a region, from the region's mask in pixels. No TensorFlow.

A guide w weights the positions that a style is measured over (Gatys, Ecker, Bethge, Hertzmann, Shechtman 2017,
"Controlling perceptual factors in neural style transfer", section 4).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nst_tf.types import Array

# σ of what a cell really sees, over its receptive field: a stack of averages as deep as VGG19's conv5_1 has r / 7.7, up
# to ResNet50's conv5 r / 8.5.
EFFECTIVE_SHARE = 1 / 8


class ReceptiveField(NamedTuple):
    """What the cells of a layer see along each axis: `size_px` pixels, every `stride` pixels."""

    stride: float
    size_px: float


class Area(NamedTuple):
    """Where a region lies: its mask [*space] of the picture, and {k: mask} of each style k that counts there.

    A mask is in [0, 1]; None stands for everywhere.
    """

    picture: Array | None
    styles: Mapping[int, Array | None]


def guide(mask: Array, cells: Sequence[int], field: ReceptiveField) -> Array:
    """The mean of a mask over what each cell sees: w = V_1 m V_2ᵀ for a picture, V_k the `visibility` along axis k.

    The mean is linear in the mask. So where the masks of all regions sum to 1 in every pixel, their guides sum to 1 in
    every cell, and even a small region has its share of each layer: Σ_p w_p > 0 where the mask is not 0.

    Args:
        mask: [*space] in [0, 1].
        cells: of the layer's grid, one number for each axis.
    Returns:
        [*cells] in [0, 1].
    """
    # Differs from Gatys et al. 2017: w = T² of their guidance channels T sums to 1 over the regions at each position
    # (they make it sum to 1 over the positions), and comes from a mean over a Gaussian instead of all or nothing.
    *others, last = (visibility(side, count, field) for side, count in zip(mask.shape, cells, strict=True))
    w: npt.NDArray[Any] = mask
    for axis, seen in enumerate(others):
        w = np.moveaxis(np.tensordot(seen, w, (1, axis)), 0, axis)
    return np.asarray(w @ last.T, np.float32)


def visibility(side_px: int, cells: int, field: ReceptiveField) -> npt.NDArray[np.float64]:
    """How much each of `cells` sees of each pixel along one side, [cells, side_px], rows sum to 1.

        v_ip ∝ exp(−(p − c_i)² / 2σ²),    c_i = (H − 1)/2 + (i − (h − 1)/2) · stride,    σ = r / 8

    A Gaussian, because the middle of a receptive field counts most; in the padding there is nothing to see. The grid is
    taken to lie in the middle of the picture: that is right to half a stride for every way of padding.

    Source: Luo, Li, Urtasun, Zemel 2016, "Understanding the effective receptive field".
    """
    centers = (side_px - 1) / 2 + (np.arange(cells) - (cells - 1) / 2) * field.stride
    distances = (np.arange(side_px) - centers[:, np.newaxis]) / (EFFECTIVE_SHARE * field.size_px)
    # The nearest pixel as the unit: a cell that sees one pixel by far the most must not see 0 / 0.
    seen = np.exp((np.min(distances ** 2, axis=1, keepdims=True) - distances ** 2) / 2)
    return np.asarray(seen / seen.sum(axis=1, keepdims=True))
