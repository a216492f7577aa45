"""What surrounds a command never costs its picture: closed streams, signals, no home, the user's Keras settings."""

import builtins
import hashlib
import io
import json
import os
import pwd
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

import nst_tf
from nst_tf import StylizeConfig, commands, keras_settings, runtime, streams
from nst_tf.backbones import precision
from nst_tf.config import RunConfig
from nst_tf.keras_settings import import_keras, keras_defaults, with_keras_defaults
from nst_tf.recipes.stylize import steps
from nst_tf.recipes.table import RECIPES
from nst_tf.runs import run as machinery, session
from nst_tf.runs.bar import ProgressBar
from nst_tf.runs.progress import Progress
from nst_tf.runs.session import Stop, say, stop_signals
from nst_tf.vocabulary import UserError

from . import stub_engines

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--backbone=kmeans", "--weights=bundled", "--size=64", "--min_size=64", "--steps=2")


# The command that follows starts without standard streams.
CLOSED_STREAMS = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")


# Streams

def _gone_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _gone_terminal() -> int:
    master, slave = pty.openpty()
    os.close(master)
    return slave


def _full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def _only_read() -> int:
    return os.open(os.devnull, os.O_RDONLY)


@pytest.fixture(params=[_gone_pipe, _gone_terminal, _full_disk, _only_read])
def useless(request: pytest.FixtureRequest) -> Iterator[int]:
    """A file descriptor that takes nothing."""
    number = request.param()
    yield number
    os.close(number)


def test_what_cannot_be_written_is_dropped(useless: int) -> None:
    with pytest.raises(OSError), open(useless, "w", closefd=False) as plain:
        plain.write("x")
    stream = streams._lasting(useless, None)
    for _ in range(3):
        print("x" * 100_000, file=stream, flush=True)
    stream.close()


def test_a_bar_outlives_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    bar = ProgressBar(streams._lasting(slave, None), iter(range(99)).__next__)
    bar(_progress(1))
    seen = b""
    while b"1/9" not in seen:
        seen += os.read(master, 10_000)
    os.close(master)
    for step in range(2, 10):
        bar(_progress(step))
        say("a line between")
    bar.close()
    os.close(slave)


def _progress(step: int) -> Progress:
    return Progress(step=step, total_steps=9, stage=0, stage_step=step, size=(4, 5), ends_stage=step == 9,
                    losses={"loss/total": 1.0}, state=None)


def test_lines_stay_whole_while_the_bar_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    bar = ProgressBar(terminal, iter(range(99)).__next__)
    bar(_progress(1))
    line = "nst_tf: skipped: " + "a long name of a file " * 8 + "[bold] 3.5"
    say(line)
    bar.close()
    assert line in terminal.getvalue()


def test_a_full_pipe_that_does_not_wait_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text, read = "0123456789" * 40_000, list[bytes]()

    def receive() -> None:
        time.sleep(0.05)
        with open(reader, "rb") as file:
            read.append(file.read())

    thread = threading.Thread(target=receive)
    thread.start()
    print(text, file=streams._lasting(writer, None), flush=True)
    os.close(writer)
    thread.join()
    assert read == [f"{text}\n".encode()]


def test_letters_that_an_encoding_lacks_are_escaped(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w", encoding="ascii") as plain:
        stream = streams._lasting(plain.fileno(), plain)
        print("写真 × 2", file=stream, flush=True)
    assert (tmp_path / "out").read_text() == "\\u5199\\u771f \\xd7 2\n"


def test_streams_that_a_caller_has_put_in_place_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    streams.outlive_readers()
    assert sys.stdout is mine


WRITES = """
import os, sys, nst_tf
from nst_tf.streams import outlive_readers
file = open("first", "w+b")
os.write(2, b"a line of TensorFlow")
outlive_readers()
print("lost", flush=True)
print("lost", file=sys.stderr)
print(sys.stdin, file=open("second", "w"))
file.write(b"whole")
"""


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    done = subprocess.run([*CLOSED_STREAMS, sys.executable, "-c", WRITES], cwd=tmp_path, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0
    assert (tmp_path / "first").read_bytes() == b"whole" and (tmp_path / "second").read_text() == "None\n"


def _to_reader_that_left(*command: str) -> int:
    """The exit status of a command whose two streams go to a pipe of which only the first line is read."""
    reader, writer = os.pipe()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer) as process:
        os.close(writer)
        with open(reader, encoding="utf-8") as file:
            file.readline()
        return process.wait(300)


def test_a_listing_whose_reader_leaves_is_no_failure() -> None:
    assert _to_reader_that_left(sys.executable, str(ROOT / "scripts/stylize.py"), "--helpfull") == 0


def _commands(photo: str, painting: str, folder: Path) -> dict[str, tuple[str, Path]]:
    """{script: (its flags, what it writes)}."""
    pictures, logs = f"--content={photo} --style={painting}", f"--logdir={folder}/logs --run=r"
    tiny, kmeans = " ".join(TINY), "--backbone=kmeans --weights=bundled"
    return {
        "stylize.py": (f"{pictures} {tiny} {logs} --output={folder}/a.png", folder / "a.png"),
        "dream.py": (f"--content={photo} {kmeans} --size=64 --octaves=1 --steps=2 --output={folder}/b.png {logs}",
                     folder / "b.png"),
        "visualize_units.py": (f"--images={photo},{painting} {kmeans} --size=64 --layers=conv1:0 --output={folder}/u",
                               folder / "u/sheet_conv1.png"),
        "compare_backbones.py": (f"{pictures} --backbones=kmeans=bundled --judge=kmeans=bundled --size=64 --steps=2 "
                                 f"{logs}", folder / "logs/r/sheet.png"),
        "export_model.py": (f"{kmeans} --layers=conv1 --output={folder}/e", folder / "e/saved_model.pb"),
        "learn_filters.py": (f"--pictures={photo},{painting} --output={folder}/f.npz", folder / "f.npz")}


def _script(name: str, flags: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / name), *flags.split()]


