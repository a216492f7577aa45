"""Runs of `dream.py`: what stopped ones go on from, channels by rank and what a caricature lists, damaged folders."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from nst_tf.backbones.table import smallest_side_px
from nst_tf.flags import parse
from nst_tf.grammar import Channels, LayerChannels
from nst_tf.io import images
from nst_tf.losses.dream import activation
from nst_tf.recipes.dream import steps as dream
from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig, resolve_dream
from nst_tf.recipes.dream.recipe import DREAM
from nst_tf.recipes.dream.steps import channel_weights, listing, ranked, summary
from nst_tf.runs.metrics import read_rows
from nst_tf.vocabulary import UserError

from .commands import answers, assert_one_line
from .conftest import age_events, run_dream, save_picture

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("shared_networks")
Stopper = Callable[[int], None]


@pytest.fixture
def odd_photo(tmp_path: Path) -> str:
    return save_picture(tmp_path / "odd.png", 53, 71, seed=4)


@pytest.fixture
def shared_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dreams that compile the same constants share what is compiled; the tests without it compile for each run."""
    made, real = dict[Any, Any](), dream._octave_step

    def shared(config: DreamConfig, plan: Any, network: dream.DreamNetwork, size_px: tuple[int, int]) -> Any:
        assert plan.weights == "random"
        directions = [None if V is None else V.numpy().tobytes() for V in network.directions.values()]
        key = repr((dataclasses.replace(config, frames=1), network.decided, network.excitations, directions, size_px))
        if key not in made:
            made[key] = real(config, plan, network, size_px)
        return made[key]

    monkeypatch.setattr(dream, "_octave_step", shared)


def _config(photo: str, **settings: object) -> DreamConfig:
    defaults: dict[str, object] = {"content": photo, "backbone": "squeezenet", "weights": "random", "size": 61,
                                   "dream": ("fire2",), "octaves": 2, "steps": 3, "precision": "float32"}
    return DreamConfig(**(defaults | settings))  # type: ignore[arg-type]


