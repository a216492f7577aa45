"""A run of `dream`: its folder, what it goes on from, TensorBoard, signals. Every side effect of a dream is here.

No TensorFlow here until everything that a user may have got wrong is checked.
"""

import contextlib
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import nst_tf
from nst_tf.backbones.saved_model_facts import SAVED_MODEL, exported_folder
from nst_tf.config import RunConfig, StylizeConfig, to_flags
from nst_tf.io import images
from nst_tf.io.animation import save_animation
from nst_tf.io.files import check_writable, quoted, write_atomically
from nst_tf.recipes.folder import (
    check_inputs_survive, check_is_run_or_empty, differences, locked, picture_text, remove_contents, run_name, versions,
)
from nst_tf.recipes.dream_plan import (
    DreamConfig, DreamPlan, DreamRunConfig, check_dream_output, complete_dream, dream_settings, is_animation,
    resolve_dream,
)
from nst_tf.recipes.run import beside_python, memory_errors, say, stop_signals
from nst_tf.runtime import start_tensorflow
from nst_tf.track.progress import CountBar
from nst_tf.vocabulary import RunError, UserError

if TYPE_CHECKING:
    from nst_tf.recipes.dream import DreamStep


def run(config: DreamConfig, run_config: DreamRunConfig) -> int:
    """Dreams into a run folder; a zoom that was stopped goes on at its first missing frame.

    Returns:
        the exit status: 0, or 130 / 143 when a signal stopped it.
    Raises:
        UserError: a setting or a file is wrong, before any long work.
    """
    plan = resolve_dream(config)
    check_dream_output(config, run_config, plan)
    folder = Path(run_config.logdir) / run_name(
        StylizeConfig(content=config.content), RunConfig(run=run_config.run, logdir=run_config.logdir))
    plan, frames = _goes_on(folder, config, run_config, plan)
    if frames == config.frames:
        return _finish(folder, config, run_config, plan, images.load(_frame(folder, frames)), frames, [])
    say(f"nst_tf: {start_tensorflow()}, run {folder}")
    with memory_errors():
        from nst_tf.recipes import dream
        from nst_tf.recipes.precision import decided_variant

        plan = plan._replace(variant=decided_variant(plan.variant))
        _say_what_to_expect(config, plan, frames)
        photo, sight = dream.set_up(config, plan)
        start = images.load(_frame(folder, frames)) if frames else photo
        steps = dream.dream(config, plan, sight, start, frames)
        with locked(folder), stop_signals() as received:
            _prepare(folder, config, run_config, plan, frames)
            picture, frames = _follow(folder, config, plan, steps, frames, received)
            return _finish(folder, config, run_config, plan, picture, frames, received)


def _say_what_to_expect(config: DreamConfig, plan: DreamPlan, frames: int) -> None:
    if config.backbone == "kmeans" or plan.weights == "random":
        say("nst_tf: this network has not been trained on objects: expect textures only, no motifs")
    if frames:
        say(f"nst_tf: continues at frame {frames + 1} of {config.frames}")


def _frame(folder: Path, number: int) -> Path:
    """Frames are counted from 1."""
    return folder / "images" / f"frame_{number:05d}.png"


def _goes_on(folder: Path, config: DreamConfig, run_config: DreamRunConfig, plan: DreamPlan) -> tuple[DreamPlan, int]:
    """The plan and how many frames are there already; nothing is written yet. Of a finished run, `--output` is.

    Raises:
        UserError: the folder holds another or a finished run, no run, or one of the inputs; or cannot be written.
    """
    check_writable(folder / "config.json", "--logdir")
    check_is_run_or_empty(folder)
    check_inputs_survive(folder, plan.inputs)
    if run_config.overwrite or not (folder / "config.json").exists():
        return plan, 0
    try:
        stored: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["settings"]
        if plan.variant.precision == "auto":
            plan = plan._replace(variant=plan.variant._replace(precision=stored["--precision"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{quoted(folder / 'config.json')} is damaged or of another script: give another --run, or "
                        "--overwrite to start afresh") from None
    different = [flag for flag in differences(stored, dream_settings(config, plan)) if flag != "--frames"]
    if different:
        raise UserError(f"run '{folder.name}' exists with other settings ({', '.join(different)} differ): give another "
                        "--run, or --overwrite to start it afresh")
    frames = 0
    while _frame(folder, frames + 1).exists():
        frames += 1
    if frames > config.frames or (frames == config.frames and not run_config.output):
        raise UserError(f"run '{folder.name}' is finished: give --output to write its picture, another --run, more "
                        "--frames, or --overwrite to start it afresh")
    return plan, frames


def _prepare(folder: Path, config: DreamConfig, run_config: DreamRunConfig, plan: DreamPlan, frames: int) -> None:
    """Removes what an older run left, unless this one goes on with it, and writes what repeats the run."""
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
        if not frames:
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


def _text(config: DreamConfig, plan: DreamPlan) -> dict[str, str]:
    """What a PNG says of its making."""
    # Frames do not depend on how many there will be.
    settings = {flag: value for flag, value in dream_settings(config, plan).items() if flag != "--frames"}
    return picture_text(settings, _resolved(plan))


def _follow(folder: Path, config: DreamConfig, plan: DreamPlan, steps: Iterator["DreamStep"], frames: int,
            received: list[int]) -> tuple[images.FloatImage, int]:
    """Follows the dream to its end or a signal; returns the last picture and how many frames are written."""
    from nst_tf.track.tensorboard import Stream

    text, of_frame = _text(config, plan), len(plan.sizes_px) * config.steps
    stream = Stream(folder)
    bar = CountBar(sys.stderr, time.monotonic, config.frames * of_frame, frames * of_frame, "steps")
    with contextlib.closing(stream), contextlib.closing(bar):
        for step in steps:
            bar(step.step)
            picture = step.picture[0].numpy()
            if not np.isfinite(picture).all():
                raise RunError(f"the picture is no longer finite at step {step.step}: give a smaller --step_size")
            shown = {f"octave/{step.octave + 1}": picture} if step.ends_octave else {}
            stream(step.step, {"dream/excitation": step.excitation}, shown)
            if step.ends_octave:
                images.save(folder / "output.png", picture, text=text)
            if step.ends_frame:
                frames = step.frame + 1
                images.save(_frame(folder, frames), picture, text=text)
            if received:
                break
    return picture, frames


def _finish(folder: Path, config: DreamConfig, run_config: DreamRunConfig, plan: DreamPlan, picture: images.FloatImage,
            frames: int, received: list[int]) -> int:
    """Writes the picture or the animation and says where it is, or how to go on."""
    output, text = run_config.output, _text(config, plan)
    images.save(folder / "output.png", picture, text=text)
    if is_animation(config, run_config):
        if frames:
            save_animation(output, [_frame(folder, number + 1) for number in range(frames)], run_config.fps)
    elif output:
        images.save(output, picture, text=text)
    if received and frames < config.frames:
        again = f"{beside_python('python')} scripts/dream.py --flagfile={shlex.quote(str(folder / 'flags.txt'))} " \
                f"--run={folder.name}"
        say(f"nst_tf: stopped, {frames} of {config.frames} frames are done and the picture so far is in "
            f"{folder / 'output.png'}; {'to go on' if config.frames > 1 else 'to begin anew'}: {again}")
        return 128 + received[0]
    print(f"picture:     {output or folder / 'output.png'}")
    print(f"run folder:  {folder}")
    print(f"TensorBoard: {beside_python('tensorboard')} --logdir {shlex.quote(run_config.logdir)}")
    return 0