@pytest.mark.slow
@pytest.mark.parametrize("script", ["stylize.py", "dream.py", "visualize_units.py", "compare_backbones.py",
                                    "export_model.py", "learn_filters.py"])
def test_every_command_does_its_work_without_its_streams(script: str, photo: str, painting: str,
                                                         tmp_path: Path) -> None:
    flags, result = _commands(photo, painting, tmp_path)[script]
    assert subprocess.run([*CLOSED_STREAMS, *_script(script, flags)], timeout=300).returncode == 0
    assert result.stat().st_size


@pytest.mark.slow
def test_the_picture_is_the_same_when_the_reader_leaves(photo: str, painting: str, tmp_path: Path) -> None:
    (flags, result), (others, other) = (_commands(photo, painting, tmp_path / name)["stylize.py"] for name in "ab")
    assert subprocess.run(_script("stylize.py", flags), capture_output=True, timeout=300).returncode == 0
    assert _to_reader_that_left(*_script("stylize.py", others)) == 0
    assert result.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_a_terminal_that_vanishes_costs_no_picture(photo: str, painting: str, tmp_path: Path) -> None:
    """Closed while the bar moves; the process is not of its session, so that no signal comes."""
    master, slave = pty.openpty()
    flags, result = _commands(photo, painting, tmp_path)["stylize.py"]
    with subprocess.Popen(_script("stylize.py", f"{flags} --steps=40"), stdin=slave, stdout=slave, stderr=slave,
                          env={**os.environ, "TERM": "xterm"}) as process:
        os.close(slave)
        seen = b""
        while b"1/40" not in seen:
            seen += os.read(master, 10_000)
        os.close(master)
        assert process.wait(300) == 0
    assert result.exists()


# Signals

def test_sighup_stops_as_sigterm_does_and_never_kills() -> None:
    stop, before = Stop(), signal.getsignal(signal.SIGTERM)
    with stop_signals(stop):
        for _ in range(3):
            signal.raise_signal(signal.SIGHUP)
        assert stop.status == 129 and signal.getsignal(signal.SIGTERM) is not before
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert stop.status == 129, "the first counts"
        assert signal.getsignal(signal.SIGTERM) is before, "a second one kills"
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_the_word_on_a_signal_is_seen_while_stderr_is_held(capfd: pytest.CaptureFixture[str]) -> None:
    """As during TensorFlow's start, whose own lines are dropped."""
    with stop_signals(Stop()), runtime.quiet_stderr(), runtime.quiet_stderr():
        os.write(2, b"of TensorFlow")
        signal.raise_signal(signal.SIGTERM)
        assert capfd.readouterr().err == "\nnst_tf: finishing the step; once more to stop at once\n"
    runtime.write_stderr(b"afterwards")
    assert capfd.readouterr().err == "afterwards"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_what_is_ignored_stays_ignored(number: int) -> None:
    stop, before = Stop(), signal.signal(number, signal.SIG_IGN)
    try:
        with stop_signals(stop):
            signal.raise_signal(number)
            assert not stop.is_requested
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_closed_terminal_leaves_a_run_that_goes_on(photo: str, painting: str, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("nst_tf.runs.follow._board", lambda *_: lambda progress: None)
    monkeypatch.setitem(stub_engines.EVENTS, 1, stub_engines.kill(signal.SIGHUP))
    recipe = RECIPES["stylize"]._replace(engine="tests.stub_engines:stylize", needs_tensorflow=False)
    config = StylizeConfig(content=photo, style=(painting,), backbone="kmeans", size=64, steps=3)
    assert machinery.run(recipe, config, RunConfig(logdir=str(tmp_path), run="r")) == 129
    assert "picture and state are stored; to go on: " in capsys.readouterr().err
    assert machinery.run(recipe, config, RunConfig(logdir=str(tmp_path), run="r")) == 0


def test_a_working_folder_that_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "argv", ["stylize.py", "--content=a.jpg"])
    gone.rmdir()
    with pytest.raises(SystemExit, match="^2$"):
        commands.stylize()
    said = capsys.readouterr().err
    assert said.startswith("stylize.py: the working folder cannot be found") and said.count("\n") == 1


