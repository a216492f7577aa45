"""Pyramid arithmetic, Adam, first images and the loop."""

import doctest
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from nst_tf.optimize import first_image as canvas, jitter, optimizers, pyramid
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.gradient import smooth
from nst_tf.optimize.lbfgs import Search
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.state import State, averaged, from_arrays, to_arrays
from nst_tf.optimize.step import make_step, run_stage, start, whole
from nst_tf.runs import checkpoint

from .conftest import make_picture


def test_pyramid_examples() -> None:
    results = doctest.testmod(pyramid)
    assert results.attempted >= 4 and not results.failed


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100, 501])
@pytest.mark.parametrize("size", [64, 128, 200, 512, 1024])
def test_every_step_is_planned_and_the_last_stage_has_its_share(steps: int, size: int) -> None:
    stages = pyramid.plan_stages(size, 128, steps)
    assert sum(stage.steps for stage in stages) == steps
    assert all(stage.steps > 0 for stage in stages)
    assert stages[-1].long_side_px == size and stages[-1].steps >= min(0.8 * steps, steps - 1)
    sides = [stage.long_side_px for stage in stages]
    assert sides == sorted(set(sides)) and (sides[0] >= 128 or len(sides) == 1)


def test_added_steps_prolong_the_last_stage_and_not_its_decay() -> None:
    stages = pyramid.plan_stages(256, 128, 100)
    longer = pyramid.add_steps(stages, 160)
    assert longer[:-1] == stages[:-1]
    assert longer[-1] == stages[-1]._replace(steps=stages[-1].steps + 60)


def test_learning_rate() -> None:
    stage = pyramid.Stage(256, 100, 100)
    assert pyramid.learning_rate(0.5, "constant", stage, 99) == 0.5
    rates = [pyramid.learning_rate(0.5, "cosine", stage, step) for step in (0, 50, 100, 5000)]
    np.testing.assert_allclose(rates, [0.5, 0.2625, 0.025, 0.025])


def _adam(x: tf.Tensor, g: tf.Tensor, slots: tuple, t: int, rate: float) -> tuple[tf.Tensor, tuple]:
    return optimizers.adam_update(x, g, slots, tf.constant(float(t)), tf.constant(rate))


def test_adam_first_step_by_hand() -> None:
    # m̂ = g and v̂ = g², so that the first step is α·sign(g).
    x, slots = _adam(tf.constant([1.0, 1.0]), tf.constant([0.5, -2.0]), optimizers.adam_init(tf.zeros(2)), 1, 0.1)
    np.testing.assert_allclose(x, [0.9, 1.1], rtol=1e-6)
    np.testing.assert_allclose(slots[0], [0.05, -0.2], rtol=1e-6)
    np.testing.assert_allclose(slots[1], [0.025, 0.4], rtol=1e-5)


def test_adam_equals_keras_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "BETA_2", 0.99)  # another than β₁: the two exchanged must not pass
    start = make_picture(5, 7, 0)
    reference, x = tf.Variable(start), tf.constant(start)
    optimizer = keras.optimizers.Adam(0.03, optimizers.BETA_1, optimizers.BETA_2, epsilon=optimizers.EPSILON)
    slots = optimizers.adam_init(x)
    for t in range(1, 8):
        gradient = tf.sin(13.0 * t * x)
        optimizer.apply_gradients([(tf.sin(13.0 * t * reference), reference)])
        x, slots = _adam(x, gradient, slots, t, 0.03)
        np.testing.assert_allclose(x, reference, atol=2e-5)


def _origins() -> canvas.Origins:
    content, *styles = (make_picture(17, 23, seed) for seed in range(3))
    return canvas.Origins(content.shape, lambda: content, lambda: styles, (0.25, 0.75), (0.2, 0.4, 0.6), seed=5)


@pytest.mark.parametrize("name", canvas.INITIALIZERS)
def test_every_first_image_is_a_picture_and_repeats(name: str) -> None:
    image = canvas.first_image(name, _origins()).numpy()
    assert image.shape == (1, 17, 23, 3) and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    np.testing.assert_array_equal(image, canvas.first_image(name, _origins()).numpy())
    if "noise" in name:
        other = canvas.first_image(name, _origins()._replace(seed=6)).numpy()
        assert np.abs(image - other).mean() > 0.04


