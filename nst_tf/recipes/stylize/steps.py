"""Style transfer, from files to a stream of `Progress`: a generator without side effects."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.backbones.architectures import LEARNING_SIDE_PX
from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.generators.choice import fast_folder, mixture_of
from nst_tf.generators.files import load
from nst_tf.generators.paint import painted
from nst_tf.grammar import Channels
from nst_tf.io import images
from nst_tf.io.pixels import resized_rows
from nst_tf.keras_settings import keras_defaults, with_keras_defaults
from nst_tf.losses.dream import activations, choose
from nst_tf.losses.feature_smoothing import smoothed
from nst_tf.losses.objective import DreamLayer, Objective
from nst_tf.losses.term import Source
from nst_tf.optimize import first_image, jitter, pyramid
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.state import State, averaged_rows, to_arrays
from nst_tf.optimize.step import Told, run_stage, start, with_other_objective
from nst_tf.optimize.strip_step import on_host, start_on_host
from nst_tf.recipes.classes import ClassMeter, telling
from nst_tf.recipes.stylize.finish import COLORS, finisher
from nst_tf.recipes.stylize.network import Fitted, Network, NetworkPlan
from nst_tf.recipes.stylize.plan import Decided, Plan, read_pictures, resolve
from nst_tf.recipes.stylize.plan_memory import decide_tile, predicted_bytes
from nst_tf.recipes.stylize.plan_regions import composer, load_masks
from nst_tf.recipes.stylize.recipe import Stored
from nst_tf.recipes.stylize.reduced import reduced_line, with_reduced
from nst_tf.recipes.stylize.rows import RowDetails
from nst_tf.recipes.stylize.shared import Shared
from nst_tf.recipes.stylize.stage import (
    Inputs, Setup, StepPlan, batch, compile_step, content_at, measure_pictures, measured_channels, photo_at, plan_step,
    scales_at, styles_at, tiled_gradient,
)
from nst_tf.runs.metrics import missed_snapshots
from nst_tf.runs.progress import Failure, Progress
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.session import say
from nst_tf.runtime import use_threads
from nst_tf.strips import Picture, filled
from nst_tf.tensors import Array, Tensor
from nst_tf.values import check_class


def stylize(config: StylizeConfig, state: State | Stored | None = None, plan: Plan | None = None,
            setup: Setup | None = None, *, network: Network | None = None) -> Iterator[Progress]:
    """Stylizes a photo, or makes a texture where there is none; yields one `Progress` for each optimization step.

        J(x) = α · content(x) + β · style(x) + γ · smoothness(x) + δ · dream(x) + ν · neighbors(x),

    minimized over the pixels x in [0, 1], or over what they are made from (--canvas), from small to large: each stage
    starts from the averaged image of the one before, enlarged. Where the run began from the photo, only the changes of
    the photo are enlarged.

    Args:
        config: what picture is made.
        state: where to go on; `Progress.state` of any step, of the last one where the picture is measured in tiles,
            which change it in place; or one that is stored. From the beginning by default.
        plan: the resolved config; made from it by default.
        setup: what `set_up` returned; made by this call by default.
        network: what `load_network` returned for a config with the same network; built by this call by default.
    Returns:
        an iterator over the steps. This call reads the files and builds (or learns) the network, so that it raises
        whatever is wrong with them.
    Raises:
        UserError: an argument, a setting or a file is wrong, or the network is not that of the config.
    Source: Gatys, Ecker, Bethge 2016.
    """
    if setup is not None and network is not None:
        raise ValueError("a setup has its network: give setup= or network=")
    if not isinstance(state, Stored):
        check_class("state", state, State, "the state of a step, as in stylize(config, progress.state)")
    load = state.load if isinstance(state, Stored) else None if state is None else partial(on_host, state)
    check_class("plan", plan, Plan, "what resolve(config) returned")
    check_class("setup", setup, Setup, "what set_up(config, plan) returned")
    check_class("network", network, Network, "what nst_tf.load_network(config) returned")
    plan = plan or resolve(config)
    use_threads(config.threads)
    with keras_defaults():
        setup = setup or set_up(config, plan, network=network)
    return with_keras_defaults(_steps(config, plan, setup, load))


def load_network(config: StylizeConfig) -> Network:
    """The network of a config, for any number of `stylize(config, network=network)`.

    Configs may differ in all but backbone, weights, layers (fewer are enough), precision, pooling and padding, and
    where weights are random or learned in the seed. Jobs of the same sizes and terms share what is compiled.

    Raises:
        UserError: a setting is wrong, or the network's weights cannot be had.
    """
    plan = resolve(config)
    use_threads(config.threads)
    with keras_defaults():
        return Network(_network_plan(config, plan))


def decided_precision(config: StylizeConfig, shared: Shared) -> str:
    """The precision of a config's network on this device."""
    with keras_defaults():
        return str(shared.network(_network_plan(config, resolve(config))).plan.variant.precision)


