"""Which units of which layers are shown, and from which images: everything is checked here before any long work.

No TensorFlow here.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.facts import Layer
from nst_tf.backbones.table import Backbone, check_classifier, check_weights, find_backbone
from nst_tf.config import LARGEST_SIDE_PX, Settings, StylizeConfig, check, same, setting
from nst_tf.grammar import LARGEST_WEIGHT, Channels, LayerChannels, parse_layer_channels
from nst_tf.io.contact_sheet import plan_grid
from nst_tf.io.files import check_writable, quoted
from nst_tf.io.picture_folders import listed
from nst_tf.recipes.memory import OPTIMIZED_FLOATS, check_memory, floats_per_px
from nst_tf.recipes.stylize.plan_terms import check_channels
from nst_tf.recipes.stylize.plan import network_input
from nst_tf.recipes.units.panels import GAP_PX, SIDE_PX
from nst_tf.runs.record import Input, UNREAD
from nst_tf.vocabulary import CanvasName, UnitObjectiveName, UnitViewName, UserError

# The flags that only synthesized pictures depend on; with several pictures of a unit also `diversity_weight`.
SYNTHESIS_FLAGS = (
    "objective", "canvas", "synthesized_size", "steps", "learning_rate", "robustness", "blur", "diversity")


@dataclass(frozen=True)
class UnitsConfig(Settings):
    """Which units are shown, and how."""

    images: tuple[str, ...] = setting(
        (), "Image files, or folders with all that lies below them.", group="Pictures", basic=True,
        placeholder="FOLDER|FILE,...")
    output: str = setting(
        "", "Folder to write. It gets sheets, index.html, units.json and TensorBoard events.", group="Pictures",
        basic=True, placeholder="DIR")
    view: UnitViewName = setting(
        "patches", "What is shown of a unit. patches are the nine of --images that excite it most. synthesized are "
        "pictures made to excite it.", group="Look", basic=True, choices=UnitViewName)
    backbone: str = same(StylizeConfig, "backbone")
    weights: str = setting(
        "", "Weights of the backbone, by name or from a file. They are those of stylize.py. kmeans takes bundled, "
        "random or a file.", group="Network", basic=True, placeholder="NAME|FILE")
    layers: tuple[str, ...] = setting(
        (), "Layers and their units. CHANNELS are numbers such as 3+17 or 0-15, or all or strong:N, or names of "
        "classes, as in conv10:daisy. By default the style layers of the backbone are shown.", group="Network",
        basic=True, placeholder="LAYER[:CHANNELS],...")
    units_per_layer: int = setting(
        16, "How many units are shown of a layer without CHANNELS. They are the first of the layer.", group="Network",
        basic=True, minimum=1, placeholder="N")
    size: int = setting(
        512, "Long side in pixels to which larger images are shrunk. Smaller images are not enlarged.",
        group="Pictures", basic=True, minimum=1, maximum=LARGEST_SIDE_PX, placeholder="PX")
    objective: UnitObjectiveName = setting(
        "channel", "What synthesized pictures maximize. channel takes the mean of a channel. neuron takes the cell in "
        "its middle.", group="Look", choices=UnitObjectiveName)
    canvas: CanvasName = setting(
        "fourier", "What is optimized. pixels are the values themselves. fourier are the Fourier coefficients of "
        "decorrelated colors.", choices=CanvasName)
    synthesized_size: int = setting(
        128, "Side of a synthesized picture in pixels.", group="Pictures", minimum=2, maximum=4096, placeholder="PX")
    steps: int = setting(
        256, "Optimization steps of each synthesized picture.", basic=True, minimum=1, placeholder="N")
    learning_rate: float = setting(0.05, "Step size in values of the canvas.", above=0, placeholder="NUMBER")
    robustness: float = setting(
        1.0, "How far synthesized pictures are moved, scaled and turned at random before each step. 0 leaves them as "
        "they are.", minimum=0, maximum=4, placeholder="NUMBER")
    blur: int = setting(
        2, "How often synthesized pictures are blurred by a pixel. The blur removes fine weave that only networks see.",
        minimum=0, maximum=16, placeholder="N")
    diversity: int = setting(
        1, "Synthesized pictures of each unit, kept apart.", group="Look", minimum=1, maximum=9, placeholder="N")
    diversity_weight: float = setting(
        1.0, "How much several pictures of a unit are kept apart.", group="Look", minimum=0,
        maximum=LARGEST_WEIGHT, placeholder="NUMBER")
    seed: int = same(StylizeConfig, "seed")
    threads: int | None = same(StylizeConfig, "threads")
    overwrite: bool = setting(
        False, "Start afresh and delete what an earlier run left in --output.", group="Run", basic=True)
    checkpoint_every: float = setting(
        10.0, "Seconds between checkpoints of the pass over the images.", group="Run", minimum=0,
        placeholder="SECONDS")

    @property
    def has_patches(self) -> bool:
        """Whether patches of images are shown."""
        return self.view != "synthesized"

    @property
    def has_synthesis(self) -> bool:
        """Whether synthesized pictures are shown."""
        return self.view != "patches"


class ImageFile(NamedTuple):
    """An image and its name: its path from the parent of the folder that was given, or the name of the file."""

    path: str
    name: str


class LayerPlan(NamedTuple):
    """A layer and its units: their indices, or `strong:N`, whose indices the images decide."""

    facts: Layer
    channels: Channels

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def unit_count(self) -> int:
        """How many units are shown."""
        return self.channels.first or len(self.channels.indices)


class UnitsPlan(NamedTuple):
    """A config with everything resolved."""

    row: Backbone
    weights: str
    layers: tuple[LayerPlan, ...]
    images: tuple[ImageFile, ...]  # none where no patches are shown
    repeated: int                  # images that were found a second time
    others: int                    # files of the folders that are no images
    inputs: tuple[Input, ...]      # the file of weights, if there is one
    settings: dict[str, Any]       # what patches and pictures depend on, by flag
    size_px: int                   # long side to which larger images are shrunk
    floats_per_px: float           # of the network's largest layer

    @property
    def smallest_side_px(self) -> int:
        """The least side of an image that reaches every layer."""
        return max(layer.facts.smallest_side_px for layer in self.layers)


def resolve_units(config: UnitsConfig) -> UnitsPlan:
    """The plan of a config.

    Raises:
        UserError: the first thing that is wrong, before anything is computed or written.
    """
    check(config, UnitsConfig)
    _check_output(config)
    weights = fixed_weights(config.backbone, config.weights)
    row = find_backbone(config.backbone)
    layers = _layers(config, row)
    check_classifier(config.backbone, weights, [layer.name for layer in layers])
    if not row.all_operations:
        raise UserError(f"--backbone={config.backbone} was exported from a network that this version does not know, so "
                        "that it cannot be said what a unit sees: give a backbone of the table")
    images, repeated, others = _images(config)
    for layer in layers:
        _check_layer(config, layer)
    largest, total = floats_per_px(row.all_layers, [layer.name for layer in layers])
    if config.has_synthesis:
        check_memory(config.diversity * config.synthesized_size ** 2, total + largest + OPTIMIZED_FLOATS,
                     f"--synthesized_size={config.synthesized_size} with --diversity={config.diversity} needs",
                     "give a smaller --synthesized_size or --diversity")
    network = network_input(config.backbone, weights)
    settings = _read_flags(config) | {
        "--images": fingerprint(images), "--seed": config.seed, "--backbone": config.backbone,
        "--weights": network[0].sha256 if network else weights, "--layers": sorted(layer.name for layer in layers)}
    return UnitsPlan(
        row=row, weights=weights, layers=layers, images=images, repeated=repeated, others=others,
        inputs=network, settings=settings, size_px=config.size, floats_per_px=largest)


def _read_flags(config: UnitsConfig) -> dict[str, Any]:
    """{flag: value} of the flags that one view alone reads; `UNREAD` where the config's view does not read one."""
    is_read = {"size": config.has_patches, **dict.fromkeys(SYNTHESIS_FLAGS, config.has_synthesis),
               "diversity_weight": config.has_synthesis and config.diversity > 1}
    return {f"--{flag}": getattr(config, flag) if is_read[flag] else UNREAD for flag in is_read}


