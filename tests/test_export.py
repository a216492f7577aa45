"""Exported extractors: the files, the signatures, the checks before, over every row of the table."""

import base64
import dataclasses
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nst_tf import flags
from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.facts import Layer
from nst_tf.backbones.saved_model_facts import Facts, read_facts
from nst_tf.backbones.table import BACKBONES, find_backbone
from nst_tf.grammar import LayerWeight
from nst_tf.io import images
from nst_tf.recipes.export import recipe as export_recipe, signatures as export_signatures
from nst_tf.recipes.export.recipe import ExportConfig
from nst_tf.recipes.export.steps import default_layers
from nst_tf.runs import session as run_session
from nst_tf.vocabulary import RunError, UserError

from .conftest import build, make_picture, run_export, save_picture

pytestmark = pytest.mark.usefixtures("shared_networks")
SHAPES = ((1, 33, 47, 3), (2, 52, 39, 3))


def free_weights(backbone: str) -> str:
    """Weights that need neither a download, nor a file, nor pictures."""
    return next(name for name in BACKBONES[backbone].weights if name not in ("imagenet", "self"))


def small_config(backbone: str, output: Path, **changes: Any) -> ExportConfig:
    """The two shallowest layers that the backbone reads by default."""
    row = BACKBONES[backbone]
    read = {name for name, _ in (*row.content_layers, *row.style_layers)}
    layers = tuple(layer.name for layer in row.layers if layer.name in read)[:2]
    settings: dict[str, Any] = {"backbone": backbone, "weights": free_weights(backbone), "layers": layers,
                                "output": str(output), "seed": 3}
    return ExportConfig(**(settings | changes))


def built(config: ExportConfig) -> Extractor:
    return build(config.backbone, config.layers, config.weights, config.seed)


def assert_equal_features(found: Any, expected: Any) -> None:
    assert set(found) == set(expected)
    for layer, wanted in expected.items():
        np.testing.assert_allclose(found[layer], wanted, rtol=0, atol=1e-5 * float(np.max(np.abs(wanted))),
                                   err_msg=layer)


def batch(shape: Sequence[int]) -> np.ndarray:
    return np.stack([make_picture(shape[1], shape[2], seed) for seed in range(shape[0])])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportConfig:
    config = small_config("squeezenet", tmp_path_factory.mktemp("export") / "squeezenet" / "1")
    run_export(config)
    return config


