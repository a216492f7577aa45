"""What a training step measures: painted photos, against the content of each photo and the style of a painting."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.generators.layers import Layer
from nst_tf.generators.paint import paint
from nst_tf.generators.weights import unflat
from nst_tf.losses.evaluation import Sums, Targets, evaluate, measure_targets
from nst_tf.losses.motifs import extract_motifs, with_motifs
from nst_tf.losses.objective import Objective
from nst_tf.losses.term import Losses
from nst_tf.optimize.canvas import Canvas
from nst_tf.tensors import Tensor

# What is optimized are the weights themselves. Their running average is the trained network.
WEIGHTS = Canvas(lambda weights: weights, lambda theta, *size: theta, lambda theta: theta)
# A part of a photo is this much larger than what a step cuts out of it at random.
MARGIN_SHARE = 1.25
# The colors of a part are changed by factors up to this, so that the network learns more than the photos at hand.
GAIN = 0.2
# Columns of a draw: part, top, left, whether it is mirrored, style, three gains in thousandths.
DRAWN = 8


class TrainingPlan(NamedTuple):
    """The constants of a compiled training step."""

    network: tuple[Layer, ...]
    styles: int
    objective: Objective           # with motifs; see `Objective.structure`
    motif_layers: tuple[str, ...]
    long_side_px: int
    copies_px: tuple[int, ...]
    crop_px: int


class Learned(NamedTuple):
    """The arguments of a training step: the parts of photos, uint8 [N, S, S, 3], and the targets of all K styles.

    `values` are the filters of the backbone that follow from the pictures. In `targets` the style has one entry a
    style, [K, …]; those of the content are measured in each step.
    """

    values: tuple[Tensor, ...]
    parts: Tensor
    targets: Targets


def extract_of(plan: TrainingPlan, extractor: Extractor, values: Sequence[Tensor]) -> Any:
    """Picture → features of all layers, those of smaller copies too."""
    return extract_motifs(partial(extractor.native, values=values), plan.motif_layers, plan.long_side_px,
                          plan.copies_px)


def targets_of_styles(plan: TrainingPlan, objective: Objective, extract: Any, photo: Tensor,
                      styles: Sequence[Tensor]) -> Targets:
    """The targets with one entry a style.

    Args:
        objective: with its numbers.
        photo: [1, crop, crop, 3]; it stands for all, only the shape of its targets counts.
    """
    objective = with_motifs(objective, plan.long_side_px, plan.copies_px)
    of_each = [measure_targets(objective, extract, photo, [style], [1.0]).targets for style in styles]
    first = of_each[0]
    if "style" not in first.target:
        return first
    regions = tf.nest.map_structure(lambda *A: tf.concat(A, axis=0),
                                    *(each.target["style"].regions for each in of_each))
    return first._replace(target=first.target | {"style": first.target["style"]._replace(regions=regions)})


def losses_of_weights(plan: TrainingPlan, extractor: Extractor, theta: Tensor, drawn: Tensor,
                      learned: Learned) -> tuple[Losses, Sums]:
    """The mean losses of a batch that is drawn, each [1].

        1/B Σ_b J(paint_θ(x_b, k_b); x_b, A_{k_b})

    Args:
        theta: the weights as one vector.
        drawn: int32 [B · DRAWN], see `draw`.
    """
    drawn = tf.reshape(drawn, [-1, DRAWN])
    photos, style = _cut_out(learned.parts, drawn, plan.crop_px), drawn[:, 4]
    weights = unflat(plan.network, plan.styles, theta, tf.split, tf.reshape)
    painted, _ = paint(plan.network, weights, photos, tf.one_hot(style, plan.styles), learns=True)
    extract, targets = extract_of(plan, extractor, learned.values), learned.targets
    if "content" in targets.fixed:
        content = extractor.native(photos, learned.values)
        targets = targets._replace(fixed=targets.fixed | {
            "content": {layer: content[layer] for layer, _ in plan.objective.content_layers}})
    if "style" in targets.target:
        of_all = targets.target["style"]
        regions = tf.nest.map_structure(lambda A: tf.gather(A, style), of_all.regions)
        targets = targets._replace(target=targets.target | {"style": of_all._replace(regions=regions)})
    losses, sums = evaluate(plan.objective, targets, extract, painted)
    return {tag: tf.reduce_mean(loss, keepdims=True) for tag, loss in losses.items()}, sums


def draw(seed: int, parts: int, styles: int, margin_px: int, batch: int, step: int) -> Tensor:
    """Which parts a step reads, where, and in which styles: a function of seed and step alone (runs resume).

    Args:
        margin_px: how much larger a part is than what is cut out of it.
    Returns:
        int32 [B · DRAWN].
    """
    random = np.random.default_rng((seed, step))
    columns = [random.integers(0, highest, batch) for highest in (parts, margin_px + 1, margin_px + 1, 2)]
    # Each style as often as the others, whatever the batch.
    columns.append((step * batch + np.arange(batch)) % styles)
    gains = random.integers(round(1000 * (1 - GAIN)), round(1000 * (1 + GAIN)) + 1, (batch, 3))
    return tf.constant(np.column_stack([*columns, gains]).ravel(), tf.int32)


def _cut_out(parts: Tensor, drawn: Tensor, crop_px: int) -> Tensor:
    """The pictures [B, crop, crop, 3] in [0, 1] that were drawn."""
    def one(row: Tensor) -> Tensor:
        part, top, left, is_mirrored = tf.unstack(row[:4])
        picture = tf.slice(parts, [part, top, left, 0], [1, crop_px, crop_px, 3])[0]
        picture = tf.cast(tf.where(is_mirrored == 1, picture[:, ::-1], picture), tf.float32) / 255.0
        return tf.minimum(picture * tf.cast(row[5:8], tf.float32) / 1000.0, 1.0)
    return tf.map_fn(one, drawn, fn_output_signature=tf.TensorSpec([crop_px, crop_px, 3], tf.float32))
