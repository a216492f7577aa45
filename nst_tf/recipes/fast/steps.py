"""Training: from files to a stream of `Progress`, by the loop that optimizes pictures."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.generators.files import Generator
from nst_tf.generators.layers import SMALLEST_PX
from nst_tf.generators.paint import painted
from nst_tf.generators.weights import flat, initial, unflat
from nst_tf.io import images
from nst_tf.losses.motifs import with_motifs
from nst_tf.optimize import pyramid
from nst_tf.optimize.optimizers import STOCHASTIC_ADAM
from nst_tf.optimize.state import State, average_of, to_arrays
from nst_tf.optimize.step import Outcome, Told, make_step, run_stage, start, whole
from nst_tf.recipes.fast.parts import parts_of
from nst_tf.recipes.fast.plan import Decided, FastConfig, FastPlan
from nst_tf.recipes.fast.training import (
    MARGIN_SHARE, WEIGHTS, Learned, TrainingPlan, draw, extract_of, losses_of_weights, targets_of_styles,
)
from nst_tf.recipes.stylize.network import Network, NetworkPlan
from nst_tf.recipes.stylize.stage import batch
from nst_tf.recipes.stylize.steps import what_failed
from nst_tf.runs.progress import Failure, Progress
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.session import say
from nst_tf.tensors import Array
from nst_tf.vocabulary import UserError

# Of the photos to look at, so many are shown.
MOST_SHOWN = 4
# So many photos, beside the paintings, teach filters that are learned from the pictures at hand.
FITTED_PHOTOS = 4
# Of the first steps these are timed, where --minutes decides.
WARM_STEPS, TIMED_STEPS = 2, 5
FEWEST_STEPS = 10


def session(job: Job) -> Session:
    """Reads the pictures, builds the backbone, decides how many steps there are, and begins or goes on."""
    config, plan, began = job.config, job.plan, time.monotonic()
    variant = job.decided.variant if job.decided else plan.variant
    seed = config.seed if plan.weights in ("random", "self") else 0
    backbone = Network(NetworkPlan(config.backbone, plan.weights, seed, variant, plan.objective.layers()))
    say(f"nst_tf: the backbone computes in {backbone.plan.variant.precision}")
    held_out = _held_out(plan.held_out, config.size)
    training, step, learned = _set_up(config, plan, backbone)
    decided = job.decided or Decided(
        backbone.plan.variant, config.steps or _steps_of_time(config, training, step, learned, began))
    say(f"nst_tf: {decided.steps:,} steps of {config.batch} parts of {len(plan.photos)} photos")
    state = job.state or _start(training, config.seed)
    return Session(
        events=_steps(config, training, step, learned, decided, held_out, state), decided=decided, step=state.step,
        facts={"parameters": int(np.size(state.parameters))},
        shown={f"image/{1 + k}_photo": partial(np.asarray, photo) for k, photo in enumerate(held_out)})


def _set_up(config: FastConfig, plan: FastPlan,
            backbone: Network) -> tuple[TrainingPlan, Callable[..., Outcome], Learned]:
    """The constants of the step, the compiled step, and its arguments."""
    styles = [images.resize(images.load(path, name="--style"), *size)
              for path, size in zip(config.style, plan.style_sizes_px, strict=True)]
    parts = parts_of(plan.photos, config.size, round(MARGIN_SHARE * config.crop), config.seed)
    # Those of one photo stand side by side.
    spread = parts[::max(1, len(parts) // FITTED_PHOTOS)][:FITTED_PHOTOS]
    fitted = backbone.fit([*(part.astype(np.float32) / 255 for part in spread), *styles])
    objective = with_motifs(plan.objective, config.size, plan.copies_px).structure()
    style_layers = tuple(layer for layer, _ in plan.objective.style_layers)
    training = TrainingPlan(plan.network, len(styles), objective, style_layers, config.size, plan.copies_px,
                            config.crop)
    photo = tf.constant(parts[:1, :config.crop, :config.crop], tf.float32) / 255
    extract = extract_of(training, fitted.extractor, fitted.values)
    targets = targets_of_styles(training, plan.objective, extract, photo, list(map(batch, styles)))
    step = make_step(whole(partial(losses_of_weights, training, fitted.extractor)), WEIGHTS, STOCHASTIC_ADAM, 0.0)
    return training, step, Learned(fitted.values, tf.constant(parts), targets)


def _start(training: TrainingPlan, seed: int) -> State:
    return start(tf.constant(flat(initial(training.network, training.styles, seed))), WEIGHTS, STOCHASTIC_ADAM, 0, 0)


def _run(config: FastConfig, training: TrainingPlan, step: Callable[..., Outcome], learned: Learned, steps: int,
         state: State) -> Iterator[tuple[State, Told]]:
    margin_px = learned.parts.shape[1] - training.crop_px
    drawn = partial(draw, config.seed, learned.parts.shape[0], training.styles, margin_px, config.batch)
    rate = partial(pyramid.learning_rate, config.learning_rate, "cosine", pyramid.Stage(0, steps, steps))
    return run_stage(state, steps, STOCHASTIC_ADAM, step, rate, drawn, learned)


def _steps_of_time(config: FastConfig, training: TrainingPlan, step: Callable[..., Outcome], learned: Learned,
                   began: float) -> int:
    """How many steps the rest of --minutes takes, by the time of the first ones, which are then taken again."""
    count = WARM_STEPS + TIMED_STEPS
    times = [time.monotonic() for _ in itertools.islice(
        _run(config, training, step, learned, count, _start(training, config.seed)), count)]
    seconds = float(np.median(np.diff(times[WARM_STEPS - 1:])))
    return max(FEWEST_STEPS, int((60 * config.minutes - (time.monotonic() - began)) / seconds))


def _steps(config: FastConfig, training: TrainingPlan, step: Callable[..., Outcome], learned: Learned, decided: Decided,
           held_out: Sequence[Array], state: State) -> Iterator[Progress]:
    for state, told in _run(config, training, step, learned, decided.steps, state):
        losses = {tag: loss for tag, loss in told.losses.items() if tag.startswith("loss/")}
        failure = (Failure(told.failed_step, what_failed(losses), state.rate_share, told.failures)
                   if told.failures else None)
        yield Progress(
            step=state.step, total_steps=decided.steps, stage=0, stage_step=state.stage_step,
            size=(training.crop_px, training.crop_px), ends_stage=state.step == decided.steps, losses=losses,
            state=state,
            details=partial(_parts_of_terms, told), arrays=partial(to_arrays, state), failure=failure,
            picture=partial(_sheet, training, state, held_out))
        if failure and told.is_lost:
            raise failure.error("lower --learning_rate")


def _parts_of_terms(told: Told) -> dict[str, Any]:
    return {tag: loss for tag, loss in told.losses.items() if not tag.startswith("loss/")}


def _sheet(training: TrainingPlan, state: State, held_out: Sequence[Array]) -> Array:
    """The photos that the network does not learn on, by its averaged weights, a row each in all styles."""
    theta = average_of(state) if state.stage_step else np.asarray(state.parameters)
    generator = Generator(training.network, unflat(training.network, training.styles, theta), (), {})
    rows = [np.concatenate([painted(generator, photo, mixture) for mixture in np.eye(training.styles).tolist()], axis=1)
            for photo in held_out]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, [(0, 0), (0, width - row.shape[1]), (0, 0)], constant_values=1.0)
                           for row in rows])


def _held_out(paths: Sequence[str], size_px: int) -> list[Array]:
    """The first photos to look at that can be read, no larger than pictures are meant to be.

    Raises:
        UserError: none can.
    """
    photos, reason = list[Array](), ""
    for path in paths:
        try:
            photo = images.load(path, name="--photos", max_side_px=size_px)
        except UserError as error:
            reason = str(error)
            continue
        height, width = photo.shape[:2]
        size = images.fit(min(size_px, max(height, width)), width, height)
        if min(size) >= SMALLEST_PX:
            photos.append(images.resize(photo, *size))
        if len(photos) == MOST_SHOWN:
            break
    if not photos:
        raise UserError(f"--photos holds no picture that can be looked at ({reason or 'they are too narrow'})")
    return photos