def encoded(picture: np.ndarray, kind: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(data, kind)
    return data.getvalue()


# Of every row all layers are exported by a slow test.
QUICK = ("vgg16", "squeezenet", "alexnet", "kmeans")


@pytest.mark.parametrize("backbone", [pytest.param(
    name, marks=() if name in QUICK else pytest.mark.slow) for name in BACKBONES])
def test_every_backbone_is_exported_and_loaded_again(backbone: str, tmp_path: Path) -> None:
    config = small_config(backbone, tmp_path / "1")
    run_export(config)
    row, extractor = find_backbone(f"saved_model:{tmp_path}/1"), built(config)
    assert tuple(layer.name for layer in row.layers) == config.layers
    facts = {layer.name: layer for layer in BACKBONES[backbone].layers}
    assert all(layer._replace(channels=0) == facts[layer.name]._replace(channels=0) for layer in row.layers)
    assert all(sum(weight for _, weight in shares) in (0, pytest.approx(1))
               for shares in (row.content_layers, row.style_layers))
    # Fewer layers than were exported are a matter of the file, not of the network.
    fewer = (config.layers[:1], config.layers[1:]) if backbone in ("squeezenet", "kmeans") else ()
    for layers in (config.layers, *fewer):
        loaded = row.build(layers, "", 0, [])
        assert loaded.mean_color == extractor.mean_color
        for shape in SHAPES:
            image = batch([max(side, row.layers[-1].smallest_side_px + 5) if side > 3 else side for side in shape])
            expected = extractor(image)
            assert_equal_features(loaded(image), {layer: expected[layer] for layer in layers})
            assert all(expected[layer.name].shape[-1] == layer.channels for layer in row.layers)


def test_signatures(exported: ExportConfig) -> None:
    loaded = tf.saved_model.load(exported.output)
    assert set(loaded.signatures) == {"features", "serving_default", "gram", "features_from_bytes"}
    extractor = built(exported)
    for shape in SHAPES:
        image = batch(shape)
        expected = {layer: np.asarray(value, np.float64) for layer, value in extractor(image).items()}
        for name in ("features", "serving_default"):
            assert_equal_features(loaded.signatures[name](image=tf.constant(image)), expected)
        positions = {layer: F.shape[1] * F.shape[2] for layer, F in expected.items()}
        assert_equal_features(loaded.signatures["gram"](image=tf.constant(image)), {
            layer: np.einsum("byxc,byxd->bcd", F, F) / positions[layer] for layer, F in expected.items()})


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(31, 43), (90, 71)])
def test_files_are_decoded_as_the_project_does(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    files = [encoded(make_picture(64, 51, seed), kind) for seed in (0, 1)]
    (tmp_path / "second").write_bytes(files[1])
    found = export_signatures.decode(tf.constant(files), tf.constant(size))
    assert found.shape == (2, *size, 3)
    expected = images.resize(images.load(tmp_path / "second"), size[1], size[0])
    np.testing.assert_allclose(found[1], expected, atol=1e-5)


def test_requests_of_tensorflow_serving(exported: ExportConfig) -> None:
    """TensorFlow Serving makes tensors of the lists of a JSON body, and bytes of {"b64": …} for names in _bytes."""
    loaded = tf.saved_model.load(exported.output)
    picture = make_picture(21, 34, 0)
    body = json.loads(json.dumps({"signature_name": "features_from_bytes", "inputs": {
        "image_bytes": [{"b64": base64.b64encode(encoded(picture, "PNG")).decode()}] * 2, "size": [21, 34]}}))
    signature = loaded.signatures[body["signature_name"]]
    assert set(body["inputs"]) == set(signature.structured_input_signature[1])
    found = signature(image_bytes=tf.constant([base64.b64decode(item["b64"]) for item in
                                               body["inputs"]["image_bytes"]]),
                      size=tf.constant(body["inputs"]["size"]))
    as_floats = np.round(picture * 255).astype(np.float32)[None].repeat(2, 0) / 255
    # Half a step of a pixel's 8 bits is far above the rounding of the resampling.
    for layer, expected in built(exported)(as_floats).items():
        np.testing.assert_allclose(found[layer], expected, atol=1e-4 * float(np.max(np.abs(expected))))
    body = json.loads(json.dumps({"signature_name": "gram", "instances": [{"image": picture.tolist()}]}))
    grams = loaded.signatures["gram"](image=tf.constant([item["image"] for item in body["instances"]]))
    assert {layer: gram.shape[0] for layer, gram in grams.items()} == dict.fromkeys(exported.layers, 1)


_FRESH = """
import sys
# What is None here cannot be imported.
sys.modules |= dict.fromkeys(["nst_tf", "keras", "PIL"])
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
saved = np.load(sys.argv[2])
for key, expected in saved.items():
    signature, layer, index = key.split("|")
    if not layer.startswith("input"):
        names = [name for name in saved if name.startswith(f"{signature}|input_") and name.endswith(f"|{index}")]
        inputs = {name.split("|")[1].removeprefix("input_"): tf.constant(saved[name]) for name in names}
        if signature == "features_from_bytes":
            files = [open(f"{sys.argv[3]}/{number}.png", "rb").read() for number in range(int(inputs.pop("count")))]
            inputs["image_bytes"] = tf.constant(files)
        found = loaded.signatures[signature](**inputs)[layer]
        assert found.dtype == tf.float32 and found.shape == expected.shape, (key, found.shape, expected.shape)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max(), key
print(len(saved))
"""


def _save_expected(config: ExportConfig, folder: Path) -> Path:
    extractor = built(config)
    arrays: dict[str, Any] = {}
    for index, shape in enumerate(SHAPES):
        image = batch(shape)
        features = {layer: np.asarray(value) for layer, value in extractor(image).items()}
        grams = {layer: np.einsum("byxc,byxd->bcd", F, F, dtype=np.float64) / (F.shape[1] * F.shape[2])
                 for layer, F in features.items()}
        for number in range(shape[0]):
            (folder / f"{number}.png").write_bytes(encoded(make_picture(40, 30, number), "PNG"))
        decoded = np.stack([images.resize(images.load(folder / f"{number}.png"), shape[2], shape[1])
                            for number in range(shape[0])])
        answers = {"features": features, "serving_default": features, "gram": grams,
                   "features_from_bytes": extractor(decoded)}
        for signature, layers in answers.items():
            arrays |= {f"{signature}|{layer}|{index}": np.asarray(value) for layer, value in layers.items()}
            arrays |= ({f"{signature}|input_size|{index}": np.array(shape[1:3], np.int32),
                        f"{signature}|input_count|{index}": np.array(shape[0])}
                       if signature == "features_from_bytes" else {f"{signature}|input_image|{index}": image})
    np.savez(folder / "expected.npz", **arrays)
    return folder / "expected.npz"


def _assert_fresh_process_agrees(config: ExportConfig, folder: Path) -> None:
    expected = _save_expected(config, folder)
    done = subprocess.run([sys.executable, "-c", _FRESH, config.output, str(expected), str(folder)], text=True,
                          capture_output=True, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) == len(np.load(expected).files)


def test_a_process_with_nothing_but_tensorflow(exported: ExportConfig, tmp_path: Path) -> None:
    _assert_fresh_process_agrees(exported, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_layer_of_every_backbone_is_exported_and_loaded_again(backbone: str, tmp_path: Path) -> None:
    """As a SavedModel, as a model of LiteRT (which the export checks), and one in a process without this project."""
    pytest.importorskip("ai_edge_litert", reason="the interpreter of the extra litert")
    config = small_config(backbone, tmp_path / "1", layers=("all",), litert=True)
    run_export(config)
    row, own = find_backbone(f"saved_model:{tmp_path}/1"), BACKBONES[backbone]
    names = [layer.name for layer in row.layers]
    assert names == [layer.name for layer in export_recipe._layers(config)]
    assert (row.content_layers, row.style_layers) == (own.content_layers, own.style_layers)
    extractor = own.build(names, config.weights, config.seed, [])
    side = max(layer.smallest_side_px for layer in row.layers) + 20
    picture = make_picture(side, side + 7, 0)[None]
    assert_equal_features(row.build(names, "", 0, [])(picture), extractor(picture))
    if backbone == "vgg19":
        _assert_fresh_process_agrees(dataclasses.replace(config, layers=tuple(names)), tmp_path)


@pytest.mark.slow
def test_saved_model_cli(exported: ExportConfig, tmp_path: Path) -> None:
    cli = str(Path(sys.executable).with_name("saved_model_cli"))
    shown = subprocess.run([cli, "show", "--dir", exported.output, "--all"], text=True, capture_output=True,
                           timeout=300)
    assert shown.returncode == 0, shown.stderr[-2000:]
    for text in ("signature_def['features']", "signature_def['gram']", "signature_def['features_from_bytes']",
                 "signature_def['serving_default']", "inputs['image_bytes']", "shape: (-1, -1, -1, 3)",
                 *(f"outputs['{layer}']" for layer in exported.layers)):
        assert text in shown.stdout, text
    image = batch(SHAPES[0])
    np.save(tmp_path / "image.npy", image)
    done = subprocess.run([cli, "run", "--dir", exported.output, "--tag_set=serve", "--signature_def=features",
                           f"--inputs=image={tmp_path}/image.npy", f"--outdir={tmp_path}"], text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_equal_features({layer: np.load(tmp_path / f"{layer}.npy") for layer in exported.layers},
                          built(exported)(image))


def test_layers_of_any_name_are_keys_as_they_are(tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    names = ["fire2/expand1x1", "mixed 7b:0", "relu4.é"]
    outputs = {name: keras.layers.Conv2D(2 + index, 1)(image) for index, name in enumerate(names)}
    extractor = Extractor(keras.Model(image, outputs), (0.5, 0.5, 0.5))
    layers = tuple(Layer(name, 2 + index, 1, 1, 1) for index, name in enumerate(names))
    facts = Facts("0", "other", "random", 0, (0.5, 0.5, 0.5), layers, (), (), (), "none", 0, 0)
    export_signatures.save(extractor, facts, tmp_path / "1")
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert_equal_features(loaded.signatures["features"](image=tf.constant(batch(SHAPES[1]))),
                          extractor(batch(SHAPES[1])))
    assert read_facts(str(tmp_path / "1")) == facts


def test_what_is_written_and_what_is_said(exported: ExportConfig, tmp_path: Path,
                                          capfd: pytest.CaptureFixture) -> None:
    output = tmp_path / "models" / "net" / "7"
    run_export(dataclasses.replace(exported, output=str(output)))
    printed = capfd.readouterr()
    assert printed.out.splitlines()[0].startswith(f"SavedModel:  {output}, 0.")
    assert printed.err.startswith("nst_tf: TensorFlow 2.21") and printed.err.count("\n") == 1
    assert f"--backbone=saved_model:{output}" in printed.out and f"--all --dir {output}" in printed.out
    assert len(printed.out.splitlines()) == 4
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert [name.removeprefix("models/net/7/") for name in files] == [
        "assets/nst_tf.json", "fingerprint.pb", "saved_model.pb", "variables/variables.data-00000-of-00001",
        "variables/variables.index"]
    facts = json.loads((output / "assets/nst_tf.json").read_text())
    assert (facts["backbone"], facts["weights"], facts["seed"]) == ("squeezenet", "random", 3)
    assert facts["layers"][1] == {"name": "fire2", "channels": 128, "stride": 4, "receptive_field_px": 19,
                                  "smallest_side_px": 1}
    assert facts["content_layers"] == {} and facts["style_layers"] == {"conv1": 0.5, "fire2": 0.5}


def test_the_default_layers_are_those_that_the_backbone_reads() -> None:
    names = [layer.name for layer in export_recipe._layers(ExportConfig(backbone="squeezenet"))]
    assert names == ["conv1", "fire2", "fire4", "fire6", "fire7", "fire8"]
    vgg, all_of_vgg = BACKBONES["vgg19"], ExportConfig(backbone="vgg19", layers=("all",))
    assert export_recipe._layers(all_of_vgg) == list(vgg.layers)
    more = dataclasses.replace(all_of_vgg, layers=("all", "predictions"))
    assert export_recipe._layers(more) == [*vgg.layers, vgg.all_layers[-1]]
    all_of_squeezenet = dataclasses.replace(all_of_vgg, backbone="squeezenet1_1")
    assert export_recipe._layers(all_of_squeezenet) == list(BACKBONES["squeezenet1_1"].all_layers)
    shares = (LayerWeight("a", 0.5), LayerWeight("b", 0.3), LayerWeight("c", 0.2))
    assert default_layers(shares, ["b", "c"]) == (LayerWeight("b", 0.6), LayerWeight("c", 0.4))
    assert default_layers(shares, ["d"]) == ()


def test_filters_learned_from_pictures_are_exported(tmp_path: Path) -> None:
    pictures = [save_picture(tmp_path / f"{seed}.png", 60, 70, seed) for seed in (0, 1)]
    config = ExportConfig(backbone="kmeans", layers=("conv2",), pictures=tuple(pictures), output=str(tmp_path / "1"))
    run_export(config)
    loaded = [images.load(path) for path in pictures]
    expected = BACKBONES["kmeans"].build(["conv2"], "self", 0, loaded)
    row = find_backbone(f"saved_model:{tmp_path}/1")
    found = row.build(["conv2"], "", 0, [])
    assert_equal_features(found(loaded[0][None]), expected(loaded[0][None]))
    assert found.mean_color == expected.mean_color
    assert row.layers[0].channels == expected.model.output["conv2"].shape[-1]


def test_weights_of_a_file_are_named_by_its_checksum(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    file.write_bytes((Path(export_recipe.__file__).parents[2] / "backbones/kmeans_bundled.npz").read_bytes())
    run_export(ExportConfig(backbone="kmeans", weights=str(file), layers=("conv1",), output=str(tmp_path / "1")))
    weights = read_facts(str(tmp_path / "1")).weights
    assert isinstance(weights, dict) and weights["file"] == "mine.npz" and len(weights["sha256"]) == 64


@pytest.mark.parametrize("changes, text", [
    ({"output": ""}, "--output is missing"),
    ({"output": "/proc/x/1"}, "cannot be written"),
    ({"layers": ("fire44",)}, "did you mean 'fire4'"),
    ({"backbone": "saved_model:x"}, "--backbone 'saved_model:x' is unknown"),
    ({"backbone": "kmeans", "weights": "self", "layers": ()}, "give --pictures="),
    ({"pictures": ("a.jpg",)}, "--pictures are not read with --weights=random"),
    ({"backbone": "kmeans", "weights": "self", "layers": (), "pictures": ("none.jpg",)}, "does not exist"),
    ({"litert_size": (64, 64)}, "together with --litert"),
    ({"litert": True, "litert_size": (64,)}, "give HEIGHT,WIDTH"),
    ({"weights": "none.net"}, "no such file"),
])
def test_what_is_wrong_is_one_line_before_tensorflow_starts(exported: ExportConfig, changes: dict[str, Any], text: str,
                                                            tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_session, "start_tensorflow", lambda: pytest.fail("too late"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(UserError) as raised:
        run_export(dataclasses.replace(exported, **{"output": str(tmp_path / "1"), **changes}))
    assert text in str(raised.value) and "\n" not in str(raised.value)


def test_the_script_ends_with_one_line_and_status_2(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[1] / "scripts/export_model.py"
    done = subprocess.run([sys.executable, str(script), "--backbone=squeezenet", f"--output={tmp_path}/1"], text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == 2 and not done.stdout and not list(tmp_path.iterdir())
    assert done.stderr.startswith("export_model.py: --backbone=squeezenet needs --weights")
    assert done.stderr.count("\n") == 1


def test_without_the_interpreter_litert_names_the_extra(exported: ExportConfig, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[litert\]'"):
        run_export(dataclasses.replace(exported, output=str(tmp_path / "1"), litert=True))
    assert not list(tmp_path.iterdir())


def test_only_an_export_is_overwritten(exported: ExportConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(exported, output=str(tmp_path / "1"))
    run_export(config)
    before = (tmp_path / "1/saved_model.pb").read_bytes()
    with pytest.raises(UserError, match="or --overwrite to replace"):
        run_export(config)
    again = dataclasses.replace(config, overwrite=True, layers=("conv1",))
    mine = tmp_path / "1" / "assets" / "notes.txt"
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"did not write \(assets/notes.txt\)"):
        run_export(again)
    assert (tmp_path / "1/saved_model.pb").read_bytes() == before
    mine.unlink()
    run_export(again)
    assert [layer.name for layer in read_facts(again.output).layers] == ["conv1"]
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    (tmp_path / "1/assets/nst_tf.json").unlink()
    with pytest.raises(UserError, match="did not write"):
        run_export(again)


def test_an_export_that_differs_or_fails_leaves_the_old_one(exported: ExportConfig, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(exported, output=str(tmp_path / "1"), overwrite=True)
    run_export(config)
    before = (tmp_path / "1/saved_model.pb").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(export_signatures, "TOLERANCE", -1.0)
        with pytest.raises(RunError, match="layer conv1 differs by"):
            run_export(config)
    with monkeypatch.context() as patch:
        patch.setattr(tf.saved_model, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(RunError, match="No space left"):
            run_export(config)
    assert (tmp_path / "1/saved_model.pb").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_value_that_is_no_number_is_a_difference() -> None:
    with pytest.raises(RunError, match="layer a"):
        export_signatures.checked_differences({"a": np.array([np.nan, 1.0])}, {"a": np.array([0.0, 1.0])}, 1e-3, "it")
    found = export_signatures.checked_differences({"a": np.array([1.0, 3.0])}, {"a": np.array([1.5, -4.0])}, 2.0, "it")
    assert found == {"a": 1.75}


def test_flags() -> None:
    (config,), _ = flags.parse(["x", "--output=a/1", "--litert", "--litert_size=224,160", "--layers=conv1,conv2"],
                               [ExportConfig], "", {})
    assert config == ExportConfig(output="a/1", litert=True, litert_size=(224, 160), layers=("conv1", "conv2"))


@pytest.mark.parametrize("backbone, size", [
    pytest.param("squeezenet", (), marks=pytest.mark.slow), ("squeezenet", (61, 45)), ("kmeans", ())])
def test_litert_gives_the_values_of_keras(backbone: str, size: tuple[int, ...], tmp_path: Path,
                                          capfd: pytest.CaptureFixture) -> None:
    pytest.importorskip("ai_edge_litert", reason="the interpreter of the extra litert")
    from nst_tf.recipes.export import litert as export_litert
    config = small_config(backbone, tmp_path / "1", litert=True, litert_size=size)
    run_export(config)
    printed = capfd.readouterr()
    assert "model.tflite" in printed.out and printed.err.count("\n") == 1
    assert ("61 × 45 px" if size else "any size") in printed.out
    for shape in ((1, *size, 3),) if size else SHAPES:
        expected = built(config)(batch(shape))
        found = export_litert.run(tmp_path / "1" / "model.tflite", batch(shape))
        for layer, wanted in expected.items():
            np.testing.assert_allclose(found[layer], wanted, atol=2e-5 * float(np.max(np.abs(wanted))))
    run_export(dataclasses.replace(config, overwrite=True, litert=False, litert_size=()))
    assert not (tmp_path / "1" / "model.tflite").exists()
