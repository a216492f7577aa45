"""A batch as a row of the run machinery: many pictures, each an ordinary run below its folder. No TensorFlow."""

import dataclasses
import itertools
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from nst_tf.backbones.table import check_weights
from nst_tf.backbones.weights.sources import weights_file
from nst_tf.config import RunConfig, StylizeConfig, absolute_paths, setting, to_flags
from nst_tf.io.files import check_readable
from nst_tf.recipes.batch.ray_flags import check_answers, check_ray
from nst_tf.recipes.batch.tasks import Shape, Task, plan_tasks, settings_hash, styles_of, task_of
from nst_tf.recipes.batch.watch import find_photos
from nst_tf.recipes.paint.recipe import recipe_of
from nst_tf.runs.folder import run_options
from nst_tf.runs.recipe import Job, Options, Recipe
from nst_tf.runs.record import Input
from nst_tf.runtime import usable_cores
from nst_tf.vocabulary import EngineName, UserError

LARGEST_WORKERS = 1024


@dataclass(frozen=True)
class WorkConfig(StylizeConfig):
    """The flags of stylize.py, and by which workers many pictures are made."""

    workers: int = setting(
        1, "Pictures that are made at the same time. 1 is this very process, more are processes of their own.",
        group="Work", basic=True, minimum=1, maximum=LARGEST_WORKERS, placeholder="N")
    engine: EngineName = setting(
        "local", "Where the workers are. local is this machine. ray is Ray, on this machine or on the cluster of "
        "--ray_address. pip install -e '.[ray]' brings it.", group="Work", choices=EngineName)
    ray_address: str = setting(
        "", "The Ray cluster whose machines work. auto is the one that runs on this machine. Without it, --engine=ray "
        "starts Ray on this machine alone.", group="Work", placeholder="HOST:PORT|auto")
    ship_files: bool = setting(
        False, "Send the files to Ray's workers and the results back, where the machines share no disk.", group="Work")
    job_timeout: float = setting(
        0.0, "Seconds after which a picture's worker is ended and the picture tried again, three times in all. 0 waits "
        "for ever.", group="Work", minimum=0, placeholder="SECONDS")
    jobs_per_worker: int = setting(
        0, "Pictures after which a worker process is replaced by a fresh one. 0 keeps it.", group="Work", minimum=0,
        placeholder="N")
    worker_memory: int = setting(
        0, "Memory in MB beyond which a worker process is replaced after a picture. 0 is no limit.", group="Work",
        minimum=0, placeholder="MB")


@dataclass(frozen=True)
class BatchConfig(WorkConfig):
    """Which pictures are made. The flags of stylize.py hold for all of them."""

    content: str = setting(
        "", "The photos: a folder, a pattern such as 'photos/*.jpg', or one file.", group="Pictures", basic=True,
        placeholder="FOLDER|PATTERN")
    style: tuple[str, ...] = setting(
        (), "The paintings. A folder or a pattern gives every photo one picture in each style. Several files are "
        "blended.", group="Pictures", basic=True, placeholder="FOLDER|PATTERN|FILE,...")
    jobs: str = setting(
        "", "A file with a job on each line, in place of --content. .jsonl has an object a line, .csv a header. The "
        "keys are flags, and override those of the command line.", group="Pictures", basic=True, placeholder="FILE")
    watch: bool = setting(
        False, "Wait for more photos: they are taken as they arrive in the folder or pattern of --content, until "
        "Ctrl-C.", group="Pictures")


@dataclass(frozen=True)
class BatchRunConfig(RunConfig):
    """Where a batch is kept, and how its pictures are written."""

    output: str = setting(
        "", "The pictures to write, as in 'out/{content}_{style}.png'. The braces stand for the names of the files. "
        "Without it, the pictures are in their run folders alone.", group="Pictures", basic=True, placeholder="FILE")
    run: str = setting(
        "", "Name of the folder of the batch below --logdir. The default is made from the flags and jobs, so that the "
        "same command goes on.", group="Run", placeholder="NAME")
    resume: bool = setting(
        False, "Does nothing: a batch always goes on where it stopped.", group="Run")
    overwrite: bool = setting(
        False, "Make every picture anew.", group="Run", basic=True)


class BatchPlan(NamedTuple):
    """What the files and flags of a batch say."""

    tasks: list[Task]
    inputs: tuple[Input, ...] = ()   # each task has its own


def split(config: WorkConfig, run_config: RunConfig) -> tuple[StylizeConfig, RunConfig]:
    """The flags that hold for every picture, as those of one, whose folder has no name yet."""
    return _of(StylizeConfig, config), dataclasses.replace(_of(RunConfig, run_config), run="")


