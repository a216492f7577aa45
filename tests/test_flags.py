"""Flags come from the configs; whatever is wrong with them is one line that helps."""

import dataclasses
import math
import re
from pathlib import Path

import pytest

from docs import make_flags
from nst_tf import flags
from nst_tf.config import GROUPS, RunConfig, StylizeConfig, check, to_flags
from nst_tf.flag_help import fields_of
from nst_tf.grammar import parse_layers
from nst_tf.presets import PRESETS
from nst_tf.vocabulary import UserError

ROOT = Path(__file__).resolve().parents[1]
TYPES = [StylizeConfig, RunConfig]


def _parse(*arguments: str) -> tuple[StylizeConfig, RunConfig]:
    (config, run_config), _ = flags.parse(["stylize.py", *arguments], TYPES, "about", {"list_layers": "help"})
    return config, run_config


def test_defaults_are_those_of_the_configs() -> None:
    assert _parse() == (StylizeConfig(), RunConfig())


def test_values_arrive_with_their_types() -> None:
    config, run_config = _parse("--content=a.jpg", "--style=b.jpg,c.jpg", "--style_blend=1,2.5", "--steps=7",
                                "--content_weight=0", "--snapshots=10,100", "--resume", "--learning_rate", "0.5")
    assert config == StylizeConfig(content="a.jpg", style=("b.jpg", "c.jpg"), style_blend=(1.0, 2.5), steps=7,
                                   content_weight=0.0, learning_rate=0.5)
    assert run_config == RunConfig(snapshots=(10, 100), resume=True)


def test_a_name_with_a_comma_can_be_quoted_and_repeats_through_a_flag_file(tmp_path) -> None:
    config, run_config = _parse('--style="a,b.jpg",c.jpg', "--seed=0", "--size=99", "--overwrite")
    assert config.style == ("a,b.jpg", "c.jpg")
    path = tmp_path / "flags.txt"
    path.write_text(to_flags(config, run_config))
    assert _parse(f"--flagfile={path}") == (config, run_config)


def test_the_command_line_overrides_a_flag_file(tmp_path) -> None:
    path = tmp_path / "preset.txt"
    path.write_text("--steps=9\n--style=a.jpg\n# a comment\n--size=64\n")
    config, _ = _parse(f"--flagfile={path}", "--steps=11")
    assert (config.steps, config.style, config.size) == (11, ("a.jpg",), 64)


def test_a_preset_is_found_by_name_and_a_file_of_its_name_comes_first(tmp_path, monkeypatch) -> None:
    assert _parse("--flagfile=bold") == _parse("--flagfile", str(PRESETS["bold"])) != _parse()
    monkeypatch.chdir(tmp_path)
    Path("bold").mkdir()
    assert _parse("-flagfile", "bold", "--steps=7")[0].content_weight == 0.04
    Path("bold").rmdir()
    Path("bold").write_text("// mine\n--content_weight=3\n")
    assert _parse("--flagfile=bold")[0] == StylizeConfig(content_weight=3.0)


def test_a_replacement_is_named_where_the_script_has_it() -> None:
    with pytest.raises(UserError, match="Unknown command line flag 'style_size'"):
        flags.parse(["x", "--style_size=3"], [RunConfig], "", {})


