"""Which units of which layers are shown, and from which images: everything checked before any long work.

No TensorFlow here.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.facts import Layer, Operation
from nst_tf.backbones.table import check_weights, find_backbone, find_operations
from nst_tf.config import LARGEST_SIDE_PX, RunConfig, Settings, StylizeConfig, check, same, setting
from nst_tf.grammar import Channels, LayerChannels, parse_layer_channels
from nst_tf.io.contact_sheet import plan_grid
from nst_tf.io.files import check_writable, quoted
from nst_tf.io.unit_panels import SIDE_PX
from nst_tf.recipes.filters import PICTURE_SUFFIXES
from nst_tf.recipes.plan import network_input
from nst_tf.vocabulary import CanvasName, UnitObjectiveName, UnitViewName, UserError, unknown

# What an output folder holds; --overwrite deletes these and nothing else.
STATE_FILE = "patches.npz"
CONTENTS = (STATE_FILE, "sheet_*.png", "units", "index.html", "units.json", "flags.txt", "events.*")


@dataclass(frozen=True)
class UnitsConfig(Settings):
    """Which units are shown, and how."""

    images: tuple[str, ...] = setting(
        (), "folders of images, with all that lies below them, or files", placeholder="FOLDER|FILE,...")
    output: str = setting("", "folder to write: sheets, index.html, units.json, TensorBoard events", placeholder="DIR")
    view: UnitViewName = setting(
        "patches", "the nine patches of --images that excite a unit most, pictures synthesized to excite it, or both",
        choices=UnitViewName)
    backbone: str = same(StylizeConfig, "backbone")
    weights: str = setting(
        "", "weights of the backbone, as for stylize.py; kmeans takes bundled, random or a file",
        placeholder="NAME|FILE")
    layers: tuple[str, ...] = setting(
        (), "layers and their units: CHANNELS is 3+17, 0-15, all or strong:N; the backbone's style layers when left "
        "out", placeholder="LAYER[:CHANNELS],...")
    units_per_layer: int = setting(
        16, "units of a layer for which no CHANNELS are given: the first so many", minimum=1, placeholder="N")
    size: int = setting(
        512, "long side in pixels to which larger images are shrunk; smaller ones are not enlarged", minimum=1,
        maximum=LARGEST_SIDE_PX, placeholder="PX")
    objective: UnitObjectiveName = setting(
        "channel", "what synthesized pictures maximize: the mean of a channel, or the neuron in its middle",
        choices=UnitObjectiveName)
    canvas: CanvasName = setting(
        "fourier", "what is optimized: the pixels, or the Fourier coefficients of decorrelated colors",
        choices=CanvasName)
    synthesized_size: int = setting(128, "side of a synthesized picture in pixels", minimum=2, maximum=4096,
                                    placeholder="PX")
    steps: int = setting(256, "optimization steps of each synthesized picture", minimum=1, placeholder="N")
    learning_rate: float = setting(0.05, "step size in values of the canvas", above=0, placeholder="NUMBER")
    robustness: float = setting(
        1.0, "how far synthesized pictures are moved, scaled and turned at random before each step; 0 for not at all",
        minimum=0, maximum=4, placeholder="NUMBER")
    blur: int = setting(
        2, "how often synthesized pictures are blurred by a pixel, against fine weave that only networks see",
        minimum=0, maximum=16, placeholder="N")
    diversity: int = setting(1, "synthesized pictures of each unit, kept apart", minimum=1, maximum=9, placeholder="N")
    diversity_weight: float = setting(
        1.0, "how much several pictures of a unit are kept apart", minimum=0, placeholder="NUMBER")
    seed: int = setting(0, "seed of every random number", minimum=0, placeholder="N")
    overwrite: bool = setting(False, "start afresh and delete what an earlier run left in --output")
    checkpoint_every: float = same(RunConfig, "checkpoint_every")


class LayerPlan(NamedTuple):
    """A layer and its units: their indices, or `strong:N`, which is known when the images have been seen."""

    facts: Layer
    channels: Channels

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def shown(self) -> int:
        """How many units are shown."""
        return self.channels.first or len(self.channels.indices)


class ImageFile(NamedTuple):
    """An image, and the name by which it is known: its path from the folder that was given."""

    path: str
    name: str


class UnitsPlan(NamedTuple):
    """A config with everything resolved."""

    weights: str
    layers: tuple[LayerPlan, ...]
    operations: tuple[Operation, ...]
    images: tuple[ImageFile, ...]
    settings: dict[str, Any]  # what the patches depend on, by flag

    @property
    def smallest_side_px(self) -> int:
        """The least side of an image that reaches every layer."""
        return max(layer.facts.smallest_side_px for layer in self.layers)


def resolve_units(config: UnitsConfig) -> UnitsPlan:
    """The plan of a config.

    Raises:
        UserError: the first thing that is wrong, before anything is computed or written.
    """
    check(config)
    if not config.output:
        raise UserError("--output is missing: give a folder to write, as in --output=units")
    check_writable(Path(config.output) / "index.html", "--output")
    weights = fixed_weights(config.backbone, config.weights)
    layers = _layers(config)
    operations = find_operations(config.backbone)
    if not operations:
        raise UserError(f"--backbone={config.backbone} was exported from a network that this version does not know, so "
                        "that it cannot be said what a unit sees: give a backbone of the table")
    images = _images(config)
    for layer in layers:
        _check_layer(config, layer)
    network = network_input(config.backbone, weights)
    settings = {
        "--images": fingerprint(images), "--size": config.size, "--seed": config.seed,
        "--backbone": config.backbone, "--weights": network[0].sha256 if network else weights,
        "--layers": sorted(layer.name for layer in layers)}
    return UnitsPlan(weights, layers, operations, images, settings)


def image_files(given: str) -> Iterator[ImageFile]:
    """The file itself, or every image below a folder, in the order of their names.

    Raises:
        UserError: there is none.
    """
    if not os.path.isdir(given):
        if not os.path.isfile(given):
            raise UserError(f"--images {quoted(given)} does not exist: give folders of images, or files")
        yield ImageFile(given, os.path.basename(given))
        return
    found, top = False, os.path.basename(os.path.realpath(given))
    for folder, below, files in os.walk(given):
        below.sort()
        for name in sorted(files):
            if name.lower().endswith(PICTURE_SUFFIXES):
                found = True
                path = os.path.join(folder, name)
                yield ImageFile(path, os.path.join(top, os.path.relpath(path, given)))
    if not found:
        raise UserError(f"--images {quoted(given)} holds no image ({' '.join(PICTURE_SUFFIXES)}): give another folder")


def fingerprint(images: Sequence[ImageFile]) -> dict[str, Any]:
    """Number and checksum of the images' names and sizes in bytes: to read them all would take as long as the run."""
    digest = hashlib.sha256()
    for image in images:
        # A link that leads nowhere is left out with the damaged images.
        size = os.path.getsize(image.path) if os.path.exists(image.path) else -1
        digest.update(f"{image.name}\0{size}\n".encode(errors="surrogateescape"))
    return {"count": len(images), "sha256": digest.hexdigest()}


