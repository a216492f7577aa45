"""One run machinery: the same situations behave alike for every recipe that has a run folder. No network is built."""

import contextlib
import dataclasses
import errno
import fcntl
import json
import math
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nst_tf import flags
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.compare.recipe import CompareConfig
from nst_tf.recipes.sweep.recipe import SweepRunConfig
from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig
from nst_tf.recipes.export.recipe import ExportConfig
from nst_tf.recipes.filters.recipe import FiltersConfig
from nst_tf.recipes.table import RECIPES
from nst_tf.recipes.units.plan import UnitsConfig
from nst_tf.runs import checkpoint, folder, run as machinery, session
from nst_tf.runs.folder import locked, new_folder
from nst_tf.runs.recipe import Recipe
from nst_tf.runs.session import Stop, stop_signals
from nst_tf.runtime import quiet_stderr
from nst_tf.vocabulary import RunError, UserError

from . import stub_engines
from .conftest import save_picture


class Case(NamedTuple):
    """A recipe on its stub engine, its configs, and the file that its result is."""

    recipe: Recipe
    config: Any
    run_config: Any
    result: str

    @property
    def configs(self) -> list[Any]:
        return [config for config in (self.config, self.run_config) if config is not None]

    @property
    def folder(self) -> Path:
        return self.recipe.options(self.config, self.run_config).place

    @property
    def flag(self) -> str:
        return str(self.recipe.options(self.config, self.run_config).flag)

    @property
    def has_resume(self) -> bool:
        return bool(self.recipe.growing)

    def run(self, stop: Stop | None = None) -> int:
        return machinery.run(self.recipe, self.config, self.run_config, stop)

    def with_(self, **changes: Any) -> "Case":
        """The case with fields of whichever config has them."""
        def changed(config: Any) -> Any:
            own = {name: value for name, value in changes.items() if hasattr(config, name)}
            return dataclasses.replace(config, **own) if config is not None else None

        return self._replace(config=changed(self.config), run_config=changed(self.run_config))

    def elsewhere(self, name: str) -> "Case":
        folder = self.folder.parent / name
        return self.with_(**({"output": str(folder)} if self.flag == "--output" else {"run": name}))

    def resumed(self) -> "Case":
        return self.with_(resume=True) if self.has_resume else self


def _stub(name: str) -> Recipe:
    return RECIPES[name]._replace(engine=f"tests.stub_engines:{name}")


class _Silent:
    """In place of TensorBoard, which would load TensorFlow."""

    def __call__(self, progress: Any) -> None:
        pass

    def close(self) -> None:
        pass


# A comparison is its runs: it has no checkpoints, and the settings stand in the folders of the networks.
WITH_SETTINGS = pytest.mark.parametrize("case", ["stylize", "dream", "units"], indirect=True)


