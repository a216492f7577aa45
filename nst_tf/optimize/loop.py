"""THE loop: one compiled step on what is optimized, run for one stage, yielding one `Progress` a step."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from nst_tf.optimize.gradient import smooth
from nst_tf.optimize.optimizers import Optimizer
from nst_tf.optimize.parameterize import Canvas
from nst_tf.optimize.state import State
from nst_tf.tensors import Tensor


def start(image: Tensor, canvas: Canvas, optimizer: Optimizer, step: int, stage: int) -> State:
    """The state at the beginning of a stage: nothing averaged yet, the optimizer afresh."""
    # Measured: Adam's moments carried over from the smaller size were slightly worse than new ones.
    theta = canvas.encode(image)
    return State(step, stage, 0, theta, tf.zeros_like(image), 0.0, optimizer.init(theta))


def make_step(evaluate: Callable[[Tensor, Tensor], Mapping[str, Tensor]], canvas: Canvas, optimizer: Optimizer,
              gradient_smoothing: float) -> Callable[..., Any]:
    """The compiled step: gradient of J by θ, the optimizer's update, projection, the running average of the images.

    Args:
        evaluate: (image [1, H, W, 3], offset of `jitter`) → losses by tag, J under `loss/total`.
        canvas: image = decode(θ).
        gradient_smoothing: s of `gradient.smooth`, in [0, 1]; 0 where θ are no pixels.
    Returns:
        a `tf.function` (parameters, average, slots: lists of `tf.Variable`; t, learning_rate: float32 scalars; offset:
        int32 [2]) → losses, which changes the variables in place and is traced once.
    """
    decay = optimizer.average_decay

    @tf.function(autograph=False)
    def step(parameters: Any, average: Any, slots: list[Any], t: Tensor, learning_rate: Tensor,
             offset: Tensor) -> Mapping[str, Tensor]:
        height, width = average.shape[1:3]
        theta = parameters.read_value()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(theta)
            losses = evaluate(canvas.decode(theta, height, width), offset)
        value = losses["loss/total"]
        g = smooth(tape.gradient(value, theta), gradient_smoothing)
        before = tuple(slot.read_value() for slot in slots)
        theta, after = optimizer.update(theta, value, g, before, t, learning_rate, canvas.project)
        theta = canvas.project(theta)
        parameters.assign(theta)
        x = canvas.decode(optimizer.answer(theta, after), height, width)
        average.assign(decay * average + (1.0 - decay) * x)
        for slot, new_slot in zip(slots, after, strict=True):
            slot.assign(new_slot)
        return losses

    return step


def run_stage(state: State, steps: int, optimizer: Optimizer, step: Callable[..., Any],
              learning_rate: Callable[[int], float],
              offset: Callable[[int], Tensor]) -> Iterator[tuple[State, Mapping[str, Tensor]]]:
    """Steps from `state` to the end of its stage; yields the state after each step, and losses of this step.

    They are those of the point that the step evaluated; where the optimizer refused it, of the one that it kept.

    Args:
        steps: length of the stage; `state.stage_step` of them are done.
        optimizer: that which `step` was made with.
        learning_rate: stage step (from 0) → α.
        offset: step over all stages (from 0) → int32 [2].
    """
    parameters, average = tf.Variable(state.parameters), tf.Variable(state.average)
    slots = [tf.Variable(slot) for slot in state.slots]
    kept: Mapping[str, Tensor] | None = None
    for t in range(state.stage_step, steps):
        before = state
        losses = step(parameters, average, slots, tf.constant(t + 1.0), tf.constant(learning_rate(t)),
                      offset(state.step))
        # Reading shares memory with the variables, which never write into it: 0.2 ms of lbfgs' 73 ms at 256 px.
        state = State(state.step + 1, state.stage, t + 1, parameters.read_value(), average.read_value(),
                      1.0 - optimizer.average_decay ** (t + 1), tuple(slot.read_value() for slot in slots))
        if optimizer.is_refused(before.parameters, state.slots):
            losses = kept or _losses_of_answer(before, optimizer, step, offset)
        kept = losses
        yield state, losses


def _losses_of_answer(state: State, optimizer: Optimizer, step: Callable[..., Any],
                      offset: Callable[[int], Tensor]) -> Mapping[str, Tensor]:
    """What the optimizer's answer was measured with before a stop, bit for bit: by the same step, on copies."""
    parameters, average = tf.Variable(optimizer.answer(state.parameters, state.slots)), tf.Variable(state.average)
    slots = [tf.Variable(slot) for slot in state.slots]
    losses: Mapping[str, Tensor] = step(parameters, average, slots, tf.constant(1.0), tf.constant(0.0),
                                        offset(state.step))
    return losses
