"""Style statistics: numbers by hand, the formulas again in NumPy and SciPy, and what must hold of every row."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from scipy import linalg

from nst_tf.config import StylizeConfig
from nst_tf.grammar import LayerWeight
from nst_tf.losses import histogram, statistics
from nst_tf.losses.evaluation import measure_targets
from nst_tf.losses.moments import Means, Moments, mean
from nst_tf.losses.objective import Objective, TermWeights
from nst_tf.losses.statistics import STATISTICS
from nst_tf.losses.term import add
from nst_tf.recipes.stylize.plan_terms import plan_objective
from nst_tf.vocabulary import NormalizationName, UserError

from .losses import losses_of

Array = np.ndarray
SUMS = [name for name in STATISTICS if name != "histogram"]


def _features(seed: int, shape: Sequence[int] = (1, 17, 23, 3)) -> Array:
    """Correlated channels of different scales, as after a ReLU: many zeros."""
    generator = np.random.default_rng(seed)
    channels = shape[-1]
    values = generator.normal(size=shape) @ generator.normal(size=(channels, channels)) + np.arange(channels)
    return np.maximum(values, 0)


def _means(name: str, F: Array, weights: Array | None = None) -> Means:
    return mean(STATISTICS[name].measure(tf.constant(F), None if weights is None else tf.constant(weights)))


def _distance(name: str, F: Array, *styles: Array, weights: Array | None = None,
              blend: Sequence[float] = (1.0,)) -> float:
    statistic = STATISTICS[name]
    A = statistic.target([_means(name, style) for style in styles], blend)
    distance, = statistic.distance(_means(name, F, weights), A)
    return float(distance)


def _flat(F: Array) -> Array:
    return F.reshape(-1, F.shape[-1]).astype(np.float64)


def _numpy_gram(F: Array, A: Array) -> float:
    G, A = (x.T @ x / len(x) for x in (_flat(F), _flat(A)))
    return np.sum((G - A) ** 2) / np.sum(A ** 2)


def _numpy_mean_std(F: Array, A: Array) -> float:
    F, A = _flat(F), _flat(A)
    floor = 1e-5 * np.mean(A ** 2)
    sigma, sigma_A = (np.sqrt(np.var(x, axis=0) + floor) for x in (F, A))
    return ((np.sum((F.mean(0) - A.mean(0)) ** 2) + np.sum((sigma - sigma_A) ** 2))
            / (np.sum(A.mean(0) ** 2) + np.sum(sigma_A ** 2)))


def _numpy_covariance(F: Array, A: Array) -> float:
    F, A = _flat(F), _flat(A)
    Sigma, Sigma_A = (np.cov(x.T, bias=True) for x in (F, A))
    scale = np.sqrt(np.sum((A.T @ A / len(A)) ** 2))
    return ((np.sum((Sigma - Sigma_A) ** 2) + scale * np.sum((F.mean(0) - A.mean(0)) ** 2))
            / (np.sum(Sigma_A ** 2) + scale * np.sum(A.mean(0) ** 2)))


def _numpy_wasserstein(F: Array, A: Array) -> float:
    F, A = _flat(F), _flat(A)
    Sigma, Sigma_A = (np.cov(x.T, bias=True) for x in (F, A))
    floor = 3e-4 * np.linalg.norm(Sigma_A) * np.eye(len(Sigma))
    Sigma, Sigma_A = Sigma + floor, Sigma_A + floor
    # tr (Σ_A^½ Σ Σ_A^½)^½ = tr (Σ_A Σ)^½: another way to the same number.
    between = np.trace(Sigma + Sigma_A - 2 * linalg.sqrtm(Sigma_A @ Sigma).real)
    return (np.sum((F.mean(0) - A.mean(0)) ** 2) + between) / (np.sum(A.mean(0) ** 2) + np.trace(Sigma_A))


def _numpy_histogram(F: Array, A: Array) -> float:
    projections = [np.sort(_flat(x) @ histogram.directions(x.shape[-1]).T, axis=0) for x in (F, A)]
    return 3 * np.sum((projections[0] - projections[1]) ** 2) / np.sum(projections[1] ** 2)


NUMPY = {"gram": _numpy_gram, "mean_std": _numpy_mean_std, "covariance": _numpy_covariance,
         "wasserstein": _numpy_wasserstein, "histogram": _numpy_histogram}


@pytest.mark.parametrize("name", STATISTICS)
def test_distance_equals_an_independent_implementation(name: str) -> None:
    F, A = _features(0), _features(1)
    expected = NUMPY[name](F, A)
    assert 0.01 < expected < 10
    assert _distance(name, F, A) == pytest.approx(expected, rel=1e-8)
    assert _distance(name, F.astype(np.float32), A.astype(np.float32)) == pytest.approx(expected, rel=1e-4)


def test_numbers_by_hand() -> None:
    # One channel: picture 1, 3 (μ 2, σ 1), style 2, 8 (μ 5, σ 3).
    F, A = np.array([[[1.0], [3.0]]]), np.array([[[2.0], [8.0]]])
    assert _distance("gram", F, A) == pytest.approx((5 - 34) ** 2 / 34 ** 2)
    assert _distance("mean_std", F, A) == pytest.approx((9 + 4) / (25 + 9), rel=1e-4)
    # s² = E[F²] = 34.
    assert _distance("covariance", F, A) == pytest.approx((64 + 34 * 9) / (81 + 34 * 25))
    # In one dimension (μ − μ_A)² + (σ − σ_A)².
    assert _distance("wasserstein", F, A) == pytest.approx((9 + 4) / 34, rel=1e-3)
    # Sorted pairs (1, 2), (3, 8), along ±1.
    assert _distance("histogram", F, A) == pytest.approx(3 * (1 + 25) / (4 + 64))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", STATISTICS)
def test_gradient_equals_finite_differences(name: str, weighted: bool) -> None:
    F, step = _features(0, (2, 5, 7, 3)), 1e-6
    weights = np.random.default_rng(3).uniform(size=(2, 5, 7)) if weighted else None
    statistic = STATISTICS[name]
    A = statistic.target([_means(name, _features(1, (2, 4, 6, 3)))], (1.0,))
    with tf.GradientTape() as tape:
        x = tf.constant(F)
        tape.watch(x)
        loss = tf.reduce_sum(statistic.distance(mean(statistic.measure(x, weights)), A))
    gradient = tape.gradient(loss, x).numpy()
    for index in ((0, 0, 0, 0), (0, 4, 6, 2), (1, 2, 3, 1), (1, 4, 0, 0)):
        nudge = np.zeros_like(F)
        nudge[index] = step
        above, below = (float(tf.reduce_sum(statistic.distance(_means(name, moved, weights), A)))
                        for moved in (F + nudge, F - nudge))
        assert gradient[index] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("name", STATISTICS)
def test_the_order_of_positions_and_their_axes_do_not_count(name: str) -> None:
    F, A = _features(0, (1, 60, 3)), _features(1)
    wanted = _distance(name, F, A)
    assert _distance(name, F[:, np.random.default_rng(1).permutation(60)], A) == pytest.approx(wanted, rel=1e-8)
    for space in ((4, 15), (3, 4, 5)):
        assert _distance(name, F.reshape(1, *space, 3), A) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_no_distance_to_the_same_and_about_one_from_an_empty_picture(name: str) -> None:
    factor = histogram.FACTOR if name == "histogram" else 1
    A = _features(0, (1, 17, 23, 8)).astype(np.float32)
    assert _distance(name, A, A) == pytest.approx(0, abs=1e-4)
    assert 0.95 < _distance(name, np.zeros_like(A), A) / factor < 1.01
    assert _distance(name, _features(1, (1, 17, 23, 8)).astype(np.float32), A) > 0.01


def _flat_pictures(channels: int) -> Array:
    """Features [N, 6, 7, C]: black, white, gray, one color, nearly one, two colors, one channel, and no flat ones."""
    rng, shape = np.random.default_rng(channels), (6, 7, channels)
    one_color, random = np.broadcast_to(10 * rng.normal(size=channels), shape), rng.normal(size=shape)
    two_colors = np.where(np.arange(7)[:, np.newaxis] < 3, one_color, 0.5)
    return np.stack([0 * one_color, 0 * one_color + 1, 0 * one_color + 0.3, one_color, one_color + 1e-6 * random,
                     two_colors, random * (np.arange(channels) == 0), random])


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", STATISTICS)
def test_flat_pictures_and_flat_styles_have_finite_distances_and_gradients(
        name: str, dtype: tf.DType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture against each style, in one batch; styles and pictures of one position too."""
    monkeypatch.setattr(histogram, "LEVELS", 128)
    statistic = STATISTICS[name]
    for channels, rows in ((1, 6), (3, 6), (32, 6), (3, 1)):
        pictures = tf.cast(_flat_pictures(channels)[:, :rows, :7 if rows > 1 else 1], dtype)
        count = len(pictures)
        F, styles = tf.repeat(pictures, count, axis=0), tf.cast(tf.tile(pictures, (count, 1, 1, 1)), tf.float32)
        A = statistic.target([mean(statistic.measure(styles, None))], (1.0,))
        with tf.GradientTape() as tape:
            tape.watch(F)
            distances = statistic.distance(mean(statistic.measure(tf.cast(F, tf.float32), None)), A)
        assert np.isfinite(distances).all(), channels
        assert np.isfinite(tf.cast(tape.gradient(distances, F), tf.float32)).all(), channels
        np.testing.assert_allclose(distances[::count + 1], 0, atol=2e-3)


