"""The benchmarks of a step by hand: kinds of operations, events, convolutions, rows; commits; no GPU."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import gpu, step_profile, step_ratio, step_time, where_time_goes
from benchmarks.step_profile import added_events, alone_ms, convolutions_of, kind_of


@pytest.mark.parametrize("operation, kind", [
    ("Conv2D", "forward"), ("_MklNativeFusedConv2D", "forward"), ("_FusedConv2D", "forward"),
    ("_MklNativeConv2DBackpropInput", "backward"), ("_MklBatchMatMulV2", "products"), ("_MklFusedMatMul", "products"),
    ("_MklNativeDepthwiseConv2dNative", "depthwise"), ("DepthwiseConv2dNativeBackpropInput", "depthwise backward"),
    ("ReluGrad", "ReluGrad"), ("Cast", "casts"), ("AddN", "elementwise"), ("Mul", "elementwise"),
    ("_MklEinsum", "einsum"),
    ("_MklNativeMaxPoolGrad", "pools"), ("AvgPool", "pools"), ("MirrorPadGrad", "pads"), ("PadV2", "pads"),
    ("Sum", "rest"), ("ConcatV2", "rest")])
def test_kind_of_an_operation(operation: str, kind: str) -> None:
    assert kind_of(operation) == kind


def test_events_are_added_over_threads() -> None:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    plane = space.planes.add(name="/host:CPU")
    names = ("a/b:Mul", "c:Mul", "KernelAndDeviceFunc::Run", "step:StatefulPartitionedCall", "ThreadPool", "x: y")
    for number, name in enumerate(names):
        plane.event_metadata[number].name = name
        plane.lines.add().events.add(metadata_id=number, duration_ps=10**number)
    space.planes.add(name="/host:other").lines.add().events.add(metadata_id=0, duration_ps=7)
    assert added_events(space.SerializeToString()) == {"Mul": (11, 2)}


def test_convolutions_of_a_function() -> None:
    """A forward one with strides and its gradient; one that nothing reads does not count."""
    def step(x: tf.Tensor, filters: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            tf.nn.conv2d(x, filters[:1], 1, "SAME")
            y = tf.reduce_sum(tf.square(tf.nn.conv2d(x, filters, 2, "VALID")))
        return tape.gradient(y, x)

    traced = tf.function(step).get_concrete_function(tf.zeros([1, 9, 7, 3]), tf.zeros([3, 3, 3, 5]))
    found = convolutions_of(traced.graph)
    assert [of.kind for of in found] == [step_profile.FORWARD, step_profile.BACKWARD]
    assert {(of.input, of.filters, of.output) for of in found} == {((1, 9, 7, 3), (3, 3, 3, 5), (1, 4, 3, 5))}
    assert [of.flop() for of in found] == [2 * (4 * 3 * 5) * (3 * 3 * 3)] * 2
    assert dict(found[1].attributes)["strides"] == (1, 2, 2, 1)
    assert alone_ms(found, 0.0) > 0 and alone_ms([], 0.0) == 0


def test_row_of_where_the_time_goes() -> None:
    kinds = {kind: float(index) for index, kind in enumerate(step_profile.KINDS)}
    profile = {"kinds": kinds, "wall_ms": 99.6, "floor_ms": [3.4, 5.6], "ran": [4, 2], "traced": [4, 2]}
    assert sorted(kind for column in where_time_goes.COLUMNS.values() for kind in column) == sorted(kinds)
    row = where_time_goes.row("x", profile)
    assert row.startswith("| x | 0 / 1 | 2 | 3 / 4 | 5 |") and row.endswith("| 11 | 100 | 3 / 6 |")
    assert row.count("|") == where_time_goes.head().splitlines()[0].count("|")
    assert not [*where_time_goes.notes(profile, False)]
    assert "[4, 2] were traced, [3, 2] ran" in [*where_time_goes.notes(profile | {"ran": [3, 2]}, False)][0]


def test_timed_calls_end() -> None:
    calls: list[int] = []
    assert len([*step_profile.timed(lambda: calls.append(1), 0.0)]) == len(calls) == 1


@pytest.fixture(name="repository")
def _repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits on main, and one more on a branch."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.setattr(step_ratio, "ROOT", folder)

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false", *arguments],
                       cwd=folder, check=True, capture_output=True)

    git("init", "-b", "main")
    for name in ("first", "second", "third"):
        if name == "third":
            git("checkout", "-b", "branch")
        (folder / name).write_text(name, encoding="utf-8")
        git("add", ".")
        git("commit", "-m", name)
    return folder


def test_commits(repository: Path, tmp_path: Path) -> None:
    """By default that where the branch began; on main itself the one before."""
    def files(given: str) -> list[str]:
        return sorted(path.name for path in step_ratio.checkout(given, tmp_path / "commits").iterdir())

    assert files("") == ["first", "second"] and files("HEAD") == ["first", "second", "third"]
    subprocess.run(["git", "checkout", "main"], cwd=repository, check=True, capture_output=True)
    assert files("") == ["first"]
    assert step_ratio.checkout(str(tmp_path), tmp_path) == tmp_path
    with pytest.raises(step_ratio.Problem, match="^'no_such' is no folder, and no commit of this clone"):
        step_ratio.checkout("no_such", tmp_path)
    subprocess.run(["git", "checkout", "HEAD^"], cwd=repository, check=True, capture_output=True)
    subprocess.run(["git", "branch", "-f", "main", "HEAD"], cwd=repository, check=True, capture_output=True)
    with pytest.raises(step_ratio.Problem, match="^'the commit before' is no folder"):
        step_ratio.checkout("", tmp_path)


def test_a_process_that_ends_is_one_line() -> None:
    process = step_ratio.Process(["python3", "-c", "print(1); input(); raise ValueError('so')"])
    assert process.answer() == 1
    with pytest.raises(step_ratio.Problem, match="ValueError: so$"):
        process.ask("x")
    process.close()


def test_main_says_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for main in (step_ratio.main, where_time_goes.main):
        with pytest.raises(SystemExit) as raised:
            main(["no_such_commit"])
        said = capsys.readouterr()
        assert raised.value.code == 2 and not said.out and said.err.count("\n") == 1


def test_loops_in_turns() -> None:
    turns: list[str] = []

    def timer(name: str, seconds: float) -> Callable[[], float]:
        def seconds_of() -> float:
            turns.append(name)
            return seconds
        return seconds_of

    found = step_time.in_turns({"a": timer("a", 2.0), "b": timer("b", 3.0)}, 2)
    assert "".join(turns) == "ab" * (2 + step_time.WARM_UP_STEPS) and found["b"].tolist() == [3.0, 3.0]
    assert step_time.row("b", found["b"], np.array([2.0, 1.0])) == "| b | 3.000 | 2.25 | 1.50 … 3.00 |"


class _Told(gpu.Deadline):
    """Tells what it is made of instead of running anything."""

    def __init__(self, told: dict[str, tuple[list[Any], str]]) -> None:
        self.told = told

    def measured(self, work: str, **request: Any) -> tuple[list[Any], str]:
        return self.told[work]


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "Deadline", lambda device: _Told({"device": ([["TensorFlow on CPU", 0]], "")}))
    with pytest.raises(SystemExit) as raised:
        gpu.main(["gpu"])
    said = capsys.readouterr()
    assert raised.value.code == 2 and not said.out and said.err.startswith("gpu: TensorFlow sees no GPU here")
    assert said.err.count("\n") == 1


def test_rows_of_a_gpu() -> None:
    step = {"first": 9.0, "step": 0.5, "peak_mb": 70.2}
    rows = [*gpu.step_rows(_Told({"steps": ([step], "no memory")}), (64, 128))]
    assert len(rows) == 1 + 2 * (1 + 2 * len(gpu.PRECISIONS))
    assert rows[3] == "| float32, 64² | 0.500 | 1.00 | 9.0 | 70 |"
    assert rows[6] == "| float32, jit_compile, 128² | no memory | | | |"
    equal, = {row.split("|")[2] for row in gpu.equality_rows(_Told({"equality": (["a", "a"], "")}), 64)} - {" "}
    other, = {row.split("|")[2] for row in gpu.equality_rows(_Told({"equality": (["a", "b"], "")}), 64)} - {" "}
    assert equal == " equal " and other == " 2 different results of 4 "
    late = gpu.Deadline("cpu")
    late._end = 0.0
    assert late.measured("device") == ([], "left out: 8 minutes are over")