@pytest.mark.parametrize("arguments, text", [
    (["--stile=a.jpg"], "Did you mean: style"),
    (["--log_dir=x"], "Did you mean: logdir"),
    (["--steps=ten"], "--steps='ten': give a whole number"), (["--size=1e9"], "--size='1e9': give a whole number"),
    (["--style_weight=much"], "--style_weight='much': give a number"),
    (["--style=a.jpg", "--style=b.jpg"], "--style=A,B"),
    (["photo.jpg"], "every input has a flag"),
    (["--style=a.jpg,", "b.jpg"], "'b.jpg' stands alone"),
    (["--style_blend=1,x"], "numbers separated by commas"),
    (["--content"], "Missing value for flag"),
    (["--flagfile=missing.txt"], "missing.txt is neither a file nor a preset. Presets: bold, "),
    (["--flagfile=bald"], "bald is neither a file nor a preset, did you mean 'bold'? Presets: bold, "),
    (["--flagfile"], "--flagfile= is neither"), (["--flagfile=."], "cannot be read as a list of flags"),
    (["--style_size=400"], "--style_size=400 no longer exists: give --style_scale=400px in the command line"),
    (["--style_size", "9"], "--style_size 9 no longer exists: give --style_scale=9px in the command line"),
    (["--style_size"], "--style_size no longer exists: give --style_scale=400px in the command line"),
    (["--smoothing", "scale:0.1"], "--smoothing scale:0.1 no longer exists: give --smoothing=softmax:10"),
    (["--smoothing=scale:0.1"], "--smoothing=scale:0.1 no longer exists: give --smoothing=softmax:10"),
    (["--undefok=bla", "--bla=3"], "--undefok is not taken"),
])
def test_wrong_flags_are_one_line(arguments: list[str], text: str) -> None:
    with pytest.raises(UserError) as raised:
        _parse(*arguments)
    assert text in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("content, text", [
    (b"--style=a.jpg\n--style=b.jpg\n", "is given 2 times in '"),
    (b"\xff\xd8\xff", "cannot be read as a list of flags"),
    (b"--flagfile=other.txt\n", "names another flag file"), (b"--bla=3\n", "Unknown command line flag"),
    (b"--flagfile other.txt\n", "names another flag file"),
    (b"# --content=a --style=b\n\n--content=a.jpg --style=b.jpg\n", "line 3 has --style behind another flag"),
    (b"--min_size=64 --steps=2", "line 1 has --steps"), (b"-min_size 64 '--steps=2'", "line 1 has --steps"),
    (b"'--content=a.jpg' '--nooverwrite'", "line 1 has --nooverwrite"), (b"--resume --overwrite", "has --overwrite"),
    (b'--style="a b","c d" --content="e f"', "line 1 has --content"), (b"--content=it's --steps=2", "has --steps"),
    (b"python scripts/stylize.py \\\n  --content=a.jpg \\\n", "line 1 ('python scripts/stylize.py') is no"),
    (b"nst-stylize --content=a.jpg --style=b.jpg", "is no flag: write one"),
    (b"--size=3\nb", "line 2 ('b')"),
    (b"# 96 px\n  --style_size=96\n", "--style_size=96 no longer exists: give --style_scale=96px in '"),
    (b"--smoothing=scale:0.001\n", "give --smoothing=softmax:10 in '"),
])
def test_wrong_flag_files_are_one_line(tmp_path, content: bytes, text: str) -> None:
    path = tmp_path / "preset.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        _parse(f"--flagfile={path}")
    assert text in str(raised.value) and "\n" not in str(raised.value)


def test_lines_of_flag_files_that_only_look_like_two_flags(tmp_path) -> None:
    path = tmp_path / "preset.txt"
    path.write_text("--content='a --style=b.jpg'\n--style\nb.jpg\n--init=a --mine=3\n--weights=\"b --init.npz\"\n")
    config, _ = _parse(f"--flagfile={path}")
    assert config == StylizeConfig(content="a --style=b.jpg", style=("b.jpg",), init="a --mine=3",
                                   weights="b --init.npz")


@pytest.mark.parametrize("changes, text", [
    ({"steps": 0}, "--steps=0 is out of range: give a number >= 1"),
    ({"content_weight": -1.0}, "--content_weight=-1.0 is out of range: give a number >= 0"),
    ({"style_weight": math.nan}, "--style_weight=nan"),
    ({"smoothness_weight": math.inf}, "--smoothness_weight=inf"),
    ({"learning_rate": 0.0}, "--learning_rate=0.0 is out of range: give a number > 0"),
    ({"style_blend": (1.0, -2.0)}, "--style_blend=-2.0"),
    ({"gradient_smoothing": 1.5}, "--gradient_smoothing=1.5 is out of range: give a number >= 0 and <= 1"),
    ({"backbone": "vgg91"}, "did you mean 'vgg19'? Valid: vgg19, vgg16, resnet50, "),
    ({"normalization": "none"}, "Valid: relative, gatys, ng"),
])
def test_values_out_of_range(changes: dict, text: str) -> None:
    with pytest.raises(UserError) as raised:
        check(dataclasses.replace(StylizeConfig(), **changes))
    assert text in str(raised.value)