@pytest.mark.parametrize("name", STATISTICS)
def test_blend_of_one_and_zero_equals_the_single_style(name: str) -> None:
    F, A, B = _features(0), _features(1, (1, 9, 31, 3)), _features(2)
    assert _distance(name, F, A, B, blend=(1, 0)) == _distance(name, F, A)
    assert _distance(name, F, A, B, blend=(0, 3)) == _distance(name, F, B)
    assert _distance(name, F, A, B, blend=(1, 1)) == _distance(name, F, A, B, blend=(0.5, 0.5))


@pytest.mark.parametrize("name", SUMS)
def test_blends_are_the_style_of_a_picture_made_of_both(name: str) -> None:
    F, A, B = _features(0), _features(1, (1, 6, 3)), _features(2, (1, 4, 3))
    made = np.concatenate([A, A, B, B, B, B, B, B, B, B, B], axis=1)
    assert _distance(name, F, A, B, blend=(1, 3)) == pytest.approx(_distance(name, F, made), rel=1e-8)


def test_the_blend_of_histograms_lies_between_them() -> None:
    A = _features(1)
    B = A + 4.0
    assert _distance("histogram", A + 1.0, A, B, blend=(3, 1)) == pytest.approx(0, abs=1e-12)
    assert _distance("histogram", A + 1.0, A) > 0.01


