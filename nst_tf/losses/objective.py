"""The objective: weighted terms over layers, α · content + β · style + γ · smoothness + δ · dream, always minimized."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.grammar import LayerWeight
from nst_tf.losses.content import CONTENT_DISTANCES
from nst_tf.losses.dream import activation, dream, reference
from nst_tf.losses.guides import Area, Sight
from nst_tf.losses.moments import Means, mean
from nst_tf.losses.regions import Region, measure_regions
from nst_tf.losses.smoothness import smoothness
from nst_tf.losses.statistics import STATISTICS
from nst_tf.losses.style import STYLE_DISTANCES
from nst_tf.losses.terms import Objective, layer_shares
from nst_tf.tensors import Features, Tensor, fork


class Targets(NamedTuple):
    """What the picture is compared with: C of each content layer, and the regions, each with styles of its own.

    Without masks there is one region, the whole picture; none where style does not count. `dream` holds ā of each dream
    layer.
    """

    content: dict[str, Tensor]
    regions: tuple[Region, ...]
    dream: dict[str, Tensor]


def measure_targets(objective: Objective, extract: Callable[[Tensor], Features], content: Tensor | None,
                    styles: Sequence[Tensor], style_blend: Sequence[float], areas: Sequence[Area] = (),
                    sights: Mapping[str, Sight] | None = None) -> Targets:
    """The targets of one stage.

    Args:
        extract: picture [1, H, W, 3] → {layer: features}.
        content: [1, H, W, 3], None where it does not count; styles: K pictures [1, H_k, W_k, 3] of any sizes.
        style_blend: K weights ≥ 0, not all zero; only their ratios count.
        areas: where the regions lie; the whole picture has every style when left out.
        sights: {layer: what its cells see}; needed where there are areas.
    """
    regions: tuple[Region, ...] = ()
    if objective.weights.style and styles:
        areas = areas or [Area(None, dict.fromkeys(range(len(styles))))]
        regions = measure_regions(objective, extract, content, styles, style_blend, areas, sights or {})
    dreamt = measure_dream(objective, extract, [*([] if content is None else [content]), *styles])
    return Targets(measure_content(objective, extract, content), regions, dreamt)


def measure_content(objective: Objective, extract: Callable[[Tensor], Features],
                    content: Tensor | None) -> dict[str, Tensor]:
    """C of each content layer of [1, H, W, 3]; nothing where content does not count."""
    if not objective.weights.content:
        return {}
    features = extract(content)
    return {layer: features[layer] for layer, _ in objective.content_layers}


def measure_dream(objective: Objective, extract: Callable[[Tensor], Features],
                  pictures: Sequence[Tensor]) -> dict[str, Tensor]:
    """ā of each dream layer over pictures [1, H_k, W_k, 3]; nothing where dreams do not count."""
    if not objective.weights.dream:
        return {}
    features = [extract(picture) for picture in pictures]
    return {layer: reference([activation(of_picture[layer]) for of_picture in features])
            for layer, _, _ in objective.dream_layers}


def evaluate(objective: Objective, targets: Targets, extract: Callable[[Tensor], Features],
             image: Tensor) -> dict[str, Tensor]:
    """All losses of one picture, under their TensorBoard tags; `loss/total` is J.

    `style/<k>/<layer>` is the distance to style k alone, for reading; `loss/style` uses the blend. A term of weight 0
    is neither computed nor listed.
    """
    to_network, to_smoothness = fork(image)
    features = dict(extract(to_network))
    terms, parts = {}, {}
    if objective.weights.content:
        terms["content"], content_parts = _content(objective, targets, features)
        parts.update(content_parts)
    if objective.weights.style:
        terms["style"], style_parts = _style(objective, targets, features)
        parts.update(style_parts)
    if objective.weights.smoothness:
        terms["smoothness"] = smoothness(to_smoothness)
    if objective.weights.dream:
        terms["dream"], dream_parts = _dream(objective, targets, features)
        parts.update(dream_parts)
    weights = [getattr(objective.weights, name) for name in terms]
    losses = {"loss/total": _weighted_sum(list(terms.values()), weights)}
    return losses | {f"loss/{name}": value for name, value in terms.items()} | parts


def _content(objective: Objective, targets: Targets, features: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    distance = CONTENT_DISTANCES[objective.normalization]
    parts = {f"content/{layer}": distance(_read(features, layer), targets.content[layer])
             for layer, _ in objective.content_layers}
    return _weighted_sum(list(parts.values()), layer_shares(objective.content_layers, objective.normalization)), parts


def _style(objective: Objective, targets: Targets, features: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Σ_r share_r Σ_l λ_l d(G_rl, A_rl), and the distance to each style alone over the regions that have it.

    What has no style counts 0, so that in a region style weighs against content and smoothness as it does in a whole
    picture.
    """
    shares = layer_shares(objective.style_layers, objective.normalization)
    terms: list[Tensor] = []
    alone: dict[str, list[tuple[float, Tensor]]] = {}
    for region in targets.regions:
        blended, of_styles = _region(objective, region, features)
        terms.append(_weighted_sum(blended, shares))
        for tag, value in of_styles.items():
            alone.setdefault(tag, []).append((region.share, value))
    parts = {tag: _mean([value for _, value in pairs], [share for share, _ in pairs]) for tag, pairs in alone.items()}
    return _weighted_sum(terms, [region.share for region in targets.regions]), parts


def _region(objective: Objective, region: Region,
            features: dict[str, Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
    """d(G_l, A_l) of each style layer in one region, and the distances to each of its styles alone by tag."""
    statistic = STATISTICS[objective.statistic]
    # The published cost functions are of Gram matrices; `relative` is each statistic's own.
    distance = (statistic.distance if objective.normalization == "relative"
                else STYLE_DISTANCES[objective.normalization])
    means = {layer: mean(statistic.measure(_read(features, layer), region.guides[layer]))
             for layer, _ in objective.style_layers}
    blended = {layer: distance(means[layer], region.style[layer]) for layer in means}

    def to_one(style: dict[str, Any], layer: str) -> Tensor:
        return blended[layer] if len(region.styles) == 1 else distance(_stopped(means[layer]), style[layer])

    return list(blended.values()), {f"style/{k}/{layer}": to_one(style, layer)
                                    for k, style in region.styles.items() for layer in means}


def _dream(objective: Objective, targets: Targets, features: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The same without unit in every normalization: its layer weights are divided by their sum."""
    layers = objective.dream_layers
    parts = {f"dream/{layer}": dream(_read(features, layer), channels.indices, targets.dream[layer])
             for layer, channels, _ in layers}
    shares = layer_shares([LayerWeight(layer, weight) for layer, _, weight in layers], "relative")
    return _weighted_sum(list(parts.values()), shares), parts


def _stopped(means: Means) -> Means:
    return tuple(tf.stop_gradient(value) for value in means)


def _read(features: dict[str, Tensor], layer: str) -> Tensor:
    """One copy of a layer's features for one reader; `features` keeps the other (see `fork`)."""
    features[layer], copy = fork(features[layer])
    return copy


def _weighted_sum(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ w_i v_i as one reduction, whose order does not depend on timing."""
    return tf.reduce_sum(tf.stack(values) * tf.constant(weights, values[0].dtype))


def _mean(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ w_i v_i / Σ w_i."""
    return _weighted_sum(values, [weight / sum(weights) for weight in weights])
