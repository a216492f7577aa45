"""The table of optimizers, and the first of them, Adam (Kingma and Ba 2015)."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from nst_tf.optimize.lbfgs import Search, lbfgs_init, lbfgs_update
from nst_tf.tensors import Tensor

Slots = tuple[Tensor, ...]

BETA_1 = 0.9
BETA_2 = 0.9
EPSILON = 1e-8
AVERAGE_DECAY = 0.9  # of the average of iterates that is shown


class Evaluation(NamedTuple):
    """What is known when an optimizer moves: a point θ, J and its gradient there, and how long the step may be.

    `t` counts the steps from 1; `project` moves a point onto the values allowed.
    """

    point: Tensor
    value: Tensor
    gradient: Tensor
    t: Tensor
    learning_rate: Tensor
    project: Callable[[Tensor], Tensor]


class Optimizer(NamedTuple):
    """An optimizer as pure functions with explicit state.

    `init(θ) -> slots`; `update(evaluation, slots) -> (θ, slots)`: the new θ is the next point to evaluate, and the loop
    projects it. `slots` are float32 tensors; together with θ and t they are all that the next update depends on.

    An optimizer that may refuse a point gives the one that it kept by `accepted(slots)`. What is shown is the average
    of the answers with decay `average_decay`; 0 shows the last one alone.
    """

    init: Callable[[Tensor], Slots]
    update: Callable[[Evaluation, Slots], tuple[Tensor, Slots]]
    average_decay: float
    accepted: Callable[[Slots], Tensor] | None = None
    is_local: bool = False  # whether each value moves by its own gradient alone

    def answer(self, point: Tensor, slots: Slots) -> Tensor:
        """The best point that is known after an update."""
        return self.accepted(slots) if self.accepted else point

    def is_refused(self, point: Tensor, slots: Slots) -> bool:
        """Whether the update kept another point than this one, even one of the same J."""
        return self.accepted is not None and bool(tf.reduce_any(self.accepted(slots) != point))


def adam_update(x: Tensor, g: Tensor, slots: Slots, t: Tensor, learning_rate: Tensor,
                beta_2: float | None = None) -> tuple[Tensor, Slots]:
    """One step of Adam.

        m ← β₁ m + (1 − β₁) g        m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²       v̂ = v / (1 − β₂ᵗ)
        x ← x − α m̂ / (√v̂ + ε)

    Args:
        x: what is optimized; g: the gradient there, of the same shape.
        slots: (m, v).
        t: number of this step, from 1, float32 scalar.
        learning_rate: α, float32 scalar.
        beta_2: β₂; `BETA_2` when left out.
    Returns:
        the new x and (m, v).
    Source: Kingma and Ba 2015, algorithm 1.
    """
    # Differs from Kingma and Ba 2015: by default β₂ = 0.9 instead of 0.999. The gradient is exact and changes fast: a
    # short memory of its size is the better one (benchmarks/adam_decay.py).
    m, v = slots
    beta_2 = BETA_2 if beta_2 is None else beta_2
    m = BETA_1 * m + (1.0 - BETA_1) * g
    v = beta_2 * v + (1.0 - beta_2) * tf.square(g)
    m_hat = m / (1.0 - tf.pow(BETA_1, t))
    v_hat = v / (1.0 - tf.pow(beta_2, t))
    return x - learning_rate * m_hat / (tf.sqrt(v_hat) + EPSILON), (m, v)


def adam_init(x: Tensor) -> Slots:
    """m = v = 0."""
    return tf.zeros_like(x), tf.zeros_like(x)


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(
        adam_init,
        lambda at, slots: adam_update(at.point, at.gradient, slots, at.t, at.learning_rate),
        AVERAGE_DECAY, is_local=True),
    # An average would mix in older points, which are all worse: accepted values never rise.
    "lbfgs": Optimizer(
        lbfgs_init,
        lambda at, slots: lbfgs_update(at.point, at.value, at.gradient, Search(*slots), at.learning_rate, at.project),
        average_decay=0.0, accepted=lambda slots: Search(*slots).point),
}

# For the weights of a network, whose gradient is that of another batch in each step: Adam as published, and a long
# average of the weights, which is the trained network.
STOCHASTIC_ADAM = Optimizer(
    adam_init,
    lambda at, slots: adam_update(at.point, at.gradient, slots, at.t, at.learning_rate, beta_2=0.999),
    average_decay=0.998, is_local=True)
