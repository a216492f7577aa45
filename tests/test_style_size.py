"""At which size a style is measured: relative to the picture, or fixed; never enlarged nor stretched."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.recipes.stylize.plan import complete, resolve, resolved
from nst_tf.recipes.stylize.sizes import style_size_px
from nst_tf.recipes.stylize.stage import stage_losses, styles_at
from nst_tf.recipes.stylize.steps import set_up
from nst_tf.vocabulary import UserError

from .conftest import save_picture, stylize_settings as settings


@pytest.fixture
def config(photo: str, painting: str, second_painting: str) -> StylizeConfig:
    """Styles of 41 × 59 and 51 × 45 px; stages of 32 and 64 px."""
    return StylizeConfig(content=photo, style=(painting, second_painting), backbone="kmeans", weights="bundled",
                         precision="float32", size=64, min_size=32, steps=9, content_layers=("conv2",),
                         style_layers=("conv1", "conv2"))


def _with(config: StylizeConfig, **changes: Any) -> StylizeConfig:
    return dataclasses.replace(config, **changes)


def _sizes(config: StylizeConfig, stage: int = -1) -> list[tuple[int, int]]:
    plan = resolve(config)
    return [plan.style_size_px(style, stage) for style in range(len(config.style))]


def test_sizes_by_hand() -> None:
    # 3:2, relative to a picture of 100 px: half, own size, three times; and never above the file's 300 px.
    assert [style_size_px(scale, 100, (300, 200)) for scale in (0.5, 1, 3, 3.1, 16)] == [
        (50, 33), (100, 67), (300, 200), (300, 200), (300, 200)]
    assert style_size_px(1e-9, 100, (300, 200)) == (1, 1)


def test_a_scale_is_relative_to_the_picture_at_every_stage(config: StylizeConfig) -> None:
    assert _sizes(config) == [(41, 59), (51, 45)]  # their own sizes, though the picture has 64 px
    assert _sizes(_with(config, style_scale=(0.5,))) == [(22, 32), (32, 28)]
    assert _sizes(_with(config, style_scale=(0.5, 0.75))) == [(22, 32), (48, 42)]
    assert _sizes(_with(config, style_scale=(0.5, 0.75)), stage=0) == [(11, 16), (24, 21)]
    assert _sizes(_with(config, style_scale=(2.0,)), stage=0) == [(41, 59), (51, 45)]


def test_a_fixed_size_holds_at_the_last_stage_and_in_proportion_before(config: StylizeConfig) -> None:
    fixed = _with(config, style_scale=("48px",))
    assert _sizes(fixed) == [(33, 48), (48, 42)] and _sizes(fixed, stage=0) == [(17, 24), (24, 21)]
    for size in (63, 64, 97, 333):
        assert _sizes(_with(fixed, size=size)) == [(33, 48), (48, 42)]
    mixed = _with(config, style_scale=(0.5, "48px"))
    assert _sizes(mixed) == [(22, 32), (48, 42)] and _sizes(mixed, stage=0) == [(11, 16), (24, 21)]


def test_the_pictures_that_are_measured_have_these_sizes(config: StylizeConfig) -> None:
    plan = resolve(_with(config, style_scale=(0.5, 2.0)))
    inputs, *_ = set_up(config, plan)
    assert [style.shape for style in styles_at(plan, inputs, -1)] == [(32, 22, 3), (45, 51, 3)]


def test_a_style_larger_than_the_picture_is_read_in_full(config: StylizeConfig, tmp_path: Path) -> None:
    large = _with(config, style=(save_picture(tmp_path / "large.png", 700, 500, seed=4),), style_scale=(16.0,))
    plan = resolve(large)
    inputs, *_ = set_up(large, plan)
    assert inputs.styles[0].shape == (700, 500, 3) and styles_at(plan, inputs, -1)[0].shape == (700, 500, 3)


def test_what_was_resolved_is_recorded_and_means_the_same_again(config: StylizeConfig) -> None:
    scaled, fixed = _with(config, style_scale=(0.5,)), _with(config, style_scale=("48px",))
    assert resolved(resolve(scaled))["style_sizes_px"] == [[22, 32], [32, 28]]
    assert complete(scaled, resolve(scaled)).style_scale == (0.5, 0.5)
    assert complete(config, resolve(config)).style_scale == (1.0, 1.0)
    assert complete(fixed, resolve(fixed)).style_scale == ("48px", "48px")
    mixed = _with(config, style_scale=("48px", 0.25))
    for given in (config, scaled, fixed, mixed):
        plan = resolve(given)
        assert resolve(complete(given, plan)) == plan
        assert settings(complete(given, plan), plan) == settings(given, plan)


@pytest.mark.parametrize("changes, text", [
    ({"style_scale": (1.0, 1.0, 1.0)}, "--style_scale has 3 values for 2 styles: give one for each"),
    ({"style_scale": (0.0,)}, "--style_scale=0.0 is out of range"),
    ({"style_scale": (17.0,)}, "out of range: give a number > 0 and <= 16, or pixels such as 400px"),
    *[({"style_scale": (1.0, text)}, f"--style_scale={text}: write a number such as 0.5, or pixels such as 400px")
      for text in ("0px", "px", "-4px", "4.5px", "400", "4 px", "400PX", "1234567px", "")],
    ({"style_scale": (1.0, None)}, "give a list of numbers, or texts such as 400px"),
    ({"style_scale": (0.01,)}, "painting.png' is 1 × 1 px at --size=64 and --style_scale=0.01: the layers of kmeans "
     "need [0-9]+ px; give a larger --size or --style_scale or shallower layers"),
    ({"style_scale": (1.0, 0.02)}, "second.png' is 1 × 1 px at --size=64 and --style_scale=0.02"),
    ({"style_scale": ("2px",)}, "painting.png' is 1 × 2 px at --style_scale=2px: .* give a larger --style_scale or"),
])
def test_what_is_wrong_is_refused(config: StylizeConfig, changes: dict, text: str) -> None:
    with pytest.raises(UserError, match=text) as raised:
        resolve(_with(config, **changes))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_too_small_itself_is_named_as_such(config: StylizeConfig, tmp_path: Path) -> None:
    thin = _with(config, style=(save_picture(tmp_path / "thin.png", 60, 9, seed=5),), style_layers=("conv5",))
    for scale, remedy in ((16.0, "picture"), (0.5, "--size or --style_scale")):
        with pytest.raises(UserError, match=f"give a larger {remedy} or shallower layers"):
            resolve(_with(thin, style_scale=(scale,)))


def test_stages_at_which_a_scaled_style_is_too_small_are_left_out(config: StylizeConfig) -> None:
    deep = _with(config, content_layers=(), style_layers=())
    assert [stage.long_side_px for stage in resolve(deep).stages] == [32, 64]
    # conv5 needs 17 px, and half of 45 px leaves 16 of the first style's width.
    assert [stage.long_side_px for stage in resolve(_with(deep, style_scale=(0.5,))).stages] == [64]


def _waves(period_px: int) -> np.ndarray:
    wave = 0.5 + 0.4 * np.sin(2 * np.pi * (np.arange(96) + 0.5) / period_px)
    return np.broadcast_to(wave[None, :, None], (96, 96, 3)).astype(np.float32)


@pytest.mark.parametrize("scale, period_px", [(1.0, 16), (0.5, 8)])
def test_strokes_are_wanted_at_the_scale_that_was_asked_for(tmp_path: Path, scale: float, period_px: int) -> None:
    path = tmp_path / "waves.png"
    images.save(path, _waves(16))
    texture = StylizeConfig(style=(str(path),), backbone="kmeans", weights="bundled", size=96, min_size=96,
                            precision="float32", style_scale=(scale,))
    plan = resolve(texture)
    measure = stage_losses(texture, plan, set_up(texture, plan), stage=-1)
    losses = {period: float(measure(_waves(period)[None], np.zeros(2, np.int32))["loss/style"])
              for period in (4, 8, 16, 32)}
    assert min(losses, key=losses.__getitem__) == period_px and losses[period_px] < 0.1 * sorted(losses.values())[1]