# A user without a home

@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME, and a user id without a name."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", dict[int, Any]().__getitem__)


def test_without_a_home_nothing_is_kept(homeless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision.cache_path() is None
    assert precision.fastest_precision(None, "one", lambda: {"float32": 2.0, "bfloat16": 1.0}) == "bfloat16"


def test_without_a_home_no_folder_is_made_here(homeless: None) -> None:
    with keras_settings._variables():
        assert os.path.isabs(os.path.expanduser("~"))
    assert "HOME" not in os.environ


def test_a_relative_cache_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert precision.cache_path() is None


def test_no_folder_for_temporary_files_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/none/x", "rb"))
    with runtime.quiet_stderr():
        os.write(2, b"held")


HOMELESS = """
import pwd, runpy, sys
pwd.getpwuid = lambda _: {}["no such user"]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_a_picture_comes_without_a_home(photo: str, painting: str, tmp_path: Path) -> None:
    flags, result = _commands(photo, painting, tmp_path / "new")["stylize.py"]
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    before = {path.name for path in tmp_path.iterdir()}
    done = subprocess.run([sys.executable, "-c", HOMELESS, *_script("stylize.py", flags)[1:]], cwd=tmp_path, text=True,
                          env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert result.exists() and {path.name for path in tmp_path.iterdir()} - before == {"new"}


# The user's Keras settings

def _settings() -> tuple[Any, ...]:
    from keras.src.backend.common import global_state

    return (keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(),
            tf.config.functions_run_eagerly(), global_state.get_global_attribute("dtype_policy"))


DEFAULTS = ("float32", 1e-7, "channels_last", False)


def _set(floatx: str, epsilon: float, data_format: str, eager: bool, policy: str) -> None:
    keras.config.set_floatx(floatx)
    keras.config.set_epsilon(epsilon)
    keras.config.set_image_data_format(data_format)
    tf.config.run_functions_eagerly(eager)
    keras.config.set_dtype_policy(policy)


@contextmanager
def _strange_settings() -> Iterator[tuple[Any, ...]]:
    """A user's settings of Keras, each of which changes a picture or stops a run."""
    _set("float16", 0.1, "channels_first", True, "mixed_float16")
    try:
        yield _settings()
    finally:
        _set(*DEFAULTS, "float32")


@pytest.fixture
def own_settings() -> Iterator[tuple[Any, ...]]:
    with _strange_settings() as settings:
        yield settings


def test_keras_has_its_defaults_within_and_the_users_settings_after(own_settings: tuple[Any, ...]) -> None:
    with pytest.raises(KeyError), keras_defaults():
        with keras_defaults():
            assert _settings()[:4] == DEFAULTS and keras.config.dtype_policy().name == "float32"
        assert _settings()[:4] == DEFAULTS
        raise KeyError
    assert _settings() == own_settings


def test_a_thread_that_leaves_takes_no_defaults_from_another(own_settings: tuple[Any, ...]) -> None:
    inside, left, seen = threading.Event(), threading.Event(), list[tuple[Any, ...]]()

    def work() -> None:
        keras.config.set_dtype_policy("float64")
        with keras_defaults():
            inside.set()
            left.wait(60)
            seen.append((*_settings()[:4], keras.config.dtype_policy().name))
        seen.append((keras.config.dtype_policy().name,))

    thread = threading.Thread(target=work)
    with keras_defaults():
        thread.start()
        inside.wait(60)
    left.set()
    thread.join()
    assert seen == [(*DEFAULTS, "float32"), ("float64",)] and _settings() == own_settings


def test_no_policy_stays_none() -> None:
    def work() -> None:
        with keras_defaults():
            assert keras.config.dtype_policy().name == "float32"
        kept.append(_settings()[4])

    kept = list[Any]()
    thread = threading.Thread(target=work)  # it has no policy yet
    thread.start()
    thread.join()
    assert kept == [None]


def test_between_events_the_users_settings_hold(own_settings: tuple[Any, ...]) -> None:
    def events() -> Iterator[tuple[Any, ...]]:
        try:
            yield _settings()[:4]
            yield _settings()[:4]
        finally:
            closed.append(True)

    closed = list[bool]()
    steps_made = with_keras_defaults(events())
    assert next(steps_made) == DEFAULTS and _settings() == own_settings
    steps_made.close()  # type: ignore[attr-defined]
    assert closed and list(with_keras_defaults(events())) == [DEFAULTS] * 2 and _settings() == own_settings


def test_the_doors_for_python_have_defaults(own_settings: tuple[Any, ...], photo: str, painting: str,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[tuple[Any, ...]]()

    def see(*_: Any, **__: Any) -> Iterator[Any]:
        seen.append(_settings()[:4])
        return iter(())

    def see_steps(*_: Any) -> Iterator[Any]:
        yield from see()

    for name, replacement in (("set_up", see), ("Network", see), ("_network_plan", see), ("_steps", see_steps)):
        monkeypatch.setattr(steps, name, replacement)
    config = StylizeConfig(content=photo, style=(painting,), backbone="kmeans")
    nst_tf.load_network(config)
    list(nst_tf.stylize(config))
    assert seen == [DEFAULTS] * 4 and _settings() == own_settings


def test_a_run_has_defaults(own_settings: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "start_tensorflow", stub_engines.start_tensorflow)
    seen, stop = list[tuple[Any, ...]](), Stop()
    stop.request()
    stub_engines.BUILDING.append(lambda job: seen.append(_settings()[:4]))
    recipe = RECIPES["filters"]._replace(engine="tests.stub_engines:stepless", resolve=lambda *_: ())
    assert machinery.run(recipe, None, None, stop) == 130
    assert seen == [DEFAULTS] and _settings() == own_settings


def test_another_backend_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(UserError, match="Keras runs on torch in this Python session: set KERAS_BACKEND=tensorflow"):
        import_keras()


def test_the_environment_stays_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.delenv("KERAS_NNX_ENABLED", raising=False)
    before = dict(os.environ)
    with pytest.raises(ZeroDivisionError), keras_settings._variables():
        assert (os.environ["KERAS_BACKEND"], os.environ["KERAS_NNX_ENABLED"]) == ("tensorflow", "0")
        raise ZeroDivisionError
    assert dict(os.environ) == before


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["", "average"])
def test_the_picture_is_that_of_default_settings(pooling: str, photo: str, painting: str) -> None:
    config = StylizeConfig(content=photo, style=(painting,), backbone="kmeans", weights="bundled", pooling=pooling,
                           size=64, min_size=48, steps=4, precision="bfloat16")
    *_, expected = nst_tf.stylize(config)
    expected_rows = {tag: float(value) for tag, value in expected.details().items()}
    with _strange_settings():
        *_, last = nst_tf.stylize(config)
        # Between the steps the user's settings hold, and these are computed then.
        assert last.picture().tobytes() == expected.picture().tobytes()
        assert {tag: float(value) for tag, value in last.details().items()} == expected_rows


_HOSTILE = {"floatx": "float16", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first",
            "nnx_enabled": True}


@pytest.mark.slow
def test_scripts_ask_no_keras_json_and_no_variable(photo: str, painting: str, tmp_path: Path) -> None:
    hashes, config = set[str](), json.dumps(_HOSTILE)
    for text, variables in (
            ("", {}), (config, {}),
            ("{", {"KERAS_BACKEND": "nonsense", "TF_USE_LEGACY_KERAS": "1", "KERAS_NNX_ENABLED": "1"})):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        if text:
            (folder / "keras.json").write_text(text)
        flags, result = _commands(photo, painting, folder)["stylize.py"]
        done = subprocess.run(_script("stylize.py", flags), env={**os.environ, "KERAS_HOME": str(folder), **variables},
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert not text or (folder / "keras.json").read_text() == text
        hashes.add(hashlib.sha256(result.read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_what_hinders_an_import_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, remedy in ((FileNotFoundError("No usable temporary directory found"), "set TMPDIR"),
                          (AssertionError(), r"\(AssertionError\): correct or remove keras.json")):
        monkeypatch.setattr("builtins.__import__", _raises(error))
        with pytest.raises(UserError, match=f"Keras cannot be imported .*{remedy}"):
            import_keras()
        monkeypatch.undo()


def _raises(error: Exception) -> Any:
    real = builtins.__import__

    def fail(name: str, *rest: Any) -> Any:
        if name == "keras":
            raise error
        return real(name, *rest)

    return fail


@pytest.mark.slow
@pytest.mark.parametrize("text", ['{"floatx": "bfloat16"}', "[]"])
def test_a_keras_json_that_keras_refuses_is_one_line(text: str, photo: str, painting: str, tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(text)
    flags, _ = _commands(photo, painting, tmp_path)["stylize.py"]
    done = subprocess.run(_script("stylize.py", flags), env={**os.environ, "KERAS_HOME": str(tmp_path)},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "correct or remove keras.json" in done.stderr and not (tmp_path / "logs").exists()
