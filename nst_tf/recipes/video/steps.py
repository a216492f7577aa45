"""A video, frame after frame: each is a stylization, which may begin with, and is held to, those before it."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.io import images
from nst_tf.io.clips import Frame
from nst_tf.io.optical_flow import has_flow
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.optimize.pyramid import Stage
from nst_tf.optimize.state import averaged
from nst_tf.optimize.step import start
from nst_tf.recipes.stylize.plan import Decided, Plan
from nst_tf.recipes.stylize.shared import Shared
from nst_tf.recipes.stylize.stage import Setup
from nst_tf.recipes.stylize.steps import set_up, stylize
from nst_tf.recipes.video.motion import (
    Earlier, Motion, begins_shot, motion_between, moved_picture, moved_together, warping_error,
)
from nst_tf.recipes.video.plan import FrameFiles, VideoConfig, VideoPlan, of_frame
from nst_tf.recipes.video.recipe import VideoState, frame_name
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.record import picture_text
from nst_tf.runs.session import say
from nst_tf.runs.tensorboard import PICTURES_PER_RUN
from nst_tf.tensors import Array

# Share of the learning rate for frames that follow others: with all of it, the first steps would undo what they begin
# with.
LATER_RATE = 0.3
# A frame that follows others is done where J is at most so many times that of the first frame of its shot.
AIM = 1.05
LEAST_STEPS = 10
# J differs from step to step by the jitter: the mean of so many counts.
MEAN_STEPS = 8


def session(job: Job) -> Session:
    """The run machinery's way to a video: builds the network once, begins or goes on."""
    config, plan, state = job.config, job.plan, job.state or VideoState()
    picture = of_frame(config, plan.clip)
    setup = set_up(picture, plan.picture, job.decided)._replace(shared=Shared())
    say(f"nst_tf: the network computes in {setup.decided.variant.precision}")
    if plan.clip.note:
        say(f"nst_tf: --content: {plan.clip.note}")
    if job.state:
        say(f"nst_tf: continues at frame {state.frame + 1} of {plan.count(config)}")
    text = picture_text(job._replace(decided=setup.decided))
    styles = {f"image/2_style_{k}": partial(np.asarray, style) for k, style in enumerate(setup.inputs.styles)}
    return Session(events=_with_files(Film(config, plan, setup).steps(state), text), decided=setup.decided,
                   shown=styles, facts={"parameters": setup.fitted.extractor.parameters}, step=state.step)


def _with_files(steps: Any, text: Mapping[str, str]) -> Iterator[Progress]:
    """The steps, each last one of a frame with the file of this frame."""
    with closing(steps):
        for progress in steps:
            if progress.ends_stage and not progress.failure:
                save = partial(images.save, image=progress.picture(), text=text)
                progress = progress._replace(files={f"images/{frame_name(progress.state.frame)}": save})
            yield progress


class CurrentFrame(NamedTuple):
    """The frame that is made: what it shows, and how it follows from earlier ones."""

    plan: Plan
    content: Array          # [H, W, 3] at the size of the picture
    gray: np.ndarray        # uint8 [H, W]
    motions: tuple[Motion, ...]  # from those frames of the past that it is held to; () where it begins a shot
    is_last: bool


