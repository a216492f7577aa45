"""Neighbors: each position of the picture is drawn to the position of the style that is most like it, layer by layer.

A Gram matrix knows how often features meet, not which features the style has: features of the picture may lie between
those of the style. Here each has to become one of them. Kolkin et al. 2022 call it feature splitting.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.losses.guides import Area
from nst_tf.losses.moments import Moments, mean, total_weight
from nst_tf.losses.objective import COSINES_AT_ONCE, Objective
from nst_tf.losses.style import Guides, area_shares, guides_in
from nst_tf.losses.term import (
    Cells, Constant, Losses, Source, Term, TermTargets, View, share_tensor, weighted_sum,
)
from nst_tf.tensors import Array, Tensor, at_least_float32, positions, shape_of, with_gradient

# Positions of the style that a layer is compared with: more cost time and change nothing that is seen.
BANK = 256
# Share of the mean square of centered features that is added to each square: a feature at the center has no direction.
LENGTH_FLOOR = 1e-6


class Bank(NamedTuple):
    """Positions of a style: unit vectors Â [K, C] of centered features, the center μ [C], and ε, the square's floor."""

    unit: Tensor
    center: Tensor
    floor: Tensor


def chosen_positions(allowed: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
    """The numbers of at most `count` of the allowed positions, drawn by their own number: always the same."""
    places = np.flatnonzero(allowed)
    return np.random.default_rng(len(places)).permutation(places)[:count]


def bank(features: Sequence[Tensor], weights: Sequence[float]) -> Bank:
    """The bank of a blended style: of each style as large a share as its weight is of all.

    Args:
        features: of each style, [n_k, C], in the order of `chosen_positions`.
        weights: b_k ≥ 0, not all 0.
    """
    # As raw moments mix (see `moments.blend`): half of each style is the style of a picture made of both halves.
    shares = [weight / sum(weights) for weight in weights]
    total = min(BANK, *(len(F) / share for F, share in zip(features, shares, strict=True) if share))
    F = tf.concat([of_style[:max(1, round(total * share))]
                   for of_style, share in zip(features, shares, strict=True) if share], axis=0)
    center = tf.reduce_mean(F, axis=0)
    x = F - center
    floor = LENGTH_FLOOR * tf.reduce_mean(tf.reduce_sum(tf.square(x), axis=-1)) + 1e-30
    return Bank(x / _length(x, floor), center, floor)


def _gradient(F: Tensor, matches: Tensor, d: Tensor, style: Bank) -> Tensor:
    """d · (c x̂ − â) / ‖x‖ of rows F [P, C]."""
    x = at_least_float32(F) - style.center
    length, a = _length(x, style.floor), tf.gather(style.unit, matches)
    direction = x / length
    cosine = tf.reduce_sum(direction * a, axis=-1, keepdims=True)
    return tf.cast(d[:, tf.newaxis] * (cosine * direction - a) / length, F.dtype)


def _nearest(F: Tensor, style: Bank) -> tuple[Tensor, Tensor]:
    """1 − cos of each row of F [P, C] and its nearest, and which that is."""
    x = at_least_float32(F) - style.center
    # The length of x changes none of its matches.
    matches = tf.argmax(tf.matmul(x, style.unit, transpose_b=True), axis=-1, output_type=tf.int32)
    # Not the cosines of the product, which may lose 13 bits on a GPU.
    return 1.0 - tf.reduce_sum(x * tf.gather(style.unit, matches), axis=-1) / _length(x, style.floor)[:, 0], matches


def _in_chunks(function: Callable[..., Any], style: Bank, like: Any, *rows: Tensor) -> Any:
    """A function of rows and the bank, for as many rows at once as have `COSINES_AT_ONCE` cosines.

    Args:
        like: tensors of the dtypes and of the number of axes that the function returns.
    """
    count = shape_of(rows[0])[0]
    # Equal chunks, so that little is padded.
    chunks = -(-count * style.unit.shape[0] // COSINES_AT_ONCE)
    if isinstance(chunks, int) and chunks <= 1:
        return function(*rows, style)
    side = -(-count // chunks)

    def cut(x: Tensor) -> Tensor:
        padded = tf.pad(x, [[0, chunks * side - count], *([0, 0] for _ in x.shape[1:])])
        return tf.reshape(padded, [chunks, side, *x.shape[1:]])

    signature = tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), like)
    found = tf.map_fn(lambda parts: function(*parts, style), tuple(map(cut, rows)), parallel_iterations=1,
                      fn_output_signature=signature)
    return tf.nest.map_structure(lambda x: tf.reshape(x, [-1, *x.shape[2:]])[:count], found)


def _distances_gradient(inputs: list[Tensor], outputs: list[Tensor], d: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    (F, *style), (_, matches) = inputs, outputs
    return _in_chunks(_gradient, Bank(*style), F, F, matches, d), None, None, None


@with_gradient(_distances_gradient)
def _distances(F: Tensor, unit: Tensor, center: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """`_nearest` of all rows. What is kept for the gradient is the match."""
    like = unit[:, 0], tf.zeros([0], tf.int32)
    found: tuple[Tensor, Tensor] = _in_chunks(_nearest, Bank(unit, center, floor), like, F)
    return found


def measure_neighbors(F: Tensor, style: Bank, weights: Tensor | None = None) -> Moments:
    """Σ_p w_p (1 − max_k cos(F_p − μ, a_k − μ)) and n = Σ_p w_p, both [B].

    The match is a constant of the gradient, dF_p = w_p (c x̂ − â) / ‖x‖ with x = F_p − μ: a maximum has the gradient of
    the largest.

    Args:
        F: features [B, *space, C].
        weights: w ≥ 0 of each position, [1 or B, *space]; all 1 when left out.
    Source: Kolkin, Kucera, Paris, Sykora, Shechtman, Shakhnarovich 2022, "Neural
        neighbor style transfer" (feature splitting).
    """
    # Differs from Kolkin et al. 2022: all positions of the picture, not a grid that is moved each step; positions of
    # the style that stay the same, so that the loss is one function; and both centered on the style's mean, where each
    # has its own there: so positions are independent, and the picture's mean is drawn to the style's.
    flat = positions(F)
    distances, _ = _distances(tf.reshape(flat, [-1, F.shape[-1]]), *style)
    by_example = tf.reshape(distances, tf.shape(flat)[:2])
    if weights is not None:
        by_example *= tf.cast(tf.reshape(weights, [tf.shape(weights)[0], -1]), by_example.dtype)
    return Moments((tf.reduce_sum(by_example, axis=-1),), total_weight(F, weights))


def _length(x: Tensor, floor: Tensor) -> Tensor:
    return tf.sqrt(tf.reduce_sum(tf.square(x), axis=-1, keepdims=True) + floor)


class NeighborsTarget(NamedTuple):
    """Of the R regions their parts of the picture's area, [R]; λ of the L layers, [L]."""

    shares: Tensor
    layer_shares: Tensor


def _targets(objective: Objective, source: Source) -> TermTargets:
    """The banks of each region, and how much each position belongs to it."""
    layers = [layer for layer, _ in objective.neighbor_layers]
    areas = source.areas or [Area(None, dict.fromkeys(range(len(source.styles))))]
    cells = {} if all(area.picture is None for area in areas) else source.cells(source.size)
    beside = tuple((guides_in(area.picture, cells, source, layers), _banks(objective, source, area, layers))
                   for area in areas)
    return TermTargets(beside, NeighborsTarget(area_shares(areas), share_tensor(objective.neighbor_layers, "relative")))


def _banks(objective: Objective, source: Source, area: Area, layers: Sequence[str]) -> Mapping[str, Constant]:
    """The bank of each layer of a region's styles."""
    alone = objective._replace(content_layers=(), style_layers=(), dream_layers=())
    features = [source.sums(source.styles[k], alone, _collect, partial(_places, mask, source, layers))
                for k, mask in area.styles.items()]
    blend = [source.blend[k] for k in area.styles] if len(area.styles) > 1 else [1.0]
    return {layer: Constant(bank([F[layer].sums[0][F[layer].count > 0] for F in features], blend)) for layer in layers}


def _places(mask: Array | None, source: Source, layers: Sequence[str], cells: Cells) -> dict[str, Tensor]:
    """Of each layer the place in the bank of each position, int32 [1, *cells]; -1 where it has none."""
    guides = guides_in(mask, cells, source, layers)
    found = {}
    for layer in layers:
        guide = guides[layer]
        sides = [1, *cells[layer]]
        w = np.ones(sides) if guide is None else guide.numpy()
        places = np.full(sides, -1, np.int32)
        chosen = chosen_positions((w > 0) & (w >= w.max() / 2), BANK)
        np.put(places, chosen, np.arange(len(chosen)))
        found[layer] = tf.constant(places)
    return found


def _collect(objective: Objective, view: View, fixed: dict[str, Tensor]) -> dict[str, Moments]:
    """The features of the chosen positions, [BANK, C], and 1 for each that there is: sums, so that tiles add."""
    found = {}
    for layer, places in fixed.items():
        F, w = at_least_float32(view.features(layer)), view.weights(layer)
        w = tf.ones_like(F[..., 0]) if w is None else tf.cast(w, F.dtype)
        rows, counts = (tf.math.unsorted_segment_sum(positions(values)[0], tf.reshape(places, [-1]), BANK)
                        for values in (F * w[..., tf.newaxis], w[..., tf.newaxis]))
        found[layer] = Moments((rows,), counts[:, 0])
    return found


def _measure(objective: Objective, view: View,
             fixed: tuple[tuple[Guides, Mapping[str, Constant]], ...]) -> tuple[dict[str, Moments], ...]:
    return tuple({layer: measure_neighbors(view.features(layer), Bank(*banks[layer].value),
                                           view.weights(layer, guides[layer]))
                  for layer, _ in objective.neighbor_layers} for guides, banks in fixed)


def _compare(objective: Objective, sums: tuple[dict[str, Moments], ...],
             target: NeighborsTarget) -> tuple[Tensor, Losses]:
    """Σ_r share_r Σ_l λ_l (mean distance to the nearest), the same without unit in every normalization."""
    of_regions = [weighted_sum([mean(sums_r[layer])[0] for layer, _ in objective.neighbor_layers], target.layer_shares)
                  for sums_r in sums]
    return weighted_sum(of_regions, target.shares), {}


NEIGHBORS = Term(_measure, _compare, _targets)
