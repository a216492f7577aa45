"""A network with fewer channels: chosen on the pictures at hand, the removed ones folded into the next layer.

Let x be what a convolution reads, with mean μ and covariance S over all positions of the pictures, K the channels that
are kept and R the others. Without any training

    x_R ≈ μ_R + A (x_K − μ_K),    W x + b ≈ (W M) x_K + (b + Σ W (0, μ_R − A μ_K)),    M = [I; A]

with the sum over the cells of the kernel W. Both methods say K and A:

    qr                the first columns of a QR with column pivoting of the Cholesky factor of S are K;
                      A = S_RK (S_KK + ε mean(diag S_KK) I)⁻¹
    distinctiveness   a unit's vector is its x − μ at all positions. Of two units whose vectors enclose less than
                      ANGLE one is kept, of more than 180° − ANGLE none, and none of a unit that is nearly constant;
                      A_rk = S_rk / S_kk for the k that a removed r resembles, else 0

What is read is measured behind pools, which act on each channel alone. Where a border of zeros stands around a map, the
constant part does not hold there, and the few cells at the border are less exact.

Source: Gedeon and Harris 1991, "Network reduction techniques", for distinctiveness; pivoted QR with the compensation by
least squares is ours for convolutions.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor, convolutions
from nst_tf.grammar import Reduction
from nst_tf.tensors import Tensor

DAMPING = 1e-4    # ε; also the variance, relative to the layer's mean, below which a unit is nearly constant
MULTIPLE = 16     # numbers of channels that processors compute well with

Matrix = npt.NDArray[np.floating]
# {layer: the channels that it keeps}; a layer that is not among them keeps all.
Kept = Mapping[str, tuple[int, ...]]


class Moments(NamedTuple):
    """Mean [C] and covariance [C, C] of the channels of a map over its positions."""

    mean: Matrix
    covariance: Matrix


class Method(NamedTuple):
    """`choose(S, number)` → K; `express(S, K, number)` → A [all channels, K], whose rows of K are not read."""

    choose: Callable[[Matrix, float], list[int]]
    express: Callable[[Matrix, Sequence[int], float], Matrix]


def pivot_order(S: Matrix, count: int) -> list[int]:
    """The first `count` pivots of a Cholesky factorization of S: each time the largest variance that is left.

    They are those of a QR with column pivoting of a factor R with RᵀR = S.
    """
    rows, left, order = np.zeros((count, len(S))), np.diag(S).copy(), list[int]()
    for k in range(count):
        left[order] = -np.inf
        order.append(pivot := int(np.argmax(left)))
        rest = S[pivot] - rows[:k].T @ rows[:k, pivot]
        rows[k] = rest / np.sqrt(max(left[pivot], np.finfo(float).tiny))
        # Where all variance is told, what is left is rounding.
        if left[pivot] <= 1e-12 * S[pivot, pivot]:
            rows[k] = 0
        left = left - rows[k] ** 2
    return order


def choose_by_qr(S: Matrix, share: float) -> list[int]:
    """The pivots of a share of the channels: a multiple of 16, at least 16, at most all."""
    count = min(len(S), max(MULTIPLE, MULTIPLE * round(share * len(S) / MULTIPLE)))
    return sorted(pivot_order(S, count))


def express_by_least_squares(S: Matrix, kept: Sequence[int], _: float) -> Matrix:
    """A = S_·K (S_KK + ε mean(diag S_KK) I)⁻¹."""
    S_KK = S[np.ix_(kept, kept)]
    damping = DAMPING * np.mean(np.diag(S_KK)) or 1.0
    return np.linalg.solve(S_KK + damping * np.eye(len(kept)), S[kept]).T


def cosines(S: Matrix) -> Matrix:
    """Cosines of the angles between the vectors of all units; 0 beside one that is nearly constant."""
    variances = np.diag(S)
    varies = variances > DAMPING * variances.mean()
    scale = np.where(varies, np.sqrt(np.where(varies, variances, 1)), np.inf)
    return S / np.outer(scale, scale)


def choose_distinct(S: Matrix, angle: float) -> list[int]:
    """The units that are left, in order; a layer in which none is left keeps its first."""
    cosine, limit, kept = cosines(S), np.cos(np.deg2rad(angle)), list[int]()
    for unit in np.flatnonzero(np.diag(cosine)).tolist():
        if not np.any(cosine[unit, kept] > limit):
            kept.append(unit)
    for unit in tuple(kept):
        opposite = [other for other in kept if cosine[unit, other] < -limit]
        if unit in kept and opposite:
            kept.remove(unit)
            kept.remove(opposite[0])
    return kept or [0]


def express_by_survivor(S: Matrix, kept: Sequence[int], angle: float) -> Matrix:
    """A_rk = S_rk / S_kk for the kept unit k nearest to r, where their angle is less than `angle`; else 0."""
    # Differs from Gedeon and Harris 1991: their units are sigmoids of one range, so that weights are added as they are.
    near = cosines(S)[:, kept]
    survivor, A = near.argmax(axis=1), np.zeros(near.shape)
    merged = np.flatnonzero(near.max(axis=1) > np.cos(np.deg2rad(angle)))
    survivors = np.asarray(kept)[survivor[merged]]
    A[merged, survivor[merged]] = S[merged, survivors] / S[survivors, survivors]
    return A


METHODS: dict[str, Method] = {
    "qr": Method(choose_by_qr, express_by_least_squares),
    "distinctiveness": Method(choose_distinct, express_by_survivor)}


def fold(kernel: Matrix, bias: Matrix, moments: Moments, kept: Sequence[int], A: Matrix) -> tuple[Matrix, Matrix]:
    """Kernel [h, w, K, out] and bias [out] that read the kept channels alone, for [h, w, in, out] and [out]."""
    M = A.copy()
    M[kept] = np.eye(len(kept))
    constant = moments.mean - M @ moments.mean[list(kept)]
    return M.T @ kernel, bias + (constant @ kernel).sum(axis=(0, 1))


def measure_moments(extractor: Extractor, values: Sequence[Tensor], pictures: Sequence[Tensor],
                    whole: Collection[str]) -> dict[str, Moments]:
    """{convolution: the moments of what the next one reads of it}; of the last one, of what it gives.

    Args:
        extractor: a chain; values: of `extractor.own`.
        pictures: [1, H, W, 3]. Each counts as much as any other.
        whole: convolutions that are left out.
    """
    maps: dict[str, Tensor] = {}

    def record(operation: keras.Operation, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        y = operation(x, *args, **kwargs)
        if isinstance(operation, keras.layers.Conv2D):
            maps.update({name: x for name in list(maps)[-1:]})
            maps[operation.name] = y
        return y

    copy = keras.models.clone_model(extractor.model, clone_function=lambda layer: layer, call_function=record)
    recorder = keras.Model(copy.inputs[0], {name: x for name, x in maps.items() if name not in whole})
    with extractor.holding(values):
        of_pictures = [{name: _moments(x) for name, x in recorder(picture, training=False).items()}
                       for picture in pictures]
    return {name: _joined([each[name] for each in of_pictures]) for name in maps if name not in whole}


def _moments(x: Tensor) -> Moments:
    """Of one map [1, H, W, C]."""
    rows = tf.reshape(x, [-1, x.shape[-1]])
    mean = tf.reduce_mean(rows, axis=0)
    covariance = tf.matmul(rows - mean, rows - mean, transpose_a=True) / tf.cast(tf.shape(rows)[0], rows.dtype)
    return Moments(mean.numpy().astype(np.float64), covariance.numpy().astype(np.float64))


def _joined(moments: Sequence[Moments]) -> Moments:
    """Of several maps, each with the same share."""
    mean = np.mean([each.mean for each in moments], axis=0)
    return Moments(mean, np.mean([each.covariance + np.outer(each.mean - mean, each.mean - mean)
                                  for each in moments], axis=0))


def choose_channels(moments: Mapping[str, Moments], reduction: Reduction) -> dict[str, tuple[int, ...]]:
    """The channels that each layer keeps."""
    choose = METHODS[reduction.name].choose
    return {layer: tuple(choose(each.covariance, reduction.value)) for layer, each in moments.items()}


def folded_values(extractor: Extractor, values: Sequence[Tensor], moments: Mapping[str, Moments], kept: Kept,
                  reduction: Reduction) -> list[Matrix]:
    """Kernel and bias of each convolution of the reduced chain, in its order."""
    found: list[Matrix] = []
    before: tuple[Moments, Sequence[int], Matrix] | None = None
    for layer in convolutions(extractor.model):
        with extractor.holding(values):
            kernel: Matrix = np.asarray(layer.kernel.value, np.float64)
            bias: Matrix = np.asarray(layer.bias.value, np.float64)
        if before:
            kernel, bias = fold(kernel, bias, *before)
        channels = list(kept.get(layer.name, range(len(bias))))
        found += [kernel[..., channels], bias[channels]]
        before = None
        if layer.name in kept:
            S = moments[layer.name].covariance
            before = moments[layer.name], channels, METHODS[reduction.name].express(S, channels, reduction.value)
    return found


def thinned(extractor: Extractor, kept: Kept) -> Extractor:
    """The chain with so many filters in each convolution, whose values are `folded_values`."""
    def thin(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, keras.layers.Conv2D):
            return layer
        filters = len(kept[layer.name]) if layer.name in kept else layer.filters
        return type(layer).from_config(layer.get_config() | {"filters": filters})

    model = keras.models.clone_model(extractor.model, clone_function=thin)
    model.trainable = False
    return Extractor(model, extractor.mean_color, tuple(layer.name for layer in convolutions(model)))
