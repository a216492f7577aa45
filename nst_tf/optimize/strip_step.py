"""A step of a picture that is too large for many copies: values lie on the host, and are updated strip by strip."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.optimize.canvas import Canvas
from nst_tf.optimize.gradient import smooth
from nst_tf.optimize.optimizers import Evaluation, Optimizer
from nst_tf.optimize.state import State
from nst_tf.optimize.step import Outcome, ValueAndGradient
from nst_tf.strips import strips
from nst_tf.tensors import Array, Tensor


def start_on_host(image: Tensor, optimizer: Optimizer, step: int, stage: int) -> State:
    """`step.start` where θ are the pixels, with values that may change in place.

    Pages of zeros take no memory before they are written.
    """
    theta = np.array(image)
    slots = tuple(np.zeros_like(theta) for _ in optimizer.init(theta[:, :1, :1]))
    return State(step, stage, 0, theta, np.zeros_like(theta), 0.0, slots)


def on_host(state: State) -> State:
    """The same state, with copies of its values that may change in place."""
    return state._replace(parameters=np.array(state.parameters), average=np.array(state.average),
                          slots=tuple(map(np.array, state.slots)))


class HostValues:
    """The values of a state on the host: θ, the average and the slots. They change in place.

    Of the state before, only θ is kept, in half precision: enough to go back to, where the new point cannot be
    evaluated. It is its own average then, and the optimizer begins afresh.
    """

    def __init__(self, state: State) -> None:
        self.arrays: list[Array] = [state.parameters, state.average, *state.slots]
        self._earlier = np.empty(state.parameters.shape, np.float16)

    @classmethod
    def of(cls, state: State) -> "HostValues":
        """The values of a state that `on_host` returned."""
        return cls(state)

    def __iter__(self) -> Iterator["HostValues"]:
        yield self

    def assign(self, state: State) -> State:
        """Goes back to what `before` returned; returns it with the values that it has now."""
        theta, average, *slots = self.arrays
        theta[...] = state.parameters
        if not state.slots:
            np.multiply(theta, np.float32(state.average_weight), out=average)
            for slot in slots:
                slot[...] = 0.0
        return self._with_arrays(state)

    def before(self, state: State) -> State:
        """The state from which the last step began."""
        return state._replace(parameters=self._earlier, average=self.arrays[1], slots=())

    def after(self, before: State, average_weight: float) -> State:
        """The state after a step from `before`."""
        return self._with_arrays(before._replace(
            step=before.step + 1, stage_step=before.stage_step + 1, average_weight=average_weight))

    def move(self, rows: slice, strips: list[Tensor]) -> None:
        """New values of some rows."""
        self._earlier[:, rows] = self.arrays[0][:, rows]
        for array, strip in zip(self.arrays, strips, strict=True):
            array[:, rows] = strip.numpy()

    def _with_arrays(self, state: State) -> State:
        parameters, average, *slots = self.arrays
        return state._replace(parameters=parameters, average=average, slots=tuple(slots))


class StripStep:
    """A step like that of `step.make_step`, for an optimizer that moves each pixel by itself.

    Args:
        value_and_gradient: its gradient is an array on the host.
        canvas: one whose θ are the pixels.
        gradient_smoothing: s of `gradient.smooth`.
    """

    variables = HostValues

    def __init__(self, value_and_gradient: ValueAndGradient, canvas: Canvas, optimizer: Optimizer,
                 gradient_smoothing: float) -> None:
        self._value_and_gradient = value_and_gradient
        self._moved = tf.function(partial(_moved, canvas, optimizer, gradient_smoothing), autograph=False)

    def __call__(self, values: HostValues, t: Tensor, learning_rate: Tensor, offset: Tensor, pictures: Any) -> Outcome:
        J, gradient, losses, sums = self._value_and_gradient(values.arrays[0], offset, pictures)
        g = np.asarray(gradient)
        is_evaluated = is_made = bool(np.isfinite(J) and np.isfinite(np.vdot(g, g)))
        height = g.shape[1]
        for rows in strips(g.shape[1:]) if is_evaluated else ():
            # A blur reads a row above and one below.
            seen = slice(max(0, rows.start - 1), min(rows.stop + 1, height))
            moved, is_finite = self._moved([tf.constant(array[:, rows]) for array in values.arrays],
                                           tf.constant(g[:, seen]), tf.constant(J), t, learning_rate,
                                           rows.start - seen.start)
            values.move(rows, moved)
            is_made = is_made and bool(is_finite)
        return Outcome(losses, sums, tf.constant([is_evaluated, is_made]))


def _moved(canvas: Canvas, optimizer: Optimizer, gradient_smoothing: float, values: list[Tensor], g: Tensor, J: Tensor,
           t: Tensor, learning_rate: Tensor, above_px: int) -> tuple[list[Tensor], Tensor]:
    """The values of a strip after a step, and whether they are finite; `g` has `above_px` rows more above it."""
    theta, average, *slots = values
    g = smooth(g, gradient_smoothing)[:, above_px:above_px + theta.shape[1]]
    theta, after = optimizer.update(Evaluation(theta, J, g, t, learning_rate, canvas.project), tuple(slots))
    theta = canvas.project(theta)
    average = optimizer.average_decay * average + (1.0 - optimizer.average_decay) * theta
    return [theta, average, *after], tf.math.is_finite(tf.reduce_sum(theta) + tf.reduce_sum(average))
