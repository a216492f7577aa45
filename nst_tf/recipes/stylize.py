"""Style transfer, from files to a stream of `Progress`: a generator without side effects."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.table import find_backbone
from nst_tf.backbones.variant import vary
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.masks import compose
from nst_tf.losses.motifs import extract_motifs, motif_sights, with_motifs
from nst_tf.losses.objective import evaluate, measure_content, measure_targets
from nst_tf.losses.smoothing import measure_scales, smoothed
from nst_tf.losses.terms import Objective
from nst_tf.optimize import canvas, jitter, loop, pyramid
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.parameterize import CANVASES
from nst_tf.optimize.state import State, averaged, to_arrays
from nst_tf.recipes.colors import COLORS
from nst_tf.recipes.dream_units import with_units
from nst_tf.recipes.finish import Touch, finisher
from nst_tf.recipes.plan import Decided, Plan, resolve
from nst_tf.recipes.plan_regions import Masks, areas, composer, load_masks, touched
from nst_tf.recipes.plan_sizes import measured_pictures, reading_side_px
from nst_tf.recipes.precision import decided_variant
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.session import say

Picture = npt.NDArray[np.float32]
Tensor = Any
Features = Mapping[str, Tensor]


class Inputs(NamedTuple):
    """The pictures of a run as --color has them measured, float32 [H, W, 3]; `init` is None where --init is a name.

    `content` is None where a texture is made of the styles alone.
    """

    content: Picture | None
    styles: list[Picture]
    init: Picture | None
    masks: Masks | None

    def measured(self) -> list[Picture]:
        """The pictures whose features are measured: the content if there is one, then the styles."""
        return [*([] if self.content is None else [self.content]), *self.styles]


class Setup(NamedTuple):
    """What is there before the first step: the pictures, the network that measures them, and the last touches."""

    inputs: Inputs
    extractor: Extractor
    finish: Touch
    decided: Decided


def stylize(config: StylizeConfig, state: State | None = None, plan: Plan | None = None,
            setup: Setup | None = None) -> Iterator[Progress]:
    """Stylizes a photo, or makes a texture where there is none; yields one `Progress` for each optimization step.

        J(x) = α · content(x) + β · style(x) + γ · smoothness(x) + δ · dream(x), minimized over the pixels x in [0, 1],

    or over what they are made from (--canvas), from small to large: each stage starts from the averaged image of the
    one before, enlarged; where the run began from the photo, only its changes are.

    Args:
        config: what picture is made.
        state: where to go on; `Progress.state` of any step. From the beginning by default.
        plan: the resolved config; made from it by default.
        setup: what `set_up` returned; made by this call by default.
    Returns:
        an iterator over the steps. The files are read and the network is built (or learned) by this call, so that
        whatever is wrong with them is raised here.
    Raises:
        UserError: a setting or a file is wrong.
    Source: Gatys, Ecker, Bethge 2016.
    """
    plan = plan or resolve(config)
    return _steps(config, plan, setup or set_up(config, plan), state)


def session(job: Job) -> Session:
    """The run machinery's way to `stylize`: says what was decided, builds the network, begins or goes on."""
    plan: Plan = job.plan
    decided = job.decided or Decided(variant=decided_variant(plan.variant), objective=plan.objective,
                                     stages=plan.stages)
    say(f"nst_tf: the network computes in {decided.variant.precision}")
    if job.state:
        say(f"nst_tf: continues at step {job.state.step} of {decided.total_steps}")
    setup = set_up(job.config, plan, decided)
    shown = {"image/1_content" if flag == "--content" else f"image/2_style_{index - bool(job.config.content)}":
             partial(images.load, path, name=flag, max_side_px=job.config.long_side_px)
             for index, (flag, path) in enumerate(measured_pictures(job.config))}
    return Session(events=stylize(job.config, job.state, plan, setup), decided=setup.decided, shown=shown,
                   facts={"parameters": setup.extractor.parameters}, step=job.state.step if job.state else 0)