def session(job: Job) -> Session:
    """The run machinery's way to `stylize`: says what was decided, builds the network, begins or goes on."""
    plan: Plan = job.plan
    shared: Shared | None = job.shared
    network = (shared.network if shared else Network)(_network_plan(job.config, plan, job.decided))
    limit_gb, workers = getattr(job.run_config, "memory_limit", None), shared.workers if shared else 1
    decided = job.decided or _decided(job.config, plan, network, limit_gb, workers)
    say(f"nst_tf: the network computes in {decided.variant.precision}")
    if decided.tile_px and max(plan.stage_size_px(-1)) > decided.tile_px:
        needed = predicted_bytes(job.config, plan, decided.variant.precision, decided.tile_px)
        say(f"nst_tf: measures in tiles of {decided.tile_px} px, which takes about {needed / 1e9:.1f} GB of memory")
    if job.state:
        say(f"nst_tf: continues at step {job.state.step} of {decided.total_steps}")
    done = job.state.step if job.state else 0
    missed = missed_snapshots(job.options.place, job.options.snapshots, done, decided.total_steps)
    if missed:
        more = f" and {len(missed) - 5} more" * (len(missed) > 5)
        say(f"nst_tf: --snapshots: no picture of step {', '.join(map(str, missed[:5]))}{more}: this run has the steps "
            f"{done + 1} to {decided.total_steps}")
    setup = set_up(job.config, plan, decided, network)._replace(shared=shared)
    if plan.reduce_share:
        say(reduced_line(plan, setup))
    meter = _class_meter(job.config, plan, setup)
    writer = partial(job.recipe.writer, job._replace(decided=setup.decided))
    write = telling(writer(), meter, setup.inputs.content) if meter else None
    return Session(events=stylize(job.config, job.state, plan, setup), decided=setup.decided,
                   shown=_pictures(job.config, plan), facts={"parameters": setup.fitted.extractor.parameters},
                   step=done, write=write)


def _class_meter(config: StylizeConfig, plan: Plan, setup: Setup) -> ClassMeter | None:
    """What measures the classes that the dream raises; None where it raises none by number, as of a whole layer."""
    row, objective = find_backbone(config.backbone), setup.decided.objective
    raised = [channels for layer, channels, _ in plan.objective.dream_layers if layer in row.finders]
    if not raised or raised[0].rule == "all" or not objective.weights.dream:
        return None
    chosen = next(channels.indices for layer, channels, _ in objective.dream_layers if layer in row.finders)
    return ClassMeter(row, setup.fitted, chosen, config.long_side_px, plan.smallest_px)


