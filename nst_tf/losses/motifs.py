"""Large motifs: the style of a layer measured on smaller copies of the picture too, as layers of their own."""

import math
from collections.abc import Callable, Mapping, Sequence

from nst_tf.grammar import LayerWeight
from nst_tf.losses.guides import ReceptiveField
from nst_tf.losses.objective import LARGEST_MOTIF_RATIO, Objective, PICTURE_SHARE
from nst_tf.tensors import Features, Tensor, fork, shrink


def shrunk_layer(layer: str, copy_px: int) -> str:
    """The name of a layer that sees a copy of this long side: `conv1/128px`."""
    return f"{layer}/{copy_px}px"


def motif_shares(long_side_px: int, copies_px: Sequence[int]) -> tuple[float, ...]:
    """How much the style of the picture and of each smaller copy counts; they sum to 1.

        s_0 = 0.6,    s_L = 0.4 / n,    s_l = 0.4 (1 − 1/n) / (L − 1) between,    n = max(1, log₄ r)

    r is how much smaller the smallest copy is than the picture, and n how many copies steps of four would make. By n
    the weights change little from one size to the next, also where a second copy begins.

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
    # Differs from Gatys et al. 2016, who measure the style at one size. Differs from Snelgrove 2017, who halves by a
    # Gaussian until nothing is left, and weights all copies equally. Here the smallest copy has the same size for every
    # picture, so that pictures of all sizes look alike. A copy of a quarter costs a sixteenth of a step.
    own, *shrunk = motif_shares(long_side_px, copies_px)
    return objective._replace(style_layers=(
        *(LayerWeight(layer, own * weight) for layer, weight in objective.style_layers),
        *(LayerWeight(shrunk_layer(layer, copy_px), share * weight)
          for copy_px, share in zip(copies_px, shrunk, strict=True) for layer, weight in objective.style_layers)))


def copy_size(size: Sequence[int], copy_px: int, long_side_px: int) -> tuple[int, ...]:
    """The space axes of the copy of a picture with these.

    Args:
        long_side_px: of the picture that is optimized, whose copy has the long side `copy_px`.
    """
    return tuple(max(1, round(side * copy_px / long_side_px)) for side in size)


def extract_motifs(extract: Callable[[Tensor], Features], layers: Sequence[str], long_side_px: int,
                   copies_px: Sequence[int]) -> Callable[[Tensor], Features]:
    """`extract` that also gives these layers of a picture's smaller copies, each made of the one before.

    Args:
        extract: [B, *space, C] → {layer: features}.
        long_side_px: of the picture that is optimized. Other pictures are shrunk in proportion.
    """
    def extract_all(x: Tensor) -> Features:
        sides = x.shape[1:-1]
        copies = []
        for copy_px in copies_px:
            x, larger = fork(x)
            copies.append(x)
            x = shrink(larger, *copy_size(sides, copy_px, long_side_px))
        copies.append(x)
        found, *shrunk = [extract(copy) for copy in copies]
        return {**found, **{shrunk_layer(layer, copy_px): features[layer]
                            for copy_px, features in zip(copies_px, shrunk, strict=True) for layer in layers}}

    return extract_all


def motif_fields(fields: Mapping[str, ReceptiveField], long_side_px: int,
                 copies_px: Sequence[int]) -> dict[str, ReceptiveField]:
    """What the cells of all layers see, in pixels of the picture."""
    scales = {copy_px: long_side_px / copy_px for copy_px in copies_px}
    return {**fields, **{
        shrunk_layer(layer, copy_px): ReceptiveField(scale * field.stride, scale * field.size_px)
        for layer, field in fields.items() for copy_px, scale in scales.items()}}
