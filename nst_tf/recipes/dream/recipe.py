"""A dream as a row of the run machinery: what is checked, recorded and written. No TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nst_tf.io import images
from nst_tf.io.animation import save_animation
from nst_tf.recipes.dream.plan import (
    DreamConfig, DreamDecided, DreamPlan, DreamRunConfig, LayerAim, Reached, check_dream_output, complete_dream,
    is_animation, resolve_dream,
)
from nst_tf.recipes.stylize.plan import known_precision
from nst_tf.runs import checkpoint
from nst_tf.runs.folder import run_options
from nst_tf.runs.progress import Arrays, Progress
from nst_tf.runs.recipe import Job, Recipe, Writer, Written
from nst_tf.runs.record import picture_text
from nst_tf.runs.session import tensorboard_line

REMEDY = "give a smaller --step_size"


def frame_name(number: int) -> str:
    """The file of a frame in the run folder. Frames are counted from 1."""
    return f"images/frame_{number:05d}.png"


def frame_path(folder: Path, number: int) -> Path:
    """The file of a frame."""
    return folder / frame_name(number)


def _resolve(config: DreamConfig, run_config: DreamRunConfig) -> DreamPlan:
    plan = resolve_dream(config)
    check_dream_output(config, run_config, plan)
    return plan


def _resolved(job: Job) -> dict[str, Any]:
    plan, layers = job.plan, job.decided.layers if job.decided else job.plan.layers
    return {"excitation": plan.excitation, "octaves": [list(size) for size in plan.sizes_px],
            "layers": {layer.facts.name: {"weight": layer.weight, "channels": layer.channels} for layer in layers}}


def _decided(job: Job, record: Mapping[str, Any]) -> DreamDecided:
    """Another precision, or other channels that would be measured now, would make another picture."""
    plan, stored = job.plan, {**record["resolved"]["layers"]}
    precision = known_precision(record["settings"]["--precision"])
    if plan.variant.precision != "auto":
        precision = plan.variant.precision
    return DreamDecided(variant=plan.variant._replace(precision=precision),
                        layers=tuple(_with_stored_channels(layer, stored) for layer in plan.layers))


def _with_stored_channels(layer: LayerAim, stored: Mapping[str, Any]) -> LayerAim:
    """The layer with the channels of a `config.json`; one that is not there, or was whole, has other settings."""
    if not layer.asked or layer.facts.name not in stored:
        return layer
    kept = stored[layer.facts.name]["channels"]
    if kept is None:
        return layer
    channels = {int(channel): float(weight) for channel, weight in kept.items()}
    if not all(0 <= channel < layer.facts.channels for channel in channels):
        raise ValueError("no such channel")
    if not np.isfinite(list(channels.values())).all():
        raise ValueError("no such weight")
    return layer._replace(channels=channels)


def _state(job: Job) -> Reached | None:
    """The frames that are there, and what is stored of the next one."""
    config, plan, folder, frames = job.config, job.plan, job.options.place, 0
    while frame_path(folder, frames + 1).exists():
        frames += 1

    def fitting(values: Arrays) -> Reached:
        frame, steps = divmod(int(values["step"]), len(plan.sizes_px) * config.steps)
        octaves, rest = divmod(steps, config.steps)
        width, height = plan.sizes_px[octaves - 1]
        if frame != frames or rest or not octaves or values["picture"].shape != (height, width, 3):
            raise ValueError("of another frame")
        return Reached(frames, octaves, np.asarray(values["picture"], np.float32))

    stored = checkpoint.newest(folder / checkpoint.FOLDER, fitting)
    return stored or (Reached(frames) if frames else None)


def _writer(job: Job) -> Writer:
    config, run_config, folder, text = job.config, job.run_config, job.options.place, picture_text(job)

    def write(last: Progress | None) -> Written:
        frames = min((last.state if last else job.state).frame, config.frames)
        picture = last.picture() if last else images.load(frame_path(folder, frames))
        images.save(folder / "output.png", picture, text=text)
        if is_animation(config, run_config):
            if frames:
                save_animation(run_config.output, [frame_path(folder, n + 1) for n in range(frames)], run_config.fps)
        elif run_config.output:
            images.save(run_config.output, picture, text=text)
        return Written((f"picture:     {run_config.output or folder / 'output.png'}", f"run folder:  {folder}",
                        tensorboard_line(run_config.logdir)))

    return write


def _stopped(job: Job, last: Progress) -> str:
    reached = last.state
    more = f" and {reached.octaves} of {len(job.plan.sizes_px)} octaves of the next" * bool(reached.octaves)
    return (f"stopped, {reached.frame} of {job.config.frames} frames{more} are done and the picture so far is in "
            f"{job.options.place / 'output.png'}; "
            f"{'to go on' if reached.frame or reached.octaves else 'to begin anew'}")


DREAM = Recipe(
    name="dream", script="dream.py", method=1, engine="nst_tf.recipes.dream.steps:session", resolve=_resolve,
    options=run_options, writer=_writer, complete=lambda job: complete_dream(job.config, job.plan, job.decided),
    resolved=_resolved, decided=_decided, state=_state,
    is_finished=lambda job: job.state.frame >= job.config.frames,
    contents=("events.*", "images", "channels.txt", "output.png"),
    growing="--frames",
    untold=("--frames",),  # frames do not depend on how many there will be
    stopped=_stopped, remedy=REMEDY)
