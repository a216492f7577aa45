"""What a recipe is to the run machinery: one row of functions, and the records that pass between the two.

No TensorFlow here.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.runs.progress import Progress, Sound
from nst_tf.runs.session import Stop
from nst_tf.strips import Picture

# Configs, plans, decisions and states are the recipe's own types. The machinery only hands them on.
Config = Any
Plan = Any
Decided = Any
State = Any


class Options(NamedTuple):
    """What the machinery reads of a recipe's flags."""

    folder: Path | None              # the run folder; None where nothing is kept that a later run could go on from
    flag: str = "--run"              # the flag that names the folder
    is_new: bool = False             # the name is not the user's: where it is taken, the folder gets another
    overwrite: bool = False
    resume: bool | None = None       # None: the script has no --resume, and always writes its results again
    checkpoint_every: float = 10.0   # seconds
    log_every: int | None = None     # None: no rows, no TensorBoard, no preview
    snapshots: tuple[int, ...] = ()
    has_bar: bool = True

    @property
    def place(self) -> Path:
        """The run folder of a recipe that has one."""
        assert self.folder is not None, "this recipe keeps no run folder"
        return self.folder


class Job(NamedTuple):
    """One call of a recipe. `decided` and `state` are None until they are read from the folder or decided here."""

    recipe: "Recipe"
    config: Config
    run_config: Config
    plan: Plan
    options: Options
    stop: Stop
    decided: Decided = None
    state: State = None
    shared: Any = None  # what the jobs of a process share, such as networks; a type of the recipe


class Session(NamedTuple):
    """What a recipe's engine returns once TensorFlow is started: what was decided, and the steps to come."""

    events: Iterator[Progress]
    decided: Decided = None
    facts: Mapping[str, Any] = {}    # for config.json and TensorBoard's table, such as `parameters`
    shown: Mapping[str, Callable[[], Picture | Sound]] = {}  # pictures and sounds for TensorBoard by tag, once
    step: int = 0                    # steps that are done already
    write: "Writer | None" = None    # writes the results, where that needs TensorFlow; else the recipe's writer does


class Written(NamedTuple):
    """What a recipe prints when its results are written, and the exit status."""

    lines: tuple[str, ...] = ()
    status: int = 0


# It is called with the last step, or with None where no step was left.
Writer = Callable[[Progress | None], Written]


class Recipe(NamedTuple):
    """One row of `recipes.table.RECIPES`.

    Every function but `resolve` and `options` takes the `Job`. Only `engine` may need TensorFlow. The plan of a recipe
    with a run folder has `inputs`, the files that its results depend on. What is left out does nothing.
    """

    name: str
    script: str                      # the file in scripts/
    method: int                      # raised when equal settings make other results
    resolve: Callable[[Config, Config], Plan]     # checks flags and files; raises UserError before any long work
    options: Callable[[Config, Config], Options]
    engine: str                      # "module:function", (Job) → Session; imported once TensorFlow is started
    # Fetches what the network needs and the disk lacks, before TensorFlow starts; raises UserError.
    fetch: Callable[[Job], Any] = lambda job: None
    writer: Callable[[Job], Writer] = lambda job: lambda last: Written()  # reads at once what it needs
    complete: Callable[[Job], Config] = lambda job: job.config  # fills in what the flags left out
    resolved: Callable[[Job], Mapping[str, Any]] = lambda job: {}  # the plan as plain data for config.json
    decided: Callable[[Job, Mapping[str, Any]], Decided] = lambda job, record: None  # reads it from a config.json
    state: Callable[[Job], State] = lambda job: None  # reads what is done from the run folder; None: nothing
    is_finished: Callable[[Job], bool] = lambda job: False  # whether only the results are left to be written
    # {flag: value} of what must be equal in one folder; all settings by default.
    compared: Callable[[Job], Mapping[str, Any]] | None = None
    repeat: Callable[[Job], str] | None = None    # the flag file; made of `complete` by default
    contents: tuple[str, ...] = ()   # patterns of what a new start deletes in its folder, beside the machinery's files
    growing: str = ""                # the flag that may be larger with --resume, such as --steps
    untold: tuple[str, ...] = ()     # flags that a picture's text leaves out
    # What is printed beside TensorFlow's version.
    about: Callable[[Job], str] = lambda job: f"run {job.options.folder}" if job.options.folder else ""
    # How far things are when the run was stopped.
    stopped: Callable[[Job, Progress], str] = lambda job, last: f"stopped at {last.step} of {last.total_steps}"
    remedy: str = "lower --learning_rate"         # against numbers that are not finite
    needs_tensorflow: bool = True
    has_threads: bool = True         # whether the number of threads that was left out is a setting of the record
    too_large: str = "the picture does not fit into memory: give a smaller --size"
