"""An exported extractor as a backbone: equal pictures, what is refused, what a step costs."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.saved_model_facts import Facts, LARGEST_FACTS_BYTES, from_json, read_facts, to_json
from nst_tf.backbones.table import BACKBONES, check_weights, find_backbone, layer_listing, smallest_side_px
from nst_tf.config import RunConfig, StylizeConfig, check
from nst_tf.grammar import parse_smoothing
from nst_tf.io.files import sha256_of_folder
from nst_tf.recipes.export.recipe import ExportConfig, _layers
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.vocabulary import UserError

from .conftest import make_picture, run_export, run_stylize as run

pytestmark = pytest.mark.usefixtures("shared_networks")
SCRIPT = Path(__file__).resolve().parents[1] / "scripts/stylize.py"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All layers of the bundled `kmeans` network, which are those that it reads by default."""
    folder = tmp_path_factory.mktemp("whole") / "1"
    run_export(ExportConfig(backbone="kmeans", weights="bundled", layers=("all",), output=str(folder)))
    return str(folder)


@pytest.fixture
def config(photo: str, painting: str) -> StylizeConfig:
    return StylizeConfig(content=photo, style=(painting,), size=48, min_size=48, steps=4)


# Of SqueezeNet the features are compared by test_export.py.
@pytest.mark.parametrize("backbone, weights", [
    ("kmeans", "bundled"), pytest.param("squeezenet", "random", marks=pytest.mark.slow)])
