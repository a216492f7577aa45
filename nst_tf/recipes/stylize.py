"""Style transfer, from files to a stream of `Progress`: a generator without side effects."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.table import BACKBONES
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.losses.objective import evaluate, measure_targets
from nst_tf.optimize import canvas, loop, pyramid
from nst_tf.optimize.adam import OPTIMIZERS
from nst_tf.optimize.state import Progress, State, averaged
from nst_tf.recipes.plan import LEARNING_SIDE_PX, Plan, resolve

Picture = npt.NDArray[np.float32]
Tensor = Any


def stylize(config: StylizeConfig, state: State | None = None, plan: Plan | None = None) -> Iterator[Progress]:
    """Stylizes a photo; yields one `Progress` for each optimization step.

        J(x) = α · content(x) + β · style(x) + γ · smoothness(x), minimized over the pixels x in [0, 1],

    from small to large: each stage starts from the averaged image of the one before, enlarged.

    Args:
        config: what picture is made.
        state: where to go on; `Progress.state` of any step. From the beginning by default.
        plan: the resolved config; made from it by default.
    Returns:
        an iterator; nothing is computed before its first `next`.
    Raises:
        UserError: a setting or a file is wrong; raised here, not at the first step.
    Source: Gatys, Ecker, Bethge 2016.
    """
    return _steps(config, state, plan or resolve(config))


def _steps(config: StylizeConfig, state: State | None, plan: Plan) -> Iterator[Progress]:
    optimizer = OPTIMIZERS[config.optimizer]
    side_px = max(config.size, LEARNING_SIDE_PX)
    content = images.load(config.content, name="--content", max_side_px=side_px)
    styles = [images.load(path, name="--style", max_side_px=side_px) for path in config.style]
    extractor = BACKBONES[config.backbone].build(plan.objective.layers(), plan.weights, config.seed, [content, *styles])
    if state is None:
        image = _first_image(config, plan, extractor, content, styles)
        state = loop.start(image, optimizer, step=0, stage=0)
    while True:
        stage = plan.stages[state.stage]
        measure = _stage_objective(plan, extractor, content, styles, state.stage)
        step = loop.make_step(measure, optimizer, config.gradient_smoothing)
        rate = partial(pyramid.learning_rate, config.learning_rate, config.schedule, stage)
        for state, losses in loop.run_stage(state, stage.steps, step, rate):
            yield Progress(state, plan.total_steps, len(plan.stages), losses, state.stage_step == stage.steps,
                           plan.pixel_steps_left(state.stage, state.stage_step))
        if state.stage + 1 == len(plan.stages):
            return
        width, height = plan.stage_size_px(state.stage + 1)
        image = canvas.enlarge(averaged(state), height, width)
        state = loop.start(image, optimizer, state.step, state.stage + 1)


def _stage_objective(plan: Plan, extractor: Extractor, content: Picture, styles: Sequence[Picture],
                     stage: int) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """The objective at a stage's size; its targets are measured anew from the originals."""
    long_side_px = plan.stages[stage].long_side_px
    targets = measure_targets(
        plan.objective, extractor, _batch(images.resize(content, *plan.stage_size_px(stage))),
        [_batch(_style_at(style, long_side_px)) for style in styles], plan.style_blend)
    return partial(evaluate, plan.objective, targets, extractor)


def _style_at(style: Picture, long_side_px: int) -> Picture:
    """A style at a stage's long side, never enlarged: a blurred painting would teach blurred strokes."""
    height, width = style.shape[:2]
    return images.resize(style, *images.fit(min(long_side_px, max(width, height)), width, height))


def _first_image(config: StylizeConfig, plan: Plan, extractor: Extractor, content: Picture,
                 styles: Sequence[Picture]) -> Tensor:
    size_px = plan.stage_size_px(0)
    origins = canvas.Origins(
        images.resize(content, *size_px), [_cover(style, *size_px) for style in styles], plan.style_blend,
        extractor.mean_color, config.seed)
    if config.init in canvas.INITIALIZERS:
        return canvas.first_image(config.init, origins)
    return _batch(_cover(images.load(config.init, name="--init", max_side_px=4 * max(size_px)), *size_px))


def _cover(picture: Picture, width: int, height: int) -> Picture:
    """The middle of a picture at another size: scaled to cover it, never stretched."""
    rows, columns = picture.shape[:2]
    scale = min(columns / width, rows / height)
    kept_columns, kept_rows = min(columns, round(width * scale)), min(rows, round(height * scale))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return images.resize(picture[top:top + max(1, kept_rows), left:left + max(1, kept_columns)], width, height)


def _batch(picture: Picture) -> Tensor:
    return tf.constant(picture[np.newaxis], tf.float32)
