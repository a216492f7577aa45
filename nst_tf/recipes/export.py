"""Exports an extractor as a SavedModel, and on demand for LiteRT: checks, a folder written whole, the report.

No TensorFlow here until everything that a user may have got wrong is checked.
"""

import contextlib
import importlib.util
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nst_tf.backbones.facts import Layer
from nst_tf.backbones.kmeans_recipe import LEARNING_SIDE_PX
from nst_tf.backbones.saved_model_facts import FACTS_FILE, SAVED_MODEL, Facts
from nst_tf.backbones.table import BACKBONES, check_weights, smallest_side_px
from nst_tf.config import check, setting
from nst_tf.grammar import LayerWeight
from nst_tf.io import images
from nst_tf.io.files import check_readable, check_writable, quoted, sha256
from nst_tf.recipes.filters import picture_files
from nst_tf.recipes.plan_sizes import check_learnable
from nst_tf.runtime import quiet_stderr, start_tensorflow
from nst_tf.version import __version__
from nst_tf.vocabulary import BackboneName, RunError, UserError, check_name

if TYPE_CHECKING:
    from nst_tf.backbones.extractor import Extractor

ALL_LAYERS = "all"
LITERT_FILE = "model.tflite"
# What an export holds; --overwrite deletes a folder that holds nothing else.
_CONTENTS = ("saved_model.pb", "fingerprint.pb", f"assets/{FACTS_FILE}", "variables/variables.*", LITERT_FILE)


@dataclass(frozen=True)
class ExportConfig:
    """Which network is exported, and where it goes."""

    backbone: BackboneName = setting("vgg19", "network to export", choices=BackboneName)
    weights: str = setting("", "weights of the backbone, as for stylize.py", placeholder="NAME|FILE")
    output: str = setting(
        "", "folder to write; for TensorFlow Serving MODEL/VERSION, such as squeezenet/1", placeholder="DIR")
    layers: tuple[str, ...] = setting(
        (), "layers to export, or all; the backbone's own content and style layers when left out",
        placeholder="LAYER,...")
    pictures: tuple[str, ...] = setting(
        (), "pictures, or folders of them, that the filters of --weights=self are learned from",
        placeholder="FILE|FOLDER,...")
    seed: int = setting(0, "seed of random weights and of learned filters", minimum=0, placeholder="N")
    litert: bool = setting(False, f"also write {LITERT_FILE}, for phones (pip install -e '.[litert]' checks it)")
    litert_size: tuple[int, ...] = setting(
        (), f"fixed height and width of a picture for {LITERT_FILE}; any size when left out", minimum=1,
        placeholder="HEIGHT,WIDTH")
    overwrite: bool = setting(False, "replace an older export at --output")


def run(config: ExportConfig) -> None:
    """Exports, checks the export against the network, puts it in place and says how to use it.

    Raises:
        UserError: a setting or a file is wrong; nothing was written.
        RunError: the disk refuses, or the export does not give what the network gives; nothing was written.
    """
    check(config)
    layers = _layers(config)
    weights = check_weights(config.backbone, config.weights)
    origin = _origin(config, weights)
    paths = _pictures(config, weights, [layer.name for layer in layers])
    _check_litert(config, layers)
    _check_output(config)
    print(f"export_model: {start_tensorflow()}", flush=True)
    from nst_tf.recipes import export_litert, export_signatures

    pictures = [images.load(path, name="--pictures", max_side_px=LEARNING_SIDE_PX) for path in paths]
    extractor = BACKBONES[config.backbone].build([layer.name for layer in layers], weights, config.seed, pictures)
    facts = _facts(config, origin, layers, extractor)
    with _written_whole(Path(config.output)) as folder, quiet_stderr():
        export_signatures.save(extractor, facts, folder)
        differences = export_signatures.differences(extractor, facts, folder)
        if config.litert:
            export_litert.save(extractor, folder / LITERT_FILE, config.litert_size)
            differences_litert = export_litert.differences(
                extractor, facts, folder / LITERT_FILE, config.litert_size)
        # Again: the folder may have been filled meanwhile.
        _check_output(config)
    _report(config, facts, differences)
    if config.litert:
        _report_litert(config, differences_litert)


def default_layers(shares: Sequence[LayerWeight], layers: Sequence[str]) -> tuple[LayerWeight, ...]:
    """The default layers of a backbone that are among those exported, their weights again summing to 1."""
    kept = [share for share in shares if share.layer in layers]
    total = sum(share.weight for share in kept)
    return tuple(LayerWeight(share.layer, share.weight / total) for share in kept)


def _layers(config: ExportConfig) -> list[Layer]:
    """The layers to export, from shallow to deep.

    Not all by default: a signature answers with every layer, and VGG19's are 340 MB for one picture of 512 px.
    """
    row = BACKBONES[config.backbone]
    names = [layer.name for layer in row.layers]
    chosen = config.layers or [share.layer for share in (*row.content_layers, *row.style_layers)]
    if ALL_LAYERS in chosen:
        return list(row.layers)
    for name in chosen:
        check_name("--layers: layer", name, [*names, ALL_LAYERS])
    return [layer for layer in row.layers if layer.name in chosen]