@pytest.mark.parametrize("name", SUMS)
def test_moments_of_parts_add_to_those_of_the_whole(name: str) -> None:
    F = _features(0)
    whole, *parts = (STATISTICS[name].measure(tf.constant(part), None) for part in (F, F[:, :9], F[:, 9:]))
    added = add(*parts)
    assert isinstance(whole, Moments) and isinstance(added, Moments)
    for total, both in zip(whole.sums, added.sums, strict=True):
        np.testing.assert_allclose(both, total, rtol=1e-12)
    np.testing.assert_array_equal(added.count, whole.count)
    np.testing.assert_array_equal(whole.count, [17 * 23])


@pytest.mark.parametrize("name", STATISTICS)
def test_weights_choose_positions(name: str) -> None:
    F, A = _features(0), _features(1)
    left = np.zeros(F.shape[:-1])
    left[:, :, :11] = 1
    wanted = _distance(name, F[:, :, :11], A)
    assert _distance(name, F, A, weights=left) == pytest.approx(wanted, rel=1e-8)
    assert _distance(name, F, A, weights=0.3 * left) == pytest.approx(wanted, rel=1e-8)
    assert _distance(name, F, A, weights=np.ones_like(left)) == pytest.approx(_distance(name, F, A), rel=1e-12)
    # A weight of 2 is a position twice; as a style too. One level of a histogram then stands for two.
    twice, weights = np.concatenate([F, F[:, :, :11]], axis=2), 1 + left
    assert _distance(name, F, A, weights=weights) == pytest.approx(_distance(name, twice, A), rel=0.03)
    statistic = STATISTICS[name]
    target = statistic.target([_means(name, F, weights)], (1.0,))
    distance, = statistic.distance(_means(name, twice), target)
    assert float(distance) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", STATISTICS)
