"""Adam (Kingma and Ba 2015), as a pure update with explicit state."""

from collections.abc import Callable

import tensorflow as tf

from nst_tf.tensors import Tensor

Slots = tuple[Tensor, ...]

BETA_1 = 0.9
BETA_2 = 0.9
EPSILON = 1e-8
AVERAGE_DECAY = 0.9  # of the average of iterates that is shown


def adam_update(x: Tensor, value: Tensor, g: Tensor, slots: Slots, t: Tensor, learning_rate: Tensor,
                project: Callable[[Tensor], Tensor]) -> tuple[Tensor, Slots]:
    """One step of Adam.

        m ← β₁ m + (1 − β₁) g        m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²       v̂ = v / (1 − β₂ᵗ)
        x ← x − α m̂ / (√v̂ + ε)

    Args:
        x: what is optimized; g: the gradient there, of the same shape; value (J) and project are not needed.
        slots: (m, v).
        t: number of this step, from 1, float32 scalar.
        learning_rate: α, float32 scalar.
    Returns:
        the new x and (m, v).
    Source: Kingma and Ba 2015, algorithm 1.
    """
    # Differs from Kingma and Ba 2015: β₂ = 0.9 instead of 0.999. The gradient is exact and changes fast: a short memory
    # of its size is the better one (benchmarks/adam_decay.py).
    m, v = slots
    m = BETA_1 * m + (1.0 - BETA_1) * g
    v = BETA_2 * v + (1.0 - BETA_2) * tf.square(g)
    m_hat = m / (1.0 - tf.pow(BETA_1, t))
    v_hat = v / (1.0 - tf.pow(BETA_2, t))
    return x - learning_rate * m_hat / (tf.sqrt(v_hat) + EPSILON), (m, v)


def adam_init(x: Tensor) -> Slots:
    """m = v = 0."""
    return tf.zeros_like(x), tf.zeros_like(x)
