"""How well a run tells how long it takes: the error of what the progress bar says, at each tenth of a real run.

    python -m benchmarks.estimate --backbone=kmeans --size=512 --steps=300
    python -m benchmarks.estimate --trace=tests/data/estimate_kmeans.json

The run is a whole one, with checkpoints, TensorBoard and previews. The machine has to be quiet. Where it is not,
`--clock=processor` counts the seconds of the processor, which neighbors change less. `--trace` writes the times to a
file, with which the tests check the estimate.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.runs.estimate import Estimate, Left
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.run import run
from nst_tf.runs.session import import_function

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


class Trace(NamedTuple):
    """The seconds of a run since its first step began: after each step, with what is left then, and at the end."""

    steps: list[tuple[float, Left]]
    end: float


class Said(NamedTuple):
    """What is estimated after a step: the seconds of the whole run and those that are left; and what is true."""

    step: int
    whole: float
    left: float
    true_left: float
    true_whole: float

    @property
    def error(self) -> float:
        """Of the whole run, relative to it."""
        return self.whole / self.true_whole - 1.0

    @property
    def error_of_left(self) -> float:
        """Of what is left, relative to it."""
        return self.left / self.true_left - 1.0


_TIMES: list[dict[str, Any]] = []
_CLOCKS = {"wall": time.monotonic, "processor": time.process_time}


def session(job: Job) -> Session:
    """The session of `stylize`, whose steps are timed."""
    opened: Session = import_function(STYLIZE.engine)(job)
    return opened._replace(events=_timed(opened.events))


def _timed(events: Iterator[Progress]) -> Iterator[Progress]:
    _note({})
    for progress in events:
        _note(dict(progress.work_left))
        yield progress


def _note(left: Left) -> None:
    _TIMES.append({name: now() for name, now in _CLOCKS.items()} | {"left": left})


def record(config: StylizeConfig) -> dict[str, Trace]:
    """Makes a run in a folder that is deleted afterwards. Returns its trace by each clock."""
    _TIMES.clear()
    with tempfile.TemporaryDirectory() as folder:
        run(STYLIZE._replace(engine=f"{__name__}:session"), config, RunConfig(logdir=folder, run="timed"))
    _note({})
    start, *steps, end = _TIMES
    return {name: Trace([(step[name] - start[name], step["left"]) for step in steps], end[name] - start[name])
            for name in _CLOCKS}


def said(trace: Trace) -> Iterator[Said]:
    """What was estimated after each step but the first, of which nothing follows."""
    estimate = Estimate(0.0)
    for step, (seconds, left) in enumerate(trace.steps, 1):
        estimate.add(left, seconds)
        seconds_left = estimate.seconds_left()
        if seconds_left is not None:
            yield Said(step, seconds + seconds_left, seconds_left, trace.end - seconds, trace.end)


def after_share(trace: Trace, share: float) -> Said:
    """What was estimated at the first step after this share of the run's time."""
    return next(each for each in said(trace) if trace.end - each.true_left >= share * trace.end)


def read(path: Path) -> Trace:
    """A trace that `write` wrote."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return Trace([(seconds, {tuple(size): count for size, count in left}) for seconds, left in data["steps"]],
                 data["end"])


def write(trace: Trace, path: Path) -> None:
    """Writes a trace, one step a line."""
    steps = ",\n".join(json.dumps([round(seconds, 3), list(left.items())]) for seconds, left in trace.steps)
    path.write_text(f'{{"end": {trace.end:.3f}, "steps": [\n{steps}]}}\n', encoding="utf-8")


def main(argv: Sequence[str]) -> None:
    """Prints the errors of one run."""
    values = flags.FlagValues()
    flags.DEFINE_string("backbone", "kmeans", "network", flag_values=values)
    flags.DEFINE_string("weights", "", "its weights", flag_values=values)
    flags.DEFINE_integer("size", 512, "long side in px", flag_values=values)
    flags.DEFINE_integer("steps", 300, "steps", flag_values=values)
    flags.DEFINE_string("optimizer", "adam", "adam or lbfgs", flag_values=values)
    flags.DEFINE_enum("clock", "wall", list(_CLOCKS), "processor: where others use the machine", flag_values=values)
    flags.DEFINE_string("trace", "", "where to write the times", flag_values=values)
    values(argv)
    trace = record(StylizeConfig(
        content=str(SAMPLES / "coast.jpg"), style=(str(SAMPLES / "swirls.jpg"),), backbone=values.backbone,
        weights=values.weights, size=values.size, steps=values.steps, optimizer=values.optimizer))[values.clock]
    if values.trace:
        write(trace, Path(values.trace))
    print(f"{len(trace.steps)} steps took {trace.end:.1f} s")
    for tenth in range(1, 10):
        each = after_share(trace, tenth / 10)
        print(f"at {10 * tenth} % (step {each.step}): {each.whole:.1f} s as a whole ({100 * each.error:+.0f} %), "
              f"{each.left:.1f} s left ({100 * each.error_of_left:+.0f} %)")
    print(f"largest error of the whole from a tenth on: "
          f"{100 * max(abs(each.error) for each in said(trace) if each.true_left <= 0.9 * trace.end):.0f} %")


if __name__ == "__main__":
    main(sys.argv)
