"""Scores of pictures whose order is known: the style, the photo, noise, a blur, blocks in another order."""

import numpy as np
import pytest

from benchmarks import scores
from nst_tf.io.color import lightness_of

from .conftest import make_picture


def _noise(deviation: float, seed: int = 0, side: int = 96) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0.5, deviation, (side, side, 1))
    return np.repeat(values, 3, -1).clip(0, 1).astype(np.float32)


def _blurred(picture: np.ndarray) -> np.ndarray:
    return np.mean([np.roll(picture, (i, j), (0, 1)) for i in range(4) for j in range(4)], axis=0)


def _shuffled(picture: np.ndarray, block_px: int = 16) -> np.ndarray:
    """The same squares at other places."""
    rows, columns = (side // block_px for side in picture.shape[:2])
    squares = picture.reshape(rows, block_px, columns, block_px, 3).swapaxes(1, 2).reshape(-1, block_px, block_px, 3)
    squares = np.random.default_rng(1).permutation(squares)
    return squares.reshape(rows, columns, block_px, block_px, 3).swapaxes(1, 2).reshape(picture.shape)


def _half_flat() -> np.ndarray:
    """A photo whose upper half is a smooth sky and whose lower half is rubble."""
    photo = _noise(0.3, seed=5)
    photo[:48] = np.linspace(0.4, 0.6, 96, dtype=np.float32)[np.newaxis, :, np.newaxis]
    return photo


def test_grain_is_none_in_the_photo_less_in_a_blur_and_more_in_a_weave() -> None:
    photo, style = _half_flat(), _noise(0.1)
    weave = photo + 0.3 * (np.indices((96, 96)).sum(0) % 2 - 0.5)[..., np.newaxis].astype(np.float32)
    found = [scores.grain(picture, photo, style) for picture in (photo, _blurred(style), style, weave)]
    assert found == sorted(found) and found[0] < 0.01 and found[1] < 0.2 and found[3] > 2
    assert found[2] == pytest.approx(1, abs=0.15)
    assert scores.grain(_shuffled(style), photo, style) == pytest.approx(1, abs=0.15)


def test_only_what_is_flat_in_the_photo_counts() -> None:
    """The rubble's own noise is none, wherever the flat part is; a flat style does not divide by 0."""
    photo, style = _half_flat(), _noise(0.1)
    for turns in range(4):
        assert scores.grain(np.rot90(photo, turns), np.rot90(photo, turns), style) < 0.01
    assert np.isfinite(scores.grain(photo, photo, np.full_like(photo, 0.5)))


def test_fine_energy_is_the_variance_of_short_waves() -> None:
    x = np.arange(scores.BLOCK_PX)
    waves = np.stack([np.tile(0.1 * np.sin(2 * np.pi * x / period), (x.size, 1)) for period in (3, 2.5, 8)])
    assert scores.fine_energy(0.5 + waves) == pytest.approx([0.005, 0.005, 0], abs=1e-4)


def _features(count: int, seed: int, channels: int = 5) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, channels)) @ generator.normal(size=(channels, channels))


def test_frechet_distance_of_normal_distributions_by_hand() -> None:
    """Of diagonal covariances it is Σ (μ₁ − μ₂)² + (σ₁ − σ₂)²: exact features of two positions a channel."""
    F, G = (np.array([[mean - deviation, 7.0], [mean + deviation, 7.0]]) for mean, deviation in ((0, 1), (3, 2)))
    assert scores.frechet(F, G) == pytest.approx(3 ** 2 + 1 ** 2)
    # Covariances that do not commute, by the definition with a matrix root.
    F, G = _features(40, 1), _features(60, 2)
    values = np.linalg.eigvals(np.cov(F.T, bias=True) @ np.cov(G.T, bias=True))
    wanted = (np.square(F.mean(0) - G.mean(0)).sum() + np.var(F, 0).sum() + np.var(G, 0).sum()
              - 2 * np.sqrt(values.real).sum())
    assert scores.frechet(F, G) == pytest.approx(wanted) == scores.frechet(G, F)


def test_frechet_distance_knows_no_places() -> None:
    F = _features(60, 1)
    assert scores.frechet(F, F[::-1]) == pytest.approx(0, abs=1e-9)
    assert 0.01 < scores.frechet(0.9 * F, F) < scores.frechet(0.5 * F, F)


def test_edges_agree_by_their_places_and_not_by_their_strength() -> None:
    edges = np.random.default_rng(0).uniform(size=(9, 11)) ** 4
    noisy, other = (edges + amount * np.random.default_rng(1).uniform(size=edges.shape) for amount in (0.5, 50))
    found = [scores.edge_agreement(picture, edges) for picture in (1 - edges, other, noisy, 0.3 * edges + 0.1)]
    assert found == sorted(found) and found[0] == pytest.approx(-1) and found[3] == pytest.approx(1)
    assert scores.edge_agreement(np.ones_like(edges), edges) == 0


def test_structure_of_the_photo_is_in_its_blur_and_not_in_its_shuffled_blocks() -> None:
    photo = make_picture(48, 64, 3)
    found = [scores.ssim(picture, photo) for picture in (_shuffled(photo), _blurred(photo), 0.9 * photo, photo)]
    assert found == sorted(found) and found[3] == pytest.approx(1) and found[0] < 0.3


def test_self_similarity_is_that_of_places() -> None:
    F = _features(70, 1)
    turned = 3 * F @ np.linalg.qr(_features(5, 2))[0]
    assert scores.self_similarity(turned, F) == pytest.approx(0, abs=1e-9)
    slightly, elsewhere = F + 0.1 * _features(70, 3), np.random.default_rng(4).permutation(F)
    assert 0.01 < scores.self_similarity(slightly, F) < 0.5 * scores.self_similarity(elsewhere, F) < 0.5
    # More positions than are compared: the same ones of both.
    assert scores.self_similarity(*[np.tile(F, (20, 1))] * 2) == 0


def test_palettes_are_colors_without_places() -> None:
    style, photo = make_picture(48, 64, 1), 0.5 * make_picture(48, 64, 2)
    halfway = (style + photo) / 2
    found = [scores.palette_distance(picture, style) for picture in (_shuffled(style), 0.95 * style, halfway, photo)]
    assert found == sorted(found) and found[0] == pytest.approx(0, abs=1e-9) and found[1] > 0.001
    # A step between two grays is a shift of L, which directions see by their share of it: ½ on average.
    gray, lighter = (np.full((4, 4, 3), value, np.float32) for value in (0.2, 0.8))
    step = lightness_of(lighter)[0, 0] - lightness_of(gray)[0, 0]
    assert scores.palette_distance(gray, lighter) == pytest.approx(step / 2, rel=0.05)
