"""Dream terms: the formula, the choice of units, the plan, and what a run does with them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks.objective import stage_losses
from nst_tf import flags
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.grammar import Channels, LayerWeight
from nst_tf.io import images
from nst_tf.losses.dream import activation, choose, dream, inner_cells, measure_activation, reference, unit_shares
from nst_tf.losses.evaluation import measure_targets
from nst_tf.losses.moments import mean
from nst_tf.losses.objective import DREAM_WEIGHT, DreamLayer, Objective, TermWeights
from nst_tf.recipes.stylize.plan import complete, resolve
from nst_tf.recipes.stylize.steps import set_up, stylize
from nst_tf.vocabulary import UserError

from .conftest import SHARED, run_stylize as run, stylize_settings as settings
from .losses import losses_of

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
pytestmark = pytest.mark.usefixtures("shared_networks")


def _features(height: int = 9, width: int = 11, seed: int = 0) -> np.ndarray:
    """[1, h, w, 4] with negative values, each channel of another size."""
    normal = np.random.default_rng(seed).normal(0.3, size=(1, height, width, 4))
    return normal * [1.0, 2.0, 0.5, 3.0]


def _dream(F: np.ndarray | tf.Tensor, channels: list[int], reference: float) -> tf.Tensor:
    """The dream of one layer's inner cells."""
    a, = mean(measure_activation(tf.constant(F), inner_cells(F.shape[1:-1])))
    return dream(a, tf.constant(unit_shares(channels, F.shape[-1]), a.dtype), reference)[0]


def test_dream_by_hand() -> None:
    # Side 4: one cell is left out on each side, and the inner four hold 1, 2, 3, 6 of channel 1: their mean is 3.
    F = np.full((1, 4, 4, 2), 100.0, np.float32)
    F[0, 1:3, 1:3, 1] = [[1, 2], [3, 6]]
    assert float(_dream(F, [1], 1.0)) == pytest.approx(-np.log(1 + 3))
    assert float(_dream(F, [1], 3.0)) == pytest.approx(-np.log(2)), "as active as the layer"
    assert float(_dream(F, [0, 1], 1.0)) == pytest.approx(-(np.log(101) + np.log(4)) / 2)
    assert float(_dream(-F, [0, 1], 1.0)) == 0


def test_dream_equals_an_independent_implementation() -> None:
    F, pictures = _features(), [_features(5, 13, seed=1), _features(8, 3, seed=2)]
    crop = {5: 1, 13: 2, 8: 2, 3: 0, 9: 2, 11: 2}

    def mean(x: np.ndarray) -> np.ndarray:
        rows, columns = crop[x.shape[1]], crop[x.shape[2]]
        cells = [np.maximum(x[0, i, j], 0) for i in range(rows, x.shape[1] - rows)
                 for j in range(columns, x.shape[2] - columns)]
        return sum(cells) / len(cells)

    whole = sum(mean(x).mean() for x in pictures) / 2
    assert float(reference([activation(tf.constant(x)) for x in pictures])) == pytest.approx(whole)
    expected = -(np.log(1 + mean(F)[3] / whole) + np.log(1 + mean(F)[0] / whole)) / 2
    assert float(_dream(F, [3, 0], whole)) == pytest.approx(expected)


@pytest.mark.parametrize("side, kept", [(1, 1), (3, 3), (4, 2), (7, 5), (8, 4), (30, 26)])
def test_border_cells_are_left_out(side: int, kept: int) -> None:
    inside = inner_cells((side, 2 * side)).numpy()[0]
    assert inside.any(1).sum() == kept and set(np.unique(inside)) <= {0.0, 1.0}
    np.testing.assert_array_equal(inside, inside[::-1, ::-1])


