"""Temporal: how far the picture is from earlier frames of a video, moved along the optical flow to their places now."""

import math
from typing import Any

import tensorflow as tf

from nst_tf.losses.objective import Objective
from nst_tf.losses.term import PICTURE, Losses, Source, Term, TermTargets, View, sum_of_squares
from nst_tf.tensors import Tensor


def measure_temporal(x: Tensor, moved: Tensor, certainty: Tensor) -> Tensor:
    """Σ_p c_p ‖x_p − m_p‖², [B].

    Args:
        x: [B, *space, C]; moved: m, the earlier frames at the places of this one, [1, *space, C].
        certainty: c ≥ 0, 0 where nothing earlier is seen, [1, *space].
    """
    return sum_of_squares(x - tf.cast(moved, x.dtype), certainty)


def _targets(objective: Objective, source: Source) -> TermTargets:
    assert source.earlier is not None, "a frame that follows others has them"
    moved, certainty = source.earlier
    return TermTargets((moved, certainty), tf.constant(float(math.prod(moved.shape)), tf.float32))


def _measure(objective: Objective, view: View, fixed: Any) -> Tensor:
    moved, certainty = fixed
    return measure_temporal(view.picture(), moved, view.weights(PICTURE, certainty))


def _compare(objective: Objective, sums: Tensor, count: Tensor) -> tuple[Tensor, Losses]:
    """The mean over all values of the picture, so that a frame that shows much of new is held less as a whole.

    Source: the short-term loss of Ruder, Dosovitskiy, Brox 2016, eq. 8; the long-term one where m and c are made of
    several frames.
    """
    return sums / tf.cast(count, sums.dtype), {}


TEMPORAL = Term(_measure, _compare, _targets)
