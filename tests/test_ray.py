"""Workers on Ray: what is refused before any work, what is sent; whole batches where Ray is installed."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.batch import ray_flags
from nst_tf.recipes.batch.driver import Outcome
from nst_tf.recipes.batch.ray_flags import check_answers, check_ray, host_and_port
from nst_tf.recipes.batch.recipe import BATCH, BatchConfig, BatchRunConfig
from nst_tf.recipes.batch.shipping import contents_below, contents_of, deliver, make_apart, named_files, pack
from nst_tf.recipes.batch.tasks import Task
from nst_tf.runs.run import run
from nst_tf.vocabulary import UserError
from tests.commands import ROOT
from tests.conftest import run_stylize, save_picture

TINY: dict[str, Any] = {"backbone": "kmeans", "weights": "bundled", "size": 40, "min_size": 40, "steps": 2,
                        "precision": "float32"}


@pytest.mark.parametrize("flags, said", [
    ({"ray_address": "head:6379"}, "--ray_address is of Ray's workers"), ({"ship_files": True}, "--ship_files is of"),
    ({"engine": "ray"}, "pip install -e '.[ray]'")])
def test_flags_without_ray_are_refused(flags: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch,
                                       photo: str, painting: str, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=said.replace("[", r"\[")):
        run(BATCH, BatchConfig(content=photo, style=(painting,), **flags), BatchRunConfig(
            logdir=str(tmp_path / "logs")))
    assert not (tmp_path / "logs").exists()


def test_a_folder_named_ray_is_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match="not installed"):
        check_ray(BatchConfig(engine="ray"))


@pytest.mark.parametrize("address", ["head", "ray://head:1", ":5", "head:0", "head:70000", "head:x", "head:²"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="HOST:PORT"):
        host_and_port(address)
    assert host_and_port("[::1]:6379") == ("::1", 6379)


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """Something that listens, and that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_an_address_that_does_not_answer_is_one_line(mute: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_flags, "ANSWERS_WITHIN", 0.1)
    port = mute.getsockname()[1]
    with pytest.raises(UserError, match="timed out"):
        check_answers(f"127.0.0.1:{port}")

    def answer(words: bytes) -> None:
        connection, _ = mute.accept()
        connection.sendall(words)
        connection.recv(99)
        connection.close()

    mute.accept()[0].close()
    for words, is_ray in ((b"HTTP/1.1 400 Bad", False), (b"\0\0\6\4\0\0\0\0\0\0\5\0\0\100\0", True)):
        thread = threading.Thread(target=answer, args=(words,))
        thread.start()
        if is_ray:
            check_answers(f"127.0.0.1:{port}")
        else:
            with pytest.raises(UserError, match="is no Ray"):
                check_answers(f"127.0.0.1:{port}")
        thread.join()
    mute.close()
    with pytest.raises(UserError, match="does not answer"):
        check_answers(f"127.0.0.1:{port}")


def _task(photo: str, painting: str, tmp_path: Path, **flags: Any) -> Task:
    config = StylizeConfig(content=photo, style=(painting,), **TINY | flags)
    return Task(config, RunConfig(logdir=str(tmp_path / "logs"), run="r", output=str(tmp_path / "out.png")), "a")


def test_a_picture_made_apart_is_that_of_a_run_here(photo: str, painting: str, tmp_path: Path) -> None:
    task = _task(photo, painting, tmp_path)

    def make(sent: Task) -> Outcome:
        assert not {photo, painting} & {path for _, path in named_files(sent.config)}
        return Outcome(run_stylize(sent.config, sent.run_config), f"made {sent.config.content}")

    delivery = make_apart(pack(task, contents_of), make, str(tmp_path))
    outcome = deliver(delivery, task)
    assert outcome == Outcome(0, f"made {os.path.abspath(photo)}")
    apart, folder = (tmp_path / "out.png").read_bytes(), tmp_path / "logs/r"
    record, flags = json.loads((folder / "config.json").read_text()), (folder / "flags.txt").read_text()
    assert run_stylize(task.config, RunConfig(logdir=str(tmp_path / "logs"), run="s", output=str(tmp_path / "out.png"))
                       ) == 0
    here = json.loads((tmp_path / "logs/s/config.json").read_text())
    assert apart == (tmp_path / "out.png").read_bytes()
    assert {name for name in record if record[name] != here[name]} == {"run"} and record["inputs"] == here["inputs"]
    assert flags == (tmp_path / "logs/s/flags.txt").read_text()
    # What is there is sent, and a file that is there no longer goes.
    (folder / "events.old").write_text("old")
    parcel = pack(task, contents_of)
    assert parcel.folder["events.old"] == b"old" and any("step_" in place for place in parcel.folder)
    deliver(delivery, task)
    assert not (folder / "events.old").exists() and contents_below(folder) == delivery.folder