def _images(config: UnitsConfig) -> tuple[ImageFile, ...]:
    if config.view == "synthesized":
        if config.images:
            raise UserError("--images are not looked at with --view=synthesized: leave them out, or give --view=both")
        return ()
    if not config.images:
        raise UserError(f"--images is missing for --view={config.view}: give a folder of images, as in --images=photos")
    _check_outside(config)
    return tuple(image for given in config.images for image in image_files(given))


def _check_layer(config: UnitsConfig, layer: LayerPlan) -> None:
    """Raises `UserError` where a layer does not fit the sizes, the view or a sheet."""
    for flag, side_px, is_used in (("--size", config.size, config.view != "synthesized"),
                                   ("--synthesized_size", config.synthesized_size, config.view != "patches")):
        if is_used and layer.facts.smallest_side_px > side_px:
            raise UserError(f"{flag}={side_px} is too small for layer {layer.name}: it needs "
                            f"{layer.facts.smallest_side_px} px; give a larger {flag} or shallower layers")
    if config.view == "synthesized" and layer.channels.rule == "strong":
        raise UserError(f"--layers={layer.name}:{layer.channels.written()} needs images, from which it is known which "
                        "units are strong: give --view=both with --images, or numbers such as 3+17")
    panels = (config.view != "synthesized") + (config.view != "patches") * config.diversity
    plan_grid(layer.shown, (panels * SIDE_PX, SIDE_PX), 1)


def fixed_weights(backbone: str, weights: str) -> str:
    """The weights of a network that is to be looked into: as for stylizing, but never learned from the pictures."""
    if backbone == "kmeans":
        if weights == "self":
            raise UserError("--weights=self would learn another network from each set of images: give bundled, random, "
                            "or a file that scripts/learn_filters.py wrote")
        weights = weights or "bundled"
    return check_weights(backbone, weights)


def _layers(config: UnitsConfig) -> tuple[LayerPlan, ...]:
    """Every layer once, in the network's order."""
    row = find_backbone(config.backbone)
    facts = {layer.name: layer for layer in row.layers}
    given = [parse_layer_channels(text, "--layers") for text in config.layers]
    given = given or [LayerChannels(layer, None, 1.0) for layer, _ in row.style_layers]
    if not given:
        raise UserError(f"--layers is missing: --backbone={config.backbone} has no default layers")
    plans: dict[str, LayerPlan] = {}
    for text, (layer, channels, _) in zip(config.layers or [name for name, _, _ in given], given, strict=True):
        if layer not in facts:
            raise unknown("--layers: layer", layer, facts)
        if layer in plans:
            raise UserError(f"--layers: layer '{layer}' is named twice; name it once, with channels such as 3+17")
        if "@" in text:
            raise UserError(f"--layers={text}: units are shown, not weighted; write {text.partition('@')[0]}")
        plans[layer] = LayerPlan(facts[layer], _channels(text, channels, facts[layer], config.units_per_layer))
    return tuple(plans[name] for name in facts if name in plans)


def _channels(text: str, channels: Channels | None, layer: Layer, units_per_layer: int) -> Channels:
    """The channels of a layer by their indices, or `strong:N`."""
    if channels is None:
        return Channels("index", tuple(range(min(units_per_layer, layer.channels))))
    if channels.rule == "all":
        return Channels("index", tuple(range(layer.channels)))
    if channels.rule not in ("index", "strong"):
        raise UserError(f"--layers={text}: {channels.rule}:N is not known here; write strong:N, all or numbers such as "
                        "3+17")
    if max((*channels.indices, channels.first - 1)) >= layer.channels:
        raise UserError(f"--layers={text}: layer {layer.name} has the channels 0 to {layer.channels - 1}; give some of "
                        "these")
    return channels


def _check_outside(config: UnitsConfig) -> None:
    """What is written must not be found among the images by the next run, nor may they be overwritten."""
    output = Path(os.path.realpath(config.output))
    for given in config.images:
        images = Path(os.path.realpath(given))
        if images == output or images in output.parents or output in images.parents:
            raise UserError(f"--output {quoted(config.output)} and --images {quoted(given)} lie in one another: give a "
                            "folder elsewhere")