def set_up(config: StylizeConfig, plan: Plan, decided: Decided | None = None) -> Setup:
    """Reads the pictures and builds (or learns) the network.

    Args:
        decided: what an earlier run decided; decided on this device by default.
    Raises:
        UserError: a file is wrong, the network's weights cannot be had, or it has not the units to dream of.
    """
    inputs = _load(config, plan)
    row, pictures = find_backbone(config.backbone), inputs.measured()
    extractor = row.build(plan.objective.layers(), plan.weights, config.seed, pictures)
    decided = decided or Decided(variant=decided_variant(plan.variant), objective=plan.objective, stages=plan.stages)
    extractor, wanted = vary(extractor, decided.variant, pictures, row.unpadded_px), decided.objective
    content, styles = _content_at(plan, inputs, -1), map(_batch, styles_at(plan, inputs, -1))
    measured = [*([] if content is None else [content]), *styles]
    objective = with_units(wanted, smoothed_extract(wanted, extractor, measured[0]), measured)
    return Setup(inputs, extractor, finisher(config, plan),
                 Decided(variant=decided.variant, objective=objective, stages=decided.stages))


def _load(config: StylizeConfig, plan: Plan) -> Inputs:
    side_px = reading_side_px(config)
    content = images.load(config.content, name="--content", max_side_px=side_px) if config.content else None
    styles = [images.load(path, name="--style", max_side_px=max(side_px, *plan.style_size_px(k, -1)))
              for k, path in enumerate(config.style)]
    masks = load_masks(config) if config.content_mask else None
    if content is not None:
        content, styles = COLORS[config.color].prepare(content, styles)
    if plan.init in canvas.INITIALIZERS:
        return Inputs(content, styles, None, masks)
    # Four times the first stage, because only its middle may be used.
    init = images.load(plan.init, name="--init", max_side_px=4 * max(plan.stage_size_px(0)))
    return Inputs(content, styles, init, masks)


def _steps(config: StylizeConfig, plan: Plan, setup: Setup, state: State | None) -> Iterator[Progress]:
    inputs, extractor, finish, decided = setup
    parameterization, optimizer, descent = CANVASES[config.canvas], OPTIMIZERS[config.optimizer], plan.descent
    composed = composer(inputs.content, inputs.masks)
    seen = _gray if COLORS[config.color].is_gray else _all_channels
    state = state or loop.start(seen(_first_image(config, plan, inputs, extractor)), parameterization, optimizer, 0, 0)
    while True:
        stage = decided.stages[state.stage]
        # A mirrored border is narrower than the image.
        jitter_px = min(descent.jitter_px, min(plan.stage_size_px(state.stage)) - 1)
        measure = stage_objective(plan, inputs, extractor, state.stage, jitter_px, seen, decided.objective)
        step = loop.make_step(measure, parameterization, optimizer, descent.gradient_smoothing)
        rate = partial(pyramid.learning_rate, descent.learning_rate, descent.schedule, stage)
        offset = partial(jitter.offset, config.seed, jitter_px=jitter_px)
        for state, losses in loop.run_stage(state, stage.steps, optimizer, step, rate, offset):
            yield _progress(plan, decided, state, losses, finish)
        if state.stage + 1 == len(decided.stages):
            return
        image = _next_image(plan, inputs, composed(averaged(state)[0]), state.stage + 1, seen)
        state = loop.start(image, parameterization, optimizer, state.step, state.stage + 1)


def _progress(plan: Plan, decided: Decided, state: State, losses: Mapping[str, Tensor], finish: Touch) -> Progress:
    """What a step tells the trackers."""
    return Progress(
        step=state.step, total_steps=decided.total_steps, stage=state.stage, stage_step=state.stage_step,
        size=tuple(state.average.shape[1:-1]), ends_stage=state.stage_step == decided.stages[state.stage].steps,
        steps_left=decided.steps_left(plan, state.stage, state.stage_step), state=state,
        losses={tag: loss for tag, loss in losses.items() if tag.startswith("loss/")},
        details=lambda: {tag: loss for tag, loss in losses.items() if not tag.startswith("loss/")},
        picture=lambda: finish(averaged(state)[0]), arrays=partial(to_arrays, state))


def _next_image(plan: Plan, inputs: Inputs, picture: Picture, stage: int, seen: Callable[[Tensor], Tensor]) -> Tensor:
    """The first image of a stage from the picture of the one before; what began as the photo keeps its detail."""
    if plan.init == "content":
        small, large = (seen(_content_at(plan, inputs, k)) for k in (stage - 1, stage))
        return canvas.enlarge_changes(_batch(picture), small, large)
    width, height = plan.stage_size_px(stage)
    return canvas.enlarge(_batch(picture), height, width)


def _all_channels(image: Tensor) -> Tensor:
    return image


