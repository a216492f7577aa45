"""Deep dream, from arrays to a stream of steps: a generator without side effects."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.precision import decided_variant
from nst_tf.backbones.surgery import vary
from nst_tf.backbones.table import find_backbone
from nst_tf.io import images
from nst_tf.io.files import write_atomically
from nst_tf.io.images import FloatImage
from nst_tf.losses.dream import Activations, activation
from nst_tf.losses.activations import LayerExcitation, excitation, inside
from nst_tf.optimize import jitter
from nst_tf.optimize.gradient import ascend, root_mean_square, smooth_scales
from nst_tf.optimize.octaves import Span, spans, tile_offsets
from nst_tf.optimize.transforms import zoomed
from nst_tf.recipes.dream.plan import DreamConfig, DreamDecided, DreamPlan, LayerAim, Reached, read_dream
from nst_tf.recipes.dream.recipe import REMEDY, frame_name, frame_path
from nst_tf.recipes.stylize.dream_channels import channel_weights
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.record import picture_text
from nst_tf.runs.session import say
from nst_tf.tensors import Tensor
from nst_tf.vocabulary import RunError

# So many of each layer are printed and make the direction.
STRONGEST = 10
ABOUT = ("# Mean activation of each channel on the photo, in units of its layer's mean.",
         "# A flag file: the strongest as a direction for another photo, by scripts/dream.py --flagfile=FILE")


def ranked(response: np.ndarray) -> list[tuple[int, float]]:
    """(channel, a_c / mean_c a_c) of every channel that responds, the strongest first.

    Args:
        response: a [C] ≥ 0, the mean activation of each channel.
    """
    order = np.argsort(-response, kind="stable")
    return [(int(channel), float(response[channel] / response.mean())) for channel in order if response[channel] > 0]


def summary(layer: str, response: np.ndarray) -> str:
    """The strongest channels of a layer in one line."""
    shown = ", ".join(f"{channel} ({share:.1f})" for channel, share in ranked(response)[:STRONGEST])
    return f"{layer}: {shown or 'no channel responds'}"


def listing(layers: Sequence[LayerAim], responses: Mapping[str, np.ndarray]) -> str:
    """Every channel of the layers, and as flags the direction that the strongest of each make with their shares."""
    table: list[str] = []
    direction: list[str] = []
    for layer in layers:
        name, channels = layer.facts.name, ranked(responses[layer.facts.name])
        table += [f"# {name}", *(f"# {channel:5d} {share:8.2f}" for channel, share in channels)]
        direction += [f"{name}:{channel}@{layer.weight * share:.4g}" for channel, share in channels[:STRONGEST]]
    flags = ["--objective=direction", f"--dream={','.join(direction)}"] if direction else []
    return "\n".join([*ABOUT, *flags, *table, ""])


# Cells at a border have seen what is padded around the picture.
BORDER_CELLS = 1
# A layer whose features are all below this is silent.
SILENCE = 1e-6


class Sight(NamedTuple):
    """The network and what is wanted of it: an aim and V of each layer; V is None where it is the photo's own.

    `responses` are what each channel answers to the photo with.
    """

    extractor: Extractor
    decided: DreamDecided
    responses: dict[str, Activations]
    aims: dict[str, LayerExcitation]
    wanted: dict[str, Tensor | None]
    power: float


def session(job: Job) -> Session:
    """The run machinery's way to `dream`: says what to expect, builds the network, begins or goes on."""
    config, plan, reached = job.config, job.plan, job.state or Reached()
    if config.backbone == "kmeans" or plan.weights == "random":
        say("nst_tf: this network has not been trained on objects: expect textures only, no motifs")
    if job.state:
        where = f", octave {reached.octaves + 1} of {len(plan.sizes_px)}" if reached.octaves else ""
        say(f"nst_tf: continues at frame {reached.frame + 1} of {config.frames}{where}")
    photo, sight = set_up(config, plan, job.decided)
    first = images.load(frame_path(job.options.place, reached.frame)) if reached.frame else photo
    text = picture_text(job._replace(decided=sight.decided))
    events = _with_files(dream(config, plan, sight, first, reached), text, _channels(plan, sight))
    return Session(events=events, decided=sight.decided, step=reached.steps(config, plan))


def _channels(plan: DreamPlan, sight: Sight) -> bytes:
    """Says what a caricature exaggerates; returns it as a file, empty for other dreams."""
    if plan.excitation != "caricature":
        return b""
    for layer, response in sight.responses.items():
        print(f"channels of {summary(layer, response)}")
    return listing(sight.decided.layers, sight.responses).encode()


