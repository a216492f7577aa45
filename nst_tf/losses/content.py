"""Content: how far the features F of the picture are from the features C of the photo, in three normalizations."""

from collections.abc import Callable

import tensorflow as tf

from nst_tf.tensors import Tensor


def relative(F: Tensor, C: Tensor) -> Tensor:
    """‖F − C‖² / ‖C‖²: without unit, so that one weight holds for every backbone and size.

    Args:
        F, C: features [B, *space, C].
    Returns:
        a scalar ≥ 0; 0 for equal features, 1 for F = 0.
    """
    # Differs from Gatys et al. 2016: divided by the target's own energy.
    return _sum_of_squares(F - C) / tf.maximum(_sum_of_squares(C), 1e-12)


def gatys(F: Tensor, C: Tensor) -> Tensor:
    """½ ‖F − C‖² (Gatys, Ecker, Bethge 2016, eq. 1)."""
    return 0.5 * _sum_of_squares(F - C)


def ng(F: Tensor, C: Tensor) -> Tensor:
    """‖F − C‖² / (4 n_H n_W n_C) (Ng, Deep Learning Specialization, course 4, week 4)."""
    return _sum_of_squares(F - C) / (4.0 * tf.cast(tf.size(C), C.dtype))


def _sum_of_squares(x: Tensor) -> Tensor:
    return tf.reduce_sum(tf.square(x))


CONTENT_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"relative": relative, "gatys": gatys, "ng": ng}