def test_gradient_equals_finite_differences() -> None:
    x, step = tf.constant(_features()), 1e-6
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = _dream(x, [3, 0], 0.7)
    gradient = tape.gradient(loss, x).numpy()
    positive = x.numpy()[0, 2:-2, 2:-2] > 0
    np.testing.assert_array_equal(gradient[0, 2:-2, 2:-2] < 0, positive * [1, 0, 0, 1] == 1)
    for index in ((0, 2, 2, 3), (0, 4, 7, 0), (0, 3, 5, 1), (0, 0, 5, 3), (0, 6, 8, 0)):
        nudge = np.zeros_like(gradient)
        nudge[index] = step
        difference = (_dream(x + nudge, [3, 0], 0.7) - _dream(x - nudge, [3, 0], 0.7)) / (2 * step)
        assert gradient[index] == pytest.approx(float(difference), rel=1e-6, abs=1e-8)


USED = np.array([0.5, 0.0, 0.2, 0.9, 0.1, 0.0], np.float32)


@pytest.mark.parametrize("channels, chosen", [
    (Channels("all"), (0, 1, 2, 3, 4, 5)), (Channels("index", (4, 1)), (4, 1)),
    (Channels("strong", first=2), (0, 3)), (Channels("weak", first=2), (2, 4)), (Channels("unused", first=1), (4,))])
def test_units_are_chosen_by_how_they_respond(channels: Channels, chosen: tuple[int, ...]) -> None:
    assert choose(channels, USED, "x") == chosen


def test_units_that_are_not_there() -> None:
    with pytest.raises(UserError, match="x: 4 of its 6 units respond to the pictures; give unused:4"):
        choose(Channels("unused", first=5), USED, "x")
    with pytest.raises(UserError, match="x: channel 6 does not exist; give 0 to 5"):
        choose(Channels("index", (2, 6)), USED, "x")


def _extract(image: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"a": tf.nn.relu(image * [1.0, -2.0, 3.0] + 0.5), "b": tf.nn.avg_pool2d(image, 2, 2, "VALID") ** 2}


@pytest.mark.parametrize("normalization", ["relative", "gatys", "ng"])
def test_the_term_adds_up_and_is_the_same_in_every_normalization(normalization: str) -> None:
    x, photo, style = (tf.constant(np.random.default_rng(seed).uniform(size=(1, 17, 23, 3)), tf.float32)
                       for seed in range(3))
    layers = (DreamLayer("a", Channels("index", (2,)), 3.0), DreamLayer("b", Channels("index", (0, 1)), 1.0))
    objective = Objective((LayerWeight("b", 1.0),), (LayerWeight("a", 1.0),), TermWeights(0.5, 2.0, 0.25, 0.7),
                          normalization, "gram", dream_layers=layers)
    targets = measure_targets(objective, _extract, photo, [style], (1.0,))
    losses = losses_of(objective, targets, _extract, x)
    parts = {}
    for layer, channels, _ in layers:
        of = [_extract(image)[layer].numpy()[0, 2:-2, 2:-2].mean((0, 1)) for image in (x, photo, style)]
        parts[layer] = -np.mean(np.log(1 + of[0] / np.mean(of[1:]))[list(channels.indices)])
        assert float(losses[f"dream/{layer}"]) == pytest.approx(parts[layer], rel=1e-5)
    assert float(losses["loss/dream"]) == pytest.approx(0.75 * parts["a"] + 0.25 * parts["b"], rel=1e-5)
    without = objective._replace(weights=objective.weights._replace(dream=0.0), dream_layers=())
    plain = losses_of(without, measure_targets(without, _extract, photo, [style], (1.0,)), _extract, x)
    assert set(losses) - set(plain) == {"loss/dream", "dream/a", "dream/b"}
    assert float(losses["loss/total"]) == pytest.approx(
        float(plain["loss/total"]) + 0.7 * float(losses["loss/dream"]), rel=1e-5)


@pytest.fixture
def config(photo: str, painting: str) -> StylizeConfig:
    """Three stages on shallow layers; conv3 to conv5 are free."""
    return StylizeConfig(content=photo, style=(painting,), backbone="kmeans", weights="bundled", size=64, min_size=32,
                         steps=9, content_layers=("conv2",), style_layers=("conv1", "conv2"), seed=3)