def _with_files(steps: Iterator[Progress], text: Mapping[str, str], channels: bytes) -> Iterator[Progress]:
    """The steps with what they leave: the channels of a caricature at first, each frame when it is done."""
    for progress in steps:
        files: dict[str, Callable[[Path], None]] = {}
        if channels:
            files["channels.txt"] = partial(write_atomically, data=channels)
            channels = b""
        if progress.ends_stage and not progress.state.octaves:
            files[frame_name(progress.state.frame)] = partial(_save, progress.picture(), text)
        yield progress._replace(files=files)


def _save(picture: FloatImage, text: Mapping[str, str], path: Path) -> None:
    images.save(path, picture, text=text)


def set_up(config: DreamConfig, plan: DreamPlan, decided: DreamDecided | None = None) -> tuple[FloatImage, Sight]:
    """The photo and the network with what is wanted of it.

    Args:
        decided: what an earlier run decided; decided on this device, and by the photo, by default.
    Raises:
        UserError: a file is wrong, the network's weights cannot be had, or fewer channels respond than are asked for.
    """
    photo, of_guide = read_dream(config, plan)
    row, names = find_backbone(config.backbone), [layer.facts.name for layer in plan.layers]
    decided = decided or DreamDecided(variant=decided_variant(plan.variant), layers=plan.layers)
    extractor = vary(row.build(names, plan.weights, config.seed, [photo]), decided.variant, [photo], row.unpadded_px)
    seen = extractor(_batch(images.resize(photo, *measured_px(config, plan))))
    guide = None if of_guide is None else extractor(_batch(of_guide))
    responses = {name: activation(seen[name]).numpy() for name in names}
    layers = tuple(layer._replace(channels=channel_weights(layer.asked, responses[layer.facts.name]))
                   if layer.asked and layer.channels is None else layer for layer in decided.layers)
    aims, wanted = {}, {}
    for layer in layers:
        name = layer.facts.name
        scale = max(float(root_mean_square(seen[name])), SILENCE)
        aims[name] = LayerExcitation(plan.excitation, layer.weight, scale, layer.facts.stride ** 2, BORDER_CELLS)
        wanted[name] = _wanted(plan, layer, seen[name].shape[-1], None if guide is None else guide[name] / scale)
    return photo, Sight(extractor, DreamDecided(variant=decided.variant, layers=layers), responses, aims, wanted,
                        config.cosine_power)