def _gray(image: Tensor) -> Tensor:
    """x_c ↦ ⅓ Σ_k x_k. Its gradient is the same in all channels, so that pixels that start gray stay gray."""
    return tf.tile(tf.reduce_mean(image, axis=-1, keepdims=True), [1, 1, 1, 3])


def stage_objective(plan: Plan, inputs: Inputs, extractor: Extractor, stage: int, jitter_px: int,
                    seen: Callable[[Tensor], Tensor] = _all_channels, objective: Objective | None = None
                    ) -> Callable[[Tensor, Tensor], Mapping[str, Tensor]]:
    """The objective at a stage's size; its targets are measured anew from the originals.

    Style is measured on smaller copies of the pictures too, for large motifs.

    Args:
        seen: image → what of it is measured.
        objective: the plan's by default, which may not rank units.
    """
    objective, size_px = objective or plan.objective, plan.stage_size_px(stage)
    content = _content_at(plan, inputs, stage)
    styles = [_batch(style) for style in styles_at(plan, inputs, stage)]
    extract = smoothed_extract(objective, extractor, styles[0] if content is None else content)
    long_side_px, copies_px, masks = plan.stages[stage].long_side_px, plan.copies_px(stage), inputs.masks
    extract = extract_motifs(extract, [layer for layer, _ in objective.style_layers], long_side_px, copies_px)
    objective = with_motifs(objective, long_side_px, copies_px)
    placed = areas(masks, size_px, [(style.shape[2], style.shape[1]) for style in styles]) if masks else ()
    targets = measure_targets(objective, extract, content, styles, plan.style_blend, placed,
                              motif_sights(masks.sights, long_side_px, copies_px) if masks else {})
    # Without a style a region stays the photo: what the network sees is what is written, up to the soft edges.
    stylized = touched(masks, size_px) if masks else None

    def measure(image: Tensor, offset: Tensor) -> Mapping[str, Tensor]:
        # The guides stay: moved by a few pixels either way, they are right on average.
        def extract_moved(x: Tensor) -> Mapping[str, Tensor]:
            return extract(jitter.shift(x, offset, jitter_px))

        # The photo moves with the image: features of a picture that is moved by less than a stride are others.
        moved = measure_content(objective, extract_moved, content) if jitter_px else targets.content
        shown = seen(image) if stylized is None else compose(seen(image), content, stylized)
        return evaluate(objective, targets._replace(content=moved), extract_moved, shown)

    return measure


def smoothed_extract(objective: Objective, extractor: Extractor, measured: Tensor) -> Callable[[Tensor], Features]:
    """The features that every term reads, as --smoothing has them; their scale is that of one picture [1, H, W, 3]."""
    smoothing, deep = objective.smoothing, objective.smoothed_layers
    return smoothed(smoothing, extractor, measure_scales(smoothing, extractor, measured, deep), deep)


def _content_at(plan: Plan, inputs: Inputs, stage: int) -> Tensor | None:
    return None if inputs.content is None else _batch(images.resize(inputs.content, *plan.stage_size_px(stage)))


def styles_at(plan: Plan, inputs: Inputs, stage: int) -> list[Picture]:
    """The styles at the sizes at which a stage measures them."""
    return [images.resize(style, *plan.style_size_px(k, stage)) for k, style in enumerate(inputs.styles)]


def _first_image(config: StylizeConfig, plan: Plan, inputs: Inputs, extractor: Extractor) -> Tensor:
    width, height = size_px = plan.stage_size_px(0)
    if inputs.init is not None:
        return _batch(_cover(inputs.init, *size_px))
    # Of a content that is not there, only its size is read.
    content = (np.zeros((height, width, 3), np.float32) if inputs.content is None
               else images.resize(inputs.content, *size_px))
    origins = canvas.Origins(
        content, [_cover(style, *size_px) for style in inputs.styles],
        plan.style_blend, extractor.mean_color, config.seed)
    return canvas.first_image(plan.init, origins)


def _cover(picture: Picture, width: int, height: int) -> Picture:
    """The middle of a picture at another size: scaled to cover it, never stretched."""
    rows, columns = picture.shape[:2]
    scale = min(columns / width, rows / height)
    kept_columns, kept_rows = min(columns, round(width * scale)), min(rows, round(height * scale))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return images.resize(picture[top:top + max(1, kept_rows), left:left + max(1, kept_columns)], width, height)


def _batch(picture: Picture) -> Tensor:
    return tf.constant(picture[np.newaxis], tf.float32)
