"""What of a layer is called its style: the table of statistics, each a way to measure, to aim and to compare."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from nst_tf.losses import gaussian, style
from nst_tf.losses.histogram import histogram, measure_histogram, target_histogram
from nst_tf.losses.moments import (
    Means, Moments, Samples, blend, measure_gram, measure_mean_and_gram, measure_mean_and_squares,
)
from nst_tf.tensors import Tensor

Target = tuple[Tensor, ...]


class Statistic(NamedTuple):
    """A style statistic.

    `measure(F, weights) -> Moments`, which add over the parts of a picture, or `Samples`, which do not: of features
    [B, *space, C]; w ≥ 0 of each position, [B, *space], or None for all 1.
    `target(means of K styles, K blend weights) -> A`: whatever `distance` needs of the style, computed once a stage.
    `distance(means of the picture, A) -> [B], ≥ 0`: without unit; 0 for equal styles, about 1 (`histogram`: 3) for an
    empty picture.
    """

    measure: Callable[[Tensor, Tensor | None], Moments | Samples]
    target: Callable[[Sequence[Means], Sequence[float]], Target]
    distance: Callable[[Means, Target], Tensor]


STATISTICS: dict[str, Statistic] = {
    "gram": Statistic(measure_gram, blend, style.relative),
    "mean_std": Statistic(measure_mean_and_squares, gaussian.target_mean_std, gaussian.mean_std),
    "covariance": Statistic(measure_mean_and_gram, gaussian.target_covariance, gaussian.covariance),
    "wasserstein": Statistic(measure_mean_and_gram, gaussian.target_wasserstein, gaussian.wasserstein),
    "histogram": Statistic(measure_histogram, target_histogram, histogram),
}
