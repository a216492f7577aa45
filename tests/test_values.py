"""Values of settings, from flags and from Python: which are taken, and what is said of the others. No network."""

import array
import dataclasses
import itertools
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf import flags
from nst_tf.config import RunConfig, StylizeConfig, check
from nst_tf.grammar import LARGEST_WEIGHT, parse_layers
from nst_tf.recipes.dream.plan import DreamConfig, resolve_dream
from nst_tf.recipes.export.recipe import ExportConfig
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.plan_terms import plan_objective
from nst_tf.recipes.units.plan import UnitsConfig
from nst_tf.runs.metrics import missed_snapshots, snapshot_name
from nst_tf.vocabulary import UserError

KMEANS = StylizeConfig(content="a.jpg", style=("b.jpg",), backbone="kmeans")


def _refused(*parts: str, config: Any, check: Any = check) -> None:
    with pytest.raises(UserError) as error:
        check(config)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    assert all(part in str(error.value) for part in parts), error.value


@pytest.mark.parametrize("flag, text", [
    ("style_weight=1e40", "is out of range: give a number >= 0 and <= 1e+15"),
    ("style_weight=1e16", "give a number >= 0 and <= 1e+15"), ("content_weight=nan", "give a number >= 0"),
    ("smoothness_weight=1e-40", "a step computes with numbers from 1.18e-38 to 3.4e+38"),
    ("dream_weight=-1", "give a number >= 0"), ("style_weight=5e-324", "numbers from 1.18e-38"),
    ("learning_rate=1e40", "to 3.4e+38"), ("learning_rate=1e-46", "numbers from 1.18e-38"),
    ("learning_rate=inf", "give a number > 0"), ("style_blend=1,1e39", "--style_blend=1e+39 is out of range"),
    ("style_scale=1e40", "<= 16, or pixels such as 400px"), ("gradient_smoothing=1e-39", "numbers from"),
    ("steps=99999999999999999999", "(a number of 67 bits) is out of range: give at most 9223372036854775807"),
    ("seed=9223372036854775808", "give at most 9223372036854775807"),
    (f"steps={'9' * 400}", "give at most"), (f"size={'9' * 400}", "give a number >= 1 and <= 65535"),
    (f"style_weight={'9' * 400}", "--style_weight=inf is out of range"), ("jitter=-99999999999999999999", ">= 0")])
def test_numbers_beyond_what_is_computed_with(flag: str, text: str) -> None:
    (config,), _ = flags.parse(["x", f"--{flag}"], [StylizeConfig], "", {})
    _refused(f"--{flag.partition('=')[0]}=", text, config=config)


def test_numbers_at_the_ends_are_taken() -> None:
    check(StylizeConfig(style_weight=LARGEST_WEIGHT, content_weight=1.2e-38, smoothness_weight=0.0,
                        learning_rate=3.4e38, seed=2 ** 63 - 1, steps=2 ** 63 - 1))
    check(RunConfig(snapshots=(2 ** 63 - 1,), log_every=2 ** 63 - 1, checkpoint_every=1e30))
    # No step computes with seconds.
    for seconds in (1e40, 1e308, 5e-324):
        check(RunConfig(checkpoint_every=seconds))
        check(UnitsConfig(checkpoint_every=seconds))
    _refused("--checkpoint_every=(a number of ", "give at most 1.79", config=RunConfig(checkpoint_every=10 ** 400))
    check(UnitsConfig(diversity_weight=0))


def test_weights_of_layers_have_the_same_end() -> None:
    assert parse_layers(["a@1e15"], ["a"], "--style_layers")[0].weight == LARGEST_WEIGHT
    for weight in ("1e16", "1e40", "1e999", "nan", "-1", "1e-40"):
        _refused("--style_layers=a@", ">= 0 and <= 1e+15", config=[f"a@{weight}"],
                 check=lambda texts: parse_layers(texts, ["a"], "--style_layers"))


@pytest.mark.parametrize("normalization", ["gatys", "ng"])
def test_products_of_weights_have_it_too(normalization: str) -> None:
    for term in ("content", "style"):
        changes: dict[str, Any] = {"normalization": normalization, f"{term}_weight": 1e9,
                                   f"{term}_layers": ("conv2@2", "conv3@1e10")}
        config = dataclasses.replace(KMEANS, **changes)
        _refused(f"--{term}_weight=1e+09 times the weight of --{term}_layers=conv3@1e+10", "from 1.18e-38 to 1e+15",
                 config=config, check=plan_objective)
        fewer: dict[str, Any] = {f"{term}_weight": 1e4}
        plan_objective(dataclasses.replace(config, **fewer))
        nothing: dict[str, Any] = {f"{term}_weight": 1e-30, f"{term}_layers": ("conv2@1e-30",)}
        _refused("whose product is from", config=dataclasses.replace(config, **nothing), check=plan_objective)
        # Here only ratios of layers count.
        plan_objective(dataclasses.replace(config, normalization="relative"))


def _numbers() -> Any:
    yield from (np.int64(3), np.uint8(5))