def test_what_cannot_be_sent_is_refused(photo: str, painting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                        ) -> None:
    task = _task(photo, painting, tmp_path)
    with pytest.raises(UserError, match="is the file of --content"):
        pack(task._replace(run_config=RunConfig(logdir=str(tmp_path), output=photo)), contents_of)
    with pytest.raises(UserError, match="--style"):
        pack(_task(photo, str(tmp_path), tmp_path), contents_of)
    # A name is a name, whatever files there are.
    monkeypatch.chdir(tmp_path)
    for name in ("bundled", "content"):
        Path(name).write_text("no weights, no picture")
    assert dict(named_files(_task(photo, painting, tmp_path, init="content").config)) == {
        "--content": photo, "--style": painting}


def test_a_folder_is_sent_whole(tmp_path: Path) -> None:
    (tmp_path / "net/a").mkdir(parents=True)
    (tmp_path / "net/a/b").write_bytes(b"1")
    assert contents_of(str(tmp_path / "net")) == {"net/a/b": b"1"}
    config = StylizeConfig(backbone=f"saved_model:{tmp_path}/net")
    assert named_files(config) == [("--backbone", f"{tmp_path}/net")]


def _actors(driver: int) -> list[int]:
    """Ray's workers that make a picture, below a driver."""
    parents, actors = {}, []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if (path / "cmdline").read_bytes().startswith(b"ray::Actor.make"):
                actors.append(int(path.name))
        except OSError:
            continue

    def is_below(pid: int) -> bool:
        return pid == driver or pid in parents and is_below(parents[pid])

    return list(filter(is_below, actors))


@pytest.mark.slow
def test_workers_on_ray_make_what_local_ones_make_though_one_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        save_picture(tmp_path / f"photos/{number}.png", 31, 40, seed=number)
    save_picture(tmp_path / "x.png", 40, 37, seed=7)

    def command(name: str, *more: str) -> list[str]:
        return [sys.executable, str(ROOT / "scripts/run_batch.py"), "--content=photos", "--style=x.png", "--threads=1",
                f"--run={name}", f"--output={name}/{{content}}.png", "--workers=2",
                *(f"--{flag}={value}" for flag, value in (TINY | {"steps": 120}).items()), *more]

    def started(name: str, *more: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command(name, *more), cwd=tmp_path)

    assert started("local").wait(100) == 0
    killed, has_killed = started("killed", "--engine=ray"), False
    while killed.poll() is None and not has_killed:
        time.sleep(0.05)
        if list(tmp_path.glob("logs/killed/*/metrics.jsonl")) and (actors := _actors(killed.pid)):
            os.kill(actors[0], signal.SIGKILL)
            has_killed = True
    assert killed.wait(100) == 0
    assert started("sent", "--engine=ray", "--ship_files").wait(100) == 0
    rows = json.loads((tmp_path / "logs/killed/report.json").read_text())["pictures"]
    assert has_killed and sorted(row["attempts"] for row in rows) == [1, 1, 2]
    for number in range(3):
        first, *others = [_pixels(tmp_path / name / f"{number}.png") for name in ("local", "killed", "sent")]
        assert all(np.array_equal(first, other) for other in others)
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"nst_ray_" in _read(path)]


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
