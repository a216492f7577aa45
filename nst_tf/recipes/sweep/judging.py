"""Measures the pictures of a sweep, and writes what TensorBoard compares them by."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nst_tf.config import StylizeConfig
from nst_tf.io.images import FloatImage
from nst_tf.keras_settings import keras_defaults
from nst_tf.recipes.compare.recipe import Contestant
from nst_tf.recipes.compare.steps import Judge, open_judge
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.sweep.recipe import judge_config
from nst_tf.runs.tensorboard import write_comparison, write_metrics

# {TensorBoard tag: name of its column}.
METRICS = {"score/style": "style score", "score/content": "content distance"}


class Judges:
    """One judge for each photo, styles and size."""

    def __init__(self, judging: Contestant) -> None:
        self._judging = judging
        self._opened: dict[StylizeConfig, Judge] = {}

    def score(self, config: StylizeConfig, picture: FloatImage, folder: Path) -> tuple[float, float | None]:
        """(style score, content distance) of a cell, which its run folder keeps for TensorBoard."""
        own = judge_config(config, self._judging)
        with keras_defaults():
            if own not in self._opened:
                self._opened[own] = open_judge(own, resolve(own))
            scores = self._opened[own].score(picture)
        tagged = zip(METRICS, scores, strict=True)
        write_metrics(folder, config.steps, {tag: score for tag, score in tagged if score is not None})
        return scores

    def compare(self, folder: Path, flags: Sequence[str], sheet: FloatImage,
                metrics: Mapping[str, str] = METRICS) -> None:
        """Writes the columns of TensorBoard's table, and the contact sheet."""
        write_comparison(folder, flags, metrics, sheet)
