"""Square roots of symmetric positive definite matrices by Newton and Schulz: products only, no eigenvectors."""

import math

import tensorflow as tf

from nst_tf.tensors import Tensor, with_gradient

# Roots of eigenvalues are right from here on, as a share of ‖K‖_F^½; smaller ones come out too small, never too large.
SMALLEST_ROOT = 3e-4
ITERATIONS = 12


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
    """(K^½, K^{-½}): Y ← Y T, Z ← T Z, T = α (3 I − α² Z Y) / 2, from Y = K / ‖K‖_F and Z = I.

    α = 1 is the iteration of Newton and Schulz. With l the smallest root so far, α² = 3 / (1 + l + l²) maps l and 1 to
    the same value: small roots grow 2.6 times in an iteration instead of 1.5 times; without it 23 would be needed.
    Source: Higham 2008, Functions of Matrices, eq. 6.35; α of Chen and Chow 2014.
    """
    norm = tf.norm(K, axis=(-2, -1), keepdims=True)
    identity = tf.eye(K.shape[-1], dtype=K.dtype)
    Y, Z = tf.math.divide_no_nan(K, norm), identity + tf.zeros_like(K)
    smallest = SMALLEST_ROOT
    for _ in range(ITERATIONS):
        alpha = math.sqrt(3.0 / (1.0 + smallest + smallest ** 2))
        T = 1.5 * alpha * identity - 0.5 * alpha ** 3 * (Z @ Y)
        Y, Z = Y @ T, T @ Z
        smallest *= 0.5 * alpha * (3.0 - (alpha * smallest) ** 2)
    return Y * tf.sqrt(norm), tf.math.divide_no_nan(Z, tf.sqrt(norm))


def _multiplies_in_tensor_float_32() -> bool:
    """The default of TensorFlow on NVIDIA's tensor cores; it can be turned off for the whole process only."""
    return bool(tf.config.list_logical_devices("GPU") and tf.config.experimental.tensor_float_32_execution_enabled())
