"""A dream as a row of the run machinery: what is checked, recorded and written. No TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nst_tf.backbones.weights.sources import weights_file
from nst_tf.io import images
from nst_tf.io.animation import ENDINGS, save_animation
from nst_tf.io.pixels import with_alpha
from nst_tf.recipes.dream.plan import (
    DreamConfig, DreamDecided, DreamedLayer, DreamPlan, DreamRunConfig, DreamState, check_dream_output,
    complete_dream, resolve_dream,
)
from nst_tf.runs import checkpoint
from nst_tf.runs.folder import run_options
from nst_tf.runs.progress import Arrays, Progress
from nst_tf.runs.recipe import Job, Recipe, Writer, Written
from nst_tf.runs.record import picture_text
from nst_tf.runs.session import tensorboard_line
from nst_tf.vocabulary import PrecisionName, check_name, names

REMEDY = "give a smaller --step_size"


def frame_name(number: int) -> str:
    """The file of a frame in the run folder. Frames are counted from 1."""
    return f"images/frame_{number:05d}.png"


def _resolve(config: DreamConfig, run_config: DreamRunConfig) -> DreamPlan:
    plan = resolve_dream(config)
    check_dream_output(config, run_config, plan)
    return plan


def _resolved(job: Job) -> dict[str, Any]:
    plan, layers = job.plan, job.decided.layers if job.decided else job.plan.layers
    return {"octaves": [list(size) for size in plan.sizes_px],
            "layers": {layer.facts.name: {"excitation": layer.excitation, "weight": layer.weight,
                                          "channels": layer.channels} for layer in layers}}


def _decided(job: Job, record: Mapping[str, Any]) -> DreamDecided:
    """The precision and the channels of a record: others, measured anew, would make another picture."""
    plan, stored = job.plan, {**record["resolved"]["layers"]}
    precision = check_name("--precision", record["settings"]["--precision"], names(PrecisionName))
    if plan.variant.precision != "auto":
        precision = plan.variant.precision
    layers = []
    for layer in plan.layers:
        weights = stored[layer.facts.name]["channels"] if layer.selection and layer.facts.name in stored else None
        # A layer that the record lacks, or has as a whole, stays as it is: its settings differ, which is refused later.
        layers.append(layer if weights is None else layer._replace(channels=_read_channels(weights, layer)))
    return DreamDecided(variant=plan.variant._replace(precision=precision), layers=tuple(layers))


def _read_channels(weights: Mapping[str, Any], layer: DreamedLayer) -> dict[int, float]:
    """{channel: weight} of a layer in a record; raises `ValueError` for a channel or weight that cannot be."""
    channels = {int(channel): float(weight) for channel, weight in weights.items()}
    if not all(0 <= channel < layer.facts.channels for channel in channels):
        raise ValueError("no such channel")
    if not np.isfinite(list(channels.values())).all():
        raise ValueError("no such weight")
    return channels


def _state(job: Job) -> DreamState | None:
    """The frames that the folder has, and what is stored of the next one."""
    config, plan, folder, frames = job.config, job.plan, job.options.place, 0
    while (folder / frame_name(frames + 1)).exists():
        frames += 1

    def read(values: Arrays) -> DreamState:
        frame, steps = divmod(int(values["step"]), len(plan.sizes_px) * config.steps)
        octaves, rest = divmod(steps, config.steps)
        width, height = plan.sizes_px[octaves - 1]
        if frame != frames or rest or not octaves or values["picture"].shape != (height, width, 3):
            raise ValueError("of another frame")
        return DreamState(frames, octaves, np.asarray(values["picture"], np.float32))

    stored = checkpoint.newest(folder / checkpoint.FOLDER, read)
    return stored or (DreamState(frames) if frames else None)


def _writer(job: Job) -> Writer:
    config, run_config, folder, text = job.config, job.run_config, job.options.place, picture_text(job)
    alpha = job.plan.opened.load_alpha(config.content, "--content", config.size)
    # A zoom leaves the edges of the photo behind.
    is_moved = config.frames > 1 and (config.zoom != 1 or config.turn != 0)
    kept = None if is_moved else alpha
    notes = () if kept is alpha else ("over white:  the photo, since a zoom keeps no transparency",)

    def write(last: Progress | None) -> Written:
        frames = min((last.state if last else job.state).frame, config.frames)
        picture = last.picture() if last else images.load(folder / frame_name(frames))
        if kept is not None:
            picture = with_alpha(picture, kept)
        images.save(folder / "output.png", picture, text=text)
        if config.frames > 1 and run_config.output.lower().endswith(ENDINGS):
            if frames:
                files = [folder / frame_name(number) for number in range(1, frames + 1)]
                save_animation(run_config.output, files, run_config.fps, kept)
        elif run_config.output:
            images.save(run_config.output, picture, text=text)
        return Written((f"picture:     {run_config.output or folder / 'output.png'}", *notes,
                        f"run folder:  {folder}", tensorboard_line(run_config.logdir)))

    return write


def _stopped(job: Job, last: Progress) -> str:
    state = last.state
    octaves = f" and {state.octaves} of {len(job.plan.sizes_px)} octaves of the next" if state.octaves else ""
    return (f"stopped, {state.frame} of {job.config.frames} frames{octaves} are done and the picture so far is in "
            f"{job.options.place / 'output.png'}; "
            f"{'to go on' if state.frame or state.octaves else 'to begin anew'}")


DREAM = Recipe(
    name="dream", script="dream.py", method=2, engine="nst_tf.recipes.dream.steps:session", resolve=_resolve,
    options=run_options, fetch=lambda job: weights_file(job.config.backbone, job.plan.weights), writer=_writer,
    complete=lambda job: complete_dream(job.config, job.plan, job.decided),
    resolved=_resolved, decided=_decided, state=_state,
    is_finished=lambda job: job.state.frame >= job.config.frames,
    contents=("events.*", "images/frame_*.png", "channels.txt", "output.png"),
    growing="--frames",
    untold=("--frames",),  # frames do not depend on how many there will be
    stopped=_stopped, remedy=REMEDY)
