"""A recipe is one function and one row: this file adds one, and the run machinery gives it all the rest."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from nst_tf.config import Settings, setting
from nst_tf.runs import checkpoint
from nst_tf.runs.folder import run_options
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Recipe, Session, Writer, Written
from nst_tf.runs.run import run
from nst_tf.runs.session import Stop
from nst_tf.vocabulary import UserError


@dataclass(frozen=True)
class SumConfig(Settings):
    """Adds up the numbers from 1 to --count, each times --factor."""

    count: int = setting(10, "how many numbers", minimum=1, placeholder="N")
    factor: int = setting(1, "what each is multiplied by", placeholder="N")
    logdir: str = setting("logs", "folder of all runs", placeholder="DIR")
    run: str = setting("sum", "name of the run's folder", placeholder="NAME")
    resume: bool = setting(False, "continue a stopped run")
    overwrite: bool = setting(False, "start the run afresh")


class SumPlan(NamedTuple):
    """What the flags say: no files are read."""

    inputs: tuple[()] = ()


def session(job: Job) -> Session:
    """The function: yields one `Progress` for each number."""
    config, (first, total) = job.config, job.state or (0, 0)

    def steps(total: int) -> Iterator[Progress]:
        for step in range(first + 1, config.count + 1):
            total += step * config.factor
            yield Progress(step=step, total_steps=config.count, stage=0, stage_step=step, size=(), ends_stage=False,
                           losses={}, state=(step, total),
                           arrays=partial(_arrays, step, total), unit="numbers")

    return Session(events=steps(total), step=first)


def _arrays(step: int, total: int) -> dict[str, np.ndarray]:
    return {"step": np.asarray(step), "total": np.asarray(total)}


def _writer(job: Job) -> Writer:
    def write(last: Progress | None) -> Written:
        _, total = last.state if last else job.state
        (job.options.place / "sum.txt").write_text(str(total))
        return Written((f"sum: {total}",))

    return write


SUM = Recipe(
    name="sum", script="sum.py", method=1, engine=f"{__name__}:session", needs_tensorflow=False,
    resolve=lambda config, _: SumPlan(), writer=_writer,
    options=partial(run_options, has_bar=False, checkpoint_every=0.0),
    compared=lambda job: {"--count": job.config.count, "--factor": job.config.factor},
    state=lambda job: checkpoint.newest(job.options.place / checkpoint.FOLDER,
                                        lambda values: (int(values["step"]), int(values["total"]))),
    is_finished=lambda job: job.state[0] >= job.config.count, contents=("sum.txt",), growing="--count",
    stopped=lambda job, last: f"stopped at {last.step} of {last.total_steps}; to go on")


@pytest.fixture
def config(tmp_path: Path) -> SumConfig:
    return SumConfig(logdir=str(tmp_path))


def test_a_recipe_of_one_function_and_one_row_runs_stops_and_goes_on(
        config: SumConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()

    def stopping(step: int, total: int) -> dict[str, np.ndarray]:
        stop.request()
        return {"step": np.asarray(step), "total": np.asarray(total)}

    with monkeypatch.context() as patch:
        patch.setattr(f"{__name__}._arrays", stopping)
        assert run(SUM, config, stop=stop) == 130
    printed = capsys.readouterr()
    assert "stopped at 2 of 10; to go on: " in printed.err and f"--flagfile={tmp_path}/sum/flags.txt" in printed.err
    assert run(SUM, config) == 0 and capsys.readouterr().out == "sum: 55\n"
    assert json.loads((tmp_path / "sum/config.json").read_text())["recipe"] == "sum"
    assert run(SUM, replace(config, count=11, resume=True)) == 0 and capsys.readouterr().out == "sum: 66\n"


def test_it_is_refused_as_every_recipe_is(config: SumConfig, tmp_path: Path) -> None:
    assert run(SUM, config) == 0
    for changes, text in (({}, "is finished: --resume writes"), ({"factor": 2}, r"\(--factor differ\)"),
                          ({"count": 0}, "--count=0 is out of range"),
                          ({"resume": True, "overwrite": True}, "exclude each other")):
        with pytest.raises(UserError, match=text):
            run(SUM, replace(config, **changes))
    with pytest.raises(UserError, match="makes other pictures"):
        run(SUM._replace(method=2), config)
    assert run(SUM, replace(config, factor=2, overwrite=True)) == 0
    assert (tmp_path / "sum/sum.txt").read_text() == "110"
