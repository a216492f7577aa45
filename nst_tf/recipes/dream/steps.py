"""Deep dream, from arrays to a stream of steps: a generator without side effects."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.precision import in_variant
from nst_tf.backbones.surgery import vary
from nst_tf.backbones.table import find_backbone
from nst_tf.grammar import LayerChannels
from nst_tf.io import images
from nst_tf.io.files import write_atomically
from nst_tf.io.images import FloatImage
from nst_tf.losses.dream import Activations, activation, choose
from nst_tf.losses.activations import LayerExcitation, SILENCE, excitation, inside
from nst_tf.optimize import jitter
from nst_tf.optimize.gradient import ascend, root_mean_square, smooth_scales
from nst_tf.optimize.octaves import Span, spans, tile_offsets
from nst_tf.optimize.recovery import SHRINK, Recovery
from nst_tf.optimize.transforms import zoomed
from nst_tf.recipes.classes import ClassMeter, telling
from nst_tf.recipes.dream.plan import (
    DreamConfig, DreamDecided, DreamedLayer, DreamPlan, DreamState, read_dream,
)
from nst_tf.recipes.dream.recipe import REMEDY, frame_name
from nst_tf.runs.progress import Failure, Progress
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.record import picture_text
from nst_tf.runs.session import say
from nst_tf.tensors import Tensor

# Cells at a border respond to the padding around the picture.
BORDER_CELLS = 1
# A caricature prints so many channels of each layer, and lists them as a direction.
STRONGEST = 10
# (x, base, number of the step, share of the step size) → x after the step, J by pixel before it, whether all is finite.
OctaveStep = Callable[[Tensor, Tensor, int, float], tuple[Tensor, float, bool]]
ABOUT = ("# Mean activation of each channel on the photo, in units of its layer's mean.",
         "# A flag file: the strongest as a direction for another photo, by scripts/dream.py --flagfile=FILE")


class DreamNetwork(NamedTuple):
    """The network, and for each layer what is maximized of it.

    `responses` are the mean activations of the channels on the photo. `directions` are V of `losses.activations`; None
    stands for the features of the photo itself. `meter` measures the classes that are raised, if there are any.
    """

    extractor: Extractor
    decided: DreamDecided
    responses: dict[str, Activations]
    excitations: dict[str, LayerExcitation]
    directions: dict[str, Tensor | None]
    meter: ClassMeter | None


def session(job: Job) -> Session:
    """The run machinery's way to `dream`: says what to expect, builds the network, begins or goes on."""
    config, plan, state = job.config, job.plan, job.state or DreamState()
    if config.backbone == "kmeans" or plan.weights == "random":
        say("nst_tf: this network has not been trained on objects: expect textures only, no motifs")
    if job.state:
        octave = f", octave {state.octaves + 1} of {len(plan.sizes_px)}" if state.octaves else ""
        say(f"nst_tf: continues at frame {state.frame + 1} of {config.frames}{octave}")
    photo, network = set_up(config, plan, job.decided)
    files: dict[str, Callable[[Path], None]] = {}
    if config.mode == "caricature":
        for layer, response in network.responses.items():
            print(f"channels of {summary(layer, response)}")
        listed = listing(network.decided.layers, network.responses)
        files["channels.txt"] = partial(write_atomically, data=listed.encode())
    first = images.load(job.options.place / frame_name(state.frame)) if state.frame else photo
    text = picture_text(job._replace(decided=network.decided))
    events = _with_files(dream(config, plan, network, first, state), text, files)
    write = None
    if network.meter:
        write = telling(job.recipe.writer(job._replace(decided=network.decided)), network.meter, photo)
    return Session(events=events, decided=network.decided, step=state.steps(config, plan), write=write)


def _with_files(steps: Iterator[Progress], text: Mapping[str, str],
                files: Mapping[str, Callable[[Path], None]]) -> Iterator[Progress]:
    """The steps with the files that they leave: `files` after the first step, each frame when it is done."""
    for progress in steps:
        if progress.failure:
            yield progress
            continue
        if progress.ends_stage and not progress.state.octaves:
            save = partial(images.save, image=progress.picture(), text=text)
            files = {**files, frame_name(progress.state.frame): save}
        yield progress._replace(files=files)
        files = {}


def ranked(response: Activations) -> list[tuple[int, float]]:
    """(channel, a_c / mean_c a_c) of every channel that responds, the strongest first.

    Args:
        response: a [C] ≥ 0, the mean activation of each channel.
    """
    order = np.argsort(-response, kind="stable")
    return [(int(channel), float(response[channel] / response.mean())) for channel in order if response[channel] > 0]


