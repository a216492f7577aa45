"""What signals need beside pictures: the rhythm, the spectrum, banks of filters, levels."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.kmeans import draw_patches
from nst_tf.backbones.signal_facts import Hearing, layer_names, shortest, window_of
from nst_tf.backbones.signal_networks import SignalNetwork, halved, spectrum
from nst_tf.grammar import LayerWeight
from nst_tf.losses.evaluation import measure_targets
from nst_tf.losses.objective import Objective, TermWeights
from nst_tf.losses.rhythm import autocorrelation, measure_rhythm, rhythm
from nst_tf.losses.term import add
from nst_tf.optimize.step import whole
from nst_tf.recipes.signal.levels import level_of, on_canvas, restored, standardized, standardized_rows
from nst_tf.recipes.signal.steps import _evaluated, standardized_tensor
from nst_tf.recipes.signal.tiled import LongSignal
from nst_tf.tensors import Tensor


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def _directional(function, x: Tensor) -> tuple[float, float]:
    """The derivative along a random direction, by the tape and by differences."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    direction = _random(*x.shape, seed=9)
    step = 1e-6 * direction
    by_tape = float(tf.reduce_sum(tape.gradient(value, x) * direction))
    return by_tape, float((function(x + step) - function(x - step)) / 2e-6)


def test_the_autocorrelation_equals_numpy() -> None:
    F = _random(2, 40, 3) + 1
    r = autocorrelation(measure_rhythm(tf.constant(F), 9)).numpy()
    mean = F.mean(1, keepdims=True)
    c = np.stack([(F[:, :40 - lag] * F[:, lag:]).sum((1, 2)) / (40 - lag) - (mean ** 2).sum((1, 2))
                  for lag in range(10)], 1)
    np.testing.assert_allclose(r, c / c[:, :1], atol=1e-10)


def test_rhythm_is_that_of_what_repeats_whatever_its_strength() -> None:
    beat, other = np.arange(200) % 20 == 0, np.arange(200) % 33 == 0
    one, louder, raised, slower = (
        autocorrelation(measure_rhythm(tf.constant(x, tf.float64)[tf.newaxis, :, tf.newaxis], 60))
        for x in (beat, 3.0 * beat, beat + 0.5, other))
    distances = [float(rhythm(each, one)[0]) for each in (louder, raised, slower)]
    # The mean of a part of the signal is not that of all.
    assert distances[0] < 1e-12 and distances[1] < 0.05 and distances[2] > 0.5


def test_the_gradient_of_rhythm_equals_finite_differences() -> None:
    target = autocorrelation(measure_rhythm(tf.constant(_random(1, 30, 2, seed=1)), 8))
    by_tape, by_differences = _directional(
        lambda F: rhythm(autocorrelation(measure_rhythm(F, 8)), target)[0], tf.constant(_random(1, 30, 2)))
    assert by_tape == pytest.approx(by_differences, rel=1e-6)


def test_rhythm_adds_over_tiles_with_a_margin_behind() -> None:
    F, inside = tf.constant(_random(1, 50, 2)), np.zeros((1, 50))
    inside[:, :20] = 1
    first = measure_rhythm(F[:, :20 + 6], 6, tf.constant(inside[:, :26]))
    both = add(first, measure_rhythm(F[:, 20:], 6))
    for part, of_all in zip(both, measure_rhythm(F, 6), strict=True):
        np.testing.assert_allclose(part, of_all, atol=1e-10)


def test_the_gradient_of_standardized_signals_equals_finite_differences() -> None:
    weights = _random(2, 20, 3, seed=2)
    by_tape, by_differences = _directional(lambda x: tf.reduce_sum(standardized_tensor(x) ** 3 * weights),
                                           tf.constant(_random(2, 20, 3) * [1, 5, 0.2] + 4))
    assert by_tape == pytest.approx(by_differences, rel=1e-6)
    assert not np.any(standardized_tensor(tf.ones([1, 9, 2])))


