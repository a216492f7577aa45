"""L-BFGS (Nocedal 1980) inside a box, one evaluation of J a call: the line search is a state machine over calls."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from nst_tf.tensors import Tensor

HISTORY = 10                   # pairs kept, m
SUFFICIENT_DECREASE = 1e-4     # c₁ of Armijo's rule
SMALLEST_CURVATURE = 1e-6      # cosine of s and y below which a pair says nothing of the curvature
SHRINKS = (0.1, 0.5)           # by what the step length is multiplied after a refusal, at least and at most
REFUSALS_BEFORE_RESTART = 10   # trials of one direction; then the history is forgotten


class Search(NamedTuple):
    """The slots of L-BFGS: the accepted point, the direction that is searched from it, and the history.

    The image itself is the trial point, x = P(x_k + α d), whose value and gradient the next call brings.
    """

    point: Tensor        # x_k, like the image
    value: Tensor        # J(x_k), scalar; the largest float32 before the first call, which is thus accepted
    gradient: Tensor     # ∇J(x_k), like the image
    direction: Tensor    # d, like the image
    step_length: Tensor  # α, scalar
    refusals: Tensor     # trials of this direction that were refused, scalar
    s: Tensor            # [m, *image]: x_{k+1} − x_k, the newest last; zeros where there is none yet
    y: Tensor            # [m, *image]: their differences of gradients


def lbfgs_init(x: Tensor) -> Search:
    """Nothing accepted yet and no history."""
    zero, pairs = tf.zeros([], x.dtype), tf.zeros([HISTORY, *x.shape], x.dtype)
    return Search(tf.identity(x), tf.constant(x.dtype.max, x.dtype), tf.zeros_like(x), tf.zeros_like(x), zero, zero,
                  pairs, pairs)


def lbfgs_update(x: Tensor, value: Tensor, g: Tensor, old: Search, learning_rate: Tensor,
                 project: Callable[[Tensor], Tensor]) -> tuple[Tensor, Search]:
    """Judges a trial point and proposes the next.

    x is accepted by Armijo's rule along the projected arc (Bertsekas 1982),

        J(x) ≤ J(x_k) + c₁ min(0, ∇J(x_k)ᵀ (x − x_k)),

    and then x_{k+1} = x, d = −H ∇J(x), α = 1. Otherwise, also where J or ∇J is not finite, α shrinks by the minimum of
    the parabola through J(x_k), its slope and J(x), kept in [0.1, 0.5]. The first direction, and that after ten
    refusals, is the gradient's, as long as the root mean square of α d is the learning rate.

    Pairs (s, y) are differences between accepted points after their projection, which are where J was measured. Values
    that lie at a bound and would leave the box are held: they are left out of d and of the pairs that make H.

    Args:
        x: the projected trial point; value, g: J and ∇J there.
        old: what the last call returned.
        learning_rate: root mean square of a first step.
        project: P, onto the box.
    Returns:
        the next trial point (unprojected) and the new `Search`.
    Source: Nocedal 1980; Nocedal and Wright 2006, algorithm 7.4; two-metric projection of Bertsekas 1982.
    """
    decreases = value <= old.value + SUFFICIENT_DECREASE * tf.minimum(_slope(old, x), 0.0)
    is_finite = tf.math.is_finite(value) & tf.reduce_all(tf.math.is_finite(g))
    new = tf.cond(decreases & is_finite, lambda: _accept(old, x, value, g, learning_rate, project),
                  lambda: _refuse(old, x, value, learning_rate, project))
    return new.point + new.step_length * new.direction, new


def _slope(search: Search, x: Tensor) -> Tensor:
    """∇J(x_k)ᵀ (x − x_k)."""
    return tf.reduce_sum(search.gradient * (x - search.point))


def _accept(old: Search, x: Tensor, value: Tensor, g: Tensor, learning_rate: Tensor,
            project: Callable[[Tensor], Tensor]) -> Search:
    s, y = x - old.point, g - old.gradient
    # The first point is its own predecessor: s = 0, which is no pair.
    is_pair = _is_curved(tf.reduce_sum(s * y), tf.reduce_sum(s * s), tf.reduce_sum(y * y))
    kept_s, kept_y = (tf.where(is_pair, tf.concat([history[1:], new[tf.newaxis]], 0), history)
                      for history, new in ((old.s, s), (old.y, y)))
    free = is_free(x, g, project)
    direction, has_history = descent_direction(g * free, kept_s * free, kept_y * free)
    # Where J hardly changes, 1 / sᵀy overflows.
    is_finite = tf.reduce_all(tf.math.is_finite(direction))
    direction, has_history = tf.where(is_finite, direction, -g * free), has_history & is_finite
    length = tf.where(has_history, tf.ones_like(value), _first_length(direction, learning_rate))
    return Search(x, value, g, direction, length, tf.zeros_like(value), kept_s, kept_y)


def _first_length(direction: Tensor, learning_rate: Tensor) -> Tensor:
    """The α at which the root mean square of α d is the learning rate, or the largest number there is."""
    length = tf.math.divide_no_nan(learning_rate, tf.sqrt(tf.reduce_mean(tf.square(direction))))
    return tf.minimum(length, length.dtype.max)


def _refuse(old: Search, x: Tensor, value: Tensor, learning_rate: Tensor,
            project: Callable[[Tensor], Tensor]) -> Search:
    slope = _slope(old, x)
    parabola = tf.clip_by_value(-0.5 * slope / (value - old.value - slope), *SHRINKS)
    shrink = tf.where(tf.math.is_finite(value), parabola, SHRINKS[0])
    shorter = old._replace(step_length=old.step_length * shrink, refusals=old.refusals + 1.0)
    downhill, nothing = -old.gradient * is_free(old.point, old.gradient, project), tf.zeros_like(old.s)
    afresh = old._replace(direction=downhill, step_length=_first_length(downhill, learning_rate),
                          refusals=tf.zeros_like(value), s=nothing, y=nothing)
    restarts = (shorter.refusals >= REFUSALS_BEFORE_RESTART) & tf.reduce_any(old.s != 0.0)
    return Search(*(tf.where(restarts, new, kept) for new, kept in zip(afresh, shorter)))


def is_free(x: Tensor, g: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
    """1 where a step against the gradient stays in the box, 0 where x is at a bound and would leave it; like x."""
    return tf.cast(project(x - tf.sign(g)) != x, x.dtype)


def descent_direction(g: Tensor, s: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """d = −H g by the two-loop recursion, H the inverse Hessian that the pairs say, from γ I.

        q = g;       newest to oldest:  a_i = ρ_i s_iᵀ q,  q ← q − a_i y_i
        r = γ q;     oldest to newest:  r ← r + s_i (a_i − ρ_i y_iᵀ r)
        ρ_i = 1 / s_iᵀ y_i,   γ = sᵀy / yᵀy of the newest pair,   d = −r

    Args:
        g: the gradient; s, y: [m, *g.shape], oldest first. Pairs without positive curvature are skipped.
    Returns:
        (d, whether any pair was used); −g without one.
    """
    axes = list(range(1, s.shape.rank))
    sy, ss, yy = (tf.reduce_sum(left * right, axes) for left, right in ((s, y), (s, s), (y, y)))
    curved = _is_curved(sy, ss, yy)
    newest = tf.reduce_max(tf.where(curved, tf.range(s.shape[0]), 0))
    rho = tf.unstack(tf.where(curved, tf.math.divide_no_nan(1.0, sy), 0.0))
    pairs = list(zip(rho, tf.unstack(s), tf.unstack(y)))
    a: list[Tensor] = []
    q = g
    for rho_i, s_i, y_i in reversed(pairs):
        a.insert(0, rho_i * tf.reduce_sum(s_i * q))
        q = q - a[0] * y_i
    has_history = tf.reduce_any(curved)
    r = q * tf.where(has_history, tf.math.divide_no_nan(sy[newest], yy[newest]), 1.0)
    for a_i, (rho_i, s_i, y_i) in zip(a, pairs):
        r = r + s_i * (a_i - rho_i * tf.reduce_sum(y_i * r))
    return -r, has_history


def _is_curved(sy: Tensor, ss: Tensor, yy: Tensor) -> Tensor:
    """sᵀy > ε ‖s‖ ‖y‖: J curves upward along s, beyond rounding."""
    return sy > SMALLEST_CURVATURE * tf.sqrt(ss) * tf.sqrt(yy)