def _with(config: StylizeConfig, **changes: object) -> StylizeConfig:
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes, text", [
    ({"dream": ("conv33",)}, "--dream: layer 'conv33' is unknown, did you mean 'conv3'"),
    ({"dream": ("conv3:2", "conv3:5")}, "layer 'conv3' is named twice; name it once, with all its channels"),
    ({"dream": ("conv3:0-4+999",)}, "--dream=conv3:0.*999: channel 999 does not exist; give 0 to"),
    ({"dream": ("conv3:strong:999",)}, "is more than its .* channels: give strong:N with N <="),
    ({"dream": ("conv3:some",)}, "channels 'some' cannot be read"),
    ({"dream": ("conv3@0",)}, "every weight is 0"),
    ({"dream": ("conv3@-1",)}, "with a weight >= 0"),
    ({"dream": ("conv2:unused:5",)},
     "content or style reads conv2, and would undo the dream; give one of conv3, conv4, conv5, or conv2:weak:5"),
    ({"dream_weight": 0.5}, "--dream_weight=0.5 needs --dream"),
    ({"dream_weight": -1.0, "dream": ("conv3",)}, "--dream_weight=-1.0 is out of range"),
    ({"dream": ("conv3",), "normalization": "gatys"}, "--dream needs --dream_weight with --normalization=gatys"),
    ({"dream": ("conv5",), "size": 16}, "the layers of kmeans need 17 px"),
])
def test_what_is_wrong_is_refused(config: StylizeConfig, changes: dict, text: str) -> None:
    with pytest.raises(UserError, match=text) as raised:
        resolve(_with(config, **changes))
    assert "\n" not in str(raised.value)


def test_unused_where_every_layer_is_read(config: StylizeConfig) -> None:
    everything = tuple(f"conv{index}" for index in range(1, 6))
    with pytest.raises(UserError, match="leave it out of --style_layers, or conv5:weak:2"):
        resolve(_with(config, style_layers=everything, dream=("conv5:unused:2",)))
    assert resolve(_with(config, style_layers=everything, style_weight=0.0, dream=("conv5:unused:2",)))


def test_a_plan_holds_what_was_asked(config: StylizeConfig) -> None:
    assert resolve(config).objective.weights.dream == 0 and resolve(config).objective.layers() == ("conv2", "conv1")
    asked = _with(config, dream=("conv4:unused:3@2", "conv3", "conv1:0-2+7"))
    plan = resolve(asked)
    assert plan.objective.weights.dream == DREAM_WEIGHT
    assert plan.objective.layers() == ("conv2", "conv1", "conv4", "conv3")
    written = settings(asked, plan)
    assert written["--dream"] == ["conv4:unused:3@2.0", "conv3:all@1.0", "conv1:0+1+2+7@1.0"]
    assert resolve(complete(asked, plan)) == plan and settings(complete(asked, plan), plan) == written
    assert not resolve(_with(asked, dream_weight=0.0)).objective.weights.dream


def test_a_unit_that_one_style_uses_is_not_unused(config: StylizeConfig) -> None:
    asked = _with(config, dream=("conv4:unused:4", "conv2:strong:3"))
    setup = set_up(asked, resolve(_with(asked, precision="float32")))
    (_, unused, _), (_, strong, _) = setup.decided.objective.dream_layers
    pictures = setup.inputs.measured()
    for layer, channels, is_first in (("conv4", unused, True), ("conv2", strong, False)):
        used = np.max([activation(setup.fitted(picture[None])[layer]) for picture in pictures], axis=0)
        order = [unit for unit in np.argsort(used) if used[unit] > 0]
        count = len(channels.indices)
        assert channels.indices == tuple(sorted(order[:count] if is_first else order[-count:]))


def test_units_are_chosen_by_the_smoothed_features_that_are_dreamt(config: StylizeConfig) -> None:
    chosen = {}
    for text in ("none", "softmax:0.2"):
        asked = _with(config, dream=("conv5:strong:4",), smoothing=text)
        setup = set_up(asked, resolve(_with(asked, precision="float32")))
        (_, channels, _), = setup.decided.objective.dream_layers
        chosen[text] = channels.indices
    features = [setup.fitted(picture[None])["conv5"] for picture in setup.inputs.measured()]
    rms = np.sqrt(np.mean(np.square(features[0])))
    used = np.max([activation(tf.nn.softmax(F / rms / 0.2)) for F in features], axis=0)
    assert chosen["softmax:0.2"] == tuple(sorted(np.argsort(used)[-4:])) != chosen["none"]