def summary(layer: str, response: Activations) -> str:
    """The strongest channels of a layer in one line."""
    strongest = ", ".join(f"{channel} ({share:.1f})" for channel, share in ranked(response)[:STRONGEST])
    return f"{layer}: {strongest or 'no channel responds'}"


def listing(layers: Sequence[DreamedLayer], responses: Mapping[str, Activations]) -> str:
    """Every channel of the layers, and as flags the direction that the strongest of each make with their shares."""
    table: list[str] = []
    direction: list[str] = []
    for layer in layers:
        name, channels = layer.facts.name, ranked(responses[layer.facts.name])
        table += [f"# {name}", *(f"# {channel:5d} {share:8.2f}" for channel, share in channels)]
        direction += [f"{name}:{channel}@{layer.weight * share:.4g}" for channel, share in channels[:STRONGEST]]
    flags = ["--objective=direction", f"--dream={','.join(direction)}"] if direction else []
    return "\n".join([*ABOUT, *flags, *table, ""])


def _energy(features: Mapping[str, Tensor]) -> Tensor:
    """A loss that takes the time of a dream."""
    return sum(tf.reduce_sum(tf.square(F)) for F in features.values())


def set_up(config: DreamConfig, plan: DreamPlan,
           decided: DreamDecided | None = None) -> tuple[FloatImage, DreamNetwork]:
    """The photo, and the network with what is maximized of it.

    Args:
        decided: what an earlier run decided. By default this device and the photo decide.
    Raises:
        UserError: a file is wrong, the network's weights cannot be had, or fewer channels respond than are asked for.
    """
    photo, guide = read_dream(config, plan)
    row, names = find_backbone(config.backbone), [layer.facts.name for layer in plan.layers]
    built = row.build(names, plan.weights, config.seed, [photo])
    variant, extractor = in_variant(
        decided.variant if decided else plan.variant,
        lambda variant: vary(built, variant, [photo], row.unpadded_px), config.backbone, names, _energy)
    decided = decided or DreamDecided(variant=variant, layers=plan.layers)
    of_photo = extractor(_batch(images.resize(photo, *measured_px(config, plan))))
    of_guide = None if guide is None else extractor(_batch(guide))
    responses = {name: activation(of_photo[name], row.is_signed(name)).numpy() for name in names}
    layers = tuple(layer._replace(channels=channel_weights(layer.selection, responses[layer.facts.name]))
                   if layer.selection and layer.channels is None else layer for layer in decided.layers)
    excitations: dict[str, LayerExcitation] = {}
    directions: dict[str, Tensor | None] = {}
    for layer in layers:
        name = layer.facts.name
        scale = max(float(root_mean_square(of_photo[name])), SILENCE)
        excitations[name] = LayerExcitation(layer.excitation, layer.weight, scale, layer.facts.stride ** 2,
                                            BORDER_CELLS, config.cosine_power)
        if layer.excitation == "caricature":
            directions[name] = None
        elif of_guide is not None:
            G = inside(of_guide[name] / scale, BORDER_CELLS)
            directions[name] = tf.reshape(G, [-1, G.shape[-1]])
        else:
            directions[name] = _direction(layer, of_photo[name].shape[-1])
    decided = DreamDecided(variant=decided.variant, layers=layers)
    raised = [tuple(layer.channels) for layer in layers if layer.channels and layer.facts.name in row.finders]
    meter = ClassMeter(row, extractor, raised[0], config.size, plan.smallest_px) if raised else None
    return photo, DreamNetwork(extractor, decided, responses, excitations, directions, meter)


