"""Training a network of one forward pass as a row of the run machinery. No TensorFlow."""

import dataclasses

from nst_tf.backbones.weights.sources import weights_file
from nst_tf.generators.files import save
from nst_tf.generators.weights import unflat
from nst_tf.optimize.state import State, average_of, from_arrays
from nst_tf.recipes.fast.plan import FastConfig, decided_before, resolve
from nst_tf.runs import checkpoint
from nst_tf.runs.folder import run_options
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Recipe, Writer, Written
from nst_tf.runs.session import tensorboard_line

# The folder of the network in that of the run.
FOLDER = "network"


def _state(job: Job) -> State | None:
    return checkpoint.newest(job.options.place / checkpoint.FOLDER, from_arrays)


def _complete(job: Job) -> FastConfig:
    precision = (job.decided or job.plan).variant.precision
    return dataclasses.replace(job.config, precision=precision, weights=job.plan.weights,
                               steps=job.decided.steps if job.decided else job.config.steps)


def _writer(job: Job) -> Writer:
    config, plan = job.config, job.plan
    folders = [str(job.options.place / FOLDER), *filter(None, [job.run_config.output])]

    def write(last: Progress | None) -> Written:
        state: State = last.state if last else job.state
        weights = unflat(plan.network, len(plan.styles), average_of(state))
        facts = {"steps": state.step, "size": config.size, "backbone": config.backbone, "weights": plan.weights,
                 "photos": len(plan.photos), "seed": config.seed}
        for folder in folders:
            save(folder, config.width, config.residuals, weights, plan.styles, facts)
        return Written((f"network:     {folders[-1]}", f"run folder:  {job.options.folder}",
                        tensorboard_line(job.run_config.logdir, "--samples_per_plugin", "images=500")))

    return write


FAST = Recipe(
    name="fast", script="train_fast.py", method=1, engine="nst_tf.recipes.fast.steps:session", resolve=resolve,
    options=run_options, fetch=lambda job: weights_file(job.config.backbone, job.plan.weights), writer=_writer,
    complete=_complete, resolved=lambda job: {
        "steps": job.decided.steps if job.decided else job.config.steps, "copies_px": list(job.plan.copies_px),
        "term_weights": job.plan.objective.weights._asdict()},
    decided=lambda job, record: decided_before(job.plan, record, job.config.steps),
    state=_state, is_finished=lambda job: job.state.step >= job.decided.steps,
    contents=("events.*", "images/step_*.png", f"{FOLDER}/*"), growing="--steps",
    stopped=lambda job, last: f"stopped at step {last.step} of {last.total_steps}; to go on",
    too_large="the training does not fit into memory: give a smaller --batch or --crop")