def _pictures(config: StylizeConfig, plan: Plan) -> dict[str, Callable[[], Picture]]:
    """The content and the styles for TensorBoard, no larger than the picture."""
    def shrunk(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        return resized_rows(picture, *images.fit(min(config.long_side_px, max(height, width)), width, height))

    content, styles, _ = read_pictures(config, plan)
    pictures = {} if content is None else {"image/1_content": content}
    pictures |= {f"image/2_style_{k}": style for k, style in enumerate(styles)}
    return {tag: partial(shrunk, picture) for tag, picture in pictures.items()}


def _decided(config: StylizeConfig, plan: Plan, network: Network, limit_gb: float | None = None,
             workers: int = 1) -> Decided:
    """The precision is the network's. The units of dream layers are chosen once it is fitted to the pictures."""
    tile_px = decide_tile(config, plan, network.plan.variant.precision, limit_gb, workers)
    return Decided(variant=network.plan.variant, objective=plan.objective, stages=plan.stages, tile_px=tile_px)


def set_up(config: StylizeConfig, plan: Plan, decided: Decided | None = None,
           network: Network | None = None) -> Setup:
    """Reads the pictures, builds the network where none is given, and fits it to the pictures.

    Args:
        decided: what an earlier run decided; what the network has by default.
    Raises:
        UserError: a file is wrong, the network's weights cannot be had or are not those of the config, or it has not
            the units to dream of.
    """
    if network is None:
        network = Network(_network_plan(config, plan, decided))
    else:
        network.check_fits(_network_plan(config, plan))
    decided = decided or _decided(config, plan, network)
    inputs = Inputs(*read_pictures(config, plan), load_masks(config, plan.opened))
    if inputs.content is not None:
        content, styles = COLORS[config.color].prepare(inputs.content, inputs.styles)
        inputs = inputs._replace(content=content, styles=styles)
    fitted = network.fit(_fitted_to(config, inputs, decided))
    objective = _with_units(config, plan, decided, inputs, fitted)
    setup = Setup(inputs, network, fitted, finisher(config, plan), decided._replace(objective=objective))
    return with_reduced(config, plan, setup) if plan.reduce_share and not decided.kept else setup


def _fitted_to(config: StylizeConfig, inputs: Inputs, decided: Decided) -> list[Picture]:
    """The pictures that a network is fitted to; smaller where pools are scaled on them and they may be too large."""
    def shrunk(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        return images.resize(picture, *images.fit(min(LEARNING_SIDE_PX, max(height, width)), width, height))

    pictures = inputs.measured()
    return [shrunk(picture) for picture in pictures] if config.pooling and decided.tile_px else pictures


def _with_units(config: StylizeConfig, plan: Plan, decided: Decided, inputs: Inputs, fitted: Fitted) -> Objective:
    """The objective with the channels of its dream layers by index, as the pictures at their last size rank them.

    A unit counts by its response to the picture that it responds to most: a unit that a single style needs is not
    unused. The ranks are a function of network and pictures alone, so that a repeated run dreams of the same units.

    Raises:
        UserError: a layer does not have the channels, or fewer of them respond.
    """
    objective = decided.objective
    if not objective.weights.dream:
        return objective
    step = plan_step(config, plan, decided, -1)
    content = (photo_at if step.tile_px else content_at)(plan, inputs, -1)
    styles = [batch(style) for style in styles_at(plan, inputs, -1)]
    scales = scales_at(plan, fitted, step, styles[0] if content is None else content)
    extract = smoothed(objective.smoothing, fitted, scales, objective.smoothed_layers)
    tiled = (tiled_gradient(step, fitted.extractor, plan.sight).targets(fitted.values, scales) if step.tile_px
             else None)
    responses = activations(objective, Source(extract, content, styles, plan.style_blend, tiled=tiled))

    def with_indices(layer: DreamLayer) -> DreamLayer:
        used = np.max([of_picture[layer.layer] for of_picture in responses], axis=0)
        indices = choose(layer.channels, used, f"--dream={layer.layer}:{layer.channels.written()}")
        return layer._replace(channels=Channels("index", indices))

    return objective._replace(dream_layers=tuple(map(with_indices, objective.dream_layers)))


def _network_plan(config: StylizeConfig, plan: Plan, decided: Decided | None = None) -> NetworkPlan:
    return NetworkPlan(
        backbone=config.backbone, weights=plan.weights, seed=config.seed if plan.weights in ("random", "self") else 0,
        variant=decided.variant if decided else plan.variant, layers=plan.objective.layers())


def _steps(config: StylizeConfig, plan: Plan, setup: Setup, load: Callable[[], State] | None) -> Iterator[Progress]:
    """The steps, from the beginning, or from the state that `load` makes, which they may change in place."""
    inputs, decided, switch = setup.inputs, setup.decided, setup.decided.reduced_steps(plan)
    optimizer, descent = OPTIMIZERS[config.optimizer], plan.descent
    composed, is_gray = composer(inputs.content, inputs.masks), COLORS[config.color].is_gray

    def begun(image: Tensor, step: int, stage: int) -> State:
        if plan_step(config, plan, decided, stage).is_in_strips:
            return start_on_host(image, optimizer, step, stage)
        return start(image, CANVASES[config.canvas], optimizer, step, stage)

    state = load() if load else begun(
        measured_channels(_first_image(config, plan, inputs, setup.fitted), is_gray), 0, 0)
    while True:
        stage, step_plan = decided.stages[state.stage], plan_step(config, plan, decided, state.stage)
        fitted, end = setup.fitted, stage.steps
        if state.step < switch:
            setup = with_reduced(config, plan, setup)
            fitted, end = setup.reduced or fitted, min(end, state.stage_step + switch - state.step)
        elif 0 < state.step == switch:
            state = with_other_objective(state, optimizer)
        extractor = fitted.extractor
        pictures, of_rows = measure_pictures(plan, setup._replace(fitted=fitted), state.stage, step_plan)
        step = setup.network.compiled((step_plan, extractor), partial(compile_step, step_plan, extractor, plan.sight))
        details = setup.network.compiled(step_plan.objective, partial(RowDetails, step_plan.objective))
        rate = partial(pyramid.learning_rate, descent.learning_rate, descent.schedule, stage)
        offset = partial(jitter.offset, config.seed, jitter_px=step_plan.jitter_px, axes=len(step_plan.size))
        for state, told in run_stage(state, end, optimizer, step, rate, offset, pictures):
            of_row = partial(_details, details, told, of_rows)
            yield (progress := _progress(plan, setup, state, told, step_plan, of_row))
            if progress.failure and told.is_lost:
                raise progress.failure.error(_remedy(state, told))
        if end < stage.steps:
            continue
        if state.stage + 1 == len(decided.stages):
            return
        del pictures  # features of this size, which the next one does not read
        state = begun(_next_image(plan, inputs, composed(averaged_rows(state)), state.stage + 1, is_gray),
                      state.step, state.stage + 1)


def _progress(plan: Plan, setup: Setup, state: State, told: Told, step: StepPlan,
              of_row: Callable[[], Mapping[str, Tensor]]) -> Progress:
    """What a step tells the trackers."""
    decided = setup.decided
    terms = {tag: loss for tag, loss in told.losses.items() if tag.startswith("loss/")}

    def rows() -> Picture:
        # Who goes back to the start of a stage has nothing averaged.
        return setup.finish(averaged_rows(state) if state.stage_step else CANVASES[step.canvas].decode(
            tf.constant(state.parameters), *step.size).numpy()[0])

    return Progress(
        step=state.step, total_steps=decided.total_steps, stage=state.stage, stage_step=state.stage_step,
        size=tuple(state.average.shape[1:-1]), ends_stage=state.stage_step == decided.stages[state.stage].steps,
        left=decided.steps_left(plan, state.stage, state.stage_step), losses=terms, details=of_row, state=state,
        picture=lambda: filled(rows()), rows=rows, arrays=partial(to_arrays, state),
        failure=Failure(told.failed_step, what_failed({**terms, **of_row()}), state.rate_share, told.failures)
        if told.failures else None)


def what_failed(losses: Mapping[str, Tensor]) -> str:
    """What of a step was not finite: the terms, each with its layers.

    >>> what_failed({"loss/total": math.nan, "loss/style": math.nan, "style/0/conv1": 0.5, "style/0/conv2": math.nan})
    'the loss of style (conv2)'
    """
    failed = [tag.split("/") for tag, loss in losses.items() if not math.isfinite(loss)]
    terms = {name: list(dict.fromkeys(layer for term, *_, layer in failed if term == name))
             for loss, name in (tag for tag in failed if tag[0] == "loss") if name != "total"}
    named = [name + f" ({', '.join(layers)})" * bool(layers) for name, layers in terms.items()]
    if not failed:
        return "the gradient or the step along it"
    return f"the loss of {', '.join(named)}" if named else "the loss"


def _remedy(state: State, told: Told) -> str:
    """What helps against steps that are not finite."""
    has_moved = state.stage_step or told.failed_step > state.step + 1
    if has_moved or math.isfinite(told.losses["loss/total"]):
        return "lower --learning_rate"
    return "the picture that this size begins with cannot be measured: give another picture, --statistic or --backbone"


def _details(details: RowDetails, told: Told, of_rows: Mapping[str, Any]) -> dict[str, Tensor]:
    """The parts of the terms, and the distances to each style alone."""
    parts = {tag: loss for tag, loss in told.losses.items() if not tag.startswith("loss/")}
    return parts | details(told.sums, of_rows)


def _next_image(plan: Plan, inputs: Inputs, picture: Picture, stage: int, is_gray: bool) -> Tensor:
    """The first image of a stage from the picture of the one before; a run that began as the photo keeps its detail."""
    width, height = plan.stage_size_px(stage)
    if plan.init != "content":
        return first_image.enlarge(batch(np.asarray(picture)), height, width)

    def photo(size_px: tuple[int, int]) -> Array:
        assert inputs.content is not None, "the plan has seen to that"
        at_size = images.resize(inputs.content, *size_px)[np.newaxis]
        return measured_channels(tf.constant(at_size), is_gray).numpy() if is_gray else at_size

    return first_image.enlarge_changes(
        np.asarray(picture)[np.newaxis], photo(plan.stage_size_px(stage - 1)), photo((width, height)))


def _first_image(config: StylizeConfig, plan: Plan, inputs: Inputs, fitted: Fitted) -> Tensor:
    width, height = size_px = plan.stage_size_px(0)
    if inputs.init is not None:
        return batch(_cover(inputs.init, *size_px))

    if folder := fast_folder(plan.init):
        return _fast_image(config, plan, inputs, folder)

    def content() -> Picture:
        assert inputs.content is not None, "`init` needs it, and the plan has seen to that"
        return resized_rows(inputs.content, *size_px)

    origins = first_image.Origins(
        (height, width, 3), content, lambda: [_cover(style, *size_px) for style in inputs.styles], plan.style_blend,
        fitted.mean_color, config.seed)
    return first_image.first_image(plan.init, origins)


def _fast_image(config: StylizeConfig, plan: Plan, inputs: Inputs, folder: str) -> Tensor:
    """The photo as a trained network paints it, at the first size."""
    assert inputs.content is not None, "the plan has seen to that"
    generator = load(folder, "--init")
    mixture = mixture_of(generator, folder, config.style, config.style_blend)
    return batch(painted(generator, images.resize(inputs.content, *plan.stage_size_px(0)), mixture, plan.tile_px))


def _cover(picture: Picture, width: int, height: int) -> Array:
    """The middle of a picture at another size: scaled to cover it, never stretched."""
    rows, columns = picture.shape[:2]
    scale = min(columns / width, rows / height)
    kept_columns, kept_rows = min(columns, round(width * scale)), min(rows, round(height * scale))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return images.resize(picture[top:top + max(1, kept_rows), left:left + max(1, kept_columns)], width, height)
