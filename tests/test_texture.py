"""Textures of the styles alone: everything a run is, without content."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nst_tf import flags
from nst_tf.backbones import kmeans
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.losses.objective import TermWeights
from nst_tf.losses.score import distance_to_styles
from nst_tf.recipes.compare.recipe import CompareConfig
from nst_tf.recipes.sweep.recipe import SweepRunConfig
from nst_tf.recipes.stylize.plan import complete, resolve
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.runs.folder import run_name
from nst_tf.vocabulary import InitName, UserError, names

from .conftest import run_compare, run_stylize as run, stylize_settings as settings

pytestmark = pytest.mark.usefixtures("shared_networks")


@pytest.fixture
def config(painting: str) -> StylizeConfig:
    return StylizeConfig(style=(painting,), backbone="kmeans", weights="bundled", size=48, min_size=32, steps=6,
                         style_layers=("conv1", "conv2"))


@pytest.fixture
def run_config(tmp_path: Path) -> RunConfig:
    return RunConfig(logdir=str(tmp_path / "logs"), run="r", log_every=1)


def _with(config: StylizeConfig, **changes: Any) -> StylizeConfig:
    return dataclasses.replace(config, **changes)


def test_the_plan_is_a_square_from_noise_without_a_content_term(config: StylizeConfig) -> None:
    plan = resolve(config)
    assert plan.stage_size_px(-1) == (48, 48) and plan.init == "faint_noise"
    assert plan.objective.weights == TermWeights(0.0, 1.0, 0.4) and plan.objective.content_layers == ()
    assert [item.flag for item in plan.inputs] == ["--style"]
    whole = complete(config, plan)
    assert resolve(whole) == plan and settings(whole, plan) == settings(config, plan)
    assert (whole.content, whole.content_layers, whole.init) == ("", (), "faint_noise")


@pytest.mark.parametrize("changes, text", [
    ({"size": None}, "--content is missing: give a photo, .* or --size=PX for a texture"),
    ({"content_weight": 0.1}, "--content_weight=0.1 needs --content"),
    ({"content_layers": ("conv2",)}, "--content_layers=conv2 needs --content"),
    ({"content_mask": "m.png", "style_mask": ("#ffffff",)}, "--content_mask=m.png needs --content"),
    ({"color": "keep"}, "--color=keep needs --content"),
    ({"init": "content"}, "--init=content needs --content"), ({"init": "blend"}, "--init=blend needs --content"),
    ({"size": 1}, "--size=1 is too small: the layers of kmeans need"), ({"style": ()}, "--style is missing"),
    ({"style_weight": 0.0, "smoothness_weight": 0.0}, "all 0"),
])
def test_what_needs_a_photo_is_refused(config: StylizeConfig, changes: dict, text: str) -> None:
    with pytest.raises(UserError, match=text) as raised:
        resolve(_with(config, **changes))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("init", [name for name in names(InitName) if name not in ("content", "blend")])
def test_every_other_first_image(config: StylizeConfig, init: str) -> None:
    first = next(stylize(_with(config, init=init, min_size=48, steps=1))).picture()
    assert first.shape == (48, 48, 3) and np.isfinite(first).all()


def test_a_run_leaves_its_folder_without_content_and_repeats(config: StylizeConfig, run_config: RunConfig) -> None:
    assert run(config, run_config) == 0
    folder = Path(run_config.logdir) / "r"
    with Image.open(folder / "output.png") as image:
        assert image.size == (48, 48)
    record = json.loads((folder / "config.json").read_text())
    assert [item["flag"] for item in record["inputs"]] == ["--style"] and record["settings"]["--content"] == ""
    assert all("content" not in json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    events = EventAccumulator(str(folder), {"images": 0}).Reload()
    tags = set(events.Tags()["tensors"])
    assert {"image/0_output", "image/2_style_0", "loss/style"} <= tags
    assert not {"image/1_content", "loss/content"} & tags
    (repeated, again), _ = flags.parse(["x", f"--flagfile={folder}/flags.txt", "--run=again"],
                                       [StylizeConfig, RunConfig], "", {})
    run(repeated, again)
    assert (folder / "output.png").read_bytes() == (folder.parent / "again/output.png").read_bytes()


def test_a_stopped_run_goes_on_bit_for_bit(config: StylizeConfig, run_config: RunConfig,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    run(config, dataclasses.replace(run_config, run="whole"))

    def stopped(*args: Any) -> Any:
        for progress in stylize(*args):
            if progress.state.step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            yield progress

    with monkeypatch.context() as patch:
        patch.setattr("nst_tf.recipes.stylize.steps.stylize", stopped)
        assert run(config, run_config) == 143
    assert run(config, run_config) == 0
    whole, resumed = (Path(run_config.logdir) / name / "output.png" for name in ("whole", "r"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_there_is_no_own_size_without_a_photo(config: StylizeConfig, run_config: RunConfig) -> None:
    with pytest.raises(UserError, match="--own_size needs --content"):
        run(config, dataclasses.replace(run_config, own_size=True))
    assert not Path(run_config.logdir).exists()


def test_a_run_is_named_by_its_styles(config: StylizeConfig) -> None:
    assert run_name("", config.style).startswith("painting_2")


def test_filters_are_learned_from_the_styles_alone(config: StylizeConfig, second_painting: str,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = kmeans.learn

    def learn(pictures: Any, *args: Any, **settings: Any) -> Any:
        seen.append([picture.shape for picture in pictures])
        return real(pictures, *args, **settings)

    monkeypatch.setattr(kmeans, "learn", learn)
    stylize(_with(config, weights="self", style=(*config.style, second_painting)))
    assert seen == [[(59, 41, 3), (45, 51, 3)]]


def test_softmax_is_scaled_by_the_first_style(config: StylizeConfig) -> None:
    deep = _with(config, backbone="squeezenet", weights="random", style_layers=("conv1", "fire9"), size=64, min_size=64,
                 steps=1, smoothing="softmax:1")
    assert np.isfinite(float(next(stylize(deep)).losses["loss/style"]))


def test_a_texture_comes_nearer_to_its_style(config: StylizeConfig) -> None:
    steps = list(stylize(_with(config, steps=30, min_size=48)))
    assert float(steps[-1].losses["loss/style"]) < 0.1 * float(steps[0].losses["loss/style"])


def test_without_a_photo_the_score_is_the_distance_itself() -> None:
    style = {"a": np.array([[[(0.0, 2.0), (0.0, 0.0)]]], np.float32)}
    picture = {"a": np.array([[[(1.0, 1.0), (1.0, 1.0)]]], np.float32)}
    # A = diag(0, 2), G = ones: (1 + 1 + 1 + 1) / 4; features of 0 have G = 0.
    assert distance_to_styles(picture, [style], (1.0,), ["a"]) == pytest.approx(1.0)
    assert distance_to_styles(style, [style], (1.0,), ["a"]) == 0
    assert distance_to_styles({"a": 0 * style["a"]}, [style], (1.0,), ["a"]) == pytest.approx(1.0)


def test_networks_are_compared_on_a_texture(painting: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    given = CompareConfig(style=(painting,), size=48, steps=2, backbones=("kmeans=bundled", "squeezenet=random"))
    assert run_compare(given, SweepRunConfig(logdir=str(tmp_path), run="c")) == 0
    assert "style score, 1 = features of 0, 0 = the style" in capsys.readouterr().out
    rows = json.loads((tmp_path / "c/table.json").read_text())["rows"]
    assert all(row["style_score"] > 0 and row["content_distance"] is None for row in rows)
    (again, _), _ = flags.parse(["x", f"--flagfile={tmp_path}/c/flags.txt"], [CompareConfig, SweepRunConfig], "", {})
    assert again.content == ""
