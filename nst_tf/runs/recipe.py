"""What a recipe is to the run machinery: one row of functions, and the records that pass between the two.

No TensorFlow here.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.runs.progress import Array, Progress
from nst_tf.runs.stop import Stop

# Configs, plans, what is decided and states are the recipe's own types, which the machinery only hands on.
Config = Any
Plan = Any
Decided = Any
State = Any


class Options(NamedTuple):
    """What the machinery reads of a recipe's flags."""

    folder: Path | None              # the run folder; None where nothing is kept that a later run could go on from
    flag: str = "--run"              # the flag that names the folder
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
    """One call of a recipe. `decided` and `state` are None until the record or the device has told them."""

    recipe: "Recipe"
    config: Config
    run_config: Config
    plan: Plan
    options: Options
    stop: Stop
    decided: Decided = None
    state: State = None


class Session(NamedTuple):
    """What a recipe's engine returns once TensorFlow is started: what was decided, and the steps to come."""

    events: Iterator[Progress]
    decided: Decided = None
    facts: Mapping[str, Any] = {}    # for config.json and TensorBoard's table, such as `parameters`
    shown: Mapping[str, Callable[[], Array]] = {}  # pictures for TensorBoard by tag, once
    step: int = 0                    # steps that are done already
    write: Callable[[Progress | None], "Written"] | None = None  # where writing needs TensorFlow; the recipe's writer


class Written(NamedTuple):
    """What a recipe says when its results are written, and the exit status."""

    lines: tuple[str, ...] = ()
    status: int = 0


Writer = Callable[[Progress | None], Written]


def _nothing(*_: Any) -> dict[str, Any]:
    return {}


def _none(*_: Any) -> None:
    return None


def _empty(*_: Any) -> str:
    return ""


def _never(*_: Any) -> bool:
    return False


class Recipe(NamedTuple):
    """One row of `recipes.table.RECIPES`.

    Every function but `resolve` and `options` takes the `Job`. Only `engine` may need TensorFlow.
    """

    name: str
    script: str                      # the file in scripts/
    method: int                      # raised when equal settings make other results
    resolve: Callable[[Config, Config], Plan]     # checks flags and files; raises UserError before any long work
    options: Callable[[Config, Config], Options]
    engine: str                      # "module:function", (Job) → Session; imported once TensorFlow is started
    # Reads what it needs at once; what it returns is called with the last step, or None where none was left.
    writer: Callable[[Job], Writer] | None = None
    complete: Callable[[Job], Config] | None = None  # the config with all that was left out; the config by default
    inputs: Callable[[Plan], tuple[Any, ...]] = lambda plan: plan.inputs
    resolved: Callable[[Job], Mapping[str, Any]] = _nothing  # the plan as plain data for config.json
    decided: Callable[[Job, Mapping[str, Any]], Decided] = _none  # what a config.json says was decided
    state: Callable[[Job], State] = _none         # what the run folder says is done; None: nothing
    is_finished: Callable[[Job], bool] = _never   # whether nothing is left to do but to write the results
    compared: Callable[[Job], Mapping[str, Any]] | None = None  # {flag: value} that a folder is kept to; settings
    repeat: Callable[[Job], str] | None = None    # the flag file; made of `complete` by default
    contents: tuple[str, ...] = ()   # patterns of what its folder may hold beside the machinery's files
    growing: str = ""                # the flag that may be larger at a resume, such as --steps
    grows: Callable[[Job, Mapping[str, Any]], bool] = _never  # whether it is larger than in a config.json
    untold: tuple[str, ...] = ()     # flags that a picture's text leaves out
    about: Callable[[Job], str] = _empty          # what is said beside TensorFlow's version
    stopped: Callable[[Job, Progress], str] = _empty  # how far things are, when a stop was asked for
    again: Callable[[Job], str] = _empty          # flags of the command that goes on, beside --flagfile
    remedy: str = "lower --learning_rate"         # against numbers that are not finite
    needs_tensorflow: bool = True
    too_large: str = "the picture does not fit into memory: give a smaller --size"
