"""A look at units as a row of the run machinery: its folder is --output. No TensorFlow."""

import dataclasses
from functools import partial
from pathlib import Path

from nst_tf.backbones.weights.sources import weights_file
from nst_tf.recipes.units.maxima import MaximaState, from_arrays
from nst_tf.recipes.units.plan import UnitsConfig, absolute, resolve_units
from nst_tf.runs import checkpoint
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Options, Recipe
from nst_tf.runs.record import flags_of


def _options(config: UnitsConfig, _: None) -> Options:
    return Options(folder=Path(config.output), flag="--output", overwrite=config.overwrite,
                   checkpoint_every=config.checkpoint_every)


def _state(job: Job) -> MaximaState | None:
    """What is stored of the first pass over the images."""
    if not job.plan.images:
        return None
    layers = [layer.name for layer in job.plan.layers]
    return checkpoint.newest(job.options.place / checkpoint.FOLDER, partial(from_arrays, layers=layers))


def _repeat(job: Job) -> str:
    return flags_of(dataclasses.replace(job.config, images=tuple(map(absolute, job.config.images))), job)


def _stopped(job: Job, last: Progress) -> str:
    if last.unit == "images":
        return f"stopped at image {last.step} of {last.total_steps}; to go on"
    if last.unit == "verified":
        return "stopped after the first pass over the images, which is stored; to go on"
    where = ("while synthesizing, which begins anew" if job.config.has_synthesis
             else f"at sheet {last.step} of {last.total_steps}, all of which are made anew")
    stored = "; what was seen of the images is stored" if job.plan.images else ""
    return f"stopped {where}{stored}; to go on"


UNITS = Recipe(
    name="units", script="visualize_units.py", method=2, engine="nst_tf.recipes.units.steps:session",
    resolve=lambda config, _: resolve_units(config), options=_options,
    fetch=lambda job: weights_file(job.config.backbone, job.plan.weights),
    # A folder takes other units of the same layers: its checkpoints have the maxima of all units.
    compared=lambda job: job.plan.settings | {"--threads": job.config.threads},
    resolved=lambda job: {"layers": {layer.name: layer.channels.written() for layer in job.plan.layers}},
    state=_state, repeat=_repeat, stopped=_stopped, contents=("patches.npz",),  # of earlier versions
    about=lambda job: ", ".join(f"{layer.unit_count} units of {layer.name}" for layer in job.plan.layers))
