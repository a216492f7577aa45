"""Videos: what the flow between frames tells, the temporal term, clips in and out, runs that stop and go on."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nst_tf.io.clips import open_clip
from nst_tf.io.images import quantize
from nst_tf.losses.evaluation import Targets, compare, measure, term_weights
from nst_tf.losses.objective import Objective, TermWeights
from nst_tf.losses.term import PICTURE, Source, View
from nst_tf.losses.temporal import TEMPORAL
from nst_tf.recipes.video.motion import (
    Earlier, begins_shot, motion_of, moved, moved_picture, moved_together, warping_error,
)
from nst_tf.recipes.video.plan import VideoConfig, VideoRunConfig, of_frame
from nst_tf.recipes.video.recipe import VIDEO, VideoState
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.runs import checkpoint
from nst_tf.runs.metrics import read_rows
from nst_tf.runs.run import run
from nst_tf.runs.session import Stop
from nst_tf.vocabulary import UserError

from .conftest import make_picture, save_picture

OBJECTIVE = Objective((), (), TermWeights(0.0, 0.0, 0.0, temporal=3.0), "relative", "gram")


def _flow(height: int, width: int, dx: float, dy: float = 0.0) -> np.ndarray:
    return np.broadcast_to(np.array([dx, dy], np.float32), (height, width, 2)).copy()


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def _total(x: Any, moved_to: np.ndarray, certainty: np.ndarray) -> tf.Tensor:
    earlier = tf.constant(moved_to), tf.constant(certainty)
    source = Source(dict, None, [x], (1.0,), size=x.shape[1:-1], earlier=earlier)
    of_term = TEMPORAL.targets(OBJECTIVE, source)
    targets = Targets({"temporal": of_term.fixed}, {"temporal": of_term.target}, term_weights(OBJECTIVE))
    sums = measure(OBJECTIVE, View({}, x), targets.fixed)
    return compare(OBJECTIVE, sums, targets)["loss/total"]


@pytest.mark.parametrize("space", [(5, 6), (3, 4, 5)])
def test_the_temporal_term_has_a_true_gradient(space: tuple[int, ...]) -> None:
    x, earlier = (_noise(1, *space, 3, seed=seed).astype(np.float64) for seed in (1, 2))
    certainty = (_noise(1, *space, seed=3) > 0.4).astype(np.float64)
    variable = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        J = _total(variable, earlier, certainty)
    g = tape.gradient(J, variable).numpy()
    expected = 3 * (certainty[..., None] * np.square(x - earlier)).mean()
    np.testing.assert_allclose(J, [expected], rtol=1e-6)
    direction = _noise(*x.shape, seed=4) - 0.5
    ahead, behind = (float(_total(tf.constant(x + h * direction), earlier, certainty)[0]) for h in (1e-4, -1e-4))
    assert abs((ahead - behind) / 2e-4 - (g * direction).sum()) < 1e-6 * abs(g * direction).sum()
    assert (g[certainty == 0] == 0).all() and (g[certainty == 1] != 0).all()


def test_tiles_of_the_temporal_term_add_to_the_whole() -> None:
    x, earlier, certainty = _noise(1, 8, 6, 3), _noise(1, 8, 6, 3, seed=1), _noise(1, 8, 6, seed=2)

    def sums(rows: slice, weights: Any = None) -> float:
        view = View({}, tf.constant(x[:, rows]), weights)
        return float(TEMPORAL.measure(OBJECTIVE, view, (earlier[:, rows], certainty[:, rows]))[0])

    inside = {PICTURE: tf.constant(np.repeat([1, 1, 1, 1, 0, 0], 6).reshape(1, 6, 6), tf.float32)}
    assert abs(sums(slice(0, 8)) - sums(slice(0, 6), inside) - sums(slice(4, 8))) < 1e-5


def test_a_picture_that_is_moved_lies_where_the_flow_says() -> None:
    picture = _noise(20, 30, 3)
    np.testing.assert_allclose(moved(picture, _flow(20, 30, 3, -2))[2:, :27], picture[:18, 3:], atol=1e-6)
    wave = np.round(127 + 100 * np.sin(np.arange(60) / 4))[None, :, None].repeat(8, 0).repeat(3, 2).astype(np.uint8)
    wanted = 127 + 100 * np.sin((np.arange(60) + 0.5) / 4)
    by_cubic = moved_picture(wave, _flow(8, 60, 0.5)) * 255
    assert abs(by_cubic[4, 2:-2, 0] - wanted[2:-2]).max() < 1
    flat = moved_picture(np.full((8, 8, 3), 255, np.uint8), _flow(8, 8, 0.3, 0.7))
    np.testing.assert_allclose(flat, 1, atol=1e-6)


def test_what_no_frame_has_seen_and_edges_of_motion_are_left_out() -> None:
    # A square that has moved by 6 pixels to the right over a still ground.
    back, forth = _flow(40, 60, 0), _flow(40, 60, 0)
    back[10:30, 26:46, 0], forth[10:30, 20:40, 0] = -6, 6
    motion = motion_of(back, forth)
    assert not motion.is_seen[12:28, 20:26].any(), "what the square uncovers"
    assert motion.certainty[12:28, 30:42].all() and motion.certainty[:8].all() and motion.certainty[:, 52:].all()
    assert not motion.certainty[12:28, 46].any() and motion.is_seen[12:28, 47].all(), "an edge of the motion"
    assert not begins_shot(motion)
    left = motion_of(_flow(40, 60, 25), _flow(40, 60, -25))
    assert not left.is_seen[:, 36:].any() and left.is_seen[:, :34].all(), "what came in over the edge"
    assert begins_shot(motion_of(_flow(40, 60, 5), _flow(40, 60, 5)))


def test_a_place_takes_the_nearest_frame_that_has_seen_it() -> None:
    motions = [motion_of(_flow(10, 12, 0), _flow(10, 12, 0)) for _ in range(3)]
    for motion, columns in zip(motions, (4, 8, 10)):
        motion.certainty[:] = np.arange(12) < columns
    past = [Earlier(np.zeros((10, 12), np.uint8), np.full((10, 12, 3), value, np.uint8)) for value in (10, 20, 30)]
    picture, certainty = moved_together(motions, past)
    assert np.round(picture[5, :10, 1] * 255).tolist() == [10] * 4 + [20] * 4 + [30] * 2
    assert certainty[5].tolist() == [1] * 10 + [0] * 2


def test_the_warping_error_is_that_of_the_certain_pixels() -> None:
    before, motion = (_noise(30, 40, 3) * 255).astype(np.uint8), motion_of(_flow(30, 40, 2, 1), _flow(30, 40, -2, -1))
    after = np.roll(before, (-1, -2), (0, 1))
    assert warping_error(after, before, motion) < 1e-12
    assert abs(warping_error(np.full_like(before, 255), np.zeros_like(before), motion) - 1) < 1e-6


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (2, 10, 1, 7):
        save_picture(tmp_path / f"f{number}.png", 20, 30, seed=number)
    clip = open_clip(str(tmp_path), "--content")
    assert [Path(file).name for file in clip.files] == ["f1.png", "f2.png", "f7.png", "f10.png"]
    assert clip.size_px == (30, 20) and clip.note.startswith("6 of the frames 1 to 10 are missing")
    assert [frame(30).shape for frame in clip.read()] == [(20, 30, 3)] * 4
    (tmp_path / "f11.png").write_bytes((tmp_path / "f10.png").read_bytes()[:500])
    with pytest.raises(UserError, match="f11.png' is damaged or cut off"):
        open_clip(str(tmp_path), "--content")
    save_picture(tmp_path / "f11.png", 20, 31, seed=11)
    with pytest.raises(UserError, match=r"f11.png' is 31x20 px, and the first frame .* is 30x20 px"):
        open_clip(str(tmp_path), "--content")


@pytest.fixture
def still_flow(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """In place of OpenCV: nothing moves; but a frame that is all black is another scene."""
    calls = []

    def flow(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        calls.append(one.shape)
        height, width = one.shape
        return _flow(height, width, 7.0 if not one.any() or not other.any() else 0.0)

    monkeypatch.setattr("nst_tf.recipes.video.motion.optical_flow", flow)
    for module in ("plan", "steps"):
        monkeypatch.setattr(f"nst_tf.recipes.video.{module}.has_flow", lambda: True)
    return calls


@pytest.fixture
def config(tmp_path: Path, painting: str) -> VideoConfig:
    (tmp_path / "clip").mkdir()
    for number in range(1, 5):
        picture = 0.8 * make_picture(40, 50, seed=1) + 0.2 * make_picture(40, 50, seed=number)
        Image.fromarray(quantize(picture.astype(np.float32))).save(tmp_path / f"clip/{number}.png")
    return VideoConfig(content=str(tmp_path / "clip"), style=(painting,), backbone="kmeans", weights="bundled", size=40,
                       min_size=40, steps=12, later_steps=11, precision="float32", frames=3, motif_size=0,
                       content_layers=("conv2",), style_layers=("conv1",))


def _made(folder: Path) -> list[bytes]:
    """The pixels of the frames."""
    found = []
    for path in sorted((folder / "images").glob("frame_*.png")):
        with Image.open(path) as picture:
            found.append(picture.tobytes())
    return found


def _ends(folder: Path) -> list[dict[str, Any]]:
    return [row for row in read_rows(folder / "metrics.jsonl") if "frame_steps" in row]


@pytest.mark.usefixtures("shared_networks")
def test_frames_that_are_made_alone_are_those_of_stylize(config: VideoConfig, tmp_path: Path) -> None:
    config = replace(config, mode="frames", frames=2)
    run_config = VideoRunConfig(logdir=str(tmp_path), run="alone", output=str(tmp_path / "out"))
    assert run(VIDEO, config, run_config) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["frame_00001.png", "frame_00002.png"]
    for number, made in enumerate(_made(tmp_path / "alone"), start=1):
        picture = of_frame(config, open_clip(config.content, "--content"))
        *_, last = stylize(replace(picture, content=f"{config.content}/{number}.png"))
        assert made == quantize(last.picture()).tobytes()
    assert [row["step"] for row in _ends(tmp_path / "alone")] == [12, 24]


@pytest.mark.usefixtures("shared_networks")
def test_frames_follow_each_other_and_a_kill_changes_none(
        config: VideoConfig, tmp_path: Path, still_flow: list[Any], traces: list[str],
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run_config(name: str, **more: Any) -> VideoRunConfig:
        return VideoRunConfig(logdir=str(tmp_path), run=name, **more)

    assert run(VIDEO, config, run_config("whole")) == 0
    assert len(traces) <= 2, "one for the first frame, one for all later ones"
    assert "warping error 0.0" in capsys.readouterr().out
    first, *later = _ends(tmp_path / "whole")
    assert "warping_error" not in first and all(row["warping_error"] > 0 and "temporal" in row for row in later)
    assert all(row["frame_steps"] == 10 for row in later), "they are good enough"
    assert len(still_flow) == 2 + 4
    # Killed between the file of the second frame and its checkpoint, then stopped within the third.
    saved = checkpoint.save
    calls = iter((saved, _killed))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("nst_tf.runs.checkpoint.save", lambda *args: next(calls)(*args))
        run(VIDEO, config, run_config("killed"))
    assert len(_made(tmp_path / "killed")) == 2
    stop = Stop()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(VideoState, "arrays", lambda state, arrays=VideoState.arrays: _stopping(stop, arrays(state)))
        assert run(VIDEO, config, run_config("killed"), stop) == 130
    assert "stopped, 2 of 3 frames are done; to go on: " in capsys.readouterr().err
    assert run(VIDEO, config, run_config("killed", output=str(tmp_path / "clip.webp"), resume=True)) == 0
    assert _made(tmp_path / "killed") == _made(tmp_path / "whole")
    assert [row["step"] for row in _ends(tmp_path / "killed")] == [row["step"] for row in _ends(tmp_path / "whole")]
    with Image.open(tmp_path / "clip.webp") as clip:
        assert clip.n_frames == 3  # type: ignore[attr-defined]


def _killed(*args: Any) -> None:
    raise KeyboardInterrupt


def _stopping(stop: Stop, arrays: Any) -> Any:
    stop.request()
    return arrays


@pytest.mark.usefixtures("shared_networks")
def test_a_shot_cut_begins_anew(config: VideoConfig, tmp_path: Path, still_flow: list[Any]) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "clip/3.png")
    assert run(VIDEO, replace(config, later_steps=4), VideoRunConfig(logdir=str(tmp_path), run="cut")) == 0
    assert [(row["frame_steps"], "temporal" in row, "warping_error" in row) for row in _ends(tmp_path / "cut")] == [
        (12, False, False), (4, True, True), (12, False, False)]


def test_bad_input_is_one_line(config: VideoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip.mp4").write_bytes(b"x" * 100)
    (tmp_path / "painting.jpg").write_bytes(b"x" * 100)
    for package in ("av", "cv2"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("nst_tf.recipes.video.plan.has_flow", lambda: False)
    for changes, output, text in (
            ({"content": ""}, "", "--content is missing"), ({"content": str(tmp_path / "empty")}, "", "no picture"),
            ({"content": str(tmp_path / "none")}, "", "does not exist"),
            ({"content": str(tmp_path / "clip.mp4")}, "", r"is a video file: pip install -e '.\[video\]'"),
            ({"content": config.style[0].replace(".png", ".jpg")}, "", "is one picture"),
            ({"mode": "flow"}, "", "needs the package opencv-python-headless"),
            ({"content_mask": "mask.png"}, "", "--content_mask is for one picture"),
            ({"temporal_weight": 2.0}, "", "is for --mode=flow"),
            ({"history": (0,)}, "", "--history=0 is out of range"),
            ({}, "out.mp4", r"--output 'out.mp4' is a video file: pip install"), ({}, "out.png", "no known ending"),
            ({}, config.content, "is the file of --content")):
        with pytest.raises(UserError, match=text):
            run(VIDEO, replace(config, **changes), VideoRunConfig(logdir=str(tmp_path), run="x", output=output))


@pytest.mark.slow
@pytest.mark.usefixtures("shared_networks", "still_flow")
@pytest.mark.parametrize("changes", [
    {"optimizer": "lbfgs"}, {"canvas": "fourier"}, {"color": "luminance"}, {"color": "match"}, {"color": "keep"},
    {"jitter": 1}, {"tile": "32", "content_layers": ("conv1",), "style_layers": ("conv1", "conv2")},
    {"normalization": "ng", "temporal_weight": 1.0},
    {"weights": "self"}, {"dream": ("conv4:strong:2",), "style_layers": ("conv1", "conv2")}, {"init": "style"},
    {"reduce": "qr:0.6"}])
def test_every_way_to_make_a_picture_makes_a_video(changes: dict[str, Any], config: VideoConfig,
                                                   tmp_path: Path) -> None:
    for number in (2, 3):
        save_picture(tmp_path / f"clip/{number}.png", 40, 50, seed=1)
    config = replace(config, weights=changes.pop("weights", "bundled"), **changes)
    assert run(VIDEO, config, VideoRunConfig(logdir=str(tmp_path), run="any")) == 0
    first, *later = _ends(tmp_path / "any")
    assert all(row["warping_error"] < 0.01 for row in later), "nothing moves"
    assert all(row["temporal"] >= 0 for row in later)
