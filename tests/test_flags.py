"""Flags come from the configs; whatever is wrong with them is one line that helps."""

import dataclasses
import math

import pytest

from nst_tf import flags
from nst_tf.config import RunConfig, StylizeConfig, check, to_flags
from nst_tf.grammar import LayerWeight, parse_layers
from nst_tf.vocabulary import UserError

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


@pytest.mark.parametrize("arguments, text", [
    (["--stile=a.jpg"], "Did you mean: style"),
    (["--log_dir=x"], "Did you mean: logdir"),
    (["--steps=ten"], "--steps=ten"),
    (["--style=a.jpg", "--style=b.jpg"], "--style=A,B"),
    (["photo.jpg"], "every input has a flag"),
    (["--style=a.jpg,", "b.jpg"], "'b.jpg' stands alone"),
    (["--style_blend=1,x"], "numbers separated by commas"),
    (["--content"], "Missing value for flag"),
    (["--flagfile=missing.txt"], "missing.txt"),
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
])
def test_wrong_flag_files_are_one_line(tmp_path, content: bytes, text: str) -> None:
    path = tmp_path / "preset.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        _parse(f"--flagfile={path}")
    assert text in str(raised.value) and "\n" not in str(raised.value)


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


def test_help_names_every_flag_and_default(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as leave:
        flags.main(lambda *_: 0, TYPES, "about this", {"list_layers": "print layers"}, ["stylize.py", "--help"])
    text = capsys.readouterr().out
    assert leave.value.code == 0 and text.startswith("about this")
    for config_type in TYPES:
        for field in dataclasses.fields(config_type):
            assert f"--{field.name}" in text and field.metadata["help"] in " ".join(text.split())
    for part in ("(default: 320)", "same bytes (default: 0)", "--backbone=vgg19|vgg16|resnet50|",
                 "--list_layers"):
        assert part in text


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
        LayerWeight("a", 0.5), LayerWeight("b", 1.0))
    for texts, text in ((["d"], "Valid: a, b, c"), (["blok1"], "did you mean 'block1'"), (["a", "a@2"], "named twice"),
                        (["a@-1"], "weight >= 0"), (["a@x"], "weight >= 0"), (["a@0"], "every weight is 0"),
                        (["a:3"], "cannot be chosen"), ([""], "LAYER or LAYER@WEIGHT"), (["a@inf"], "weight >= 0")):
        with pytest.raises(UserError, match=text):
            parse_layers(texts, ["a", "b", "c", "block1"], "--style_layers")
