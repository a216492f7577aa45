"""Style transfer, from files to a stream of `Progress`: a generator without side effects."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.masks import compose
from nst_tf.losses.motifs import extract_motifs, motif_sights, with_motifs
from nst_tf.losses.objective import Sums, Targets, details, evaluate, measure_targets
from nst_tf.losses.smoothing import measure_scales, smoothed
from nst_tf.losses.term import Losses
from nst_tf.losses.terms import Objective
from nst_tf.optimize import canvas, jitter, pyramid
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.parameterize import CANVASES
from nst_tf.optimize.state import Progress, State, averaged
from nst_tf.optimize.step import Told, make_step, run_stage, start, whole
from nst_tf.recipes.colors import COLORS
from nst_tf.recipes.dream_units import with_units
from nst_tf.recipes.finish import Touch, finisher
from nst_tf.recipes.network import Fitted, Network, NetworkPlan
from nst_tf.recipes.plan import Plan, resolve
from nst_tf.recipes.plan_regions import Masks, areas, composer, load_masks, touched
from nst_tf.recipes.plan_sizes import reading_side_px
from nst_tf.recipes.precision import decided
from nst_tf.tensors import Features, Tensor

Picture = npt.NDArray[np.float32]


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
    """What is there before the first step: the pictures, the network fitted to them, and the last touches.

    `objective` is the plan's, with the units of its dream layers chosen.
    """

    inputs: Inputs
    network: Network
    fitted: Fitted
    finish: Touch
    objective: Objective


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

    objective: Objective            # its structure alone, see `Objective.structure`
    motif_layers: tuple[str, ...]   # the style's layers, which the copies have too
    long_side_px: int
    copies_px: tuple[int, ...]
    size: tuple[int, ...]
    jitter_px: int
    is_gray: bool
    canvas: str
    optimizer: str
    gradient_smoothing: float


def load_network(config: StylizeConfig) -> Network:
    """The network of a config, for any number of `stylize(config, network=network)`.

    Configs may differ in all but backbone, weights, layers (fewer are enough), precision, pooling and padding, and
    where weights are random or learned in the seed. Jobs of the same sizes and terms share what is compiled.

    Raises:
        UserError: a setting is wrong, or the network's weights cannot be had.
    """
    return Network(_network_plan(config, decided(resolve(config))))


def stylize(config: StylizeConfig, state: State | None = None, plan: Plan | None = None, setup: Setup | None = None, *,
            network: Network | None = None) -> Iterator[Progress]:
    """Stylizes a photo, or makes a texture where there is none; yields one `Progress` for each optimization step.

        J(x) = α · content(x) + β · style(x) + γ · smoothness(x) + δ · dream(x), minimized over the pixels x in [0, 1],

    or over what they are made from (--canvas), from small to large: each stage starts from the averaged image of the
    one before, enlarged; where the run began from the photo, only its changes are.

    Args:
        config: what picture is made.
        state: where to go on; `Progress.state` of any step. From the beginning by default.
        plan: the resolved config; made from it by default.
        setup: what `set_up` returned; made by this call by default.
        network: what `load_network` returned for a config with the same network; built by this call by default.
    Returns:
        an iterator over the steps. The files are read and the network is built (or learned) by this call, so that
        whatever is wrong with them is raised here.
    Raises:
        UserError: a setting or a file is wrong, or the network is not that of the config.
    Source: Gatys, Ecker, Bethge 2016.
    """
    plan = plan or resolve(config)
    setup = setup or set_up(config, plan, network)
    return _steps(config, plan._replace(objective=setup.objective), setup, state)


def set_up(config: StylizeConfig, plan: Plan, network: Network | None = None) -> Setup:
    """Reads the pictures, builds the network where none is given, and fits it to the pictures.

    Raises:
        UserError: a file is wrong, the network's weights cannot be had, or it has not the units to dream of.
    """
    if network is None:
        network = Network(_network_plan(config, decided(plan)))
    else:
        network.check_fits(_network_plan(config, plan))
    inputs = _load(config, plan)
    fitted = network.fit(inputs.measured())
    content, styles = _content_at(plan, inputs, -1), map(_batch, styles_at(plan, inputs, -1))
    measured = [*([] if content is None else [content]), *styles]
    scales = _smoothing_scales(plan.objective, fitted, measured[0])
    objective = with_units(plan.objective, smoothed(plan.objective.smoothing, fitted, scales,
                                                    plan.objective.smoothed_layers), measured)
    return Setup(inputs, network, fitted, finisher(config, plan), objective)


def _network_plan(config: StylizeConfig, plan: Plan) -> NetworkPlan:
    seed = config.seed if plan.weights in ("random", "self") else 0
    return NetworkPlan(config.backbone, plan.weights, seed, plan.variant, plan.objective.layers())


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
    inputs, network, extractor, descent = setup.inputs, setup.network, setup.fitted.extractor, plan.descent
    optimizer, parameterization = OPTIMIZERS[config.optimizer], CANVASES[config.canvas]
    composed = composer(inputs.content, inputs.masks)
    seen = _gray if COLORS[config.color].is_gray else _all_channels
    state = state or start(seen(_first_image(config, plan, inputs, setup.fitted)), parameterization, optimizer, 0, 0)
    while True:
        stage = plan.stages[state.stage]
        step_plan = _step_plan(config, plan, state.stage)
        pictures, of_rows = measure_pictures(plan, setup, state.stage, step_plan)
        step = network.compiled((step_plan, extractor), partial(_make_step, step_plan, extractor))
        rate = partial(pyramid.learning_rate, descent.learning_rate, descent.schedule, stage)
        offset = partial(jitter.offset, config.seed, jitter_px=step_plan.jitter_px)
        for state, told in run_stage(state, stage.steps, optimizer, step, rate, offset, pictures):
            yield Progress(state, plan.total_steps, told.losses, state.stage_step == stage.steps,
                           plan.pixel_steps_left(state.stage, state.stage_step), setup.finish,
                           partial(_details, step_plan.objective, told.sums, of_rows))
        if state.stage + 1 == len(plan.stages):
            return
        image = _next_image(plan, inputs, composed(averaged(state)[0]), state.stage + 1, seen)
        state = start(image, parameterization, optimizer, state.step, state.stage + 1)


def _details(objective: Objective, sums: Any, of_rows: Mapping[str, Any]) -> dict[str, Tensor]:
    return {tag: tf.reduce_sum(value) for tag, value in details(objective, sums, of_rows).items()}


def _step_plan(config: StylizeConfig, plan: Plan, stage: int) -> StepPlan:
    """What is constant in the step of a stage."""
    width, height = plan.stage_size_px(stage)
    long_side_px, copies_px = plan.stages[stage].long_side_px, plan.copies_px(stage)
    return StepPlan(
        with_motifs(plan.objective, long_side_px, copies_px).structure(),
        tuple(layer for layer, _ in plan.objective.style_layers), long_side_px, copies_px, (height, width),
        # A mirrored border is narrower than the image.
        min(plan.descent.jitter_px, min(width, height) - 1), COLORS[config.color].is_gray, config.canvas,
        config.optimizer, plan.descent.gradient_smoothing)


def _make_step(plan: StepPlan, extractor: Extractor) -> Callable[..., Told]:
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

    targets, seen = pictures.targets, _gray if plan.is_gray else _all_channels
    if plan.jitter_px and "content" in targets.fixed:
        # The photo moves with the image: features of a picture that is moved by less than a stride are others.
        moved = extract_moved(pictures.photo)
        targets = targets._replace(fixed=targets.fixed | {
            "content": {layer: moved[layer] for layer in targets.fixed["content"]}})
    # Without a style a region stays the photo: what the network sees is what is written, up to the soft edges.
    shown = (seen(image) if pictures.stylized is None
             else compose(seen(image), pictures.photo, pictures.stylized))
    return evaluate(plan.objective, targets, extract_moved, shown)


def stage_losses(config: StylizeConfig, plan: Plan, setup: Setup, stage: int,
                 jitter_px: int = 0) -> Callable[[Tensor, Tensor], Losses]:
    """(image [1, H, W, 3] of a stage's size, offset of `jitter`) → all its losses, as step and rows have them."""
    step_plan = _step_plan(config, plan, stage)._replace(jitter_px=jitter_px)
    pictures, of_rows = measure_pictures(plan, setup, stage, step_plan)

    def measure(image: Tensor, offset: Tensor) -> Losses:
        losses, sums = _evaluate(step_plan, setup.fitted.extractor, image, offset, pictures)
        return {tag: loss[0] for tag, loss in (losses | details(step_plan.objective, sums, of_rows)).items()}

    return measure


def _extract(plan: StepPlan, extract: Callable[[Tensor], Features], scales: Features) -> Callable[[Tensor], Features]:
    """The features that every term reads: smoothed as --smoothing has them, and of smaller copies for large motifs."""
    extract = smoothed(plan.objective.smoothing, extract, scales, plan.objective.smoothed_layers)
    return extract_motifs(extract, plan.motif_layers, plan.long_side_px, plan.copies_px)


def measure_pictures(plan: Plan, setup: Setup, stage: int, step_plan: StepPlan) -> tuple[Pictures, Mapping[str, Any]]:
    """What a stage's step is given of the pictures, measured anew from the originals; and what its rows need."""
    inputs, fitted, size_px = setup.inputs, setup.fitted, plan.stage_size_px(stage)
    content = _content_at(plan, inputs, stage)
    styles = [_batch(style) for style in styles_at(plan, inputs, stage)]
    scales = _smoothing_scales(plan.objective, fitted, styles[0] if content is None else content)
    extract = _extract(step_plan, fitted, scales)
    objective, masks = with_motifs(plan.objective, step_plan.long_side_px, step_plan.copies_px), inputs.masks
    placed = areas(masks, size_px, [(style.shape[2], style.shape[1]) for style in styles]) if masks else ()
    sights = motif_sights(masks.sights, step_plan.long_side_px, step_plan.copies_px) if masks else {}
    targets, of_rows = measure_targets(objective, extract, content, styles, plan.style_blend, placed, sights,
                                       step_plan.size)
    share = touched(masks, size_px) if masks else None
    stylized = None if share is None else tf.constant(share)
    photo = content if step_plan.jitter_px or stylized is not None else None
    return Pictures(fitted.values, scales, photo, stylized, targets), of_rows


def _smoothing_scales(objective: Objective, extract: Callable[[Tensor], Features], measured: Tensor) -> Features:
    """The scales of --smoothing, measured on one picture [1, H, W, 3]."""
    return measure_scales(objective.smoothing, extract, measured, objective.smoothed_layers)


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


def _content_at(plan: Plan, inputs: Inputs, stage: int) -> Tensor | None:
    return None if inputs.content is None else _batch(images.resize(inputs.content, *plan.stage_size_px(stage)))


def styles_at(plan: Plan, inputs: Inputs, stage: int) -> list[Picture]:
    """The styles at the sizes at which a stage measures them."""
    return [images.resize(style, *plan.style_size_px(k, stage)) for k, style in enumerate(inputs.styles)]


def _first_image(config: StylizeConfig, plan: Plan, inputs: Inputs, fitted: Fitted) -> Tensor:
    width, height = size_px = plan.stage_size_px(0)
    if inputs.init is not None:
        return _batch(_cover(inputs.init, *size_px))
    # Of a content that is not there, only its size is read.
    content = (np.zeros((height, width, 3), np.float32) if inputs.content is None
               else images.resize(inputs.content, *size_px))
    origins = canvas.Origins(
        content, [_cover(style, *size_px) for style in inputs.styles],
        plan.style_blend, fitted.mean_color, config.seed)
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
