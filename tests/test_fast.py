"""Networks of one forward pass: trained, stopped, gone on with, kept in files, and painted with."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf import stylize
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.generators import files
from nst_tf.generators.layers import layers
from nst_tf.generators.paint import paint, painted
from nst_tf.generators.weights import flat, initial, unflat
from nst_tf.io import images
from nst_tf.recipes.batch.recipe import BATCH, BatchConfig, BatchRunConfig
from nst_tf.recipes.batch.tasks import settings_hash
from nst_tf.recipes.export.recipe import EXPORT, ExportConfig
from nst_tf.recipes.fast import steps
from nst_tf.recipes.fast.parts import parts_of
from nst_tf.recipes.fast.plan import FastConfig, FastRunConfig, resolve
from nst_tf.recipes.fast.recipe import FAST
from nst_tf.recipes.fast.training import DRAWN, draw
from nst_tf.recipes.paint.recipe import PAINT, recipe_of
from nst_tf.runs.run import run
from nst_tf.runs.session import Stop
from nst_tf.vocabulary import RunError, UserError

from .conftest import make_picture, save_picture

TINY: dict[str, Any] = dict(size=64, crop=32, batch=2, width=4, residuals=1, steps=4, backbone="kmeans",
                            weights="bundled", precision="float32", motif_size=0)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("album")
    (folder / "photos").mkdir()
    for number in range(3):
        save_picture(folder / f"photos/{number}.png", 50 + number, 70, number)
    for name, seed in (("red", 7), ("blue", 8)):
        save_picture(folder / f"{name}.png", 44, 57, seed)
    return folder


@pytest.fixture
def config(album: Path) -> FastConfig:
    return FastConfig(style=(f"{album}/red.png", f"{album}/blue.png"), photos=(f"{album}/photos",), **TINY)


def _run_config(tmp_path: Path, **more: Any) -> FastRunConfig:
    return FastRunConfig(**{"logdir": str(tmp_path / "logs"), "run": "r", "output": str(tmp_path / "painter"), **more})


@pytest.fixture(scope="module")
def painter(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with weights of which every number counts; nothing was trained."""
    network, random = layers(4, 1), np.random.default_rng(0)
    vector = flat(initial(network, 2, 0))
    weights = unflat(network, 2, vector + random.normal(0, 0.1, vector.shape).astype(np.float32))
    folder = tmp_path_factory.mktemp("painter")
    styles = tuple(files.Style(name, files_sha(album / f"{name}.png")) for name in ("red", "blue"))
    files.save(folder, 4, 1, weights, styles, {})
    return folder


def files_sha(path: Path) -> str:
    from nst_tf.io.files import sha256
    return sha256(path)


