"""Smoothing: activations made less peaky before they are compared, for networks with residual paths.

Residual sums leave a few very large activations in deep layers; these dominate the Gram matrix, which then says little
of the style (Wang, Li, Vasconcelos 2021, "Rethinking and Improving the Robustness of Image Style Transfer").
"""

from collections.abc import Callable

import tensorflow as tf

from nst_tf.grammar import LayerWeight, Smoothing
from nst_tf.losses.moments import Moments, mean, total_weight
from nst_tf.losses.objective import DEFAULT_WEIGHTS, Objective
from nst_tf.losses.term import Tiled, View, sum_of_squares
from nst_tf.tensors import Features, Tensor, at_least_float32

Extract = Callable[[Tensor], Features]


def softmax(F: Tensor, temperature: float) -> Tensor:
    """σ(F)_pc = exp(F_pc / T) / Σ_k exp(F_pk / T): at each position the channels share 1.

    Args:
        F: features [B, *space, C], divided by their scale.
        temperature: T > 0; the larger, the smoother.
    Returns:
        [B, *space, C] in (0, 1).
    """
    # Differs from Wang et al. 2021, who share 1 over all positions too: a tile or another picture would change every
    # value then, and moments would not add.
    return tf.nn.softmax(F / temperature, axis=-1)


def measure_scales(smoothing: Smoothing, extract: Extract, content: Tensor, layers: tuple[str, ...],
                   tiled: Tiled | None = None) -> Features:
    """The root mean square of each layer that `softmax` is applied to, measured on the content [1, H, W, 3].

    It makes T a number without unit, which means the same in every network; empty for `none`.

    Args:
        tiled: how a content is measured that is too large for its features.
    """
    # Differs from Wang et al. 2021, whose T is in units of the activations.
    if smoothing.name != "softmax" or not layers:
        return {}
    if tiled:
        nothing = Objective((), (), DEFAULT_WEIGHTS["relative"], "relative", "gram")
        sums = tiled.sums(content, nothing._replace(content_layers=tuple(LayerWeight(layer, 1.0) for layer in layers)),
                          _measure_squares, lambda cells: ())
        return {layer: tf.maximum(tf.sqrt(mean(of_layer)[0][0]), 1e-12) for layer, of_layer in sums.items()}
    features = extract(content)
    return {layer: tf.maximum(tf.sqrt(tf.reduce_mean(tf.square(features[layer]))), 1e-12) for layer in layers}


def _measure_squares(objective: Objective, view: View, fixed: tuple[()]) -> dict[str, Moments]:
    """Σ_p w_p ‖F_p‖² / C, [B], and Σ_p w_p of each layer."""
    found = {}
    for layer, _ in objective.content_layers:
        F, w = at_least_float32(view.features(layer)), view.weights(layer)
        found[layer] = Moments((sum_of_squares(F, w) / F.shape[-1],), total_weight(F, w))
    return found


def smoothed(smoothing: Smoothing, extract: Extract, scales: Features, layers: tuple[str, ...]) -> Extract:
    """`extract` with `layers` smoothed, the others as they are."""
    if not layers or smoothing.name == "none":
        return extract

    def extract_smoothed(image: Tensor) -> Features:
        features = dict(extract(image))
        for layer in layers:
            features[layer] = softmax(at_least_float32(features[layer]) / scales[layer], smoothing.value)
        return features

    return extract_smoothed
