"""What of a layer is called its style: the table of statistics, each a way to measure, to aim and to compare.

G are the moments of the picture for each position, A those of the style, both tuples of tensors. A style is its Gram
matrix; or the mean μ and the spread of its features: by channel (σ), as covariance Σ, and as a Gaussian N(μ, Σ); or
their distribution (`histogram`). Moments are blended before anything is centered. Distances of the table have no unit;
`gatys` and `ng`, of one Gram matrix, are those that were published.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from nst_tf.losses.histogram import histogram, measure_histogram, target_histogram
from nst_tf.losses.moments import (
    Means, Moments, Samples, blend, measure_gram, measure_mean_and_gram, measure_mean_and_squares,
)
from nst_tf.losses.term import sum_of_squares
from nst_tf.tensors import Tensor, fork, with_gradient

# Roots of eigenvalues are right from here on, as a share of ‖K‖_F^½; smaller ones come out too small, never too large.
SMALLEST_ROOT = 3e-4
ITERATIONS = 12
# Share of the style's mean square that is added to every variance: at σ = 0 the gradient of σ would be infinite.
VARIANCE_FLOOR = 1e-5
# Share of ‖Σ_A‖_F that is added to the diagonals of Σ and Σ_A: its square, relative to ‖Σ_A^½ Σ Σ_A^½‖_F, is about the
# smallest eigenvalue that float32 keeps.
COVARIANCE_FLOOR = 3e-4


def relative(G: Means, A: Means) -> Tensor:
    """‖G − A‖²_F / ‖A‖²_F over all moments: without unit, so that one weight holds for every backbone and size.

    Returns:
        [B], ≥ 0; 0 for equal moments, 1 for G = 0.
    """
    # Differs from Gatys et al. 2016: divided by the target's own energy.
    return squared_distance(G, A) / tf.maximum(sum(sum_of_squares(a) for a in A), 1e-12)


def gatys(G: Means, A: Means) -> Tensor:
    """‖G − A‖²_F / (4 N²), [B] (Gatys, Ecker, Bethge 2016, eq. 4)."""
    # Differs from Gatys et al. 2016: their 1/(4 N² M²) holds for raw Gram matrices of M positions on both sides; with
    # each divided by its own number of positions, picture and style may differ in size. Equal where M is equal.
    return squared_distance(G, A) / (4.0 * float(A[0].shape[-1]) ** 2)


def ng(G: Means, A: Means) -> Tensor:
    """‖G − A‖²_F / (2 n_C)², [B] (Ng, Deep Learning Specialization, course 4, week 4: 1/(2 n_H n_W n_C)² on sums)."""
    return squared_distance(G, A) / (2.0 * float(A[0].shape[-1])) ** 2


def squared_distance(G: Means, A: Means) -> Tensor:
    """Σ_i ‖G_i − A_i‖²_F, [B]."""
    return sum(sum_of_squares(g - a) for g, a in zip(G, A, strict=True))


STYLE_DISTANCES: dict[str, Callable[[Means, Means], Tensor]] = {"relative": relative, "gatys": gatys, "ng": ng}


def target_mean_std(means: Sequence[Means], weights: Sequence[float]) -> Means:
    """(μ_A, σ_A, ε) of means (E[F], E[F²]), each [B, C]: ε, [B, 1], is `VARIANCE_FLOOR` of the mean square."""
    mu, square = blend(means, weights)
    floor = VARIANCE_FLOOR * tf.reduce_mean(square, axis=-1, keepdims=True)
    return mu, _standard_deviation(mu, square, floor), floor


def mean_std(G: Means, A: Means) -> Tensor:
    """(‖μ − μ_A‖² + ‖σ − σ_A‖²) / (‖μ_A‖² + ‖σ_A‖²), σ² = E[F²] − μ² + ε.

    Args:
        G: (E[F], E[F²]) of the picture, each [B, C].
        A: what `target_mean_std` returns.
    Source: Huang and Belongie 2017, eq. 13.
    """
    # Differs from Huang and Belongie 2017: squared norms, relative to the target's.
    (mu, square), (mu_A, sigma_A, floor) = G, A
    return relative((mu, _standard_deviation(mu, square, floor)), (mu_A, sigma_A))


def target_covariance(means: Sequence[Means], weights: Sequence[float]) -> Means:
    """(s μ_A, Σ_A, s) of means (E[F], E[F Fᵀ]): s = ‖E[F_A F_Aᵀ]‖_F^½, [B, 1], gives the mean the unit of Σ."""
    mu, gram = blend(means, weights)
    scale = tf.sqrt(_frobenius(gram))[:, 0]
    return scale * mu, _covariance(mu, gram), scale


def covariance(G: Means, A: Means) -> Tensor:
    """(‖Σ − Σ_A‖²_F + s² ‖μ − μ_A‖²) / (‖Σ_A‖²_F + s² ‖μ_A‖²), s² = ‖E[F_A F_Aᵀ]‖_F.

    The Gram matrix is Σ + μ μᵀ: it cannot tell a larger mean from more spread along it; this can.

    Args:
        G: (E[F], E[F Fᵀ]) of the picture, [B, C] and [B, C, C].
        A: what `target_covariance` returns.
    """
    (mu, gram), (scaled_mu_A, Sigma_A, scale) = G, A
    return relative((scale * mu, _covariance(mu, gram)), (scaled_mu_A, Sigma_A))


def target_wasserstein(means: Sequence[Means], weights: Sequence[float]) -> Means:
    """(μ_A, tr Σ_A, Σ_A^½, τ) of means (E[F], E[F Fᵀ]); τ I, with τ = `COVARIANCE_FLOOR` ‖Σ_A‖_F, is in Σ_A."""
    mu, gram = blend(means, weights)
    Sigma = _covariance(mu, gram)
    floor = COVARIANCE_FLOOR * _frobenius(Sigma)
    Sigma = Sigma + floor * tf.eye(Sigma.shape[-1], dtype=Sigma.dtype)
    return mu, tf.linalg.trace(Sigma), root(exact(Sigma)), floor


def wasserstein(G: Means, A: Means) -> Tensor:
    """The squared 2-Wasserstein distance of two Gaussians, relative to the mean square of the style's features:

        (‖μ − μ_A‖² + tr(Σ + Σ_A − 2 (Σ_A^½ Σ Σ_A^½)^½)) / (‖μ_A‖² + tr Σ_A).

    Args:
        G: (E[F], E[F Fᵀ]) of the picture, [B, C] and [B, C, C].
        A: what `target_wasserstein` returns.
    Source: Dowson and Landau 1982; for styles Vincent's neural-style-tf (2018) and crowsonkb (2023).
    """
    # Differs from crowsonkb/style-transfer-pytorch: sums over channels relative to the style's, not means over them.
    (mu, gram), (mu_A, trace_A, root_A, floor) = G, A
    Sigma = _covariance(mu, gram) + floor * tf.eye(gram.shape[-1], dtype=gram.dtype)
    of_means = tf.reduce_sum(tf.square(mu - mu_A), axis=-1)
    between = trace_of_root(root_A @ tf.cast(Sigma, root_A.dtype) @ root_A)
    of_spreads = tf.linalg.trace(Sigma) + trace_A - 2.0 * tf.cast(between, Sigma.dtype)
    energy = tf.reduce_sum(tf.square(mu_A), axis=-1) + trace_A
    return (of_means + of_spreads) / tf.maximum(energy, 1e-12)


def _standard_deviation(mu: Tensor, square: Tensor, floor: Tensor) -> Tensor:
    return tf.sqrt(tf.maximum(square - tf.square(mu), 0.0) + floor + 1e-30)


def _covariance(mu: Tensor, gram: Tensor) -> Tensor:
    """Σ = E[F Fᵀ] − μ μᵀ."""
    # Not a matrix product, which may lose 13 bits on a GPU: Σ would not stay positive.
    column, row = fork(mu)
    return gram - column[:, :, tf.newaxis] * row[:, tf.newaxis]


def _frobenius(matrix: Tensor) -> Tensor:
    """‖·‖_F, [B, 1, 1]."""
    return tf.norm(matrix, axis=(-2, -1), keepdims=True)


def exact(K: Tensor) -> Tensor:
    """K, in float64 where products of float32 lose 13 bits: with those the iteration diverges."""
    return tf.cast(K, tf.float64) if _multiplies_in_tensor_float_32() else K


def root(K: Tensor) -> Tensor:
    """K^½ of [B, C, C]; without gradient."""
    return tf.stop_gradient(_roots(K)[0])


def trace_of_root(K: Tensor) -> Tensor:
    """tr K^½, of [B, C, C], [B].

    Its gradient is ½ K^{-½}, which the iteration gives beside the root: nothing is solved, and repeated eigenvalues,
    at which the gradients of eigenvectors are infinite, are like others.
    """
    trace, _ = _trace_and_inverse(K)
    return trace


def _trace_gradient(_: list[Tensor], outputs: list[Tensor], d: Tensor, __: Tensor) -> tuple[Tensor]:
    _, inverse = outputs
    return (0.5 * d[:, tf.newaxis, tf.newaxis] * inverse,)


@with_gradient(_trace_gradient)
def _trace_and_inverse(K: Tensor) -> tuple[Tensor, Tensor]:
    """(tr K^½, K^{-½}); the second is for the gradient of the first and has none itself."""
    square_root, inverse = _roots(K)
    return tf.linalg.trace(square_root), inverse


def _roots(K: Tensor) -> tuple[Tensor, Tensor]:
    """(K^½, K^{-½}) by an iteration, or by eigenvectors where rounding has given K eigenvalues < 0.

    The iteration diverges there. Σ of a flat picture is nothing but rounding; of a picture of two colors, almost.
    """
    norm = tf.norm(K, axis=(-2, -1), keepdims=True)
    unit = tf.math.divide_no_nan(K, norm)
    Y, Z, T = _iterated(unit)
    # The eigenvalues of T lie in [1, 1.5], but those that belong to an eigenvalue < 0 of K grow.
    converged = tf.reduce_all(tf.norm(T, axis=(-2, -1)) < 1.6 * K.shape[-1] ** 0.5)
    # What is not finite has no eigenvectors.
    is_sound = converged | ~tf.reduce_all(tf.math.is_finite(unit))
    Y, Z = tf.cond(is_sound, lambda: (Y, Z), lambda: _decomposed(unit))
    return Y * tf.sqrt(norm), tf.math.divide_no_nan(Z, tf.sqrt(norm))


def _iterated(K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(K^½, K^{-½}, last T) of ‖K‖_F = 1: Y ← Y T, Z ← T Z, T = α (3 I − α² Z Y) / 2, from Y = K and Z = I.

    α = 1 is the iteration of Newton and Schulz. With l the smallest root so far, α² = 3 / (1 + l + l²) maps l and 1 to
    the same value: small roots grow 2.6 times in an iteration instead of 1.5 times; without it 23 would be needed.
    Source: Higham 2008, Functions of Matrices, eq. 6.35; α of Chen and Chow 2014.
    """
    identity = tf.eye(K.shape[-1], dtype=K.dtype)
    Y, Z = K, identity + tf.zeros_like(K)
    smallest = SMALLEST_ROOT
    for _ in range(ITERATIONS):
        alpha = math.sqrt(3.0 / (1.0 + smallest + smallest ** 2))
        T = 1.5 * alpha * identity - 0.5 * alpha ** 3 * (Z @ Y)
        Y, Z = Y @ T, T @ Z
        smallest *= 0.5 * alpha * (3.0 - (alpha * smallest) ** 2)
    return Y, Z, T


