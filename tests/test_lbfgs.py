"""L-BFGS: steps by hand, the two loops against the BFGS matrix, SciPy as the outside oracle, boxes, not a number."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from nst_tf.optimize.lbfgs import HISTORY, Search, descent_direction, is_free, lbfgs_init, lbfgs_update
from nst_tf.optimize.optimizers import OPTIMIZERS

Function = Callable[[tf.Tensor], tf.Tensor]
# Evaluations that L-BFGS may need for each one of SciPy's; measured: 0.96 to 1.21.
FACTOR = 1.5


def _unbounded(x: tf.Tensor) -> tf.Tensor:
    return x


def _box(x: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(x, -0.5, 0.5)


def _searches(function: Function, start: np.ndarray, steps: int, rate: float = 0.03,
              project: Function = _unbounded) -> list[tuple[float, Search]]:
    """(J at the trial point, the search afterwards) of each call."""
    @tf.function(autograph=False)
    def step(x: tf.Tensor, slots: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        g = tape.gradient(value, x)
        x, slots = lbfgs_update(x, value, g, slots, tf.constant(rate), project)
        return project(x), slots, value

    x, slots, seen = tf.constant(start, tf.float32), lbfgs_init(tf.constant(start, tf.float32)), []
    for _ in range(steps):
        x, slots, value = step(x, slots)
        seen.append((float(value), slots))
    return seen


def _evaluations(values: list[float], target: float) -> int:
    """Evaluations until the target is reached."""
    reached = [index for index, value in enumerate(values) if value <= target]
    assert reached, f"{min(values)} is above {target}"
    return reached[0] + 1


def _scipy_values(function: Function, start: np.ndarray, bounds: Any = None) -> list[float]:
    values = []

    @tf.function(autograph=False)
    def differentiate(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return value, tape.gradient(value, x)

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, g = differentiate(tf.constant(x, tf.float64))
        values.append(float(value))
        return values[-1], g.numpy()

    scipy.optimize.minimize(evaluate, start, jac=True, method="L-BFGS-B", bounds=bounds,
                            options={"maxcor": HISTORY, "ftol": 0.0, "gtol": 1e-12, "maxiter": 3000, "maxfun": 450})
    return values


def _rosenbrock(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(100.0 * tf.square(x[1:] - tf.square(x[:-1])) + tf.square(1.0 - x[:-1]))


def _quadratic(condition: float) -> Function:
    """½ (x − c)ᵀ A (x − c) in 60 dimensions, A of this condition, not aligned with the axes."""
    generator = np.random.default_rng(0)
    basis, _ = np.linalg.qr(generator.normal(size=(60, 60)))
    matrix, center = basis @ np.diag(np.geomspace(1, condition, 60)) @ basis.T, generator.normal(size=60)

    def quadratic(x: tf.Tensor) -> tf.Tensor:
        d = x - tf.cast(center, x.dtype)
        return 0.5 * tf.reduce_sum(d * tf.linalg.matvec(tf.cast(matrix, x.dtype), d))

    return quadratic


def test_the_first_steps_by_hand() -> None:
    # J = ½ (x² + 9 y²) from (3, 1): g = (3, 9), root mean square √45; the step is 0.6/√45 of it.
    def function(x: tf.Tensor) -> tf.Tensor:
        return 0.5 * (x[0] ** 2 + 9.0 * x[1] ** 2)

    (first, after_first), (second, after_second), _ = _searches(function, np.array([3.0, 1.0]), 3, rate=0.6)
    length = 0.6 / np.sqrt(45)
    assert first == 9.0 and after_first.value == 9.0
    np.testing.assert_allclose(after_first.step_length, length, rtol=1e-6)
    np.testing.assert_allclose(after_first.direction, [-3, -9], rtol=1e-6)
    assert not after_first.s.numpy().any() and not after_first.y.numpy().any()
    x = np.array([3.0, 1.0]) - length * np.array([3.0, 9.0])
    np.testing.assert_allclose(second, 0.5 * (x[0] ** 2 + 9 * x[1] ** 2), rtol=1e-5)
    np.testing.assert_allclose(after_second.point, x, rtol=1e-5)
    np.testing.assert_allclose(after_second.s[-1], x - [3, 1], rtol=1e-4)
    np.testing.assert_allclose(after_second.y[-1], [x[0] - 3, 9 * (x[1] - 1)], rtol=1e-4)
    assert after_second.step_length == 1.0


def test_a_refusal_by_hand() -> None:
    # J = x² from 1, g = 2, first trial at 1 − 4 = −3: J = 9, slope −8. Parabola: α · 8 / (2 (9 − 1 + 8)) = α / 4.
    (_, _), (value, refused), (_, accepted) = _searches(lambda x: tf.reduce_sum(x * x), np.array([1.0]), 3, rate=4.0)
    assert value == 9.0 and refused.value == 1.0 and refused.refusals == 1.0
    np.testing.assert_allclose(refused.step_length, 2.0 / 4.0)
    np.testing.assert_allclose(accepted.point, 0.0, atol=1e-6)


def test_the_two_loops_equal_the_bfgs_matrix() -> None:
    generator = np.random.default_rng(1)
    s = generator.normal(size=(4, 7))
    hessian = np.diag(np.arange(1.0, 8.0))
    y = s @ hessian
    y[1] = -y[1]  # no curvature: skipped
    g = generator.normal(size=7)
    inverse = np.eye(7) * (s[3] @ y[3]) / (y[3] @ y[3])
    for k in (0, 2, 3):
        rho = 1 / (s[k] @ y[k])
        left = np.eye(7) - rho * np.outer(s[k], y[k])
        inverse = left @ inverse @ left.T + rho * np.outer(s[k], s[k])
    direction, has_history = descent_direction(*(tf.constant(value, tf.float32) for value in (g, s, y)))
    np.testing.assert_allclose(direction, -inverse @ g, rtol=2e-4)
    assert has_history
    nothing = tf.zeros((4, 7), tf.float64)
    direction, has_history = descent_direction(tf.constant(g), nothing, nothing)
    np.testing.assert_array_equal(direction, -g)
    assert not has_history


def test_what_is_held_at_a_bound() -> None:
    x, g = tf.constant([-0.5, -0.5, 0.5, 0.5, 0.1, 0.1]), tf.constant([1e-9, -1e-9, 1e-9, -1e-9, 1e-9, -1e-9])
    np.testing.assert_array_equal(is_free(x, g, _box), [0, 1, 1, 0, 1, 1])


@pytest.mark.parametrize("dimensions", [2, 10, 20])
def test_rosenbrock_as_soon_as_scipy(dimensions: int) -> None:
    start = np.tile([-1.2, 1.0], dimensions // 2)
    expected = _evaluations(_scipy_values(_rosenbrock, start), 1e-6)
    seen = _searches(_rosenbrock, start, int(FACTOR * expected))
    assert _evaluations([value for value, _ in seen], 1e-6) <= FACTOR * expected
    np.testing.assert_allclose(seen[-1][1].point, np.ones(dimensions), atol=2e-3)


@pytest.mark.parametrize("condition", [1e2, 1e3])
def test_a_quadratic_as_soon_as_scipy(condition: float) -> None:
    function, start = _quadratic(condition), np.zeros(60)
    expected = _evaluations(_scipy_values(function, start), 1e-4)
    values = [value for value, _ in _searches(function, start, int(FACTOR * expected))]
    assert _evaluations(values, 1e-4) <= FACTOR * expected


@pytest.mark.parametrize("condition", [1e2, 1e3])
def test_a_quadratic_in_a_box_as_soon_as_scipy(condition: float) -> None:
    function, start = _quadratic(condition), np.zeros(60)
    values = _scipy_values(function, start, [(-0.5, 0.5)] * 60)
    minimum = min(values)
    expected = _evaluations(values, minimum * 1.0001)
    seen = _searches(function, start, int(FACTOR * expected) + 5, project=_box)
    assert _evaluations([value for value, _ in seen], minimum * 1.0001) <= FACTOR * expected + 5
    point = seen[-1][1].point.numpy()
    assert np.abs(point).max() <= 0.5 and (np.abs(point) == 0.5).sum() > 10


def test_a_trial_without_a_finite_value_is_refused() -> None:
    # log is not a number left of 0, where the first trial lands; the minimum of x − log x is at 1.
    seen = _searches(lambda x: tf.reduce_sum(x - tf.math.log(x)), np.array([4.0, 3.0]), 25, rate=9.0)
    assert not np.isfinite([value for value, _ in seen]).all()
    assert all(np.isfinite(part.numpy()).all() for _, search in seen for part in search)
    np.testing.assert_allclose(seen[-1][1].point, [1, 1], atol=1e-3)


def test_a_pair_whose_inverse_overflows_leaves_the_gradient() -> None:
    # sᵀy = 5e-38 and sᵀg = −100: their quotient is no float32.
    x, g, y = tf.constant([0.1, 0.1]), tf.constant([-1e3, -5e-37]), tf.constant([0.0, 5e-37])
    old = lbfgs_init(tf.zeros(2))._replace(value=tf.constant(1e3), gradient=g - y)
    trial, search = lbfgs_update(x, tf.constant(900.0), g, old, tf.constant(0.1), _unbounded)
    assert all(np.isfinite(part).all() for part in (trial, *search))
    np.testing.assert_array_equal(search.direction, -g)


@pytest.mark.parametrize("slope, fails", [(0.0, True), (0.0, False), (-8.0, False)])
def test_what_was_refused_is_known_by_the_point(slope: float, fails: bool) -> None:
    x, trial, J, pairs = tf.constant([1.0, 2.0]), tf.constant([1.0, 3.0]), tf.constant(5.0), tf.zeros([HISTORY, 2])
    search = Search(x, J, tf.constant([0.0, slope]), tf.constant([0.0, 1.0]), tf.constant(1.0), tf.constant(0.0), pairs,
                    pairs)
    g = tf.constant([np.nan if fails else 0.5, 0.0])
    _, after = lbfgs_update(trial, J, g, search, tf.constant(0.1), _unbounded)
    keeps = fails or slope < 0
    assert after.value == J and OPTIMIZERS["lbfgs"].is_refused(trial, after) == keeps
    np.testing.assert_array_equal(after.point, x if keeps else trial)


def test_accepted_values_never_rise() -> None:
    def rugged(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.square(x)) + tf.reduce_sum(tf.abs(tf.sin(40.0 * x)))

    searches = [search for _, search in _searches(rugged, np.linspace(-2, 3, 9), 200, rate=0.1)]
    values = [float(search.value) for search in searches]
    assert values == sorted(values, reverse=True) and values[-1] < 0.7 * values[0]


def test_the_tenth_refusal_forgets_the_history() -> None:
    x, g = tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0])
    pairs = tf.ones([HISTORY, 2])
    search = Search(x, tf.constant(5.0), g, -0.1 * g, tf.constant(0.5), tf.constant(8.0), pairs, pairs)
    trial = x - 0.05 * g
    for refusals, keeps in ((9.0, True), (0.0, False)):
        following, search = lbfgs_update(trial, tf.constant(6.0), g, search, tf.constant(0.1), _unbounded)
        assert search.refusals == refusals and search.s.numpy().any() == search.y.numpy().any() == keeps
        np.testing.assert_array_equal(search.point, x)
    np.testing.assert_allclose(search.direction, -g)
    np.testing.assert_allclose(following, x - 0.1 * g / np.sqrt(12.5), rtol=1e-6)


def test_pairs_join_points_inside_the_box() -> None:
    searches = [search for _, search in _searches(_quadratic(1e2), np.zeros(60), 12, rate=0.5, project=_box)]
    points = [search.point.numpy() for search in searches]
    joined = {(later - earlier).tobytes() for earlier, later in zip(points, points[1:])}
    pairs = [pair for pair in searches[-1].s.numpy() if pair.any()]
    assert len(pairs) >= 5 and all(pair.tobytes() in joined for pair in pairs)
