"""Style: how far the moments G of the picture are from the moments A of the style, in three normalizations.

G and A are tuples of moments for each position; `gatys` and `ng` are of one Gram matrix, [B, N, N] for N channels.
"""

from collections.abc import Callable

import tensorflow as tf

from nst_tf.losses.term import sum_of_squares
from nst_tf.tensors import Tensor

Means = tuple[Tensor, ...]


def relative(G: Means, A: Means) -> Tensor:
    """‖G − A‖²_F / ‖A‖²_F over all moments: without unit, so that one weight holds for every backbone and size.

    Returns:
        [B], ≥ 0; 0 for equal moments, 1 for G = 0.
    """
    # Differs from Gatys et al. 2016: divided by the target's own energy.
    return squared_distance(G, A) / tf.maximum(sum(sum_of_squares(a) for a in A), 1e-12)


def gatys(G: Means, A: Means) -> Tensor:
    """‖G − A‖²_F / (4 N²), [B] (Gatys, Ecker, Bethge 2016, eq. 4)."""
    # Differs from Gatys et al. 2016: their 1/(4 N² M²) holds for raw Gram matrices of M positions on both sides; with
    # each divided by its own number of positions, picture and style may differ in size. Equal where M is equal.
    return squared_distance(G, A) / (4.0 * float(A[0].shape[-1]) ** 2)


def ng(G: Means, A: Means) -> Tensor:
    """‖G − A‖²_F / (2 n_C)², [B] (Ng, Deep Learning Specialization, course 4, week 4: 1/(2 n_H n_W n_C)² on sums)."""
    return squared_distance(G, A) / (2.0 * float(A[0].shape[-1])) ** 2


def squared_distance(G: Means, A: Means) -> Tensor:
    """Σ_i ‖G_i − A_i‖²_F, [B]."""
    return sum(sum_of_squares(g - a) for g, a in zip(G, A, strict=True))


STYLE_DISTANCES: dict[str, Callable[[Means, Means], Tensor]] = {"relative": relative, "gatys": gatys, "ng": ng}