def _help(flag: str, script: str = "stylize.py") -> str:
    with pytest.raises(flags.Answer) as raised:
        flags.parse([script, flag], make_flags.commands()[script][0], "about this", {"list_layers": "Print layers."})
    return str(raised.value)


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_the_whole_help_names_every_flag_and_default(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = _help("--helpfull")
    words = " ".join(text.split())
    assert text.startswith("about this") and max(map(len, text.splitlines())) <= int(columns)
    for field in fields_of(TYPES):
        assert f"--{field.name}" in words and field.metadata["help"] in words
    for part in ("Default: 320.", "same bytes. Default: 0.", "--backbone=NAME ", "One of vgg19, vgg16, resnet50, ",
                 "--color=style|keep|match|luminance", "--list_layers Print layers."):
        assert part in words


@pytest.mark.parametrize("script", make_flags.commands())
def test_the_short_help_has_what_most_runs_need(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = _help("--help", script)
    assert text == _help("--helpshort", script) and text.splitlines()[-1].startswith("--helpfull shows all ")
    headings = [line for line in text.splitlines() if line[:1].isupper()]
    assert headings == [f"{group}:" for group in (*GROUPS, "Help") if f"{group}:" in headings]
    shown = re.findall(r"^  --(\w+)", text, re.MULTILINE)
    assert "flagfile" in shown and len(shown) <= 15
    for entry in re.split(r"^  --", text, flags=re.MULTILINE)[1:]:
        assert entry.partition("\n\n")[0].strip().count("\n") <= 1, entry


def test_the_short_help_of_stylize() -> None:
    text = _help("--help")
    for name in ("content", "style", "output", "size", "content_weight", "backbone", "weights", "steps", "run"):
        assert f"\n  --{name}" in text


def test_every_help_is_sentences() -> None:
    for config_types, actions in make_flags.commands().values():
        helps = [field.metadata["help"] for field in fields_of(config_types)]
        for text in [*helps, *actions.values()]:
            assert re.match("[A-Z.]", text) and text.endswith(".") and ";" not in text, text


def test_the_page_of_flags_is_what_the_configs_say() -> None:
    assert (ROOT / "docs/flags.md").read_text(encoding="utf-8") == make_flags.page(), (
        "python docs/make_flags.py > docs/flags.md")


def test_exit_status(capsys: pytest.CaptureFixture) -> None:
    def leave(script, *arguments: str) -> object:
        with pytest.raises(SystemExit) as raised:
            flags.main(script, TYPES, "", {}, ["stylize.py", *arguments])
        return raised.value.code

    def fail(*_: object) -> int:
        raise UserError("--x is wrong\nand long")

    assert leave(lambda *_: None) == 0 and leave(lambda *_: 143) == 143
    assert leave(fail) == 2
    assert capsys.readouterr().err == "stylize.py: --x is wrong and long\n"
    assert leave(lambda *_: 0, "--version") == 0

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    assert leave(interrupt) == 130
    assert capsys.readouterr().err == "\nstylize.py: interrupted\n"


def test_layers_of_the_command_line() -> None:
    assert parse_layers(["a@0.5", "b"], ["a", "b", "c"], "--style_layers") == (
        ("a", None, 0.5), ("b", None, 1.0))
    for texts, text in ((["d"], "Valid: a, b, c"), (["blok1"], "did you mean 'block1'"), (["a", "a@2"], "named twice"),
                        (["a@-1"], "weight >= 0"), (["a@x"], "weight >= 0"), (["a@0"], "every weight is 0"),
                        (["a:3"], "takes whole layers"), ([""], "LAYER or LAYER@WEIGHT"), (["a@inf"], "weight >= 0")):
        with pytest.raises(UserError, match=text):
            parse_layers(texts, ["a", "b", "c", "block1"], "--style_layers")