def test_without_dreams_a_picture_is_what_it_was(config: StylizeConfig) -> None:
    config = _with(config, min_size=64, steps=3)
    *_, plain = stylize(config)
    *_, silent = stylize(_with(config, dream=("conv4:strong:2",), dream_weight=0.0))
    np.testing.assert_array_equal(plain.picture(), silent.picture())
    *_, dreamt = stylize(_with(config, dream=("conv4:strong:2",)))
    assert np.abs(dreamt.picture() - plain.picture()).max() > 0.01


@pytest.mark.parametrize("changes", [
    {"optimizer": "lbfgs", "statistic": "wasserstein"}, {"canvas": "fourier", "jitter": 2},
    {"smoothing": "softmax:1", "style_layers": ("conv1", "conv5"), "precision": "bfloat16"},
    {"normalization": "gatys", "dream_weight": 1e4},
    {"style_weight": 0.0, "content_weight": 0.0}, {"content": "", "content_layers": ()}],
    ids=lambda changes: next(iter(changes)))
def test_dreams_go_with_everything(config: StylizeConfig, changes: dict) -> None:
    asked = _with(config, dream=("conv2:strong:2", "conv4:unused:2"), **changes)
    first, *_, last = stylize(_with(asked, min_size=64, steps=12))
    assert np.isfinite(last.picture()).all()
    assert float(last.losses["loss/dream"]) < float(first.losses["loss/dream"]) < 0


def test_a_region_without_style_does_not_dream(config: StylizeConfig, tmp_path: Path) -> None:
    labels = np.zeros((47, 63, 3), np.uint8)
    labels[:, 25:] = 255
    Image.fromarray(labels).save(tmp_path / "mask.png")
    masked = _with(config, content_mask=str(tmp_path / "mask.png"), style_mask=("#ffffff",), style_weight=0.0,
                   dream=("conv3:strong:2",), min_size=64)
    *_, last = stylize(masked)
    moved = np.abs(last.picture() - images.resize(images.load(config.content), 64, 48)).max(-1)
    assert not moved[:, :23].any() and moved[:, 30:].mean() > 0.01


def _ratios(config: StylizeConfig, dream: str, without: np.ndarray) -> np.ndarray:
    """(activation of the units, style, content) of a picture with a dream, in terms of those of one without."""
    asked = _with(config, dream=(dream,))
    plan = resolve(asked)
    setup = set_up(asked, plan)
    measure = stage_losses(asked, plan, setup, len(plan.stages) - 1)
    (layer, channels, _), = setup.decided.objective.dream_layers

    def measured(picture: np.ndarray) -> np.ndarray:
        picture = picture[None]
        losses = measure(tf.constant(picture), tf.zeros([2], tf.int32))
        response = activation(setup.fitted(picture)[layer]).numpy()[list(channels.indices)]
        return np.array([np.mean(response), losses["loss/style"], losses["loss/content"]])

    *_, last = stylize(asked)
    return measured(last.picture()) / measured(without)


def test_unused_units_rise_and_the_other_terms_let_them(config: StylizeConfig) -> None:
    """With the weights of a real network, and of units that are used, a slow test shows it."""
    config = _with(config, min_size=64, steps=60, precision="float32")
    *_, plain = stylize(config)
    activation, style, content = _ratios(config, "conv4:unused:5", plain.picture())
    assert activation > 10 and style < 1.25 and content < 1.35


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "weights").is_dir(), reason="needs the weights of ../shared, not part of the project")
def test_on_a_real_network_used_units_are_undone_and_unused_ones_are_not(tmp_path: Path) -> None:
    weights = tmp_path / "squeezenet.net"
    weights.symlink_to(SHARED / "weights/squeezenet_v1.0_deep_compressed.net")
    config = StylizeConfig(content=str(SAMPLES / "coast.jpg"), style=(str(SAMPLES / "swirls.jpg"),), size=128,
                           steps=40, backbone="squeezenet", weights=str(weights), precision="float32")
    *_, plain = stylize(config)
    used, *_ = _ratios(config, "fire8:strong:5", plain.picture())
    activation, style, content = _ratios(config, "fire5:unused:5", plain.picture())
    assert 1 < used < 2.5 and activation > 8 and style < 1.25 and content < 1.35


