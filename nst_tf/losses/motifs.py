"""Large motifs: the style of a layer measured on smaller copies of the picture too, as layers of their own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.fork import fork
from nst_tf.grammar import LayerWeight
from nst_tf.losses.guides import Sight
from nst_tf.losses.terms import MOTIF_RATIO, Objective

Tensor = Any
Features = Mapping[str, Tensor]

# (1 2 3 2 1)ᵀ (1 2 3 2 1) / 81 for each of three colors, as a depthwise kernel [5, 5, 3, 1].
_TENT = np.repeat(np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]).astype(np.float32)[..., None, None] / 81, 3, axis=2)


def shrink(picture: Tensor) -> Tensor:
    """A third as large, [B, H, W, 3] → [B, ⌊H / 3⌋, ⌊W / 3⌋, 3]: x'_i = Σ_j t_j x_{3i + 1 + j}, t = (1 2 3 2 1) / 9.

    A tent, because under means of 3 × 3 pixels the gradient has steps every third pixel, which are seen in the picture;
    all pixels but those at the edges, which are mirrored, count the same.
    """
    padded = tf.pad(picture, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT")
    return tf.nn.depthwise_conv2d(padded, _TENT, [1, MOTIF_RATIO, MOTIF_RATIO, 1], "VALID")


def shrunk_layer(layer: str, level: int) -> str:
    """The name of a layer that sees the picture shrunk `level` times: `conv1/3`, `conv1/9`, …"""
    return f"{layer}/{MOTIF_RATIO ** level}" if level else layer


def with_motifs(objective: Objective, levels: int) -> Objective:
    """The objective whose style is the mean over the picture and its smaller copies.

        style(x) = 1/(L + 1) Σ_l style(x shrunk l times),   l = 0 … L

    A network sees motifs up to its receptive field: in a copy a third as large, those three times as large.

    Source: Snelgrove 2017, "High-resolution multi-scale neural texture synthesis".
    """
    # Differs from Gatys et al. 2016, who measure the style at one size; from Snelgrove by thirds instead of halves, so
    # that a copy costs a ninth of a step and not a quarter, and by a tent instead of a Gaussian.
    layers = tuple(LayerWeight(shrunk_layer(layer, level), weight / (levels + 1))
                   for level in range(levels + 1) for layer, weight in objective.style_layers)
    return objective._replace(style_layers=layers)


def extract_motifs(extract: Callable[[Tensor], Features], layers: Sequence[str],
                   levels: int) -> Callable[[Tensor], Features]:
    """`extract` that also gives these layers of the picture's smaller copies."""
    def extract_all(x: Tensor) -> Features:
        copies = []
        for _ in range(levels):
            x, copy = fork(x)
            copies.append(x)
            x = shrink(copy)
        copies.append(x)
        found = [extract(copy) for copy in copies]
        return {**found[0], **{shrunk_layer(layer, level): features[layer]
                               for level, features in enumerate(found) if level for layer in layers}}

    return extract_all


def motif_sights(sights: Mapping[str, Sight], levels: int) -> dict[str, Sight]:
    """What the cells of all layers see, in pixels of the picture."""
    scales = [(level, MOTIF_RATIO ** level) for level in range(levels + 1)]
    return {shrunk_layer(layer, level): Sight(scale * sight.stride, scale * sight.receptive_field_px)
            for layer, sight in sights.items() for level, scale in scales}
