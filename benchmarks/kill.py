"""Runs that are killed by SIGKILL at random moments: do they go on to the files of a run that nothing disturbed?

    python -m benchmarks.kill --runs=100

Every start is a process of its own, forked from this one, which has imported TensorFlow but has started no thread. The
moments are drawn in the processor time of the start, which other work on the machine does not change. Linux only.
"""

import importlib
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from nst_tf import commands
from nst_tf.io.files import TEMPORARY
from nst_tf.recipes.table import RECIPES

import numpy as np  # after `nst_tf.flags`, which keeps NumPy from starting threads

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
POLL_SECONDS = 0.005
# What a clock tells in a row of losses.
MEASURED = ("seconds", "steps_per_second", "peak_memory_mb")
# Tiny, and with a checkpoint after each step of a style transfer: much of such a run is writing.
FLAGS = {
    "stylize": (f"--content={SAMPLES}/coast.jpg", f"--style={SAMPLES}/swirls.jpg", "--size=48", "--min_size=32",
                "--steps=10", "--snapshots=1,7", "--log_every=1", "--checkpoint_every=0", "--precision=float32"),
    "dream": (f"--content={SAMPLES}/coast.jpg", "--size=48", "--octaves=2", "--steps=2", "--frames=3", "--log_every=1",
              "--precision=float32"),
    "units": (f"--images={SAMPLES}/coast.jpg,{SAMPLES}/swirls.jpg,{SAMPLES}/street.jpg", "--layers=conv1:0-3",
              "--checkpoint_every=0"),
}
FOR_ALL = ("--backbone=kmeans", "--weights=bundled")


class Run(NamedTuple):
    """One run of a recipe in a folder of its own."""

    recipe: str
    folder: Path

    def start(self) -> int:
        """Starts a process, which goes on where an earlier one was killed, and returns its number."""
        place = ((f"--output={self.folder}",) if self.recipe == "units" else
                 (f"--logdir={self.folder.parent}", f"--run={self.folder.name}", "--resume"))
        arguments = [*FLAGS[self.recipe], *FOR_ALL, *place]
        sys.stdout.flush()
        number = os.fork()
        if number:
            return number
        status = 70
        try:
            log = os.open(f"{self.folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(log, stream)
            sys.argv = [RECIPES[self.recipe].script, *arguments]
            getattr(commands, self.recipe)()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)

    def go_on(self, kill_at: float = math.inf) -> tuple[int, float]:
        """Starts it again, and kills it after so many seconds of processor time. Returns exit status and time."""
        number = self.start()
        while True:
            if _cpu_seconds(number) >= kill_at:
                os.kill(number, signal.SIGKILL)
            done, status, usage = os.wait4(number, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
            time.sleep(POLL_SECONDS)

    def files(self) -> Mapping[str, bytes]:
        """What must be equal: pictures and tables by place; of the rows of losses all that no clock tells."""
        found = {str(path.relative_to(self.folder)): path.read_bytes()
                 for path in sorted(self.folder.rglob("*")) if path.suffix in (".png", ".json", ".html")}
        found.pop("config.json", None)
        rows = self.folder / "metrics.jsonl"
        if rows.exists():
            kept = [{name: value for name, value in json.loads(line).items() if name not in MEASURED}
                    for line in rows.read_text(encoding="utf-8").splitlines()]
            found[rows.name] = json.dumps(kept).encode()
        return found


def _cpu_seconds(number: int) -> float:
    """The processor time of a process: Linux makes the number of its clock from that of the process."""
    return time.clock_gettime((~number << 3) | 2)


class Outcome(NamedTuple):
    """What became of the runs."""

    runs: int = 0
    kills: int = 0
    different: tuple[str, ...] = ()  # folders of runs whose files differ, that failed, or that have half files left

    def __str__(self) -> str:
        return (f"{self.runs - len(self.different)} of {self.runs} runs, killed {self.kills} times, made the files of "
                "the undisturbed run, and left no half file")


def kill_runs(recipe: str, runs: int, place: Path, generator: np.random.Generator) -> Outcome:
    """Kills each run at least once, at a moment of the undisturbed run's time, and lets it go on to its end."""
    whole = Run(recipe, place / f"{recipe}_whole")
    status, seconds = whole.go_on()
    if status:
        raise RuntimeError(f"{recipe} failed: {Path(f'{whole.folder}.log').read_text(encoding='utf-8')}")
    expected, kills, different = whole.files(), 0, []
    for number in range(runs):
        run, killed = Run(recipe, place / f"{recipe}_{number}"), 0
        while killed == 0 or generator.uniform() < 1 / 4:
            status, _ = run.go_on(generator.uniform(0, seconds))
            killed += status == -signal.SIGKILL
            if not killed:  # it was done before
                shutil.rmtree(run.folder)
        kills += killed
        status, _ = run.go_on()
        if status or run.files() != expected or list(run.folder.rglob(TEMPORARY)):
            different.append(str(run.folder))
    return Outcome(runs, kills, tuple(different))


def main(argv: Sequence[str]) -> int:
    """Kills runs of each recipe in turn and prints what became of them."""
    values = flags.FlagValues()
    flags.DEFINE_integer("runs", 100, "runs of all recipes together", flag_values=values)
    flags.DEFINE_list("recipes", list(FLAGS), "which recipes run, in turn", flag_values=values)
    flags.DEFINE_integer("seed", 0, "seed of the moments", flag_values=values)
    values(argv)
    # In this order: TensorFlow is imported once, and no operation is run, so that a fork is safe.
    for recipe in FLAGS:
        importlib.import_module(RECIPES[recipe].engine.partition(":")[0])
    for module in ("bar", "tensorboard"):
        importlib.import_module(f"nst_tf.runs.{module}")
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("this process has threads, which a fork would lose")
    generator, outcomes = np.random.default_rng(values.seed), []
    with tempfile.TemporaryDirectory() as place:
        for index, recipe in enumerate(values.recipes):
            count = len(range(index, values.runs, len(values.recipes)))
            outcomes.append(kill_runs(recipe, count, Path(place), generator))
            print(f"{recipe}: {outcomes[-1]}", *outcomes[-1].different, sep="\n    ", flush=True)
    total = Outcome(*(sum(part, start=type(part[0])()) for part in zip(*outcomes)))
    print(f"all: {total}")
    return int(bool(total.different))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
