"""Style transfer as a row of the run machinery: what is checked, recorded and written. No TensorFlow."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.backbones.weights.sources import weights_file
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.io import images
from nst_tf.optimize.state import State, averaged_rows, from_arrays
from nst_tf.recipes.stylize.finish import finisher
from nst_tf.recipes.stylize.plan import Plan, check_is_no_input, complete, decided_before, resolve, resolved
from nst_tf.runs import checkpoint
from nst_tf.runs.folder import run_options
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Recipe, Writer, Written
from nst_tf.runs.record import picture_text, prolonged_flags
from nst_tf.runs.session import tensorboard_line
from nst_tf.runtime import start_tensorflow
from nst_tf.strips import Picture
from nst_tf.types import Array, Tensor
from nst_tf.vocabulary import UserError

ALL_PICTURES = ("--samples_per_plugin", "images=500")


def _resolve(config: StylizeConfig, run_config: RunConfig) -> Plan:
    plan = resolve(config)
    if run_config.own_size and not config.content:
        raise UserError("--own_size needs --content: give a photo, or leave it out; --size is a texture's side")
    check_picture_output(config, run_config, plan)
    return plan


def check_picture_output(config: StylizeConfig, run_config: RunConfig, plan: Any) -> None:
    """Raises `UserError` unless `picture_writer` can write `--output`.

    Args:
        plan: has the `content_size_px` and the `inputs` of a picture.
    """
    output, bit_depth = run_config.output, run_config.bit_depth
    if bit_depth not in (8, 16):
        raise UserError(f"--bit_depth={bit_depth} is out of range: give 8 or 16")
    if output:
        images.check_output(output, max(plan.content_size_px) if run_config.own_size else config.long_side_px,
                            bit_depth=bit_depth)
        check_is_no_input(output, plan.inputs)


class Stored(NamedTuple):
    """The state that a run goes on from, on the disk: in memory it is four pictures for as long as the job is."""

    step: int
    folder: Path

    def load(self, keep: Callable[[Array], Tensor] = np.asarray) -> State:
        """Reads it; see `from_arrays`."""
        state = checkpoint.newest(self.folder, partial(from_arrays, keep=keep))
        assert state is not None and state.step == self.step, "the folder is locked"
        return state


def _stored(job: Job) -> Stored | None:
    folder = job.options.place / checkpoint.FOLDER
    state = checkpoint.newest(folder, from_arrays)
    return Stored(state.step, folder) if state else None


def _repeat(job: Job) -> str:
    steps = sum(stage.decay_steps for stage in job.decided.stages)
    return prolonged_flags(complete(job.config, job.plan, job.decided), steps, job)


def picture_writer(job: Job) -> Callable[[Picture], tuple[str, ...]]:
    """What finishes a picture, writes it into the run folder and to `--output`, and returns lines that say where.

    It reads at once what it needs.
    """
    run_config, text = job.run_config, picture_text(job)
    paths = [str(job.options.place / "output.png"), *filter(None, [run_config.output])]
    if run_config.bit_depth == 16:
        start_tensorflow(job.config.threads)  # it writes the PNG
    finish = finisher(job.config, job.plan, own_size=run_config.own_size)

    def write(picture: Picture) -> tuple[str, ...]:
        finished = finish(picture)
        for path in paths:
            images.save(path, finished, text=text, bit_depth=run_config.bit_depth)
        return f"picture:     {paths[-1]}", f"run folder:  {job.options.folder}"

    return write


def _writer(job: Job) -> Writer:
    write_picture = picture_writer(job)

    def write(last: Progress | None) -> Written:
        lines = write_picture(averaged_rows(last.state if last else job.state.load()))
        return Written((*lines, tensorboard_line(job.run_config.logdir, *ALL_PICTURES)))

    return write


STYLIZE = Recipe(
    name="stylize", script="stylize.py",
    method=4,  # 2: style on copies of --motif_size. 3: other rounding with --dream. 4: faster steps, other rounding.
    engine="nst_tf.recipes.stylize.steps:session", resolve=_resolve, options=run_options,
    fetch=lambda job: weights_file(job.config.backbone, job.plan.weights), writer=_writer,
    complete=lambda job: complete(job.config, job.plan, job.decided),
    resolved=lambda job: resolved(job.plan, job.decided),
    decided=lambda job, record: decided_before(job.plan, record, job.config.steps),
    state=_stored,
    is_finished=lambda job: job.state.step >= job.decided.total_steps,
    repeat=_repeat, contents=("events.*", "images/step_*.png", "output.png"), growing="--steps",
    stopped=lambda job, last: f"stopped at step {last.step} of {last.total_steps}, picture and state are stored; to go "
    "on")
