"""THE step: value and gradient in, picture out; and the loop that takes it for one stage.

A dream has its own: `recipes/dream/steps.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.optimize.canvas import Canvas
from nst_tf.optimize.gradient import smooth
from nst_tf.optimize.optimizers import Evaluation, Optimizer
from nst_tf.optimize.recovery import MOST_IN_A_ROW, SHRINK, Recovery
from nst_tf.optimize.state import State
from nst_tf.tensors import Tensor


class Value(NamedTuple):
    """J of the picture, its gradient by the picture, and what a step tells of it.

    `losses` are scalars by TensorBoard tag, summed over a batch. `sums` are what they were made of: further losses
    follow from them without the picture.
    """

    J: Tensor
    gradient: Tensor
    losses: Mapping[str, Tensor]
    sums: Any


# (picture [B, *space, 3], offset of `jitter`, what is known of the pictures) → value and gradient, whole or in tiles.
ValueAndGradient = Callable[[Tensor, Tensor, Any], Value]
Evaluate = Callable[[Tensor, Tensor, Any], tuple[Mapping[str, Tensor], Any]]


class Outcome(NamedTuple):
    """What a compiled step returns: the losses and sums of the point that it evaluated, and what of it is finite.

    `is_finite` [2]: J and its gradient; the parameters and the average after the step.
    """

    losses: Mapping[str, Tensor]
    sums: Any
    is_finite: Tensor


class Told(NamedTuple):
    """What the loop tells of a step: losses and sums, and how often in a row a step was not finite; 0 where it was.

    After a failure, that of `failed_step`, the state is the one that the loop has gone back to.
    """

    losses: Mapping[str, Tensor]
    sums: Any
    failures: int = 0
    failed_step: int = 0

    @property
    def is_lost(self) -> bool:
        """Whether the stage has failed too often: it does not come to its end."""
        return self.failures >= MOST_IN_A_ROW


def whole(evaluate: Evaluate) -> ValueAndGradient:
    """Value and gradient of whole pictures.

    Args:
        evaluate: (picture, offset, pictures) → losses by tag, each [B], with J under `loss/total`; and their sums.
    """
    def value_and_gradient(x: Tensor, offset: Tensor, pictures: Any) -> Value:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            losses, sums = evaluate(x, offset, pictures)
            of_batch = {tag: tf.reduce_sum(loss) for tag, loss in losses.items()}
        J = of_batch["loss/total"]
        return Value(J, tape.gradient(J, x), of_batch, sums)

    return value_and_gradient


def start(image: Tensor, canvas: Canvas, optimizer: Optimizer, step: int, stage: int) -> State:
    """The state at the beginning of a stage: nothing averaged yet, the optimizer afresh."""
    # Measured: Adam's moments carried over from the smaller size were slightly worse than new ones.
    theta = canvas.encode(image)
    return State(step, stage, 0, theta, tf.zeros_like(image), 0.0, optimizer.init(theta))


def with_other_objective(state: State, optimizer: Optimizer) -> State:
    """The same picture where the steps to come minimize another J.

    What refuses points compares values of J, and begins afresh from its answer. Others keep their slots.
    """
    if not optimizer.accepted:
        return state
    theta = optimizer.answer(tf.constant(state.parameters), tuple(map(tf.constant, state.slots)))
    return state._replace(parameters=theta, slots=optimizer.init(theta))


def make_step(value_and_gradient: ValueAndGradient, canvas: Canvas, optimizer: Optimizer,
              gradient_smoothing: float, is_compiled: bool = True) -> Callable[..., Outcome]:
    """The compiled step: gradient of J by θ, the optimizer's update, projection, the running average of the images.

    Pictures and targets are its arguments, so that it serves every job of the same sizes.

    Args:
        canvas: image = decode(θ).
        gradient_smoothing: s of `gradient.smooth`, in [0, 1]; 0 where θ are no pixels.
        is_compiled: not where `value_and_gradient` compiles its own parts, as in tiles.
    Returns:
        a `tf.function` (parameters, average, slots: lists of `tf.Variable`; t, learning_rate: float32 scalars; offset:
        int32, one for each space axis; pictures) → `Outcome`, which changes the variables in place and is traced once.
    """
    # A partial, because TensorFlow counts traces by the code of a function: steps of other sizes are no retracing.
    step: Callable[..., Outcome] = partial(_step, value_and_gradient, canvas, optimizer, gradient_smoothing)
    return tf.function(step, autograph=False) if is_compiled else step


def _step(value_and_gradient: ValueAndGradient, canvas: Canvas, optimizer: Optimizer, gradient_smoothing: float,
          parameters: Any, average: Any, slots: list[Any], t: Tensor, learning_rate: Tensor, offset: Tensor,
          pictures: Any) -> Outcome:
    size, decay = average.shape[1:-1], optimizer.average_decay
    theta = parameters.read_value()
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(theta)
        x = canvas.decode(theta, *size)
    J, by_picture, losses, sums = value_and_gradient(x, offset, pictures)
    g = smooth(tape.gradient(x, theta, tf.convert_to_tensor(by_picture)), gradient_smoothing)
    before = tuple(slot.read_value() for slot in slots)
    theta, after = optimizer.update(Evaluation(theta, J, g, t, learning_rate, canvas.project), before)
    theta = canvas.project(theta)
    parameters.assign(theta)
    x = canvas.decode(optimizer.answer(theta, after), *size)
    mean = decay * average + (1.0 - decay) * x
    average.assign(mean)
    for slot, new_slot in zip(slots, after, strict=True):
        slot.assign(new_slot)
    # Sums of all values are as finite as each of them. A square of g, which Adam keeps, overflows before g does.
    evaluated, made = J + tf.reduce_sum(tf.square(g)), tf.reduce_sum(theta) + tf.reduce_sum(mean)
    return Outcome(losses, sums, tf.math.is_finite(tf.stack([evaluated, made])))


def run_stage(state: State, steps: int, optimizer: Optimizer, step: Callable[..., Outcome],
              learning_rate: Callable[[int], float], offset: Callable[[int], Tensor],
              pictures: Any) -> Iterator[tuple[State, Told]]:
    """Steps from `state` to the end of its stage; yields the state after each step, and what this step told.

    The losses are those of the point that the step evaluated; where the optimizer refused it, of the one that it kept.
    A step that is not finite goes back to an earlier state at half the learning rate (see `recovery`). An optimizer
    that has accepted a point refuses one that is not finite itself.

    Args:
        steps: length of the stage; `state.stage_step` of them are done.
        step: what `make_step` returned, or a step with `variables` of its own kind (see `strip_step`).
        optimizer: that which `step` was made with.
        learning_rate: stage step (from 0) → α.
        offset: step over all stages (from 0) → int32, one for each space axis.
        pictures: what `value_and_gradient` knows of the pictures.
    Raises:
        FloatingPointError: the caller goes on after `Told.is_lost`, as if the stage were done.
    """
    variables = getattr(step, "variables", _Variables).of(state)
    recovery = Recovery[State]()
    kept: Told | None = None
    compiled: Callable[..., Outcome] | None = None
    while state.stage_step < steps:
        before, t = state, state.stage_step
        rate = learning_rate(t) * state.rate_share
        arguments = *variables, tf.constant(t + 1.0), tf.constant(rate), offset(state.step), pictures
        compiled = compiled or _found(step, arguments)
        outcome = compiled(*arguments)
        told = Told(outcome.losses, outcome.sums)
        is_evaluated, is_made = outcome.is_finite.numpy()
        if is_evaluated and is_made:
            # What refuses points goes back to none: its states are large.
            recovery.succeed(t, None if optimizer.accepted else variables.before(before))
        else:
            good = recovery.fail(t, before)
            if recovery.is_lost or not (optimizer.accepted and t and is_made):
                state, kept = good._replace(rate_share=SHRINK * before.rate_share), None
                state = variables.assign(state)
                yield state, told._replace(failures=recovery.in_a_row, failed_step=before.step + 1)
                if recovery.is_lost:
                    raise FloatingPointError("this stage is lost: end at `Told.is_lost`")
                continue
        state = variables.after(before, 1.0 - optimizer.average_decay ** (t + 1))
        if optimizer.is_refused(before.parameters, state.slots):
            told = kept or _told_of_answer(before, optimizer, step, offset, pictures)
        kept = told
        yield state, told


def _found(step: Callable[..., Outcome], arguments: Sequence[Any]) -> Callable[..., Outcome]:
    """What was compiled for arguments like these. Each call of a `tf.function` looks for it, a 20th of a small step."""
    find: Callable[..., Callable[..., Outcome]] | None = getattr(step, "get_concrete_function", None)
    return find(*arguments) if find else step


class _Variables(NamedTuple):
    """What a compiled step changes in place."""

    parameters: Any
    average: Any
    slots: list[Any]

    @classmethod
    def of(cls, state: State) -> "_Variables":
        """Variables of their own for the values of a state."""
        slots = [tf.Variable(slot) for slot in state.slots]
        return cls(tf.Variable(state.parameters), tf.Variable(state.average), slots)

    def assign(self, state: State) -> State:
        """Takes the values of a state; returns it."""
        for variable, value in zip((self.parameters, self.average, *self.slots),
                                   (state.parameters, state.average, *state.slots), strict=True):
            variable.assign(value)
        return state

    def before(self, state: State) -> State:
        """The state from which the last step began: itself, since variables never write into a tensor."""
        return state

    def after(self, before: State, average_weight: float) -> State:
        """The state after a step from `before`."""
        # Reading shares memory with the variables, which never write into it: 0.2 ms of lbfgs' 73 ms at 256 px.
        return State(before.step + 1, before.stage, before.stage_step + 1, self.parameters.read_value(),
                     self.average.read_value(), average_weight, tuple(slot.read_value() for slot in self.slots),
                     before.rate_share)


def _told_of_answer(state: State, optimizer: Optimizer, step: Callable[..., Outcome], offset: Callable[[int], Tensor],
                    pictures: Any) -> Told:
    """The losses of the optimizer's answer, as the step before a stop told them, bit for bit.

    The same step computes them again, on copies of the variables.
    """
    answer = state._replace(parameters=optimizer.answer(state.parameters, state.slots))
    outcome = step(*_Variables.of(answer), tf.constant(1.0), tf.constant(0.0), offset(state.step), pictures)
    return Told(outcome.losses, outcome.sums)