def test_a_training_that_is_stopped_goes_on_to_the_same_bytes(
        config: FastConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert run(FAST, config, _run_config(whole)) == 0
    stop = Stop()
    original = np.savez

    def stopping(*arguments: Any, **arrays: Any) -> None:
        stop.request()
        original(*arguments, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", stopping)
        assert run(FAST, config, _run_config(parted, checkpoint_every=0.0), stop) == 130
    assert "; to go on: " in capsys.readouterr().err
    assert run(FAST, config, _run_config(parted)) == 0
    for name in (files.WEIGHTS, files.FACTS):
        assert (whole / "painter" / name).read_bytes() == (parted / "painter" / name).read_bytes()
    rows = [json.loads(line) for line in (whole / "logs/r/metrics.jsonl").read_text().splitlines()]
    assert {"total", "content", "style", "smoothness"} <= rows[-1].keys() and rows[-1]["step"] == 4
    trained = files.load(whole / "painter")
    assert [style.name for style in trained.styles] == ["red", "blue"] and trained.facts["steps"] == 4
    with pytest.raises(UserError, match="--batch differ"):
        run(FAST, dataclasses.replace(config, batch=3), _run_config(whole))
    assert run(FAST, dataclasses.replace(config, steps=5), _run_config(whole, resume=True)) == 0
    assert files.load(whole / "painter").facts["steps"] == 5


@pytest.mark.slow
def test_training_lowers_the_loss_of_photos_that_it_has_not_seen(config: FastConfig, tmp_path: Path) -> None:
    longer = dataclasses.replace(config, steps=150, style=config.style[:1], learning_rate=0.01)
    assert run(FAST, longer, _run_config(tmp_path, log_every=1)) == 0
    rows = [json.loads(line)["style"] for line in (tmp_path / "logs/r/metrics.jsonl").read_text().splitlines()]
    assert np.mean(rows[-20:]) < 0.6 * np.mean(rows[:5])


def test_minutes_decide_the_steps_once(config: FastConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = dataclasses.replace(config, steps=None, minutes=1e-6)
    assert run(FAST, short, _run_config(tmp_path)) == 0
    assert "10 steps of 2 parts of 3 photos" in capsys.readouterr().err
    record = json.loads((tmp_path / "logs/r/config.json").read_text())
    assert record["resolved"]["steps"] == record["settings"]["--steps"] == 10


@pytest.mark.parametrize("changes, text", [
    ({"style": ()}, "--style is missing"), ({"photos": ()}, "--photos is missing"),
    ({"crop": 128}, "larger than --size=64"), ({"photos": ("none",)}, "does not exist"),
    ({"style": ("none.png",)}, "does not exist"), ({"batch": 0}, "--batch=0 is out of range"),
    ({"backbone": "kmean"}, "did you mean 'kmeans'"), ({"content_layers": ("none",)}, "'none' is unknown"),
])
def test_what_is_wrong_is_refused_before_work(
        config: FastConfig, tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        run(FAST, dataclasses.replace(config, **changes), _run_config(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_not_written_into(config: FastConfig, tmp_path: Path) -> None:
    (tmp_path / "painter").mkdir()
    (tmp_path / "painter/mine.txt").write_text("kept")
    with pytest.raises(UserError, match=r"holds other files \(mine.txt\)"):
        resolve(config, _run_config(tmp_path))


def test_what_is_drawn_depends_on_seed_and_step_alone() -> None:
    drawn = [draw(0, 10, 3, 8, 5, step).numpy().reshape(5, DRAWN) for step in (0, 1, 1)]
    assert (drawn[1] == drawn[2]).all() and (drawn[0] != drawn[1]).any()
    counts = np.bincount(np.concatenate([draw(0, 10, 3, 8, 5, step).numpy()[4::DRAWN] for step in range(6)]))
    assert counts.tolist() == [10, 10, 10], "each style as often as the others"
    assert (drawn[0].max(0)[:5] <= [9, 8, 8, 1, 2]).all() and (abs(drawn[0][:, 5:] - 1000) <= 200).all()


def test_parts_are_squares_of_the_photos_and_a_broken_one_is_left_out(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_picture(tmp_path / "a.png", 30, 90, 1)
    (tmp_path / "b.png").write_bytes(b"none")
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    parts = parts_of(paths, 64, 40, 0)
    assert parts.shape[1:] == (40, 40, 3) and parts.dtype == np.uint8 and len(parts) >= 128
    assert "1 of the --photos cannot be read" in capsys.readouterr().err
    assert (parts == parts_of(paths, 64, 40, 0)).all() and (parts != parts_of(paths, 64, 40, 1)).any()
    with pytest.raises(UserError, match="holds no picture that can be read"):
        parts_of(paths[1:], 64, 40, 0)


def test_the_vector_holds_every_weight() -> None:
    network = layers(4, 1)
    weights = initial(network, 2, 0)
    again = unflat(network, 2, tf.constant(flat(weights)), tf.split, tf.reshape)
    for name, styled in weights.items():
        for one, other in zip(styled, again[name], strict=True):
            assert one is other is None or (one == other.numpy()).all()


@pytest.mark.parametrize("change, text", [
    (lambda folder: (folder / files.WEIGHTS).write_bytes(b"PK"), "is damaged"),
    (lambda folder: (folder / files.WEIGHTS).unlink(), "holds no network.npz"),
    (lambda folder: (folder / files.FACTS).write_text("{}"), "is damaged"),
    (lambda folder: (folder / files.FACTS).write_text("[" * 10**5), "is damaged"),
    (lambda folder: (folder / files.FACTS).write_text((folder / files.FACTS).read_text().replace(
        '"trained": {}', '"trained": [1, 2]')), "is damaged"),
    (lambda folder: (folder / files.FACTS).write_text((folder / files.FACTS).read_text().replace(
        '"width": 4', '"width": 5')), "has another shape"),
    (lambda folder: (folder / files.FACTS).write_text((folder / files.FACTS).read_text().replace(
        '"version": 1', '"version": 9')), "its version is 9"),
])
def test_a_damaged_network_is_one_line(painter: Path, tmp_path: Path, change: Any, text: str) -> None:
    for name in (files.WEIGHTS, files.FACTS):
        (tmp_path / name).write_bytes((painter / name).read_bytes())
    change(tmp_path)
    with pytest.raises(UserError, match=text):
        files.load(tmp_path)


def _paint(painter: Path, photo: str, tmp_path: Path, run_name: str = "p", **more: Any) -> np.ndarray:
    config = StylizeConfig(**{"fast": str(painter), "content": photo, **more})
    output = str(tmp_path / f"{run_name}.png")
    assert recipe_of(config) is PAINT
    assert run(PAINT, config, RunConfig(logdir=str(tmp_path / "logs"), run=run_name, output=output)) == 0
    return images.load(output)


def test_a_style_is_chosen_by_name_by_file_or_mixed(painter: Path, album: Path, photo: str, tmp_path: Path) -> None:
    by_name = _paint(painter, photo, tmp_path, "a", style=("red",))
    by_file = _paint(painter, photo, tmp_path, "b", style=(f"{album}/red.png",))
    blue = _paint(painter, photo, tmp_path, "c", style=("blue",))
    mixed = _paint(painter, photo, tmp_path, "d", style=("red", "blue"), style_blend=(1, 3))
    assert by_name.shape == (382, 512, 3) and (by_name == by_file).all()
    assert np.abs(by_name - blue).max() > 0.02 and (mixed != by_name).any() and (mixed != blue).any()
    record = json.loads((tmp_path / "logs/a/config.json").read_text())
    assert record["settings"]["--fast"]["sha256"]


def test_tiles_have_no_seams_and_colors_can_be_kept(painter: Path, tmp_path: Path) -> None:
    photo = save_picture(tmp_path / "large.png", 210, 330, 5)
    whole = _paint(painter, photo, tmp_path, "whole", style=("red",), tile="off")
    tiled = _paint(painter, photo, tmp_path, "tiled", style=("red",), tile="64")
    assert np.abs(whole - tiled).max() <= 1.01 / 255
    kept = _paint(painter, photo, tmp_path, "kept", style=("red",), color="keep")
    original = images.load(photo)
    assert np.abs(kept.mean((0, 1)) - original.mean((0, 1))).max() < np.abs(whole.mean((0, 1)) - original.mean(
        (0, 1))).max() + 0.02 and (kept != whole).any()


@pytest.mark.parametrize("changes, text", [
    ({}, "--style is missing: .* has 'red', 'blue'"), ({"style": ("green.png",)}, "give one of 'red', 'blue'"),
    ({"style": ("red",), "content": ""}, "--content is missing"),
    ({"style": ("red",), "steps": 3}, "--steps is read by the optimizer"),
    ({"style": ("red",), "backbone": "kmeans"}, "--backbone is read by the optimizer"),
    ({"style": ("red",), "color": "match"}, "--color=match changes what the optimizer measures"),
    ({"style": ("red",), "style_blend": (1, 2)}, "2 weights for 1 styles"),
    ({"style": ("red",), "fast": "none"}, "holds no network.npz"),
    ({"style": ("red",), "seed": 4}, "--seed is read by"),
])
def test_painting_refuses_what_it_does_not_read(
        painter: Path, photo: str, tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    config = StylizeConfig(**{"fast": str(painter), "content": photo, **changes})
    with pytest.raises(UserError, match=text):
        run(PAINT, config, RunConfig(logdir=str(tmp_path / "logs"), run="p"))
    assert not (tmp_path / "logs").exists()


def test_a_batch_paints_as_single_runs_do(painter: Path, album: Path, tmp_path: Path) -> None:
    config = BatchConfig(content=f"{album}/photos", style=("blue",), fast=str(painter))
    output = str(tmp_path / "{content}.png")
    assert run(BATCH, config, BatchRunConfig(logdir=str(tmp_path / "logs"), run="b", output=output)) == 0
    single = _paint(painter, f"{album}/photos/1.png", tmp_path, "single", style=("blue",))
    assert (images.load(str(tmp_path / "1.png")) == single).all()


@pytest.mark.slow
def test_an_export_paints_as_the_network_does(
        painter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ExportConfig(fast=str(painter), output=str(tmp_path / "1"), litert=True, litert_size=(24, 33),
                          litert_numbers="float16")
    assert run(EXPORT, config) == 0
    out = capsys.readouterr().out
    assert "styles: red, blue" in out and "24 × 33 px, float16" in out
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    levels = np.stack([np.round(make_picture(21, 30, seed) * 255).astype(np.uint8) for seed in (1, 2)])
    photos, files_of = levels / 255, tf.constant([tf.io.encode_png(photo).numpy() for photo in levels])
    style = tf.constant([1.0, 3.0])
    (written,) = loaded.signatures["stylize_bytes"](image_bytes=files_of, size=tf.constant([21, 30]),
                                                    style=style).values()
    generator = files.load(painter)
    expected, _ = paint(generator.network, generator.weights, tf.constant(photos, tf.float32),
                        tf.constant([[0.25, 0.75]]))
    for png, picture in zip(written.numpy(), expected.numpy(), strict=True):
        assert np.abs(tf.io.decode_png(png).numpy() / 255.0 - picture).max() < 1.6 / 255


@pytest.mark.parametrize("changes, text", [
    ({"litert": True}, "needs one size"), ({"backbone": "kmeans"}, "--backbone is of a backbone"),
    ({"fast": "none"}, "holds no network.npz"), ({"litert": True, "litert_size": (4, 9)}, "the network needs 8 px"),
    ({"fast": "", "litert_numbers": "int8"}, "is for networks of --fast"),
    ({"litert_numbers": "int8"}, "--litert_numbers=int8 needs --litert"),
])
def test_an_export_that_cannot_be_is_refused(
        painter: Path, tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    config = ExportConfig(**{"fast": str(painter), "output": str(tmp_path / "1"), **changes})
    with pytest.raises(UserError, match=text):
        run(EXPORT, config)
    assert not list(tmp_path.iterdir())


def test_the_optimizer_starts_from_what_the_network_paints(painter: Path, album: Path, photo: str) -> None:
    config = StylizeConfig(content=photo, style=(f"{album}/red.png",), init=f"fast:{painter}", size=40, steps=1,
                           min_size=40, backbone="kmeans", weights="bundled", precision="float32", learning_rate=1e-4)
    (step,) = stylize(config)
    generator = files.load(painter)
    small = images.resize(images.load(photo), 40, 30)
    np.testing.assert_allclose(step.picture(), painted(generator, small, (1.0, 0.0)), atol=1e-3)
    with pytest.raises(UserError, match="has learned: give one of 'red', 'blue', or leave --init out"):
        stylize(dataclasses.replace(config, style=(photo,)))


def test_the_optimizer_refuses_a_network_of_one_pass(painter: Path, photo: str) -> None:
    with pytest.raises(UserError, match="--fast paints in one pass"):
        stylize(StylizeConfig(fast=str(painter), content=photo, style=(photo,)))


def test_another_painting_of_the_same_name_is_refused(painter: Path, photo: str, tmp_path: Path) -> None:
    other = save_picture(tmp_path / "red.png", 30, 30, 99)
    with pytest.raises(UserError, match="has other bytes than the painting 'red' .*give --style=red, or leave --fast"):
        _paint(painter, photo, tmp_path, style=(other,))


def test_flags_of_the_optimizers_run_are_refused(painter: Path, photo: str, tmp_path: Path) -> None:
    config = StylizeConfig(fast=str(painter), content=photo, style=("red",))
    for given, text in (({"snapshots": (3,)}, "--snapshots is read by"), ({"log_every": 5}, "--log_every is read by"),
                        ({"bit_depth": 12}, "--bit_depth=12 is out of range: give 8 or 16"),
                        ({"output": f"{painter}/out.png"}, "is in the folder of --fast")):
        with pytest.raises(UserError, match=text):
            run(PAINT, config, RunConfig(logdir=str(tmp_path / "logs"), run="p", **given))


def test_a_narrow_photo_is_painted_in_tiles(painter: Path, tmp_path: Path) -> None:
    strip = save_picture(tmp_path / "strip.png", 8, 1600, 3)
    assert _paint(painter, strip, tmp_path, style=("red",), size=1600, tile="64").shape == (8, 1600, 3)


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    network = layers(4, 0)
    weights = unflat(network, 1, flat(initial(network, 1, 0)) + np.float32(1e9))
    with pytest.raises(RunError, match="not finite"):
        files.save(tmp_path / "new", 4, 0, weights, (files.Style("a", "b"),), {})
    assert not (tmp_path / "new").exists()


def test_unreadable_photos_are_left_out_of_those_to_look_at(tmp_path: Path, config: FastConfig) -> None:
    for number in range(11):
        save_picture(tmp_path / f"{number:02}.png", 40, 50, number)
    (tmp_path / "09.png").write_bytes((tmp_path / "09.png").read_bytes()[:60])
    paths = tuple(str(tmp_path / f"{number:02}.png") for number in (*range(11), 3))
    plan = resolve(dataclasses.replace(config, photos=paths), _run_config(tmp_path))
    assert plan.held_out == (paths[9],) and len(plan.photos) == 10
    with pytest.raises(UserError, match="can be looked at"):
        steps._held_out(plan.held_out, 64)
    assert len(steps._held_out((paths[9], *paths), 64)) == steps.MOST_SHOWN
    with pytest.raises(UserError, match="two paintings of the name 'red'"):
        resolve(dataclasses.replace(config, style=config.style[:1] * 2), _run_config(tmp_path))


def test_a_batch_sees_another_network_behind_the_same_name(painter: Path, photo: str, tmp_path: Path) -> None:
    shutil.copytree(painter, tmp_path / "net")
    settings = vars(StylizeConfig(content=photo, init=f"fast:{tmp_path}/net"))
    before = settings_hash(settings)
    assert settings_hash(settings) == before
    (tmp_path / "net" / files.FACTS).write_text("{}")
    assert settings_hash(settings) != before


def test_an_odd_photo_of_few_pixels_is_painted(painter: Path, tmp_path: Path) -> None:
    images.save(tmp_path / "photo.png", make_picture(9, 13, 1))
    small = _paint(painter, str(tmp_path / "photo.png"), tmp_path, "small", style=("red",), size=13)
    assert small.shape == (9, 13, 3)
    with pytest.raises(UserError, match="7 × 5 px: both sides must be at least 8 px"):
        _paint(painter, str(tmp_path / "photo.png"), tmp_path, "smaller", style=("red",), size=7)
