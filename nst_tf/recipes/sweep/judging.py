"""Measures the pictures of a sweep in the eyes of one network, and writes what TensorBoard compares them by."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.images import FloatImage
from nst_tf.keras_settings import keras_defaults
from nst_tf.losses.score import distance_to_styles, score
from nst_tf.recipes.contestants import Contestant
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.stage import styles_at
from nst_tf.recipes.stylize.steps import set_up
from nst_tf.recipes.sweep.recipe import judge_config, judge_weights
from nst_tf.recipes.sweep.table import NETWORK_FLAGS, Row
from nst_tf.runs.tensorboard import write_comparison, write_metrics
from nst_tf.tensors import Features

# {TensorBoard tag: (name of its column, field of a row)}.
METRICS = {"score/style": ("style score", "style_score"), "score/content": ("content distance", "content_distance"),
           "cost/seconds": ("seconds", "seconds"), "cost/steps_per_second": ("steps/s", "steps_per_second")}
# Of a picture: (style score, content distance); without a photo (distance to the styles, None).
Judge = Callable[[FloatImage], tuple[float, float | None]]


def open_judge(config: StylizeConfig) -> Judge:
    """The judge of pictures of a config's size, with its layers, styles and their blend.

    Raises:
        UserError: a file is wrong, or the network's weights cannot be had.
    """
    plan = resolve(config)
    setup = set_up(config, plan)
    content = setup.inputs.content
    style_layers = [layer for layer, _ in plan.objective.style_layers]
    content_layers = [layer for layer, _ in plan.objective.content_layers]

    def features(picture: FloatImage) -> Features:
        return setup.fitted(picture[None])

    of_photo = None if content is None else features(images.resize(content, *plan.stage_size_px(-1)))
    of_styles = [features(style) for style in styles_at(plan, setup.inputs, -1)]

    def measure(picture: FloatImage) -> tuple[float, float | None]:
        if of_photo is None:
            return distance_to_styles(features(picture), of_styles, plan.style_blend, style_layers), None
        return score(features(picture), of_photo, of_styles, plan.style_blend, style_layers, content_layers)

    return measure


class Judges:
    """One judge for each photo, styles and size.

    Args:
        flags: those in which the pictures differ.
    """

    def __init__(self, judging: Contestant, flags: Sequence[str]) -> None:
        self._judging, self._flags = judging, flags
        self._opened: dict[StylizeConfig, Judge] = {}

    def of(self, config: StylizeConfig) -> Judge:
        """The judge of a cell's pictures.

        Raises:
            UserError: a file is wrong, or the network's weights cannot be had.
        """
        own = judge_config(config, self._judging, self._flags)
        if own not in self._opened:
            with keras_defaults(), judge_weights(self._judging):
                self._opened[own] = open_judge(own)
        return self._opened[own]

    def measured(self, config: StylizeConfig, row: Row, picture: FloatImage, folder: Path) -> Row:
        """The row with the scores of a cell, which its run folder keeps for TensorBoard."""
        with keras_defaults():
            style, content = self.of(config)(picture)
        row = row._replace(style_score=style, content_distance=content)
        values = {tag: getattr(row, field) for tag, (_, field) in METRICS.items()}
        write_metrics(folder, config.steps, {tag: value for tag, value in values.items() if value is not None})
        return row

    def compare(self, folder: Path, sheet: FloatImage) -> None:
        """Writes the columns of TensorBoard's table, and the contact sheet."""
        titles = {tag: title for tag, (title, _) in METRICS.items()}
        of_networks = ["parameters"] if set(self._flags) & set(NETWORK_FLAGS) else []
        write_comparison(folder, (*self._flags, *of_networks), titles, sheet)