def test_positions_without_weight_get_no_gradient_and_an_empty_region_is_finite(name: str) -> None:
    statistic, F = STATISTICS[name], tf.constant(_features(0))
    A = statistic.target([_means(name, _features(1))], (1.0,))
    left = np.zeros(F.shape[:-1])
    left[:, :, :11] = 1
    for weights in (left, np.zeros_like(left)):
        with tf.GradientTape() as tape:
            tape.watch(F)
            distance, = statistic.distance(mean(statistic.measure(F, tf.constant(weights))), A)
        gradient = tape.gradient(distance, F).numpy()
        assert np.isfinite(float(distance)) and np.isfinite(gradient).all()
        assert not gradient[weights == 0].any()
        assert not weights.any() or np.abs(gradient[weights == 1]).min(axis=-1).max() > 0


@pytest.mark.parametrize("name", STATISTICS)
def test_the_objective_takes_every_statistic_and_several_styles(name: str) -> None:
    def extract(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"a": tf.nn.relu(image * [1.0, -2.0, 3.0] + 0.5)}

    photo, *styles = (tf.random.stateless_uniform((1, side, 19, 3), (side, 0)) for side in (17, 23, 11))
    layers = (LayerWeight("a", 1.0),)
    objective = Objective(layers, layers, TermWeights(0.5, 2.0, 0.25), "relative", name)
    losses = losses_of(objective, measure_targets(objective, extract, photo, styles, (0.7, 0.3)), extract, photo)
    F, A, B = (extract(picture)["a"].numpy() for picture in (photo, *styles))
    assert float(losses["loss/style"]) == pytest.approx(_distance(name, F, A, B, blend=(0.7, 0.3)), rel=1e-3, abs=1e-5)
    assert float(losses["style/1/a"]) == pytest.approx(_distance(name, F, B), rel=1e-3, abs=1e-5)
    alone = losses_of(objective, measure_targets(objective, extract, photo, styles[:1], (1.0,)), extract, photo)
    assert float(alone["style/0/a"]) == float(alone["loss/style"])


@pytest.mark.parametrize("normalization", ["gatys", "ng"])
def test_published_cost_functions_are_of_gram_matrices(normalization: NormalizationName) -> None:
    config = StylizeConfig(backbone="kmeans", normalization=normalization)
    assert plan_objective(config).statistic == "gram"
    with pytest.raises(UserError, match=f"--normalization={normalization} is .* or --statistic=wasserstein with"):
        plan_objective(dataclasses.replace(config, statistic="wasserstein"))


def _positive(channels: int, smallest: float) -> Array:
    """[1, C, C] with eigenvalues from `smallest` to 1."""
    basis = linalg.qr(np.random.default_rng(0).normal(size=(channels, channels)))[0]
    return (basis * np.geomspace(smallest, 1, channels) @ basis.T)[np.newaxis]


def test_roots_equal_scipy() -> None:
    K = _positive(60, 1e-6)
    np.testing.assert_allclose(statistics.root(tf.constant(K, tf.float32))[0], linalg.sqrtm(K[0]).real, atol=2e-5)


