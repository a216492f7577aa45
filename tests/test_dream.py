"""Deep dream: objectives by hand and against NumPy, octaves, tiles, jitter undone; runs, zooms, errors of one line."""

import dataclasses
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nst_tf.flags import parse
from nst_tf.io import images
from nst_tf.io.animation import save_animation
from nst_tf.losses.activations import EXCITATIONS, LayerExcitation, excitation, inside
from nst_tf.optimize import jitter
from nst_tf.optimize.gradient import ascend, smooth_scales
from nst_tf.optimize.octaves import long_sides_px, spans, tile_offsets
from nst_tf.optimize.transforms import zoomed
from nst_tf.recipes.dream import steps as dream
from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig, check_dream_output, resolve_dream
from nst_tf.runs.metrics import read_rows
from nst_tf.vocabulary import UserError

from .conftest import make_picture, run_dream, save_picture

pytestmark = pytest.mark.usefixtures("shared_networks")


def _features(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, rows, columns, 4)).astype(np.float32)


def test_objectives_by_hand() -> None:
    F = tf.constant([[[[1.0, 2.0], [3.0, -4.0], [0.0, 5.0]]]])
    v = tf.constant([1.0, 0.5])
    assert EXCITATIONS["layer"](F, v).numpy().tolist() == [[[1.5, 8.5, 6.25]]]
    assert EXCITATIONS["channel"](F, v).numpy().tolist() == [[[2.0, 1.0, 2.5]]]
    assert EXCITATIONS["neuron"](F, v).numpy().tolist() == [[[1.0]]]
    assert EXCITATIONS["direction"](F, v).numpy().tolist() == [[[2.0, 1.0, 2.5]]]
    cosines = np.array([2 / np.sqrt(5 * 1.25), 0.17888544, 2.5 / np.sqrt(25 * 1.25)])
    np.testing.assert_allclose(EXCITATIONS["direction"](F, v, 2.0)[0, 0], [2, 1, 2.5] * cosines ** 2, rtol=1e-6)
    # A direction that is opposed still feels a tenth of the dot product.
    np.testing.assert_allclose(EXCITATIONS["direction"](-F, v, 1.0)[0, 0], [-0.2, -0.1, -0.25], rtol=1e-6)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
def test_caricature_equals_numpy(power: float) -> None:
    F, C = _features(3, 5, 0), _features(3, 5, 1)
    dot = (F * C).sum(-1)
    cosine = dot / np.linalg.norm(F, axis=-1) / np.linalg.norm(C, axis=-1)
    np.testing.assert_allclose(EXCITATIONS["caricature"](F, C, power), dot * np.maximum(cosine, 0.1) ** power,
                               rtol=2e-5)


def test_the_guide_is_that_of_google_deepdream() -> None:
    F, G = _features(3, 5, 0), np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    x = tf.constant(F)
    with tf.GradientTape() as tape:
        tape.watch(x)
        j = EXCITATIONS["guide"](x, tf.constant(G))
    best = np.argmax(np.einsum("rck,qk->rcq", F[0], G), axis=-1)
    np.testing.assert_allclose(j[0], [[F[0, r, c] @ G[best[r, c]] for c in range(5)] for r in range(3)], rtol=1e-5)
    # Its gradient, which is all that the original has: y[:, A.argmax(1)].
    np.testing.assert_array_equal(tape.gradient(j, x)[0], G[best])


@pytest.mark.parametrize("name", list(EXCITATIONS))
def test_gradients_by_finite_differences(name: str) -> None:
    F = np.abs(_features(5, 6, 2)) + 0.1
    V = {"guide": np.abs(_features(1, 9, 3)[0, 0]), "caricature": np.abs(_features(5, 6, 4))}.get(
        name, np.array([0.5, 0, 2, 1], np.float32))
    layer = LayerExcitation(name, 0.7, 2.0, 16, 1, power=1.5)
    x, direction = tf.constant(F), _features(5, 6, 5)

    def J(t: float) -> float:
        return float(excitation(layer, tf.constant(F + t * direction), tf.constant(V)))

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = excitation(layer, x, tf.constant(V))
    slope = float(tf.reduce_sum(tape.gradient(value, x) * direction))
    assert abs(slope) > 1 and (J(1e-2) - J(-1e-2)) / 2e-2 == pytest.approx(slope, rel=5e-3)


