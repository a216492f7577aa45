"""The judge: a network that measures finished pictures of one photo and its styles."""

from collections.abc import Callable
from typing import NamedTuple

from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.images import FloatImage
from nst_tf.losses.score import distance_to_styles, score
from nst_tf.recipes.plan import Plan
from nst_tf.recipes.stage import styles_at
from nst_tf.recipes.stylize import set_up
from nst_tf.tensors import Features


class Judge(NamedTuple):
    """`score(picture)`, and what it compares with: photo and styles at the size of the pictures.

    The score is (style score, content distance); without a photo (distance to the styles, None).
    """

    score: Callable[[FloatImage], tuple[float, float | None]]
    photo: FloatImage | None
    styles: list[FloatImage]


def open_judge(config: StylizeConfig, plan: Plan) -> Judge:
    """The judge of pictures of the last stage's size, with the layers, the styles and their blend of a config.

    Raises:
        UserError: a file is wrong, or the network's weights cannot be had.
    """
    setup = set_up(config, plan)
    inputs, extractor = setup.inputs, setup.fitted
    photo = None if inputs.content is None else images.resize(inputs.content, *plan.stage_size_px(-1))
    styles = styles_at(plan, inputs, -1)
    objective = plan.objective
    style_layers = [layer for layer, _ in objective.style_layers]
    content_layers = [layer for layer, _ in objective.content_layers]

    def features(picture: FloatImage) -> Features:
        return extractor(picture[None])

    of_photo, of_styles = None if photo is None else features(photo), [features(style) for style in styles]

    def measure(picture: FloatImage) -> tuple[float, float | None]:
        if of_photo is None:
            return distance_to_styles(features(picture), of_styles, plan.style_blend, style_layers), None
        return score(features(picture), of_photo, of_styles, plan.style_blend, style_layers, content_layers)

    return Judge(measure, photo, styles)
