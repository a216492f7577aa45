"""Runs with masks: each region has its own style, or stays the photo; what is wrong is refused before any work."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from nst_tf import flags
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.io import images, masks
from nst_tf.losses.moments import mean, measure_gram
from nst_tf.losses.statistics import relative
from nst_tf.recipes.stylize.plan import complete, resolve, resolved
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.runs import session
from nst_tf.vocabulary import UserError

from .conftest import build, make_picture, run_stylize as run, stylize_settings as settings

pytestmark = pytest.mark.usefixtures("shared_networks")


def _halves(path: Path, left: str, right: str, size: tuple[int, int] = (63, 47), edge: float = 0.5) -> str:
    image = Image.new("RGB", size, left)
    image.paste(right, (round(edge * size[0]), 0, *size))
    image.save(path)
    return str(path)


@pytest.fixture
def mask(tmp_path: Path) -> str:
    """Of the photo, whose first 25 columns are black."""
    return _halves(tmp_path / "mask.png", "black", "white", edge=0.4)


@pytest.fixture
def config(photo: str, painting: str, second_painting: str, mask: str) -> StylizeConfig:
    """Two stages (45 and 64 px) on shallow layers of filters that need not be learned."""
    return StylizeConfig(content=photo, style=(painting, second_painting), content_mask=mask,
                         style_mask=("#000000", "#ffffff"), backbone="kmeans", weights="bundled", size=64, min_size=45,
                         steps=30, content_layers=("conv2",), style_layers=("conv1", "conv2"))


def _with(config: StylizeConfig, **changes: Any) -> StylizeConfig:
    return dataclasses.replace(config, **changes)


def _picture(config: StylizeConfig) -> np.ndarray:
    return [progress.picture() for progress in stylize(config)][-1]


def _distance(picture: np.ndarray, style: str) -> float:
    """Of Gram matrices in the two layers that the runs optimize."""
    extractor = build("kmeans", ["conv1", "conv2"], "bundled")
    target, features = (extractor(each[np.newaxis]) for each in (images.load(style, max_side_px=64), picture))
    return float(np.mean([relative(mean(measure_gram(features[layer])), mean(measure_gram(target[layer])))
                          for layer in ("conv1", "conv2")]))


def test_each_region_moves_to_its_own_style_and_swapped_colors_swap_them(config: StylizeConfig) -> None:
    photo = images.resize(images.load(config.content), 64, 48)
    pictures = [_picture(_with(config, style_mask=items)) for items in (
        ("#000000", "#ffffff"), ("#ffffff", "#000000"))]
    left, right = np.s_[:, :21], np.s_[:, 30:]
    for half, ordered in ((left, config.style), (right, config.style[::-1])):
        own, other = ordered
        first, second = (picture[half] for picture in pictures)
        assert _distance(first, own) < 0.6 * _distance(photo[half], own)
        assert _distance(second, other) < 0.6 * _distance(photo[half], other)
        assert _distance(first, own) < 0.8 * _distance(second, own)
        assert _distance(second, other) < 0.8 * _distance(first, other)


def test_a_style_with_a_mask_is_measured_over_its_region_alone(config: StylizeConfig, tmp_path: Path) -> None:
    """A painting of two halves and its mask mean the same as the two halves as two paintings."""
    halves = [make_picture(48, 64, seed)[:, :32] for seed in (5, 6)]
    for name, picture in (("0.png", halves[0]), ("1.png", halves[1]), ("both.png", np.hstack(halves))):
        images.save(tmp_path / name, picture)
    both_mask = _halves(tmp_path / "both_mask.png", "white", "black", size=(64, 48))
    short = _with(config, min_size=64, steps=1)
    one = _with(short, style=(str(tmp_path / "both.png"),), style_mask=(both_mask,))
    two = _with(short, style=(str(tmp_path / "0.png"), str(tmp_path / "1.png")), style_mask=("#ffffff", "#000000"))
    losses = [float(list(stylize(each))[0].losses["loss/style"]) for each in (one, two)]
    # The cells at the middle of the painting see both halves.
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    wrong = float(list(stylize(_with(two, style_mask=("#000000", "#ffffff"))))[0].losses["loss/style"])
    assert abs(wrong - losses[1]) > 0.1 * losses[1], "the test can tell the halves apart"


@pytest.mark.parametrize("changes", [
    {}, {"init": "white_noise"}, {"content_weight": 0.0, "smoothness_weight": 2.0}, {"jitter": 2}, {"color": "keep"},
    {"color": "luminance"}])
def test_a_region_without_style_stays_the_photo_in_the_file(config: StylizeConfig, tmp_path: Path,
                                                            changes: dict[str, Any]) -> None:
    untouched = _with(config, style=config.style[:1], style_mask=("#ffffff",), **changes)
    output = tmp_path / "out.png"
    run_config = RunConfig(logdir=str(tmp_path), run="r", output=str(output), snapshots=(2,))
    assert run(untouched, run_config) == 0
    w = masks.resize_memberships(masks.load_mask(config.content_mask, "", 1024).memberships, 64, 48)
    stays = w[..., 1] == 1  # black, the smaller region
    assert 0.35 < stays.mean() < 0.4
    photo = images.load(config.content)
    moved = _bytes(output) != images.quantize(images.resize(photo, 64, 48))
    assert not moved[stays].any() and moved[w[..., 0] == 1].mean() > 0.5
    # A snapshot of the smaller stage too, and the output that is written again later.
    small = masks.resize_memberships(masks.load_mask(config.content_mask, "", 1024).memberships, 45, 34)[..., 1] == 1
    snapshot = _bytes(tmp_path / "r/images/step_000002.png")
    assert (snapshot[small] == images.quantize(images.resize(photo, 45, 34))[small]).all()
    before = output.read_bytes()
    output.unlink()
    assert run(untouched, dataclasses.replace(run_config, resume=True)) == 0
    assert output.read_bytes() == before


def test_at_its_own_size_the_photo_is_kept_as_it_is(config: StylizeConfig, tmp_path: Path) -> None:
    untouched = _with(config, style=config.style[:1], style_mask=("#ffffff",), size=48, min_size=48, steps=2)
    run(untouched, RunConfig(logdir=str(tmp_path), run="r", output=str(tmp_path / "out.png"), own_size=True))
    np.testing.assert_array_equal(_bytes(tmp_path / "out.png")[:, :24], _bytes(Path(config.content))[:, :24])
    assert _bytes(tmp_path / "out.png").shape == (47, 63, 3)


def _bytes(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_at_a_soft_edge_photo_and_style_are_blended(config: StylizeConfig, tmp_path: Path) -> None:
    ramp = np.clip(np.linspace(-1, 2, 63), 0, 1)[None, :, None].repeat(47, 0).repeat(3, 2)
    images.save(tmp_path / "soft.png", ramp.astype(np.float32))
    soft = _with(config, style=config.style[:1], style_mask=("#ffffff",), content_mask=str(tmp_path / "soft.png"))
    change = np.abs(_picture(soft) - images.resize(images.load(config.content), 64, 48)).mean((0, 2))
    thirds = [change[:19].mean(), change[22:32].mean(), change[32:42].mean(), change[45:].mean()]
    assert thirds[0] < 1e-6 and thirds[0] < thirds[1] < thirds[2] < thirds[3]


def test_every_style_in_both_regions_is_near_to_no_regions(config: StylizeConfig) -> None:
    short = _with(config, min_size=64, steps=1)
    plain = list(stylize(_with(short, content_mask="", style_mask=())))[0].losses
    shared = list(stylize(_with(short, style_mask=("", ""))))[0].losses
    assert set(plain) == set(shared)
    assert float(shared["loss/content"]) == float(plain["loss/content"])
    # Each region is compared alone with what was one comparison: no smaller, by convexity.
    assert float(plain["loss/style"]) <= float(shared["loss/style"]) < 2 * float(plain["loss/style"])


def test_a_stopped_run_goes_on_bit_for_bit(config: StylizeConfig) -> None:
    short = _with(config, steps=10, style_mask=("#000000", ""))
    whole = list(stylize(short))
    for done in (2, 6):
        rest = list(stylize(short, state=whole[done].state))
        assert len(rest) == len(whole) - done - 1
        np.testing.assert_array_equal(rest[-1].picture(), whole[-1].picture())


def test_masks_are_inputs_of_the_run(config: StylizeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style_mask = _halves(tmp_path / "style_mask.png", "#fc0402", "black", size=(41, 59))
    content_mask = _halves(tmp_path / "content_mask.png", "#ff0000", "black")
    short = _with(config, steps=4, content_mask=content_mask, style_mask=(style_mask, "#FF0000"))
    plan = resolve(short)
    assert [region[0::2] for region in plan.regions] == [("#ff0000", (0, 1)), ("#000000", (0,))]
    assert plan.regions[1].share == pytest.approx(31 / 63, abs=0.001)
    assert resolved(plan)["regions"][0] == {"color": "#ff0000", "share": plan.regions[0].share, "styles": (0, 1)}
    written = settings(short, plan)
    assert written["--content_mask"]["file"] == "content_mask.png"
    assert [item if isinstance(item, str) else item["file"] for item in written["--style_mask"]] == [
        "style_mask.png", "#ff0000"]
    assert resolve(complete(short, plan)) == plan and settings(complete(short, plan), plan) == written
    run_config = RunConfig(logdir=str(tmp_path / "logs"), run="r")
    run(short, run_config)
    record = json.loads((tmp_path / "logs/r/config.json").read_text())
    assert [item["flag"] for item in record["inputs"]] == [
        "--content", "--style", "--style", "--content_mask", "--style_mask"]
    monkeypatch.chdir(tmp_path / "logs")
    configs, _ = flags.parse(["stylize.py", "--flagfile=r/flags.txt", "--run=again"], [StylizeConfig, RunConfig], "",
                             {})
    run(*configs)
    assert (tmp_path / "logs/again/output.png").read_bytes() == (tmp_path / "logs/r/output.png").read_bytes()
    with pytest.raises(UserError, match="is the file of --style_mask"):
        run(short, dataclasses.replace(run_config, run="new", output=style_mask))
    _halves(tmp_path / "content_mask.png", "#ff0000", "black", edge=0.7)
    with pytest.raises(UserError, match=r"\(--content_mask differ\)"):
        run(short, dataclasses.replace(run_config, resume=True))


def test_an_empty_item_survives_in_the_flag_file(config: StylizeConfig, tmp_path: Path) -> None:
    alone = _with(config, style=config.style[:1], style_mask=("",), steps=1, min_size=64)
    assert [region.styles for region in resolve(alone).regions] == [(0,), (0,)]
    run(alone, RunConfig(logdir=str(tmp_path), run="r"))
    configs, _ = flags.parse(["stylize.py", f"--flagfile={tmp_path}/r/flags.txt"], [StylizeConfig, RunConfig], "", {})
    assert configs[0].style_mask == ("",)


def test_a_mask_may_have_another_size_than_its_picture(config: StylizeConfig, tmp_path: Path) -> None:
    for size in ((630, 470), (21, 16), (64, 48)):
        path = _halves(tmp_path / "sized.png", "black", "white", size=size, edge=1 / 3)
        white, black = resolve(_with(config, content_mask=path)).regions
        assert (white.color, white.styles, black.color, black.styles) == ("#ffffff", (1,), "#000000", (0,))
        assert white.share == pytest.approx(2 / 3, abs=0.02)


@pytest.mark.parametrize("changes, text", [
    ({"content_mask": ""}, "--style_mask needs --content_mask"),
    ({"style_mask": ()}, "--style_mask has 0 items for 2 styles: .* or a color such as #ffffff"),
    ({"style_mask": ("#000000",)}, "--style_mask has 1 items for 2 styles"),
    ({"style_mask": ("#000000", "#fff")}, "--style_mask=#fff is no color: write # and six"),
    ({"style_mask": ("#000000", "none.png")}, "--style_mask 'none.png' does not exist"),
    ({"content_mask": "none.png"}, "--content_mask 'none.png' does not exist"),
    ({"style_mask": ("#000000", "#ff0000")}, "--style_mask '#ff0000': --content_mask has no region #ff0000; its colors "
     "are #ffffff, #000000"),
    ({"style_mask": ("", "MASK red lime 51 45")}, "has no region #00ff00, #ff0000|has no region #ff0000, #00ff00"),
    ({"content_mask": "MASK black black"}, "has one color, #000000: paint each region"),
    ({"content_mask": "PHOTO"}, "looks like a picture, not like a mask"),
    ({"content_mask": "WIDE"}, r"--content_mask '.*' is 90 × 47 px and its picture '.*photo.png' 63 × 47 px: give a "
     "mask of the same aspect"),
    ({"content_mask": "TEXT"}, "is not an image"),
    ({"style_mask": ("MASK black white", "")}, r"--style_mask '.*' is 63 × 47 px and its picture '.*painting.png'"),
    ({"content_mask": "SPECK"}, "region #000000 covers 12 px at 64 × 48 px, at least 16 are needed: paint it larger"),
    ({"style_blend": (1.0, 0.0)}, "--style_blend gives 0 to every style of region #ffffff"),
])
def test_what_is_wrong_is_refused(config: StylizeConfig, tmp_path: Path, changes: dict[str, Any], text: str,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "start_tensorflow", lambda *_: pytest.fail("TensorFlow was started"))

    def made(item: str) -> str:
        path = tmp_path / "made.png"
        if item.startswith("MASK"):
            _, left, right, *size = item.split()
            return _halves(path, left, right, size=(int(size[0]), int(size[1])) if size else (63, 47))
        if item == "WIDE":
            return _halves(path, "black", "white", size=(90, 47))
        if item == "SPECK":
            image = Image.new("RGB", (630, 470), "white")
            ImageDraw.Draw(image).rectangle((100, 100, 133, 133), fill="black")
            image.save(path)
            return str(path)
        if item == "TEXT":
            path.write_text("no image")
            return str(path)
        return config.content if item == "PHOTO" else item

    given = {name: tuple(made(item) if isinstance(item, str) else item for item in value)
             if isinstance(value, tuple) else made(value) for name, value in changes.items()}
    with pytest.raises(UserError, match=text) as raised:
        run(_with(config, **given), RunConfig(logdir=str(tmp_path / "logs"), run="r"))
    assert "\n" not in str(raised.value) and not (tmp_path / "logs").exists()
