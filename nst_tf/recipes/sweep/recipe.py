"""A sweep as a row of the run machinery: a batch whose pictures differ in flags, judged by one network. No TensorFlow.
"""

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from nst_tf.backbones.weights.sources import weights_file
from nst_tf.config import RunConfig, StylizeConfig, check, setting
from nst_tf.recipes.batch.recipe import WORKING, WorkConfig, fetch_weights, options_of, repeat, split
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.compare.recipe import Contestant, judge_weights, parse_contestant
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.recipes.sweep.grid import LARGEST_SWEEP, Cell, cell_names, read_grid
from nst_tf.runs.recipe import Job, Recipe
from nst_tf.runs.record import DAMAGED, Input
from nst_tf.runs.run import plan_job, with_stored
from nst_tf.vocabulary import UserError


@dataclass(frozen=True)
class SweepConfig(WorkConfig):
    """Which flags have which values. The flags of stylize.py hold for all cells."""

    grid: str = setting(
        "", "Flags and their values, as in 'style_scale:0.5,1'. A semicolon stands between flags. A file has a flag on "
        "each line. A value that is a list stands in double quotes, as in 'style:\"a.jpg,b.jpg\",c.jpg'.", group="Look",
        basic=True, placeholder="FLAG:V1,V2;...|FILE")
    random: int = setting(
        0, "Cells to draw by --seed, in place of every combination. A flag may then have a range such as 0.1..10. "
        "Where both ends are above 0, the logarithms are equally likely.", group="Look", minimum=0,
        maximum=LARGEST_SWEEP, placeholder="N")
    judge: str = setting(
        "kmeans=bundled", "Network that measures the results.", group="Network",
        placeholder="NAME[=NAME|FILE]")


@dataclass(frozen=True)
class SweepRunConfig(RunConfig):
    """Where a sweep is kept."""

    output: str = setting("", "Does nothing: each picture is in the folder of its cell.", group="Pictures",
                          placeholder="FILE")
    run: str = setting(
        "", "Name of the folder of the sweep below --logdir. The default is made from the other flags, so that "
        "the same command goes on.", group="Run", basic=True, placeholder="NAME")
    resume: bool = setting(False, "Does nothing: a sweep always goes on where it stopped.", group="Run")
    overwrite: bool = setting(False, "Make every picture anew.", group="Run", basic=True)


class SweepPlan(NamedTuple):
    """What the files and flags of a sweep say."""

    cells: list[Cell]
    tasks: list[Task]            # one for each cell
    judging: Contestant
    inputs: tuple[Input, ...] = ()   # each task has its own


def judge_config(config: StylizeConfig, judging: Contestant) -> StylizeConfig:
    """What judges the cells of one photo, styles and size, whatever else their flags are."""
    return StylizeConfig(content=config.content, style=config.style, style_blend=config.style_blend, size=config.size,
                         min_size=config.long_side_px, backbone=judging.backbone, weights=judging.weights,
                         precision="float32")


def _resolve(config: SweepConfig, run_config: SweepRunConfig) -> SweepPlan:
    if run_config.resume:
        raise UserError("--resume: a sweep always goes on where it stopped; leave it out, or give --overwrite")
    if run_config.output:
        raise UserError("--output: a sweep has many pictures, each in the folder of its cell; leave it out")
    judging = parse_contestant(config.judge, "--judge")
    if judging.missing:
        raise UserError(f"--judge={config.judge}: {judging.missing}")
    cells = read_grid(config.grid, config.random, config.seed)
    shared, of_run = split(config, run_config)
    tasks = []
    for cell, name in zip(cells, cell_names(cells), strict=True):
        try:
            own = dataclasses.replace(shared, **cell)
            check(own)
            STYLIZE.resolve(own, of_run)
        except UserError as error:
            raise UserError(f"cell {name}: {error}") from None
        tasks.append(Task(own, dataclasses.replace(of_run, run=name), name))
    for judged in {judge_config(task.config, judging): None for task in tasks}:
        try:
            resolve(judged)
        except UserError as error:
            raise UserError(f"--judge={config.judge}: {error}") from None
    return SweepPlan(cells, tasks, judging)


# What may differ in the folder of a sweep.
_FREE = (*WORKING, "grid", "random", "judge")


def named_tasks(job: Job) -> list[Task]:
    """The tasks with their places below the folder of the sweep."""
    return [task._replace(run_config=dataclasses.replace(task.run_config, logdir=str(job.options.place)))
            for task in job.plan.tasks]


def _check_cells(job: Job) -> None:
    """Raises `UserError` for a cell that was made with other settings: a folder has no hash of them in its name."""
    if job.options.overwrite:
        return
    for task in named_tasks(job):
        folder = job.options.place / task.name
        if not os.path.lexists(folder):  # a plan decodes the pictures, and nothing is there to compare it with
            continue
        config, stored = task.config, {}
        with contextlib.suppress(*DAMAGED):
            record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            stored = {name: record["settings"][name] for name in ("--precision", "--steps")}
        if stored and config.precision == "auto":
            config = dataclasses.replace(config, precision=stored["--precision"])
        if stored and stored["--steps"] != config.steps:  # which a run of its own may raise
            raise UserError(f"cell {task.name} was made with --steps={stored['--steps']}: give that, another --run, or "
                            "--overwrite")
        with_stored(plan_job(STYLIZE, config, dataclasses.replace(task.run_config, resume=True)))


def _fetch(job: Job) -> None:
    fetch_weights([task.config for task in job.plan.tasks])
    with judge_weights(job.plan.judging):
        weights_file(job.plan.judging.backbone, job.plan.judging.weights)


def _repeat(job: Job) -> str:
    """The flag file by which a sweep goes on, from any folder but for what --grid names."""
    return repeat(job, ("content", "grid") if os.path.isfile(job.config.grid) else ("content",))


SWEEP = Recipe(
    name="sweep", script="run_sweep.py", method=1, engine="nst_tf.recipes.sweep.steps:session", resolve=_resolve,
    options=partial(options_of, "sweep", free=_FREE), fetch=_fetch, state=_check_cells, compared=lambda job: {},
    repeat=_repeat, needs_tensorflow=False, has_threads=False, about=lambda job: f"sweep {job.options.folder}",
    stopped=lambda job, last: f"stopped after {last.step} of {last.total_steps} pictures; to go on")
