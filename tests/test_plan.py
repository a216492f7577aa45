"""A config is resolved, or refused, before any long work."""

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from nst_tf.backbones.table import BACKBONES
from nst_tf.config import StylizeConfig
from nst_tf.losses.objective import TermWeights
from nst_tf.recipes.stylize.plan import Decided, complete, decided_before, resolve, resolved
from nst_tf.vocabulary import UserError

from .conftest import stylize_settings as settings


@pytest.fixture
def config(photo: str, painting: str) -> StylizeConfig:
    return StylizeConfig(content=photo, style=(painting,), backbone="kmeans", size=64, min_size=32, steps=10)


def _with(config: StylizeConfig, **changes: object) -> StylizeConfig:
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def test_paths_and_lists_may_be_given_from_python(config: StylizeConfig) -> None:
    assert StylizeConfig(content=Path("a.png"), style=[Path("b.png")]) == StylizeConfig(  # type: ignore[arg-type]
        content="a.png", style=("b.png",))


def test_defaults_come_from_the_backbone_and_the_normalization(config: StylizeConfig) -> None:
    plan = resolve(_with(config, backbone="vgg19", weights="random", normalization="ng"))
    assert [layer for layer, _ in plan.objective.content_layers] == ["block4_conv2"]
    assert plan.objective.weights == TermWeights(10.0, 40.0, 0.0)
    plan = resolve(_with(config, content_weight=0.0, style_layers=("conv2@3", "conv1")))
    assert plan.objective.weights.content == 0 and plan.weights == "self"
    assert plan.objective.style_layers == (("conv2", 3.0), ("conv1", 1.0))


def test_stages_have_the_aspect_of_the_photo_and_leave_out_what_is_too_small(config: StylizeConfig) -> None:
    plan = resolve(config)
    assert [stage.long_side_px for stage in plan.stages] == [32, 64]
    assert [plan.stage_size_px(stage) for stage in range(2)] == [(32, 24), (64, 48)]
    # 41 x 59 px of style at 20 px would be 14 px wide, too small for conv5.
    assert [stage.long_side_px for stage in resolve(_with(config, min_size=20)).stages] == [32, 64]
    assert [stage.long_side_px for stage in resolve(_with(config, min_size=64)).stages] == [64]
    assert [stage.long_side_px for stage in resolve(_with(config, min_size=999)).stages] == [64]


def test_work_left(config: StylizeConfig) -> None:
    plan = resolve(config)
    assert [stage.steps for stage in plan.stages] == [2, 8]
    decided = Decided(variant=plan.variant, objective=plan.objective, stages=plan.stages)
    assert decided.steps_left(plan, 0, 1) == {(32 * 24,): 1, (64 * 48,): 8}
    assert decided.steps_left(plan, 1, 3) == {(64 * 48,): 5} and decided.steps_left(plan, 1, 8) == {(64 * 48,): 0}
    copied = resolve(_with(config, motif_size=20))
    assert copied.copies_px(1) == (27,), "no smaller, lest the network find it too small"
    assert decided.steps_left(copied, 1, 3) == {(64 * 48, 27 * 20): 5}


def test_blend_weights_sum_to_one(config: StylizeConfig, second_painting: str) -> None:
    styles = (*config.style, second_painting)
    assert resolve(_with(config, style=styles)).style_blend == (0.5, 0.5)
    assert resolve(_with(config, style=styles, style_blend=(3.0, 1.0))).style_blend == (0.75, 0.25)


@pytest.mark.parametrize("changes, text", [
    ({"content": "", "size": None}, "--content is missing.*or --size=PX for a texture"),
    ({"style": ()}, "--style is missing"),
    ({"content": "none.jpg"}, "--content 'none.jpg' does not exist"),
    ({"style": ("none.jpg",)}, "--style 'none.jpg' does not exist"),
    ({"init": "contend"}, "did you mean 'content'.*or an image file"),
    ({"weights": "none.npz"}, "no such file"),
    ({"style_layers": ("conv11",)}, "--style_layers: layer 'conv11' is unknown, did you mean 'conv1'"),
    ({"style_blend": (1.0, 1.0)}, "2 weights for 1 styles"),
    ({"style_blend": (0.0,)}, "every weight is 0"),
    ({"content_weight": 0.0, "style_weight": 0.0, "smoothness_weight": 0.0}, "all 0"),
    ({"size": 16}, "need 17 px; give a larger --size"),
    ({"size": 10 ** 9}, "--size=1000000000 is out of range: give a number >= 1 and <= 65535"),
    ({"size": "64"}, "--size='64' is of the wrong kind: give a whole number"),
    ({"size": 64.5}, "wrong kind: give a whole number"),
    ({"style": "painting.png"}, "--style='painting.png' is of the wrong kind: give a list of paths of files"),
    ({"style_blend": ("1",)}, "give a list of numbers"),
    ({"init": None}, "--init=None is of the wrong kind: give a text"),
    ({"content": "a\nb.png"}, "cannot be printed"),
])
def test_what_is_wrong_is_refused(config: StylizeConfig, changes: dict, text: str) -> None:
    with pytest.raises(UserError, match=text) as raised:
        resolve(_with(config, **changes))
    assert "\n" not in str(raised.value)


