"""The style of signals, from files to a stream of `Progress`: a generator without side effects."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.backbones.signal_networks import SignalNetwork
from nst_tf.io.signals import Signal, write_signal
from nst_tf.losses.evaluation import Targets, evaluate, measure_targets
from nst_tf.losses.objective import Objective
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.pyramid import learning_rate
from nst_tf.optimize.state import State, averaged_rows, to_arrays
from nst_tf.optimize.step import Told, make_step, run_stage, start, whole
from nst_tf.optimize.strip_step import StripStep, on_host, start_on_host
from nst_tf.recipes.signal.levels import Level, level_of, on_canvas, standardized_rows
from nst_tf.recipes.signal.plan import SignalConfig, SignalPlan
from nst_tf.recipes.signal.recipe import SignalDecided
from nst_tf.recipes.signal.results import finisher, preview, snapshot_name, sound_of, suffix_of
from nst_tf.recipes.signal.tiled import SMALLEST_DEVIATION, LongSignal
from nst_tf.recipes.stylize.rows import RowDetails
from nst_tf.recipes.stylize.steps import what_failed
from nst_tf.runs.progress import Failure, Progress
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.session import say
from nst_tf.strips import filled
from nst_tf.tensors import Features, Tensor, with_gradient
from nst_tf.types import Array

# Of the first signal, relative to its level: what is exactly silent has no direction in which it could get louder.
FIRST_NOISE = 0.003
CANVAS = CANVASES["pixels"]


def session(job: Job) -> Session:
    """The run machinery's way to `stylize_signal`: says what was decided, builds the network, begins or goes on."""
    plan: SignalPlan = job.plan
    decided: SignalDecided = job.decided or SignalDecided(job.config.steps)
    plan = plan._replace(stage=plan.stage._replace(decay_steps=decided.decay_steps))
    for remark in plan.remarks:
        say(f"nst_tf: {remark}")
    domain = f"the spectrum (windows of {plan.hearing.window} samples)" if plan.hearing.window else "the waveform"
    say(f"nst_tf: the network reads {domain}")
    if job.state:
        say(f"nst_tf: continues at step {job.state.step} of {job.config.steps}")
    signals = {"1_content": plan.content} | {f"2_style_{k}": style for k, style in enumerate(plan.styles)}
    shown: dict[str, Callable[[], Any]] = {f"image/{tag}": partial(preview, each) for tag, each in signals.items()}
    if plan.content.is_sound:
        shown |= {f"audio/{tag}": partial(sound_of, each) for tag, each in signals.items()}
    return Session(events=_with_snapshots(job, stylize_signal(job.config, plan, job.state)), decided=decided,
                   shown=shown, step=job.state.step if job.state else 0)


def stylize_signal(config: SignalConfig, plan: SignalPlan, state: State | None = None) -> Iterator[Progress]:
    """Gives a signal the style of others; yields one `Progress` for each optimization step.

        J(x) = α · content(x) + β · style(x) + γ · smoothness(x) + ρ · rhythm(x), minimized over the samples x,

    with the terms, statistics and optimizers of pictures. Signals are measured standardized. The result has the level
    of the content in each channel.

    Args:
        state: where to go on; `Progress.state` of any step. From the beginning by default.
    """
    measured = plan.measured()
    network = SignalNetwork(plan.hearing, plan.objective.layers())
    values, optimizer = network.fit(measured), OPTIMIZERS[plan.optimizer]
    level = level_of(plan.content.values, plan.trend)
    step, pictures, of_rows = _step(plan, network, values, measured, level)
    is_on_host = isinstance(step, StripStep)
    if state is not None:
        state = on_host(state) if is_on_host else state
    else:
        first = _first(config.seed, measured[0], level)
        state = (start_on_host(first, optimizer, 0, 0) if is_on_host
                 else start(tf.constant(first), CANVAS, optimizer, 0, 0))
        del first  # as large as each of the state's arrays
    del measured  # of a long signal it is a tenth of all memory
    rate = partial(learning_rate, plan.learning_rate / (2 * level.reach), plan.schedule, plan.stage)
    details, finish = RowDetails(plan.objective), finisher(plan)
    for state, told in run_stage(state, config.steps, optimizer, step, rate, _no_offset, pictures):
        of_row = partial(details, told.sums, of_rows)
        yield (progress := _progress(config, plan, state, told, of_row, finish))
        if progress.failure and told.is_lost:
            raise progress.failure.error("lower --learning_rate")


