"""A video as a row of the run machinery: what is checked, recorded and written. No TensorFlow."""

import math
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.backbones.weights.sources import weights_file
from nst_tf.io import animation, images
from nst_tf.io.files import write_atomically
from nst_tf.io.video_files import Samples, write_video
from nst_tf.recipes.stylize.plan import decided_before
from nst_tf.recipes.video.motion import Earlier
from nst_tf.recipes.video.plan import (
    VideoConfig, VideoPlan, complete_video, is_file, resolve_video, resolved_video, times_of,
)
from nst_tf.runs import checkpoint
from nst_tf.runs.folder import run_options
from nst_tf.runs.progress import Arrays, Progress
from nst_tf.runs.recipe import Job, Recipe, Writer, Written
from nst_tf.runs.session import tensorboard_line


def frame_name(number: int) -> str:
    """The file of a frame. Frames are counted from 1."""
    return f"frame_{number:05d}.png"


class VideoState(NamedTuple):
    """What of a video is done, and what the next frame needs of it.

    `past` are the last frames of the shot, the nearest first. `aim` is J of the shot's first frame, without the
    temporal term. `errors` are the warping errors of the frames, NaN where none was measured.
    """

    frame: int = 0
    step: int = 0
    past: tuple[Earlier, ...] = ()
    shown: Samples | None = None        # the last frame as it was written, [H, W, 3]
    aim: float = math.inf
    errors: tuple[float, ...] = ()
    later: tuple[int, int] = (0, 0)     # frames that followed others, and their steps
    is_end: bool = False                # the clip has no more frames

    def arrays(self) -> Arrays:
        """What a checkpoint keeps; `of_arrays` reads it."""
        grays = [earlier.gray for earlier in self.past]
        # A checkpoint holds finite numbers.
        errors = [-1.0 if math.isnan(error) else error for error in self.errors]
        return {"frame": np.asarray(self.frame), "step": np.asarray(self.step), "is_end": np.asarray(self.is_end),
                "grays": np.asarray(grays, np.uint8), "shown": np.asarray(self.shown, np.uint8),
                "pictures": np.asarray([earlier.picture for earlier in self.past], np.uint8),
                "aim": np.asarray(self.aim), "errors": np.asarray(errors), "later": np.asarray(self.later)}


def of_arrays(values: Arrays) -> VideoState:
    """The state that `VideoState.arrays` wrote.

    Raises:
        KeyError, ValueError, TypeError: the arrays are not those of a state.
    """
    past = tuple(Earlier(*pair) for pair in zip(values["grays"], values["pictures"], strict=True))
    errors = tuple(math.nan if error < 0 else float(error) for error in values["errors"])
    frames, steps = map(int, values["later"])
    return VideoState(int(values["frame"]), int(values["step"]), past, np.asarray(values["shown"], np.uint8),
                      float(values["aim"]), errors, (frames, steps), bool(values["is_end"]))


def _state(job: Job) -> VideoState | None:
    folder, plan = job.options.place, job.plan

    def read(values: Arrays) -> VideoState:
        state = of_arrays(values)
        width, height = plan.picture.stage_size_px(-1)
        if state.shown is None or state.shown.shape != (height, width, 3) or len(state.errors) != state.frame:
            raise ValueError("of another video")
        if not all((folder / "images" / frame_name(number)).exists() for number in range(1, state.frame + 1)):
            raise ValueError("frames are missing")
        return state

    return checkpoint.newest(folder / checkpoint.FOLDER, read)


def _is_finished(job: Job) -> bool:
    return bool(job.state.is_end or job.state.frame >= job.config.frames)


def _decided(job: Job, record: Mapping[str, Any]) -> Any:
    return decided_before(job.plan.picture, record)


def _writer(job: Job) -> Writer:
    def write(last: Progress | None) -> Written:
        state: VideoState = last.state if last else job.state
        frames = [job.options.place / "images" / frame_name(number) for number in range(1, state.frame + 1)]
        notes = _write_output(job.plan, job.run_config.output, job.run_config.fps, frames) if frames else []
        errors = [error for error in state.errors if not math.isnan(error)]
        told = [f"flicker:     warping error {np.mean(errors):.3g} on average" for _ in errors[:1]]
        return Written((f"video:       {job.run_config.output or job.options.place / 'images'}, {len(frames)} frames",
                        *told, *notes, f"run folder:  {job.options.folder}", tensorboard_line(job.run_config.logdir)))

    return write


def _write_output(plan: VideoPlan, output: str, fps: float | None, frames: list[Path]) -> list[str]:
    """Writes the frames that are done to `--output`; returns what is to be told of it."""
    if not output:
        return []
    if not is_file(output):
        for frame in frames:
            write_atomically(Path(output) / frame.name, frame.read_bytes())
        others = len(set(os.listdir(output)) - {frame.name for frame in frames})
        return [f"left there:  {others} other files of {output}"] * bool(others)
    times = times_of(plan, fps, len(frames))
    if Path(output).suffix.lower() in animation.ENDINGS:
        span = times[-1] - times[0]
        rate = float((len(times) - 1) / span) if span else 1.0
        animation.save_animation(output, frames, rate)
        return []
    # At another rate the sound would not fit.
    sound = plan.clip.path if plan.clip.times and fps is None else ""
    has_sound = write_video(output, map(_samples, frames), times, sound)
    return ["sound:       that of --content"] * has_sound


def _samples(frame: Path) -> Samples:
    return images.quantize(images.load(frame, name="--output"))


def _stopped(job: Job, last: Progress) -> str:
    return (f"stopped, {last.state.frame} of {job.plan.count(job.config)} frames are done; "
            f"{'to go on' if last.state.frame else 'to begin anew'}")


def _resolved(job: Job) -> Mapping[str, Any]:
    return resolved_video(job.plan, job.decided)


def _complete(job: Job) -> VideoConfig:
    return complete_video(job.config, job.plan, job.decided)


VIDEO = Recipe(
    name="video", script="stylize_video.py", method=1, engine="nst_tf.recipes.video.steps:session",
    resolve=resolve_video, options=partial(run_options, checkpoint_every=10.0),
    fetch=lambda job: weights_file(job.config.backbone, job.plan.weights), writer=_writer, complete=_complete,
    resolved=_resolved, decided=_decided, state=_state, is_finished=_is_finished,
    contents=("events.*", "images/frame_*.png", "output.png"), growing="--frames",
    untold=("--frames",),  # frames do not depend on how many there will be
    stopped=_stopped)
