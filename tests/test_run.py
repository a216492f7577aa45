"""Whole runs: the folder's contract, equal bytes, resume, refusals."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf import flags, runtime
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.losses.objective import DEFAULT_WEIGHTS, TermWeights
from nst_tf.optimize import pyramid
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.runs import checkpoint, session
from nst_tf.runs.progress import Progress
from nst_tf.vocabulary import RunError, UserError

from .conftest import run_stylize as run
from .conftest import stored_state

pytestmark = pytest.mark.usefixtures("shared_networks")


@pytest.fixture
def config(photo: str, painting: str, monkeypatch: pytest.MonkeyPatch) -> StylizeConfig:
    """Three stages (32, 45, 64 px) of 4 + 1 + 4 steps, on shallow layers, which are traced soonest."""
    real = pyramid.split_steps

    def split(steps: int, stages: int) -> list[int]:
        """Few steps in each of three stages, to stop inside of them and at their ends."""
        return [4, 1, steps - 5] if stages == 3 and steps > 5 else real(steps, stages)

    monkeypatch.setattr(pyramid, "split_steps", split)
    return StylizeConfig(content=photo, style=(painting,), backbone="kmeans", weights="bundled", size=64,
                         min_size=32, steps=9, content_layers=("conv2",), style_layers=("conv1", "conv2"))


def _size_px(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.fixture
def run_config(tmp_path: Path) -> RunConfig:
    return RunConfig(logdir=str(tmp_path / "logs"), run="r", log_every=2, snapshots=(2, 9))


def _folder(run_config: RunConfig) -> Path:
    return Path(run_config.logdir) / run_config.run


def _rows(run_config: RunConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_folder(run_config) / "metrics.jsonl").read_text().splitlines()]


def _newest_step(run_config: RunConfig) -> int:
    return int(checkpoint.stored(_folder(run_config) / "checkpoints")[0].stem.removeprefix("step_"))


def _stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process gets SIGTERM during this step."""
    real = stylize

    def stopped(*args: Any) -> Any:
        for progress in real(*args):
            if progress.state.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            yield progress

    monkeypatch.setattr("nst_tf.recipes.stylize.steps.stylize", stopped)


