"""What a stylized signal is made of and where it is kept: all is checked here before any long work. No TensorFlow."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nst_tf.backbones.signal_facts import (
    SCALES, SHAPE_HZ, SOUND_HZ, Hearing, envelope_name, halvings_of, layer_names, operations, scale_name, shortest,
    window_of,
)
from nst_tf.config import RunConfig, Settings, StylizeConfig, check, same, setting
from nst_tf.grammar import LARGEST_WEIGHT, LayerWeight, parse_layers
from nst_tf.io import files
from nst_tf.io.resampling import fitted
from nst_tf.io.signal_plots import check_plots
from nst_tf.io.signals import Signal, check_output, read_signal
from nst_tf.losses.objective import Objective, RhythmLayer, TermWeights
from nst_tf.optimize.pyramid import Stage
from nst_tf.recipes.signal.levels import standardized
from nst_tf.recipes.stylize.plan import check_is_no_input
from nst_tf.recipes.stylize.plan_terms import plan_style_blend
from nst_tf.recipes.stylize.plan_tiles import Sight, check_tile, parse_tile, why_whole, written_tile
from nst_tf.runs.record import Input
from nst_tf.types import Array
from nst_tf.vocabulary import (
    DomainName, OptimizerName, SignalBackboneName, StatisticName, UserError, quoted,
)

# On the waveform, what changes more slowly is no shape, and stays.
TREND_SECONDS = 1.0
# Up to so many a signal is measured as a whole, by --tile=auto.
WHOLE_NUMBERS = 2 ** 21
# Rhythm is measured up to this lag, which holds a slow heartbeat and a slow beat of music.
RHYTHM_SECONDS = 2.0
# Of a signal whose rate is not known, or that is short.
RHYTHM_SHARE = 0.25


@dataclass(frozen=True)
class SignalConfig(Settings):
    """What signal is made: two equal configs (and equal input files) give the same bytes."""

    content: str = setting(
        "", "The signal to stylize: sound (.wav) or a series of numbers (.csv, .npy). FLAC, OGG and more need the "
        "extra signals.", group="Signals", basic=True, placeholder="FILE")
    style: tuple[str, ...] = setting(
        (), "One or more signals that give the style. Those of other rates are resampled.", group="Signals",
        basic=True, placeholder="FILE,...")
    style_blend: tuple[float, ...] = same(StylizeConfig, "style_blend")
    rate: float | None = setting(
        None, "Samples per second of the content, where its file does not tell. Styles that do not tell theirs have "
        "the same.", group="Signals", basic=True, above=0, maximum=1e9, placeholder="HZ")
    columns: tuple[str, ...] = setting(
        (), "Columns of the content to stylize, by name or by number from 1. The default is all.", group="Signals",
        basic=True, placeholder="NAME,...")
    domain: str = setting(
        "", "What the network reads: the waveform, or its spectrum over time, with a gradient through the transform. "
        "The default is spectrum from 4000 Hz on, and waveform for slower series.", group="Network",
        choices=DomainName)
    backbone: SignalBackboneName = setting(
        "random", "Filters of the network. random is a bank of many widths on copies of halved rate. kmeans learns its "
        "filters from the signals at hand.", group="Network", basic=True, choices=SignalBackboneName)
    content_layers: tuple[str, ...] = setting(
        (), "Layers that keep the content: scale1 to scale10 of random, conv1 to conv5 of kmeans, envelope1 to "
        "envelope10 of both. The default depends on --domain.", group="Network", placeholder="LAYER[@WEIGHT],...")
    style_layers: tuple[str, ...] = setting(
        (), "Layers that carry the style. The default depends on --domain and --backbone.", group="Network",
        placeholder="LAYER[@WEIGHT],...")
    steps: int = setting(300, "Optimization steps.", basic=True, minimum=1, placeholder="N")
    content_weight: float = setting(
        0.1, "Weight of the content. More keeps more of it.", group="Look", basic=True, minimum=0,
        maximum=LARGEST_WEIGHT, placeholder="NUMBER")
    style_weight: float = setting(
        1.0, "Weight of the style.", group="Look", minimum=0, maximum=LARGEST_WEIGHT, placeholder="NUMBER")
    smoothness_weight: float | None = setting(
        None, "Weight of the squared differences of neighboring samples. The default is 0.1 on the waveform and 0 on "
        "the spectrum.", group="Look", minimum=0, maximum=LARGEST_WEIGHT, placeholder="NUMBER")
    rhythm_weight: float = setting(
        0.0, "Weight of the rhythm: how the envelope of the content repeats over two seconds.", group="Look",
        minimum=0, maximum=LARGEST_WEIGHT, placeholder="NUMBER")
    statistic: StatisticName = same(StylizeConfig, "statistic")
    tile: str = setting(
        "auto", "Samples of each channel that are measured at once. Tiles bound the memory and change only the "
        "rounding. auto takes the whole signal up to two million numbers, else tiles of a million. off takes the whole "
        "signal.", placeholder="auto|off|N")
    optimizer: str = setting(
        "", "Optimization method. lbfgs judges one point a step. Its signal is the best one so far. The default is "
        "adam on the spectrum and in tiles, else lbfgs.", choices=OptimizerName)
    learning_rate: float | None = setting(
        None, "Step size in standard deviations of the content. For lbfgs this is the root mean square of the first "
        "step.", above=0, placeholder="NUMBER")
    seed: int = same(StylizeConfig, "seed")
    threads: int | None = same(StylizeConfig, "threads")


@dataclass(frozen=True)
class SignalRunConfig(Settings):
    """Where a run is kept, how its signal is written and how often. Nothing here changes what is optimized."""

    output: str = setting(
        "", "The signal to write: .wav .csv .npy, and with the extra signals .flac .ogg. It has the rate, length and "
        "columns of the content.", group="Signals", basic=True, placeholder="FILE")
    plot: str = setting(
        "", "A .png of content, styles and result: waveforms and spectrograms, or where the unit is mV the grid paper "
        "of an EKG. The run folder has such plots too, where the extra signals is installed.", group="Signals",
        placeholder="FILE")
    logdir: str = same(RunConfig, "logdir")
    run: str = same(RunConfig, "run")
    resume: bool = same(RunConfig, "resume")
    overwrite: bool = same(RunConfig, "overwrite")
    snapshots: tuple[int, ...] = setting(
        (), "Steps whose signal is kept in signals/, and its plot in images/.", group="Run", minimum=1,
        placeholder="STEP,...")
    checkpoint_every: float = same(RunConfig, "checkpoint_every")
    log_every: int = same(RunConfig, "log_every")


WAVEFORM_SMOOTHNESS = 0.1
LEARNING_RATE = 0.1  # of both optimizers


class SignalPlan(NamedTuple):
    """What the files and flags of a config say."""

    hearing: Hearing
    objective: Objective
    style_blend: tuple[float, ...]
    optimizer: str
    learning_rate: float
    schedule: str
    stage: Stage
    tile: int                   # samples; 0 where the signal is measured as a whole
    trend: int                  # samples over which slow changes are taken out; 0 for none
    content: Signal
    styles: tuple[Signal, ...]  # at the content's rate, with its channels
    inputs: tuple[Input, ...]

    @property
    def remarks(self) -> list[str]:
        """What a user should know of the files."""
        return [remark for signal in (self.content, *self.styles) for remark in signal.remarks]

    def measured(self) -> list[Array]:
        """The content and the styles as they are measured, each [T, C]."""
        return [standardized(signal.values, self.trend) for signal in (self.content, *self.styles)]


def resolve_signal(config: SignalConfig) -> SignalPlan:
    """The plan of a config.

    Raises:
        UserError: the first thing that is wrong, before anything is computed or written.
    """
    check(config, SignalConfig)
    for name, value in (("content", config.content), ("style", config.style)):
        if not value:
            raise UserError(f"--{name} is missing: give signals, as in --content=melody.wav --style=bells.wav")
    blend = plan_style_blend(config.style, config.style_blend)
    content = read_signal(config.content, config.columns or None, config.rate)
    styles = tuple(fitted(_read_style(path, config), content, f"--style {quoted(path)}") for path in config.style)
    hearing = _hearing(config, content)
    objective = _objective(config, hearing, content)
    _check_lengths(config, hearing, objective, (content, *styles))
    tile = _tile(config, hearing, objective, content)
    optimizer = config.optimizer or ("adam" if hearing.window or tile else "lbfgs")
    rate = LEARNING_RATE if config.learning_rate is None else config.learning_rate
    return SignalPlan(
        hearing=hearing, objective=objective, style_blend=blend, optimizer=optimizer,
        learning_rate=rate, schedule="cosine" if optimizer == "adam" else "constant",
        stage=Stage(len(content.values), config.steps, config.steps), tile=tile,
        trend=0 if hearing.window else round(TREND_SECONDS * (content.rate_hz or SHAPE_HZ)), content=content,
        styles=styles, inputs=tuple(Input(flag, path, files.sha256(path)) for flag, path in _files(config)))


def _files(config: SignalConfig) -> list[tuple[str, str]]:
    return [("--content", config.content), *(("--style", path) for path in config.style)]


def _read_style(path: str, config: SignalConfig) -> Signal:
    style = read_signal(path, name="--style")
    return style if style.rate_hz else dataclasses.replace(style, rate_hz=config.rate)


def _hearing(config: SignalConfig, content: Signal) -> Hearing:
    is_sound = content.is_sound if content.rate_hz is None else content.rate_hz >= SOUND_HZ
    domain = config.domain or ("spectrum" if is_sound else "waveform")
    if domain == "spectrum" and content.rate_hz is None:
        raise UserError("--domain=spectrum needs the sample rate, which the content does not tell: give --rate=HZ")
    window = window_of(content.rate_hz or 1.0) if domain == "spectrum" else 0
    return Hearing(config.backbone, window, content.values.shape[1], config.seed)


def default_layers(hearing: Hearing, rate_hz: float | None) -> tuple[tuple[LayerWeight, ...], tuple[LayerWeight, ...]]:
    """The layers of content and style.

    On the spectrum both read the spectrum itself: which frequencies sound together is the timbre, which sound when is
    the melody. On the waveform the style is shapes of up to half a second of a signal of 250 Hz, and the content where
    something happens.
    """
    if hearing.window:
        layers = (LayerWeight(envelope_name(0), 1.0),)
        learned = (LayerWeight("conv1", 1.0),) if hearing.backbone == "kmeans" else ()
        return layers, layers + learned
    extra = max(0, round(np.log2((rate_hz or SHAPE_HZ) / SHAPE_HZ)))
    coarse = min(extra, SCALES - 6)
    content = (LayerWeight(envelope_name(coarse + 5), 1.0), LayerWeight(envelope_name(coarse + 3), 0.5))
    style = ([f"conv{number}" for number in range(1, 6)] if hearing.backbone == "kmeans"
             else [scale_name(halvings) for halvings in range(coarse + 2)])
    return content, tuple(LayerWeight(layer, 1.0) for layer in style)


def _objective(config: SignalConfig, hearing: Hearing, content: Signal) -> Objective:
    allowed, defaults = layer_names(hearing.backbone), default_layers(hearing, content.rate_hz)

    def layers(given: tuple[str, ...], flag: str, default: tuple[LayerWeight, ...]) -> tuple[LayerWeight, ...]:
        return tuple(LayerWeight(layer, weight) for layer, _, weight in parse_layers(given, allowed, flag)) or default

    smoothness = config.smoothness_weight
    if smoothness is None:
        smoothness = 0.0 if hearing.window else WAVEFORM_SMOOTHNESS
    weights = TermWeights(config.content_weight, config.style_weight, smoothness, rhythm=config.rhythm_weight)
    if not (weights.content or weights.style):
        raise UserError("--content_weight and --style_weight are both 0: give one above 0")
    return Objective(layers(config.content_layers, "--content_layers", defaults[0]),
                     layers(config.style_layers, "--style_layers", defaults[1]), weights, "relative", config.statistic,
                     rhythm_layers=(_rhythm(hearing, content),) if config.rhythm_weight else ())


def _rhythm(hearing: Hearing, content: Signal) -> RhythmLayer:
    """The envelope at about 30 positions a second."""
    samples, rate = len(content.values), content.rate_hz
    halvings = max(0, round(np.log2(max(1.0, (rate or SHAPE_HZ) / hearing.hop / 30))))
    halvings = min(halvings, SCALES - 1)
    cells = samples / hearing.hop / 2 ** halvings
    lags = RHYTHM_SHARE * cells if rate is None else min(RHYTHM_SECONDS * rate / hearing.hop / 2 ** halvings, cells / 2)
    return RhythmLayer(envelope_name(halvings), max(1, int(lags)))


def _check_lengths(config: SignalConfig, hearing: Hearing, objective: Objective, signals: tuple[Signal, ...]) -> None:
    needed = shortest(hearing, objective.layers())
    for (flag, path), signal in zip(_files(config), signals, strict=True):
        if len(signal.values) < needed:
            deepest = max(objective.layers(), key=halvings_of)
            raise UserError(f"{flag} {quoted(path)} has {len(signal.values)} samples at the content's rate: layer "
                            f"{deepest} and its like need {needed}; give a longer signal, or other layers")


def _tile(config: SignalConfig, hearing: Hearing, objective: Objective, content: Signal) -> int:
    """The samples of a tile; 0 for the whole signal."""
    given, reason = parse_tile(config.tile), why_whole("", config.statistic)
    if config.rhythm_weight:
        reason = reason or "--rhythm_weight compares samples that are seconds apart"
    sight = Sight(operations(hearing, objective.layers()), 0)
    check_tile(given, sight, objective.layers(), reason)
    samples, channels = content.values.shape
    if given is None:
        smallest = 0 if reason or samples * channels <= WHOLE_NUMBERS else sight.smallest_tile_px(objective.layers())
        given = smallest and max(smallest, WHOLE_NUMBERS // 2 // channels)
    return given if given < samples else 0


def check_signal_output(run_config: SignalRunConfig, plan: SignalPlan) -> None:
    """Raises `UserError` for an `--output` or `--plot` that cannot be written, or is one of the inputs."""
    if run_config.output:
        check_output(run_config.output, plan.content)
        check_is_no_input(run_config.output, plan.inputs)
    if run_config.plot:
        if Path(run_config.plot).suffix.lower() != ".png":
            raise UserError(f"--plot {quoted(run_config.plot)} has another ending: plots are .png; rename it")
        check_plots("--plot")
        files.check_writable(run_config.plot, "--plot")


def complete_signal(config: SignalConfig, plan: SignalPlan) -> SignalConfig:
    """The config with everything that was left out filled in, so that it means the same under other defaults."""
    objective = plan.objective

    def written(layers: tuple[LayerWeight, ...]) -> tuple[str, ...]:
        return tuple(f"{layer}@{weight!r}" for layer, weight in layers)

    return dataclasses.replace(
        config, style_blend=plan.style_blend, content_layers=written(objective.content_layers),
        style_layers=written(objective.style_layers), smoothness_weight=objective.weights.smoothness,
        optimizer=plan.optimizer, learning_rate=plan.learning_rate, tile=written_tile(plan.tile),
        domain="spectrum" if plan.hearing.window else "waveform")