def measured_px(config: DreamConfig, plan: DreamPlan) -> tuple[int, int]:
    """(width, height) at which the photo is measured: the smallest octave, shrunk to the side of a tile.

    A narrow photo is longer than a tile where its layers need it.
    """
    size_px = plan.sizes_px[0]
    needed = -(-plan.smallest_px * max(size_px) // min(size_px))
    return images.fit(min(max(config.tile, needed), max(size_px)), *size_px)


def channel_weights(selection: Sequence[LayerChannels], response: Activations) -> dict[int, float]:
    """{channel: weight} of one layer; the weights of a channel that is selected twice add.

    Args:
        response: [C] ≥ 0, the mean activation of each channel on the photo.
    Raises:
        UserError: the layer does not have the channels, or fewer respond.
    """
    weights: dict[int, float] = {}
    for layer, channels, weight in selection:
        assert channels is not None, "whole layers have no selection"
        for channel in choose(channels, response, f"--dream={layer}:{channels.written()}"):
            weights[channel] = weights.get(channel, 0.0) + weight
    return weights


def _direction(layer: DreamedLayer, count: int) -> Tensor:
    """The weights of a layer's channels, [C]."""
    weights = np.ones(count) if layer.channels is None else np.zeros(count)
    for channel, weight in (layer.channels or {}).items():
        weights[channel] = weight
    return tf.constant(weights, tf.float32)


def dream(config: DreamConfig, plan: DreamPlan, network: DreamNetwork, start: FloatImage,
          stored: DreamState = DreamState()) -> Iterator[Progress]:
    """Dreams on a photo, and on the frames that follow from it; yields each step.

        x_o = base_o + ↑(x_{o−1} − base_{o−1}),    then    x_o ← clip(x_o + η g/rms(g)),    `config.steps` times,

    for the octaves o from small to large: base_o is the photo at the size of octave o, ↑ enlarges what the octave
    before has added to it. g = ∇J, moved by the jitter and back, and smoothed. Each further frame starts from the one
    before, enlarged and turned.

    Args:
        start: the photo, or the last frame that is done; float32 [H, W, 3].
        stored: what is done already.
    Source: Mordvintsev, Olah, Tyka 2015 (google/deepdream).
    """
    octaves, state = [_octave_step(config, plan, network, size_px) for size_px in plan.sizes_px], stored
    for frame in range(stored.frame, config.frames):
        if frame:
            start = zoomed(start, config.zoom, config.turn)
        detail: Tensor = None
        for index, (octave_step, (width, height)) in enumerate(zip(octaves, plan.sizes_px, strict=True)):
            base = _batch(images.resize(start, width, height))
            if frame == stored.frame and index < stored.octaves:
                detail = stored.picture - base if index + 1 == stored.octaves else None
                continue
            x = base if detail is None else tf.clip_by_value(
                base + tf.image.resize(detail, (height, width), method="bicubic"), 0.0, 1.0)
            first = DreamState(frame, index).steps(config, plan) + 1
            for x, count, value, failure in _climb_octave(config, plan, octave_step, x, base, first):
                picture = x[0].numpy()
                if count == config.steps:
                    frames, rest = divmod(frame * len(octaves) + index + 1, len(octaves))
                    state = DreamState(frames, rest, picture)
                losses = {"dream/excitation": value}
                if network.meter and count == config.steps:
                    losses |= network.meter.losses(picture)
                yield _progress(config, plan, (frame, index, count), losses, picture, state)._replace(failure=failure)
            detail = x - base
        # As the file will hold it: a dream that goes on from a frame equals one that was not stopped.
        start = images.quantize(x[0].numpy()).astype(np.float32) / np.float32(255)


def _climb_octave(config: DreamConfig, plan: DreamPlan, octave_step: OctaveStep, x: Tensor, base: Tensor,
                  first: int) -> Iterator[tuple[Tensor, int, float, Failure | None]]:
    """The steps of one octave: the picture, how many steps it has, J before the step, and whether this one failed.

    Args:
        first: number of the octave's first step.
    Raises:
        NotFinite: steps fail one after the other.
    """
    recovery, count, share = Recovery[tuple[Tensor, int]](), 0, 1.0
    while count < config.steps:
        climbed, value, is_finite = octave_step(x, base, first + count, share)
        if is_finite:
            recovery.succeed(count, (x, count))
            x, count = climbed, count + 1
            yield x, count, value, None
            continue
        layers = ", ".join(layer.facts.name for layer in plan.layers)
        what, step = "the gradient" if math.isfinite(value) else f"the excitation of {layers}", first + count
        (x, count), share = recovery.fail(count, (x, count)), SHRINK * share
        failure = Failure(step, what, share, recovery.in_a_row)
        yield x, count, value, failure
        if recovery.is_lost:
            raise failure.error(REMEDY)


def _progress(config: DreamConfig, plan: DreamPlan, place: tuple[int, int, int], losses: Mapping[str, float],
              picture: FloatImage, state: DreamState) -> Progress:
    """What a step tells the trackers.

    Args:
        place: frame and octave from 0, and the steps done in this octave.
        losses: J before the step, and what is measured after it; picture: [H, W, 3] after it.
        state: where the dream can go on.
    """
    frame, octave, count = place
    step, ends_octave = DreamState(frame, octave).steps(config, plan) + count, count == config.steps
    octaves, frames_left = len(plan.sizes_px), config.frames - frame - 1
    left = Counter[tuple[int, ...]]({(math.prod(plan.sizes_px[octave]),): -count})
    for index, size_px in enumerate(plan.sizes_px):
        left[math.prod(size_px),] += config.steps * (frames_left + (index >= octave))
    arrays = {"step": np.asarray(step), "picture": picture} if ends_octave and state.octaves else {}
    return Progress(
        step=step, total_steps=DreamState(config.frames).steps(config, plan), stage=frame * octaves + octave,
        stage_step=count, size=picture.shape[:2], ends_stage=ends_octave, left=left,
        losses=losses, state=state, picture=lambda: picture, arrays=lambda: arrays,
        shown={f"octave/{octave + 1}": lambda: picture} if ends_octave else {})


def _octave_step(config: DreamConfig, plan: DreamPlan, network: DreamNetwork, size_px: tuple[int, int]) -> OctaveStep:
    """A step compiled for one size and used for every frame."""
    sides_px, jitter_px = size_px[::-1], min(config.jitter, min(size_px) - 1)
    shift = tf.function(partial(jitter.shift, jitter_px=jitter_px), autograph=False)
    gradient = tf.function(partial(window_gradient, network), autograph=False)

    @functools.cache
    def climb_step(share: float) -> Any:
        # A step size is a constant of what is compiled: as an argument it could round otherwise.
        return tf.function(partial(climb, jitter_px=jitter_px, gradient_scales=config.gradient_scales,
                                   step_size=share * config.step_size), autograph=False)

    def octave_step(x: Tensor, base: Tensor, step: int, share: float) -> tuple[Tensor, float, bool]:
        rows, columns = (spans(side_px, config.tile, plan.overlap_px(config.tile), offset_px, plan.stride)
                         for side_px, offset_px in
                         zip(sides_px, tile_offsets(config.seed, step, config.tile), strict=True))
        offset = jitter.offset(config.seed, step, jitter_px)
        g, value = tiled_gradient(gradient, shift(x, offset), shift(base, offset), rows, columns, config.tile)
        climbed = climb_step(share)(x, tf.constant(g), offset)
        # A sum of all values is as finite as each of them.
        return climbed, value, math.isfinite(value + g.sum() + climbed.numpy().sum())

    return octave_step


def climb(x: Tensor, g: Tensor, offset: Tensor, jitter_px: int, gradient_scales: int, step_size: float) -> Tensor:
    """The picture after a step along the gradient g by the picture that the jitter has moved; g is moved back.

    Args:
        x, g: [1, H, W, 3].
        offset: of the jitter.
    """
    with tf.GradientTape() as tape:
        tape.watch(x)
        moved = jitter.shift(x, offset, jitter_px)
    back = tape.gradient(moved, x, output_gradients=g)
    return ascend(x, smooth_scales(back, gradient_scales), step_size)


def tiled_gradient(gradient: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor, base: Tensor,
                   rows: Sequence[Span], columns: Sequence[Span], tile_px: int) -> tuple[FloatImage, float]:
    """The gradient [1, H, W, 3] put together from tiles, and J by pixel that is read.

    Args:
        gradient: of a window of x and the same one of `base`, with J.
        rows, columns: the tiles along each side.
    """
    g = np.empty(x.shape, np.float32)
    height, width = (min(side, tile_px) for side in x.shape[1:3])
    values = []
    for row in rows:
        for column in columns:
            window = np.s_[:, row.start:row.start + height, column.start:column.start + width]
            part, value = gradient(x[window], base[window])
            kept = np.s_[:, row.first - row.start:row.stop - row.start,
                         column.first - column.start:column.stop - column.start]
            g[:, row.first:row.stop, column.first:column.stop] = part[kept]
            values.append(float(value))
    return g, float(np.mean(values)) / (height * width)


def window_gradient(network: DreamNetwork, x: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """∇J by the pixels of a window and J = Σ_l λ_l area_l Σ_p j_lp.

    Args:
        x: what is dreamed on, [1, H, W, 3]; base: the photo at the same place.
    """
    of_photo = network.extractor(base) if None in network.directions.values() else {}
    with tf.GradientTape() as tape:
        tape.watch(x)
        features = network.extractor(x)
        J = tf.add_n([excitation(layer, features[name], of_photo[name] / layer.scale if V is None else V)
                      for (name, layer), V in zip(network.excitations.items(), network.directions.values(),
                                                  strict=True)])
    return tape.gradient(J, x), J


def _batch(picture: FloatImage) -> Tensor:
    return tf.constant(picture[np.newaxis], tf.float32)