def test_a_run_leaves_what_the_contract_says(config: StylizeConfig, run_config: RunConfig, tmp_path: Path,
                                             capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "made" / "out.png"
    assert run(config, dataclasses.replace(run_config, output=str(output), snapshots=(2, 9, 10, 100))) == 0
    folder = _folder(run_config)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert [name for name in names if not name.startswith(("events.", ".lock"))] == [
        "checkpoints/step_00000005.npz", "checkpoints/step_00000009.npz", "config.json", "flags.txt",
        "images/step_000002.png", "images/step_000009.png", "metrics.jsonl", "output.png"]
    assert output.read_bytes() == (folder / "output.png").read_bytes() == (
        folder / "images/step_000009.png").read_bytes()
    assert _size_px(output) == (64, 48)
    printed = capsys.readouterr()
    assert str(output) in printed.out and "tensorboard --logdir" in printed.out
    assert printed.err.startswith(f"nst_tf: {runtime.start_tensorflow()}")
    assert "nst_tf: --snapshots: no picture of step 10, 100: this run has the steps 1 to 9\n" in printed.err


def test_a_second_start_of_tensorflow_leaves_stderr_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.start_tensorflow()
    monkeypatch.setattr(runtime, "quiet_stderr", lambda: pytest.fail("other threads lose what they say"))
    assert runtime.start_tensorflow().startswith("TensorFlow ")


def test_metrics_rows(config: StylizeConfig, run_config: RunConfig) -> None:
    run(config, run_config)
    rows = _rows(run_config)
    # Every second step, and the first and last step of the stages of 4, 1 and 4 steps.
    assert [row["step"] for row in rows] == [1, 2, 4, 5, 6, 8, 9]
    assert [row["stage"] for row in rows] == [0, 0, 0, 1, 2, 2, 2]
    assert (rows[0]["width"], rows[0]["height"], rows[-1]["width"], rows[-1]["height"]) == (32, 24, 64, 48)
    for row in rows:
        parts = 0.17 * row["content"] + row["style"] + 0.4 * row["smoothness"]
        assert row["total"] == pytest.approx(parts, rel=1e-4)
        assert "dream" not in row and row["seconds"] >= 0 and row["peak_memory_mb"] > 0
    assert [row["step"] for row in rows if "steps_per_second" in row] == [2, 4, 8, 9]
    assert rows[2]["total"] < rows[0]["total"]


def _from_flags(folder: Path, *more: str) -> tuple[StylizeConfig, RunConfig]:
    (config, run_config), _ = flags.parse(["x", f"--flagfile={folder}/flags.txt", *more],
                                          [StylizeConfig, RunConfig], "", {})
    return config, run_config


def test_config_json_repeats_the_run(config: StylizeConfig, run_config: RunConfig, tmp_path: Path) -> None:
    run(dataclasses.replace(config, weights="", min_size=64, steps=4), run_config)
    folder = _folder(run_config)
    record = json.loads((folder / "config.json").read_text())
    assert record["resolved"]["stages"][-1] == {
        "long_side_px": 64, "steps": 4, "decay_steps": 4, "width": 64, "height": 48}
    assert record["resolved"]["weights"] == "self" and record["versions"]["tensorflow"].startswith("2.21")
    # conv1 and conv2 of at most 64 and 96 filters: 64·(5·5·3 + 1) + 96·(3·3·64 + 1).
    assert 0 < record["parameters"] <= 4_864 + 55_392
    assert [item["flag"] for item in record["inputs"]] == ["--content", "--style"]
    repeated, again = _from_flags(folder, "--run=again")
    run(repeated, again)
    assert (_folder(again) / "output.png").read_bytes() == (folder / "output.png").read_bytes()


def test_the_picture_tells_how_it_was_made_without_paths_or_times(config: StylizeConfig, run_config: RunConfig,
                                                                  tmp_path: Path) -> None:
    run(config, run_config)
    with Image.open(_folder(run_config) / "output.png") as image:
        text = image.info["nst_tf"]
    record = json.loads(text)
    assert record["settings"]["--steps"] == 9 and record["settings"]["--content"]["file"] == "photo.png"
    assert str(tmp_path) not in text


@pytest.mark.parametrize("stop, weights", [
    (1, "bundled"), (3, "self"), (4, "bundled"), (5, "bundled"), (6, "bundled"), (9, "bundled")])
def test_a_stopped_run_goes_on_bit_for_bit(config: StylizeConfig, run_config: RunConfig, stop: int, weights: str,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops inside each stage and at each of its ends."""
    config = dataclasses.replace(config, weights=weights)
    run(config, dataclasses.replace(run_config, run="whole"))
    with monkeypatch.context() as patch:
        _stop_after(stop, patch)
        # In the last step a signal has nothing left to stop.
        assert run(config, run_config) == (143 if stop < 9 else 0)
    assert _newest_step(run_config) == stop
    assert _size_px(_folder(run_config) / "output.png")[0] in (32, 45, 64)
    # As the message says: from the flags of the run's folder.
    assert run(*_from_flags(_folder(run_config), "--run=r", "--resume")) == 0
    whole = Path(run_config.logdir) / "whole"
    assert (_folder(run_config) / "output.png").read_bytes() == (whole / "output.png").read_bytes()
    states = [stored_state(folder) for folder in (whole, _folder(run_config))]
    for one, other in zip(*(tuple(state) for state in states if state), strict=True):
        np.testing.assert_array_equal(one, other)
    steps = [row["step"] for row in _rows(run_config)]
    assert steps == sorted(set(steps)) and {1, 2, 4, 5, 6, 8, 9} <= set(steps)


def test_a_killed_run_goes_on_from_its_last_checkpoint(config: StylizeConfig, run_config: RunConfig,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    run(config, dataclasses.replace(run_config, run="whole"))

    def killed(*args: Any) -> Any:
        for progress in stylize(*args):
            if progress.state.step == 8:
                raise KeyboardInterrupt
            yield progress

    with monkeypatch.context() as patch:
        patch.setattr("nst_tf.recipes.stylize.steps.stylize", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, run_config)
    assert _rows(run_config)[-1]["step"] == 6 and _newest_step(run_config) == 5
    # The newest checkpoint was cut off by the crash: the one before it is used.
    newest = checkpoint.stored(_folder(run_config) / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert run(config, run_config) == 0
    whole = Path(run_config.logdir) / "whole"
    assert (_folder(run_config) / "output.png").read_bytes() == (whole / "output.png").read_bytes()
    assert [row["step"] for row in _rows(run_config)] == [1, 2, 4, 5, 6, 8, 9]


def test_the_same_run_again(config: StylizeConfig, run_config: RunConfig, tmp_path: Path,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    run(config, run_config)
    with pytest.raises(UserError, match="'r' is finished: --resume"):
        run(config, run_config)
    with pytest.raises(UserError, match=r"other settings \(--steps, --seed differ\)"):
        run(dataclasses.replace(config, seed=1, steps=10), run_config)
    with pytest.raises(UserError, match=r"\(--seed differ\)"):
        run(dataclasses.replace(config, seed=1), dataclasses.replace(run_config, resume=True))
    with pytest.raises(UserError, match=r"\(--steps differ\)"):
        run(dataclasses.replace(config, steps=8), dataclasses.replace(run_config, resume=True))
    with pytest.raises(UserError, match="exclude each other"):
        run(config, dataclasses.replace(run_config, resume=True, overwrite=True))
    output = tmp_path / "late.png"
    before = {path: path.stat().st_mtime_ns for path in _folder(run_config).rglob("events*")}
    monkeypatch.setattr(session, "start_tensorflow", lambda: pytest.fail("TensorFlow was started"))
    assert run(config, dataclasses.replace(run_config, resume=True, output=str(output))) == 0
    assert output.read_bytes() == (_folder(run_config) / "output.png").read_bytes()
    monkeypatch.undo()
    assert before == {path: path.stat().st_mtime_ns for path in _folder(run_config).rglob("events*")}
    (_folder(run_config) / "mine.txt").write_text("kept")
    assert run(dataclasses.replace(config, seed=1), dataclasses.replace(run_config, overwrite=True)) == 0
    assert output.read_bytes() != (_folder(run_config) / "output.png").read_bytes()
    assert (_folder(run_config) / "mine.txt").read_text() == "kept"


def test_an_input_that_changed_is_noticed_and_one_that_moved_is_not(config: StylizeConfig, run_config: RunConfig,
                                                                    tmp_path: Path) -> None:
    run(config, run_config)
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(Path(config.content).read_bytes())
    assert run(dataclasses.replace(config, content=str(moved)), dataclasses.replace(run_config, resume=True)) == 0
    Image.new("RGB", (63, 47), "red").save(moved)
    with pytest.raises(UserError, match=r"\(--content differ\)"):
        run(dataclasses.replace(config, content=str(moved)), dataclasses.replace(run_config, resume=True))


def test_resume_with_more_steps_adds_them_at_the_last_size(config: StylizeConfig, run_config: RunConfig,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    run(config, run_config)
    before = (_folder(run_config) / "output.png").read_bytes()
    longer = dataclasses.replace(config, steps=14)
    with monkeypatch.context() as patch:
        _stop_after(12, patch)
        assert run(longer, dataclasses.replace(run_config, resume=True)) == 143
    assert run(longer, run_config) == 0
    rows = _rows(run_config)
    assert rows[-1]["step"] == 14 and {row["stage"] for row in rows if row["step"] > 5} == {2}
    assert (_folder(run_config) / "output.png").read_bytes() != before
    run(config, dataclasses.replace(run_config, run="other"))
    run(longer, dataclasses.replace(run_config, run="other", resume=True))
    other = Path(run_config.logdir) / "other"
    assert (_folder(run_config) / "output.png").read_bytes() == (other / "output.png").read_bytes()


def test_flags_of_a_prolonged_run_repeat_it_in_two_commands(config: StylizeConfig, run_config: RunConfig) -> None:
    run(config, run_config)
    run(dataclasses.replace(config, steps=12), dataclasses.replace(run_config, resume=True))
    text = (_folder(run_config) / "flags.txt").read_text()
    assert text.startswith("# Prolonged: run this file with --run=NAME, then again with --run=NAME --resume "
                           "--steps=12\n")
    run(*_from_flags(_folder(run_config), "--run=again"))
    run(*_from_flags(_folder(run_config), "--run=again", "--resume", "--steps=12"))
    again = Path(run_config.logdir) / "again"
    assert (again / "output.png").read_bytes() == (_folder(run_config) / "output.png").read_bytes()


def test_other_defaults_are_other_settings(config: StylizeConfig, run_config: RunConfig,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        _stop_after(4, patch)
        run(config, run_config)
    monkeypatch.setitem(DEFAULT_WEIGHTS, "relative", TermWeights(0.5, 1.0, 0.4))
    with pytest.raises(UserError, match=r"\(--content_weight differ\)"):
        run(config, run_config)


def test_overwrite_keeps_the_old_run_until_the_network_is_built(config: StylizeConfig, run_config: RunConfig,
                                                                tmp_path: Path) -> None:
    run(config, run_config)
    before = (_folder(run_config) / "output.png").read_bytes()
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="cannot be used"):
        run(dataclasses.replace(config, weights=str(bad)), dataclasses.replace(run_config, overwrite=True))
    assert (_folder(run_config) / "output.png").read_bytes() == before
    with pytest.raises(UserError, match="cannot be used"):
        run(dataclasses.replace(config, weights=str(bad)), dataclasses.replace(run_config, run="new"))
    assert not (Path(run_config.logdir) / "new").exists()


@pytest.mark.parametrize("where", ["nst_tf.recipes.stylize.recipe.images.save",
                                   "nst_tf.recipes.stylize.recipe.finisher"])
def test_too_little_memory_to_write_a_finished_run_is_one_line(config: StylizeConfig, run_config: RunConfig,
                                                               where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(config, run_config)
    monkeypatch.setattr(where, _exhausted)
    with pytest.raises(RunError, match="does not fit into memory: give a smaller --size"):
        run(config, dataclasses.replace(run_config, resume=True))


def test_too_little_memory_to_time_precisions_is_one_line(config: StylizeConfig, run_config: RunConfig,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_tf.recipes.stylize.steps.Network", _exhausted)
    with pytest.raises(RunError, match="does not fit into memory: give a smaller --size"):
        run(dataclasses.replace(config, precision="auto"), run_config)
    assert not _folder(run_config).exists()


def _exhausted(*args: Any, **settings: Any) -> None:
    raise MemoryError


def test_too_little_memory_is_one_line(config: StylizeConfig, run_config: RunConfig,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*args: Any) -> Any:
        for progress in stylize(*args):
            yield progress
            raise MemoryError

    monkeypatch.setattr("nst_tf.recipes.stylize.steps.stylize", exhausted)
    with pytest.raises(RunError, match="does not fit into memory: give a smaller --size"):
        run(config, run_config)


def test_checkpoints_follow_the_clock(config: StylizeConfig, run_config: RunConfig,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda folder, step, *_: saved.append(step))
    run(config, dataclasses.replace(run_config, checkpoint_every=0.0))
    assert saved == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("changes, text", [
    ({"output": "out.gif"}, "allowed are .png"),
    ({"output": "/proc/x/out.png"}, "cannot be written"),
    ({"logdir": "/proc/x"}, "cannot be written .*: name a folder that you may write to"),
    ({"logdir": __file__}, f"--logdir '{__file__}/.*' cannot be written .'{__file__}' is no folder.: name a folder"),
    ({"logdir": str(Path(__file__).parent), "run": "conftest.py"}, "--run '.*conftest.py' cannot be .* is no folder"),
    ({"logdir": "a" * 300}, "--logdir 'aaa.* cannot be written .File name too long.: name a folder"),
    ({"output": f"{__file__}/a.png"}, f"--output .* cannot be written .'{__file__}' is no folder.: name a file"),
    ({"run": "a/b"}, "no name for a folder"),
    ({"run": ".."}, "no name for a folder"),
    ({"log_every": 0}, "--log_every=0"),
    ({"snapshots": (0,)}, "--snapshots=0"),
])
def test_what_is_wrong_is_refused_before_anything_is_written(
        config: StylizeConfig, run_config: RunConfig, tmp_path: Path, changes: dict[str, Any], text: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "start_tensorflow", lambda: pytest.fail("TensorFlow was started"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=text) as raised:
        run(config, dataclasses.replace(run_config, **changes))
    assert "\n" not in str(raised.value) and sorted(tmp_path.rglob("*")) == before


def test_the_output_may_not_replace_an_input(config: StylizeConfig, run_config: RunConfig) -> None:
    with pytest.raises(UserError, match="is the file of --content"):
        run(config, dataclasses.replace(run_config, output=config.content))


def _pictures(config: StylizeConfig) -> list[np.ndarray]:
    return [progress.picture() for progress in stylize(config)]


@pytest.mark.parametrize("init", ["content", "style", "blend", "white_noise", "gaussian_noise", "white", "black",
                                  "mean"])
def test_every_init_works_and_is_another_picture(config: StylizeConfig, init: str) -> None:
    short = dataclasses.replace(config, steps=2, min_size=64, init=init)
    pictures = _pictures(short)
    assert all(picture.shape == (48, 64, 3) and np.isfinite(picture).all() for picture in pictures)
    if init != "content":
        assert np.abs(pictures[-1] - _pictures(dataclasses.replace(short, init="content"))[-1]).mean() > 0.02


def test_init_from_a_file_is_cut_to_the_photos_aspect(config: StylizeConfig, tmp_path: Path) -> None:
    path = tmp_path / "init.png"
    columns = np.zeros((100, 400, 3), np.uint8)
    columns[:, 200:] = 255
    Image.fromarray(columns).save(path)
    first = _pictures(dataclasses.replace(config, steps=1, init=str(path), learning_rate=1e-6))[0]
    assert first.shape == (48, 64, 3)
    np.testing.assert_allclose(first[:, 0], 0, atol=1e-3)
    np.testing.assert_allclose(first[:, -1], 1, atol=1e-3)
    assert abs(first.mean() - 0.5) < 0.02


@pytest.mark.parametrize("changes", [
    {"normalization": "gatys", "init": "white_noise"}, {"normalization": "ng"}, {"schedule": "constant"},
    {"content_layers": ("conv1", "conv5@2"), "style_layers": ("conv1", "conv3@0.5")}, {"content_weight": 0.0},
])
def test_every_setting_lowers_its_objective(config: StylizeConfig, changes: dict[str, Any]) -> None:
    progresses: list[Progress] = list(stylize(dataclasses.replace(config, min_size=64, steps=12, **changes)))
    losses = [float(progress.losses["loss/total"]) for progress in progresses]
    assert losses[-1] < 0.9 * losses[0]


def test_two_styles_blend(config: StylizeConfig, second_painting: str) -> None:
    styles = (*config.style, second_painting)
    short = dataclasses.replace(config, steps=3, min_size=64, style=styles)

    def last(**changes: Any) -> Progress:
        return list(stylize(dataclasses.replace(short, **changes)))[-1]

    mixed = last(style_blend=(0.5, 0.5))
    assert {"style/0/conv1", "style/1/conv1"} <= set(mixed.details())
    assert np.abs(mixed.picture() - last(style_blend=(1.0, 0.0)).picture()).max() > 1e-3


def test_bad_settings_are_refused_before_the_first_step(config: StylizeConfig) -> None:
    with pytest.raises(UserError):
        stylize(dataclasses.replace(config, content="none.jpg"))
