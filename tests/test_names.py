"""Names as people have them: of files, folders and runs, in flags, flag files and printed commands. No network."""

import dataclasses
import itertools
import os
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from docs import make_flags
from nst_tf import flags
from nst_tf.config import RunConfig, StylizeConfig, absolute_paths, check, paths_of, to_flags
from nst_tf.flag_files import read_flag_file
from nst_tf.flag_help import fields_of
from nst_tf.grammar import parse_list, written_list
from nst_tf.io.files import quoted
from nst_tf.recipes.compare.recipe import CompareConfig, folder_names
from nst_tf.recipes.contestants import Contestant
from nst_tf.recipes.sweep.recipe import SweepConfig
from nst_tf.recipes.table import RECIPES
from nst_tf.runs import folder, session
from nst_tf.runs.run import plan_job, run
from nst_tf.vocabulary import RunError, UserError

from . import stub_engines

TYPES = [StylizeConfig, RunConfig]
STUB = RECIPES["stylize"]._replace(engine="tests.stub_engines:stylize", needs_tensorflow=False)
# A Mac's screenshot, a Japanese and a no-break space, a family joined by U+200D, é of two signs, Hebrew from the right,
# an Apple logo, quotes, spaces at the ends.
ORDINARY = ["9.41\u202fAM", "\u3000写真\u3000", "a\u00a0b", "👨\u200d👩\u200d👧", "cafe\u0301", "\u202bשלום\u200f", "\uf8ff",
            "it's", 'a "b"', '"a"', "'a'", "a, b", " a ", "(1) $HOME", "a\\", "हिन्दी", "a;b&c|d"]
BREAKING = ["a\nb", "a\rb", "\x1b[31m", "a\x85b", "a\u2028b", "a\u2029b", "\udcff", "a\x7f", "a\tb", "a\0"]


class _Silent:
    """In place of TensorBoard, which would load TensorFlow."""

    def __call__(self, progress: Any) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_tf.runs.follow._board", lambda *_: _Silent())
    stub_engines.EVENTS.clear()


def _parse(*arguments: str) -> tuple[Any, Any]:
    (config, run_config), _ = flags.parse(["stylize.py", *arguments], TYPES, "", {})
    return config, run_config


def _one_line(error: pytest.ExceptionInfo[BaseException], *parts: str) -> None:
    assert "\n" not in str(error.value) and all(part in str(error.value) for part in parts), error.value


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_name_is_taken_and_repeats_through_a_flag_file(name: str, tmp_path: Path) -> None:
    config = StylizeConfig(content=f"{name}.jpg", style=(name, f"{name}.png", name), weights=name)
    run_config = RunConfig(output=f"{name}.png", logdir=name)
    check(config)
    check(run_config)
    assert name in quoted(name) and len(quoted(name)) == len(name) + 2
    (tmp_path / "flags.txt").write_text(to_flags(config, run_config), encoding="utf-8")
    assert _parse(f"--flagfile={tmp_path}/flags.txt") == (config, run_config)


@pytest.mark.parametrize("name", BREAKING)
def test_a_name_that_breaks_a_line_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: str,
                                              painting: str) -> None:
    for config in (StylizeConfig(content=name), StylizeConfig(style=("a", name)), RunConfig(logdir=f"{name}/x")):
        with pytest.raises(UserError, match="cannot be printed") as error:
            check(config)
        assert str(error.value).isprintable()
    if "\0" in name:
        return
    # A flag file has whole paths.
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    config = StylizeConfig(content=photo, style=(painting,), backbone="kmeans", size=64, init="content",
                           weights="bundled")
    for run_config in (RunConfig(), RunConfig(logdir="../logs"), RunConfig(logdir=str(tmp_path), output="a.png")):
        with pytest.raises(UserError, match="^the working folder .* cannot be printed: change to another") as error:
            plan_job(STUB, config, run_config)
        assert str(error.value).isprintable()
    # Names of weights and of first images are no paths.
    plan_job(STUB, config, RunConfig(logdir=str(tmp_path)))


