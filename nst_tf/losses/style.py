"""The style term: each region of the picture against styles of its own, measured over its own positions alone.

Without masks there is one region, the whole picture.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.losses.guides import Area, guide
from nst_tf.losses.moments import Means, mean
from nst_tf.losses.objective import Objective
from nst_tf.losses.statistics import STATISTICS, STYLE_DISTANCES
from nst_tf.losses.term import Cells, Losses, Source, Term, TermTargets, View, share_tensor, weighted_sum
from nst_tf.tensors import Array, Tensor

Guides = dict[str, Tensor | None]  # w [1, *cells] of each layer, None for everywhere


class StyleTarget(NamedTuple):
    """What the style of a picture is compared with.

    `shares` are the parts of the picture's area that the R regions have, [R]; `layer_shares` λ of the L layers, [L];
    `regions` the blended A of each layer, by region.
    """

    shares: Tensor
    layer_shares: Tensor
    regions: tuple[dict[str, Means], ...]


class SingleStyles(NamedTuple):
    """The target of each style alone, {k: {layer: A_k}} by region, for reading; `shares` as in `StyleTarget`."""

    shares: Tensor
    regions: tuple[dict[int, dict[str, Means]], ...]


def measure_regions(objective: Objective, source: Source) -> TermTargets:
    """The targets of the style: guides beside the positions, A of each region, and A_k of each style alone.

    In each region only the ratios count of the blend weights of its styles.
    """
    statistic, layers = STATISTICS[objective.statistic], [layer for layer, _ in objective.style_layers]
    areas = source.areas or [Area(None, dict.fromkeys(range(len(source.styles))))]
    means: list[dict[int, dict[str, Means]]] = [{} for _ in areas]
    for k, style in enumerate(source.styles):
        having = [index for index, area in enumerate(areas) if k in area.styles]
        sums = source.sums(style, objective._replace(content_layers=(), dream_layers=(), neighbor_layers=()), _measure,
                           lambda cells: tuple(guides_in(areas[index].styles[k], cells, source, layers)
                                               for index in having))
        for index, of_region in zip(having, sums, strict=True):
            means[index][k] = {layer: mean(of_region[layer]) for layer in layers}

    def target(of_styles: dict[int, dict[str, Means]]) -> dict[str, Means]:
        blend = [source.blend[k] for k in of_styles] if len(of_styles) > 1 else [1.0]
        return {layer: statistic.target([of_style[layer] for of_style in of_styles.values()], blend)
                for layer in layers}

    targets = tuple(map(target, means))
    # A style that is alone in its region is what the region is compared with.
    single = tuple({k: A if len(of_area) == 1 else target({k: of_area[k]}) for k in of_area}
                   for A, of_area in zip(targets, means, strict=True))
    cells = {} if all(area.picture is None for area in areas) else source.cells(source.size)
    shares = area_shares(areas)
    share_of_layers = share_tensor(objective.style_layers, objective.normalization)
    return TermTargets(
        tuple(guides_in(area.picture, cells, source, layers) for area in areas),
        StyleTarget(shares, share_of_layers, targets), SingleStyles(shares, single))


def area_shares(areas: Sequence[Area]) -> Tensor:
    """The parts of the picture's area that regions have, [R]."""
    return tf.constant([1.0 if area.picture is None else float(np.mean(area.picture, dtype=np.float64))
                        for area in areas], tf.float32)


def guides_in(mask: Array | None, cells: Cells, source: Source, layers: Sequence[str]) -> Guides:
    """How much each position of some layers belongs to a mask."""
    if mask is None:
        return dict.fromkeys(layers)
    return {layer: tf.constant(guide(mask, cells[layer], source.fields[layer])[np.newaxis]) for layer in layers}


def _measure(objective: Objective, view: View, fixed: tuple[Guides, ...]) -> tuple[dict[str, Any], ...]:
    measure = STATISTICS[objective.statistic].measure
    return tuple({layer: measure(view.features(layer), view.weights(layer, guides[layer]))
                  for layer, _ in objective.style_layers} for guides in fixed)


def _compare(objective: Objective, sums: tuple[dict[str, Any], ...], target: StyleTarget) -> tuple[Tensor, Losses]:
    """Σ_r share_r Σ_l λ_l d(G_rl, A_rl).

    A part of the picture without a style counts 0. So style weighs against content and smoothness in a region as in a
    whole picture.
    """
    distance = style_distance(objective)
    of_regions = [
        weighted_sum([distance(mean(sums_r[layer]), A[layer]) for layer, _ in objective.style_layers],
                     target.layer_shares)
        for sums_r, A in zip(sums, target.regions, strict=True)]
    return weighted_sum(of_regions, target.shares), {}


def _details(objective: Objective, sums: tuple[dict[str, Any], ...], single: SingleStyles) -> Losses:
    """The distance to each style alone on each layer, its mean over the regions that have it, `style/<k>/<layer>`."""
    distance = style_distance(objective)
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for share, sums_r, styles in zip(tf.unstack(single.shares), sums, single.regions, strict=True):
        for layer, _ in objective.style_layers:
            G = mean(sums_r[layer])
            for k, A in styles.items():
                parts.setdefault(f"style/{k}/{layer}", []).append((share, distance(G, A[layer])))
    return {tag: _mean(pairs) for tag, pairs in parts.items()}


def _mean(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Σ w_i v_i / Σ w_i of pairs (w, v)."""
    weights = tf.stack([weight for weight, _ in pairs])
    return weighted_sum([value for _, value in pairs], weights / tf.reduce_sum(weights))


def style_distance(objective: Objective) -> Callable[[Means, Means], Tensor]:
    """d(G, A): the published cost functions are of Gram matrices, `relative` is each statistic's own."""
    if objective.normalization == "relative":
        return STATISTICS[objective.statistic].distance
    return STYLE_DISTANCES[objective.normalization]


STYLE = Term(_measure, _compare, measure_regions, _details)
