"""One stage of a stylization: what is compiled for its size, and what a step is given of the pictures of a job."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.masks import compose
from nst_tf.losses.evaluation import Sums, Targets, details, evaluate, measure_targets, with_constant_weights
from nst_tf.losses.feature_smoothing import measure_scales, smoothed
from nst_tf.losses.motifs import extract_motifs, motif_fields, with_motifs
from nst_tf.losses.objective import Objective
from nst_tf.losses.term import Losses
from nst_tf.optimize import jitter
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.step import Told, make_step, whole
from nst_tf.recipes.stylize.finish import COLORS, Touch
from nst_tf.recipes.stylize.network import Fitted, Network
from nst_tf.recipes.stylize.plan import Decided, Plan
from nst_tf.recipes.stylize.regions import Masks, areas, touched
from nst_tf.tensors import Array, Features, Tensor


class Inputs(NamedTuple):
    """The pictures of a run as --color has them measured, float32 [H, W, 3]; `init` is None where --init is a name.

    `content` is None where a texture is made of the styles alone.
    """

    content: Array | None
    styles: list[Array]
    init: Array | None
    masks: Masks | None

    def measured(self) -> list[Array]:
        """The pictures whose features are measured: the content if there is one, then the styles."""
        return [*([] if self.content is None else [self.content]), *self.styles]


class Setup(NamedTuple):
    """What is there before the first step: the pictures, the network fitted to them, and the last touches."""

    inputs: Inputs
    network: Network
    fitted: Fitted
    finish: Touch
    decided: Decided


class Pictures(NamedTuple):
    """All that a compiled step knows of the pictures of a job at one size: its arguments, never constants in it.

    `values` are the network's filters and scales that follow from the pictures, `scales` those of --smoothing;
    `photo` [1, H, W, 3] is the content where the step reads it, `stylized` [H, W, 1] how much of each pixel has a style
    where some have none.
    """

    values: tuple[Tensor, ...]
    scales: Features
    photo: Tensor | None
    stylized: Tensor | None
    targets: Targets


class StepPlan(NamedTuple):
    """All that a compiled step has as constants: it serves every job that has these alike."""

    objective: Objective            # see `Objective.structure`
    motif_layers: tuple[str, ...]   # the style's layers, which the copies have too
    long_side_px: int
    copies_px: tuple[int, ...]
    size: tuple[int, ...]
    jitter_px: int
    is_gray: bool
    canvas: str
    optimizer: str
    gradient_smoothing: float


def plan_step(config: StylizeConfig, plan: Plan, decided: Decided, stage: int) -> StepPlan:
    """What is constant in the step of a stage."""
    width, height = plan.stage_size_px(stage)
    long_side_px, copies_px = plan.stages[stage].long_side_px, plan.copies_px(stage)
    return StepPlan(
        objective=with_motifs(decided.objective, long_side_px, copies_px).structure(),
        motif_layers=tuple(layer for layer, _ in decided.objective.style_layers), long_side_px=long_side_px,
        copies_px=copies_px, size=(height, width),
        # A mirrored border is narrower than the image.
        jitter_px=min(plan.descent.jitter_px, min(width, height) - 1), is_gray=COLORS[config.color].is_gray,
        canvas=config.canvas, optimizer=config.optimizer, gradient_smoothing=plan.descent.gradient_smoothing)


def compile_step(plan: StepPlan, extractor: Extractor) -> Callable[..., Told]:
    """The compiled step of a stage, for the pictures of any job."""
    return make_step(whole(partial(_evaluate, plan, extractor)), CANVASES[plan.canvas], OPTIMIZERS[plan.optimizer],
                     plan.gradient_smoothing)


def _evaluate(plan: StepPlan, extractor: Extractor, image: Tensor, offset: Tensor,
              pictures: Pictures) -> tuple[Losses, Sums]:
    """The losses of images [B, H, W, 3], each [B], and the sums that they are made of."""
    extract = _extract(plan, partial(extractor, values=pictures.values), pictures.scales)

    # The guides stay: moved by a few pixels either way, they are right on average.
    def extract_moved(x: Tensor) -> Features:
        return extract(jitter.shift(x, offset, plan.jitter_px))

    targets, seen = pictures.targets, measured_channels(plan.is_gray)
    if plan.objective.normalization != "relative":
        targets = with_constant_weights(plan.objective, targets)
    if plan.jitter_px and "content" in targets.fixed:
        # The photo moves with the image: features of a picture that is moved by less than a stride are others.
        moved = extract_moved(pictures.photo)
        targets = targets._replace(fixed=targets.fixed | {
            "content": {layer: moved[layer] for layer in targets.fixed["content"]}})
    # Without a style a region stays the photo: what the network sees is what is written, up to the soft edges.
    shown = (seen(image) if pictures.stylized is None
             else compose(seen(image), pictures.photo, pictures.stylized))
    return evaluate(plan.objective, targets, extract_moved, shown)


def _extract(plan: StepPlan, extract: Callable[[Tensor], Features], scales: Features) -> Callable[[Tensor], Features]:
    """The features that every term reads: smoothed as --smoothing has them, and of smaller copies for large motifs."""
    extract = smoothed(plan.objective.smoothing, extract, scales, plan.objective.smoothed_layers)
    return extract_motifs(extract, plan.motif_layers, plan.long_side_px, plan.copies_px)


def measure_pictures(plan: Plan, setup: Setup, stage: int, step: StepPlan) -> tuple[Pictures, Mapping[str, Any]]:
    """What a stage's step is given of the pictures, measured anew from the originals; and what its rows need."""
    inputs, fitted, size_px, objective = setup.inputs, setup.fitted, plan.stage_size_px(stage), setup.decided.objective
    content = content_at(plan, inputs, stage)
    styles = [batch(style) for style in styles_at(plan, inputs, stage)]
    scales = smoothing_scales(objective, fitted, styles[0] if content is None else content)
    masks = inputs.masks
    placed = areas(masks, size_px, [(style.shape[2], style.shape[1]) for style in styles]) if masks else ()
    fields = motif_fields(masks.fields, step.long_side_px, step.copies_px) if masks else {}
    targets, of_rows = measure_targets(
        with_motifs(objective, step.long_side_px, step.copies_px), _extract(step, fitted, scales), content, styles,
        plan.style_blend, placed, fields, step.size)
    share = touched(masks, size_px) if masks else None
    stylized = None if share is None else tf.constant(share)
    photo = content if step.jitter_px or stylized is not None else None
    return Pictures(fitted.values, scales, photo, stylized, targets), of_rows


