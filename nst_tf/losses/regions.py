"""Regions: parts of the picture with styles of their own, each measured over its own positions alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.losses.guides import Area, Sight, guide
from nst_tf.losses.moments import Means, mean
from nst_tf.losses.statistics import STATISTICS, Target
from nst_tf.losses.terms import Objective
from nst_tf.tensors import Array, Features, Tensor


class Region(NamedTuple):
    """What a part of the picture is compared with.

    `share` is its part of the picture's area, in (0, 1]; `guides` holds w [1, h, w] of each layer, None for everywhere;
    `style` the blended A of each layer, `styles` each A_k alone.
    """

    share: float
    guides: dict[str, Tensor | None]
    style: dict[str, Target]
    styles: dict[int, dict[str, Target]]


def measure_regions(objective: Objective, extract: Callable[[Tensor], Features], content: Tensor | None,
                    styles: Sequence[Tensor], style_blend: Sequence[float], areas: Sequence[Area],
                    sights: Mapping[str, Sight]) -> tuple[Region, ...]:
    """The region of each area.

    Args:
        content: [1, H, W, 3], for the shapes of its features, None without masks; styles: K pictures [1, H_k, W_k, 3].
        style_blend: K weights ≥ 0; in each area only their ratios count, of the styles that count there.
        sights: {layer: what its cells see}, of every style layer where there are masks.
    """
    statistic = STATISTICS[objective.statistic]
    layers = [layer for layer, _ in objective.style_layers]

    def guides(mask: Array | None, features: Features) -> dict[str, Tensor | None]:
        if mask is None:
            return dict.fromkeys(layers)
        return {layer: tf.constant(guide(mask, features[layer].shape[1:3], sights[layer])[np.newaxis])
                for layer in layers}

    means: list[dict[int, dict[str, Means]]] = [{} for _ in areas]
    for k, style in enumerate(styles):
        features = extract(style)
        for of_area, area in zip(means, areas, strict=True):
            if k in area.styles:
                w = guides(area.styles[k], features)
                of_area[k] = {layer: mean(statistic.measure(features[layer], w[layer])) for layer in layers}
    seen = {} if all(area.picture is None for area in areas) else extract(content)
    regions = []
    for of_area, area in zip(means, areas, strict=True):
        blend = [style_blend[k] for k in of_area]
        style = {layer: statistic.target([of_style[layer] for of_style in of_area.values()], blend) for layer in layers}
        alone = {k: {layer: statistic.target([of_style[layer]], (1.0,)) for layer in layers}
                 for k, of_style in of_area.items()}
        share = 1.0 if area.picture is None else float(np.mean(area.picture, dtype=np.float64))
        regions.append(Region(share, guides(area.picture, seen), style, alone))
    return tuple(regions)