class Film:
    """The frames of a clip, made one after another."""

    def __init__(self, config: VideoConfig, plan: VideoPlan, setup: Setup) -> None:
        self._config, self._plan, self._setup = config, plan, setup
        self._picture = of_frame(config, plan.clip)
        self._of_later = _decided_later(plan, setup.decided)
        self._count = plan.count(config)

    def steps(self, state: VideoState) -> Iterator[Progress]:
        """Makes the frames that are not done yet, and yields each optimization step.

        The first frame of a shot is a picture as any other. A later one begins as the last frame, moved along the
        optical flow, and is held there by the temporal term. It ends as soon as J without that term is that of the
        first frame.

        Source: Ruder, Dosovitskiy, Brox 2016.
        """
        frames = islice(self._plan.clip.read(), state.frame, self._config.frames)
        frame = next(frames, None)
        while frame is not None:
            after = next(frames, None)
            current = self._look(frame, state, after is None)
            for progress in self._frame(current, state):
                yield progress
                if progress.ends_stage and not progress.failure:
                    state = progress.state
            frame = after
        if state.frame < self._count:
            say(f"nst_tf: --content ends after frame {state.frame}, though it names {self._plan.clip.length}: what "
                "follows is damaged or cut off")

    def _look(self, frame: Frame, state: VideoState, is_last: bool) -> CurrentFrame:
        """Reads a frame and finds its motion."""
        opened = FrameFiles(self._plan.picture.opened, self._plan.clip, frame)
        plan = self._plan.picture._replace(opened=opened)
        content = images.resize(opened.load("", "--content", self._config.long_side_px), *plan.stage_size_px(-1))
        gray = images.quantize(content @ np.array([0.299, 0.587, 0.114], np.float32))
        motions: tuple[Motion, ...] = ()
        if state.past and has_flow():
            motions = (motion_between(state.past[0].gray, gray),)
            if begins_shot(motions[0]):
                motions = ()
            elif self._plan.mode == "flow":
                motions += tuple(motion_between(state.past[ago - 1].gray, gray) for ago in self._history(state)[1:])
        return CurrentFrame(plan, content, gray, motions, is_last)

    def _history(self, state: VideoState) -> list[int]:
        """How many frames ago those lie that the next frame is held to; the one before is always the first."""
        return sorted({1, *(ago for ago in self._config.history if ago <= len(state.past))})

    def _frame(self, current: CurrentFrame, state: VideoState) -> Iterator[Progress]:
        """The steps of a frame, as those of the video."""
        is_later = bool(current.motions) and self._plan.mode == "flow"
        made: Any = self._later(current, state) if is_later else self._first(current)
        with closing(made) as steps:
            recent = deque[float](maxlen=MEAN_STEPS)
            for progress in steps:
                if progress.failure:
                    recent.clear()
                else:
                    recent.append(_without_temporal(progress, self._plan.temporal_weight))
                J = sum(recent) / max(1, len(recent))
                is_good = is_later and progress.stage_step >= LEAST_STEPS and J <= AIM * state.aim
                is_through = progress.ends_stage and progress.stage + 1 == len(self._of_later.stages)
                is_end = (is_good or is_through) and not progress.failure
                after = self._after(current, state, progress, J, is_later) if is_end else state
                yield self._told(current, state, after, progress, is_later, is_end)
                if is_end:
                    return

    def _first(self, current: CurrentFrame) -> Iterator[Progress]:
        """A frame alone."""
        setup = set_up(self._picture, current.plan, self._setup.decided, self._setup.network)
        return stylize(self._picture, plan=current.plan, setup=setup._replace(shared=self._setup.shared))

    def _later(self, current: CurrentFrame, state: VideoState) -> Iterator[Progress]:
        """A frame that follows others."""
        config, plan = self._picture, current.plan._replace(reduce_share=0.0)
        past = [state.past[ago - 1] for ago in self._history(state)]
        earlier, certainty = moved_together(current.motions, past)
        setup = set_up(config, plan, self._of_later, self._setup.network)
        # Styles and filters that follow from the photo stay those of the first frame.
        inputs = setup.inputs._replace(styles=self._setup.inputs.styles, earlier=(earlier, certainty))
        setup = setup._replace(inputs=inputs, fitted=self._setup.fitted, shared=self._setup.shared)
        nearest = moved_picture(past[0].picture, current.motions[0].backward)
        image = np.where(certainty[..., np.newaxis] > 0, earlier, nearest)
        begun = start(tf.constant(image[np.newaxis]), CANVASES[config.canvas], OPTIMIZERS[config.optimizer], 0,
                      len(self._of_later.stages) - 1)
        descent = plan.descent._replace(learning_rate=plan.descent.learning_rate * LATER_RATE)
        return stylize(config, begun, plan._replace(descent=descent), setup)

    def _after(self, current: CurrentFrame, state: VideoState, progress: Progress, J: float,
               is_later: bool) -> VideoState:
        """What is done with the last step of a frame."""
        shown = images.quantize(progress.picture()[..., :3])
        picture = images.quantize(averaged(progress.state)[0])
        error = math.nan
        if current.motions and state.shown is not None:
            error = warping_error(shown, state.shown, current.motions[0])
        past = (Earlier(current.gray, picture), *(state.past if current.motions else ()))[:max(self._config.history)]
        frames, steps = state.later
        return VideoState(
            state.frame + 1, state.step + progress.step, past, shown, state.aim if is_later else J,
            (*state.errors, error), (frames + is_later, steps + is_later * progress.step),
            current.is_last and state.frame + 1 < self._config.frames)

    def _told(self, current: CurrentFrame, state: VideoState, after: VideoState, progress: Progress, is_later: bool,
              is_end: bool) -> Progress:
        """A step of a frame as one of the video."""
        left = self._left(current, after, progress, is_later, is_end)
        step = state.step + progress.step
        losses = dict(progress.losses)
        if is_end:
            losses |= {"video/frame": after.frame, "video/frame_steps": progress.step}
            if not math.isnan(after.errors[-1]):
                losses["video/warping_error"] = after.errors[-1]
        failure = progress.failure and progress.failure._replace(step=state.step + progress.failure.step)
        return progress._replace(
            step=step, total_steps=step + sum(left.values()), stage=state.frame, stage_step=progress.step,
            ends_stage=is_end, left=left, losses=losses, state=after, failure=failure,
            arrays=after.arrays if is_end else dict, shown=self._shown(current, after, progress) if is_end else {})

    def _shown(self, current: CurrentFrame, after: VideoState, progress: Progress) -> dict[str, Callable[[], Any]]:
        """The frame and its content for TensorBoard, now and then."""
        if after.frame % max(1, self._count // PICTURES_PER_RUN) and after.frame > 1:
            return {}
        return {"image/0_output": progress.read, "image/1_content": lambda: current.content}

    def _left(self, current: CurrentFrame, after: VideoState, progress: Progress, is_later: bool,
              is_end: bool) -> dict[tuple[int, ...], int]:
        """{`pixels_read`: steps that are left}, as far as is known: those of this frame, then those of the others."""
        plan, decided = current.plan, self._setup.decided
        frames, steps = after.later
        expected = round(steps / frames) if frames else self._plan.later_steps
        pixels = plan.pixels_read(-1)
        left = {pixels: max(1, expected - progress.step)} if is_later else dict(progress.left)
        if is_end:
            left = dict.fromkeys(left, 0)
        others = 0 if current.is_last else max(1, self._count - after.frame - (not is_end))
        if self._plan.mode == "flow":
            left[pixels] = left.get(pixels, 0) + others * expected
        else:
            for kind, count in decided.steps_left(plan, 0, 0).items():
                left[kind] = left.get(kind, 0) + others * count
        return left


def _without_temporal(progress: Progress, weight: float) -> float:
    """J without the temporal term."""
    losses = progress.losses
    return float(losses["loss/total"]) - weight * float(losses.get("loss/temporal", 0.0))


def _decided_later(plan: VideoPlan, decided: Decided) -> Decided:
    """What is decided for frames that follow others: the temporal term counts, and the last stage is all."""
    objective = decided.objective
    weights = objective.weights._replace(temporal=plan.temporal_weight)
    last = decided.stages[-1]
    stage = Stage(last.long_side_px, plan.later_steps, plan.later_steps)
    return decided._replace(objective=objective._replace(weights=weights), stages=(*decided.stages[:-1], stage))
