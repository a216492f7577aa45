"""THE loop: one compiled step on the image, run for one stage, yielding one `Progress` a step."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from nst_tf.optimize.adam import Optimizer
from nst_tf.optimize.gradient import smooth
from nst_tf.optimize.state import AVERAGE_DECAY, State

Tensor = Any


def start(image: Tensor, optimizer: Optimizer, step: int, stage: int) -> State:
    """The state at the beginning of a stage: nothing averaged yet, the optimizer afresh."""
    # Measured: Adam's moments carried over from the smaller size were slightly worse than new ones.
    return State(step, stage, 0, image, tf.zeros_like(image), optimizer.init(image))


def make_step(evaluate: Callable[[Tensor, Tensor], Mapping[str, Tensor]], optimizer: Optimizer,
              gradient_smoothing: float) -> Callable[..., Any]:
    """The compiled step: gradient of J, the optimizer's update, projection to [0, 1], the running average.

    Args:
        evaluate: (image [1, H, W, 3], offset of `jitter`) → losses by tag, J under `loss/total`.
        gradient_smoothing: s of `gradient.smooth`, in [0, 1].
    Returns:
        a `tf.function` (image, average, slots: lists of `tf.Variable`; t, learning_rate: float32 scalars; offset:
        int32 [2]) → losses, which changes the variables in place and is traced once.
    """
    @tf.function(autograph=False)
    def step(image: Any, average: Any, slots: list[Any], t: Tensor, learning_rate: Tensor,
             offset: Tensor) -> Mapping[str, Tensor]:
        x = image.read_value()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            losses = evaluate(x, offset)
        g = smooth(tape.gradient(losses["loss/total"], x), gradient_smoothing)
        x, new_slots = optimizer.update(x, g, tuple(slots), t, learning_rate)
        x = tf.clip_by_value(x, 0.0, 1.0)
        image.assign(x)
        average.assign(AVERAGE_DECAY * average + (1.0 - AVERAGE_DECAY) * x)
        for slot, new_slot in zip(slots, new_slots, strict=True):
            slot.assign(new_slot)
        return losses

    return step


def run_stage(state: State, steps: int, step: Callable[..., Any],
              learning_rate: Callable[[int], float],
              offset: Callable[[int], Tensor]) -> Iterator[tuple[State, Mapping[str, Tensor]]]:
    """Steps from `state` to the end of its stage; yields the state after each step, and its losses.

    Args:
        steps: length of the stage; `state.stage_step` of them are done.
        learning_rate: stage step (from 0) → α.
        offset: step over all stages (from 0) → int32 [2].
    """
    image, average = tf.Variable(state.image), tf.Variable(state.average)
    slots = [tf.Variable(slot) for slot in state.slots]
    for t in range(state.stage_step, steps):
        losses = step(image, average, slots, tf.constant(t + 1.0), tf.constant(learning_rate(t)),
                      offset(state.step))
        state = State(state.step + 1, state.stage, t + 1, image.read_value(), average.read_value(),
                      tuple(slot.read_value() for slot in slots))
        yield state, losses
