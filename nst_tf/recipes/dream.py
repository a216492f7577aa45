"""Deep dream, from arrays to a stream of steps: a generator without side effects."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.table import find_backbone
from nst_tf.backbones.variant import vary
from nst_tf.io import images
from nst_tf.io.images import FloatImage
from nst_tf.losses.dream import Activations, activation
from nst_tf.losses.excitation import Aim, excitation, inside
from nst_tf.optimize import jitter
from nst_tf.optimize.ascent import ascend, root_mean_square, smooth_scales
from nst_tf.optimize.octaves import Span, spans, tile_offsets
from nst_tf.optimize.transforms import zoomed
from nst_tf.recipes.dream_plan import GUIDE_SIDE_PX, DreamConfig, DreamPlan, LayerAim, Reached
from nst_tf.recipes.dream_units import channel_weights
from nst_tf.tensors import Tensor

# Cells at a border have seen what is padded around the picture.
BORDER_CELLS = 1
# A layer whose features are all below this is silent.
SILENCE = 1e-6


class DreamStep(NamedTuple):
    """One step: frame and octave from 0, the step of all, J before it, and the picture [1, H, W, 3] after it."""

    frame: int
    octave: int
    step: int
    excitation: float
    picture: Tensor
    ends_octave: bool
    ends_frame: bool


class Sight(NamedTuple):
    """The network and what is wanted of it: an aim and V of each layer; V is None where it is the photo's own.

    `layers` are the plan's with their channels chosen, `responses` what each channel answers to the photo with.
    """

    extractor: Extractor
    layers: tuple[LayerAim, ...]
    responses: dict[str, Activations]
    aims: dict[str, Aim]
    wanted: dict[str, Tensor | None]
    power: float


def set_up(config: DreamConfig, plan: DreamPlan) -> tuple[FloatImage, Sight]:
    """The photo and the network with what is wanted of it.

    Raises:
        UserError: a file is wrong, the network's weights cannot be had, or fewer channels respond than are asked for.
    """
    photo = images.load(config.content, name="--content", max_side_px=config.size)
    row, names = find_backbone(config.backbone), [layer.facts.name for layer in plan.layers]
    extractor = vary(row.build(names, plan.weights, config.seed, [photo]), plan.variant, [photo], row.unpadded_px)
    seen = extractor(_batch(images.resize(photo, *measured_px(config, plan))))
    guide = None
    if config.guide:
        picture = images.load(config.guide, name="--guide", max_side_px=GUIDE_SIDE_PX)
        guide = extractor(_batch(picture))
    responses = {name: activation(seen[name]).numpy() for name in names}
    layers = tuple(layer._replace(channels=channel_weights(layer.asked, responses[layer.facts.name]))
                   if layer.asked and layer.channels is None else layer for layer in plan.layers)
    aims, wanted = {}, {}
    for layer in layers:
        name = layer.facts.name
        scale = max(float(root_mean_square(seen[name])), SILENCE)
        aims[name] = Aim(plan.excitation, layer.weight, scale, layer.facts.stride ** 2, BORDER_CELLS)
        wanted[name] = _wanted(plan, layer, seen[name].shape[-1], None if guide is None else guide[name] / scale)
    return photo, Sight(extractor, layers, responses, aims, wanted, config.cosine_power)


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
          reached: Reached = Reached()) -> Iterator[DreamStep]:
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
    octaves = [_Octave(config, plan, sight, size_px) for size_px in plan.sizes_px]
    steps_a_frame = len(octaves) * config.steps
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
                step = frame * steps_a_frame + index * config.steps + count
                x, value = octave.step(x, base, step)
                is_last = count == config.steps
                yield DreamStep(frame, index, step, value, x, is_last, is_last and octave is octaves[-1])
            detail = x - base
        # What the file will hold, so that a dream that goes on from a frame equals one that was not stopped.
        start = images.quantize(x[0].numpy()).astype(np.float32) / np.float32(255)


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
