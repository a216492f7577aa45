"""A sweep as a row of the run machinery: a batch whose pictures differ in flags, judged by one network. No TensorFlow.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from nst_tf.backbones.weights.sources import WeightsError, weights_file
from nst_tf.config import RunConfig, StylizeConfig, check, setting
from nst_tf.recipes.batch.recipe import WORKING, WorkConfig, options_of, repeat, split
from nst_tf.recipes.batch.ray_flags import check_answers
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.contestants import Contestant, parse_judge
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
    """Where the folders of the cells are kept."""

    output: str = setting("", "Does nothing: each picture is in a folder of its own below that of the run.",
                          group="Pictures", placeholder="FILE")
    run: str = setting(
        "", "Name of the folder below --logdir that holds a folder for each picture. The default is made from the "
        "other flags, so that the same command goes on.", group="Run", basic=True, placeholder="NAME")
    resume: bool = setting(False, "Does nothing: the same command always goes on where it stopped.", group="Run")
    overwrite: bool = setting(False, "Make every picture anew.", group="Run", basic=True)


class SweepPlan(NamedTuple):
    """What the files and flags of a sweep say."""

    cells: dict[str, Cell]       # {name of its folder: the flags in which it differs}
    tasks: list[Task]            # one for each cell that can be made
    judging: Contestant
    shared: StylizeConfig        # the flags of all cells
    inputs: tuple[Input, ...] = ()   # each task has its own
    left_out: Mapping[str, str] | None = None   # {cell: why it has no task}; None: every cell is to be made

    @property
    def flags(self) -> list[str]:
        """The flags in which the cells differ."""
        return list(next(iter(self.cells.values())))


def judge_config(config: StylizeConfig, judging: Contestant, flags: Collection[str] = ()) -> StylizeConfig:
    """What judges the cells of one photo, styles and size.

    Args:
        flags: those in which cells differ. Of these, no others change the judge.
    """
    also = {name: getattr(config, name) for name in ("style_scale", "seed") if name not in flags}
    return StylizeConfig(content=config.content, style=config.style, style_blend=config.style_blend, size=config.size,
                         min_size=config.long_side_px, backbone=judging.backbone, weights=judging.weights,
                         precision="float32", **also)


def check_folder_flags(run_config: RunConfig) -> None:
    """Raises `UserError` for flags of a single picture."""
    if run_config.resume:
        raise UserError("--resume: the same command always goes on where it stopped; leave it out, or give --overwrite")
    if run_config.output:
        raise UserError("--output: there are many pictures, each in a folder of its own below --run; leave it out")


def plan_cell(name: str, cell: Cell, shared: StylizeConfig, of_run: RunConfig) -> Task:
    """The task of a cell.

    Raises:
        UserError: it cannot be made so.
    """
    own = dataclasses.replace(shared, **cell)
    check(own)
    STYLIZE.resolve(own, of_run)
    return Task(own, dataclasses.replace(of_run, run=name), name)


def _resolve(config: SweepConfig, run_config: SweepRunConfig) -> SweepPlan:
    check_folder_flags(run_config)
    judging = parse_judge(config.judge)
    cells = read_grid(config.grid, config.random, config.seed)
    shared, of_run = split(config, run_config)
    plan = SweepPlan(dict(zip(cell_names(cells), cells, strict=True)), [], judging, shared)
    for name, cell in plan.cells.items():
        try:
            plan.tasks.append(plan_cell(name, cell, shared, of_run))
        except UserError as error:
            raise UserError(f"cell {name}: {error}") from None
    for judged in {judge_config(task.config, judging, plan.flags): None for task in plan.tasks}:
        try:
            resolve(judged)
        except UserError as error:
            raise UserError(f"--judge={config.judge}: {judging.said(error)}") from None
    return plan


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


@contextlib.contextmanager
def judge_weights(judging: Contestant) -> Iterator[None]:
    """Says of the judge's weights, where they cannot be had, what helps."""
    try:
        yield
    except WeightsError as error:
        raise UserError(f"--judge: {judging.said(error)}, or give another judge") from None


def _fetch(job: Job) -> None:
    check_answers(job.config.ray_address)
    judging = job.plan.judging
    with judge_weights(judging):
        weights_file(judging.backbone, judging.weights)


SWEEP = Recipe(
    name="sweep", script="run_sweep.py", method=1, engine="nst_tf.recipes.sweep.steps:session", resolve=_resolve,
    options=partial(options_of, "sweep", free=(*WORKING, "grid", "random", "judge")), fetch=_fetch, state=_check_cells,
    compared=lambda job: {}, repeat=repeat, needs_tensorflow=False, has_threads=False,
    about=lambda job: f"sweep {job.options.folder}",
    stopped=lambda job, last: f"stopped after {last.step} of {last.total_steps} pictures; to go on")
