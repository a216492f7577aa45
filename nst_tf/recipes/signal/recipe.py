"""The style of signals as a row of the run machinery: what is checked, recorded and written. No TensorFlow."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from nst_tf.io.signals import write_signal
from nst_tf.optimize.state import State, averaged_rows, from_arrays
from nst_tf.recipes.signal.plan import (
    SignalConfig, SignalPlan, SignalRunConfig, check_signal_output, complete_signal, resolve_signal,
)
from nst_tf.recipes.signal.results import finisher, lowered_db, suffix_of, write_plots
from nst_tf.runs import checkpoint
from nst_tf.runs.folder import run_options
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Recipe, Writer, Written
from nst_tf.runs.record import prolonged_flags
from nst_tf.runs.session import tensorboard_line
from nst_tf.strips import filled

# A result that is softer than the content by less than this is said to have its level.
SAME_DB = 0.1


def _resolve(config: SignalConfig, run_config: SignalRunConfig) -> SignalPlan:
    plan = resolve_signal(config)
    check_signal_output(run_config, plan)
    return plan


def _resolved(job: Job) -> dict[str, Any]:
    plan: SignalPlan = job.plan
    objective = plan.objective
    return {"samples": len(plan.content.values), "channels": plan.hearing.channels, "rate_hz": plan.content.rate_hz,
            "window": plan.hearing.window, "content_layers": dict(objective.content_layers),
            "style_layers": dict(objective.style_layers), "term_weights": objective.weights._asdict(),
            "rhythm_layers": [layer._asdict() for layer in objective.rhythm_layers],
            "decay_steps": job.decided.decay_steps}


class SignalDecided(NamedTuple):
    """Over how many steps the learning rate falls; steps that a resume adds go on at its end value."""

    decay_steps: int


def _state(job: Job) -> State | None:
    shape = (1, *job.plan.content.values.shape)

    def read(values: Mapping[str, Any]) -> State:
        state = from_arrays(values)
        if state.average.shape != shape:
            raise ValueError("of another signal")
        return state

    return checkpoint.newest(job.options.place / checkpoint.FOLDER, read)


def _writer(job: Job) -> Writer:
    plan, run_config, folder = job.plan, job.run_config, job.options.place
    finish = finisher(plan)

    def write(last: Progress | None) -> Written:
        signal = finish(filled(averaged_rows(last.state if last else job.state)))
        paths = [str(folder / f"output{suffix_of(plan.content)}"), *filter(None, [run_config.output])]
        remarks = [write_signal(path, signal, like=plan.content) for path in paths][-1]
        softer = lowered_db(plan, signal) if plan.content.is_sound else 0.0
        notes = [f"softer:      by {softer:.1f} dB, so that nothing is beyond full scale"] * (softer > SAME_DB)
        notes += [f"note:        {remark}" for remark in remarks]
        plots = ", ".join(write_plots(folder, plan, signal, run_config.plot))
        return Written((f"signal:      {paths[-1]}", *notes, f"run folder:  {folder}",
                        *([f"plots:       {plots}"] if plots else ()),
                        tensorboard_line(run_config.logdir)))

    return write


SIGNAL = Recipe(
    name="signal", script="stylize_signal.py", method=1, engine="nst_tf.recipes.signal.steps:session",
    resolve=_resolve, options=run_options, writer=_writer, complete=lambda job: complete_signal(job.config, job.plan),
    resolved=_resolved, state=_state,
    decided=lambda job, record: SignalDecided(int(record["resolved"]["decay_steps"])),
    is_finished=lambda job: job.state.step >= job.config.steps,
    contents=("events.*", "images/step_*.png", "signals/step_*", "output.*", "plot.png", "paper.png"),
    growing="--steps",
    repeat=lambda job: prolonged_flags(complete_signal(job.config, job.plan), job.decided.decay_steps, job),
    stopped=lambda job, last: f"stopped at step {last.step} of {last.total_steps}, signal and state are stored; to go "
    "on", too_large="the signal does not fit into memory: give a shorter one")
