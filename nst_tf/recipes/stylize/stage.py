"""One stage of a stylization: the step compiled for its size, and the arguments of this step for a job."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.grammar import Smoothing
from nst_tf.io import images
from nst_tf.io.masks import compose
from nst_tf.losses.evaluation import Sums, Targets, evaluate, measure_targets, with_constant_weights
from nst_tf.losses.feature_smoothing import measure_scales, smoothed
from nst_tf.losses.motifs import extract_motifs, motif_fields, with_motifs
from nst_tf.losses.objective import Objective
from nst_tf.losses.term import Losses, TermTargets
from nst_tf.optimize import jitter
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.step import Outcome, make_step, whole
from nst_tf.optimize.strip_step import StripStep
from nst_tf.optimize.windows import Clipped
from nst_tf.recipes.stylize.finish import COLORS, Touch
from nst_tf.recipes.stylize.network import Fitted, Network
from nst_tf.recipes.stylize.plan import Decided, Plan
from nst_tf.recipes.stylize.plan_regions import Masks, areas, touched
from nst_tf.recipes.stylize.plan_tiles import Sight
from nst_tf.recipes.stylize.shared import Shared
from nst_tf.recipes.stylize.tiled import TiledGradient
from nst_tf.strips import Picture
from nst_tf.tensors import Array, Features, Tensor


# With jitter the photo moves as the picture does. Its features of all moves are kept where a stage takes this many
# steps for each move, and they need no more memory than this. Else each step measures them anew, a sixth of its time.
STEPS_OF_MOVE = 10
LARGEST_MOVES_BYTES = 2 ** 28
# So many pixels of moved photos are measured at once: Keras takes longer for each call than for a small picture.
MEASURED_AT_ONCE_PX = 2 ** 19


class Inputs(NamedTuple):
    """The pictures of a run, [H, W, 3], with the colors that --color has them measured in.

    `content` is None where a texture is made of the styles alone, `init` where --init is a name. `earlier` is what a
    frame of a video is held to: earlier frames at its places [H, W, 3], and how certain that is, [H, W].
    """

    content: Picture | None
    styles: Sequence[Picture]
    init: Picture | None
    masks: Masks | None
    earlier: tuple[Array, Array] | None = None

    def measured(self) -> list[Picture]:
        """The pictures whose features are measured: the content if there is one, then the styles."""
        return [*([] if self.content is None else [self.content]), *self.styles]


class Setup(NamedTuple):
    """What a run has before its first step: the pictures, the network fitted to them, and the last touches.

    `reduced` is the network of fewer channels; None where no step takes it, or before it is made. `shared` is what the
    jobs of a process share; None for a job alone.
    """

    inputs: Inputs
    network: Network
    fitted: Fitted
    finish: Touch
    decided: Decided
    reduced: Fitted | None = None
    shared: Shared | None = None


class Pictures(NamedTuple):
    """What depends on the pictures of a job at one size: arguments of a compiled step, never constants in it.

    `values` are the network's filters and scales that follow from the pictures. `scales` are those of --smoothing.
    `photo` [1, H, W, 3] is the content, in tiles a picture [H, W, 3] that is read by windows; None where the step does
    not read it. `stylized` [H, W, 1] is how much of each pixel has a style; None where every pixel has one.
    """

    values: tuple[Tensor, ...]
    scales: Features
    photo: Any
    stylized: Tensor | None
    targets: Targets


class StepPlan(NamedTuple):
    """The constants of a compiled step: it serves every job with equal ones."""

    objective: Objective            # see `Objective.structure`
    motif_layers: tuple[str, ...]   # the style's layers, which the copies have too
    long_side_px: int
    copies_px: tuple[int, ...]
    size: tuple[int, ...]
    jitter_px: int
    keeps_moves: bool  # of the photo's features
    tile_px: int       # 0 where the picture is measured as a whole
    is_gray: bool
    canvas: str
    optimizer: str
    gradient_smoothing: float

    @property
    def is_in_strips(self) -> bool:
        """Whether values lie on the host and move strip by strip (see `StripStep`)."""
        return bool(self.tile_px) and self.canvas == "pixels" and OPTIMIZERS[self.optimizer].is_local


def plan_step(config: StylizeConfig, plan: Plan, decided: Decided, stage: int) -> StepPlan:
    """What is constant in the step of a stage."""
    width, height = plan.stage_size_px(stage)
    long_side_px, copies_px = plan.stages[stage].long_side_px, plan.copies_px(stage)
    # A mirrored border is narrower than the image.
    jitter_px = min(plan.descent.jitter_px, min(width, height) - 1)
    tile_px = decided.tile_px if max(width, height) > decided.tile_px else 0
    moves, content_layers = (2 * jitter_px + 1) ** 2, dict(decided.objective.content_layers)
    features = sum(math.ceil(height / layer.stride) * math.ceil(width / layer.stride) * layer.channels
                   for layer in find_backbone(config.backbone).all_layers if layer.name in content_layers)
    # Not the steps that a resume adds: it goes on as the run began.
    keeps_moves = (1 < moves <= decided.stages[stage].decay_steps / STEPS_OF_MOVE
                   and 4 * moves * features <= LARGEST_MOVES_BYTES)
    return StepPlan(
        objective=with_motifs(decided.objective_at(stage), long_side_px, copies_px).structure(),
        motif_layers=tuple(layer for layer, _ in decided.objective.style_layers), long_side_px=long_side_px,
        copies_px=copies_px, size=(height, width), jitter_px=jitter_px, keeps_moves=keeps_moves and not tile_px,
        tile_px=tile_px,
        is_gray=COLORS[config.color].is_gray,
        canvas=config.canvas, optimizer=config.optimizer, gradient_smoothing=plan.descent.gradient_smoothing)


def compile_step(plan: StepPlan, extractor: Extractor, sight: Sight) -> Callable[..., Outcome]:
    """The compiled step of a stage, for the pictures of any job."""
    canvas, optimizer, smoothing = CANVASES[plan.canvas], OPTIMIZERS[plan.optimizer], plan.gradient_smoothing
    if not plan.tile_px:
        return make_step(whole(partial(losses_of_step, plan, extractor)), canvas, optimizer, smoothing)
    gradient = tiled_gradient(plan, extractor, sight)
    if plan.is_in_strips:
        return StripStep(gradient, canvas, optimizer, smoothing)
    return make_step(gradient, canvas, optimizer, smoothing, is_compiled=False)


def tiled_gradient(plan: StepPlan, extractor: Extractor, sight: Sight) -> TiledGradient:
    """Value and gradient in tiles."""
    def extract(x: Tensor, values: Sequence[Tensor], scales: Features) -> Features:
        return smoothed(plan.objective.smoothing, partial(extractor.native, values=values), scales,
                        plan.objective.smoothed_layers)(x)

    return TiledGradient(plan.objective, plan.size, plan.long_side_px, plan.copies_px, plan.tile_px, plan.jitter_px,
                         sight, extract, partial(_prepared_rows, plan))


def _prepared(plan: StepPlan, image: Tensor, pictures: Pictures) -> Tensor:
    """The image as it is measured. A region without a style stays the photo, so the network sees what is written."""
    measured = measured_channels(image, plan.is_gray)
    return measured if pictures.stylized is None else compose(measured, pictures.photo, pictures.stylized)


def _prepared_rows(plan: StepPlan, image: Tensor, pictures: Pictures, rows: slice) -> Tensor:
    """`_prepared` of some rows."""
    if pictures.stylized is not None:
        pictures = pictures._replace(photo=pictures.photo[rows], stylized=pictures.stylized[rows])
    return _prepared(plan, image, pictures)


def losses_of_step(plan: StepPlan, extractor: Extractor, image: Tensor, offset: Tensor,
                   pictures: Pictures) -> tuple[Losses, Sums]:
    """The losses of images [B, H, W, 3], each [B], and the sums that they are made of."""
    extract = _extract(plan, partial(extractor.native, values=pictures.values), pictures.scales)

    # The guides stay: moved by a few pixels either way, they are right on average.
    def extract_moved(x: Tensor) -> Features:
        return extract(jitter.shift(x, offset, plan.jitter_px))

    targets = pictures.targets
    if plan.objective.normalization != "relative":
        targets = with_constant_weights(plan.objective, targets)
    if plan.jitter_px and "content" in targets.fixed:
        # The photo moves with the image: features of a picture that is moved by less than a stride are others.
        kept = targets.fixed["content"]
        moved = ({layer: F[jitter.index(offset, plan.jitter_px)] for layer, F in kept.items()} if plan.keeps_moves
                 else extract_moved(pictures.photo))
        targets = targets._replace(fixed=targets.fixed | {"content": {layer: moved[layer] for layer in kept}})
    return evaluate(plan.objective, targets, extract_moved, _prepared(plan, image, pictures))


def _extract(plan: StepPlan, extract: Callable[[Tensor], Features], scales: Features) -> Callable[[Tensor], Features]:
    """The features that every term reads: smoothed as --smoothing has them, and of smaller copies for large motifs."""
    extract = smoothed(plan.objective.smoothing, extract, scales, plan.objective.smoothed_layers)
    return extract_motifs(extract, plan.motif_layers, plan.long_side_px, plan.copies_px)


def measure_pictures(plan: Plan, setup: Setup, stage: int, step: StepPlan) -> tuple[Pictures, Mapping[str, Any]]:
    """The arguments of a stage's step, measured anew from the originals; and the targets that its rows need."""
    inputs, fitted, size_px = setup.inputs, setup.fitted, plan.stage_size_px(stage)
    objective = setup.decided.objective_at(stage)
    photo: Any = photo_at(plan, inputs, stage) if step.tile_px else content_at(plan, inputs, stage)
    styles = [batch(style) for style in styles_at(plan, inputs, stage)]
    scales = scales_at(plan, fitted, step, styles[0] if photo is None else photo)
    tiles = tiled_gradient(step, fitted.extractor, plan.sight) if step.tile_px else None
    masks = inputs.masks
    placed = areas(masks, size_px, [(style.shape[2], style.shape[1]) for style in styles]) if masks else ()
    fields = motif_fields(masks.fields, step.long_side_px, step.copies_px) if masks else {}
    targets, of_rows = measure_targets(
        with_motifs(objective, step.long_side_px, step.copies_px), _extract(step, fitted, scales), photo, styles,
        plan.style_blend, placed, fields, step.size, partial(_remembered, plan, setup, step, styles, bool(scales)),
        tiles.targets(fitted.values, scales) if tiles else None,
        inputs.earlier and (batch(inputs.earlier[0]), batch(inputs.earlier[1])))
    share = touched(masks, size_px) if masks else None
    stylized = None if share is None else tf.constant(np.asarray(share))
    is_moved = step.jitter_px and not step.keeps_moves
    if "content" in targets.fixed and not is_moved:
        kept = targets.fixed["content"]
        if tiles:
            kept = tiles.photo_tiles(photo, fitted.values, scales)
        elif step.keeps_moves:
            kept = _features_of_moves(step, _extract(step._replace(copies_px=()), fitted, scales), photo, kept)
        targets = targets._replace(fixed=targets.fixed | {"content": kept})
    is_read = is_moved or stylized is not None
    return Pictures(fitted.values, scales, photo if is_read else None, stylized, targets), of_rows