def stage_losses(config: StylizeConfig, plan: Plan, setup: Setup, stage: int,
                 jitter_px: int = 0) -> Callable[[Tensor, Tensor], Losses]:
    """(image [1, H, W, 3] of a stage's size, offset of `jitter`) → all its losses, as step and rows have them."""
    step = plan_step(config, plan, setup.decided, stage)._replace(jitter_px=jitter_px)
    pictures, of_rows = measure_pictures(plan, setup, stage, step)

    def measure(image: Tensor, offset: Tensor) -> Losses:
        losses, sums = _evaluate(step, setup.fitted.extractor, image, offset, pictures)
        return {tag: loss[0] for tag, loss in (losses | details(step.objective, sums, of_rows)).items()}

    return measure


def smoothing_scales(objective: Objective, extract: Callable[[Tensor], Features], measured: Tensor) -> Features:
    """The scales of --smoothing, measured on one picture [1, H, W, 3]."""
    return measure_scales(objective.smoothing, extract, measured, objective.smoothed_layers)


def content_at(plan: Plan, inputs: Inputs, stage: int) -> Tensor | None:
    """The content at a stage's size, [1, H, W, 3]; None where there is none."""
    return None if inputs.content is None else batch(images.resize(inputs.content, *plan.stage_size_px(stage)))


def styles_at(plan: Plan, inputs: Inputs, stage: int) -> list[Array]:
    """The styles at the sizes at which a stage measures them."""
    return [images.resize(style, *plan.style_size_px(k, stage)) for k, style in enumerate(inputs.styles)]


def batch(picture: Array) -> Tensor:
    """[H, W, 3] → [1, H, W, 3]."""
    return tf.constant(picture[np.newaxis], tf.float32)


def measured_channels(is_gray: bool) -> Callable[[Tensor], Tensor]:
    """What of an image is measured: its gray where --color optimizes the lightness alone, otherwise all of it."""
    return _gray if is_gray else lambda image: image


def _gray(image: Tensor) -> Tensor:
    """x_c ↦ ⅓ Σ_k x_k. Its gradient is the same in all channels, so that pixels that start gray stay gray."""
    return tf.tile(tf.reduce_mean(image, axis=-1, keepdims=True), [1, 1, 1, 3])
