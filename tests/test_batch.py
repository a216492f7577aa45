"""Batches: which tasks there are, what is skipped, what is told; whole batches of tiny pictures in one process."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf import flags
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.losses import evaluation
from nst_tf.recipes.batch.driver import Outcome
from nst_tf.recipes.batch.journal import Journal
from nst_tf.recipes.batch.recipe import BATCH, BatchConfig, BatchRunConfig
from nst_tf.recipes.batch.report import Report, thumbnail
from nst_tf.recipes.batch.steps import with_precision
from nst_tf.recipes.batch.tasks import Shape, Task, output_of, plan_tasks, styles_of
from nst_tf.runs.run import run
from nst_tf.streams import open_log
from nst_tf.vocabulary import UserError
from tests.commands import ROOT
from tests.conftest import run_stylize, save_picture

TINY: dict[str, Any] = {"backbone": "kmeans", "weights": "bundled", "size": 40, "min_size": 40, "steps": 2,
                        "precision": "float32"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos of one size, and a file that is none."""
    folder = _folder(tmp_path / "photos", ("a.png", "b.png"), (31, 40), seed=1)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def paintings(tmp_path: Path) -> Path:
    """Two paintings."""
    return _folder(tmp_path / "paintings", ("x.png", "y.png"), (40, 37), seed=5)


def _folder(folder: Path, names: tuple[str, ...], size: tuple[int, int], seed: int) -> Path:
    folder.mkdir()
    for number, name in enumerate(names, seed):
        save_picture(folder / name, *size, seed=number)
    return folder


def _tasks(jobs: str = "", content: str = "", style: tuple[str, ...] = (), output: str = "",
           **flags: Any) -> list[Task]:
    return plan_tasks(Shape(jobs, content, style), StylizeConfig(**flags), RunConfig(output=output))


def test_every_photo_with_every_painting(photos: Path, paintings: Path) -> None:
    tasks = _tasks(content=str(photos), style=(str(paintings),), output="out/{content}_{style}.png", seed=3)
    assert [task.run_config.output for task in tasks] == [f"out/{a}_{b}.png" for a in "ab" for b in "xy"]
    assert {task.config.seed for task in tasks} == {3}
    patterns = _tasks(content=f"{photos}/*.png", style=(f"{paintings}/[xy].png",))
    assert [(task.config.content, task.config.style) for task in patterns] == [
        (task.config.content, task.config.style) for task in tasks]


def test_named_paintings_are_blended(photos: Path, paintings: Path) -> None:
    both = (f"{paintings}/x.png", f"{paintings}/y.png")
    tasks = _tasks(content=f"{photos}/a.png", style=both, output="{content}_{style}.jpg")
    assert [(task.config.style, task.run_config.output) for task in tasks] == [(both, "a_x+y.jpg")]
    with pytest.raises(UserError, match="give it alone"):
        styles_of((str(paintings), both[0]))


@pytest.mark.parametrize("pattern, text", [("out/{name}.png", "give {content} or {style}"), ("{content", "brace"),
                                           ("{content!r}.png", "stands for nothing"), ("{}.png", "stands for nothing")])
def test_placeholders_are_checked(pattern: str, text: str) -> None:
    with pytest.raises(UserError, match=re.escape(text)):
        output_of(pattern, StylizeConfig(content="a.png", style=("x.png",)))


def test_names_with_braces_are_names() -> None:
    assert output_of("o/{content}{{1}}.png", StylizeConfig(content="p/{a}.b.png", style=("x.png",))) == "o/{a}.b{1}.png"


def test_two_pictures_in_one_file_are_refused(photos: Path, paintings: Path) -> None:
    with pytest.raises(UserError, match="2 pictures would be written to"):
        _tasks(content=str(photos), style=(f"{paintings}/x.png",), output="out/picture.png")


def test_a_file_of_jobs_in_both_forms(tmp_path: Path) -> None:
    csv, jsonl = tmp_path / "jobs.csv", tmp_path / "jobs.jsonl"
    csv.write_text("\ufeffcontent, style, steps, style_blend, own_size, output\n"
                   "a.jpg,\"x.jpg,y.jpg\",7,\"1,3\",true,out/a.png\n\nb.jpg,x.jpg,,,,\n", encoding="utf-8")
    jsonl.write_text(
        json.dumps({"content": "a.jpg", "style": "x.jpg,y.jpg", "steps": 7, "style_blend": [1, 3], "own_size": True,
                    "output": "out/a.png"}) + "\n\n"
        + json.dumps({"--content": "b.jpg", "style": ["x.jpg"], "steps": None}) + "\n")
    ours, theirs = (_tasks(jobs=str(path), size=99, steps=5) for path in (csv, jsonl))
    assert [task[:2] for task in ours] == [task[:2] for task in theirs]
    first, second = ours
    assert (first.config.style, first.config.steps, first.config.style_blend, first.config.size) == (
        ("x.jpg", "y.jpg"), 7, (1, 3), 99)
    assert (first.run_config.own_size, first.run_config.output) == (True, "out/a.png")
    assert (second.config.style, second.config.steps, second.run_config.own_size) == (("x.jpg",), 5, False)
    assert ours[1].source == f"line 4 of {csv}" and theirs[1].source == f"line 3 of {jsonl}"


