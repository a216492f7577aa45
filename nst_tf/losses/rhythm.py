"""Rhythm: how features repeat over time, as the autocorrelation of a signal's features, whatever their strength."""

from typing import NamedTuple

import tensorflow as tf

from nst_tf.losses.objective import Objective
from nst_tf.losses.term import Losses, Source, Term, TermTargets, View, weighted_sum
from nst_tf.tensors import Tensor, fork


class RhythmSums(NamedTuple):
    """Σ_t w_t F_t · F_{t+l} and how many products it has, [B, L + 1]; Σ_t w_t F_t and its count, [B, C] and [B]."""

    products: Tensor
    pairs: Tensor
    features: Tensor
    count: Tensor


def measure_rhythm(F: Tensor, lags: int, weights: Tensor | None = None) -> RhythmSums:
    """The sums that an autocorrelation is made of; they add over tiles that have a margin of `lags` behind them.

    Args:
        F: features [B, T, C].
        lags: L, less than T.
        weights: w, 0 or 1 for each position, [1 or B, T]; all 1 when left out.
    """
    w = tf.ones_like(F[..., 0]) if weights is None else weights + tf.zeros_like(F[..., 0])
    to_sum, to_products = fork(F)
    counted = to_sum * w[..., tf.newaxis]
    to_sum, counted = fork(counted)
    return RhythmSums(_products(counted, to_products, lags),
                      _products(w[..., tf.newaxis], tf.ones_like(w)[..., tf.newaxis], lags),
                      tf.reduce_sum(to_sum, axis=1), tf.reduce_sum(w, axis=1))


def _products(first: Tensor, second: Tensor, lags: int) -> Tensor:
    """Σ_t first_t · second_{t+l} for l = 0 … lags, by the Fourier transform of both with as many zeros behind."""
    length = first.shape[1] + lags
    spectra = [tf.signal.rfft(tf.transpose(x, [0, 2, 1]), [length]) for x in (first, second)]
    power = tf.reduce_sum(tf.math.conj(spectra[0]) * spectra[1], axis=1)
    return tf.signal.irfft(power, [length])[:, :lags + 1]


def autocorrelation(sums: RhythmSums) -> Tensor:
    """r_l = c_l / c_0, c_l the mean of F_t · F_{t+l} without that of F: [B, L + 1], 1 for l = 0."""
    mean = sums.features / tf.maximum(sums.count, 1.0)[:, tf.newaxis]
    level = tf.reduce_sum(tf.square(mean), axis=1, keepdims=True)
    covariance = sums.products / tf.maximum(sums.pairs, 1.0) - level
    return covariance / tf.maximum(covariance[:, :1], 1e-12)


def rhythm(r: Tensor, r_A: Tensor) -> Tensor:
    """Σ_l (r_l − a_l)² / Σ_l a_l² over the lags l ≥ 1, [B]: 0 for equal rhythms.

    Source: Antognini, Hoffman, Weiss 2019, "Audio texture synthesis with random neural networks", section 3.2.
    """
    # Differs from Antognini et al. 2019: of all features together and without their mean and strength, so that another
    # timbre can have the same rhythm.
    return (tf.reduce_sum(tf.square(r - r_A)[:, 1:], axis=1)
            / tf.maximum(tf.reduce_sum(tf.square(r_A)[:, 1:], axis=1), 1e-12))


def _measure(objective: Objective, view: View, fixed: tuple[()]) -> dict[str, RhythmSums]:
    return {each.layer: measure_rhythm(view.features(each.layer), each.lags, view.weights(each.layer))
            for each in objective.rhythm_layers}


def _targets(objective: Objective, source: Source) -> TermTargets:
    """The autocorrelation of the content; without one, the blend of those of the styles."""
    pictures, blend = ([source.content], [1.0]) if source.content is not None else (source.styles, source.blend)
    alone = objective._replace(content_layers=(), style_layers=())
    parts = [{layer: autocorrelation(sums) for layer, sums in
              source.sums(picture, alone, _measure, lambda cells: ()).items()} for picture in pictures]
    total = sum(blend)
    return TermTargets(target={layer: sum(weight / total * of_one[layer] for weight, of_one in zip(blend, parts))
                               for layer in parts[0]})


def _compare(objective: Objective, sums: dict[str, RhythmSums], target: dict[str, Tensor]) -> tuple[Tensor, Losses]:
    parts = {f"rhythm/{layer}": rhythm(autocorrelation(sums[layer]), target[layer]) for layer in sums}
    return weighted_sum(list(parts.values()), tf.fill([len(parts)], 1.0 / len(parts))), parts


RHYTHM = Term(_measure, _compare, _targets)