def _steps(folder: Path) -> list[int]:
    """The steps that TensorBoard shows of a run: it reads by this accumulator, the other one never forgets a tensor."""
    events = EventAccumulator(str(folder), tensor_size_guidance={"scalars": 0}).Reload()
    return [event.step for event in events.Tensors("dream/excitation")]


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run but for what depends on the clock and the machine."""
    measured = ("seconds", "steps_per_second", "peak_memory_mb")
    return [{name: value for name, value in row.items() if name not in measured}
            for row in read_rows(folder / "metrics.jsonl")]


def test_a_stopped_dream_goes_on_from_its_last_octave(tmp_path: Path, odd_photo: str, stop_dream_at: Stopper,
                                                      shared_steps: None, capfd: pytest.CaptureFixture[str]) -> None:
    config, logs = _config(odd_photo, octaves=3, size=71, octave_ratio=1.2), str(tmp_path / "logs")
    assert len(resolve_dream(config).sizes_px) == 3
    assert run_dream(config, DreamRunConfig(logdir=logs, run="whole", log_every=1)) == 0
    for stop, octaves in ((2, 0), (3, 1), (8, 2)):
        parts = DreamRunConfig(logdir=logs, run=f"stopped_{stop}", log_every=1)
        folder = tmp_path / "logs" / parts.run
        stop_dream_at(stop)
        assert run_dream(config, parts) == 130
        age_events(folder)
        said = capfd.readouterr().err
        assert f"and {octaves} of 3 octaves of the next are done" in said if octaves else "to begin anew" in said
        assert run_dream(config, parts) == 0
        said = capfd.readouterr().err
        assert (f"continues at frame 1 of 1, octave {octaves + 1} of 3" in said) == bool(octaves)
        for name in ("output.png", "images/frame_00001.png"):
            assert (folder / name).read_bytes() == (tmp_path / "logs/whole" / name).read_bytes()
        assert _steps(folder) == list(range(1, 10)), "each step once"
        # A stop in the middle of an octave leaves rows later than the checkpoint, which the resume drops.
        assert _rows(folder) == _rows(tmp_path / "logs/whole")
        assert [row["step"] for row in _rows(folder)] == list(range(1, 10))


def test_a_stopped_zoom_goes_on_inside_its_frame(tmp_path: Path, odd_photo: str, stop_dream_at: Stopper) -> None:
    """In the middle of an octave, with steps compiled anew: of the stops between two, the test before tells."""
    config, logs = _config(odd_photo, frames=3, turn=5.0), str(tmp_path / "logs")
    assert run_dream(config, DreamRunConfig(logdir=logs, run="whole", log_every=1)) == 0
    parts = DreamRunConfig(logdir=logs, run="stopped", log_every=1)
    folder = tmp_path / "logs" / parts.run
    stop_dream_at(11)
    assert run_dream(config, parts) == 130
    age_events(folder)
    assert len(list((folder / "checkpoints").iterdir())) == 2
    assert run_dream(config, parts) == 0
    for number in (1, 2, 3):
        name = f"images/frame_{number:05d}.png"
        assert (folder / name).read_bytes() == (tmp_path / "logs/whole" / name).read_bytes()
    assert _steps(folder) == list(range(1, 19)), "each step once"


def test_what_is_stored_of_another_frame_or_damaged_is_not_gone_on_from(tmp_path: Path, odd_photo: str,
                                                                        stop_dream_at: Stopper,
                                                                        shared_steps: None) -> None:
    config, run_config, folder = _config(odd_photo), DreamRunConfig(logdir=str(tmp_path), run="a"), tmp_path / "a"
    assert run_dream(config, run_config) == 0
    picture = (folder / "output.png").read_bytes()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_00000003.npz"]
    longer = _config(odd_photo, frames=2)
    stop_dream_at(8)
    longer_run = dataclasses.replace(run_config, resume=True)
    assert run_dream(longer, longer_run) == 130, "goes on at the second frame, not after octave 1 of the first"
    (folder / "images/frame_00001.png").unlink()
    (folder / "checkpoints/step_00000003.npz").write_bytes(b"PK\3\4 cut")
    assert run_dream(longer, run_config) == 0, "begins anew"
    assert (folder / "images/frame_00001.png").read_bytes() == picture


def test_an_octave_of_several_steps_is_not_gone_on_from(tmp_path: Path, odd_photo: str, shared_steps: None) -> None:
    config, run_config, folder = _config(odd_photo), DreamRunConfig(logdir=str(tmp_path), run="a"), tmp_path / "a"
    assert run_dream(config, run_config) == 0
    picture = (folder / "output.png").read_bytes()
    (folder / "images/frame_00001.png").unlink()
    width, height = resolve_dream(config).sizes_px[0]
    np.savez(folder / "checkpoints/step_00000003.npz", step=np.array([3, 3]), picture=np.zeros((height, width, 3)))
    assert run_dream(config, run_config) == 0
    assert (folder / "output.png").read_bytes() == picture


def test_channels_by_rank_are_chosen_by_the_photo_and_kept(tmp_path: Path, odd_photo: str,
                                                           stop_dream_at: Stopper) -> None:
    asked = ("fire2:strong:3", "fire2:7@0.5", "conv1:weak:2@2")
    config = _config(odd_photo, dream=asked, objective="direction", frames=2)
    plan = resolve_dream(config)
    _, network = dream.set_up(config, plan)
    used = {layer: np.maximum(tf.reduce_mean(tf.nn.relu(features[:, 2:-2, 2:-2]), [0, 1, 2]), 0) for layer, features in
            network.extractor(dream._batch(_small(config))).items()}
    conv1, fire2 = (layer.channels for layer in network.decided.layers)
    order = np.argsort(used["fire2"])
    expected = {int(channel): 1.0 for channel in order[-3:]}
    assert fire2 == {**expected, 7: expected.get(7, 0.0) + 0.5}
    responding = [channel for channel in np.argsort(used["conv1"]) if used["conv1"][channel] > 0]
    assert conv1 == {int(channel): 2.0 for channel in responding[:2]}
    wanted = network.directions["fire2"]
    assert wanted is not None and {c: float(wanted[c]) for c in np.flatnonzero(wanted)} == fire2
    # What was chosen is written down, and a run that goes on obeys it.
    stop_dream_at(8)
    run_config = DreamRunConfig(logdir=str(tmp_path / "logs"), run="a")
    assert run_dream(config, run_config) == 130
    path = tmp_path / "logs/a/config.json"
    stored = json.loads(path.read_text())
    assert stored["settings"]["--dream"] == list(asked)
    assert stored["resolved"]["layers"]["fire2"]["channels"] == {str(c): weight for c, weight in (fire2 or {}).items()}
    stored["resolved"]["layers"]["fire2"]["channels"] = {"11": 1.0}
    path.write_text(json.dumps(stored))
    assert run_dream(config, run_config) == 0
    assert json.loads(path.read_text())["resolved"]["layers"]["fire2"]["channels"] == {"11": 1.0}
    with Image.open(tmp_path / "logs/a/images/frame_00002.png") as picture:
        assert json.loads(picture.info["nst_tf"])["resolved"]["layers"]["fire2"]["channels"] == {"11": 1.0}


def test_what_is_larger_than_a_tile_is_measured_whole_and_smaller(tmp_path: Path) -> None:
    """A photo that is flat but for its lower right quarter: a corner of it says nothing of what is in it."""
    photo = np.full((67, 95, 3), 128, np.uint8)
    photo[33:, 47:] = np.random.default_rng(3).integers(0, 256, (34, 48, 3))
    Image.fromarray(photo).save(tmp_path / "quarter.png")
    config = _config(str(tmp_path / "quarter.png"), size=95, octaves=1, tile=32, dream=("fire2:strong:3", "conv1"))
    assert resolve_dream(config).sizes_px == ((95, 67),)
    _, network = dream.set_up(config, resolve_dream(config))
    features = network.extractor(dream._batch(images.resize((photo / 255).astype(np.float32), 32, 23)))
    for layer, response in network.responses.items():
        np.testing.assert_allclose(response, activation(features[layer]), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(network.excitations[layer].scale, np.sqrt(np.mean(np.square(features[layer]))),
                                   rtol=1e-4)
    assert set(network.decided.layers[1].channels or ()) == set(np.argsort(activation(features["fire2"]))[-3:].tolist())


@pytest.mark.parametrize("width, height, seen", [(160, 9, (89, 5)), (19, 180, (5, 48)), (64, 48, (32, 24))])
def test_a_narrow_photo_is_measured_no_smaller_than_the_layers_need(tmp_path: Path, width: int, height: int,
                                                                    seen: tuple[int, int]) -> None:
    path = save_picture(tmp_path / "narrow.png", height, width, seed=1)
    config = _config(path, size=max(width, height), octaves=1, tile=32, dream=("fire4:strong:1",))
    plan = resolve_dream(config)
    assert smallest_side_px("squeezenet", ["fire4"], plan.variant.padding) == 5
    assert dream.measured_px(config, plan) == seen
    assert len(dream.set_up(config, plan)[1].decided.layers[0].channels or ()) == 1


def _small(config: DreamConfig) -> np.ndarray:
    return images.resize(images.load(config.content, max_side_px=config.size), *resolve_dream(config).sizes_px[0])


def test_the_channels_of_a_layer_by_hand() -> None:
    response = np.array([0.0, 2.0, 1.0, 5.0], np.float32)
    assert ranked(response) == [(3, 2.5), (1, 1.0), (2, 0.5)]
    assert summary("fire2", response) == "fire2: 3 (2.5), 1 (1.0), 2 (0.5)"
    layers = [layer._replace(weight=0.5) for layer in resolve_dream(_config(str(ROOT / "samples/street.jpg"))).layers]
    assert listing(layers, {"fire2": response}).splitlines()[2:] == [
        "--objective=direction", "--dream=fire2:3@1.25,fire2:1@0.5,fire2:2@0.25", "# fire2", "#     3     2.50",
        "#     1     1.00", "#     2     0.50"]
    assert "\n--" not in listing(layers, {"fire2": 0 * response}), "a silent layer has no direction"
    assert summary("fire2", 0 * response) == "fire2: no channel responds"


def test_a_caricature_lists_channels_that_are_a_direction(tmp_path: Path, odd_photo: str,
                                                          capfd: pytest.CaptureFixture[str]) -> None:
    config = _config(odd_photo, mode="caricature", dream=("fire2@0.5", "conv1"), steps=1, octaves=1)
    assert run_dream(config, DreamRunConfig(logdir=str(tmp_path / "logs"), run="a")) == 0
    printed = [line for line in capfd.readouterr().out.splitlines() if line.startswith("channels of ")]
    assert [line.split()[2] for line in printed] == ["conv1:", "fire2:"] and printed[1].count("(") == 10
    path = tmp_path / "logs/a/channels.txt"
    (listed, _), _ = parse(
        ["dream.py", f"--flagfile={path}", f"--content={odd_photo}", "--backbone=squeezenet", "--weights=random",
         "--precision=float32"],
        [DreamConfig, DreamRunConfig], "", {})
    plan = resolve_dream(listed)
    _, network = dream.set_up(config, resolve_dream(config))
    response = network.responses["fire2"]
    strongest = np.argsort(-response, kind="stable")[:10]
    wanted = dream.set_up(listed, plan)[1].decided.layers[1].channels
    assert plan.excitations == {"direction"} and wanted is not None and list(wanted) == strongest.tolist()
    np.testing.assert_allclose(list(wanted.values()), 0.5 * response[strongest] / response.mean(), rtol=1e-3)
    assert run_dream(config, DreamRunConfig(logdir=str(tmp_path / "logs"), run="b")) == 0
    assert (tmp_path / "logs/b/channels.txt").read_bytes() == path.read_bytes()
    # It belongs to the run: a start afresh that is no caricature leaves none.
    again = DreamRunConfig(logdir=str(tmp_path / "logs"), run="b", overwrite=True)
    assert run_dream(_config(odd_photo, steps=1, octaves=1), again) == 0
    assert not (tmp_path / "logs/b/channels.txt").exists()


def test_a_dream_keeps_the_transparency_of_the_photo_unless_a_zoom_moves_it(
        tmp_path: Path, odd_photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    alpha = np.ones((53, 71, 1), np.float32)
    alpha[:, :30], alpha[:, 30:34] = 0, 0.5
    photo = str(tmp_path / "cut.png")
    images.save(photo, np.concatenate([images.load(odd_photo), alpha], axis=-1))
    config = _config(photo, frames=2, zoom=1.0, octaves=1, steps=1, size=71)
    still, moved = (DreamRunConfig(logdir=str(tmp_path), run=name, output=str(tmp_path / f"{name}.{ending}"))
                    for name, ending in (("still", "webp"), ("moved", "png")))
    assert run_dream(config, still) == 0 and "over white" not in capsys.readouterr().out
    assert run_dream(dataclasses.replace(config, zoom=1.1), moved) == 0
    assert "over white:  the photo, since a zoom keeps no transparency" in capsys.readouterr().out
    with Image.open(tmp_path / "moved.png") as picture:
        assert picture.mode == "RGB"
    with Image.open(tmp_path / "still.webp") as animation:
        assert animation.mode == "RGBA" and len([*ImageSequence.Iterator(animation)]) == 2
    with Image.open(tmp_path / "still" / "output.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture)[..., 3:], images.quantize(alpha))
    # Where the photo is opaque it is the frame.
    frame = images.load(tmp_path / "still" / "images" / "frame_00002.png")
    np.testing.assert_array_equal(images.load(tmp_path / "still" / "output.png")[:, 34:], frame[:, 34:])


def test_more_channels_than_respond_are_one_line(tmp_path: Path, odd_photo: str) -> None:
    with pytest.raises(UserError, match=r"--dream=fire2:strong:128: \d+ of its 128 units respond to the picture"):
        run_dream(_config(odd_photo, dream=("fire2:strong:128",)), DreamRunConfig(logdir=str(tmp_path), run="a"))
    assert not (tmp_path / "a").exists()


def test_channels_that_a_learned_network_lacks_are_one_line() -> None:
    """Filters that were learned from small pictures may be fewer than the table says."""
    asked = [LayerChannels("conv1", Channels("index", (0, 5)), 1.0)]
    assert channel_weights(asked, np.ones(6, np.float32)) == {0: 1.0, 5: 1.0}
    with pytest.raises(UserError, match="--dream=conv1:0[+]5: channel 5 does not exist; give 0 to 4"):
        channel_weights(asked, np.ones(5, np.float32))


@pytest.mark.parametrize("text", [
    "[]", "{}", "null", "7", "cut {", "[" * 100_000, '{"settings": [], "resolved": {"layers": {}}}',
    '{"settings": {"--precision": 3, "--frames": 1}, "resolved": {"layers": {}}}',
    '{"settings": SETTINGS}',
    '{"settings": SETTINGS, "resolved": {"layers": []}}',
    '{"settings": SETTINGS, "resolved": {"layers": {"fire2": {"channels": {"999": 1}}}}}',
    '{"settings": SETTINGS, "resolved": {"layers": {"fire2": 3}}}',
    '{"settings": SETTINGS, "resolved": {"layers": {"fire2": {"channels": {"3": 1e999}}}}}',
    '{"settings": {"--precision": "float32", "--frames": "1"}, "resolved": {"layers": {}}}'])
def test_a_damaged_config_is_one_line(tmp_path: Path, odd_photo: str, text: str) -> None:
    path = tmp_path / "a/config.json"
    path.parent.mkdir()
    if text.startswith('{"settings"'):
        text = text[:-1] + f', "method": {DREAM.method}' + "}"
    text = text.replace("SETTINGS", '{"--precision": "float32", "--frames": 1}')
    path.write_text(text)
    for dream_of in (("fire2:3",), ("fire2:strong:3",)):
        with pytest.raises(UserError, match="is damaged: give another --run, or --over") as raised:
            run_dream(_config(odd_photo, dream=dream_of), DreamRunConfig(logdir=str(tmp_path), run="a"))
        assert "\n" not in str(raised.value)
    assert path.read_text() == text


def test_channels_of_a_layer_that_ran_whole_differ(tmp_path: Path, odd_photo: str) -> None:
    run_config = DreamRunConfig(logdir=str(tmp_path), run="a")
    assert run_dream(_config(odd_photo, steps=1, octaves=1), run_config) == 0
    for asked in ("fire2:3", "fire2:strong:3"):
        with pytest.raises(UserError, match=r"run 'a' exists with other settings \(--dream differ\)"):
            run_dream(_config(odd_photo, steps=1, octaves=1, dream=(asked,)), run_config)


def test_names_that_cannot_be_printed_are_one_line(tmp_path: Path, odd_photo: str) -> None:
    weights = os.fsencode(tmp_path) + b"/own\xff.npz"
    shutil.copy(ROOT / "nst_tf/backbones/kmeans_bundled.npz", os.fsdecode(weights))
    command = ["dream.py", f"--content={odd_photo}", "--backbone=kmeans", "--size=48", "--steps=1", "--octaves=1"]
    logs = b"--logdir=" + os.fsencode(tmp_path)
    cases = {(logs + b"/a\nb",): "--logdir", (logs + b"/a\xff",): "--logdir", (logs + b"/\x1b[1m",): "--logdir",
             (logs, b"--run=a\nb"): "--run 'a\\nb'", (logs, b"--run=a\xff"): "--run 'a\\udcff'",
             (logs, b"--run=\x1b[1m"): "--run '\\x1b[1m'", (logs, b"--weights=" + weights): "--weights"}
    commands = ((*command, *map(os.fsdecode, flags)) for flags in cases)
    for text, answer in zip(cases.values(), answers(commands), strict=True):
        assert_one_line(answer, f"dream.py: {text}")
        assert answer.err[:-1].isprintable(), answer
    # As a process of its own, whose arguments and stderr are bytes.
    done = subprocess.run([sys.executable, str(ROOT / "scripts/dream.py"), logs, b"--run=a\xff"], capture_output=True,
                          timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 2 and done.stderr.decode()[:-1].isprintable(), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []
