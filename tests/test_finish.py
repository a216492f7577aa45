"""What is shown and written of a run: colors, alpha, depth and own size, at every stage and after every stop."""

import dataclasses
import os
import signal
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.io import color, images
from nst_tf.io.picture_files import PictureFiles
from nst_tf.io.pixels import over_white
from nst_tf.optimize.state import averaged
from nst_tf.recipes.stylize.finish import COLORS, finisher
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.runs import session
from nst_tf.runs.progress import Progress
from nst_tf.vocabulary import UserError

from .conftest import make_picture, run_stylize as run, save_picture, stored_state

JOINED: list[Any] = ["keep", "luminance"]
pytestmark = pytest.mark.usefixtures("shared_networks")


@pytest.fixture
def config(photo: str, painting: str) -> StylizeConfig:
    """Two stages (23, 32 px) of 2 + 2 steps, on shallow layers."""
    return StylizeConfig(content=photo, style=(painting,), backbone="kmeans", weights="bundled", size=32, min_size=20,
                         steps=4, content_layers=("conv2",), style_layers=("conv1", "conv2"))


@pytest.fixture
def run_config(tmp_path: Path) -> RunConfig:
    return RunConfig(logdir=str(tmp_path / "logs"), run="r", snapshots=(1, 4))


@pytest.fixture
def cut_out(tmp_path: Path) -> str:
    """A photo of 47 × 63 px whose left third is transparent, with a soft edge."""
    alpha = np.clip(np.arange(63) / 8 - 2, 0, 1)[None, :, None].repeat(47, 0)
    picture = np.concatenate([make_picture(47, 63, seed=1), alpha], -1)
    Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(tmp_path / "cut_out.png")
    return str(tmp_path / "cut_out.png")


def _folder(run_config: RunConfig) -> Path:
    return Path(run_config.logdir) / run_config.run


def _stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = stylize

    def stopped(*args: Any) -> Any:
        for progress in real(*args):
            if progress.state.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            yield progress

    monkeypatch.setattr("nst_tf.recipes.stylize.steps.stylize", stopped)


def _inside(lab: Any) -> Any:
    light = color.linear_from_oklab(lab)
    return ((light >= 0) & (light <= 1)).all(-1)


def test_styles_are_prepared() -> None:
    photo: Any = 0.3 + 0.3 * make_picture(17, 23, 1)
    styles = [make_picture(19, 13, 2), make_picture(11, 29, 3)]
    for name in ("style", "keep"):
        same_photo, same_styles = COLORS[name].prepare(photo, styles)
        assert same_photo is photo and all(one is other for one, other in zip(same_styles, styles, strict=True))
    target = color.color_statistics(photo)
    matched: Sequence[Any] = COLORS["match"].prepare(photo, styles)[1]
    prepared: Any = COLORS["luminance"].prepare(photo, styles)
    gray, in_gray = prepared
    np.testing.assert_allclose(color.oklab(gray)[..., 0], color.oklab(photo)[..., 0], atol=1e-5)
    for style, one, other in zip(styles, matched, in_gray, strict=True):
        assert one.shape == style.shape and 0 <= one.min() and one.max() <= 1 and one.dtype == np.float32
        unclipped = color.match_colors(style, target)
        fits = ((unclipped >= 0) & (unclipped <= 1)).all(-1)
        assert fits.mean() > 0.8
        np.testing.assert_allclose(one[fits], unclipped[fits], atol=2e-3)
        assert (other == other[..., :1]).all()
        lightness = color.oklab(other)[..., 0]
        assert lightness.mean() == pytest.approx(color.oklab(photo)[..., 0].mean(), abs=0.01)
        assert lightness.std() == pytest.approx(color.oklab(photo)[..., 0].std(), abs=0.01)


@pytest.mark.parametrize("mode", JOINED)
def test_the_picture_has_its_own_lightness_and_the_colors_of_the_photo_at_every_stage(config: StylizeConfig,
                                                                                      mode: Any) -> None:
    config = dataclasses.replace(config, color=mode)
    photo = images.load(config.content)
    sizes = set()
    for progress in stylize(config):
        raw, shown = averaged(progress.state)[0], progress.picture()
        height, width = raw.shape[:2]
        sizes.add((width, height))
        small = images.resize(images.load(config.content, max_side_px=32), width, height)
        np.testing.assert_allclose(small, images.resize(photo, width, height), atol=0.05)
        wanted = np.concatenate([color.oklab(raw)[..., :1], color.oklab(small)[..., 1:]], -1)
        inside = _inside(wanted)
        assert inside.mean() > 0.5
        np.testing.assert_allclose(color.oklab(shown)[inside], wanted[inside], atol=1e-4)
        if mode == "luminance":
            np.testing.assert_array_equal(raw, raw[..., :1].repeat(3, -1))
    assert sizes == {(23, 17), (32, 24)}


@pytest.mark.parametrize("init", ["content", "white_noise", "style", "mean"])
def test_luminance_sees_gray_alone(config: StylizeConfig, init: Any, tmp_path: Path) -> None:
    """A photo of the same lightness and other colors is optimized the same; only the colors put on it differ."""
    gray_photo = str(tmp_path / "gray.png")
    images.save(gray_photo, color.gray(np.clip(color.oklab(images.load(config.content))[..., 0], 0, 1)))
    config = dataclasses.replace(config, color="luminance", init=init, jitter=2)
    colored, gray = (list(stylize(dataclasses.replace(config, content=path)))[-1]
                     for path in (config.content, gray_photo))
    # The gray file is rounded to 8 bits, and where a gradient is nearly 0, Adam makes a whole step of its sign.
    assert np.abs(averaged(colored.state) - averaged(gray.state)).mean() < 0.003
    assert np.abs(colored.picture() - gray.picture()).mean() > 0.05
    losses = [float(progress.losses["loss/total"]) for progress in stylize(dataclasses.replace(config, steps=12))]
    assert losses[-1] < losses[0] or init == "style"


def test_matched_styles_make_another_picture_and_several_work(config: StylizeConfig, second_painting: str) -> None:
    def last(**changes: Any) -> Progress:
        return list(stylize(dataclasses.replace(config, **changes)))[-1]

    two = (*config.style, second_painting)
    for mode in ("match", "luminance"):
        assert np.abs(last(color=mode, style=two).picture() - last(style=two).picture()).max() > 1e-3