def test_a_picture_too_thin_for_the_layers(config: StylizeConfig, tmp_path: Path) -> None:
    for flag, size in (("content", (3000, 9)), ("style", (2, 900)), ("content", (1, 1)), ("style", (1, 1))):
        path = str(tmp_path / "thin.png")
        Image.new("RGB", size, "red").save(path)
        changed = _with(config, **{flag: path if flag == "content" else (path,)})
        for weights, text in (("self", "px.*kmeans learns its filters from it"), ("bundled", "px at --size=64")):
            if (size, flag, weights) == ((1, 1), "content", "bundled"):
                # A single pixel can be enlarged; it is a flat photo and nothing is wrong with it.
                assert resolve(_with(changed, weights=weights)).stage_size_px(-1) == (64, 64)
                continue
            with pytest.raises(UserError, match=f"--{flag} '.*thin.png' is .* {text}"):
                resolve(_with(changed, weights=weights))


def test_settings_name_files_by_base_name_and_checksum(config: StylizeConfig) -> None:
    written = settings(config, resolve(config))
    assert written["--content"]["file"] == "photo.png" and len(written["--content"]["sha256"]) == 64
    assert [style["file"] for style in written["--style"]] == ["painting.png"]
    assert str(Path(config.content).parent) not in str(written)


def test_a_backbone_may_have_its_own_content_weight(config: StylizeConfig) -> None:
    own = _with(config, backbone="squeezenet1_1", weights="random")
    found = [resolve(_with(own, **settings)).objective.weights.content
             for settings in ({}, {"normalization": "gatys"}, {"content_weight": 0.5})]
    assert found == [BACKBONES["squeezenet1_1"].content_weight, 1.0, 0.5]


def test_a_complete_config_means_the_same_and_names_every_default(config: StylizeConfig) -> None:
    plan = resolve(config)
    whole = complete(config, plan)
    assert whole.content_layers == ("conv4@1.0",) and whole.style_layers[0].startswith("conv1@0.3529")
    assert (whole.content_weight, whole.style_blend, whole.weights) == (0.17, (1.0,), "self")
    assert resolve(whole) == plan and settings(whole, plan) == settings(config, plan)


def test_only_file_settings_become_files(config: StylizeConfig, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kmeans").write_bytes(Path(config.content).read_bytes())
    named = _with(config, style=("kmeans",))
    assert settings(named, resolve(named))["--backbone"] == "kmeans"


def test_pictures_too_small_to_learn_from(config: StylizeConfig, tmp_path: Path) -> None:
    for flag, size in (("content", (10, 10)), ("style", (16, 90))):
        path = str(tmp_path / "small.png")
        Image.new("RGB", size, "red").save(path)
        changed = _with(config, **{flag: path if flag == "content" else (path,)}, size=256)
        with pytest.raises(UserError, match=f"--{flag} '.*small.png' is .* at least 17 px .*--weights=bundled"):
            resolve(changed)
    shallow = _with(config, content=path, content_layers=("conv1",), style_layers=("conv1",))
    assert resolve(shallow).stages
    assert resolve(_with(changed, style=config.style, content=path, weights="bundled")).stages


def test_huge_blend_weights(config: StylizeConfig, second_painting: str) -> None:
    styles = (*config.style, second_painting)
    assert resolve(_with(config, style=styles, style_blend=(3.4e38, 3.4e38))).style_blend == (0.5, 0.5)


def test_stages_are_stored_and_read_back(config: StylizeConfig) -> None:
    plan = resolve(config)
    record = {"resolved": resolved(plan), "settings": {"--precision": "bfloat16", "--steps": config.steps}}
    assert decided_before(plan, record).stages == plan.stages
    longer = decided_before(plan, record, plan.stages[0].steps + plan.stages[1].steps + 5)
    assert longer.stages == (plan.stages[0], plan.stages[1]._replace(steps=plan.stages[1].steps + 5))
    assert longer.variant == plan.variant._replace(precision="bfloat16")
