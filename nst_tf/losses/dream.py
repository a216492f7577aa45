"""Dream: how strongly chosen units respond, to be maximized beside content and style; and which units are chosen."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.grammar import Channels, LayerWeight
from nst_tf.losses.moments import Moments, mean, measure_mean
from nst_tf.losses.objective import Objective
from nst_tf.losses.term import Cells, Losses, Source, Term, TermTargets, View, share_tensor, weighted_sum
from nst_tf.tensors import Tensor, at_least_float32
from nst_tf.vocabulary import UserError

Activations = npt.NDArray[np.float32]

# At the border units respond to the padding; keras-io's deep dream leaves out as many cells.
LARGEST_BORDER = 2


def dream(a: Tensor, shares: Tensor, reference: Tensor, is_signed: bool = False) -> Tensor:
    """− Σ_c s_c log(1 + a_c / ā): without unit, so that one weight holds for every backbone and size.

    By the logarithm every unit counts, not only the one that rises most easily: the gradient of a unit is that of a_c
    over (ā + a_c), smaller for a unit that has risen already. Scores of a classifier may be below 0: there asinh takes
    the place of log(1 + x), which grows as it does and has a slope everywhere.

    Args:
        a: activations ≥ 0, or scores of any sign, [B, C].
        shares: s, [C]: 1/|U| for the chosen units U, 0 for the others.
        reference: ā > 0, what `reference` measured on content and styles.
    Returns:
        [B]: 0 where the units are silent, −log 2 where they are as active as the layer is on the pictures; above 0 for
        scores below 0.
    Source: Mordvintsev, Olah, Tyka 2015 (Inceptionism), who maximize ½‖F‖² of a whole layer. Scores before their
        softmax: Simonyan, Vedaldi, Zisserman 2014, since a softmax also rises when all other classes fall.
    """
    # Differs from Mordvintsev et al. 2015: ½‖F‖² depends on the size and grows without end against the other terms, and
    # has hardly a gradient where a unit responds weakly.
    # All channels and a product, not a gather, whose gradient would be summed in any order.
    rise = tf.math.asinh if is_signed else tf.math.log1p
    return -tf.reduce_sum(tf.cast(shares, a.dtype) * rise(a / tf.cast(reference, a.dtype)), axis=-1)


def measure_activation(F: Tensor, weights: Tensor, is_signed: bool = False) -> Moments:
    """Σ_p w_p max(F_p, 0), or of F_p itself, [B, C], and Σ_p w_p; F is [B, *cells, C], w [1 or B, *cells]."""
    F = at_least_float32(F)
    return measure_mean(F if is_signed else tf.nn.relu(F), tf.cast(weights, F.dtype))


def activation(F: Tensor, is_signed: bool = False) -> Tensor:
    """a_c = mean over pictures and inner cells of max(F_c, 0), or of F_c itself, [C]; F is [B, *cells, C]."""
    (a,) = mean(measure_activation(F, inner_cells(F.shape[1:-1]), is_signed))
    return tf.reduce_mean(a, axis=0)


def reference(activations: Sequence[Tensor]) -> Tensor:
    """ā = mean over pictures and channels of |a| of a layer's activations, [C] each; a scalar > 0."""
    return tf.maximum(tf.reduce_mean(tf.abs(tf.stack(activations))), 1e-12)


def unit_shares(channels: Sequence[int], count: int) -> npt.NDArray[np.float32]:
    """s of `dream`, [count]: the same for each of the chosen channels, 0 for the others."""
    shares = np.zeros(count, np.float32)
    shares[list(channels)] = 1 / len(channels)
    return shares


def inner_cells(cells: Sequence[int]) -> Tensor:
    """1 for the inner cells, 0 for the outermost `LARGEST_BORDER` of a side, at most a quarter of it: [1, *cells]."""
    borders = [min(LARGEST_BORDER, side // 4) for side in cells]
    inner = np.ones([side - 2 * border for side, border in zip(cells, borders, strict=True)], np.float32)
    return tf.constant(np.pad(inner, [(border, border) for border in borders])[np.newaxis])


class DreamTarget(NamedTuple):
    """λ of the layers, [L], and of each layer the shares s of its units and ā."""

    layer_shares: Tensor
    units: dict[str, tuple[Tensor, Tensor]]


def activations(objective: Objective, source: Source) -> list[dict[str, Tensor]]:
    """a of each dream layer, [C], for each picture: the means over its inner cells."""
    measured = objective._replace(content_layers=(), style_layers=())
    sums = [source.sums(picture, measured, _measure, partial(_inner, objective)) for picture in source.pictures()]
    return [{layer: tf.reduce_mean(mean(of_layer)[0], axis=0) for layer, of_layer in of_picture.items()}
            for of_picture in sums]


def _inner(objective: Objective, cells: Cells) -> dict[str, Tensor]:
    return {layer: inner_cells(cells[layer]) for layer, _, _ in objective.dream_layers}


def _targets(objective: Objective, source: Source) -> TermTargets:
    of_pictures = activations(objective, source)
    weights = [LayerWeight(layer, weight) for layer, _, weight in objective.dream_layers]
    units = {layer: (tf.constant(unit_shares(channels.indices, of_pictures[0][layer].shape[-1])),
                     reference([of_picture[layer] for of_picture in of_pictures]))
             for layer, channels, _ in objective.dream_layers}
    # The inner cells are those of the picture that is optimized.
    return TermTargets(_inner(objective, source.cells(source.size)),
                       DreamTarget(share_tensor(weights, "relative"), units))


def _measure(objective: Objective, view: View, fixed: dict[str, Tensor]) -> dict[str, Moments]:
    return {layer: measure_activation(view.features(layer), view.weights(layer, fixed[layer]),
                                      layer in objective.signed_layers)
            for layer, _, _ in objective.dream_layers}


def _compare(objective: Objective, sums: dict[str, Moments], target: DreamTarget) -> tuple[Tensor, Losses]:
    """Σ_l λ_l dream_l, the same without unit in every normalization."""
    parts = {f"dream/{layer}": dream(mean(sums[layer])[0], *target.units[layer], layer in objective.signed_layers)
             for layer, _, _ in objective.dream_layers}
    return weighted_sum(list(parts.values()), target.layer_shares), parts


DREAM_TERM = Term(_measure, _compare, _targets)


def choose(channels: Channels, used: Activations, what: str) -> tuple[int, ...]:
    """The indices of the chosen units. Ranked units are in ascending order.

    `strong:N` are the N with the largest response, `weak:N` and `unused:N` those with the least among the units that
    respond at all: where a ReLU is silent there is no gradient that could wake it.

    Args:
        used: [C], how much each unit responds to the pictures; one of 0 or less does not respond.
        what: what an error names.
    Raises:
        UserError: a channel that the layer does not have, or fewer units respond than are asked for.
    """
    if channels.rule == "all":
        return tuple(range(len(used)))
    if channels.rule == "index":
        if max(channels.indices) >= len(used):
            raise UserError(f"{what}: channel {max(channels.indices)} does not exist; give 0 to {len(used) - 1}")
        return channels.indices
    order = np.argsort(used, kind="stable")
    responding = order[used[order] > 0]
    if len(responding) < channels.first:
        raise UserError(f"{what}: {len(responding)} of its {len(used)} units respond to the pictures; give "
                        f"{channels.rule}:{len(responding)} or another layer")
    chosen = responding[-channels.first:] if channels.rule == "strong" else responding[:channels.first]
    return tuple(sorted(map(int, chosen)))