def _first(seed: int, content: Array, level: Level) -> Array:
    """The content with faint noise as a canvas, [1, T, C]."""
    noisy = FIRST_NOISE * np.random.default_rng(seed).standard_normal(content.shape, np.float32)
    noisy += content
    return np.clip(on_canvas(noisy, level), 0, 1)[np.newaxis]


def _step(plan: SignalPlan, network: SignalNetwork, values: tuple[Tensor, ...],
          measured: Sequence[Array], level: Level) -> tuple[Callable[..., Any], Any, Mapping[str, Any]]:
    """The step, what it knows of the signals, and the targets that its rows need."""
    content, *styles = measured
    optimizer = OPTIMIZERS[plan.optimizer]
    if not plan.tile:
        first, *others = (tf.constant(each[np.newaxis]) for each in measured)
        found = measure_targets(plan.objective, partial(network.native, values=values), first, others,
                                plan.style_blend)
        step = make_step(whole(partial(_evaluated, plan.objective, network)), CANVAS, optimizer, 0.0)
        return step, (values, found.targets), found.details
    tiles = LongSignal(plan.objective, network, len(content), plan.tile)
    pictures, found = tiles.measure(standardized_rows(plan.content.values, level), styles, plan.style_blend, values)
    if optimizer.is_local:
        return StripStep(tiles, CANVAS, optimizer, 0.0), pictures, found.details
    return make_step(tiles, CANVAS, optimizer, 0.0, is_compiled=False), pictures, found.details


def _evaluated(objective: Objective, network: SignalNetwork, x: Tensor, _: Tensor,
               pictures: tuple[tuple[Tensor, ...], Targets]) -> tuple[Mapping[str, Tensor], Any]:
    """The losses of signals on the canvas, [B, T, C] in [0, 1]."""
    values, targets = pictures

    def extract(standard: Tensor) -> Features:
        return network.native(standard, values)

    return evaluate(objective, targets, extract, standardized_tensor(x))


def _standard_gradient(inputs: list[Tensor], outputs: list[Tensor], g: Tensor) -> tuple[Tensor]:
    (x,), (z,) = inputs, outputs
    across = g - tf.reduce_mean(g, axis=1, keepdims=True) - z * tf.reduce_mean(g * z, axis=1, keepdims=True)
    return (tf.math.divide_no_nan(across, _deviation(x)),)


@with_gradient(_standard_gradient)
def standardized_tensor(x: Tensor) -> Tensor:
    """Each channel of [B, T, C] with mean 0 and standard deviation 1; a constant one is 0.

    The result is written at the content's level, so it is measured at that level too: what takes frequencies away need
    not make others louder first.
    """
    return tf.math.divide_no_nan(x - tf.reduce_mean(x, axis=1, keepdims=True), _deviation(x))


def _deviation(x: Tensor) -> Tensor:
    deviation = tf.math.reduce_std(x, axis=1, keepdims=True)
    return tf.where(deviation > SMALLEST_DEVIATION, deviation, 0.0)


def _no_offset(_: int) -> Tensor:
    return tf.zeros([1], tf.int32)


def _progress(config: SignalConfig, plan: SignalPlan, state: State, told: Told,
              of_row: Callable[[], Mapping[str, Tensor]], finish: Callable[[Array], Signal]) -> Progress:
    """What a step tells the trackers."""
    terms = {tag: loss for tag, loss in told.losses.items() if tag.startswith("loss/")}

    def signal() -> Signal:
        return finish(filled(averaged_rows(state)) if state.stage_step else np.asarray(state.parameters)[0])

    return Progress(
        step=state.step, total_steps=config.steps, stage=0, stage_step=state.stage_step,
        size=tuple(state.average.shape[1:-1]), ends_stage=state.step == config.steps, losses=terms,
        details=lambda: {**{tag: loss for tag, loss in told.losses.items() if tag not in terms}, **of_row()},
        state=state, picture=lambda: preview(signal()), arrays=partial(to_arrays, state),
        heard={"audio/0_output": lambda: sound_of(signal())} if plan.content.is_sound else {},
        failure=Failure(told.failed_step, what_failed({**terms, **of_row()}), state.rate_share, told.failures)
        if told.failures else None)


def _with_snapshots(job: Job, events: Iterator[Progress]) -> Iterator[Progress]:
    """The events, those of --snapshots with the file of their signal."""
    plan, finish = job.plan, finisher(job.plan)
    suffix = suffix_of(plan.content)

    def write(state: State, path: Path) -> None:
        write_signal(path, finish(filled(averaged_rows(state))), like=plan.content)

    for progress in events:
        is_kept = progress.step in job.options.snapshots
        yield progress._replace(files={snapshot_name(progress.step, suffix): partial(write, progress.state)}
                                if is_kept else {})