def test_first_images_by_hand() -> None:
    origins = _origins()
    content, style = origins.content(), 0.25 * origins.styles()[0] + 0.75 * origins.styles()[1]
    expected = {"content": content, "style": style, "blend": (content + style) / 2,
                "white": np.ones((17, 23, 3)), "black": np.zeros((17, 23, 3)),
                "mean": np.broadcast_to([0.2, 0.4, 0.6], (17, 23, 3))}
    for name, image in expected.items():
        np.testing.assert_allclose(canvas.first_image(name, origins)[0], image, atol=1e-6, err_msg=name)
    noise = canvas.first_image("white_noise", origins).numpy()
    assert abs(noise.mean() - 0.5) < 0.03 and abs(noise.std() - 12 ** -0.5) < 0.02
    noise = canvas.first_image("gaussian_noise", origins._replace(mean_color=(0.5, 0.5, 0.5))).numpy()
    assert abs(noise.mean() - 0.5) < 0.03 and abs(noise.std() - canvas.NOISE_STANDARD_DEVIATION) < 0.02
    faint = canvas.first_image("faint_noise", origins._replace(mean_color=(0.5, 0.5, 0.5))).numpy()
    assert abs(faint.mean() - 0.5) < 0.01 and abs(faint.std() - 0.05) < 0.005


def test_enlarge_keeps_a_ramp_and_its_range() -> None:
    ramp = np.linspace(0.2, 0.8, 20, dtype=np.float32)[None, None, :, None] * np.ones((1, 10, 1, 3), np.float32)
    large = canvas.enlarge(ramp, 17, 40).numpy()
    assert large.shape == (1, 17, 40, 3)
    np.testing.assert_allclose(np.diff(large[0, 8, 4:-4, 0]), 0.6 / 19 / 2, rtol=1e-2)
    checkers = np.indices((8, 8)).sum(0)[None, ..., None] % 2 * np.ones((1, 1, 1, 3))
    assert 0 <= canvas.enlarge(checkers.astype(np.float32), 21, 21).numpy().min()


def _photo_at_two_sizes() -> tuple[np.ndarray, np.ndarray]:
    large = 0.2 + 0.6 * make_picture(34, 46, 3)[None]
    return large.reshape(1, 17, 2, 23, 2, 3).mean((2, 4)), large


def test_what_was_not_changed_starts_the_next_size_as_the_photo() -> None:
    small, large = _photo_at_two_sizes()
    np.testing.assert_allclose(canvas.enlarge_changes(small, small, large), large, atol=1e-6)
    assert np.abs(canvas.enlarge(small, 34, 46) - large).mean() > 0.03


def test_changes_are_enlarged_onto_the_photo() -> None:
    small, large = _photo_at_two_sizes()
    darker = small - np.array([0.1, 0.05, 0.0], np.float32)
    expected = large - np.array([0.1, 0.05, 0.0], np.float32)
    np.testing.assert_allclose(canvas.enlarge_changes(darker, small, large), expected, atol=1e-6)
    black = canvas.enlarge_changes(small - 1.0, small, large).numpy()
    assert black.min() == 0.0 and black.max() == 0.0


def test_smooth_by_hand() -> None:
    impulse = np.zeros((1, 5, 7, 3), np.float32)
    impulse[0, 2, 3, 1] = 16.0
    smoothed = smooth(tf.constant(impulse), 0.5).numpy()
    expected = 0.5 * np.outer([1, 2, 1], [1, 2, 1])
    expected[1, 1] += 8.0
    np.testing.assert_allclose(smoothed[0, 1:4, 2:5, 1], expected)
    assert smoothed.sum() == 16.0 and not smoothed[..., [0, 2]].any()
    np.testing.assert_array_equal(smooth(tf.constant(impulse), 0.0), impulse)


def test_smooth_equals_scipy_with_mirrored_edges() -> None:
    g = make_picture(17, 23, 0)[None]
    expected = scipy.ndimage.correlate(g, np.outer([1, 2, 1], [1, 2, 1])[None, ..., None] / 16, mode="mirror")
    np.testing.assert_allclose(smooth(tf.constant(g), 1.0), expected, atol=1e-6)


def test_a_smoothed_gradient_still_descends() -> None:
    # A mirrored blur is symmetric up to its edges; on random gradients <g, Sg> stays positive.
    for seed in range(20):
        g = np.random.default_rng(seed).normal(size=(1, 17, 23, 3)).astype(np.float32)
        assert np.vdot(g, smooth(tf.constant(g), 0.7)) > 0.2 * np.vdot(g, g)


def _toy(image: tf.Tensor, offset: tf.Tensor, pictures: Any) -> tuple[Mapping[str, tf.Tensor], Any]:
    return _toy_losses(image, offset), ()


