"""Content: how far the features F of the picture are from the features C of the photo, in three normalizations."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from nst_tf.losses.moments import total_weight
from nst_tf.losses.objective import Objective
from nst_tf.losses.term import Losses, Source, Term, TermTargets, View, share_tensor, sum_of_squares, weighted_sum
from nst_tf.tensors import Tensor, at_least_float32


class ContentSums(NamedTuple):
    """Σ_p w_p ‖F_p − C_p‖², Σ_p w_p ‖C_p‖² and how many numbers of C they are made of, each [B]."""

    difference: Tensor
    energy: Tensor
    count: Tensor


def relative(sums: ContentSums) -> Tensor:
    """‖F − C‖² / ‖C‖²: without unit, so that one weight holds for every backbone and size.

    Returns:
        [B], ≥ 0; 0 for equal features, 1 for F = 0.
    """
    # Differs from Gatys et al. 2016: divided by the target's own energy.
    return sums.difference / tf.maximum(sums.energy, 1e-12)


def gatys(sums: ContentSums) -> Tensor:
    """½ ‖F − C‖², [B] (Gatys, Ecker, Bethge 2016, eq. 1)."""
    return 0.5 * sums.difference


def ng(sums: ContentSums) -> Tensor:
    """‖F − C‖² / (4 n_H n_W n_C), [B] (Ng, Deep Learning Specialization, course 4, week 4)."""
    return sums.difference / (4.0 * sums.count)


CONTENT_DISTANCES: dict[str, Callable[[ContentSums], Tensor]] = {"relative": relative, "gatys": gatys, "ng": ng}


def measure_content(F: Tensor, C: Tensor, weights: Tensor | None = None) -> ContentSums:
    """The sums that every normalization is made of.

    Args:
        F: features of the picture [B, *space, C]; C: of the photo, [1 or B, *space, C].
        weights: w ≥ 0 of each position, [1 or B, *space]; all 1 when left out.
    """
    F, C = at_least_float32(F), at_least_float32(C)
    difference = sum_of_squares(F - C, weights)
    count = total_weight(C, weights) * tf.cast(C.shape[-1], C.dtype)
    # One entry for each example, also where one photo stands for all.
    energy, count = (tf.broadcast_to(each, tf.shape(difference)) for each in (sum_of_squares(C, weights), count))
    return ContentSums(difference, energy, count)


def _targets(objective: Objective, source: Source) -> TermTargets:
    # In tiles, those of the photo are measured beside those of the picture.
    features = {} if source.tiled else source.extract(source.content)
    return TermTargets({layer: features[layer] for layer, _ in objective.content_layers if features},
                       share_tensor(objective.content_layers, objective.normalization))


def _measure(objective: Objective, view: View, fixed: dict[str, Tensor]) -> dict[str, ContentSums]:
    return {layer: measure_content(view.features(layer), fixed[layer], view.weights(layer))
            for layer, _ in objective.content_layers}


def _compare(objective: Objective, sums: dict[str, ContentSums], shares: Tensor) -> tuple[Tensor, Losses]:
    """Σ_l λ_l d(F_l, C_l)."""
    distance = CONTENT_DISTANCES[objective.normalization]
    parts = {f"content/{layer}": distance(sums[layer]) for layer, _ in objective.content_layers}
    return weighted_sum(list(parts.values()), shares), parts


CONTENT = Term(_measure, _compare, _targets)
