"""The judge: a network that measures finished pictures of one photo and its styles."""

from collections.abc import Callable
from typing import NamedTuple

from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.images import FloatImage
from nst_tf.losses.score import Features, Scores, score
from nst_tf.recipes.plan import Plan
from nst_tf.recipes.stylize import set_up, style_at


class Judge(NamedTuple):
    """`score(picture)`, and what it compares with: photo and styles at the size of the pictures."""

    score: Callable[[FloatImage], Scores]
    photo: FloatImage
    styles: list[FloatImage]


def open_judge(config: StylizeConfig, plan: Plan) -> Judge:
    """The judge of pictures of the last stage's size, with the layers, the styles and their blend of a config.

    Raises:
        UserError: a file is wrong, or the network's weights cannot be had.
    """
    inputs, extractor, *_ = set_up(config, plan)
    photo = images.resize(inputs.content, *plan.stage_size_px(-1))
    styles = [style_at(style, plan.stages[-1].long_side_px) for style in inputs.styles]
    objective = plan.objective
    style_layers = [layer for layer, _ in objective.style_layers]
    content_layers = [layer for layer, _ in objective.content_layers]

    def features(picture: FloatImage) -> Features:
        return extractor(picture[None])

    of_photo, of_styles = features(photo), [features(style) for style in styles]

    def measure(picture: FloatImage) -> Scores:
        return score(features(picture), of_photo, of_styles, plan.style_blend, style_layers, content_layers)

    return Judge(measure, photo, styles)
