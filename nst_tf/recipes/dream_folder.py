"""The run folder of a dream: where it begins, goes on or is refused, and what it holds. No TensorFlow."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import nst_tf
from nst_tf.backbones.saved_model_facts import SAVED_MODEL, exported_folder
from nst_tf.config import RunConfig, StylizeConfig, to_flags
from nst_tf.io.files import check_writable, quoted, write_atomically
from nst_tf.recipes.dream_plan import (
    DreamConfig, DreamPlan, DreamRunConfig, LayerAim, Reached, complete_dream, dream_settings,
)
from nst_tf.recipes.folder import (
    DAMAGED, Found, check_inputs_survive, check_is_run_or_empty, check_unchanged, differences, found_in, picture_text,
    remove_contents, run_name, versions,
)
from nst_tf.track import checkpoint
from nst_tf.vocabulary import PrecisionName, RunError, UserError, names


class DreamStart(NamedTuple):
    """How a dream begins: its folder, its plan, and what it goes on from.

    `found` is what the folder held when this was decided, so that `prepare_dream` notices another process in between.
    """

    folder: Path
    plan: DreamPlan
    reached: Reached
    found: Found


def open_dream(config: DreamConfig, run_config: DreamRunConfig, plan: DreamPlan) -> DreamStart:
    """Decides what starting this dream means; nothing is written yet. Of a finished run, `--output` is.

    Raises:
        UserError: the folder holds another or a finished run, no run, or one of the inputs; or cannot be written.
    """
    folder = Path(run_config.logdir) / run_name(
        StylizeConfig(content=config.content), RunConfig(run=run_config.run, logdir=run_config.logdir))
    check_writable(folder / "config.json", "--logdir")
    check_is_run_or_empty(folder)
    found = found_in(folder)
    check_inputs_survive(folder, plan.inputs)
    if run_config.overwrite or not (folder / "config.json").exists():
        return DreamStart(folder, plan, Reached(), found)
    settings, plan = _with_stored_choices(folder / "config.json", plan)
    different = [flag for flag in differences(settings, dream_settings(config, plan)) if flag != "--frames"]
    if different:
        raise UserError(f"run '{folder.name}' exists with other settings ({', '.join(different)} differ): give another "
                        "--run, or --overwrite to start it afresh")
    reached = _reached(folder, config, plan)
    if reached.frame > config.frames or (reached.frame == config.frames and not run_config.output):
        raise UserError(f"run '{folder.name}' is finished: give --output to write its picture, another --run, more "
                        "--frames, or --overwrite to start it afresh")
    return DreamStart(folder, plan, reached, found)


def _with_stored_choices(path: Path, plan: DreamPlan) -> tuple[dict[str, Any], DreamPlan]:
    """The settings of a `config.json`, and the plan with what was chosen when the run began.

    Another precision, or other channels that would be measured now, would make another picture.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        settings = {**stored["settings"]}
        if settings["--precision"] not in names(PrecisionName):
            raise ValueError("no precision")
        chosen = {**stored["resolved"]["layers"]}
        layers = tuple(_with_stored_channels(layer, chosen) for layer in plan.layers)
    except DAMAGED:
        raise UserError(f"{quoted(path)} is damaged or of another script: give another --run, or --overwrite to start "
                        "afresh") from None
    if plan.variant.precision == "auto":
        plan = plan._replace(variant=plan.variant._replace(precision=settings["--precision"]))
    return settings, plan._replace(layers=layers)


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
    return layer._replace(channels=channels)


def _reached(folder: Path, config: DreamConfig, plan: DreamPlan) -> Reached:
    """The frames that are there, and what is stored of the next one."""
    frames = 0
    while frame_path(folder, frames + 1).exists():
        frames += 1

    def fitting(values: checkpoint.Arrays) -> Reached:
        frame, steps = divmod(int(values["step"]), len(plan.sizes_px) * config.steps)
        octaves, rest = divmod(steps, config.steps)
        width, height = plan.sizes_px[octaves - 1]
        if frame != frames or rest or not octaves or values["picture"].shape != (height, width, 3):
            raise ValueError("of another frame")
        return Reached(frames, octaves, np.asarray(values["picture"], np.float32))

    return checkpoint.newest(folder / "checkpoints", fitting) or Reached(frames)


def frame_path(folder: Path, number: int) -> Path:
    """Frames are counted from 1."""
    return folder / "images" / f"frame_{number:05d}.png"


def store_octave(folder: Path, step: int, picture: np.ndarray) -> None:
    """Keeps the picture [H, W, 3] after a finished octave, from which a stopped dream goes on."""
    checkpoint.write(folder / "checkpoints", step, {"step": np.asarray(step), "picture": picture})


def prepare_dream(start: DreamStart, config: DreamConfig, run_config: DreamRunConfig) -> None:
    """Removes what an older run left, unless this one goes on with it, and writes what repeats the run.

    Raises:
        UserError: another process wrote this run since `open_dream`.
        RunError: the folder refuses.
    """
    folder, plan = start.folder, start.plan
    check_unchanged(folder, start.found)
    paths = {item.path: str(Path(item.path).absolute()) for item in plan.inputs}
    whole = complete_dream(config, plan)
    exported = exported_folder(whole.backbone)
    whole = dataclasses.replace(
        whole, content=paths[whole.content], guide=paths.get(whole.guide, whole.guide),
        weights=paths.get(whole.weights, whole.weights),
        backbone=f"{SAVED_MODEL}{paths[exported]}" if exported else whole.backbone)
    placed = dataclasses.replace(run_config, logdir=str(Path(run_config.logdir).absolute()),
                                 output=run_config.output and str(Path(run_config.output).absolute()))
    record = {"nst_tf": nst_tf.__version__, "settings": dream_settings(config, plan), "resolved": _resolved(plan),
              "run": vars(run_config), "inputs": [item._asdict() | {"path": paths[item.path]} for item in plan.inputs],
              "versions": versions(), "platform": sys.platform}
    try:
        if not start.reached.is_something:
            remove_contents(folder)
    except OSError as error:
        raise RunError(f"run folder {quoted(folder)} cannot be prepared ({error.strerror}): give another --run or "
                       "--logdir") from error
    write_atomically(folder / "config.json", (json.dumps(record, indent=2) + "\n").encode())
    write_atomically(folder / "flags.txt", to_flags(whole, placed, leave_out=("run", "overwrite")).encode())


def _resolved(plan: DreamPlan) -> dict[str, Any]:
    """The plan as plain data."""
    return {"excitation": plan.excitation, "octaves": [list(size) for size in plan.sizes_px],
            "layers": {layer.facts.name: {"weight": layer.weight, "channels": layer.channels}
                       for layer in plan.layers}}


def dream_text(config: DreamConfig, plan: DreamPlan) -> dict[str, str]:
    """What a PNG says of its making."""
    # Frames do not depend on how many there will be.
    settings = {flag: value for flag, value in dream_settings(config, plan).items() if flag != "--frames"}
    return picture_text(settings, _resolved(plan))