def _decomposed(K: Tensor) -> tuple[Tensor, Tensor]:
    """(K^½, K^{-½}) = Q Λ^{±½} Qᵀ of ‖K‖_F = 1; what is inverted counts as `SMALLEST_ROOT` at least."""
    symmetric = tf.cast(K + tf.linalg.matrix_transpose(K), tf.float64) / 2.0
    eigenvalues, Q = tf.linalg.eigh(symmetric)
    root = tf.sqrt(tf.maximum(eigenvalues, 0.0))
    inverse = 1.0 / tf.maximum(root, SMALLEST_ROOT)
    square_root, inverse_root = (tf.matmul(Q * values[..., tf.newaxis, :], Q, transpose_b=True)
                                 for values in (root, inverse))
    return tf.cast(square_root, K.dtype), tf.cast(inverse_root, K.dtype)


def _multiplies_in_tensor_float_32() -> bool:
    """The default of TensorFlow on NVIDIA's tensor cores; it can be turned off for the whole process only."""
    return bool(tf.config.list_logical_devices("GPU") and tf.config.experimental.tensor_float_32_execution_enabled())


class Statistic(NamedTuple):
    """A style statistic.

    `measure(F, weights) -> Moments`, which add over the parts of a picture, or `Samples`, which do not: of features
    [B, *space, C]; w ≥ 0 of each position, [B, *space], or None for all 1.
    `target(means of K styles, K blend weights) -> A`: whatever `distance` needs of the style, computed once a stage.
    `distance(means of the picture, A) -> [B], ≥ 0`: without unit; 0 for equal styles, about 1 (`histogram`: 3) for an
    empty picture.
    """

    measure: Callable[[Tensor, Tensor | None], Moments | Samples]
    target: Callable[[Sequence[Means], Sequence[float]], Means]
    distance: Callable[[Means, Means], Tensor]


STATISTICS: dict[str, Statistic] = {
    "gram": Statistic(measure_gram, blend, relative),
    "mean_std": Statistic(measure_mean_and_squares, target_mean_std, mean_std),
    "covariance": Statistic(measure_mean_and_gram, target_covariance, covariance),
    "wasserstein": Statistic(measure_mean_and_gram, target_wasserstein, wasserstein),
    "histogram": Statistic(measure_histogram, target_histogram, histogram),
}