def test_roots_are_taken_in_float64_where_float32_loses_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    F, A = (_features(seed).astype(np.float32) for seed in range(2))
    wanted = _distance("wasserstein", F, A)
    monkeypatch.setattr(statistics, "_multiplies_in_tensor_float_32", lambda: True)
    assert statistics.target_wasserstein([_means("wasserstein", A)], (1.0,))[2].dtype == tf.float64
    assert _distance("wasserstein", F, A) == pytest.approx(wanted, rel=1e-4)


def test_trace_of_root_and_its_gradient_equal_scipy() -> None:
    K = tf.constant(_positive(60, 1e-6))
    with tf.GradientTape() as tape:
        tape.watch(K)
        trace = statistics.trace_of_root(K)
    inverse = linalg.inv(linalg.sqrtm(K.numpy()[0]).real)
    np.testing.assert_allclose(trace, [np.trace(linalg.sqrtm(K.numpy()[0]).real)], rtol=1e-8)
    np.testing.assert_allclose(tape.gradient(trace, K)[0], 0.5 * inverse, rtol=1e-4, atol=1e-3)


def test_roots_of_singular_and_of_rounded_matrices_stay_finite_in_float32() -> None:
    rank_3 = np.random.default_rng(0).normal(size=(200, 3))
    K = (rank_3 @ rank_3.T)[np.newaxis]
    found = statistics.root(tf.constant(K, tf.float32)).numpy()
    np.testing.assert_allclose(found[0], linalg.sqrtm(K[0]).real, atol=0.02)
    assert np.isfinite(statistics.root(tf.zeros((1, 5, 5)))).all()


def test_wasserstein_tells_apart_what_means_and_deviations_do_not() -> None:
    F = np.random.default_rng(0).normal(size=(1, 400, 2))
    correlated = np.stack([F[..., 0], 0.8 * F[..., 0] + 0.6 * F[..., 1]], axis=-1)
    alone = (correlated - correlated.mean(1)) / correlated.std(1)
    F = (F - F.mean(1)) / F.std(1)
    assert _distance("mean_std", F, alone) == pytest.approx(0, abs=1e-9)
    assert _distance("wasserstein", F, alone) > 0.05


def test_sorting_is_shared_out_among_directions_and_reaches_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histogram, "SORTED_VALUES", 64 * 64)
    # 391 positions: 8 groups of 48, 7 positions left over.
    F, A = (tf.constant(_features(seed)) for seed in range(2))
    target = histogram.target_histogram([mean(histogram.measure_histogram(A))], (1.0,))
    with tf.GradientTape() as tape:
        tape.watch(F)
        measured = histogram.measure_histogram(F)
        distance, = histogram.histogram(mean(measured), target)
    assert measured.values.shape == (1, 64, 48)
    assert np.count_nonzero(np.abs(tape.gradient(distance, F)).max(axis=-1)) == 8 * 48
    assert float(distance) == pytest.approx(_numpy_histogram(F.numpy(), A.numpy()), rel=0.3)


def test_shared_positions_are_spread_over_the_picture() -> None:
    """Each direction reads every row and column alike, also where the width is a multiple of the number of groups."""
    rows, columns = np.mgrid[0:256, 0:256]
    groups = histogram._shared(tf.constant(np.stack([rows, columns], -1).reshape(1, -1, 2), tf.float32), 64).numpy()[0]
    assert groups.shape == (16, 4096, 2)
    assert len(np.unique(groups.reshape(-1, 2), axis=0)) == 256 * 256
    counts = [np.bincount(group[:, axis].astype(int) // 32, minlength=8) for group in groups for axis in range(2)]
    assert np.min(counts) > 0.8 * 512 and np.max(counts) < 1.2 * 512


def test_variances_keep_their_digits_over_many_positions() -> None:
    F = np.random.default_rng(0).normal(3, 0.1, size=(1, 512, 512, 2)).astype(np.float32)
    mu, square = _means("mean_std", F)
    np.testing.assert_allclose(square - mu ** 2, F.astype(np.float64).var(axis=(1, 2)), rtol=0.02)
    mu, gram = _means("covariance", F)
    np.testing.assert_allclose(statistics._covariance(mu, gram)[0], np.cov(_flat(F).T, bias=True), atol=2e-4)
