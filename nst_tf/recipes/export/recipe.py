"""An export as a row of the run machinery: everything checked before any long work. No TensorFlow."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nst_tf.backbones.facts import Layer
from nst_tf.backbones.saved_model_facts import FACTS_FILE
from nst_tf.backbones.table import BACKBONES, check_classifier, check_weights, smallest_side_px
from nst_tf.backbones.weights.sources import weights_file
from nst_tf.config import Settings, StylizeConfig, same, setting, write_value
from nst_tf.generators.files import Generator, load
from nst_tf.generators.layers import SMALLEST_PX
from nst_tf.io import images
from nst_tf.io.files import check_writable, quoted
from nst_tf.io.images import FloatImage
from nst_tf.recipes.filters.recipe import learned_from
from nst_tf.recipes.stylize.plan import network_input
from nst_tf.recipes.stylize.plan_sizes import check_learnable
from nst_tf.runs.recipe import Options, Recipe
from nst_tf.vocabulary import BackboneName, NumbersName, UserError, check_name

ALL_LAYERS = "all"
LITERT_FILE = "model.tflite"
# Beside a painter's SavedModel: its styles, in the order of the input `style`.
STYLES_FILE = "styles.json"
# What an export holds; --overwrite deletes a folder that holds nothing else.
_CONTENTS = ("saved_model.pb", "fingerprint.pb", f"assets/{FACTS_FILE}", f"assets/{STYLES_FILE}",
             "variables/variables.*", LITERT_FILE)


@dataclass(frozen=True)
class ExportConfig(Settings):
    """Which network is exported, and where it goes."""

    backbone: BackboneName = setting(
        "vgg19", "Network to export.", group="Network", basic=True, choices=BackboneName)
    weights: str = same(StylizeConfig, "weights")
    fast: str = setting(
        "", "Export a network that train_fast.py wrote, in place of a backbone: photo in, picture out.",
        group="Network", basic=True, placeholder="DIR")
    output: str = setting(
        "", "Folder to write. For TensorFlow Serving it is MODEL/VERSION, such as squeezenet/1.", group="Pictures",
        basic=True, placeholder="DIR")
    layers: tuple[str, ...] = setting(
        (), "Layers to export, or all. By default these are the backbone's own content and style layers. all takes a "
        "classifier only where every file of weights has it, as conv10. all,predictions takes one of another file too.",
        group="Network", basic=True, placeholder="LAYER,...")
    pictures: tuple[str, ...] = setting(
        (), "Pictures from which --weights=self learns filters. A folder stands for its pictures.", group="Pictures",
        basic=True, placeholder="FILE|FOLDER,...")
    seed: int = setting(0, "Seed of random weights and of learned filters.", minimum=0, placeholder="N")
    litert: bool = setting(
        False, f"Also write {LITERT_FILE}, for phones. pip install -e '.[litert]' brings what checks it.", basic=True)
    litert_size: tuple[int, ...] = setting(
        (), f"Fixed height and width for {LITERT_FILE}. By default it takes pictures of every size.", basic=True,
        minimum=1, placeholder="HEIGHT,WIDTH")
    litert_numbers: NumbersName = setting(
        "float32", f"Numbers of the weights in {LITERT_FILE} of a network of --fast. float16 is half as large, int8 a "
        "quarter, with other rounding.", choices=NumbersName)
    overwrite: bool = setting(False, "Replace an older export at --output.", group="Run", basic=True)


class ExportPlan(NamedTuple):
    """What the files and flags of an export say."""

    layers: tuple[Layer, ...]
    weights: str
    origin: str | dict[str, str]  # the name of the weights; of a file its base name and checksum
    pictures: tuple[FloatImage, ...]  # filters are learned from them
    generator: Generator | None = None  # what is exported in place of a backbone


def _resolve(config: ExportConfig, _: None) -> ExportPlan:
    if config.fast:
        return _resolve_painter(config)
    if config.litert_numbers != "float32":
        raise UserError(f"--litert_numbers={config.litert_numbers} is for networks of --fast: leave it out")
    layers = _layers(config)
    weights = check_weights(config.backbone, config.weights)
    check_classifier(config.backbone, weights, [layer.name for layer in layers])
    files = [{"file": Path(item.path).name, "sha256": item.sha256} for item in network_input(config.backbone, weights)]
    pictures = _pictures(config, weights, [layer.name for layer in layers])
    _check_litert(config, max(layer.smallest_side_px for layer in layers), f"the layers of {config.backbone}")
    check_output(config)
    return ExportPlan(layers=tuple(layers), weights=weights, origin=files[0] if files else weights,
                      pictures=tuple(pictures))


def _resolve_painter(config: ExportConfig) -> ExportPlan:
    """The plan of a network of one forward pass; flags of a backbone are refused."""
    for name in ("backbone", "weights", "layers", "pictures", "seed"):
        if getattr(config, name) != getattr(ExportConfig, name):
            raise UserError(f"--{name} is of a backbone, and --fast exports another network: leave out one of them")
    generator = load(config.fast)
    if config.litert and not config.litert_size:
        raise UserError("--litert with --fast needs one size: give HEIGHT,WIDTH, as in --litert_size=384,512")
    if config.litert_numbers != "float32" and not config.litert:
        raise UserError(f"--litert_numbers={config.litert_numbers} needs --litert: give it too, or leave it out")
    _check_litert(config, SMALLEST_PX, "the network")
    check_output(config)
    return ExportPlan((), "", "", (), generator)


def _layers(config: ExportConfig) -> list[Layer]:
    """The layers to export, from shallow to deep.

    Not all by default: a signature answers with every layer, and VGG19's are 340 MB for one picture of 512 px.
    """
    row = BACKBONES[config.backbone]
    names = [layer.name for layer in row.all_layers]
    chosen = config.layers or [share.layer for share in (*row.content_layers, *row.style_layers)]
    for name in chosen:
        check_name("--layers: layer", name, [*names, ALL_LAYERS])
    has_classifier = row.classifier is not None and not row.classifier.weights_mb
    every = (row.all_layers if has_classifier else row.layers) if ALL_LAYERS in chosen else ()
    return [layer for layer in row.all_layers if layer.name in chosen or layer in every]


def _pictures(config: ExportConfig, weights: str, layers: Sequence[str]) -> list[FloatImage]:
    """The pictures that the filters are learned from, each as large as the deepest layer needs."""
    if weights != "self":
        if config.pictures:
            raise UserError(f"--pictures are not read with --weights={weights}: filters are learned from them with "
                            "--backbone=kmeans --weights=self")
        return []
    if not config.pictures:
        raise UserError("--weights=self learns the filters from pictures: give --pictures=a.jpg,b.jpg, or "
                        "--weights=bundled, or a file that learn_filters.py wrote")
    pictures = learned_from(config.pictures)
    check_learnable([("--pictures", path) for path, _ in pictures],
                    {path: images.size_px(path, "--pictures") for path, _ in pictures},
                    smallest_side_px(config.backbone, layers), "filters are learned from it")
    return [picture for _, picture in pictures]


def _check_litert(config: ExportConfig, smallest_px: int, who: str) -> None:
    if config.litert and not importlib.util.find_spec("ai_edge_litert"):
        raise UserError("--litert compares the file's values by ai-edge-litert, which is not installed: "
                        "pip install -e '.[litert]'")
    if not config.litert_size:
        return
    flag = f"--litert_size={write_value(config.litert_size)}"
    if not config.litert or len(config.litert_size) != 2:
        raise UserError(f"{flag}: give HEIGHT,WIDTH, such as 224,224, together with --litert")
    if min(config.litert_size) < smallest_px:
        raise UserError(f"{flag} is too small: {who} need{'s' * bool(config.fast)} {smallest_px} px")


def check_output(config: ExportConfig) -> None:
    """Raises `UserError` unless `--output` is new, empty, or an older export that `--overwrite` replaces."""
    if not config.output:
        raise UserError("--output is missing: give a folder, as in --output=squeezenet/1")
    what = f"--output {quoted(config.output)}"
    folder = Path(os.path.realpath(config.output))
    if not folder.is_dir():
        check_writable(folder, "--output")
        return
    # The new export is made beside the old one.
    check_writable(folder.parent / f"{folder.name}.tmp", "--output")
    files = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    if files and not config.overwrite:
        raise UserError(f"{what} exists: give another folder, or --overwrite to replace an older export")
    ours = {path for pattern in _CONTENTS for path in folder.glob(pattern)}
    if files and (files - ours or not any((folder / "assets" / name).is_file() for name in (FACTS_FILE, STYLES_FILE))):
        foreign = min(files - ours, default=folder / "saved_model.pb").relative_to(folder)
        raise UserError(f"{what} holds what export_model.py did not write ({foreign}): give another folder, or move "
                        "that away")


EXPORT = Recipe(
    name="export", script="export_model.py", method=1, engine="nst_tf.recipes.export.steps:session", resolve=_resolve,
    options=lambda config, _: Options(folder=None, has_bar=False),
    fetch=lambda job: job.plan.generator or weights_file(job.config.backbone, job.plan.weights),
    too_large="the network does not fit into memory: give fewer --layers")