def _of(kind: Any, config: Any) -> Any:
    return kind(**{field.name: getattr(config, field.name) for field in dataclasses.fields(kind)})


def _resolve(config: BatchConfig, run_config: BatchRunConfig) -> BatchPlan:
    if run_config.resume:
        raise UserError("--resume: a batch always goes on where it stopped; leave it out, or give --overwrite")
    if not config.jobs and not config.content:
        raise UserError("--content is missing: give a folder of photos or a pattern such as 'photos/*.jpg', or "
                        "--jobs=FILE")
    if config.watch and (config.jobs or os.path.isfile(config.content)):
        raise UserError("--watch needs a folder or a pattern: give --content=FOLDER")
    # A folder that is watched may be empty yet.
    if config.watch and not find_photos(config.content):
        for style in itertools.chain(*styles_of(config.style)):
            check_readable(style, "--style")
        return BatchPlan([])
    tasks = plan_tasks(Shape(config.jobs, config.content, config.style), *_of_all(config, run_config))
    check_any_can_run(tasks)
    return BatchPlan(tasks)


def tasks_of_photo(config: BatchConfig, run_config: RunConfig, photo: str) -> list[Task]:
    """The tasks of a photo that has arrived: one for each style."""
    of_all = _of_all(config, run_config)
    return [task_of(photo, style, *of_all) for style in styles_of(config.style)]


def _of_all(config: BatchConfig, run_config: RunConfig) -> tuple[StylizeConfig, RunConfig]:
    """The flags that hold for every picture, but for photo and styles, which the batch has its own way to name."""
    return split(dataclasses.replace(config, content="", style=()), run_config)


# Flags that say how the work is done, not which pictures come of it.
WORKING = ("watch", "workers", "engine", "ray_address", "ship_files", "job_timeout", "jobs_per_worker", "worker_memory",
           "threads")


def check_any_can_run(tasks: list[Task]) -> None:
    """Raises the first task's `UserError` where no task can run; a batch makes what can be made."""
    first: UserError | None = None
    for task in tasks:
        try:
            recipe_of(task.config).resolve(task.config, task.run_config)
            return
        except UserError as error:
            first = first or UserError(f"{task.source}: {error}")
    if first is not None:
        raise first


def options_of(kind: str, config: WorkConfig, run_config: RunConfig, free: Collection[str] = WORKING) -> Options:
    """The options of the folder around many pictures; without a name, the same flags and files go on in one.

    Args:
        kind: begins the name that is made.
        free: flags that may differ in one folder.
    Raises:
        UserError: a flag is of Ray's workers, and there are none.
    """
    check_ray(config)
    given = {name: value for name, value in vars(config).items() if name not in free}
    name = run_config.run or f"{kind}-{settings_hash(given)}"
    return run_options(config, dataclasses.replace(run_config, run=name))._replace(log_every=None)


def workers_threads(config: WorkConfig) -> int:
    """The threads of each worker: as given, or the cores divided by the workers."""
    return config.threads or max(1, usable_cores() // config.workers)


def repeat(job: Job) -> str:
    """The flag file by which the pictures of a job go on, from any folder but for what is named in files and grids."""
    run_config = dataclasses.replace(job.run_config, run=job.options.place.name, overwrite=False)
    return to_flags(absolute_paths(job.config), absolute_paths(run_config))


def network_of(config: StylizeConfig) -> tuple[str, str]:
    """By what `unfetched` knows the network of a config."""
    return config.backbone, config.weights


def unfetched(configs: Iterable[StylizeConfig]) -> dict[tuple[str, str], UserError]:
    """Fetches the weights of every network. Returns {network: why its weights are not here}."""
    errors = {}
    for backbone, weights in sorted(set(map(network_of, configs))):
        try:
            weights_file(backbone, check_weights(backbone, weights))
        except UserError as error:
            errors[backbone, weights] = error
    return errors


def _fetch(job: Job) -> None:
    """Fetches all weights before the workers start. What is wrong is the outcome of the tasks, unless it is all."""
    check_answers(job.config.ray_address)
    configs = [task.config for task in job.plan.tasks] or [job.config]
    configs = [config for config in configs if not config.fast]
    errors = unfetched(configs)
    if errors and set(map(network_of, configs)) == errors.keys():
        raise next(iter(errors.values()))


BATCH = Recipe(
    name="batch", script="run_batch.py", method=1, engine="nst_tf.recipes.batch.steps:session", resolve=_resolve,
    options=partial(options_of, "batch"), compared=lambda job: {}, repeat=repeat,
    fetch=_fetch, needs_tensorflow=False, has_threads=False, about=lambda job: f"batch {job.options.folder}",
    stopped=lambda job, last: f"stopped after {last.step} of {last.total_steps} pictures; to go on")
