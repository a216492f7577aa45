"""Which channels a network answers to a photo with, the strongest first, as a flag file. No TensorFlow."""

from collections.abc import Mapping, Sequence

import numpy as np

from nst_tf.recipes.dream_plan import LayerAim

# So many of each layer are printed and make the direction.
STRONGEST = 10
ABOUT = ("# Mean activation of each channel on the photo, in units of its layer's mean.",
         "# A flag file: the strongest as a direction for another photo, by scripts/dream.py --flagfile=FILE")


def ranked(response: np.ndarray) -> list[tuple[int, float]]:
    """(channel, a_c / mean_c a_c) of every channel that responds, the strongest first.

    Args:
        response: a [C] ≥ 0, the mean activation of each channel.
    """
    order = np.argsort(-response, kind="stable")
    return [(int(channel), float(response[channel] / response.mean())) for channel in order if response[channel] > 0]


def summary(layer: str, response: np.ndarray) -> str:
    """The strongest channels of a layer in one line."""
    shown = ", ".join(f"{channel} ({share:.1f})" for channel, share in ranked(response)[:STRONGEST])
    return f"{layer}: {shown or 'no channel responds'}"


def listing(layers: Sequence[LayerAim], responses: Mapping[str, np.ndarray]) -> str:
    """Every channel of the layers, and as flags the direction that the strongest of each make with their shares."""
    table: list[str] = []
    direction: list[str] = []
    for layer in layers:
        name, channels = layer.facts.name, ranked(responses[layer.facts.name])
        table += [f"# {name}", *(f"# {channel:5d} {share:8.2f}" for channel, share in channels)]
        direction += [f"{name}:{channel}@{layer.weight * share:.4g}" for channel, share in channels[:STRONGEST]]
    flags = ["--objective=direction", f"--dream={','.join(direction)}"] if direction else []
    return "\n".join([*ABOUT, *flags, *table, ""])
