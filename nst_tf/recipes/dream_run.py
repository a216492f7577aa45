"""A run of `dream`: its folder, what it goes on from, TensorBoard, signals. Every side effect of a dream is here.

No TensorFlow here until everything that a user may have got wrong is checked.
"""

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from nst_tf.io import images
from nst_tf.io.animation import save_animation
from nst_tf.io.files import write_atomically
from nst_tf.recipes.dream_channels import listing, summary
from nst_tf.recipes.dream_folder import (
    DreamStart, dream_text, frame_path, open_dream, prepare_dream, store_octave,
)
from nst_tf.recipes.dream_plan import (
    DreamConfig, DreamRunConfig, Reached, check_dream_output, is_animation, resolve_dream,
)
from nst_tf.recipes.folder import check_unchanged, locked
from nst_tf.recipes.run import beside_python, memory_errors, say, stop_signals
from nst_tf.runtime import start_tensorflow
from nst_tf.track.progress import CountBar
from nst_tf.vocabulary import RunError

if TYPE_CHECKING:
    from nst_tf.recipes.dream import DreamStep


def run(config: DreamConfig, run_config: DreamRunConfig) -> int:
    """Dreams into a run folder; a dream that was stopped goes on after the last octave that was finished.

    Returns:
        the exit status: 0, or 130 / 143 when a signal stopped it.
    Raises:
        UserError: a setting or a file is wrong, before any long work.
    """
    plan = resolve_dream(config)
    check_dream_output(config, run_config, plan)
    start = open_dream(config, run_config, plan)
    reached = start.reached
    if reached.frame == config.frames:
        with memory_errors(), locked(start.folder):
            check_unchanged(start.folder, start.found)
            last = images.load(frame_path(start.folder, reached.frame))
            return _finish(config, run_config, start, Reached(reached.frame, 0, last), [])
    say(f"nst_tf: {start_tensorflow()}, run {start.folder}")
    with memory_errors():
        from nst_tf.recipes import dream
        from nst_tf.recipes.precision import decided_variant

        plan = start.plan._replace(variant=decided_variant(start.plan.variant))
        _say_what_to_expect(config, start)
        photo, sight = dream.set_up(config, plan)
        start = start._replace(plan=plan._replace(layers=sight.layers))
        first = images.load(frame_path(start.folder, reached.frame)) if reached.frame else photo
        steps = dream.dream(config, start.plan, sight, first, reached)
        with locked(start.folder), stop_signals() as received:
            prepare_dream(start, config, run_config)
            if start.plan.excitation == "caricature":
                _list_channels(start, sight.responses)
            return _finish(config, run_config, start, _follow(config, start, steps, received), received)


def _list_channels(start: DreamStart, responses: Mapping[str, np.ndarray]) -> None:
    """Says and writes what a caricature exaggerates."""
    for layer, response in responses.items():
        print(f"channels of {summary(layer, response)}")
    write_atomically(start.folder / "channels.txt", listing(start.plan.layers, responses).encode())


def _say_what_to_expect(config: DreamConfig, start: DreamStart) -> None:
    if config.backbone == "kmeans" or start.plan.weights == "random":
        say("nst_tf: this network has not been trained on objects: expect textures only, no motifs")
    frame, octaves, _ = start.reached
    if start.reached.is_something:
        where = f", octave {octaves + 1} of {len(start.plan.sizes_px)}" if octaves else ""
        say(f"nst_tf: continues at frame {frame + 1} of {config.frames}{where}")


def _follow(config: DreamConfig, start: DreamStart, steps: Iterator["DreamStep"], received: list[int]) -> Reached:
    """Follows the dream to its end or a signal; returns what is done, with the picture after the last step."""
    from nst_tf.track.tensorboard import Stream

    folder, (frame, octaves, _) = start.folder, start.reached
    text, of_frame = dream_text(config, start.plan), len(start.plan.sizes_px) * config.steps
    done = frame * of_frame + octaves * config.steps
    stream = Stream(folder, done)
    bar = CountBar(sys.stderr, time.monotonic, config.frames * of_frame, done, "steps")
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
                frame, octaves = step.frame + 1, 0
                images.save(frame_path(folder, frame), picture, text=text)
            elif step.ends_octave:
                octaves = step.octave + 1
                store_octave(folder, step.step, picture)
            if received:
                break
    return Reached(frame, octaves, picture)


def _finish(config: DreamConfig, run_config: DreamRunConfig, start: DreamStart, reached: Reached,
            received: list[int]) -> int:
    """Writes the picture or the animation and says where it is, or how to go on."""
    folder, text, picture = start.folder, dream_text(config, start.plan), reached.picture
    assert picture is not None
    images.save(folder / "output.png", picture, text=text)
    if is_animation(config, run_config):
        if reached.frame:
            frames = [frame_path(folder, number + 1) for number in range(reached.frame)]
            save_animation(run_config.output, frames, run_config.fps)
    elif run_config.output:
        images.save(run_config.output, picture, text=text)
    if received and reached.frame < config.frames:
        more = f" and {reached.octaves} of {len(start.plan.sizes_px)} octaves of the next" * bool(reached.octaves)
        say(f"nst_tf: stopped, {reached.frame} of {config.frames} frames{more} are done and the picture so far is in "
            f"{folder / 'output.png'}; {'to go on' if reached.is_something else 'to begin anew'}: "
            f"{beside_python('python')} scripts/dream.py --flagfile={shlex.quote(str(folder / 'flags.txt'))} "
            f"--run={folder.name}")
        return 128 + received[0]
    print(f"picture:     {run_config.output or folder / 'output.png'}")
    print(f"run folder:  {folder}")
    print(f"TensorBoard: {beside_python('tensorboard')} --logdir {shlex.quote(run_config.logdir)}")
    return 0
