"""The classifier as a layer: names of classes, dense layers as convolutions, dreams that raise a class."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones import applications
from nst_tf.backbones.applications import APPLICATIONS, build_application
from nst_tf.backbones.classes import CLASSES, find_class, image_classes
from nst_tf.backbones.extractor import Extractor, cut, randomize
from nst_tf.backbones.facts import Operation, cells
from nst_tf.backbones.saved_model_facts import Facts, to_json
from nst_tf.backbones.surgery import vary
from nst_tf.backbones.table import BACKBONES, Classifier, Variant, find_backbone, layer_listing
from nst_tf.backbones.weights.readers import load_weights
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.grammar import Channels, LayerWeight, Padding, parse_layer_channels
from nst_tf.io import images
from nst_tf.losses.activations import unit_loss
from nst_tf.losses.dream import dream
from nst_tf.losses.evaluation import measure_targets
from nst_tf.losses.objective import DreamLayer, Objective, TermWeights
from nst_tf.recipes.classes import ClassMeter
from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig, complete_dream, resolve_dream
from nst_tf.recipes.export.recipe import EXPORT, ExportConfig
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.units.plan import UnitsConfig, resolve_units
from nst_tf.vocabulary import UserError

from .conftest import SHARED, build, make_picture, run_dream, run_stylize
from .losses import losses_of

pytestmark = pytest.mark.usefixtures("shared_networks")
REAL_FILE = SHARED / "weights/squeezenet_v1.0_deep_compressed.net"
MODULES = {"vgg16": "vgg16", "resnet50": "resnet", "inception_v3": "inception_v3"}
TINY = (Operation("fc1", 3, 1, 0, 5), Operation("fc2", 1, 1, 0, 4), Operation("predictions", 1, 1, 0, 6))


def test_the_names_are_those_of_imagenet_in_its_order() -> None:
    rows = [line for line in CLASSES.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    numbers = [row.split()[0] for row in rows]
    assert len(image_classes()) == 1000 and numbers == sorted(set(numbers)), "WordNet's order is that of the outputs"
    assert len({image_class.written() for image_class in image_classes()}) == 1000
    assert [image_classes()[number].names[0] for number in (0, 207, 985, 999)] == [
        "tench", "golden retriever", "daisy", "toilet tissue"]


@pytest.mark.parametrize("text, number", [
    ("golden retriever", 207), ("Golden_Retriever", 207), ("tabby", 281), ("Tinca tinca", 0), ("volcan", 980),
    ("Labrador", 208), ("207 golden retriever", 207), ("134 crane", 134),
    ("134 crane (large long-necked wading bird)", 134)])
def test_a_class_is_found_by_any_of_its_names_or_a_part_that_no_other_has(text: str, number: int) -> None:
    assert find_class(text, "--dream") == number


@pytest.mark.parametrize("text, message", [
    ("crane", r"may be 134 crane \(large long-necked wading bird\), 517 crane \(lifts and moves heavy objects\): give"),
    ("maillot", "'maillot' may be 638 maillot .*, 639 maillot .*: give the number"),
    ("cat", "281 tabby, .* and 1 more: give the number"),
    ("golden retreiver", "no class is called 'golden retreiver'; the nearest are 207 golden retriever"),
    ("208 golden retriever", "no class is called '208 golden retriever'; the nearest are 207 golden retriever"),
    ("xyzzyq", "no class is called 'xyzzyq': give one of ImageNet's 1000 names, or a number from 0 to 999"),
])
def test_names_that_mean_no_class_or_several_are_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^--dream=conv10:{text}: .*{message}") as raised:
        parse_layer_channels(f"conv10:{text}", "--dream", finders=BACKBONES["squeezenet"].finders)
    assert "\n" not in str(raised.value)


def test_names_stand_beside_numbers_and_only_where_channels_have_names(photo: str, painting: str) -> None:
    for backbone, layer in (("squeezenet", "conv10"), ("squeezenet1_1", "conv10"), ("vgg19", "predictions"),
                            ("vgg16", "predictions"), ("resnet50", "predictions"), ("inception_v3", "predictions")):
        finders = BACKBONES[backbone].finders
        parsed = parse_layer_channels(f"{layer}: golden retriever + 3+black-and-tan coonhound+0-1@2", "--x",
                                      finders=finders)
        assert parsed.channels == Channels("index", (207, 3, 165, 0, 1)) and parsed.weight == 2
        assert parse_layer_channels(f"{layer}:strong:5", "--x", finders=finders).channels == Channels("strong", (), 5)
        assert f"{layer}: the classes of ImageNet" in layer_listing(backbone)
    with pytest.raises(UserError, match="channels 'golden retriever' cannot be read.*; the channels of conv10 have n"):
        resolve_dream(_config(photo, dream=("fire8:golden retriever",)))
    with pytest.raises(UserError, match="--dream: layer 'predictions' is unknown"):
        resolve_dream(_config(photo, backbone="alexnet", dream=("predictions:daisy",)))
    with pytest.raises(UserError, match="channel 1000 does not exist; give 0 to 999"):
        resolve_dream(_config(photo, dream=("conv10:1000",)))
    for objective, of_class, completed in (("", "channel", ""), ("layer", "layer", "layer")):
        config = _config(photo, dream=("conv10:daisy", "fire8:3"), objective=objective)
        plan = resolve_dream(config)
        assert [layer.excitation for layer in plan.layers] == ["layer", of_class]
        assert complete_dream(config, plan).objective == completed
    with pytest.raises(UserError, match="the layers of vgg16 need 224 px"):
        resolve_dream(_config(photo, backbone="vgg16", dream=("predictions:daisy",), size=200))
    stylize = StylizeConfig(content=photo, style=(painting,), backbone="squeezenet", weights="random", size=64,
                            dream=("conv10:daisy",))
    assert resolve(stylize).objective.dream_layers == (DreamLayer("conv10", Channels("index", (985,)), 1.0),)
    units = UnitsConfig(output=str(Path(photo).parent / "units"), backbone="squeezenet", weights="random",
                        view="synthesized", layers=("conv10:daisy",))
    assert resolve_units(units).layers[0].channels == Channels("index", (985,))


def test_weights_without_a_classifier_are_told_before_the_start(photo: str, painting: str, tmp_path: Path) -> None:
    network: Any = {"backbone": "vgg16", "weights": "hed"}
    layer, output = ("predictions:207",), str(tmp_path / "new")
    for refuse in (lambda: resolve_dream(_config(photo, dream=layer, **network)),
                   lambda: resolve_units(UnitsConfig(output=output, view="synthesized", layers=layer, **network)),
                   lambda: EXPORT.resolve(ExportConfig(output=output, layers=("fc1", "predictions"), **network), None),
                   lambda: resolve(StylizeConfig(content=photo, style=(painting,), size=240, dream=layer, **network))):
        with pytest.raises(UserError, match="--weights=hed has no classifier, and so no layer .*: give imagenet, rand"):
            refuse()


def test_an_exported_classifier_keeps_its_names(tmp_path: Path) -> None:
    layers = find_backbone("squeezenet").all_layers
    for chosen, finders in ((layers[-1:], {"conv10": find_class}), (layers[:1], {})):
        facts = Facts("0", "squeezenet", "random", 0, (0.5, 0.5, 0.5), chosen, (), (), (), "none", 0, 0)
        (tmp_path / "assets").mkdir(exist_ok=True)
        (tmp_path / "assets/nst_tf.json").write_text(to_json(facts))
        (tmp_path / "saved_model.pb").touch()
        row = find_backbone(f"saved_model:{tmp_path}")
        assert row.finders == finders and row.all_operations == BACKBONES["squeezenet"].all_operations
        assert ("conv10: the classes" in layer_listing(f"saved_model:{tmp_path}")) == bool(finders)


def _trunk() -> keras.Model:
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
    return keras.Model(image, keras.layers.MaxPooling2D(2)(x))


def test_dense_layers_as_convolutions_from_files_of_every_form(tmp_path: Path) -> None:
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(x))
    for operation in TINY:
        x = keras.layers.Dense(operation.channels, activation=None if operation is TINY[-1] else "relu",
                               bias_initializer="normal", name=operation.name)(x)
    dense = keras.Model(image, x)
    expected = dense(make_picture(6, 6, 0)[None])
    for name in ("a.h5", "a.weights.h5", "a.keras", "a.npz"):
        path = str(tmp_path / name)
        if name.endswith(".npz"):
            np.savez(path, **{f"{layer.name}/{variable.name}": variable.numpy() for layer in dense.layers
                              for variable in layer.weights})
        else:
            dense.save_weights(path) if "weights" in name else dense.save(path)
        model = applications._with_classifier(_trunk(), TINY)
        load_weights(model, path)
        np.testing.assert_allclose(model(make_picture(6, 6, 0)[None])[:, 0, 0], expected, rtol=1e-5, atol=1e-6)
        assert model(make_picture(8, 12, 0)[None]).shape == (1, 2, 4, 6)
    trunk, path = _trunk(), str(tmp_path / "trunk.npz")
    np.savez(path, **{f"conv/{variable.name}": variable.numpy() for variable in trunk.layers[1].weights})
    with pytest.raises(UserError, match="no kernel of layer fc1: give a Keras or .npz file that has the classifier"):
        load_weights(applications._with_classifier(_trunk(), TINY), path)


def test_surgery_leaves_the_classifier_without_padding() -> None:
    model, picture = applications._with_classifier(_trunk(), TINY), make_picture(12, 8, 1)[None]
    extractor = cut(model, ["predictions"], (0.5, 0.5, 0.5))
    scores = extractor(picture)["predictions"]
    for variant in (Variant(padding=Padding("zero", False)), Variant(padding=Padding("zero", True)),
                    Variant(pooling="max")):
        varied = vary(extractor, variant, [], 0)(picture)["predictions"]
        np.testing.assert_allclose(varied, scores, rtol=1e-5, atol=1e-6)
    reflected = vary(extractor, Variant("bfloat16", "average", Padding("reflect", False)), [], 0)
    assert reflected(picture)["predictions"].shape == scores.shape == (1, 4, 2, 6)


@pytest.mark.slow
@pytest.mark.parametrize("row", MODULES)
def test_the_mean_of_the_map_is_the_logit_of_keras_own_classifier(row: str, tmp_path: Path) -> None:
    network = getattr(keras.applications, APPLICATIONS[row].name)
    theirs = network(include_top=True, weights=None, classifier_activation=None)
    rng = np.random.default_rng(0)
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([np.abs(values + rng.normal(0, 0.1, values.shape)) for values in layer.get_weights()])

    theirs.save_weights(tmp_path / "theirs.weights.h5")
    extractor = build_application(row, ["predictions"], str(tmp_path / "theirs.weights.h5"), 0)
    side = theirs.input_shape[1]
    preprocess = importlib.import_module(f"keras.applications.{MODULES[row]}").preprocess_input
    picture = make_picture(side, side, 1)[None]
    expected = theirs(preprocess(255 * picture), training=False)
    scores = extractor(picture)["predictions"]
    np.testing.assert_allclose(tf.reduce_mean(scores, axis=(1, 2)), expected, rtol=1e-3,
                               atol=1e-4 * float(np.abs(expected).max()))
    larger = extractor(make_picture(side + 40, side + 70, 1)[None])["predictions"]
    assert larger.shape[1:3] == tuple(cells(BACKBONES[row].all_operations, side_px)[-1]
                                      for side_px in (side + 40, side + 70))


def test_scores_of_any_sign_rise_by_a_slope_that_never_ends() -> None:
    a, shares = tf.constant([[-40.0, 3.0, 0.0]], tf.float64), tf.constant([0.5, 0.5, 0.0])
    assert float(dream(a, shares, tf.constant(2.0), True)[0]) == pytest.approx(-(np.arcsinh(-20) + np.arcsinh(1.5)) / 2)
    with tf.GradientTape() as tape:
        tape.watch(a)
        loss = dream(a, shares, tf.constant(2.0), True)
    gradient = tape.gradient(loss, a).numpy()[0]
    for index in range(3):
        nudge = np.eye(3)[index] * 1e-6
        difference = (dream(a + nudge, shares, tf.constant(2.0), True) - dream(
            a - nudge, shares, tf.constant(2.0), True)) / 2e-6
        assert gradient[index] == pytest.approx(float(difference[0]), rel=1e-5, abs=1e-9)
    assert gradient[0] < -0.01
    F = tf.constant(np.random.default_rng(0).normal(-3, 1, (2, 3, 3, 4)), tf.float32)
    expected = -np.arcsinh(F.numpy().mean((1, 2))[[0, 1], [1, 2]]).sum()
    assert float(unit_loss(F, tf.constant([1, 2]), "channel", 1, 0.0, True)) == pytest.approx(expected, rel=1e-5)


def test_a_signed_layer_is_measured_without_its_sign_being_cut() -> None:
    def extract(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"a": image, "scores": image * [1.0, -2.0, 3.0] - 1.0}

    x, photo, style = (tf.constant(make_picture(17, 23, seed)[None]) for seed in range(3))
    layers = (DreamLayer("scores", Channels("index", (1,)), 1.0),)
    objective = Objective((LayerWeight("a", 1.0),), (LayerWeight("a", 1.0),), TermWeights(1.0, 1.0, 0.0, 1.0),
                          "relative", "gram", dream_layers=layers, signed_layers=("scores",))
    losses = losses_of(objective, measure_targets(objective, extract, photo, [style], (1.0,)), extract, x)
    of_x, *others = (extract(image)["scores"].numpy()[0, 2:-2, 2:-2].mean((0, 1)) for image in (x, photo, style))
    expected = -np.arcsinh(of_x[1] / np.abs(others).mean())
    assert of_x[1] < 0 and float(losses["loss/dream"]) == pytest.approx(expected, rel=1e-4)


def _config(photo: str, **settings: object) -> DreamConfig:
    defaults: dict[str, object] = {"content": photo, "backbone": "squeezenet", "weights": "random", "size": 64,
                                   "dream": ("conv10:golden retriever",), "octaves": 1, "steps": 8, "step_size": 0.02,
                                   "precision": "float32"}
    return DreamConfig(**(defaults | settings))  # type: ignore[arg-type]


def _build_tiny(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Any]) -> Extractor:
    model = applications._with_classifier(_trunk(), TINY)
    randomize(model, seed)
    return cut(model, layers, (0.5, 0.5, 0.5))


@pytest.fixture
def lowest(photo: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A row whose classifier is three dense layers takes the place of VGG19's; its class of the least score by name."""
    share = (LayerWeight("conv", 1.0),)
    monkeypatch.setitem(BACKBONES, "vgg19", BACKBONES["vgg19"]._replace(
        operations=(Operation("conv", 3, 1, 1, 4), Operation("pool", 2, 2, 0, 4)), content_layers=share,
        style_layers=share, build=_build_tiny, padding="trained",
        classifier=Classifier(TINY, "predictions", True, 0.0)))
    scores = _build_tiny(["predictions"], "random", 0, [])(images.load(photo, max_side_px=24)[None])["predictions"]
    return image_classes()[int(np.argmin(np.mean(scores, axis=(0, 1, 2))))].names[0]