def test_a_picture_is_that_of_the_backbone_itself(backbone: str, weights: str, tmp_path: Path, whole: str,
                                                  config: StylizeConfig) -> None:
    export = ExportConfig(backbone=backbone, weights=weights, output=str(tmp_path / "1"))  # type: ignore[arg-type]
    if backbone == "kmeans":
        assert _layers(export) == _layers(dataclasses.replace(export, layers=("all",)))
        export = dataclasses.replace(export, output=whole)
    else:
        run_export(export)
    own = dataclasses.replace(config, backbone=backbone, weights=weights, padding="trained", precision="float32")
    loaded = dataclasses.replace(config, backbone=f"saved_model:{export.output}")
    assert resolve(own).objective == resolve(loaded).objective
    pictures = [[progress.picture() for progress in stylize(each)] for each in (own, loaded)]
    assert np.abs(pictures[0][0] - pictures[0][-1]).max() > 1e-2
    for expected, found in zip(*pictures, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_run_with_an_exported_backbone(whole: str, tmp_path: Path, config: StylizeConfig) -> None:
    folder = tmp_path / "net"
    shutil.copytree(whole, folder)
    config = dataclasses.replace(config, backbone=f"saved_model:{folder}", content_layers=("conv2",),
                                 style_layers=("conv1",), steps=2)
    run_config = RunConfig(logdir=str(tmp_path / "logs"), run="r", output=str(tmp_path / "out.png"))
    assert run(config, run_config) == 0
    record = json.loads((tmp_path / "logs/r/config.json").read_text())
    assert record["inputs"][-1] == {"flag": "--backbone", "path": str(folder), "sha256": sha256_of_folder(folder)}
    assert f"--backbone=saved_model:{folder}\n" in (tmp_path / "logs/r/flags.txt").read_text()
    longer = dataclasses.replace(config, steps=3), dataclasses.replace(run_config, resume=True)
    with open(folder / "variables/variables.index", "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"other settings \(--steps, --backbone differ\)"):
        run(*longer)
    shutil.rmtree(folder)
    shutil.copytree(whole, tmp_path / "moved")
    assert run(dataclasses.replace(longer[0], backbone=f"saved_model:{tmp_path}/moved"), longer[1]) == 0


def test_facts_survive_the_file(whole: str) -> None:
    facts = read_facts(whole)
    assert from_json(to_json(facts)) == facts
    older = json.loads(to_json(facts)) | {"smoothing": "scale:0.001"}
    assert from_json(json.dumps(older)).smoothing == parse_smoothing(BACKBONES["resnet50"].smoothing).written()
    row, loaded = BACKBONES["kmeans"], find_backbone(f"saved_model:{whole}")
    assert (loaded.layers, loaded.content_layers, loaded.style_layers) == (
        row.layers, row.content_layers, row.style_layers)
    # An exported network brings its weights.
    assert layer_listing(f"saved_model:{whole}").splitlines() == layer_listing("kmeans").splitlines()[:-1]
    assert smallest_side_px(f"saved_model:{whole}", ["conv5"]) == smallest_side_px("kmeans", ["conv5"])


def test_the_script_lists_layers_without_tensorflow(whole: str) -> None:
    code = (f"import runpy, sys; sys.argv = ['stylize.py', '--list_layers', '--backbone=saved_model:{whole}']\n"
            f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
            "finally: assert not {'tensorflow', 'keras'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=60)
    assert done.returncode == 0 and "conv5" in done.stdout, done.stderr


def test_weights_are_refused_and_missing_layers_are_asked_for(whole: str, tmp_path: Path,
                                                              config: StylizeConfig) -> None:
    assert check_weights(f"saved_model:{whole}", "") == ""
    with pytest.raises(UserError, match="brings its own weights; leave --weights out"):
        check_weights(f"saved_model:{whole}", "bundled")
    run_export(ExportConfig(backbone="kmeans", weights="bundled", layers=("conv1",), output=str(tmp_path / "1")))
    shallow = dataclasses.replace(config, backbone=f"saved_model:{tmp_path}/1")
    with pytest.raises(UserError, match="--content_layers is missing: .* give some of conv1"):
        resolve(shallow)
    assert resolve(dataclasses.replace(shallow, content_weight=0)).objective.layers() == ("conv1",)
    with pytest.raises(UserError, match="layer 'conv2' is unknown"):
        resolve(dataclasses.replace(shallow, content_layers=("conv2",)))


def test_the_name_of_a_backbone() -> None:
    check(StylizeConfig(backbone="saved_model:x"))
    for wrong in ("saved_model", "resnet", "vgg19:x"):
        with pytest.raises(UserError, match=f"'{wrong}' is unknown.* Valid: vgg19, .*saved_model:DIR"):
            check(StylizeConfig(backbone=wrong))


def _damaged(facts: Facts, **changes: Any) -> str:
    return json.dumps(json.loads(to_json(facts)) | changes)


def test_folders_that_are_no_export_are_one_line(whole: str, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    cases = [("", "is no SavedModel"), (str(tmp_path / "none"), "is no SavedModel"),
             (str(tmp_path), "is no SavedModel"), (str(tmp_path / "a\nb"), "cannot be printed")]
    for path, text in cases:
        with pytest.raises(UserError, match=text) as raised:
            find_backbone(f"saved_model:{path}")
        assert "\n" not in str(raised.value)
    tf.saved_model.save(tf.Module(), str(folder))
    with pytest.raises(UserError, match="SavedModel of another program"):
        find_backbone(f"saved_model:{folder}")
    (folder / "assets").mkdir(exist_ok=True)
    facts = read_facts(whole)
    layer = facts.layers[0]._asdict()
    for text in ("", "{", "[]", "null", "[" * 100_000, " " * (LARGEST_FACTS_BYTES + 1), "{}",
                 _damaged(facts, layers=[]), _damaged(facts, layers=[layer, layer]), _damaged(facts, layers=[7]),
                 _damaged(facts, layers=[layer | {"stride": 0}]), _damaged(facts, layers=[layer | {"stride": "2"}]),
                 _damaged(facts, layers=[layer | {"name": "a\nb"}]), _damaged(facts, layers=[layer | {"more": 1}]),
                 _damaged(facts, mean_color=[1, 2]), _damaged(facts, mean_color=[1, 2, float("nan")]),
                 _damaged(facts, content_layers={"conv9": 1}), _damaged(facts, style_layers={"conv1": -1}),
                 _damaged(facts, style_layers={"conv1": None})):
        (folder / "assets/nst_tf.json").write_text(text)
        with pytest.raises(UserError, match="nst_tf.json is damaged") as raised:
            find_backbone(f"saved_model:{folder}")
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 400
    # A file of facts beside a model that is not ours is noticed when it is loaded.
    (folder / "assets/nst_tf.json").write_text(to_json(facts))
    with pytest.raises(UserError, match="cannot be loaded"):
        find_backbone(f"saved_model:{folder}").build(["conv1"], "", 0, [])


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.index",
                                  "variables/variables.data-00000-of-00001"])
def test_damaged_models_are_one_line(whole: str, tmp_path: Path, file: str) -> None:
    folder = tmp_path / "net"
    shutil.copytree(whole, folder)
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[:len(data) // 2])
    with pytest.raises(UserError, match="cannot be loaded") as raised:
        find_backbone(f"saved_model:{folder}").build(["conv5"], "", 0, [])
    assert "\n" not in str(raised.value)


def test_the_checksum_of_a_folder(whole: str, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "a")
    assert sha256_of_folder(tmp_path / "a") == sha256_of_folder(whole)
    (tmp_path / "a/assets/nst_tf.json").rename(tmp_path / "a/assets/other.json")
    assert sha256_of_folder(tmp_path / "a") != sha256_of_folder(whole)


def _gradient_seconds(extractors: Sequence[Extractor], layer: str, side_px: int) -> list[float]:
    """The fastest of five gradients of one layer's energy, after the first; in turn, since other tests run beside."""
    def compiled(extractor: Extractor) -> Any:
        @tf.function(autograph=False)
        def gradient(image: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(image)
                energy = tf.reduce_sum(extractor(image)[layer] ** 2)
            return tape.gradient(energy, image)
        return gradient

    image = tf.constant(make_picture(side_px, side_px, 0)[None])
    gradients, seconds = [compiled(extractor) for extractor in extractors], list[list[float]]()
    for _ in range(6):
        seconds.append([])
        for gradient in gradients:
            start = time.process_time()
            assert float(tf.reduce_max(tf.abs(gradient(image)))) > 0
            seconds[-1].append(time.process_time() - start)
    return [min(each) for each in zip(*seconds[1:])]


@pytest.mark.slow
def test_layers_that_are_not_asked_for_cost_nothing(tmp_path: Path) -> None:
    """The other layers forward alone would cost three times these gradients and more."""
    run_export(ExportConfig(backbone="vgg19", weights="random", layers=("all",), output=str(tmp_path / "1")))
    row = find_backbone(f"saved_model:{tmp_path}/1")
    for layer in ("block1_conv1", "block2_conv1"):
        pair = (row.build([layer], "", 0, []), BACKBONES["vgg19"].build([layer], "random", 0, []))
        loaded, cut = _gradient_seconds(pair, layer, 192)
        assert loaded < 2 * cut, (layer, cut, loaded)


def test_an_export_keeps_the_defaults_of_its_backbone(tmp_path: Path, config: StylizeConfig) -> None:
    run_export(ExportConfig(backbone="squeezenet1_1", weights="random", layers=("fire3",), output=str(tmp_path / "1")))
    row = BACKBONES["squeezenet1_1"]
    own = resolve(dataclasses.replace(config, backbone="squeezenet1_1", weights="random"))
    loaded = resolve(dataclasses.replace(config, backbone=f"saved_model:{tmp_path}/1"))
    assert own.descent.jitter_px == loaded.descent.jitter_px == row.jitter_px > 0
    assert own.objective.weights == loaded.objective.weights
    facts = read_facts(str(tmp_path / "1"))
    for name in ("smoothing", "jitter_px", "motif_size_px", "content_weight"):
        assert getattr(facts, name) == getattr(row, name)
    assert from_json(to_json(facts).replace('"content_weight"', '"not_known_before"')).content_weight is None


@pytest.mark.parametrize("old, new", [
    ('"seed": 0', '"seed": Infinity'), ('"jitter_px": 0', '"jitter_px": 1000'),
    ('"motif_size_px": 0', '"motif_size_px": -1'), ('"content_weight": null', '"content_weight": -1'),
    ('"smoothing": "none"', '"smoothing": "x"'), ('"conv4": 1.0', '"conv4": 0.0'),
])
def test_facts_that_cannot_be_are_one_line(whole: str, tmp_path: Path, old: str, new: str) -> None:
    folder = tmp_path / "net"
    shutil.copytree(whole, folder)
    path = folder / "assets/nst_tf.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match="is damaged"):
        find_backbone(f"saved_model:{folder}")


def test_names_that_no_file_can_have_are_one_line() -> None:
    with pytest.raises(UserError, match="is no SavedModel"):
        find_backbone("saved_model:" + "a" * 300)
