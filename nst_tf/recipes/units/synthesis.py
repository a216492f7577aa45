"""Synthesized pictures of units: activation maximization, several units in one compiled step."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.io.images import FloatImage
from nst_tf.losses.activations import UNIT_ACTIVATIONS, unit_loss
from nst_tf.optimize import pyramid, transforms
from nst_tf.optimize.canvas import CANVASES, Canvas, fourier_decode
from nst_tf.optimize.gradient import smooth
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.state import averaged
from nst_tf.optimize.step import make_step, run_stage, start, whole
from nst_tf.recipes.units.plan import UnitsConfig
from nst_tf.runs.progress import Failure
from nst_tf.tensors import Tensor

# Pictures in one step: more need more memory and are no faster. Larger pictures are fewer, with as many pixels in all.
PICTURES_AT_ONCE = 16
PIXELS_AT_ONCE = PICTURES_AT_ONCE * 256 ** 2
# Starts: noise of natural spectrum around these colors, with Fourier coefficients from calm to saturated.
START_COLORS = np.array([(0.5, 0.5, 0.5), *itertools.product((0.25, 0.75), repeat=3)], np.float32)
START_SPREADS = (0.02, 0.1, 0.5)
# A unit starts from gray, the first color, if it responds to gray with this share of its response to the best color.
GRAY_SHARE = 0.3
# Pixels around the picture that is shown: views are moved and turned, and reach beyond its edges.
MARGIN_PX = 24
# Against checkerboards in pixels; Fourier coefficients need none.
GRADIENT_SMOOTHING = {"pixels": 0.7, "fourier": 0.0}


class Synthesized(NamedTuple):
    """A picture of a unit, float32 [side, side, 3], and how strongly the unit responds to it."""

    picture: FloatImage
    activation: float


def pictures_at_once(side_px: int) -> int:
    """How many pictures of a size the network reads at once."""
    return max(1, min(PICTURES_AT_ONCE, PIXELS_AT_ONCE // side_px ** 2))


def batches(units: Sequence[int], pictures: int, side_px: int) -> list[tuple[int, ...]]:
    """The units of a layer in parts of equal size, for one compiled step; the last is filled with its last unit.

    >>> batches(range(5), 8, 128)
    [(0, 1), (2, 3), (4, 4)]
    """
    size = min(len(units), max(1, pictures_at_once(side_px) // pictures))
    parts = [tuple(units[first:first + size]) for first in range(0, len(units), size)]
    return [(*part, *part[-1:] * (size - len(part))) for part in parts]


def synthesize(config: UnitsConfig, extractor: Extractor, layer: str, is_signed: bool,
               units: Sequence[int]) -> Iterator[Mapping[int, list[Synthesized]] | Failure | None]:
    """Pictures of the units of a layer; yields None after each step, and each part of the units when it is done.

    Where a step fails and steps are taken again, these are not told again.

    Args:
        is_signed: whether the layer tells with values below 0 too.
    Raises:
        NotFinite: steps fail one after the other.
    """
    count, side = config.diversity, config.synthesized_size
    parts = batches(units, count, side)
    canvas, optimizer = _blurred(CANVASES[config.canvas], config.blur), OPTIMIZERS["adam"]

    def evaluate(pictures: Tensor, maps: Tensor, channels: Tensor) -> tuple[Mapping[str, Tensor], tuple[()]]:
        features = extractor(transforms.view(pictures, maps, side))[layer]
        return {"loss/total": unit_loss(features, channels, config.objective, count, config.diversity_weight,
                                        is_signed)}, ()

    step = make_step(whole(evaluate), canvas, optimizer, GRADIENT_SMOOTHING[config.canvas])
    stage = pyramid.Stage(side, config.steps, config.steps)
    rate = partial(pyramid.learning_rate, config.learning_rate, "cosine", stage)
    maps = partial(transforms.view_maps, config.seed, count=count * len(parts[0]), view_px=side,
                   picture_px=side + 2 * MARGIN_PX, strength=config.robustness)
    extract = tf.function(lambda pictures: extractor(pictures)[layer], autograph=False,
                          input_signature=[tf.TensorSpec([None, side, side, 3])])
    activation = UNIT_ACTIVATIONS[config.objective]
    for part in parts:
        channels = tf.constant(np.repeat(part, count), tf.int32)
        state = start(_starts(config, extract, part), canvas, optimizer, 0, 0)
        steps = 0
        for state, told in run_stage(state, config.steps, optimizer, step, rate, maps, channels):
            if told.failures:
                what = "the gradient" if math.isfinite(told.losses["loss/total"]) else "the activation"
                yield (failure := Failure(told.failed_step, f"{what} of units of {layer}", state.rate_share,
                                          told.failures))
                if told.is_lost:
                    raise failure.error("lower --learning_rate")
            elif state.step > steps:
                steps = state.step
                yield None
        pictures = _middle(averaged(state))
        made = [Synthesized(picture, float(value)) for picture, value in
                zip(pictures, activation(extract(tf.constant(pictures)), channels).numpy(), strict=True)]
        yield {unit: made[index * count:(index + 1) * count] for index, unit in enumerate(part)}


def _middle(pictures: Tensor) -> Tensor:
    return pictures[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def _blurred(canvas: Canvas, times: int) -> Canvas:
    """The canvas with its pictures blurred `times` times by a binomial of 3 px, so that the finest frequencies fade."""
    def decode(theta: Tensor, height: int, width: int) -> Tensor:
        pictures = canvas.decode(theta, height, width)
        for _ in range(times):
            pictures = smooth(pictures, 1.0)
        return pictures

    return canvas._replace(decode=decode)


def _starts(config: UnitsConfig, extract: Callable[[Tensor], Tensor], units: Sequence[int]) -> Tensor:
    """For each picture a start to which its unit responds: the calmest noise, around gray or the color it likes most.

    Layers end in a ReLU, which passes no gradient where it is silent: a cell that likes yellow would never leave blue.
    """
    side = config.synthesized_size + 2 * MARGIN_PX
    starts: list[list[Tensor]] = []
    for number in range(config.diversity):
        noise = np.random.default_rng((config.seed, number)).normal(size=(1, 3, side, side // 2 + 1, 2))
        candidates = [tf.clip_by_value(fourier_decode(tf.constant(noise * spread, tf.float32), side, side)
                                       + START_COLORS[:, None, None] - 0.5, 0.0, 1.0) for spread in START_SPREADS]
        responses = np.stack([_responses(config, extract, _middle(pictures), units) for pictures in candidates], axis=1)
        starts.append([])
        for of_unit in responses:
            calmest = int(np.argmax(of_unit.max(axis=1) > 0))
            by_color = of_unit[calmest]
            is_gray = by_color[0] >= GRAY_SHARE * by_color.max()
            starts[-1].append(candidates[calmest][0 if is_gray else int(np.argmax(by_color))])
    return tf.stack([start for of_unit in zip(*starts, strict=True) for start in of_unit])


def _responses(config: UnitsConfig, extract: Callable[[Tensor], Tensor], pictures: Tensor,
               units: Sequence[int]) -> npt.NDArray[np.float32]:
    """[units, pictures], a few pictures at a time."""
    objective, count = UNIT_ACTIVATIONS[config.objective], pictures_at_once(config.synthesized_size)
    parts = []
    for first in range(0, len(pictures), count):
        F = extract(pictures[first:first + count])
        parts.append(np.stack([objective(F, tf.fill([F.shape[0]], unit)).numpy() for unit in units]))
    return np.concatenate(parts, axis=1)
