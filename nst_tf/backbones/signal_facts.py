"""Facts of the networks that listen to signals, along their one axis. No TensorFlow."""

import math
from collections.abc import Collection
from typing import NamedTuple

from nst_tf.backbones.architectures import LearnedLayer
from nst_tf.backbones.facts import Operation, trace

# Of the random bank: Ustyuzhaninov et al. 2017 take these widths for pictures.
WIDTHS = (3, 5, 7, 11, 15, 23, 37, 55)
FILTERS_PER_WIDTH = 32
# Layers of the bank; each reads the signal at half the rate of the one before.
SCALES = 10

# Wider kernels than those of pictures: a sample has two neighbors, a pixel has eight.
LEARNED_LAYERS = (
    LearnedLayer("conv1", kernel_px=15, filters=64, pool_before=False, components=15),
    LearnedLayer("conv2", kernel_px=9, filters=96, pool_before=True, components=200),
    LearnedLayer("conv3", kernel_px=9, filters=128, pool_before=True, components=256),
    LearnedLayer("conv4", kernel_px=9, filters=192, pool_before=True, components=256),
    LearnedLayer("conv5", kernel_px=9, filters=256, pool_before=True, components=384),
)
# On a spectrum, whose positions have hundreds of channels.
SPECTRAL_LAYERS = (
    LearnedLayer("conv1", kernel_px=3, filters=256, pool_before=False, components=256),
    *(layer._replace(kernel_px=5) for layer in LEARNED_LAYERS[1:]))

# On a waveform, the rate whose neighboring samples tell the shape of a heartbeat's waves.
SHAPE_HZ = 250.0
# Sound has a spectrum that people hear from this rate on; slower series have shapes.
SOUND_HZ = 4000.0
# The window of the spectrum: long enough to tell the notes of a low voice apart, short enough for their beginnings.
WINDOW_SECONDS = 0.05


class Hearing(NamedTuple):
    """What a network for signals is built from. `window` is that of the spectrum in samples; 0 on the waveform."""

    backbone: str
    window: int
    channels: int
    seed: int

    @property
    def hop(self) -> int:
        """Samples from one position of the network's input to the next."""
        return self.window // 4 or 1

    @property
    def inputs(self) -> int:
        """Channels of the network's input."""
        return self.channels * (self.window // 2 + 1 if self.window else 1)


def scale_name(halvings: int) -> str:
    """The layer of the random bank over the input that is halved so often."""
    return f"scale{halvings + 1}"


def envelope_name(halvings: int) -> str:
    """The strength |x| of the input, halved so often: where something happens, whatever it looks like."""
    return f"envelope{halvings + 1}"


def layer_names(backbone: str) -> list[str]:
    """The layers that a user may choose."""
    own = [layer.name for layer in LEARNED_LAYERS] if backbone == "kmeans" else [
        scale_name(halvings) for halvings in range(SCALES)]
    return [*own, *(envelope_name(halvings) for halvings in range(SCALES))]


def halvings_of(name: str) -> int:
    """How often the input of a layer is halved before it."""
    return int(name.lstrip("abcdefghijklmnopqrstuvwxyz")) - 1


def learned_layers(window: int) -> tuple[LearnedLayer, ...]:
    """The layers of k-means on the waveform (`window` 0) or on the spectrum."""
    return SPECTRAL_LAYERS if window else LEARNED_LAYERS


def operations(hearing: Hearing, layers: Collection[str]) -> tuple[Operation, ...]:
    """The operations of a network along its axis, as far as some layers need them."""
    window, margin = max(1, hearing.window), hearing.window // 2
    found = [Operation("_heard", window, hearing.hop, margin, hearing.inputs, "reflect" if margin else "zero")]
    deepest = {kind: max((halvings_of(name) for name in layers if name.startswith(kind)), default=-1)
               for kind in ("envelope", "scale", "conv")}
    for halvings in range(deepest["envelope"] + 1):
        name, before = envelope_name(halvings), envelope_name(halvings - 1)
        found.append(_halving(name, before, hearing.inputs) if halvings
                     else Operation(name, 1, 1, 0, hearing.inputs, inputs=("_heard",)))
    before = "_heard"
    for halvings in range(deepest["scale"] + 1):
        if halvings:
            found.append(_halving(f"_half{halvings}", before, hearing.inputs))
            before = found[-1].name
        found.append(Operation(scale_name(halvings), max(WIDTHS), 1, max(WIDTHS) // 2,
                               FILTERS_PER_WIDTH * len(WIDTHS), "reflect", (before,)))
    for layer in learned_layers(hearing.window)[:deepest["conv"] + 1]:
        if layer.pool_before:
            found.append(_halving(f"_before_{layer.name}", before, hearing.inputs))
            before = found[-1].name
        found.append(Operation(layer.name, layer.kernel_px, 1, layer.kernel_px // 2, layer.filters, "reflect",
                               (before,)))
        before = layer.name
    return tuple(found)


def _halving(name: str, before: str, channels: int) -> Operation:
    """A binomial pooling of three positions."""
    return Operation(name, 3, 2, 1, channels, "reflect", (before,))


def shortest(hearing: Hearing, layers: Collection[str]) -> int:
    """The least number of samples that reaches all these layers, whose edges are mirrored."""
    return max(layer.smallest_side_px for layer in trace(operations(hearing, layers)) if layer.name in layers)


def window_of(rate_hz: float) -> int:
    """The power of two next to `WINDOW_SECONDS`."""
    return 2 ** round(math.log2(max(16.0, WINDOW_SECONDS * rate_hz)))