@pytest.fixture(params=["stylize", "dream", "units", "compare"])
def case(request: pytest.FixtureRequest, tmp_path: Path, photo: str, painting: str,
         monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    """Each recipe with a folder: ten steps, four of dreams, three images, three networks."""
    monkeypatch.setattr("nst_tf.runs.follow._board", lambda *_: _Silent())
    monkeypatch.setattr(session, "start_tensorflow", stub_engines.start_tensorflow)
    for each in (stub_engines.EVENTS, stub_engines.OPENED, stub_engines.STARTED, stub_engines.BUILDING):
        each.clear()
    logs, recipe = str(tmp_path / "logs"), _stub(request.param)
    if request.param == "stylize":
        yield Case(recipe, StylizeConfig(content=photo, style=(painting,), backbone="kmeans", size=64, min_size=32,
                                         steps=10), RunConfig(logdir=logs, run="r", log_every=1), "output.png")
    elif request.param == "dream":
        yield Case(recipe, DreamConfig(content=photo, backbone="kmeans", size=64, octaves=2, steps=2, frames=2),
                   DreamRunConfig(logdir=logs, run="r", log_every=1), "output.png")
    elif request.param == "units":
        for index in range(3):
            (tmp_path / "photos").mkdir(exist_ok=True)
            save_picture(tmp_path / f"photos/{index}.png", 40, 50, index)
        yield Case(recipe, UnitsConfig(images=(str(tmp_path / "photos"),), output=f"{logs}/r", backbone="kmeans",
                                       checkpoint_every=0.0), None, "index.html")
    else:
        yield Case(recipe, CompareConfig(content=photo, style=(painting,), size=64, backbones=(
            "kmeans=bundled", "squeezenet=random", "vgg19=random")), SweepRunConfig(logdir=logs, run="r"), "table.json")


def _stop_at(step: int, number: int = signal.SIGTERM) -> None:
    stub_engines.EVENTS[step] = stub_engines.kill(number)


def _refused(case: Case, text: str) -> None:
    """The start is refused in one line, before TensorFlow is started, and changes nothing."""
    before, opened, started = _files(case), len(stub_engines.OPENED), len(stub_engines.STARTED)
    with pytest.raises(UserError, match=text) as raised:
        case.run()
    assert "\n" not in str(raised.value) and len(stub_engines.OPENED) == opened
    assert len(stub_engines.STARTED) == started and _files(case) == before


def _files(case: Case) -> dict[Path, bytes]:
    """What the folder of a case holds."""
    return {path: path.read_bytes() for path in case.folder.rglob("*") if path.is_file()}


def test_a_run_leaves_its_record_and_flags_that_repeat_it(case: Case) -> None:
    assert case.run() == 0
    record = json.loads((case.folder / "config.json").read_text())
    assert (record["recipe"], record["method"]) == (case.recipe.name, case.recipe.method)
    assert {"nst_tf", "settings", "resolved", "run", "inputs", "versions", "platform"} <= set(record)
    types = [type(config) for config in case.configs]
    configs, _ = flags.parse(["x", f"--flagfile={case.folder}/flags.txt"], types, "", {})
    again = case._replace(config=configs[0], run_config=configs[1] if case.run_config else None).elsewhere("again")
    assert again.run() == 0
    assert (again.folder / case.result).read_bytes() == (case.folder / case.result).read_bytes()
    rows = case.folder / "metrics.jsonl"
    assert rows.exists() == (case.recipe.name in ("stylize", "dream"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_by_the_command_that_it_prints(case: Case, number: int,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    whole = case.elsewhere("whole")
    assert whole.run() == 0
    _stop_at(2, number)
    assert case.run() == 128 + number
    said = capsys.readouterr().err.splitlines()[-1]
    words = shlex.split(said.partition(f"scripts/{case.recipe.script} ")[2])
    configs, _ = flags.parse(["x", *words], [type(config) for config in case.configs], "", {})
    again = case._replace(config=configs[0], run_config=configs[1] if case.run_config else None)
    assert "to go on: " in said and again.folder.resolve() == case.folder.resolve()
    assert again.run() == 0
    assert (case.folder / case.result).read_bytes() == (whole.folder / case.result).read_bytes()
    if case.has_resume:
        steps = [json.loads(line)["step"] for line in (case.folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps)) == list(range(1, steps[-1] + 1))


def test_the_same_run_again_goes_on_by_itself(case: Case) -> None:
    _stop_at(2)
    assert case.run() == 143
    assert case.run() == 0 and stub_engines.OPENED == [case.recipe.name] * 2


def test_an_object_stops_a_run_in_any_thread(case: Case) -> None:
    stop, statuses = Stop(), list[int]()
    stub_engines.EVENTS[2] = lambda job: stop.request()
    thread = threading.Thread(target=lambda: statuses.append(case.run(stop)))
    thread.start()
    thread.join()
    assert statuses == [130] and case.run() == 0


def test_a_stop_in_the_last_step_has_nothing_left_to_stop(case: Case) -> None:
    last = {"stylize": 10, "dream": 8, "units": 3, "compare": 3}[case.recipe.name]
    _stop_at(last)
    assert case.run() == 0 and not stub_engines.EVENTS


def test_a_finished_run_is_only_written_again(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.run() == 0
    result = (case.folder / case.result).read_bytes()
    if case.has_resume:
        growing = case.recipe.growing
        _refused(case, f"run 'r' is finished: --resume writes its --output again, --resume with a larger {growing} "
                 f"adds {growing[2:]}, --overwrite starts it afresh")
    (case.folder / case.result).unlink()
    capsys.readouterr()
    assert case.resumed().run() == 0
    assert (case.folder / case.result).read_bytes() == result
    if case.has_resume:
        assert "is finished" in capsys.readouterr().err and len(stub_engines.OPENED) == 1


def test_a_resume_with_more_adds_steps(case: Case) -> None:
    if not case.has_resume:
        assert not case.recipe.growing
        return
    assert case.run() == 0
    name = case.recipe.growing[2:]
    before = getattr(case.config, name)
    larger = case.with_(**{name: before + 1})
    _refused(larger, rf"\({case.recipe.growing} differ\): give another --run, --resume to add {name}, or --overwrite")
    assert larger.resumed().run() == 0
    text = rf"differ\): give another --run, --{name}={before + 1} --resume to go on or to write its --output again"
    for again in (case, case.resumed()):
        _refused(again, text)
    record = json.loads((case.folder / "config.json").read_text())
    assert record["settings"][case.recipe.growing] == before + 1 and len(stub_engines.OPENED) == 2


@WITH_SETTINGS
def test_other_settings_are_refused_by_name_and_overwrite_starts_afresh(case: Case) -> None:
    for status in (143, 0):
        if status:
            _stop_at(2)
        assert case.run() == status
        for again in (case, case.resumed()):
            _refused(again.with_(seed=5), rf"run 'r' exists with other settings \(--seed differ\): give another "
                     f"{case.flag}, or --overwrite to start it afresh")
    (case.folder / "mine.txt").write_text("kept")
    assert case.with_(seed=5, overwrite=True).run() == 0
    assert (case.folder / "mine.txt").read_text() == "kept"
    _refused(case, r"\(--seed differ\)")


@WITH_SETTINGS
def test_a_run_goes_on_with_the_threads_that_it_began_with(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machinery, "threads_in_force", lambda: 3)
    _stop_at(2)
    assert case.run() == 143
    monkeypatch.setattr(machinery, "threads_in_force", lambda: 8)
    _refused(case.with_(threads=8), r"run 'r' exists with other settings \(--threads differ\)")
    path = case.folder / "config.json"
    text = path.read_text()
    assert json.loads(text)["settings"]["--threads"] == 3
    for damage in ("1000000000", "0", "-1", "true", "2.0", '"3"', "[]"):
        path.write_text(text.replace('"--threads": 3', f'"--threads": {damage}'))
        _refused(case, "config.json' is damaged")
    path.write_text(text)
    assert case.run() == 0 and '"--threads": 3' in path.read_text()


def test_a_second_process_is_refused_before_the_record_is_read(case: Case) -> None:
    text = f"run 'r' is being written by another process: give another {case.flag}"
    with locked(case.folder):
        _refused(case, text)
        _refused(case.with_(overwrite=True), text)
    assert not case.folder.parent.exists(), "made for the lock alone"
    assert case.run() == 0
    with locked(case.folder):
        (case.folder / "config.json").write_text("{")
        _refused(case, text)


def test_the_lock_is_held_to_the_end(case: Case) -> None:
    stub_engines.EVENTS[2] = lambda job: _refused(case, "is being written by another process")
    assert case.run() == 0


@pytest.mark.parametrize("text", ["{", "[]", "{}", "null", "7", "[" * 100_000, '{"settings": []}', "\udcff"])
def test_a_damaged_record_is_one_line(case: Case, text: str) -> None:
    assert case.run() == 0
    record = case.folder / "config.json"
    record.write_bytes(text.encode(errors="surrogateescape"))
    if text == '{"settings": []}' and case.recipe.method != 1:
        record.write_text(json.dumps({"settings": [], "method": case.recipe.method}))
    _refused(case.resumed(), f"is damaged: give another {case.flag}, or --overwrite to start afresh")
    assert case.with_(overwrite=True).run() == 0


def test_a_damaged_checkpoint_is_passed_over(case: Case) -> None:
    whole = case.elsewhere("whole")
    assert whole.run() == 0
    for damaged in (1, 2):
        _stop_at(3 if case.recipe.name in ("stylize", "dream") else 2)
        assert case.with_(overwrite=True).run() == 143
        stored = checkpoint.stored(case.folder / checkpoint.FOLDER)
        assert bool(stored) == (case.recipe.name != "compare"), "a comparison is its runs"
        for path in stored[:damaged]:
            path.write_bytes(path.read_bytes()[:200])
        assert case.run() == 0
        assert (case.folder / case.result).read_bytes() == (whole.folder / case.result).read_bytes()


def _with_numbers(value: Any, number: float) -> Any:
    """The same data with another number in place of each."""
    if isinstance(value, dict):
        return {key: _with_numbers(item, number) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item, number) for item in value]
    return number if isinstance(value, (int, float)) and not isinstance(value, bool) else value


@WITH_SETTINGS
def test_a_record_with_other_numbers_is_one_line(case: Case) -> None:
    assert case.run() == 0
    path = case.folder / "config.json"
    record = json.loads(path.read_text())
    for number in (math.inf, -math.inf, math.nan, -1, 0.5):
        path.write_text(json.dumps(record | {"settings": _with_numbers(record["settings"], number)}))
        _refused(case.resumed(), r"is damaged: give another|differ\): give another")
    # What json.loads makes of 1e999.
    path.write_text(json.dumps(record | {"resolved": _with_numbers(record["resolved"], math.inf)}))
    if case.recipe.name != "stylize":
        assert case.resumed().run() == 0, "only stages are read again"
        return
    _refused(case.resumed(), "is damaged: give another")
    path.write_text(json.dumps(record | {"resolved": record["resolved"] | {"stages": []}}))
    _refused(case.resumed(), "is damaged: give another")


@WITH_SETTINGS
@pytest.mark.parametrize("name", ["numpy.load", "os.listdir"])
def test_a_checkpoint_that_the_disk_does_not_give_empties_no_run(
        case: Case, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _stop_at(3)
    if case.recipe.name == "units":
        stub_engines.EVENTS[2] = stub_engines.EVENTS.pop(3)
    assert case.run() == 143
    before, refused = _files(case), list[object]()

    def refuse(path: Any, **_: Any) -> Any:
        refused.append(path)
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(name, refuse)
        with pytest.raises(RunError, match="checkpoints.* cannot be read .Permission denied., and nothing") as raised:
            case.run()
    assert "\n" not in str(raised.value) and refused and _files(case) == before
    assert case.run() == 0


def test_another_method_is_refused_and_a_record_without_one_counts_as_1(case: Case) -> None:
    assert case.run() == 0
    record = json.loads((case.folder / "config.json").read_text())
    text = "run 'r' is of a version of nst_tf that makes other pictures: give another"
    later = case._replace(recipe=case.recipe._replace(method=case.recipe.method + 1))
    for again in (later, later.resumed(), later.with_(seed=5)):
        _refused(again, text)
    del record["method"]
    (case.folder / "config.json").write_text(json.dumps(record))
    if case.recipe.method == 1:
        assert case.resumed().run() == 0
    else:
        _refused(case.resumed(), text)
    assert case.with_(overwrite=True).run() == 0


def test_a_run_of_another_recipe_is_refused(case: Case) -> None:
    assert case.run() == 0
    record = json.loads((case.folder / "config.json").read_text())
    (case.folder / "config.json").write_text(json.dumps(record | {"recipe": "other"}))
    _refused(case.resumed(), f"run 'r' is one of other, not of {case.recipe.name}: give another {case.flag}")


def test_a_record_that_the_disk_does_not_give_is_not_called_damaged(case: Case,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    case.folder.mkdir(parents=True)
    (case.folder / ".lock").touch()
    (case.folder / "config.json").write_text("{}")
    monkeypatch.setattr(Path, "read_text", _refusing(errno.EACCES))
    _refused(case, r"config.json' cannot be read \(Permission denied\), and nothing was changed: give another "
             f"{case.flag}, or make it readable")


def test_an_error_of_the_disk_that_nobody_foresaw_is_one_line(case: Case) -> None:
    def refuse(job: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/x/y")

    stub_engines.EVENTS[1] = refuse
    with pytest.raises(RunError, match="'/x/y' could not be read or written .Permission denied.: choose another place"):
        case.run()
    assert case.run() == 0


def _fail_at_write(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when that file, counted from 1, is written."""
    written = list[int]()

    def sync(file: int) -> None:
        written.append(file)
        if len(written) == number:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)


@WITH_SETTINGS
def test_a_disk_that_is_full_at_some_write_costs_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = case.elsewhere("whole")
    assert whole.run() == 0
    for number in (1, 6, 8):
        each, failed = case.elsewhere(f"r{number}"), False
        with monkeypatch.context() as patch:
            _fail_at_write(number, patch)
            try:
                each.run()
            except RunError as error:
                failed = True
                assert "(No space left on device): free some space there" in str(error) and "\n" not in str(error)
        assert failed or case.recipe.name == "units" and number > 4
        assert each.resumed().run() == 0 and not list(each.folder.rglob("*.tmp"))
        assert (each.folder / case.result).read_bytes() == (whole.folder / case.result).read_bytes()


def test_what_a_killed_process_has_left_goes_and_nothing_else(case: Case) -> None:
    """Half files, and those of the first write, which leave no record; other files in the same folders stay."""
    half, mine = ".0123456789abcdef.tmp", [case.folder / "checkpoints/mine.npz"]
    if case.has_resume:
        mine.append(case.folder / "images/mine.png")
    for place in (case.folder, *(path.parent for path in mine)):
        place.mkdir(parents=True)
        (place / half).touch()
    for path in mine:
        path.write_text("mine")
    assert case.run() == 0
    assert not list(case.folder.rglob(half)) and all(path.read_text() == "mine" for path in mine)


def test_a_folder_that_is_no_run_is_left_alone(case: Case) -> None:
    case.folder.mkdir(parents=True)
    (case.folder / "thesis.txt").write_text("mine")
    for again in (case, case.with_(overwrite=True)):
        _refused(again, rf"is no run folder \(it has no config.json\): give another {case.flag}")
    assert [path.name for path in case.folder.iterdir()] == ["thesis.txt"]


def test_a_start_that_died_early_can_be_started_again(case: Case) -> None:
    (case.folder / "checkpoints").mkdir(parents=True)
    (case.folder / "flags.txt").touch()
    (case.folder / ".lock").touch()
    assert case.run() == 0


def test_an_input_in_the_folder_of_the_run_is_refused(case: Case) -> None:
    assert case.run() == 0
    field, path = ("content", case.folder / "content.png")
    if case.recipe.name == "units":
        field, path = "weights", case.folder / "mine.npz"
        path.write_bytes((Path(__file__).parents[1] / "nst_tf/backbones/kmeans_bundled.npz").read_bytes())
    else:
        save_picture(path, 40, 50, 9)
    _refused(case.with_(overwrite=True, **{field: str(path)}),
             f"--{field} .* lies in the folder of this run, which it rewrites: give another {case.flag}")


@WITH_SETTINGS
def test_resume_and_overwrite_exclude_each_other(case: Case) -> None:
    with pytest.raises(UserError, match="exclude each other") if case.has_resume else contextlib.nullcontext():
        case.with_(resume=True, overwrite=True).run()


def test_a_start_that_fails_leaves_nothing_new_and_all_that_was(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(stub_engines, case.recipe.name, fail)
        with pytest.raises(RunError, match="does not fit into memory.*; what is stored in the run folder is kept"):
            case.run()
    assert not case.folder.parent.exists()
    assert case.run() == 0
    before = _files(case)
    monkeypatch.setattr(stub_engines, case.recipe.name, fail)
    with pytest.raises(RunError):
        case.with_(overwrite=True).run()
    assert _files(case) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_the_network_is_built_writes_nothing(case: Case, number: int,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    stub_engines.BUILDING.append(stub_engines.kill(number))
    assert case.run() == 128 + number and not case.folder.parent.exists()
    assert "stopped before the first step, nothing was written" in capsys.readouterr().err
    assert case.run() == 0
    before = _files(case)
    stub_engines.BUILDING.append(stub_engines.kill(number))
    assert case.with_(overwrite=True, seed=5).run() == 128 + number
    assert _files(case) == before


def test_a_second_signal_ends_at_once_and_says_how_to_go_on(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    def kill_twice(job: Any) -> None:
        for _ in range(2):
            stub_engines.kill(signal.SIGINT)(job)

    stub_engines.EVENTS[2] = kill_twice
    # A shell starts what runs in its background with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            case.run()
    finally:
        signal.signal(signal.SIGINT, before)
    said = capfd.readouterr().err
    assert "nst_tf: finishing the step; once more to stop at once\n" in said
    assert "stopped at once; to go on: " in said.splitlines()[-1] and f"--flagfile={case.folder}" in said
    assert case.run() == 0


def test_a_folder_of_nothing_but_a_lock_is_no_litter(case: Case) -> None:
    def fail(job: Any) -> None:
        raise MemoryError

    case.folder.mkdir(parents=True)
    (case.folder / ".lock").touch()
    stub_engines.BUILDING.append(fail)
    with pytest.raises(RunError):
        case.run()
    assert not case.folder.exists() and case.folder.parent.exists(), "made for this run alone"


def test_two_runs_at_once_in_one_process(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    barrier, statuses = threading.Barrier(2, timeout=60), list[int]()
    monkeypatch.setattr(session, "start_tensorflow", lambda *_: str(barrier.wait()))
    cases = [case, case.elsewhere("other")]
    threads = [threading.Thread(target=lambda each=each: statuses.append(each.run())) for each in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0, 0]
    assert len({(each.folder / each.result).read_bytes() for each in cases}) == 1


def test_a_folder_that_cannot_be_written_is_refused_first(case: Case) -> None:
    changes = {"output": "/proc/x"} if case.flag == "--output" else {"logdir": "/proc/x"}
    with pytest.raises(UserError, match="cannot be written"):
        case.with_(**changes).run()


def test_resume_with_nothing_stored_starts_from_the_beginning(case: Case) -> None:
    assert case.resumed().run() == 0 and (case.folder / case.result).exists()


@WITH_SETTINGS
@pytest.mark.parametrize("value", [{}, None, [[]], [{"file": 1}], "1"])
def test_a_damaged_setting_differs(case: Case, value: object) -> None:
    assert case.run() == 0
    record = json.loads((case.folder / "config.json").read_text())
    flag = "--images" if case.recipe.name == "units" else "--content"
    (case.folder / "config.json").write_text(json.dumps(record | {"settings": record["settings"] | {flag: value}}))
    _refused(case.resumed(), rf"\({flag} differ\)")


def test_the_first_request_to_stop_counts() -> None:
    stop = Stop()
    assert not stop.is_requested
    stop.request(signal.SIGTERM)
    stop.request()
    assert stop.is_requested and stop.status == 143


def test_a_run_inside_of_a_run_leaves_the_signals_to_the_outer_one() -> None:
    stop, before = Stop(), signal.getsignal(signal.SIGINT)
    with stop_signals(stop):
        outer = signal.getsignal(signal.SIGINT)
        with stop_signals(stop):
            assert signal.getsignal(signal.SIGINT) is outer is not before
        signal.raise_signal(signal.SIGINT)
        assert stop.status == 130 and signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("name, config", [("export", ExportConfig()), ("filters", FiltersConfig())])
def test_a_stop_before_anything_is_written_ends_what_has_no_steps(name: str, config: Any,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "start_tensorflow", stub_engines.start_tensorflow)
    recipe, stop = RECIPES[name]._replace(engine="tests.stub_engines:stepless", resolve=lambda *_: (),
                                          fetch=lambda _: None), Stop()
    stub_engines.BUILDING.append(lambda job: stop.request(signal.SIGTERM))
    assert machinery.run(recipe, config, None, stop) == 143


def _refusing(number: int) -> Callable[..., None]:
    def refuse(*_: Any, **more: Any) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_only_another_process_is_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    for number in (errno.EWOULDBLOCK, errno.ESTALE, errno.EIO, errno.ENOLCK, errno.EOPNOTSUPP):
        monkeypatch.setattr(fcntl, "flock", _refusing(number))
        if number in (errno.ENOLCK, errno.EOPNOTSUPP):
            with locked(tmp_path / "r"):
                assert (tmp_path / "r/.lock").exists()
            assert "has no locks, and a second process is not noticed: start one at a" in capsys.readouterr().err
            continue
        text = ("is being written by another process: give another --run" if number == errno.EWOULDBLOCK else
                "cannot be locked .*: give another --logdir$")
        with pytest.raises(UserError, match=text) as raised, locked(tmp_path / "r"):
            pass
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EINTR])
def test_a_lock_that_fails_leaves_nothing_and_removes_nothing(number: int, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/.lock").touch()
    monkeypatch.setattr(fcntl, "flock", _refusing(number))
    for name in ("there", "logs/r"):
        with pytest.raises(UserError, match="cannot be locked"), locked(tmp_path / name):
            pass
    with pytest.raises(UserError, match="cannot be locked"), new_folder(tmp_path / "logs/r") as own, locked(own):
        pass
    too_long = tmp_path / "new" / (300 * "r")
    with pytest.raises(RunError, match="could not be made .File name too long"), new_folder(too_long):
        pass
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "there", tmp_path / "there/.lock"]


@pytest.mark.parametrize("number, kind, text", [
    (errno.EACCES, UserError, "r/.lock' cannot be locked .Permission denied; another user may own it.: give another"),
    (errno.EROFS, UserError, "r/.lock' cannot be locked .Read-only file system.: give another --logdir"),
    (errno.ENOSPC, RunError, "r/.lock' could not be written .No space left on device.: free some space there"),
])
def test_a_lock_that_the_disk_refuses_is_told_by_its_true_reason(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], text: str) -> None:
    monkeypatch.setattr(folder, "open", _refusing(number), raising=False)
    with pytest.raises(kind, match=text) as raised, locked(tmp_path / "r"):
        pass
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["folder", "link", "linked folder"])
def test_a_lock_file_that_cannot_be_opened_is_one_line(tmp_path: Path, kind: str) -> None:
    run_folder = tmp_path / "r"
    if kind == "linked folder":
        run_folder.symlink_to(tmp_path / "none/r")
    else:
        run_folder.mkdir()
        (run_folder / ".lock").mkdir() if kind == "folder" else (run_folder / ".lock").symlink_to(tmp_path / "none/x")
    with pytest.raises(UserError, match="cannot be locked .*: give another --run, or remove that file") as raised:
        with locked(run_folder):
            pass
    assert "\n" not in str(raised.value)


def test_a_lock_file_that_was_removed_meanwhile_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, removed = fcntl.flock, list[Path]()

    def remove_first(file: Any, how: int) -> None:
        """The process that held the lock ends between opening and locking, and removes file and folder."""
        flock(file, how)
        if len(removed) < 2:
            removed.append(tmp_path / "r/.lock")
            removed[-1].unlink()
            if len(removed) == 1:
                removed[-1].parent.rmdir()
            else:
                removed[-1].touch()

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with locked(tmp_path / "r"):
        monkeypatch.undo()
        assert len(removed) == 2
        with pytest.raises(UserError, match="another process"), locked(tmp_path / "r"):
            pass
    assert not (tmp_path / "r").exists()


def test_a_failed_clean_up_hides_no_error_and_frees_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyError, match="mine"):
        patch.setattr(Path, "unlink", _refusing(errno.EIO))
        with locked(tmp_path / "r"):
            raise KeyError("mine")
    assert (tmp_path / "r/.lock").exists()
    with locked(tmp_path / "r"):
        pass
    assert not (tmp_path / "r").exists()


def test_without_locks_the_file_is_closed_before_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(folder, "fcntl", None)
    unlink = Path.unlink

    def note(*args: Any, **more: Any) -> Any:
        opened.append(open(*args, **more))
        return opened[-1]

    def unlink_closed(path: Path, missing_ok: bool = False) -> None:
        assert opened[0].closed
        unlink(path, missing_ok)

    monkeypatch.setattr(folder, "open", note, raising=False)
    monkeypatch.setattr(Path, "unlink", unlink_closed)
    with locked(tmp_path / "r"):
        assert not opened[0].closed
    assert not (tmp_path / "r").exists()


def test_stderr_is_the_same_after_threads_have_silenced_it() -> None:
    def silence() -> None:
        for _ in range(50):
            with quiet_stderr():
                time.sleep(0.0002)

    before, threads = os.fstat(2), [threading.Thread(target=silence) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.path.samestat(os.fstat(2), before)


def test_every_recipe_names_its_script_and_its_engine() -> None:
    for name, recipe in RECIPES.items():
        module, _, function = recipe.engine.partition(":")
        root = Path(__file__).resolve().parents[1]
        assert recipe.name == name and (root / "scripts" / recipe.script).is_file()
        assert f"def {function}(job: Job) -> Session:" in (root / f"{module.replace('.', '/')}.py").read_text()
    assert "tests.stub_engines" in sys.modules


def test_a_missing_package_is_one_line_and_a_missing_module_of_ours_is_no_excuse() -> None:
    with pytest.raises(UserError, match="the package jinja3 is not installed: run 'pip install -e .'"):
        session.import_function("jinja3:render")
    with pytest.raises(ModuleNotFoundError):
        session.import_function("nst_tf.nowhere:render")
