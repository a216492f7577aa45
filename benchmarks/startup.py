"""Where the seconds before the first line of progress go, and what each further size costs before its first step.

    python -m benchmarks.startup --rounds=3
    python -m benchmarks.startup --networks=squeezenet=squeezenet.net,vgg19=random --size=256

Each round starts three processes: the command as a user types it, whose first line of progress is timed, with nothing
kept of `--precision=auto`; the same again; and one whose phases are timed from inside. A step is traced apart from its
first call, which optimizes the graph and lets oneDNN prepare its kernels. The machine has to be quiet.
"""

import importlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

CHECKOUT = Path(__file__).resolve().parents[1]
NETWORKS = ("kmeans=self", "squeezenet1_1", "squeezenet=../shared/weights/squeezenet_v1.0_deep_compressed.net",
            "vgg19=random")
FIRST_LINE = "command to first line of progress"
FIRST_USE = "the same, first use of the network"
# (module, function that is timed there, phase).
PHASES = (
    ("nst_tf.runs.run", "plan_job", "flags and files"),
    ("nst_tf.runs.session", "start_tensorflow", "import of TensorFlow"),
    ("nst_tf.runs.run", "import_function", "import of the engine"),
    ("nst_tf.recipes.stylize.steps", "Network", "building"),
    ("nst_tf.recipes.stylize.network", "Network.fit", "fitting"),
    ("nst_tf.runs.follow", "_board", "TensorBoard"),
    ("nst_tf.recipes.stylize.steps", "measure_pictures", "targets"),
)
_seconds: list[tuple[str, float]] = []


def timed(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; each call is noted."""
    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            _seconds.append((phase, time.perf_counter() - start))

    return call


def _time_phases(phases: Sequence[tuple[str, str, str]]) -> None:
    for module, path, phase in phases:
        *outer, name = path.split(".")
        owner = importlib.import_module(module)
        for each in outer:
            owner = getattr(owner, each)
        setattr(owner, name, timed(phase, getattr(owner, name)))


def _timed_step(step: Any) -> Callable[..., Any]:
    """A compiled step: its tracing, its first call and its second."""
    calls = ["second step", "first step"]

    def call(*args: Any) -> Any:
        if len(calls) == 2:
            timed("tracing", step.get_concrete_function)(*args)
        return timed(calls.pop(), step)(*args) if calls else step(*args)

    return call


def inside(began: float, command: Sequence[str]) -> None:
    """Runs a command in this process and prints what its phases took, as JSON."""
    from nst_tf.commands import stylize
    from nst_tf.runs import run

    _seconds.append(("start of Python", time.time() - began))
    needs_tensorflow = [phase for phase in PHASES if "stylize" in phase[0] or "follow" in phase[0]]
    _time_phases([phase for phase in PHASES if phase not in needs_tensorflow])
    import_engine: Callable[[str], Any] = vars(run)["import_function"]

    def import_and_time(path: str) -> Any:
        engine = import_engine(path)
        _time_phases(needs_tensorflow)
        steps: Any = importlib.import_module("nst_tf.recipes.stylize.steps")
        compile_step = steps.compile_step
        steps.compile_step = lambda *args: _timed_step(compile_step(*args))
        return engine

    vars(run)["import_function"] = import_and_time
    sys.argv = list(command)
    try:
        stylize()
    finally:
        print(json.dumps(_seconds))


def first_line(command: Sequence[str], env: Mapping[str, str]) -> float:
    """Seconds until a command prints its first line of progress; it is ended then."""
    start = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                          env=env) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("1/"):
                seconds = time.perf_counter() - start
                process.send_signal(signal.SIGKILL)
                return seconds
    raise SystemExit("".join(said))


def measure(network: str, size: int, steps: int) -> list[tuple[str, float]]:
    """(phase, seconds) of one round."""
    backbone, _, weights = network.partition("=")
    with tempfile.TemporaryDirectory() as folder:
        words = [f"--content={CHECKOUT}/samples/coast.jpg", f"--style={CHECKOUT}/samples/swirls.jpg",
                 f"--backbone={backbone}", f"--weights={weights}", f"--size={size}", f"--logdir={folder}",
                 f"--output={folder}/a.png"]
        # This checkout, not the one that is installed; and no precision that another run timed.
        env = os.environ | {"PYTHONPATH": str(CHECKOUT), "XDG_CACHE_HOME": folder}
        command = [sys.executable, str(CHECKOUT / "scripts/stylize.py"), *words]
        first_use, warm = (first_line([*command, f"--run={run}"], env) for run in ("first", "warm"))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.startup", f"--inside={time.time()}", "--", *words, "--run=phases",
             f"--steps={steps}"], capture_output=True, text=True, check=True, cwd=CHECKOUT, env=env)
    return [(FIRST_LINE, warm), (FIRST_USE, first_use), *map(tuple, json.loads(done.stdout.splitlines()[-1]))]


def main(argv: Sequence[str]) -> None:
    """Prints a table for each network: the phases in their order, the median of the rounds."""
    values = flags.FlagValues()
    flags.DEFINE_list("networks", list(NETWORKS), "BACKBONE[=WEIGHTS], …", flag_values=values)
    flags.DEFINE_integer("size", 256, "long side in px", flag_values=values)
    flags.DEFINE_integer("steps", 12, "steps of the run that is timed from inside", flag_values=values)
    flags.DEFINE_integer("rounds", 3, "rounds", flag_values=values)
    flags.DEFINE_float("inside", None, "when this process was started; the words of the command follow",
                       flag_values=values)
    rest = values(argv)
    if values.inside:
        inside(values.inside, ["stylize.py", *rest[1:]])
        return
    for network in values.networks:
        rounds = [measure(network, values.size, values.steps) for _ in range(values.rounds)]
        print(f"\n| {network}, {values.size} px | seconds | rounds |\n| --- | ---: | --- |")
        for of_rounds in zip(*rounds):
            seconds = [each for _, each in of_rounds]
            print(f"| {of_rounds[0][0]} | {statistics.median(seconds):.2f} | "
                  f"{min(seconds):.2f} … {max(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv)
