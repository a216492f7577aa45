"""Steps whose loss or gradient is not finite: where a descent goes back to, what it tells, when it gives up."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.optimize import recovery
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.recovery import MOST_IN_A_ROW, Recovery
from nst_tf.optimize.state import State, from_arrays, to_arrays
from nst_tf.optimize.step import Told, make_step, run_stage, start, whole

from .conftest import make_picture

Loss = Callable[[tf.Tensor], tf.Tensor]
KINDS = [("adam", "pixels"), ("adam", "fourier"), ("lbfgs", "pixels")]
STEPS = 6


class Descent:
    """A stage of six steps on a small picture. `poison` makes J, its gradient or nothing of it not finite."""

    def __init__(self, optimizer: str = "adam", canvas: str = "pixels", loss: Loss | None = None,
                 rate: float = 0.05) -> None:
        self.optimizer, self.canvas, self.rate = OPTIMIZERS[optimizer], CANVASES[canvas], rate
        self.of_value, self.of_gradient = tf.Variable(1.0), tf.Variable(1.0)
        self.loss = loss or (lambda x: tf.reduce_mean(tf.square(x - 0.7) + 0.1 * tf.sin(20.0 * x)))
        self.step = make_step(whole(self._evaluate), self.canvas, self.optimizer, 0.0)

    def _evaluate(self, x: tf.Tensor, offset: tf.Tensor, pictures: Any) -> tuple[Mapping[str, tf.Tensor], Any]:
        of_value, of_gradient = self.of_value.read_value(), self.of_gradient.read_value()

        @tf.custom_gradient
        def poisoned(x: tf.Tensor) -> Any:
            return x * of_value, lambda upstream: upstream * of_gradient

        return {"loss/total": self.loss(poisoned(x))}, ()

    def begin(self) -> State:
        return start(tf.constant(make_picture(9, 11, 0)[None]), self.canvas, self.optimizer, step=10, stage=1)

    def steps(self, state: State) -> Iterator[tuple[State, Told]]:
        """To the end of the stage, or to where it is lost."""
        for state, told in self.stage(state):
            yield state, told
            if told.is_lost:
                return

    def stage(self, state: State) -> Iterator[tuple[State, Told]]:
        return run_stage(state, STEPS, self.optimizer, self.step, lambda t: self.rate / (1 + t),
                         lambda step: tf.constant([0, 0]), ())

    def poison(self, what: str) -> None:
        """The next steps are poisoned in `value` or `gradient`, or in `nothing`."""
        self.of_value.assign(np.nan if what == "value" else 1.0)
        self.of_gradient.assign(np.inf if what == "gradient" else 1.0)


@functools.cache
def _compiled(optimizer: str, canvas: str) -> Descent:
    return Descent(optimizer, canvas)


def _descent(optimizer: str = "adam", canvas: str = "pixels") -> Descent:
    """One for all tests, since compiling takes most of their time; not poisoned."""
    descent = _compiled(optimizer, canvas)
    descent.poison("nothing")
    return descent


def _assert_equal(one: State, other: State) -> None:
    left, right = to_arrays(one), to_arrays(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


def _is_finite(state: State) -> bool:
    return all(np.isfinite(value).all() for value in to_arrays(state).values())


@pytest.mark.parametrize("what", ["value", "gradient"])
@pytest.mark.parametrize("optimizer, canvas", KINDS[:2])
def test_a_failure_goes_back_to_before_the_step_that_made_the_picture(optimizer: str, canvas: str, what: str) -> None:
    """One poisoned step, the fourth; the run then is that which goes on from the state gone back to."""
    descent, seen = _descent(optimizer, canvas), []
    for state, told in descent.steps(descent.begin()):
        seen.append((state, told))
        descent.poison(what if len(seen) == 3 else "nothing")
    assert [(told.failures, told.failed_step) for _, told in seen] == [(0, 0)] * 3 + [(1, 14)] + [(0, 0)] * 4
    back, good = seen[3][0], seen[1][0]
    _assert_equal(back._replace(rate_share=1.0), good)
    assert [state.rate_share for state, _ in seen] == [1.0] * 3 + [0.5] * 5
    assert [state.step for state, _ in seen] == [11, 12, 13, 12, 13, 14, 15, 16]
    stored = from_arrays({name: np.array(value) for name, value in to_arrays(back).items()})
    for (state, _), (other, _) in zip(seen[4:], descent.steps(stored), strict=True):
        _assert_equal(state, other)
        assert _is_finite(state)
    assert (seen[4][0].parameters != seen[2][0].parameters).numpy().any(), "half the learning rate"


@pytest.mark.parametrize("optimizer, canvas", KINDS)
@pytest.mark.parametrize("good_steps", [0, 1, 3])
def test_three_failures_in_a_row_end_the_stage_at_a_good_state(optimizer: str, canvas: str, good_steps: int) -> None:
    descent, seen = _descent(optimizer, canvas), []
    descent.poison("nothing" if good_steps else "value")
    for state, told in descent.steps(descent.begin()):
        seen.append((state, told))
        descent.poison("value" if len(seen) >= good_steps else "nothing")
    last, told = seen[-1]
    assert told.failures == MOST_IN_A_ROW and told.is_lost and _is_finite(last)
    assert all(map(_is_finite, (state for state, _ in seen)))
    if optimizer == "adam":
        # The poison stays, so that the steps that are taken again fail too.
        assert [told.failures for _, told in seen] == [0] * good_steps + [1, 2, 3]
        assert last.stage_step == max(0, good_steps - 1) and last.rate_share == 0.125
    descent.poison("nothing")
    *_, (end, told) = descent.steps(last)
    assert end.stage_step == STEPS and _is_finite(end) and not told.failures


def test_a_stage_that_is_lost_does_not_end_as_one_that_is_done() -> None:
    descent = _descent()
    descent.poison("value")
    with pytest.raises(FloatingPointError, match="is lost"):
        for _ in descent.stage(descent.begin()):
            pass


def test_failures_that_good_steps_part_are_not_in_a_row() -> None:
    descent, failures, count = _descent(), list[int](), 0
    for state, told in descent.steps(descent.begin()):
        failures.append(told.failures)
        # Every step is poisoned when it is taken first.
        descent.poison("value" if not told.failures and state.stage_step > count else "nothing")
        count = max(count, state.stage_step)
    assert failures.count(1) == STEPS - 1 and max(failures) == 1 and state.stage_step == STEPS


def test_a_picture_that_is_left_by_smaller_steps() -> None:
    """√ of what is below 0 is not a number; a step of half the length does not reach there."""
    def loss(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.sqrt(tf.reduce_mean(x) - 0.4) + x)

    descent = Descent(loss=loss, rate=0.15)
    told = [told.failures for _, told in descent.steps(descent.begin())]
    assert 1 in told and MOST_IN_A_ROW not in told and told[-1] == 0
    # Nothing helps where the whole of J is not a number.
    lost = Descent(loss=lambda x: tf.reduce_mean(tf.math.log(-x)))
    assert [told.failures for _, told in lost.steps(lost.begin())] == [1, 2, 3]


def test_a_step_that_leaves_the_numbers_is_taken_back() -> None:
    descent = Descent(canvas="fourier", rate=3e38)
    (state, told), *_ = descent.steps(descent.begin())
    assert told.failures == 1 and np.isfinite(told.losses["loss/total"]) and _is_finite(state)


def test_lbfgs_refuses_a_trial_that_is_not_finite_and_goes_on() -> None:
    descent, seen = _descent("lbfgs"), []
    for state, told in descent.steps(descent.begin()):
        seen.append((state, told))
        descent.poison("gradient" if len(seen) == 2 else "nothing")
    assert [told.failures for _, told in seen] == [0] * STEPS and seen[-1][0].rate_share == 1.0
    losses = [float(told.losses["loss/total"]) for _, told in seen]
    assert losses[2] == losses[1] and losses[-1] < losses[2], "the trial is refused, as one that is worse"
    np.testing.assert_array_equal(seen[2][0].slots[0], seen[1][0].slots[0])


def test_where_to_go_back_to_by_hand() -> None:
    history = Recovery[str]()
    assert history.fail(0, "start") == "start"
    history.succeed(0, "start")
    assert history.in_a_row == 0
    history.succeed(1, "one")
    assert (history.fail(2, "two"), history.in_a_row) == ("one", 1)
    history.succeed(1, "one again")
    assert (history.fail(2, "two again"), history.in_a_row) == ("one again", 2)
    assert not history.is_lost
    assert history.fail(1, "one again") == "one again" and history.is_lost
    assert recovery.SHRINK == 0.5


@pytest.mark.parametrize("share", [0.0, -0.5, 2.0, np.nan])
def test_a_damaged_share_is_no_state(share: float) -> None:
    arrays = to_arrays(_descent().begin())
    assert from_arrays({name: value for name, value in arrays.items() if name != "rate_share"}).rate_share == 1.0
    with pytest.raises(ValueError, match="no share"):
        from_arrays({**arrays, "rate_share": np.array(share)})
