"""How much of a style a picture has, and how much of its content is left, in the eyes of one network: the judge."""

from collections.abc import Sequence
from typing import NamedTuple

from nst_tf.losses import content as content_distance
from nst_tf.losses import statistics
from nst_tf.losses.moments import Means, blend, mean, measure_gram
from nst_tf.tensors import Features, Tensor


class Scores(NamedTuple):
    """Style: 1 = as far from the style as the photo, 0 = the style's own moments. Content: 0 = the photo. Both ≥ 0."""

    style: float
    content: float


def score(output: Features, photo: Features, styles: Sequence[Features], style_blend: Sequence[float],
          style_layers: Sequence[str], content_layers: Sequence[str]) -> Scores:
    """The style distance of the output relative to that of the photo, and the content distance of the output.

        style = d(output) / d(photo),    d(x) = 1/L Σ_l ‖G_l(x) − A_l‖²_F / ‖A_l‖²_F,    A = Σ_k b_k A_k,
        content = 1/L Σ_l ‖F_l − C_l‖² / ‖C_l‖²

    Layers count alike, whatever their weights in an objective are: a judge is no optimizer.

    Args:
        output, photo: {layer: features [1, h, w, C]} of pictures of one size.
        styles: the same of K styles, of any sizes.
        style_blend: K weights ≥ 0, not all zero; only their ratios count.
    """
    def distance(picture: Features) -> float:
        return distance_to_styles(picture, styles, style_blend, style_layers)

    # The photo may be the style itself.
    return Scores(distance(output) / max(distance(photo), 1e-12),
                  _mean([content_distance.relative(content_distance.measure_content(output[layer], photo[layer]))
                         for layer in content_layers]))


def distance_to_styles(picture: Features, styles: Sequence[Features], style_blend: Sequence[float],
                       style_layers: Sequence[str]) -> float:
    """d(x) of `score`: 0 = the style's own moments, 1 = features that are all 0. All there is without a photo."""
    return _mean([
        statistics.relative(_moments(picture, layer),
                            blend([_moments(style, layer) for style in styles], style_blend))
        for layer in style_layers])


def _moments(picture: Features, layer: str) -> Means:
    return mean(measure_gram(picture[layer]))


def _mean(distances: Sequence[Tensor]) -> float:
    return sum(float(distance[0]) for distance in distances) / len(distances)
