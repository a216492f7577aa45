"""Style: how far the moments G of the picture are from the moments A of the style, in three normalizations.

G and A are raw Gram matrices divided by the number of positions, [B, N, N] for N channels.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Tensor = Any


def relative(G: Tensor, A: Tensor) -> Tensor:
    """‖G − A‖²_F / ‖A‖²_F: without unit, so that one weight holds for every backbone and size.

    Returns:
        a scalar ≥ 0; 0 for equal moments, 1 for G = 0.
    """
    # Differs from Gatys et al. 2016: divided by the target's own energy.
    return _sum_of_squares(G - A) / tf.maximum(_sum_of_squares(A), 1e-12)


def gatys(G: Tensor, A: Tensor) -> Tensor:
    """‖G − A‖²_F / (4 N²) (Gatys, Ecker, Bethge 2016, eq. 4)."""
    # Differs from Gatys et al. 2016: their 1/(4 N² M²) holds for raw Gram matrices of M positions on both sides; with
    # each divided by its own number of positions, picture and style may differ in size. Equal where M is equal.
    return _sum_of_squares(G - A) / (4.0 * float(A.shape[-1]) ** 2)


def ng(G: Tensor, A: Tensor) -> Tensor:
    """‖G − A‖²_F / (2 n_C)² (Ng, Deep Learning Specialization, course 4, week 4: 1/(2 n_H n_W n_C)² on raw Grams)."""
    return _sum_of_squares(G - A) / (2.0 * float(A.shape[-1])) ** 2


def _sum_of_squares(x: Tensor) -> Tensor:
    return tf.reduce_sum(tf.square(x))


STYLE_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"relative": relative, "gatys": gatys, "ng": ng}
