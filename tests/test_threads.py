"""`--threads`: decided before TensorFlow starts, kept with the run, and in force."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nst_tf import runtime, stylize
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.runs.run import plan_job, run, with_stored
from nst_tf.vocabulary import UserError
from tests.commands import ROOT
from tests.stub_engines import start_tensorflow

STUB = STYLIZE._replace(engine="tests.stub_engines:stylize")


@pytest.fixture
def config(photo: str, painting: str, monkeypatch: pytest.MonkeyPatch) -> StylizeConfig:
    """Settings of a run that no network makes."""
    monkeypatch.setattr("nst_tf.runs.session.start_tensorflow", start_tensorflow)
    return StylizeConfig(content=photo, style=(painting,), backbone="kmeans", size=48, min_size=48, steps=2)


def _stored(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())["settings"]


@pytest.mark.parametrize("text, cores", [("150000 100000", 2), ("max 100000", 4), ("50000 100000", 1), ("", 4),
                                         ("900000 100000", 4)])
def test_a_container_limits_the_cores(text: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_cores", lambda: 4)
    (tmp_path / "cpu.max").write_text(text)
    assert runtime.usable_cores(tmp_path / "cpu.max") == cores
    assert runtime.usable_cores(tmp_path / "none") == 4


def test_the_number_that_was_left_out_stands_in_the_record(config: StylizeConfig, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_tf.runs.run.threads_in_force", lambda: 3)
    place = RunConfig(logdir=str(tmp_path), run="r")
    assert run(STUB, config, place) == 0
    assert _stored(tmp_path / "r")["--threads"] == 3 and "--threads=3\n" in (tmp_path / "r/flags.txt").read_text()
    # On another machine the run goes on with its own number; another one that is given is refused.
    monkeypatch.setattr("nst_tf.runs.run.threads_in_force", lambda: 8)
    again = RunConfig(logdir=str(tmp_path), run="r", resume=True)
    assert with_stored(plan_job(STUB, config, again)).config.threads == 3
    with pytest.raises(UserError, match=r"\(--threads differ\)"):
        with_stored(plan_job(STUB, StylizeConfig(**vars(config) | {"threads": 4}), again))


def test_a_run_from_before_the_flag_goes_on(config: StylizeConfig, tmp_path: Path) -> None:
    assert run(STUB, config, RunConfig(logdir=str(tmp_path), run="r")) == 0
    path = tmp_path / "r/config.json"
    record = json.loads(path.read_text())
    del record["settings"]["--threads"]
    path.write_text(json.dumps(record))
    job = with_stored(plan_job(STUB, config, RunConfig(logdir=str(tmp_path), run="r", resume=True)))
    assert job.state.step == 2 and job.config.threads == runtime.threads_in_force()


def test_python_says_that_tensorflow_computes_already(config: StylizeConfig) -> None:
    tf.constant(0.0)
    in_force = runtime.threads_in_force()
    stylize(StylizeConfig(**vars(config) | {"threads": in_force, "weights": "bundled"}))
    with pytest.raises(UserError, match=f"computes with {in_force} thread.* give {in_force}, or start Python anew"):
        stylize(StylizeConfig(**vars(config) | {"threads": in_force + 1}))


@pytest.mark.slow
def test_one_thread_is_in_force_and_repeats_the_picture(photo: str, painting: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/stylize.py"), f"--content={photo}", f"--style={painting}",
               "--threads=1", "--backbone=kmeans", "--weights=bundled", "--size=64", "--steps=3",
               f"--logdir={tmp_path}/logs"]
    for name in ("a", "b"):
        done = subprocess.run([*command, f"--output={tmp_path}/{name}.png"], capture_output=True, text=True,
                              timeout=200, check=True)
        assert " on CPU (1 thread)" in done.stderr
    first, second = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("a", "b"))
    assert np.array_equal(first, second)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not bind processes to cores")
def test_the_picture_follows_from_the_threads_and_not_from_the_cores(
        photo: str, painting: str, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    for name, usable in (("all", cores), ("one", {min(cores)})):
        done = subprocess.run(
            [sys.executable, "-c", f"import os, runpy; os.sched_setaffinity(0, {usable}); "
             "runpy.run_path('scripts/stylize.py', run_name='__main__')", f"--content={photo}", f"--style={painting}",
             "--threads=3", "--backbone=kmeans", "--weights=bundled", "--precision=bfloat16", "--size=160", "--steps=3",
             f"--logdir={tmp_path}/logs", f"--output={tmp_path}/{name}.png"], capture_output=True, text=True,
            timeout=200, cwd=ROOT)
        assert done.returncode == 0 and " on CPU (3 threads)" in done.stderr, done.stderr
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "one.png").read_bytes()