def test_what_numpy_and_pathlib_have_is_taken_where_pythons_are() -> None:
    # Any of them, which the annotations do not tell.
    given: dict[str, Any] = dict(
        content=Path("a.jpg"), style=np.array(["b.jpg", "c.jpg"]), style_blend=np.array([1, 3], np.float32),
        style_scale=[np.float32(0.5), "400px"], size=np.int64(64), steps=np.uint8(7), content_weight=np.float32(0.5),
        style_weight=np.array(2.0), jitter=np.array(3), init=np.str_("mean"), style_mask=map(Path, ["m.png", "n.png"]),
        style_layers=(f"conv{k}" for k in (1, 2)), seed=np.uint64(2 ** 63 - 1))
    config = StylizeConfig(**given)
    assert config == StylizeConfig(
        content="a.jpg", style=("b.jpg", "c.jpg"), style_blend=(1.0, 3.0), style_scale=(0.5, "400px"), size=64, steps=7,
        content_weight=0.5, style_weight=2.0, jitter=3, init="mean", style_mask=("m.png", "n.png"),
        style_layers=("conv1", "conv2"), seed=2 ** 63 - 1)
    kinds = {type(value) for value in itertools.chain.from_iterable(
        value if isinstance(value, tuple) else (value,) for value in vars(config).values())}
    assert kinds == {str, int, float, type(None)}
    check(config)
    given = dict(snapshots=range(1, 4), resume=np.bool_(True), output=PurePosixPath("x.png"))
    run_config = RunConfig(**given)
    assert run_config == RunConfig(snapshots=(1, 2, 3), resume=True, output="x.png")
    check(run_config)
    numbers: Any
    for numbers in (_numbers(), array.array("i", [3, 5]), np.array([3, 5])):
        assert ExportConfig(litert_size=numbers).litert_size == (3, 5)


PICTURE = np.zeros((40, 50, 3), np.uint8)


@pytest.mark.parametrize("changes, parts", [
    ({"content": PICTURE}, ["--content=(ndarray of shape (40, 50, 3))", "give the path of a file"]),
    ({"content": Image.fromarray(PICTURE)}, ["--content=(Image)", "give the path of a file"]),
    ({"content": b"a.jpg"}, ["--content=(bytes)", "the path of a file"]),
    ({"style": PICTURE}, ["--style=(ndarray of shape (40, 50, 3))", "a list of paths of files"]),
    ({"style": [PICTURE] * 9}, ["--style=((ndarray of shape (40, 50, 3)), ", ", ...)"]),
    ({"style": "b.jpg"}, ["--style='b.jpg'", "a list of paths of files"]),
    ({"style": Path("b.jpg")}, ["--style='b.jpg'", "a list of paths of files"]),
    ({"style": {"b.jpg": 0.5}}, ["--style=(dict)"]), ({"style_blend": {1.0, 2.0}}, ["--style_blend=(set)"]),
    ({"style_blend": np.zeros((2, 2))}, ["--style_blend=(ndarray of shape (2, 2))", "a list of numbers"]),
    ({"style_blend": np.array([1, np.nan])}, ["--style_blend=nan is out of range"]),
    ({"style_blend": np.full(10 ** 5, "x" * 99)}, ["--style_blend=('xxx", ", ...)", "a list of numbers"]),
    ({"content_weight": np.arange(1e4)}, ["--content_weight=(ndarray of shape (10000,))", "give a number"]),
    ({"size": np.float64(64)}, ["--size=64.0", "a whole number"]), ({"size": 10 ** 6000}, ["bits) is out of range"]),
    ({"style_weight": 10 ** 400}, ["bits) is out of range"]), ({"learning_rate": 10 ** 400}, ["bits) is out of range"]),
    ({"init": "a\nb"}, ["--init 'a\\nb'", "cannot be printed"]), ({"backbone": PICTURE}, ["--backbone=(ndarray"]),
    ({"size": True}, ["--size=True", "a whole number"]), ({"seed": None}, ["--seed=None"])])
def test_other_values_are_one_short_line(changes: dict[str, Any], parts: list[str]) -> None:
    _refused(*parts, config=dataclasses.replace(KMEANS, **changes))


@pytest.mark.parametrize("given, shown", [
    ("photo.jpg", "'photo.jpg' is no "), (PICTURE, "(ndarray of shape (40, 50, 3)) is no "), (None, "None is no "),
    (StylizeConfig, "is no "), (RunConfig(), "(RunConfig) is no ")])
def test_what_is_no_config(given: Any, shown: str) -> None:
    for check_first, name in ((resolve, "StylizeConfig"), (resolve_dream, "DreamConfig")):
        if given is not StylizeConfig or name == "StylizeConfig":
            _refused(shown, f"{name}: give one, as in {name}(content='photo.jpg', ...)", config=given,
                     check=check_first)
    _refused("(StylizeConfig) is no DreamConfig", config=KMEANS, check=resolve_dream)
    check(DreamConfig(content="a.jpg"))


def test_snapshots_that_never_come(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / snapshot_name(2)).touch()
    assert missed_snapshots(tmp_path, (1, 2, 3, 9, 10), done=0, total=9) == [10]
    # Of a run that goes on after step 3, the picture of step 2 is there.
    assert missed_snapshots(tmp_path, (1, 2, 3, 9, 10), done=3, total=9) == [1, 3, 10]
