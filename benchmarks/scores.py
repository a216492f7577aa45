"""What a stylized picture has of its photo and of its style: numbers of two or three pictures, each a pure function.

Pictures are float32 [H, W, 3], sRGB in [0, 1]. No network is named here: features come as arrays. NumPy only.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_tf.io.color import lightness_of, oklab

FloatArray = NDArray[Any]

# Grain: squares that overlap by half, and how many of them count as flat: those in which the photo changes least.
BLOCK_PX = 32
FLAT_SHARE = 1 / 8
COARSEST_GRAIN = 0.25  # cycles/px
# Palette: directions in Oklab and levels between its least and its most.
DIRECTIONS, LEVELS = 32, 256
# Self-similarity: more positions are thinned out to so many.
POSITIONS = 1024
# The variance that rounding to 8 bits leaves: no style has less grain.
ROUNDING = 1 / (12 * 255 ** 2)


def grain(output: FloatArray, photo: FloatArray, style: FloatArray) -> float:
    """Fine noise where the photo is flat, over what the style has of it anywhere.

        grain = mean_{b flat in the photo} e_b(output) / mean_b e_b(style),
        e_b(x) = Σ_{|f| > ¼} |DFT(w · (L_b − mean L_b))(f)|² / (n² Σ w²)

    L is Oklab's lightness, b a square of n = 32 px, w a Hann window: e is the variance of what waves of less than 4 px
    add to L. 1 = the style's own brush; a weave has more, a blur has none.

    Args:
        output, photo: of one size, at least `BLOCK_PX` a side.
        style: at the scale at which it was painted, at least `BLOCK_PX` a side.
    """
    flat = flattest(blocks(lightness_of(photo)))
    in_output = fine_energy(blocks(lightness_of(output))[flat]).mean()
    in_style = fine_energy(blocks(lightness_of(style))).mean()
    return float(in_output / max(in_style, ROUNDING))


def blocks(plane: FloatArray) -> FloatArray:
    """All squares of `BLOCK_PX` that overlap by half, by rows: [H, W] → [N, n, n]."""
    squares = np.lib.stride_tricks.sliding_window_view(plane, (BLOCK_PX, BLOCK_PX))
    return squares[::BLOCK_PX // 2, ::BLOCK_PX // 2].reshape(-1, BLOCK_PX, BLOCK_PX)


def flattest(squares: FloatArray) -> NDArray[np.intp]:
    """Which squares [N, n, n] change least from pixel to pixel: `FLAT_SHARE` of them, at least one."""
    changes = sum(np.square(np.diff(squares, axis=axis)).mean((1, 2)) for axis in (1, 2))
    return np.argsort(changes, kind="stable")[:max(1, round(FLAT_SHARE * len(squares)))]


def fine_energy(squares: FloatArray) -> FloatArray:
    """e_b of `grain` for each square, [N, n, n] → [N]."""
    window = np.outer(*[np.hanning(BLOCK_PX + 2)[1:-1]] * 2)
    spectrum = np.fft.fft2(window * (squares - squares.mean((1, 2), keepdims=True)))
    frequencies = np.fft.fftfreq(BLOCK_PX)
    is_fine = np.hypot(frequencies[:, np.newaxis], frequencies) > COARSEST_GRAIN
    return np.square(np.abs(spectrum[:, is_fine])).sum(1) / (BLOCK_PX ** 2 * np.square(window).sum())


def frechet(F: FloatArray, G: FloatArray) -> float:
    """Squared Fréchet distance of the normal distributions that have the mean and the covariance of features.

        d² = ‖μ_F − μ_G‖² + tr(Σ_F + Σ_G − 2 (Σ_F^½ Σ_G Σ_F^½)^½)

    0 = equal mean and covariance, wherever in the picture each feature stands.

    Args:
        F, G: [positions, channels], their positions may differ in number.
    Source: Shaham, Dekel, Michaeli 2019 (SIFID), in a layer of another network.
    """
    (mean_F, cov_F), (mean_G, cov_G) = ((x.mean(0), np.cov(x, rowvar=False, bias=True)) for x in map(_exact, (F, G)))
    values, Q = np.linalg.eigh(cov_F)
    root = (Q * np.sqrt(np.maximum(values, 0))) @ Q.T
    of_product = np.linalg.eigvalsh(root @ cov_G @ root)
    cross = np.sqrt(np.maximum(of_product, 0)).sum()
    return float(max(0.0, np.square(mean_F - mean_G).sum() + np.trace(cov_F) + np.trace(cov_G) - 2 * cross))


def edge_agreement(edges: FloatArray, of_photo: FloatArray) -> float:
    """Correlation of two maps of edges [H, W]; 1 = the same edges, 0 = others.

        r = Σ (p − p̄)(q − q̄) / √(Σ (p − p̄)² Σ (q − q̄)²)
    """
    p, q = (x - x.mean() for x in map(_exact, (edges, of_photo)))
    return float((p * q).sum() / max(np.sqrt(np.square(p).sum() * np.square(q).sum()), 1e-12))


def ssim(output: FloatArray, photo: FloatArray) -> float:
    """Mean structural similarity of Oklab's lightness (Wang et al. 2004); 1 = the photo. At least 11 px a side."""
    import nst_tf  # noqa: F401  Before TensorFlow, which reads what it switches on.
    import tensorflow as tf

    first, second = (tf.constant(lightness_of(x)[..., np.newaxis], tf.float32) for x in (output, photo))
    return float(tf.image.ssim(first, second, max_val=1.0))


def self_similarity(F: FloatArray, G: FloatArray) -> float:
    """How differently the positions of two pictures of one size resemble each other: 0 = alike, 1 = not at all.

        d = 1/(2N) Σ_j Σ_i |D^F_ij / Σ_k D^F_kj − D^G_ij / Σ_k D^G_kj|,    D_ij = 1 − cos(F_i, F_j)

    Colors and textures may change freely where they change everywhere alike.

    Args:
        F, G: [positions, channels], position by position.
    Source: Kolkin, Salavon, Shakhnarovich 2019 (STROTSS).
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(F))[:POSITIONS])

    def shares(x: FloatArray) -> FloatArray:
        unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        distances = np.maximum(1 - unit @ unit.T, 0)
        return distances / np.maximum(distances.sum(0), 1e-12)

    return float(np.abs(shares(_exact(F)[chosen]) - shares(_exact(G)[chosen])).sum() / (2 * len(chosen)))


def palette_distance(output: FloatArray, style: FloatArray) -> float:
    """Sliced Wasserstein distance of the colors of two pictures in Oklab: 0 = the same colors, each as often.

        d = mean_v ∫₀¹ |Q_v(output)(t) − Q_v(style)(t)| dt

    Q_v is the quantile function of the colors' shadows on a direction v; the directions lie on half a Fibonacci
    sphere. About 0.02 is a difference that people just see.
    """
    t = (np.arange(LEVELS) + 0.5) / LEVELS
    directions = _half_sphere(DIRECTIONS).T
    quantiles = [np.quantile(oklab(_exact(x).reshape(-1, 3)) @ directions, t, axis=0) for x in (output, style)]
    return float(np.abs(quantiles[0] - quantiles[1]).mean())


def _half_sphere(count: int) -> FloatArray:
    """Unit vectors [count, 3], spread evenly over a hemisphere: opposite directions measure the same."""
    height = (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - height ** 2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def _exact(values: FloatArray) -> FloatArray:
    return np.asarray(values, np.float64)