def _toy_losses(image: tf.Tensor, offset: tf.Tensor) -> Mapping[str, tf.Tensor]:
    image = jitter.shift(image, offset, 2)
    return {"loss/total": tf.reduce_mean(tf.square(image - 0.7)) + 0.1 * tf.reduce_mean(tf.sin(20.0 * image))}


def _offset(step: int) -> tf.Tensor:
    return jitter.offset(7, step, 2)


def _start(height: int, width: int, optimizer: str = "adam", canvas_name: str = "pixels") -> State:
    image = tf.constant(make_picture(height, width, 0)[None])
    return start(image, CANVASES[canvas_name], OPTIMIZERS[optimizer], step=10, stage=2)


def _run(state: State, until: int, optimizer: str = "adam", canvas_name: str = "pixels") -> list[State]:
    step = make_step(whole(_toy), CANVASES[canvas_name], OPTIMIZERS[optimizer],
                     0.5 if (optimizer, canvas_name) == ("adam", "pixels") else 0.0)
    offset = _offset if optimizer == "adam" else lambda step: tf.constant([2, 2])
    stage = run_stage(state, until, OPTIMIZERS[optimizer], step, lambda t: 0.02 / (1 + t), offset, ())
    return [after for after, _ in stage]


@pytest.mark.parametrize("canvas_name", CANVASES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_loop_stops_and_goes_on_bit_for_bit(optimizer: str, canvas_name: str, tmp_path: Path) -> None:
    begin = _start(17, 23, optimizer, canvas_name)
    complete, first = (_run(begin, until, optimizer, canvas_name) for until in (9, 4))
    checkpoint.save(tmp_path, first[-1].step, to_arrays(first[-1]))
    stored = checkpoint.newest(tmp_path, from_arrays)
    assert stored is not None
    rest = _run(stored, 9, optimizer, canvas_name)
    assert [state.step for state in complete] == list(range(11, 20))
    assert (complete[-1].stage, complete[-1].stage_step) == (2, 9)
    for one, other in zip(complete[4:], rest, strict=True):
        for field, value in one._asdict().items():
            for left, right in zip(tf.nest.flatten(value), tf.nest.flatten(getattr(other, field)), strict=True):
                np.testing.assert_array_equal(left, right, err_msg=field)


def test_adam_on_pixels_is_these_operations_bit_for_bit() -> None:
    begin = _start(17, 23)

    @tf.function(autograph=False)
    def step(x: tf.Tensor, average: tf.Tensor, m: tf.Tensor, v: tf.Tensor, t: tf.Tensor, rate: tf.Tensor,
             offset: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = _toy_losses(x, offset)["loss/total"]
        g = smooth(tape.gradient(total, x), 0.5)
        m, v = 0.9 * m + (1.0 - 0.9) * g, 0.9 * v + (1.0 - 0.9) * tf.square(g)
        x = x - rate * (m / (1.0 - tf.pow(0.9, t))) / (tf.sqrt(v / (1.0 - tf.pow(0.9, t))) + 1e-8)
        x = tf.clip_by_value(x, 0.0, 1.0)
        return x, 0.9 * average + (1.0 - 0.9) * x, m, v

    values = (begin.parameters, begin.average, *begin.slots)
    for t in range(6):
        values = step(*values, tf.constant(t + 1.0), tf.constant(0.02 / (1 + t)), _offset(10 + t))
    last = _run(begin, 6)[-1]
    for value, kept in zip(values, (last.parameters, last.average, *last.slots), strict=True):
        np.testing.assert_array_equal(value, kept)
    np.testing.assert_array_equal(averaged(last), np.clip(values[1] / np.float32(1 - 0.9 ** 6), 0, 1))


def test_loop_averages_its_iterates() -> None:
    states = _run(_start(5, 7), 6)
    weights = [optimizers.AVERAGE_DECAY ** (5 - k) for k in range(6)]
    images = [state.parameters.numpy() for state in states]
    expected = sum(weight * image for weight, image in zip(weights, images, strict=True)) / sum(weights)
    np.testing.assert_allclose(averaged(states[-1]), expected, atol=1e-6)
    np.testing.assert_allclose(averaged(states[0]), images[0], atol=1e-6)


def test_the_average_is_of_decoded_images() -> None:
    states = _run(_start(17, 23, canvas_name="fourier"), 3, canvas_name="fourier")
    images = [CANVASES["fourier"].decode(state.parameters, 17, 23).numpy() for state in states]
    expected = (0.9 ** 2 * images[0] + 0.9 * images[1] + images[2]) / (0.9 ** 2 + 0.9 + 1)
    np.testing.assert_allclose(averaged(states[-1]), expected, atol=1e-5)


def test_of_lbfgs_the_accepted_point_is_shown_and_never_gets_worse() -> None:
    states = _run(_start(17, 23, "lbfgs"), 25, "lbfgs")
    values = [float(_toy_losses(averaged(state), tf.constant([2, 2]))["loss/total"]) for state in states]
    assert all(later <= earlier + 1e-7 for earlier, later in zip(values, values[1:]))
    assert values[-1] < 0.2 * values[0]
    for state in states:
        np.testing.assert_array_equal(averaged(state), Search(*state.slots).point)


def _shown(state: State, until: int) -> list[tuple[State, dict[str, float]]]:
    """Each state of L-BFGS with its losses, from first steps so long that some trials are refused."""
    method = OPTIMIZERS["lbfgs"]
    step = make_step(whole(_toy), CANVASES["pixels"], method, 0.0)
    stage = run_stage(state, until, method, step, lambda t: 0.4, lambda step: tf.constant([2, 2]), ())
    return [(after, {tag: float(loss) for tag, loss in told.losses.items()}) for after, told in stage]


def test_of_lbfgs_the_losses_are_those_of_the_picture_also_after_a_stop(tmp_path: Path) -> None:
    begin = _start(17, 23, "lbfgs")
    shown = _shown(begin, 9)
    points = [Search(*state.slots).point.numpy() for state, _ in shown]
    refused = [k for k in range(1, 9) if (points[k] == points[k - 1]).all()]
    assert refused
    for state, losses in shown:
        expected = float(_toy_losses(tf.constant(averaged(state)), tf.constant([2, 2]))["loss/total"])
        assert losses["loss/total"] == pytest.approx(expected, abs=1e-7)
    for k in refused:
        assert shown[k][1] == shown[k - 1][1]
        # Stopped just before a refusal, the losses of the accepted point are gone: the same are measured again.
        (before, _), later = _shown(begin, k)[-1], shown[k:]
        checkpoint.save(tmp_path, before.step, to_arrays(before))
        stored = checkpoint.newest(tmp_path, from_arrays)
        assert stored and [losses for _, losses in _shown(stored, 9)] == [losses for _, losses in later]


def test_of_lbfgs_a_refused_trial_as_good_as_the_picture_is_not_logged() -> None:
    """From 3/4 the first trial is 1/4, as far from 1/2 and so with the very same J, which is no decrease."""
    def evaluate(image: tf.Tensor, offset: tf.Tensor, pictures: Any) -> tuple[dict[str, tf.Tensor], Any]:
        return {"loss/total": tf.reduce_sum(tf.square(image - 0.5)), "loss/side": tf.reduce_mean(image)}, ()

    pixels, method = CANVASES["pixels"], OPTIMIZERS["lbfgs"]
    begin = start(tf.fill([1, 3, 5, 3], 0.75), pixels, method, 0, 0)
    stage = run_stage(begin, 3, method, make_step(whole(evaluate), pixels, method, 0.0), lambda t: 0.5, _offset, ())
    sides, shown = zip(*[(float(told.losses["loss/side"]), averaged(state).mean()) for state, told in stage])
    assert sides == shown == (0.75, 0.75, 0.5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_loop_keeps_pixels_between_0_and_1(optimizer: str) -> None:
    pixels, method = CANVASES["pixels"], OPTIMIZERS[optimizer]
    step = make_step(whole(lambda image, offset, _: ({"loss/total": -tf.reduce_sum(image)}, ())), pixels, method, 0.0)
    *_, (last, _) = run_stage(_start(5, 7, optimizer), 5, method, step, lambda t: 10.0, _offset, ())
    np.testing.assert_array_equal(last.parameters, np.ones((1, 5, 7, 3)))
    np.testing.assert_array_equal(averaged(last), np.ones((1, 5, 7, 3)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_step_is_traced_once(optimizer: str) -> None:
    method = OPTIMIZERS[optimizer]
    step = make_step(whole(_toy), CANVASES["pixels"], method, 0.5)
    for _ in run_stage(_start(17, 23, optimizer), 30, method, step, lambda t: 0.1 / (t + 1), _offset, ()):
        pass
    assert step.experimental_get_tracing_count() == 1  # type: ignore[attr-defined]