@pytest.mark.parametrize("name, text, said", [
    ("j.csv", "content,stylle\na.jpg,x.jpg\n", "flag 'stylle' is unknown, did you mean 'style'?"),
    ("j.csv", "content,steps\na.jpg,many\n", "line 2 of"), ("j.csv", "content,style\na.jpg,x.jpg,y.jpg\n", "header"),
    ("j.csv", "content,threads\na.jpg,1\n", "holds for the whole batch"), ("j.csv", "content,style\n", "holds no job"),
    ("j.jsonl", "{content: 1}\n", "line 1 is no JSON"), ("j.jsonl", "[1]\n", "is no object"),
    ("j.jsonl", '{"content": "a", "steps": "0"}\n', "--steps=0 is out of range"),
    ("j.jsonl", '{"content": "a", "own_size": "perhaps"}\n', "give true or false"),
    ("j.csv", "content,size,size\na.jpg,1,2\n", "names 'size' twice"),
    ("j.txt", "a.jpg\n", ".jsonl"), ("j.csv", "", "is empty")])
def test_what_is_wrong_in_a_file_of_jobs_is_one_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        _tasks(jobs=str(tmp_path / name))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("sign", ";\t")
def test_a_file_of_jobs_of_a_spreadsheet(tmp_path: Path, sign: str) -> None:
    path = tmp_path / "jobs.csv"
    path.write_bytes(f"\ufeffcontent{sign}style{sign}steps\r\na.jpg{sign}x.jpg,y.jpg{sign}7\r\n".encode())
    (task,) = _tasks(jobs=str(path))
    assert (task.config.content, task.config.style, task.config.steps) == ("a.jpg", ("x.jpg", "y.jpg"), 7)


def test_a_run_folder_follows_the_settings_and_the_bytes(photos: Path, paintings: Path, tmp_path: Path) -> None:
    def name(content: Path, **flags: Any) -> str:
        (task,) = _tasks(content=str(content), style=(f"{paintings}/x.png",), **flags)
        return task.name

    first = name(photos / "a.png")
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(photos / "a.png", moved / "a.png")
    assert first == name(moved / "a.png") and first.startswith("a_x-")
    assert len({first, name(photos / "b.png"), name(photos / "a.png", steps=9)}) == 3
    shutil.copy(photos / "b.png", moved / "a.png")
    assert name(moved / "a.png") != first


def test_precision_is_decided_once_for_each_network() -> None:
    asked: list[str] = []

    def decide(config: StylizeConfig) -> str:
        asked.append(config.content)
        if config.content == "missing.jpg":
            raise UserError("it does not exist")
        return "bfloat16" if config.backbone == "vgg19" else "float32"

    def task(content: str, **flags: Any) -> Task:
        return Task(StylizeConfig(content=content, **flags), RunConfig(), content)

    tasks = [task("missing.jpg"), task("a.jpg"), task("b.jpg"), task("c.jpg", backbone="kmeans"),
             task("d.jpg", precision="float16")]
    # The first cannot tell, and stays as it is: its error is its own.
    assert [each and each.config.precision for each in with_precision(tasks, decide)] == [
        "auto", "bfloat16", "bfloat16", "float32", "float16"]
    assert asked == ["missing.jpg", "a.jpg", "c.jpg"]