def _folder(run_config: RunConfig) -> Path:
    return Path(run_config.logdir) / run_config.run


@pytest.fixture
def run_config(tmp_path: Path) -> RunConfig:
    return RunConfig(logdir=str(tmp_path / "logs"), run="r", log_every=2)


def _record(run_config: RunConfig) -> dict:
    return json.loads((_folder(run_config) / "config.json").read_text())


def test_a_run_keeps_what_was_asked_and_what_was_chosen(config: StylizeConfig, run_config: RunConfig) -> None:
    asked = _with(config, dream=("conv4:unused:3@2", "conv2"), min_size=64, steps=4)
    assert run(asked, run_config) == 0
    record = _record(run_config)
    assert record["settings"]["--dream"] == ["conv4:unused:3@2.0", "conv2:all@1.0"]
    chosen = record["resolved"]["dream_layers"]["conv4"]
    assert len(chosen["channels"]) == 3 and chosen["weight"] == 2.0 and record["resolved"]["term_weights"]["dream"] > 0
    rows = [json.loads(line) for line in (_folder(run_config) / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        parts = sum(weight * row[name] for name, weight in record["resolved"]["term_weights"].items() if weight)
        assert row["dream"] < 0 and row["total"] == pytest.approx(parts, rel=1e-4)
    (repeated, again), _ = flags.parse(["x", f"--flagfile={_folder(run_config)}/flags.txt", "--run=again"],
                                       [StylizeConfig, RunConfig], "", {})
    run(repeated, again)
    pictures = [(_folder(each) / "output.png").read_bytes() for each in (run_config, again)]
    assert pictures[0] == pictures[1] and _record(again)["resolved"] == record["resolved"]


def _stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    real = stylize

    def stopped(*args: object) -> object:
        for progress in real(*args):  # type: ignore[arg-type]
            yield progress
            if progress.state.step == step:
                raise KeyboardInterrupt

    monkeypatch.setattr("nst_tf.recipes.stylize.steps.stylize", stopped)
    return lambda: monkeypatch.setattr("nst_tf.recipes.stylize.steps.stylize", real)


def test_a_resumed_run_obeys_the_stored_units(config: StylizeConfig, run_config: RunConfig,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _with(config, dream=("conv4:unused:3",), min_size=45)
    run(asked, dataclasses.replace(run_config, run="whole"))
    go_on = _stop_after(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(asked, dataclasses.replace(run_config, checkpoint_every=0))
    go_on()
    path = _folder(run_config) / "config.json"
    before = _record(run_config)["resolved"]
    assert run(asked, run_config) == 0
    assert _record(run_config)["resolved"] == before
    assert (_folder(run_config) / "output.png").read_bytes() == (
        _folder(run_config).parent / "whole/output.png").read_bytes()
    # Other units than would be measured now, as on another machine: they are kept.
    edited = _record(run_config)
    edited["resolved"]["dream_layers"]["conv4"]["channels"] = [1, 2, 5]
    path.write_text(json.dumps(edited))
    assert run(_with(asked, steps=11), dataclasses.replace(run_config, resume=True)) == 0
    assert _record(run_config)["resolved"]["dream_layers"]["conv4"]["channels"] == [1, 2, 5]
    with pytest.raises(UserError, match="--dream differ"):
        run(_with(asked, dream=("conv4:unused:4",)), run_config)
    edited["resolved"]["dream_layers"]["conv4"] = {"channels": "x"}
    path.write_text(json.dumps(edited))
    with pytest.raises(UserError, match="is damaged"):
        run(asked, run_config)
