"""Two checkouts compared: differences by hand, the events of a file, and flags that the scripts have."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks.same_pixels import RUNS, Difference, commands, difference, judge, objectives, worst
from benchmarks.step_ratio import NETWORKS, row, settings_of
from nst_tf.config import StylizeConfig, check

ROOT = Path(__file__).resolve().parents[1]


def test_difference_by_hand() -> None:
    old = np.zeros((2, 3, 3), np.uint8)
    new = old.copy()
    new[0, 0, 0], new[1, 2, 1] = 9, 255
    assert difference(old, new) == difference(new, old) == Difference(255, 264 / 18)
    assert difference(old, old) == Difference(0, 0)
    assert difference(old, new[:1]).mean == np.inf


def test_the_worst_picture_counts_and_run_folders_do_not(tmp_path: Path) -> None:
    for folder, value in (("old", 0), ("new", 3)):
        for name, color in (("a.png", 7), ("units/b.png", value), ("logs/run/output.png", 50 * value)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 2), (color, color, color)).save(path)
    assert worst(tmp_path / "old", tmp_path / "new") == Difference(3, 3)
    (tmp_path / "new/a.png").unlink()
    assert worst(tmp_path / "old", tmp_path / "new").mean == np.inf
    assert worst(tmp_path / "nothing", tmp_path / "nothing").mean == np.inf


def test_what_holds() -> None:
    none, little, much = Difference(0, 0), Difference(90, 0.9), Difference(9, 1.1)
    assert judge(none, {"run/total": 2.0}, {"run/total": 2.0}).text.endswith("equal")
    assert judge(none, {}, {"new": 1.0}) == judge(none, {}, {}) and judge(none, {}, {}).holds
    assert judge(little, {"a": 2.0, "b": 1.0}, {"a": 2.0, "b": 1.0009}).text.endswith("differs")
    assert judge(little, {"a": 2.0, "b": 1.0}, {"a": 2.0, "b": 1.0009}).holds
    assert not judge(none, {"a": 2.0, "b": 1.0}, {"a": 2.0, "b": 1.0011}).holds
    assert not judge(none, {"a": 1.0}, {"a": np.nan}).holds
    assert not judge(much, {}, {}).holds


def test_where_J_stands(tmp_path: Path) -> None:
    for run in ("a", "b"):
        (tmp_path / "logs" / run).mkdir(parents=True)
    (tmp_path / "logs/a/metrics.jsonl").write_text('{"total": 2.0}\n{"total": 1.5}\n', encoding="utf-8")
    with tf.summary.create_file_writer(str(tmp_path / "logs/b")).as_default():
        for step in range(3):
            tf.summary.scalar("dream/excitation", 10.0 + step, step)
            tf.summary.scalar("other", 5.0, step)
    (tmp_path / "units").mkdir()
    (tmp_path / "units/units.json").write_text('{"a": [{"response": 1}, {"b": {"response": 2}}], "c": 9}',
                                               encoding="utf-8")
    assert objectives(tmp_path) == {"a/total": 1.5, "b/excitation": 12.0, "units": 1.5}


def test_every_run_uses_flags_of_its_script(tmp_path: Path) -> None:
    assert len(RUNS) == 12
    known: dict[str, set[str]] = {}
    for name in RUNS:
        for script, *arguments in commands(name, tmp_path, Path("squeezenet.net")):
            if script not in known:
                text = subprocess.run([sys.executable, ROOT / script, "--helpfull"], text=True, capture_output=True,
                                      check=True, timeout=60).stdout
                known[script] = {"flagfile", *re.findall(r"^  --(\w+)", text, re.MULTILINE)}
            given = [argument.removeprefix("--").partition("=")[0] for argument in arguments]
            assert set(given) <= known[script] and len(set(given)) == len(given), name
            assert script == "scripts/visualize_units.py" or "precision" in given, "`auto` is a matter of timing"


def test_shorter_runs(tmp_path: Path) -> None:
    first, second = commands("lbfgs", tmp_path, Path("squeezenet.net"), shorten=7, precision="bfloat16")
    assert "--steps=11" in first and "--steps=17" in second and "--size=256" in first
    assert "--precision=bfloat16" in first and "--precision=float32" not in first
    assert "--steps=2" in commands("lbfgs", tmp_path, Path("squeezenet.net"), shorten=1000)[0]
    for name in RUNS:
        assert all(any(argument.startswith("--steps=") for argument in command)
                   for command in commands(name, tmp_path, Path("squeezenet.net"))), name


@pytest.mark.parametrize("network", NETWORKS)
def test_settings_of_a_step(network: str, tmp_path: Path) -> None:
    config = StylizeConfig(**settings_of(network, "float32", tmp_path, 3, statistic="wasserstein"))
    check(config)
    with Image.open(config.content) as photo:
        assert max(photo.size) == config.size
    assert len(config.style) == 3 and config.min_size == config.size and all(map(Path.exists, map(Path, config.style)))


def test_row_by_hand() -> None:
    assert row("x", np.array([[1.0, 2.0], [2.0, 2.0], [4.0, 6.0]])) == (
        "| x | 2.000 s | 2.000 s | 1.500 (1.000 … 2.000) |")
