"""The units that a run dreams of: asked for by rank, chosen by what the content and the styles make them do."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nst_tf.grammar import Channels, LayerChannels
from nst_tf.losses.dream import Activations, activation, choose
from nst_tf.losses.objective import Objective
from nst_tf.tensors import Tensor


def channel_weights(asked: Sequence[LayerChannels], used: Activations) -> dict[int, float]:
    """{channel: weight} of one layer; weights of channels that are asked for twice add.

    Args:
        used: [C] ≥ 0, how much each channel responds to the photo.
    Raises:
        UserError: the layer has not the channels, or not as many that respond.
    """
    weights: dict[int, float] = {}
    for layer, channels, weight in asked:
        assert channels is not None, "whole layers are not asked for by channels"
        for channel in choose(channels, used, f"--dream={layer}:{channels.written()}"):
            weights[channel] = weights.get(channel, 0.0) + weight
    return weights


def with_units(objective: Objective, extract: Callable[[Tensor], Mapping[str, Tensor]],
               pictures: Sequence[Tensor]) -> Objective:
    """The objective with the channels of its dream layers by index.

    A unit is used as much as the picture that it responds to most makes it respond: one that a single style needs is
    not unused. A function of network and pictures alone, so that a run that is repeated dreams of the same units.

    Args:
        extract: picture → {layer: features}, those that the dream term reads.
        pictures: the content and the styles at the size of the last stage, [1, H, W, 3] each.
    Raises:
        UserError: the layer has not the channels, or not as many that respond.
    """
    if not objective.weights.dream:
        return objective
    features = [extract(picture) for picture in pictures]

    def chosen(layer: str, channels: Channels) -> Channels:
        used = np.max([activation(of_picture[layer]) for of_picture in features], axis=0)
        return Channels("index", choose(channels, used, f"--dream={layer}:{channels.written()}"))

    return objective._replace(dream_layers=tuple(
        layer._replace(channels=chosen(layer.layer, layer.channels)) for layer in objective.dream_layers))