def test_a_tone_stands_in_its_bin_of_the_spectrum() -> None:
    tone = np.sin(2 * np.pi * 8 / 64 * np.arange(640))[np.newaxis, :, np.newaxis]
    both = spectrum(tf.constant(np.concatenate([0 * tone, tone], -1), tf.float32), 64).numpy()
    assert both.shape == (1, 1 + 640 // 16, 2 * 33)
    middle = both[0, 20]
    assert middle[33:].argmax() == 8 and middle[33 + 8] == pytest.approx(np.log1p(100), rel=0.02)
    assert middle[:33].max() < 0.02


def test_the_gradient_through_the_spectrum_equals_finite_differences() -> None:
    target = _random(1, 1 + 96 // 4, 9, seed=3)
    by_tape, by_differences = _directional(
        lambda x: tf.reduce_sum((spectrum(x, 16) - target) ** 2), tf.constant(_random(1, 96, 1)))
    assert by_tape == pytest.approx(by_differences, rel=1e-5)


def test_patches_have_any_rank() -> None:
    line, rng = _random(30, 2), np.random.default_rng(4)
    patches = draw_patches(line, 5, 30, rng).reshape(-1, 5, 2)
    padded = np.pad(line, [(2, 2), (0, 0)], mode="reflect")
    windows = {tuple(padded[t:t + 5].ravel()) for t in range(30)}
    assert {tuple(patch.ravel()) for patch in patches} == windows


@pytest.mark.parametrize("backbone", ["random", "kmeans"])
@pytest.mark.parametrize("window", [0, 16])
def test_banks_have_the_layers_that_are_named(backbone: str, window: int) -> None:
    signals = [_random(900, 2, seed=seed).astype(np.float32) for seed in range(2)]
    layers = [name for name in layer_names(backbone) if name[-1] in "12"]
    network = SignalNetwork(Hearing(backbone, window, 2, 5), tuple(layers))
    values = network.fit(signals)
    features = network.native(tf.constant(signals[0][np.newaxis]), values)
    assert set(features) == set(layers)
    cells = 900 // 4 + 1 if window == 16 else 900
    for name, F in features.items():
        sides = [cells]
        for _ in range(int(name[-1]) - 1):
            sides.append(-(-sides[-1] // 2))
        assert F.shape[:2] == (1, sides[-1]) and np.isfinite(F).all() and F.numpy().min() >= 0
    again = network.fit(signals)
    assert all(np.array_equal(one, other) for one, other in zip(values, again, strict=True))


def test_the_shortest_signal_reaches_every_layer_and_no_shorter_one() -> None:
    for hearing, layers in ((Hearing("random", 0, 1, 0), ("scale3", "envelope2")),
                            (Hearing("kmeans", 0, 1, 0), ("conv3",)), (Hearing("random", 16, 1, 0), ("envelope1",))):
        network, needed = SignalNetwork(hearing, layers), shortest(hearing, layers)
        values = network.fit([_random(400, 1).astype(np.float32)])
        assert set(network.native(tf.zeros([1, needed, 1]), values)) == set(layers)


def test_halving_keeps_a_constant_and_the_last_sample() -> None:
    np.testing.assert_allclose(halved(tf.ones([1, 7, 2])), np.ones((1, 4, 2)))


def test_levels_come_back() -> None:
    values = (_random(500, 3) * [1, 40, 0] + [0, -7, 2]).astype(np.float32)
    level = level_of(values)
    np.testing.assert_allclose(restored(on_canvas(standardized(values), level), level), values, atol=2e-4)
    np.testing.assert_array_equal(standardized(values)[:, 2], 0)


def test_what_changes_slowly_is_taken_out_and_comes_back() -> None:
    t = np.arange(3000) / 250
    beats = (t % 1 < 0.05).astype(np.float32)
    wander = 3 * np.sin(2 * np.pi * 0.05 * t).astype(np.float32)
    values = (beats + wander)[:, np.newaxis]
    level, flat = level_of(values, 250), standardized(values, 250)
    assert np.corrcoef(flat[500:-500, 0], beats[500:-500])[0, 1] > 0.98 > 0.2 > np.corrcoef(values[:, 0], beats)[0, 1]
    np.testing.assert_allclose(restored(on_canvas(flat, level), level), values, atol=1e-4)


@pytest.mark.parametrize("hearing, style, tile", [
    pytest.param(Hearing("random", 0, 2, 0), ("scale1", "envelope3"), 300, marks=pytest.mark.slow),
    (Hearing("random", 16, 2, 0), ("envelope1",), 470),
    pytest.param(Hearing("kmeans", 0, 2, 0), ("conv2",), 260, marks=pytest.mark.slow)],
    ids=["waveform", "spectrum", "kmeans"])
def test_tiles_have_the_value_and_gradient_of_the_whole(hearing: Hearing, style: tuple[str, ...], tile: int) -> None:
    signals = [standardized(_random(size, 2, seed=size).astype(np.float32)) for size in (901, 700)]
    objective = Objective((LayerWeight("envelope2", 1.0),), tuple(LayerWeight(layer, 1.0) for layer in style),
                          TermWeights(0.1, 1.0, 0.2), "relative", "covariance")
    network = SignalNetwork(hearing, objective.layers())
    values, x = network.fit(signals), 0.5 + 0.1 * _random(1, 901, 2, seed=5).astype(np.float32)
    first, other = (tf.constant(signal[np.newaxis]) for signal in signals)
    targets = measure_targets(objective, lambda z: network.native(z, values), first, [other], [1.0]).targets
    expected = whole(partial(_evaluated, objective, network))(tf.constant(x), tf.zeros([1]), (values, targets))
    tiles = LongSignal(objective, network, 901, tile)
    pictures, _ = tiles.measure(standardized_rows(signals[0], level_of(signals[0])), signals[1:], [1.0], values)
    found = tiles(x, tf.zeros([1]), pictures)
    assert float(found.J) == pytest.approx(float(expected.J), rel=1e-4)
    scale = np.abs(expected.gradient).max()
    np.testing.assert_allclose(found.gradient / scale, expected.gradient / scale, atol=2e-4)


def test_the_window_is_a_power_of_two() -> None:
    assert [window_of(rate) for rate in (8000, 22050, 44100, 96000, 100)] == [512, 1024, 2048, 4096, 16]