def _pictures(config: ExportConfig, weights: str, layers: Sequence[str]) -> list[str]:
    """The files that the filters are learned from, each as large as the deepest layer needs."""
    if weights != "self":
        if config.pictures:
            raise UserError(f"--pictures are not read with --weights={weights}: filters are learned from them with "
                            "--backbone=kmeans --weights=self")
        return []
    if not config.pictures:
        raise UserError("--weights=self learns the filters from pictures: give --pictures=a.jpg,b.jpg, or "
                        "--weights=bundled, or a file that learn_filters.py wrote")
    paths = [path for given in config.pictures for path in picture_files(given)]
    for path in paths:
        images.verify(path, "--pictures")
        check_learnable(images.size_px(path, "--pictures"), smallest_side_px(config.backbone, layers), "--pictures",
                        path, "filters are learned from it")
    return paths


def _check_litert(config: ExportConfig, layers: Sequence[Layer]) -> None:
    if config.litert and not importlib.util.find_spec("ai_edge_litert"):
        raise UserError("--litert compares the file's values by ai-edge-litert, which is not installed: "
                        "pip install -e '.[litert]'")
    if not config.litert_size:
        return
    given = ",".join(map(str, config.litert_size))
    if not config.litert or len(config.litert_size) != 2:
        raise UserError(f"--litert_size={given}: give HEIGHT,WIDTH, such as 224,224, together with --litert")
    smallest = max(layer.smallest_side_px for layer in layers)
    if min(config.litert_size) < smallest:
        raise UserError(f"--litert_size={given} is too small: the layers of {config.backbone} need {smallest} px")


def _check_output(config: ExportConfig) -> None:
    """Only what is not there yet, is empty, or is an export that `--overwrite` gives up, may be written to."""
    if not config.output:
        raise UserError("--output is missing: give a folder, as in --output=squeezenet/1")
    what = f"--output {quoted(config.output)}"
    if not config.output.isprintable():
        raise UserError(f"{what} is a name that cannot be printed: give another")
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
    if files and (files - ours or not (folder / "assets" / FACTS_FILE).is_file()):
        foreign = min(files - ours, default=folder / "saved_model.pb").relative_to(folder)
        raise UserError(f"{what} holds what export_model.py did not write ({foreign}): give another folder, or move "
                        "that away")


def _origin(config: ExportConfig, weights: str) -> str | dict[str, str]:
    """The name of the weights; of a file its base name and checksum."""
    if weights in BACKBONES[config.backbone].weights:
        return weights
    check_readable(weights, "--weights")
    return {"file": Path(weights).name, "sha256": sha256(weights)}


def _facts(config: ExportConfig, origin: str | dict[str, str], layers: Sequence[Layer],
           extractor: "Extractor") -> Facts:
    row, names = BACKBONES[config.backbone], [layer.name for layer in layers]
    # A network that learns from small pictures keeps fewer filters than its recipe allows.
    measured = tuple(layer._replace(channels=extractor.model.output[layer.name].shape[-1]) for layer in layers)
    content, style, dream = (default_layers(shares, names)
                             for shares in (row.content_layers, row.style_layers, row.dream_layers))
    return Facts(__version__, config.backbone, origin, config.seed, extractor.mean_color, measured, content, style,
                 dream, row.smoothing, row.jitter_px, row.motif_size_px)


@contextlib.contextmanager
def _written_whole(output: Path) -> Iterator[Path]:
    """An empty folder beside `output`, which takes its place when the block ends well, and is removed when not."""
    target = Path(os.path.realpath(output))
    made, old = (target.with_name(f".{target.name}.{secrets.token_hex(8)}.{end}") for end in ("tmp", "old"))
    try:
        made.mkdir(parents=True)
        yield made
        if target.is_dir():
            target.rename(old)
        try:
            made.rename(target)
        except OSError:
            if old.is_dir():
                old.rename(target)
            raise
    except OSError as error:
        raise RunError(f"{quoted(output)} could not be written ({error.strerror or error}): free some space or choose "
                       "another place") from error
    finally:
        for left in (made, old):
            shutil.rmtree(left, ignore_errors=True)


def _report(config: ExportConfig, facts: Facts, differences: dict[str, float]) -> None:
    size_mb = sum(path.stat().st_size for path in Path(config.output).rglob("*")
                  if path.is_file() and path.name != LITERT_FILE) / 1e6
    folder = shlex.quote(config.output)
    print(f"SavedModel:  {config.output}, {size_mb:.1f} MB, {', '.join(layer.name for layer in facts.layers)}")
    print(f"checked:     equals the network to {max(differences.values()):.0g} of each layer's largest value, in two "
          "sizes and batches of one and two")
    print(f"signatures:  saved_model_cli show --all --dir {folder}")
    missing = "".join(f" --{name}=..." for name in ("content_layers", "style_layers") if not getattr(facts, name))
    print(f"stylize:     python scripts/stylize.py --backbone={shlex.quote(SAVED_MODEL + config.output)}{missing} ...")


def _report_litert(config: ExportConfig, differences: dict[str, float]) -> None:
    path = Path(config.output) / LITERT_FILE
    size = "{} × {} px".format(*config.litert_size) if config.litert_size else "any size"
    print(f"LiteRT:      {path}, {path.stat().st_size / 1e6:.1f} MB, {size}; its difference from Keras, as a share of "
          "each layer's largest value:")
    width = max(map(len, differences))
    for layer, difference in differences.items():
        print(f"             {layer:<{width}}  {difference:.0g}")