def test_a_run_among_ordinary_names(tmp_path: Path, photo: str, painting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "写真\u3000\u202f(1) it's"
    place.mkdir()
    monkeypatch.chdir(place)
    os.rename(photo, "(1) holi\u3000day.png")
    os.rename(painting, "-👨\u200d👩,x.png")
    config = StylizeConfig(content="(1) holi\u3000day.png", style=("-👨\u200d👩,x.png",), backbone="kmeans", size=64,
                           steps=2)
    run_config = RunConfig(logdir="lo\u3000gs", output="aus\u3000gabe/b.png")
    assert run(STUB, config, run_config) == 0
    (made,) = Path("lo\u3000gs").iterdir()
    assert made.name.startswith("1-holi-day_x_") and Path("aus\u3000gabe/b.png").exists()
    monkeypatch.chdir(tmp_path)
    again = _parse(f"--flagfile={place / made}/flags.txt", "--run=again", "--output=b.png", "--logdir=b")
    assert run(STUB, *again) == 0
    assert Path("b.png").read_bytes() == (place / "aus\u3000gabe/b.png").read_bytes()


COMMANDS = make_flags.commands()
PATH_FLAGS = sorted({(script, field.name) for script, (types, _) in COMMANDS.items() for field in fields_of(types)
                     if re.search("FILE|FOLDER|DIR", field.metadata["placeholder"] + field.metadata["open_choice"])})


def test_every_path_flag_is_known() -> None:
    names = {name for _, name in PATH_FLAGS}
    assert len(PATH_FLAGS) > 30 and names >= {
        "content", "style", "content_mask", "style_mask", "init", "weights", "backbone", "backbones", "judge", "output",
        "logdir", "images", "pictures", "guide", "output_dir"}


@pytest.mark.parametrize("script, name", PATH_FLAGS)
def test_home_is_put_in_and_urls_are_refused_in_every_path_flag(script: str, name: str,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of me")
    types = COMMANDS[script][0]
    config_type, field = next((each, field) for each in types for field in fields_of([each]) if field.name == name)
    before = "saved_model:" * bool(field.metadata["open_choice"]) + "kmeans=" * ("[=" in field.metadata["placeholder"])

    def parsed(*paths: str) -> Any:
        text = ",".join(before + path for path in paths)
        configs, _ = flags.parse([script, f"--{name}", text], types, "", {})
        return next(config for config in configs if isinstance(config, config_type))

    paths = ["~/a.jpg", "b.jpg"] if isinstance(field.default, tuple) else ["~/a.jpg"]
    given = dict.fromkeys(paths_of(parsed(*paths)))
    assert (f"--{name}", "/home/of me/a.jpg") in given and "~" not in str(getattr(parsed(*paths), name))
    texts = tuple(before + path for path in paths)
    from_python = config_type(**{name: texts if len(texts) > 1 else texts[0]})
    assert getattr(from_python, name) == getattr(parsed(*paths), name)
    for url in ("gs://bucket/a", "https://host/a.jpg", "file:///a.jpg", "s3://a"):
        with pytest.raises(UserError) as error:
            check(parsed(url))
        _one_line(error, f"--{name} ", quoted(url), "is a URL", "give a path")
    for path in ("~nobody-here/a.jpg", f"{'a' * 9}\nb"):
        with pytest.raises(UserError) as error:
            check(parsed(path))
        _one_line(error, f"--{name} {quoted(path)}")


def test_without_a_home_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", dict[int, Any]().__getitem__)
    with pytest.raises(UserError) as error:
        check(StylizeConfig(content="~/a.jpg"))
    _one_line(error, "--content '~/a.jpg'", "HOME is not set", "whole path")
    with pytest.raises(UserError, match="--flagfile '~/a' ?.*HOME is not set"):
        _parse("--flagfile=~/a")


def test_names_with_a_tilde_are_not_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~old").mkdir()
    config = StylizeConfig(content="~old/a.jpg", style=("~a.jpg", "./~/b.jpg", "a~/b.jpg"), init="content")
    check(config)
    assert config.style == ("~a.jpg", "./~/b.jpg", "a~/b.jpg")


@pytest.mark.parametrize("text, items", [
    ("", ()), ("a", ("a",)), ("a,b", ("a", "b")), ("a, b ,c", ("a", "b", "c")), ("a,,b", ("a", "", "b")),
    ("a,", ("a", "")), ('"a,b",c', ("a,b", "c")), ('" a ",b', (" a ", "b")), ('"a ""b""",c', ('a "b"', "c")),
    ('5" disk,b', ('5" disk', "b")), ('"a"b,c', ('"a"b', "c")), ('"a', ('"a',)), ('""', ("",)),
    ("\u3000a\u3000,b", ("\u3000a\u3000", "b"))])
def test_lists(text: str, items: tuple[str, ...]) -> None:
    assert parse_list(text) == items == parse_list(written_list(items))


def test_every_list_is_read_back() -> None:
    for size in range(4):
        for letters in itertools.product(['', 'a', ',', '"', ' ', "'"], repeat=size):
            for items in (("".join(letters),), ("".join(letters), "b"), ("b", "".join(letters))):
                assert parse_list(written_list(items)) == items


def test_every_list_and_name_is_read_back_from_a_flag_file(tmp_path: Path) -> None:
    random = Random(0)
    names = ["".join(random.choices("a,\"' \\=#-\u3000", k=random.randint(1, 5))) for _ in range(300)]
    pairs = list(itertools.pairwise([*names, "a --size=3", "it's --size=3", 'a" --size', "b -- \\"]))
    is_list = {field.name: isinstance(field.default, tuple) for field in fields_of([StylizeConfig])}
    others = is_list.keys() - {"content", "style"}
    (tmp_path / "f").write_text("".join(to_flags(StylizeConfig(content=first, style=(second, first)), leave_out=others)
                                        for first, second in pairs), encoding="utf-8")
    values = [line.partition("=")[2] for line in read_flag_file(str(tmp_path / "f"), is_list)]
    assert list(zip(values[::2], map(parse_list, values[1::2]), strict=True)) == [
        (first, (second, first)) for first, second in pairs]


def test_a_comma_in_a_name_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.jpg", "it's, b, c.jpg", "c.jpg"):
        Path(name).touch()
    for given, item, remedy in (("a,b.jpg", "a", '"a,b.jpg"'), ("c.jpg,a,b.jpg", "a", '"a,b.jpg"')):
        with pytest.raises(UserError) as error:
            _parse(f"--style={given}")
        _one_line(error, f"--style names '{item}'", "does not exist", f"as in --style='{remedy}'")
    assert _parse('--style="a,b.jpg",c.jpg')[0].style == ("a,b.jpg", "c.jpg")
    with pytest.raises(UserError) as error:
        _parse('--style="c.jpg,c.jpg"')
    _one_line(error, "what double quotes hold is one name", "--style=c.jpg,c.jpg")
    with pytest.raises(flags.Answer, match=r"A comma\s+in a name: '\"a,b.jpg\",c.jpg'"):
        _parse("--help")


@pytest.mark.parametrize("name, made", [
    ("(1) holiday.jpg", "1-holiday"), ("-x.jpg", "x"), ("….jpg", ""), ("写真 (2).jpg", "写真-2"), (".jpg", "jpg"),
    ("cafe\u0301.jpg", "café"), ("हिन्दी.jpg", "हिन्दी"), ("★❤\ufe0f☆.png", ""), ("...a...jpg", "a.."),
    ("_a_.jpg", "_a_"),
    ("a" * 251 + ".jpg", "a" * 40), ("写" * 83 + ".jpg", "写" * 13), ("$(rm -rf ~);'\"`.jpg", "rm-rf"),
    ("\u202bשלום\u200f.jpg", "שלום"), ("--help.jpg", "help"), ("a b\\c*.jpg", "a-b-c")])
def test_automatic_names_of_runs_are_valid(name: str, made: str) -> None:
    assert folder.name_of(f"x/{name}") == made
    automatic = folder.run_name("", [name, "", f"y/{name}"])
    assert folder.run_name(automatic, []) == automatic and len(automatic.encode()) < 200
    assert re.fullmatch(f"({re.escape(made)}_)*" + r"\d{8}-\d{6}", automatic)
    # A shell takes it as it is.
    assert not re.search(r"[\s!\"#$%&'()*,/:;<=>?@\[\\\]^`{|}~]", automatic) and automatic[0] not in "-.+"
    (named, _) = folder_names([Contestant("vgg19", f"x/{name}"), Contestant("vgg19", "b.h5")])
    assert folder.run_name(named, []) == named


@pytest.mark.parametrize("name", ["", "-a", ".a", "+a", "a b", "a/b", "a\n", "..", "~", "a'", "a\u3000b", "\u0301a"])
def test_other_names_of_runs_are_refused(name: str) -> None:
    if name:
        with pytest.raises(UserError, match="--run .* is no name for a folder"):
            folder.run_name(name, [])


@pytest.mark.parametrize("letter, most", [("a", 255), ("é", 127), ("写", 85)])
def test_names_of_runs_fit_disks(letter: str, most: int, tmp_path: Path) -> None:
    (tmp_path / folder.run_name(letter * most, [])).mkdir()
    with pytest.raises(UserError) as error:
        folder.run_name(letter * (most + 1), [])
    _one_line(error, f"--run '{letter * 40}'... is too long for the name of a folder: give at most 255 bytes")


def test_runs_that_begin_in_one_second_have_folders_of_their_own(
        tmp_path: Path, photo: str, painting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda form: "20260101-000000")
    config = StylizeConfig(content=photo, style=(painting,), backbone="kmeans", size=64, steps=2)
    run_config = RunConfig(logdir=str(tmp_path / "logs"))
    # Each has its name before any makes its folder.
    together, planned, statuses = threading.Barrier(4), plan_job, []

    def plan_together(*args: Any) -> Any:
        job = planned(*args)
        together.wait(timeout=60)
        return job

    monkeypatch.setattr("nst_tf.runs.run.plan_job", plan_together)
    threads = [threading.Thread(target=lambda: statuses.append(run(STUB, config, run_config))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = tmp_path / "logs/photo_painting_20260101-000000"
    assert statuses == [0] * 4 and {path.name for path in (tmp_path / "logs").iterdir()} == {
        first.name, f"{first.name}-2", f"{first.name}-3", f"{first.name}-4"}
    assert len({path.read_bytes() for path in (tmp_path / "logs").glob("*/output.png")}) == 1


def test_a_new_folder_takes_the_next_free_number_and_is_removed_if_nothing_came_of_it(tmp_path: Path) -> None:
    with folder.new_folder(tmp_path / "logs/a") as first:
        (first / "x").touch()
        with folder.new_folder(tmp_path / "logs/a") as second:
            assert (first.name, second.name) == ("a", "a-2")
            (tmp_path / "logs/a-3").touch()
            with folder.new_folder(tmp_path / "logs/a") as fourth:
                assert fourth.name == "a-4"
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["a", "a-3"]
    with folder.new_folder(tmp_path / "other/a"):
        pass
    assert not (tmp_path / "other").exists()
    (tmp_path / "nowhere").symlink_to(tmp_path / "x/y")
    with pytest.raises(RunError, match="could not be made .*: give another --logdir"):
        with folder.new_folder(tmp_path / "nowhere/a"):
            pass


def _said(capsys: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """The words of the commands that were printed: by which a run goes on, and TensorBoard's."""
    captured = capsys.readouterr()
    for line in (captured.err + captured.out).splitlines():
        _, found, command = line.partition("to go on: ")
        if found or line.startswith("TensorBoard"):
            yield shlex.split(command if found else line.partition(":")[2])


def test_printed_commands_can_be_pasted_into_a_shell_of_any_folder(
        tmp_path: Path, photo: str, painting: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    place, elsewhere = tmp_path / "it's (mine) $HOME\u3000", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(place)
    stub_engines.EVENTS[1] = stub_engines.kill(15)
    config = StylizeConfig(content=os.path.relpath(photo), style=(os.path.relpath(painting),), backbone="kmeans",
                           size=64, steps=3)
    assert run(STUB, config, RunConfig(logdir="my logs", output="a.png")) == 143
    ((program, script, *words),) = _said(capsys)
    monkeypatch.chdir(elsewhere)
    assert os.path.isabs(program) and os.access(program, os.X_OK) and os.path.isabs(script) and os.path.isfile(script)
    assert run(STUB, *_parse(*words)) == 0 and (place / "a.png").exists() and not list(elsewhere.iterdir())
    ((board, *words),) = _said(capsys)
    assert os.path.isabs(board) and os.access(board, os.X_OK) and words[:2] == ["--logdir", str(place / "my logs")]


def test_programs_that_do_not_lie_beside_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nst-dream").touch(mode=0o755)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "nst-stylize")])
    monkeypatch.setattr("sys.executable", "/usr/elsewhere/python")
    assert session.whole_command_of("dream", "dream.py") == (str(tmp_path / "nst-dream"),)
    assert session.tensorboard_line("/x y") == "TensorBoard: /usr/elsewhere/python -m tensorboard.main --logdir '/x y'"
    monkeypatch.setattr("sys.executable", "")
    assert session.tensorboard_line("/x") == "TensorBoard: python -m tensorboard.main --logdir /x"


BOTH: dict[str, Any] = {"content": "a é.jpg", "steps": 9}


@pytest.mark.parametrize("text", [
    "--content=a é.jpg\n--steps=9\n", "--content=a é.jpg\r\n--steps=9\r\n", "--content=a é.jpg\r--steps=9\r",
    "\n  --content a é.jpg\t \n\n-steps  9", '--content="a é.jpg"\n--steps="9"\n', "'--content=a é.jpg'\n--steps='9'\n",
    "# a comment\n--content = 'a é.jpg' \\\n  --steps 9 \\\n// another\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_flag_files_of_all_editors(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "my flags.txt").write_bytes(text.encode(encoding))
    for flag in ("--flagfile", "-flagfile"):
        for arguments in ([flag, f"{tmp_path}/my flags.txt"], [f"{flag}={tmp_path}/my flags.txt"]):
            assert _parse(*arguments, "--size", "64")[0] == dataclasses.replace(StylizeConfig(**BOTH), size=64)


def test_lists_and_flags_without_a_value_in_flag_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "f").write_text("--style='a.jpg,b c.jpg'\n--style_mask=\"a,b.png\",#ffffff\n--resume\n--nooverwrite\n")
    config, run_config = _parse("--flagfile=~/f")
    assert (config.style, config.style_mask) == (("a.jpg", "b c.jpg"), ("a,b.png", "#ffffff"))
    assert (run_config.resume, run_config.overwrite) == (True, False)
    for nothing in ("", "\ufeff", "# only this\n", "\r\n"):
        (tmp_path / "f").write_text(nothing)
        assert _parse("--flagfile", "~/f") == _parse()


@pytest.mark.parametrize("data", ["--steps=9\n".encode("utf-16-le"), "--content=é".encode("cp1252"), b"\0" * 2_000_000,
                                  b"--steps=9\n" * 200_000])
def test_what_is_no_flag_file(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(UserError) as error:
        _parse(f"--flagfile={tmp_path}/f")
    _one_line(error, "cannot be read as a list of flags", "UTF-8")


def test_long_values_make_short_lines() -> None:
    for arguments in ([f"--steps={'9' * 5000}"], [f"--steps={'9' * 4000}"], [f"--style_weight={'9' * 5000}"]):
        with pytest.raises(UserError) as error:
            check(_parse(*arguments)[0])
        _one_line(error, arguments[0].partition("=")[0])
        assert len(str(error.value)) < 400


def test_compare_takes_paths_behind_names() -> None:
    config = CompareConfig(backbones=("kmeans", "squeezenet=a,b.net"), judge="kmeans=bundled")
    assert dict(paths_of(config)) == {"--backbones": "a,b.net", "--judge": "bundled"}


def test_flag_files_have_whole_paths_of_all_that_is_a_file_and_names_as_they_are(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("bundled", "content", "first.png", "w.npz", "g.grid"):
        (tmp_path / name).touch()
    config = SweepConfig(content="a.jpg", style=("b.jpg", "/c.jpg"), content_mask="m.png", init="first.png",
                         style_mask=("n.png", "#ff0000", ""), weights="w.npz", judge="kmeans=w.npz", grid="g.grid",
                         backbone="saved_model:e")
    here = absolute_paths(config)
    assert dict(paths_of(here)) == {
        "--content": f"{tmp_path}/a.jpg", "--style": "/c.jpg", "--content_mask": f"{tmp_path}/m.png",
        "--init": f"{tmp_path}/first.png", "--style_mask": "#ff0000", "--weights": f"{tmp_path}/w.npz",
        "--judge": f"{tmp_path}/w.npz", "--grid": f"{tmp_path}/g.grid", "--backbone": f"{tmp_path}/e"}
    assert here.style_mask == (f"{tmp_path}/n.png", "#ff0000", "") and here.style[0] == f"{tmp_path}/b.jpg"
    named = SweepConfig(init="content", weights="bundled", judge="kmeans=bundled", grid="style_scale:0.5,1")
    assert absolute_paths(named) == named
