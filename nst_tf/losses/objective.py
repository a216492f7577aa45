"""The objective: weighted terms over layers, J = α · content + β · style + γ · smoothness, always minimized."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.fork import fork
from nst_tf.losses.content import CONTENT_DISTANCES
from nst_tf.losses.smoothness import smoothness
from nst_tf.losses.statistics import STATISTICS, blend, mean
from nst_tf.losses.style import STYLE_DISTANCES
from nst_tf.losses.terms import Objective, layer_shares

Tensor = Any
Features = Mapping[str, Tensor]


class Targets(NamedTuple):
    """What the picture is compared with: C of each content layer, the blended A of each style layer, each A_k."""

    content: dict[str, Tensor]
    style: dict[str, Tensor]
    styles: tuple[dict[str, Tensor], ...]


def measure_targets(objective: Objective, extract: Callable[[Tensor], Features], content: Tensor | None,
                    styles: Sequence[Tensor], style_blend: Sequence[float]) -> Targets:
    """The targets of one stage.

    Args:
        extract: picture [1, H, W, 3] → {layer: features}.
        content: [1, H, W, 3], None where it does not count; styles: K pictures [1, H_k, W_k, 3] of any sizes.
        style_blend: K weights ≥ 0, not all zero; only their ratios count.
    """
    measure = STATISTICS[objective.statistic].measure
    moments = []
    for style in styles if objective.weights.style else ():
        features = extract(style)
        moments.append({layer: mean(measure(features[layer])) for layer, _ in objective.style_layers})
    blended = {layer: blend([moment[layer] for moment in moments], style_blend)
               for layer, _ in objective.style_layers if moments}
    return Targets(measure_content(objective, extract, content), blended, tuple(moments))


def measure_content(objective: Objective, extract: Callable[[Tensor], Features],
                    content: Tensor | None) -> dict[str, Tensor]:
    """C of each content layer of [1, H, W, 3]; nothing where content does not count."""
    if not objective.weights.content:
        return {}
    features = extract(content)
    return {layer: features[layer] for layer, _ in objective.content_layers}


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
    weights = [getattr(objective.weights, name) for name in terms]
    losses = {"loss/total": _weighted_sum(list(terms.values()), weights)}
    return losses | {f"loss/{name}": value for name, value in terms.items()} | parts


def _content(objective: Objective, targets: Targets, features: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    distance = CONTENT_DISTANCES[objective.normalization]
    parts = {f"content/{layer}": distance(_read(features, layer), targets.content[layer])
             for layer, _ in objective.content_layers}
    return _weighted_sum(list(parts.values()), layer_shares(objective.content_layers, objective.normalization)), parts


def _style(objective: Objective, targets: Targets, features: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    distance = STYLE_DISTANCES[objective.normalization]
    measure = STATISTICS[objective.statistic].measure
    moments = {layer: mean(measure(_read(features, layer))) for layer, _ in objective.style_layers}
    blended = [distance(moments[layer], targets.style[layer]) for layer in moments]
    parts = {f"style/{k}/{layer}": distance(tf.stop_gradient(moments[layer]), style[layer])
             for k, style in enumerate(targets.styles) for layer in moments}
    return _weighted_sum(blended, layer_shares(objective.style_layers, objective.normalization)), parts


def _read(features: dict[str, Tensor], layer: str) -> Tensor:
    """One copy of a layer's features for one reader; `features` keeps the other (see `fork`)."""
    features[layer], copy = fork(features[layer])
    return copy


def _weighted_sum(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ w_i v_i as one reduction, whose order does not depend on timing."""
    return tf.reduce_sum(tf.stack(values) * tf.constant(weights, values[0].dtype))