def test_the_journal_knows_untouched_pictures(tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    save_picture(picture, 5, 6, seed=1)
    task = Task(StylizeConfig(content="a"), RunConfig(run="r", output=str(picture)), "a")
    journal = Journal(tmp_path, is_new=False)
    assert journal.found(task) is None
    journal.note(task._replace(run_config=RunConfig(run="bad")), Outcome(1))
    journal.note(task, Outcome(0, seconds=2.5))
    with open(tmp_path / "done.jsonl", "a") as file:
        file.write('{"run": "r2", "pict')  # a kill
    again = Journal(tmp_path, is_new=False)
    found = again.found(task)
    assert found is not None and (found.status, found.seconds) == (0, 2.5)
    assert again.found(task._replace(run_config=RunConfig(run="r", output=str(tmp_path / "other.png")))) is None
    save_picture(picture, 5, 6, seed=2)
    assert again.found(task) is None
    assert Journal(tmp_path, is_new=True).found(task) is None and not (tmp_path / "done.jsonl").exists()


def test_the_report_escapes_and_counts(tmp_path: Path) -> None:
    report = Report(tmp_path)
    (tmp_path / "r").mkdir()
    save_picture(tmp_path / "r/output.png", 300, 500, seed=1)
    shown = Task(StylizeConfig(content="<b>.jpg", style=("x",)), RunConfig(run="r"), "<b>.jpg")
    report.add(shown, Outcome(0, seconds=1))
    report.add(Task(StylizeConfig(content="c"), RunConfig(run="q"), "c.jpg"), Outcome(2, "no <i> file", attempts=3))
    report.write()
    assert report.reasons == ["failed: c.jpg: no <i> file"]
    data, html = json.loads((tmp_path / "report.json").read_text()), report.path.read_text()
    assert (data["made"], data["found"], data["failed"], data["pictures"][1]["attempts"]) == (1, 0, 1, 3)
    assert "&lt;b&gt;.jpg" in html and "no &lt;i&gt; file" in html and "<b>" not in html
    with Image.open(tmp_path / data["pictures"][0]["thumbnail"]) as image:
        assert image.size == (200, 120)


def test_the_same_reason_is_told_once(tmp_path: Path) -> None:
    report = Report(tmp_path)
    for source, line in (("a", "no weights"), ("b", "too small"), ("c", "no weights"), ("d", "no weights")):
        report.add(Task(StylizeConfig(), RunConfig(run=source), source), Outcome(2, line))
    assert report.reasons == ["failed: a and 2 more: no weights", "failed: b: too small"]


def test_a_cut_line_of_the_journal_does_not_take_the_next_one(tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    save_picture(picture, 5, 6, seed=1)
    task = Task(StylizeConfig(content="a"), RunConfig(run="r", output=str(picture)), "a")
    (tmp_path / "done.jsonl").write_text('{"run": "cut", "pict')
    Journal(tmp_path, is_new=False).note(task, Outcome(0))
    assert Journal(tmp_path, is_new=False).found(task) is not None


def test_a_thumbnail_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r").mkdir()
    save_picture(tmp_path / "r/output.png", 300, 500, seed=1)

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert thumbnail(tmp_path, "r") == "" and not list((tmp_path / "thumbnails").iterdir())
    with Image.open(tmp_path / thumbnail(tmp_path, "r")) as image:
        assert image.size == (200, 120)


def test_a_page_shows_the_last_rows_and_the_report_has_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_tf.recipes.batch.report.PAGE_ROWS", 2)
    clock = [0.0]
    report = Report(tmp_path, lambda: clock[0])
    for number in range(5):
        report.add(Task(StylizeConfig(), RunConfig(run=f"r{number}"), f"photo{number}"), Outcome(number // 4))
    report.write_when_due()
    assert not report.path.exists()
    clock[0] = 31.0
    report.write_when_due()
    html, data = report.path.read_text(), json.loads((tmp_path / "report.json").read_text())
    assert [number for number in range(5) if f"photo{number}" in html] == [2, 3, 4] and len(data["pictures"]) == 5
    assert "4 pictures made" in html and "2 are in" in html


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_a_log_outlives_a_full_disk() -> None:
    with open_log("/dev/full") as log:
        print("lost", file=log, flush=True)


def _batch(folder: Path, photos: Path, paintings: Path, **more: Any) -> int:
    of_run: dict[str, Any] = {name: more.pop(name) for name in ("output", "overwrite", "run") if name in more}
    config = BatchConfig(content=str(photos), style=(f"{paintings}/x.png",), **TINY | more)
    return run(BATCH, config, BatchRunConfig(logdir=str(folder / "logs"), **{"run": "b"} | of_run))


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_batch_makes_what_single_runs_make_and_goes_on(
        photos: Path, paintings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "out/{content}.png")
    assert _batch(tmp_path, photos, paintings, output=output) == 0
    assert "2 made, 0 were there, 0 failed" in capsys.readouterr().out
    for name in "ab":
        single = tmp_path / f"single_{name}.png"
        assert run_stylize(StylizeConfig(content=f"{photos}/{name}.png", style=(f"{paintings}/x.png",), **TINY),
                           RunConfig(logdir=str(tmp_path / "single"), output=str(single))) == 0
        assert np.array_equal(_pixels(single), _pixels(tmp_path / f"out/{name}.png"))
    folder = tmp_path / "logs/b"
    assert sorted(path.name for path in next(folder.glob("a_x-*")).iterdir()) == sorted(
        [".lock", "checkpoints", "config.json", "flags.txt", "metrics.jsonl", "output.png",
         *(path.name for path in next(folder.glob("a_x-*")).glob("events.*"))])
    capsys.readouterr()
    # A third photo, and one of the pictures is lost: these are made, and the finished run only writes its picture.
    save_picture(photos / "c.png", 31, 40, seed=9)
    (tmp_path / "out/a.png").unlink()
    before = next(folder.glob("b_x-*")).joinpath("output.png").stat().st_mtime_ns
    assert _batch(tmp_path, photos, paintings, output=output) == 0
    assert "2 made, 1 were there, 0 failed" in capsys.readouterr().out
    assert (tmp_path / "out/a.png").exists() and (tmp_path / "out/c.png").exists()
    assert next(folder.glob("b_x-*")).joinpath("output.png").stat().st_mtime_ns == before


def test_a_style_is_measured_once_for_each_size_and_objective(
        photos: Path, paintings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []
    real = evaluation.TERMS["style"]

    def targets(objective: Any, source: Any) -> Any:
        measured.append(objective.style_layers)
        return real.targets(objective, source)

    monkeypatch.setitem(evaluation.TERMS, "style", real._replace(targets=targets))
    jobs, weights = tmp_path / "jobs.jsonl", ["conv1@1", "conv1@1", "conv1@1,conv2@3", "conv1@1,conv2@1", "conv1@1"]
    jobs.write_text("\n".join(json.dumps({
        "content": f"{photos}/{'ab'[k % 2]}.png", "style": f"{paintings}/x.png", "style_layers": layers, "seed": k})
        for k, layers in enumerate(weights)))
    config = BatchConfig(jobs=str(jobs), **TINY)
    assert run(BATCH, config, BatchRunConfig(logdir=str(tmp_path / "logs"), run="b")) == 0
    assert len(measured) == len(set(measured)) == 3


def test_what_cannot_be_made_is_told_and_the_rest_is_made(
        photos: Path, paintings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:40])
    assert _batch(tmp_path, photos, paintings) == 1
    out = capsys.readouterr().out
    assert "1 made, 0 were there, 1 failed" in out and f"failed: {photos}/a.png: --content" in out
    row = next(row for row in json.loads((tmp_path / "logs/b/report.json").read_text())["pictures"] if row["status"])
    assert (row["attempts"], row["status"]) == (1, 2), "it stays broken"


def test_a_stopped_batch_says_how_it_goes_on(
        photos: Path, paintings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    real = Journal.note

    def note_and_stop(journal: Journal, task: Task, outcome: Outcome) -> None:
        real(journal, task, outcome)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "note", note_and_stop)
        assert _batch(tmp_path, photos, paintings) == 143
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("nst_tf: stopped after 1 of 2 pictures; to go on: ") and "run_batch.py" in line
    (flag_file,) = re.findall(r"--flagfile=(\S+)", line)
    configs, _ = flags.parse(["x", f"--flagfile={flag_file}", "--run=b"], [BatchConfig, BatchRunConfig], "", {})
    assert run(BATCH, *configs) == 0
    assert "1 made, 1 were there, 0 failed" in capsys.readouterr().out


def test_where_no_picture_can_be_made_nothing_is_written(photos: Path, paintings: Path, tmp_path: Path) -> None:
    for path in photos.glob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="a.png"):
        _batch(tmp_path, photos, paintings)
    assert not (tmp_path / "logs").exists()


def test_flags_of_the_whole_batch(photos: Path, paintings: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--content is missing"):
        run(BATCH, BatchConfig(style=(str(paintings),)), BatchRunConfig())
    with pytest.raises(UserError, match="--resume"):
        run(BATCH, BatchConfig(content=str(photos)), BatchRunConfig(resume=True))
    names = {BATCH.options(BatchConfig(content=str(photos), **flags), BatchRunConfig()).place.name
             for flags in ({}, {"workers": 2}, {"threads": 1}, {"job_timeout": 9.0})}
    assert len(names) == 1 and re.fullmatch(r"batch-[0-9a-f]{10}", names.pop())


@pytest.mark.slow
def test_worker_processes_make_what_a_single_run_makes(photos: Path, paintings: Path, tmp_path: Path) -> None:
    """Scripts, since this process has its number of threads already."""
    flags = [f"--style={paintings}/x.png", f"--logdir={tmp_path}/logs", "--threads=1",
             *(f"--{name}={value}" for name, value in TINY.items())]
    batch = ["run_batch.py", f"--content={photos}", f"--output={tmp_path}/{{content}}.png", "--workers=2", *flags]
    single = ["stylize.py", f"--content={photos}/b.png", f"--output={tmp_path}/single.png", *flags]
    for script, *rest in (batch, single):
        done = subprocess.run([sys.executable, ROOT / "scripts" / script, *rest], capture_output=True, text=True,
                              timeout=200, check=False)
        assert done.returncode == 0, done.stderr
    assert np.array_equal(_pixels(tmp_path / "b.png"), _pixels(tmp_path / "single.png"))