@pytest.mark.parametrize("mode", COLORS)
def test_a_stopped_run_goes_on_bit_for_bit_in_every_mode(config: StylizeConfig, run_config: RunConfig, mode: Any,
                                                         cut_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(config, color=mode, content=cut_out)
    run(config, dataclasses.replace(run_config, run="whole"))
    with monkeypatch.context() as patch:
        _stop_after(1, patch)
        assert run(config, run_config) == 143
    whole = Path(run_config.logdir) / "whole"
    with Image.open(_folder(run_config) / "output.png") as stopped:
        assert stopped.size == (23, 17) and stopped.mode == "RGBA"
    assert (_folder(run_config) / "output.png").read_bytes() == (whole / "images/step_000001.png").read_bytes()
    assert run(config, run_config) == 0
    output = (_folder(run_config) / "output.png").read_bytes()
    assert output == (whole / "output.png").read_bytes() == (whole / "images/step_000004.png").read_bytes()
    # A finished run is written again from its stored state, without TensorFlow.
    (_folder(run_config) / "output.png").unlink()
    monkeypatch.setattr(session, "start_tensorflow", lambda *_: pytest.fail("TensorFlow was started"))
    assert run(config, dataclasses.replace(run_config, resume=True)) == 0
    assert (_folder(run_config) / "output.png").read_bytes() == output


def test_other_colors_are_another_run(config: StylizeConfig, run_config: RunConfig) -> None:
    run(config, run_config)
    with pytest.raises(UserError, match=r"\(--color differ\)"):
        run(dataclasses.replace(config, color="keep"), dataclasses.replace(run_config, resume=True))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
def test_alpha_of_the_photo_is_the_pictures(config: StylizeConfig, run_config: RunConfig, cut_out: str, tmp_path: Path,
                                            suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    config = dataclasses.replace(config, content=cut_out)
    run(config, dataclasses.replace(run_config, output=str(output)))
    alpha = PictureFiles().load_alpha(cut_out, "--content", 63)
    assert alpha is not None
    wanted = images.resize(alpha, 32, 24)
    got = PictureFiles().load_alpha(str(output), "--content", 63)
    state = stored_state(_folder(run_config))
    assert state is not None
    if suffix == ".jpg":
        assert got is None
        np.testing.assert_allclose(images.load(output)[:, 0], 1, atol=0.03)
        return
    assert got is not None
    np.testing.assert_allclose(got, wanted, atol=0.03)
    # Over white it is what was optimized, where there is anything to see and no color is darker than its alpha allows.
    raw, shown = averaged(state)[0], images.load(output)
    assert np.abs(shown - raw)[:, 14:].max() < (0.35 if suffix == ".webp" else 0.03)


def test_soft_edges_bring_no_white_along(config: StylizeConfig, cut_out: str) -> None:
    config = dataclasses.replace(config, content=cut_out, size=63)
    finish = finisher(config, resolve(config))
    color_of_all: Any = np.broadcast_to(np.array([0.2, 0.5, 0.7], np.float32), (47, 63, 3))
    alpha = np.asarray(PictureFiles().load_alpha(cut_out, "--content", 63))
    finished = np.asarray(finish(over_white(color_of_all, alpha)))
    seen = alpha[..., 0] > 0.05
    np.testing.assert_allclose(finished[seen][:, :3], color_of_all[seen], atol=1e-4)
    np.testing.assert_array_equal(finished[..., 3:], alpha)


def test_own_size_and_depth_of_what_is_written(config: StylizeConfig, run_config: RunConfig, tmp_path: Path) -> None:
    output, keep = tmp_path / "out.png", dataclasses.replace(config, color="keep")
    whole = dataclasses.replace(run_config, output=str(output), own_size=True, bit_depth=16)
    assert run(keep, whole) == 0
    data = output.read_bytes()
    assert struct.unpack(">IIBB", data[16:26]) == (63, 47, 16, 2) and b"nst_tf" in data
    assert data == (_folder(run_config) / "output.png").read_bytes()
    with Image.open(_folder(run_config) / "images/step_000004.png") as snapshot:
        assert snapshot.size == (32, 24)
    state = stored_state(_folder(run_config))
    assert state is not None
    written, enlarged = images.load(output), images.resize(averaged(state)[0], 63, 47)
    np.testing.assert_allclose(written, color.with_colors_of(enlarged, images.load(config.content)), atol=2 / 65535)
    # How it is written is no setting of the picture: a finished run is written in another way at will.
    assert run(keep, dataclasses.replace(run_config, resume=True, output=str(tmp_path / "small.jpg"))) == 0
    assert images.size_px(tmp_path / "small.jpg", "-") == (32, 24)
    tiff = dataclasses.replace(whole, output=str(tmp_path / "again.tif"), resume=True)
    assert run(keep, tiff) == 0
    np.testing.assert_array_equal(images.load(tmp_path / "again.tif"), written)
    assert (_folder(run_config) / "output.png").read_bytes() == data


@pytest.mark.parametrize("size, changes, text", [
    ((63, 47), {"bit_depth": 16, "output": "a.jpg"}, "JPEG has 8 bits; write a .png or .tif"),
    ((63, 47), {"bit_depth": 12}, "give 8 or 16"),
    ((16400, 64), {"own_size": True, "output": "a.webp"}, "cannot hold 16400 px"),
])
def test_what_cannot_be_written_is_refused_first(config: StylizeConfig, run_config: RunConfig, tmp_path: Path,
                                                 size: tuple[int, int], changes: dict[str, Any], text: str,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "start_tensorflow", lambda *_: pytest.fail("TensorFlow was started"))
    Image.new("RGB", size, "red").save(tmp_path / "wide.png")
    wide = dataclasses.replace(config, content=str(tmp_path / "wide.png"), size=9000)
    with pytest.raises(UserError, match=text) as raised:
        run(wide, dataclasses.replace(run_config, **changes))
    assert "\n" not in str(raised.value) and not _folder(run_config).exists()


def test_a_gray_photo_gives_gray_pictures(config: StylizeConfig, tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", 47, 63, 1)
    Image.open(tmp_path / "photo.png").convert("L").save(tmp_path / "gray.png")
    gray = dataclasses.replace(config, content=str(tmp_path / "gray.png"))
    for mode in JOINED:
        shown = list(stylize(dataclasses.replace(gray, color=mode)))[-1].picture()
        np.testing.assert_allclose(shown, shown[..., :1].repeat(3, -1), atol=2e-3)
    assert np.isfinite(list(stylize(dataclasses.replace(gray, color="match")))[-1].picture()).all()