def measured_px(config: DreamConfig, plan: DreamPlan) -> tuple[int, int]:
    """(width, height) at which the photo is measured: the smallest octave, and whole no longer than a tile.

    A narrow photo is longer than that where its layers need it.
    """
    size_px = plan.sizes_px[0]
    needed = -(-plan.smallest_px * max(size_px) // min(size_px))
    return images.fit(min(max(config.tile, needed), max(size_px)), *size_px)


def _wanted(plan: DreamPlan, layer: LayerAim, channels: int, guide: Tensor | None) -> Tensor | None:
    """V of a layer: the guide's features [positions, C], weights of channels [C], or None for the photo's own."""
    if plan.excitation == "caricature":
        return None
    if guide is not None:
        return tf.reshape(inside(guide, BORDER_CELLS), [-1, channels])
    weights = np.ones(channels) if layer.channels is None else np.zeros(channels)
    for channel, weight in (layer.channels or {}).items():
        weights[channel] = weight
    return tf.constant(weights, tf.float32)


def dream(config: DreamConfig, plan: DreamPlan, sight: Sight, start: FloatImage,
          reached: Reached = Reached()) -> Iterator[Progress]:
    """Dreams on a photo, and on what became of it; yields each step.

        x_o = base_o + ↑(x_{o−1} − base_{o−1}),    then    x_o ← clip(x_o + η g/rms(g))  so many times,

    for the octaves o from small to large: base_o is the photo at the size of octave o, ↑ enlarges what the octave
    before has added to it. g = ∇J, moved by the jitter and back, and smoothed. Each further frame starts from the one
    before, enlarged and turned.

    Args:
        start: the photo, or the last frame that is done; float32 [H, W, 3].
        reached: what is done already.
    Source: Mordvintsev, Olah, Tyka 2015 (google/deepdream).
    """
    octaves, done = [_Octave(config, plan, sight, size_px) for size_px in plan.sizes_px], reached
    for frame in range(reached.frame, config.frames):
        if frame:
            start = zoomed(start, config.zoom, config.turn)
        detail: Tensor = None
        for index, octave in enumerate(octaves):
            width, height = plan.sizes_px[index]
            base = _batch(images.resize(start, width, height))
            if frame == reached.frame and index < reached.octaves:
                detail = reached.picture - base if index + 1 == reached.octaves else None
                continue
            x = base if detail is None else tf.clip_by_value(
                base + tf.image.resize(detail, (height, width), method="bicubic"), 0.0, 1.0)
            for count in range(1, config.steps + 1):
                step = Reached(frame, index).steps(config, plan) + count
                x, value = octave.step(x, base, step)
                picture = x[0].numpy()
                if not np.isfinite(picture).all():
                    raise RunError(f"the picture is no longer finite at step {step}: {REMEDY}")
                if count == config.steps:
                    is_frame = octave is octaves[-1]
                    done = Reached(frame + is_frame, 0 if is_frame else index + 1, picture)
                yield _progress(config, plan, (frame, index, count), value, picture, done)
            detail = x - base
        # What the file will hold, so that a dream that goes on from a frame equals one that was not stopped.
        start = images.quantize(x[0].numpy()).astype(np.float32) / np.float32(255)


def _progress(config: DreamConfig, plan: DreamPlan, place: tuple[int, int, int], value: float, picture: FloatImage,
              done: Reached) -> Progress:
    """What a step tells the trackers.

    Args:
        place: frame and octave from 0, and the steps done in this octave.
        value: J before the step; picture: [H, W, 3] after it.
        done: what the dream can go on from.
    """
    frame, octave, count = place
    step, ends_octave = Reached(frame, octave).steps(config, plan) + count, count == config.steps
    octaves, frames_left = len(plan.sizes_px), config.frames - frame - 1
    left = Counter[tuple[int, ...]]({(math.prod(plan.sizes_px[octave]),): -count})
    for index, size_px in enumerate(plan.sizes_px):
        left[math.prod(size_px),] += config.steps * (frames_left + (index >= octave))
    kept = {"step": np.asarray(step), "picture": picture} if ends_octave and done.octaves else {}
    return Progress(
        step=step, total_steps=Reached(config.frames).steps(config, plan), stage=frame * octaves + octave,
        stage_step=count, size=picture.shape[:2], ends_stage=ends_octave, left=left,
        losses={"dream/excitation": value}, state=done, picture=lambda: picture, arrays=lambda: kept,
        shown={f"octave/{octave + 1}": lambda: picture} if ends_octave else {})


class _Octave:
    """The compiled functions of one size, used again for each frame."""

    def __init__(self, config: DreamConfig, plan: DreamPlan, sight: Sight, size_px: tuple[int, int]) -> None:
        self._config, self._sides_px = config, size_px[::-1]
        self._jitter_px = min(config.jitter, min(size_px) - 1)
        self._spans = partial(spans, overlap_px=plan.overlap_px(config.tile), stride=plan.stride)
        self._shift = tf.function(partial(jitter.shift, jitter_px=self._jitter_px), autograph=False)
        self._gradient = tf.function(partial(window_gradient, sight), autograph=False)
        self._climb = tf.function(partial(climb, jitter_px=self._jitter_px, gradient_scales=config.gradient_scales,
                                          step_size=config.step_size), autograph=False)

    def step(self, x: Tensor, base: Tensor, step: int) -> tuple[Tensor, float]:
        """The picture after one step, and J by pixel before it."""
        seed, tile_px = self._config.seed, self._config.tile
        rows, columns = (self._spans(side, tile_px, offset_px=offset) for side, offset in
                         zip(self._sides_px, tile_offsets(seed, step, tile_px), strict=True))
        offset = jitter.offset(seed, step, self._jitter_px)
        g, value = tiled_gradient(self._gradient, self._shift(x, offset), self._shift(base, offset), rows, columns,
                                  tile_px)
        return self._climb(x, tf.constant(g), offset), value


def climb(x: Tensor, g: Tensor, offset: Tensor, jitter_px: int, gradient_scales: int, step_size: float) -> Tensor:
    """The picture after a step along the gradient g by the picture that the jitter has moved, which is moved back.

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
            read = np.s_[:, row.start:row.start + height, column.start:column.start + width]
            part, value = gradient(x[read], base[read])
            kept = np.s_[:, row.first - row.start:row.stop - row.start,
                         column.first - column.start:column.stop - column.start]
            g[:, row.first:row.stop, column.first:column.stop] = part[kept]
            values.append(float(value))
    return g, float(np.mean(values)) / (height * width)


def window_gradient(sight: Sight, x: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """∇J by the pixels of a window and J = Σ_l λ_l area_l Σ_p j_lp.

    Args:
        x: what is dreamed on, [1, H, W, 3]; base: the photo at the same place.
    """
    of_photo = sight.extractor(base) if None in sight.wanted.values() else {}
    with tf.GradientTape() as tape:
        tape.watch(x)
        features = sight.extractor(x)
        J = tf.add_n([excitation(aim, features[layer], of_photo[layer] / aim.scale if V is None else V, sight.power)
                      for (layer, aim), V in zip(sight.aims.items(), sight.wanted.values(), strict=True)])
    return tape.gradient(J, x), J


def _batch(picture: FloatImage) -> Tensor:
    return tf.constant(picture[np.newaxis], tf.float32)