def _told(out: str, name: str) -> tuple[float, float]:
    """The logits of the one class that a run prints."""
    line, = (line for line in out.splitlines() if line.startswith("class:"))
    assert f" {name}, probability " in line
    before, after = map(float, line.rpartition("logit ")[2].split(" → "))
    return before, after


def test_a_dream_raises_a_class_whose_score_is_below_0(tmp_path: Path, photo: str, lowest: str,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    config = _config(photo, backbone="vgg19", size=24, dream=(f"predictions:{lowest}",))
    assert run_dream(config, DreamRunConfig(logdir=str(tmp_path), run="a")) == 0
    before, after = _told(capsys.readouterr().out, lowest)
    # Its square would be raised by a score that falls further.
    assert before < 0 and after > before
    record = json.loads((tmp_path / "a/config.json").read_text())
    assert record["settings"]["--objective"] == record["resolved"]["layers"]["predictions"]["excitation"] == "channel"
    row = json.loads((tmp_path / "a/metrics.jsonl").read_text().splitlines()[-1])
    logit, = (value for key, value in row.items() if key.endswith(f" {lowest}"))
    assert logit == pytest.approx(after, rel=0.01)


def test_a_stylization_raises_a_class_whose_score_is_below_0(tmp_path: Path, photo: str, painting: str, lowest: str,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    config = StylizeConfig(content=photo, style=(painting,), backbone="vgg19", weights="random", size=24, steps=8,
                           dream=(f"predictions:{lowest}",), dream_weight=1.0, motif_size=0, precision="float32")
    assert run_stylize(config, RunConfig(logdir=str(tmp_path), run="a")) == 0
    before, after = _told(capsys.readouterr().out, lowest)
    assert before < 0 and after > before


@pytest.mark.slow
def test_a_dream_of_squeezenet_raises_the_rank_of_a_class(tmp_path: Path, photo: str,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "dream.png"
    assert run_dream(_config(photo), DreamRunConfig(logdir=str(tmp_path), run="a", output=str(output))) == 0
    before, after = _told(capsys.readouterr().out, "207 golden retriever")
    assert after > before
    extract = build("squeezenet", ("conv10",))
    start, end = (np.mean(extract(images.load(path, max_side_px=64)[None])["conv10"], axis=(0, 1, 2))
                  for path in (photo, output))
    assert (end > end[207]).sum() < (start > start[207]).sum()


def test_a_logit_that_is_not_finite_is_left_out_of_the_rows() -> None:
    logits = tf.constant([[[[1.0, np.inf, np.nan]]]])
    meter = ClassMeter(BACKBONES["squeezenet"], lambda _: {"conv10": logits}, (0, 1, 2), 32, 1)
    (tag, logit), = meter.losses(np.zeros((8, 8, 3), np.float32)).items()
    assert tag.startswith("class/0 ") and logit == 1.0


@pytest.mark.slow
@pytest.mark.skipif(not REAL_FILE.exists(), reason="needs the real weights in ../shared, which are not the project's")
def test_the_golden_gate_is_a_pier_or_a_suspension_bridge() -> None:
    """The first two of `squeezenet_golden_top5.json`; its network does not pad where ours does."""
    row = BACKBONES["squeezenet"]
    extract = row.build(["conv10"], str(REAL_FILE), 0, [])
    golden = json.loads((SHARED / "weights/squeezenet_golden_top5.json").read_text())["golden_gate.jpg"]
    scores = ClassMeter(row, extract, tuple(range(1000)), 256, 1)(images.load(SHARED / "images/golden_gate.jpg"))
    first = sorted(scores, key=lambda number: -scores[number].probability)[:2]
    assert set(first) == {number for number, _ in golden[:2]}
    assert sum(score.probability for score in scores.values()) == pytest.approx(1, rel=1e-5)