def test_a_silent_layer_has_a_finite_gradient() -> None:
    x = tf.zeros([1, 4, 4, 3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = excitation(LayerExcitation("caricature", 1.0, 1e-6, 1, 1, power=2.0), x, tf.zeros([1, 4, 4, 3]))
    assert np.isfinite(tape.gradient(value, x)).all()


def test_border_cells_are_left_out_and_weights_area_and_scale_count() -> None:
    F = _features(7, 9, 0)
    value = excitation(LayerExcitation("layer", 0.5, 2.0, 64, 2), tf.constant(F), tf.ones(4))
    assert float(value) == pytest.approx(0.5 * 64 * 0.5 * np.square(F[:, 2:5, 2:7] / 2).sum(), rel=1e-5)
    assert inside(tf.zeros([1, 2, 4, 1]), 2).shape == (1, 2, 2, 1), "of a small map something is left"


def test_octaves_by_hand() -> None:
    assert long_sides_px(392, 3, 1.4) == [200, 280, 392]
    assert long_sides_px(100, 1, 1.4) == [100]


@pytest.mark.parametrize("side, tile, overlap, stride", [(20, 12, 2, 1), (97, 48, 6, 8), (300, 64, 8, 16),
                                                         (49, 48, 6, 1), (40, 40, 5, 8), (17, 512, 64, 16)])
def test_tiles_cover_every_pixel_once_and_see_around_it(side: int, tile: int, overlap: int, stride: int) -> None:
    inner = set()
    for step in range(20):
        offset = tile_offsets(3, step, tile)[0]
        covered = np.zeros(side, int)
        for start, first, stop in spans(side, tile, overlap, offset, stride):
            read = min(side, tile)
            assert 0 <= start <= first < stop <= start + read <= side
            assert start % stride == 0 or start + read == side
            assert start == 0 or first - start >= min(overlap, side - read)
            assert start + read == side or start + read - stop >= overlap
            covered[first:stop] += 1
            inner.add(first)
        assert (covered == 1).all()
    assert tile >= side or len(inner) > 5, "lines lie elsewhere in each step"


def _config(photo: str, **settings: object) -> DreamConfig:
    defaults: dict[str, object] = {"content": photo, "backbone": "squeezenet", "weights": "random", "size": 48,
                                   "dream": ("fire2",), "octaves": 2, "steps": 2, "precision": "float32"}
    return DreamConfig(**(defaults | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [
    {}, {"mode": "caricature"}, {"objective": "direction", "cosine_power": 1.0, "dream": ("conv1:3+5",)},
    {"guide": True}])
def test_a_gradient_by_tiles_equals_the_whole_one(tmp_path: Path, settings: dict[str, object]) -> None:
    photo, guide = save_picture(tmp_path / "a.png", 96, 160, 1), save_picture(tmp_path / "b.png", 40, 31, 2)
    settings = {name: guide if value is True else value for name, value in settings.items()}
    x, base = make_picture(96, 160, 5)[np.newaxis], make_picture(96, 160, 6)[np.newaxis]
    config = _config(photo, size=160, octaves=1, **settings)
    plan = resolve_dream(config)
    gradient = tf.function(partial(dream.window_gradient, dream.set_up(config, plan)[1]), autograph=False)
    gradients = []
    for tile in (512, 80):
        # Around what is kept: the 19 px that fire2 sees, and the cells that padding reaches.
        rows, columns = spans(96, tile, 24, 5, plan.stride), spans(160, tile, 24, 11, plan.stride)
        gradients.append(dream.tiled_gradient(gradient, tf.constant(x), tf.constant(base), rows, columns, tile)[0])
    assert len(rows) * len(columns) > 10
    scale = np.abs(gradients[0]).max()
    assert scale > 0 and np.abs(gradients[0] - gradients[1]).max() < 1e-5 * scale


def test_jitter_is_undone() -> None:
    """A gradient that is the moved picture itself comes back as the picture."""
    x = 0.1 + make_picture(17, 23, 0)[np.newaxis]
    for step in range(3):
        offset = jitter.offset(0, step, 4)
        moved = jitter.shift(tf.constant(x), offset, 4)
        change = dream.climb(tf.fill(x.shape, 0.5), moved, offset, 4, 0, 0.1).numpy() - 0.5
        # Borders have the gradient of their mirror images too.
        inner = np.s_[:, 5:-5, 5:-5]
        assert np.ptp(change[inner] / x[inner]) < 1e-4 and change[inner].min() > 0


def test_a_step_has_its_size_and_stays_inside() -> None:
    g = np.random.default_rng(0).normal(size=(1, 9, 7, 3)).astype(np.float32)
    x = tf.fill([1, 9, 7, 3], 0.5)
    for scale in (1e-3, 1e3):
        change = ascend(x, tf.constant(g * scale), 0.01).numpy() - 0.5
        assert np.sqrt(np.square(change).mean()) == pytest.approx(0.01, rel=1e-4)
        assert np.corrcoef(change.ravel(), g.ravel())[0, 1] > 0.9999
    np.testing.assert_array_equal(ascend(x, tf.zeros_like(x), 0.01), x)
    assert ascend(x, tf.constant(g), 5.0).numpy().min() == 0 and ascend(x, tf.constant(g), 5.0).numpy().max() == 1


def test_blurred_gradients_are_equally_strong_and_wider() -> None:
    g = np.zeros((1, 65, 65, 3), np.float32)
    g[0, 32, 32] = 1
    np.testing.assert_array_equal(smooth_scales(tf.constant(g), 0), g)
    one, two = smooth_scales(tf.constant(g), 1).numpy(), smooth_scales(tf.constant(g), 2).numpy()
    for part, variance in ((one, 0.5), (two - one, 2.0)):
        assert np.sqrt(np.square(part).mean()) == pytest.approx(1, rel=1e-4)
        line = part[0, :, :, 1].sum(1) / part[0, :, :, 1].sum()
        assert (line * (np.arange(65) - 32) ** 2).sum() == pytest.approx(variance, rel=1e-3)


def test_zoom_and_turn() -> None:
    picture = make_picture(17, 23, 0)
    np.testing.assert_allclose(zoomed(picture, 1.0, 0.0), picture, atol=1e-6)
    square = make_picture(21, 21, 0)
    np.testing.assert_allclose(zoomed(square, 1.0, 90.0), np.rot90(square), atol=1e-4)
    # What lies two pixels from the middle comes to lie four from it.
    np.testing.assert_allclose(zoomed(picture, 2.0, 0.0)[8 + 4, 11 - 4], picture[8 + 2, 11 - 2], atol=1e-5)


def test_octaves_inject_detail(photo: str) -> None:
    """The second octave starts from its own sharp base plus what the first one has added."""
    config = _config(photo, steps=1, step_size=1e-6, size=60)
    plan = resolve_dream(config)
    assert plan.sizes_px == ((43, 32), (60, 45))
    picture, network = dream.set_up(config, plan)
    steps = list(dream.dream(config, plan, network, picture))
    assert [(step.stage, step.step, step.ends_stage, step.state[:2]) for step in steps] == [
        (0, 1, True, (0, 1)), (1, 2, True, (1, 0))]
    assert steps[0].left == {(43 * 32,): 0, (60 * 45,): 1} and steps[1].is_last and steps[1].size == (45, 60)
    # Steps of nothing leave the photo as sharp as it is, which enlarging the first octave would not.
    np.testing.assert_allclose(steps[1].picture(), images.resize(picture, 60, 45), atol=1e-4)


@pytest.mark.parametrize("settings", [
    {}, {"objective": "channel", "dream": ("fire2:3-9",)}, {"objective": "neuron", "dream": ("conv1:3+5@2",)},
    {"objective": "direction", "dream": ("fire2:1", "fire2:2@0.5")}, {"guide": True}, {"mode": "caricature"},
    {"dream": ("conv1@0.5", "fire3")}])
def test_what_is_maximized_becomes_more(tmp_path: Path, photo: str, settings: dict[str, object]) -> None:
    if "guide" in settings:
        settings = settings | {"guide": save_picture(tmp_path / "guide.png", 40, 31, 2)}
    config = _config(photo, octaves=1, steps=12, jitter=0, **settings)
    plan = resolve_dream(config)
    picture, network = dream.set_up(config, plan)
    values = [step.losses["dream/excitation"] for step in dream.dream(config, plan, network, picture)]
    assert values[-1] > 1.2 * abs(values[0])


def test_a_run_leaves_picture_frames_events_and_repeats(tmp_path: Path, photo: str,
                                                        capfd: pytest.CaptureFixture[str]) -> None:
    config = _config(photo, frames=3, turn=4.0)
    whole = tmp_path / "logs/whole"
    assert run_dream(config, DreamRunConfig(logdir=str(tmp_path / "logs"), run="whole",
                                            output=str(tmp_path / "zoom.gif"))) == 0
    printed, said = capfd.readouterr()
    assert "zoom.gif" in printed and "expect textures only" in said
    with Image.open(tmp_path / "zoom.gif") as animation:
        assert getattr(animation, "n_frames") == 3 and animation.size == (48, 36)
    save_animation(str(tmp_path / "again.gif"), sorted((whole / "images").iterdir()), 12.0)
    assert (tmp_path / "again.gif").read_bytes() == (tmp_path / "zoom.gif").read_bytes()
    with Image.open(whole / "output.png") as picture:
        assert json.loads(picture.info["nst_tf"])["settings"]["--turn"] == 4.0
    events = EventAccumulator(str(whole)).Reload()
    assert {"octave/1", "octave/2", "dream/excitation"} <= set(events.Tags()["tensors"])
    assert len(events.Tensors("octave/2")) == 3
    # Two frames, then the third: the same bytes, and the flag file repeats them.
    parts = DreamRunConfig(logdir=str(tmp_path / "logs"), run="parts")
    assert run_dream(_config(photo, frames=2, turn=4.0), parts) == 0
    with pytest.raises(UserError, match=r"\(--frames differ\): give another --run, --resume to add frames, or --over"):
        run_dream(config, parts)
    assert run_dream(config, dataclasses.replace(parts, resume=True)) == 0
    assert "continues at frame 3 of 3" in capfd.readouterr().err
    repeated, _ = parse(["dream.py", f"--flagfile={whole / 'flags.txt'}", "--run=again"],
                        [DreamConfig, DreamRunConfig], "", {})
    assert run_dream(*repeated) == 0
    for other in ("parts", "again"):
        for number in (1, 2, 3):
            name = f"images/frame_{number:05d}.png"
            assert (whole.parent / other / name).read_bytes() == (whole / name).read_bytes()
    # Of a finished run --resume writes --output, as its animation here.
    late_config = dataclasses.replace(parts, output=str(tmp_path / "late.gif"))
    with pytest.raises(UserError, match="is finished: --resume writes its --output again"):
        run_dream(config, late_config)
    assert run_dream(config, dataclasses.replace(late_config, resume=True)) == 0
    with Image.open(tmp_path / "late.gif") as late:
        assert len(list(ImageSequence.Iterator(late))) == 3
    # Fewer frames are another dream, with --resume too.
    before = (whole.parent / "parts/output.png").read_bytes()
    with pytest.raises(UserError, match=r"\(--frames differ\): give another --run, --frames=3 --resume to go on or"):
        run_dream(_config(photo, frames=2, turn=4.0), dataclasses.replace(parts, resume=True))
    assert (whole.parent / "parts/output.png").read_bytes() == before
    rows = read_rows(whole / "metrics.jsonl")
    assert (rows[0]["width"], rows[0]["height"], rows[-1]["stage"]) == (34, 25, 5) and rows[0]["excitation"] > 0
    with pytest.raises(UserError, match=r"other settings \(--steps differ\)"):
        run_dream(_config(photo, frames=3, turn=4.0, steps=3), parts)


def test_tiled_runs_repeat(tmp_path: Path, photo: str) -> None:
    written = []
    for name in ("a", "b"):
        output = tmp_path / f"{name}.png"
        run_config = DreamRunConfig(logdir=str(tmp_path / "logs"), run=name, output=str(output))
        assert run_dream(_config(photo, tile=32, size=60), run_config) == 0
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_a_signal_saves_the_picture(tmp_path: Path, photo: str, stop_dream_at: Callable[[int], None],
                                    capfd: pytest.CaptureFixture[str]) -> None:
    stop_dream_at(6)
    run_config = DreamRunConfig(logdir=str(tmp_path), run="a", output=str(tmp_path / "a.png"))
    assert run_dream(_config(photo, frames=2), run_config) == 130
    said = capfd.readouterr().err
    assert re.search("stopped, 1 of 2 frames and 1 of 2 octaves of the next are done .*; to go on: .*--run=a", said)
    assert (tmp_path / "a.png").exists() and (tmp_path / "a/images/frame_00001.png").exists()
    assert run_dream(_config(photo, frames=2), run_config) == 0
    assert (tmp_path / "a/images/frame_00002.png").read_bytes() == (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("settings, text", [
    ({"content": ""}, "--content is missing"), ({"content": "none.jpg"}, "does not exist"),
    ({"guide": "none.jpg"}, "--guide 'none.jpg' does not exist"), ({"mode": "dreams"}, "did you mean 'dream'"),
    ({"objective": "layers"}, "did you mean 'layer'"), ({"dream": ("fire22",)}, "layer 'fire22' is unknown"),
    ({"dream": ("fire2:128",)}, "channel 128 does not exist; give 0 to 127"),
    ({"dream": ("fire2:strong:129",)}, "is more than its 128 channels: give strong:N with N <= 128"),
    ({"dream": ("fire2:weak:3",), "mode": "caricature"}, "channels are for --objective"),
    ({"dream": ("fire2", "fire2:3")}, "named twice"), ({"dream": ("fire2@0",)}, "every weight is 0"),
    ({"dream": ("fire2:3",), "mode": "caricature"}, "channels are for --objective"),
    ({"mode": "caricature", "objective": "neuron"}, "exclude each other"), ({"weights": ""}, "needs --weights"),
    ({"backbone": "kmeans", "weights": "self", "dream": ()}, "give bundled, random"), ({"zoom": 0.5}, "--zoom=0.5"),
    ({"objective": "neuron", "size": 100, "tile": 64}, "give --tile=100"), ({"steps": 0}, "--steps=0"),
    ({"size": 200, "tile": 16, "dream": ("fire9",)}, "--tile=16 is too small"),
    ({"backbone": "inception_v3", "dream": (), "size": 8}, "the layers of inception_v3 need"),
    ({"octave_ratio": 1.0}, "--octave_ratio"),
])
def test_what_is_wrong_is_one_line(photo: str, settings: dict[str, object], text: str) -> None:
    settings = {name: photo if value is True else value for name, value in settings.items()}
    with pytest.raises(UserError, match=text) as raised:
        resolve_dream(_config(photo, **settings))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("output, text", [
    ("dream.gif", "is an animation: give --frames"), ("dream.xyz", "no known image ending"), ("photo.png", "--content"),
    ("/proc/x.png", "cannot be written")])
def test_outputs_that_are_wrong(photo: str, output: str, text: str) -> None:
    config = _config(photo)
    with pytest.raises(UserError, match=text):
        check_dream_output(config, DreamRunConfig(output=str(Path(photo).parent / output)), resolve_dream(config))


def test_numbers_that_another_setting_makes_void_change_nothing(tmp_path: Path, photo: str) -> None:
    pictures = []
    void: dict[str, object] = {"cosine_power": 2.0, "zoom": 2.0, "turn": 9.0, "octave_ratio": 3.0}
    for name, settings in (("a", {}), ("b", void)):
        config = _config(photo, octaves=1, **settings)
        run_config = DreamRunConfig(logdir=str(tmp_path), run=name, fps=9.0)
        assert run_dream(config, run_config) == 0
        pictures.append(images.load(tmp_path / name / "output.png"))
    np.testing.assert_array_equal(pictures[0], pictures[1])


def test_the_real_network_sees_more_of_everything(shared_images: Path) -> None:
    weights = shared_images.parent / "weights/squeezenet_v1.0_deep_compressed.net"
    config = DreamConfig(content=str(shared_images / "tubingen.jpg"), backbone="squeezenet", weights=str(weights),
                         size=128, octaves=2, steps=5, precision="float32")
    plan = resolve_dream(config)
    photo, network = dream.set_up(config, plan)
    values = [step.losses["dream/excitation"] for step in dream.dream(config, plan, network, photo)]
    assert values[-1] > 3 * values[0]