def scales_at(plan: Plan, fitted: Fitted, step: StepPlan, picture: Tensor) -> Features:
    """The scales of --smoothing, measured on a picture at a stage's size."""
    smoothing, layers, tiled = step.objective.smoothing, step.objective.smoothed_layers, None
    if step.tile_px:
        as_it_is = step._replace(objective=step.objective._replace(smoothing=Smoothing("none", 1.0)))
        tiled = tiled_gradient(as_it_is, fitted.extractor, plan.sight).targets(fitted.values, {})
    return measure_scales(smoothing, fitted, picture, layers, tiled)


def _remembered(plan: Plan, setup: Setup, step: StepPlan, styles: Sequence[Tensor], has_scales: bool, term: str,
                measure: Callable[[], TermTargets]) -> TermTargets:
    """The targets of the style, measured once for all jobs where they follow from the styles alone."""
    follows = term in ("style", "neighbors") and not (setup.inputs.masks or setup.fitted.values or has_scales)
    if setup.shared is None or not follows:
        return measure()
    pixels = tuple((style.shape[1:], sha256(style.numpy()).digest()) for style in styles)
    targets: TermTargets = setup.shared.targets(
        (term, setup.decided.objective, step, setup.fitted.extractor, plan.style_blend, pixels), measure)
    return targets