def _images(config: UnitsConfig) -> tuple[tuple[ImageFile, ...], int, int]:
    """The images of the config, how many were found a second time, and how many other files there are.

    None where no patches are shown.

    Raises:
        UserError: there are none, or one of --images has none, lies in --output, or holds it.
    """
    if not config.has_patches:
        return (), 0, 0
    if not config.images:
        raise UserError(f"--images is missing for --view={config.view}: give a folder of images, as in --images=photos")
    output = Path(os.path.realpath(config.output))
    for path in config.images:
        # The next run must not find among the images what is written now, and no image may be overwritten.
        folder = Path(os.path.realpath(path))
        if folder == output or folder in output.parents or output in folder.parents:
            raise UserError(f"--output {quoted(config.output)} and --images {quoted(path)} lie in one another: give a "
                            "folder elsewhere")
    listings = [image_files(path) for path in config.images]
    found = [image for images, _ in listings for image in images]
    # A file that is found through two folders or a link counts once: else it would take two of a unit's nine places.
    by_file: dict[str, ImageFile] = {}
    for image in found:
        by_file.setdefault(os.path.realpath(image.path), image)
    return tuple(by_file.values()), len(found) - len(by_file), sum(others for _, others in listings)


def image_files(path: str) -> tuple[list[ImageFile], int]:
    """The file itself, or every image below a folder: those in it by their names, then those of each subfolder.

    Returns:
        the images, and how many other files the folder holds.
    Raises:
        UserError: there is no image.
    """
    if not os.path.exists(path):
        raise UserError(f"--images {quoted(path)} does not exist: give folders of images, or files")
    listing = listed(path, "--images", is_deep=True)
    if not os.path.isdir(path):
        return [ImageFile(path, os.path.basename(path))], 0
    top = os.path.basename(os.path.realpath(path))
    images = [ImageFile(file, os.path.join(top, os.path.relpath(file, path))) for file in listing.pictures]
    return images, listing.others


