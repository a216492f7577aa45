"""Networks that listen: filters of k-means or at random over a signal [B, T, C], on the waveform or on its spectrum.

`kmeans` is the network of pictures along one axis: its filters are cluster centers of whitened patches of the signals
at hand, layer after layer. `random` is a bank of filters of many widths on dyadic copies of the signal.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.kmeans import draw_patches, learn_filters
from nst_tf.backbones.signal_facts import (
    FILTERS_PER_WIDTH, WIDTHS, Hearing, envelope_name, halvings_of, learned_layers, scale_name,
)
from nst_tf.tensors import Array, Features, Tensor, blur, fork, mirrored

PATCHES_PER_LAYER = 20_000
# A tone of the signal's own level has log(1 + this).
LOUDNESS = 100.0
# What keeps the gradients of roots finite: 80 dB below that level.
SMALLEST_POWER = 1e-8

Values = Sequence[Tensor]  # kernel [width, C, filters] and bias [filters], one pair after another


def spectrum(x: Tensor, window: int) -> Tensor:
    """log(1 + a |X|) of the short-time Fourier transform X, frequencies as channels.

    A tone of amplitude 1 has |X| = 1. The gradient goes through the transform to the waveform, whose phase is its own:
    nothing has to be inverted.

    Args:
        x: [B, T, C]; its edges are mirrored.
        window: samples of a Hann window, a power of 2, ≤ 2 T − 2. Windows begin at every quarter of it.
    Returns:
        [B, 1 + ⌊T / hop⌋, C · (window / 2 + 1)].
    Source: Ulyanov and Lebedev 2016 take log(1 + |X|) with frequencies as channels; Mital 2017 optimizes the waveform.
    """
    waves = tf.transpose(mirrored(x, window // 2), [0, 2, 1])
    X = tf.signal.stft(waves, window, window // 4) * (4.0 / window)
    power = tf.square(tf.math.real(X)) + tf.square(tf.math.imag(X))
    loudness = tf.math.log1p(LOUDNESS * tf.sqrt(power + SMALLEST_POWER))
    return tf.reshape(tf.transpose(loudness, [0, 2, 1, 3]),
                      [x.shape[0], loudness.shape[2], x.shape[-1] * (window // 2 + 1)])


def halved(x: Tensor) -> Tensor:
    """[B, T, C] → [B, ⌈T/2⌉, C] by a binomial pooling, edges mirrored."""
    return blur(x)[:, ::2]


def convolved(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """ReLU(kernel ∗ x + bias), as long as x, edges mirrored."""
    return tf.nn.relu(tf.nn.conv1d(mirrored(x, kernel.shape[0] // 2), kernel, 1, "VALID") + bias)


class SignalNetwork(NamedTuple):
    """A network for signals; `native(x, values)` is {layer: features} of standardized signals [B, T, C]."""

    hearing: Hearing
    layers: tuple[str, ...]

    def heard(self, x: Tensor) -> Tensor:
        """The input of the filters: the signal, or its spectrum."""
        return spectrum(x, self.hearing.window) if self.hearing.window else x

    def native(self, x: Tensor, values: Values) -> Features:
        """The features of some signals, by the filters that `fit` returned."""
        heard = self.heard(x)
        own = [name for name in self.layers if not name.startswith("envelope")]
        heard, to_envelopes = fork(heard)
        features = BANKS[self.hearing.backbone].extract(self.hearing, own, heard, values) if own else {}
        return {**features, **_envelopes([name for name in self.layers if name not in own], to_envelopes)}

    def fit(self, signals: Sequence[Array]) -> tuple[Tensor, ...]:
        """The filters for the signals of a job, each [T, C]."""
        own = [name for name in self.layers if not name.startswith("envelope")]
        values = BANKS[self.hearing.backbone].fit(self.hearing, own, lambda: [
            self.heard(tf.constant(signal[np.newaxis])) for signal in signals])
        return tuple(map(tf.constant, values))


class Bank(NamedTuple):
    """A row of the table of backbones for signals.

    `fit(hearing, layers, inputs) -> values` of all filters up to the deepest layer; `inputs()` are those of the signals
    at hand. `extract(hearing, layers, input, values) -> {layer: features}`.
    """

    fit: Callable[[Hearing, Collection[str], Callable[[], list[Tensor]]], list[Array]]
    extract: Callable[[Hearing, Collection[str], Tensor, Values], Features]


def _envelopes(layers: Collection[str], x: Tensor) -> Features:
    features: dict[str, Tensor] = {}
    strength = tf.sqrt(tf.square(x) + SMALLEST_POWER)
    for halvings in range(max(map(halvings_of, layers), default=-1) + 1):
        strength = halved(strength) if halvings else strength
        if envelope_name(halvings) in layers:
            strength, features[envelope_name(halvings)] = fork(strength)
    return features


def _random_filters(hearing: Hearing, layers: Collection[str], _: Callable[[], list[Tensor]]) -> list[Array]:
    """Normal kernels of variance 2 / fan-in (He et al. 2015), zero biases; the same for each seed on every machine."""
    values: list[Array] = []
    for name in sorted(layers, key=halvings_of):
        rng = np.random.default_rng((hearing.seed, halvings_of(name)))
        for width in WIDTHS:
            shape = (width, hearing.inputs, FILTERS_PER_WIDTH)
            values += [rng.normal(0.0, np.sqrt(2.0 / (width * hearing.inputs)), shape).astype(np.float32),
                       np.zeros(FILTERS_PER_WIDTH, np.float32)]
    return values


def _random_features(_: Hearing, layers: Collection[str], x: Tensor, values: Values) -> Features:
    """The responses of filters of all widths to dyadic copies of x: long shapes cost no more than short ones."""
    features, pairs = {}, list(zip(values[::2], values[1::2], strict=True))
    for halvings in range(max(map(halvings_of, layers)) + 1):
        x = halved(x) if halvings else x
        if scale_name(halvings) in layers:
            responses = []
            for kernel, bias in pairs[:len(WIDTHS)]:
                x, copy = fork(x)
                responses.append(convolved(copy, kernel, bias))
            features[scale_name(halvings)] = tf.concat(responses, -1)
            pairs = pairs[len(WIDTHS):]
    return features


def _learned_filters(hearing: Hearing, layers: Collection[str], inputs: Callable[[], list[Tensor]]) -> list[Array]:
    """Cluster centers of whitened patches of all signals, layer after layer; see `kmeans.learn`."""
    rng, features, values = np.random.default_rng(hearing.seed), inputs(), list[Array]()
    recipe = learned_layers(hearing.window)[:max(map(halvings_of, layers)) + 1]
    for layer in recipe:
        features = [halved(x) for x in features] if layer.pool_before else features
        patches = [draw_patches(x.numpy()[0], layer.kernel_px, PATCHES_PER_LAYER // len(features), rng)
                   for x in features]
        filters = learn_filters(np.concatenate(patches), layer, rng, axes=1)
        values += filters
        features = [convolved(x, *filters) for x in features] if layer is not recipe[-1] else []
    return values


def _learned_features(hearing: Hearing, layers: Collection[str], x: Tensor, values: Values) -> Features:
    features: dict[str, Tensor] = {}
    for layer, kernel, bias in zip(learned_layers(hearing.window), values[::2], values[1::2]):
        x = convolved(halved(x) if layer.pool_before else x, kernel, bias)
        if layer.name in layers:
            x, features[layer.name] = fork(x)
    return features


BANKS: dict[str, Bank] = {
    "random": Bank(_random_filters, _random_features),
    "kmeans": Bank(_learned_filters, _learned_features),
}