def _features_of_moves(step: StepPlan, extract: Callable[[Tensor], Features], photo: Tensor,
                       layers: Iterable[str]) -> Features:
    """{layer: features of the photo [moves, 1, h, w, C]}, in the order of `jitter.index`."""
    moved = [jitter.shift(photo, offset, step.jitter_px) for offset in jitter.offsets(step.jitter_px)]
    at_once = max(1, MEASURED_AT_ONCE_PX // math.prod(step.size))
    batches = [extract(tf.concat(moved[k:k + at_once], axis=0)) for k in range(0, len(moved), at_once)]
    return {layer: tf.concat([features[layer] for features in batches], axis=0)[:, tf.newaxis] for layer in layers}


def content_at(plan: Plan, inputs: Inputs, stage: int) -> Tensor | None:
    """The content at a stage's size, [1, H, W, 3]; None where there is none."""
    return None if inputs.content is None else batch(images.resize(inputs.content, *plan.stage_size_px(stage)))


def photo_at(plan: Plan, inputs: Inputs, stage: int) -> Picture | None:
    """The content at a stage's size, [H, W, 3], to be read by windows: in few bytes where it has that size."""
    if inputs.content is None:
        return None
    width, height = plan.stage_size_px(stage)
    has_size = tuple(inputs.content.shape[:2]) == (height, width)
    return Clipped(inputs.content) if has_size else images.resize(inputs.content, width, height)


def styles_at(plan: Plan, inputs: Inputs, stage: int) -> list[Array]:
    """The styles at the sizes at which a stage measures them."""
    return [images.resize(style, *plan.style_size_px(k, stage)) for k, style in enumerate(inputs.styles)]


def batch(picture: Array) -> Tensor:
    """[H, W, 3] → [1, H, W, 3]."""
    return tf.constant(picture[np.newaxis], tf.float32)


def measured_channels(image: Tensor, is_gray: bool) -> Tensor:
    """The image as it is measured: itself, or its gray x_c ↦ ⅓ Σ_k x_k where --color optimizes the lightness alone.

    The gradient of the gray is the same in all channels, so that pixels that start gray stay gray.
    """
    return tf.tile(tf.reduce_mean(image, axis=-1, keepdims=True), [1, 1, 1, 3]) if is_gray else image