def fingerprint(images: Sequence[ImageFile]) -> dict[str, Any]:
    """How many images there are, and the checksum of their names and sizes in bytes.

    Their contents do not count: to read all of them takes as long as a run.
    """
    digest = hashlib.sha256()
    for image in images:
        # A link that leads nowhere has no size. The run skips it like a damaged image.
        size = os.path.getsize(image.path) if os.path.exists(image.path) else -1
        digest.update(f"{image.name}\0{size}\n".encode(errors="surrogateescape"))
    return {"count": len(images), "sha256": digest.hexdigest()}


def absolute(path: str) -> str:
    """The absolute path of a file or folder; a name without one, such as that of weights, stays."""
    return os.path.abspath(path) if os.path.exists(path) else path


def _check_output(config: UnitsConfig) -> None:
    """Raises `UserError` for a folder that cannot be written."""
    if not config.output:
        raise UserError("--output is missing: give a folder to write, as in --output=units")
    check_writable(config.output, "--output", "index.html")


def _check_layer(config: UnitsConfig, layer: LayerPlan) -> None:
    """Raises `UserError` where a layer does not fit the sizes, the view or a sheet."""
    for flag, is_read in (("size", config.has_patches), ("synthesized_size", config.has_synthesis)):
        if is_read and layer.facts.smallest_side_px > getattr(config, flag):
            raise UserError(f"--{flag}={getattr(config, flag)} is too small for layer {layer.name}: it needs "
                            f"{layer.facts.smallest_side_px} px; give a larger --{flag} or shallower layers")
    if not config.has_patches and layer.channels.rule == "strong":
        raise UserError(f"--layers={layer.name}:{layer.channels.written()} needs images, from which it is known which "
                        "units are strong: give --view=both with --images, or numbers such as 3+17")
    plan_grid(layer.unit_count, panels_px(config), 1)


def panels_px(config: UnitsConfig) -> tuple[int, int]:
    """(width, height) of the panels of a unit, side by side."""
    count = config.has_patches + config.has_synthesis * config.diversity
    return count * SIDE_PX + (count - 1) * GAP_PX, SIDE_PX


def fixed_weights(backbone: str, weights: str) -> str:
    """The weights of a network for units and dreams. Weights learned from pictures are refused."""
    if backbone == "kmeans":
        if weights == "self":
            raise UserError("--weights=self would learn another network from each set of images: give bundled, random, "
                            "or a file that scripts/learn_filters.py wrote")
        weights = weights or "bundled"
    return check_weights(backbone, weights)


def _layers(config: UnitsConfig, row: Backbone) -> tuple[LayerPlan, ...]:
    """Every layer once, in the network's order."""
    facts = {layer.name: layer for layer in row.all_layers}
    layers = [parse_layer_channels(text, "--layers", allowed=facts, finders=row.finders) for text in config.layers]
    layers = layers or [LayerChannels(layer, None, 1.0) for layer, _ in row.style_layers]
    if not layers:
        raise UserError(f"--layers is missing: --backbone={config.backbone} has no default layers")
    plans: dict[str, LayerPlan] = {}
    for layer, channels, _ in layers:
        if layer in plans:
            raise UserError(f"--layers: layer '{layer}' is named twice; name it once, with channels such as 3+17")
        plans[layer] = LayerPlan(facts[layer], _channels(config, facts[layer], channels))
    return tuple(plans[name] for name in facts if name in plans)


def _channels(config: UnitsConfig, layer: Layer, channels: Channels | None) -> Channels:
    """The channels of a layer by their indices, or `strong:N`."""
    if channels is None:
        return Channels("index", tuple(range(min(config.units_per_layer, layer.channels))))
    if channels.rule == "all":
        return Channels("index", tuple(range(layer.channels)))
    if channels.rule not in ("index", "strong"):
        raise UserError(f"--layers={layer.name}:{channels.written()}: {channels.rule}:N is not known here; write "
                        "strong:N, all or numbers such as 3+17")
    check_channels(channels, layer.channels, layer.name, "--layers")
    return channels
