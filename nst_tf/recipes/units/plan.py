"""Which units of which layers are shown, and from which images: everything checked before any long work.

No TensorFlow here. Every image file is taken once, and known by its place below the folder that was given.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.facts import Layer, Operation
from nst_tf.backbones.table import check_weights, find_backbone
from nst_tf.config import LARGEST_SIDE_PX, Settings, StylizeConfig, check, is_unset, same, setting
from nst_tf.grammar import Channels, LayerChannels, parse_layer_channels
from nst_tf.io.contact_sheet import plan_grid
from nst_tf.io.files import check_writable, quoted
from nst_tf.recipes.filters.recipe import PICTURE_SUFFIXES
from nst_tf.recipes.stylize.plan import network_input
from nst_tf.recipes.units.memory import OPTIMIZED_FLOATS, check_memory, floats_per_px
from nst_tf.recipes.units.panels import GAP_PX, SIDE_PX
from nst_tf.runs.record import Input, UNREAD
from nst_tf.vocabulary import CanvasName, UnitObjectiveName, UnitViewName, UserError, unknown


class ImageFile(NamedTuple):
    """An image, and the name by which it is known: its path from the folder that was given."""

    path: str
    name: str


def find_images(given: Sequence[str], output: str) -> tuple[tuple[ImageFile, ...], int]:
    """The images of some folders and files, and how many of them were found again and left out.

    A file that is reached by several ways (two folders, a symbolic link) counts once, where it is found first: else
    it would take two of the nine places of a unit.

    Args:
        output: the folder to write, which may not lie among the images.
    Raises:
        UserError: one of those given has no image, or lies in the folder to write, or around it.
    """
    _check_outside(given, output)
    found = [image for path in given for image in image_files(path)]
    by_place: dict[str, ImageFile] = {}
    for image in found:
        by_place.setdefault(os.path.realpath(image.path), image)
    return tuple(by_place.values()), len(found) - len(by_place)


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


def _check_outside(given: Sequence[str], output: str) -> None:
    """What is written must not be found among the images by the next run, nor may they be overwritten."""
    folder = Path(os.path.realpath(output))
    for path in given:
        images = Path(os.path.realpath(path))
        if images == folder or images in folder.parents or folder in images.parents:
            raise UserError(f"--output {quoted(output)} and --images {quoted(path)} lie in one another: give a "
                            "folder elsewhere")


# What one view alone reads: each flag, and what it is when left out.
PATCHES: dict[str, Any] = {"size": 512, "checkpoint_every": 10.0}
SYNTHESIS: dict[str, Any] = {"objective": "channel", "canvas": "fourier", "synthesized_size": 128, "steps": 256,
                             "learning_rate": 0.05, "robustness": 1.0, "blur": 2, "diversity": 1}
DIVERSITY_WEIGHT = 1.0
UNITS_PER_LAYER = 16


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
        (), "Layers and their units. CHANNELS are numbers such as 3+17 or 0-15, or all or strong:N. By default the "
        "style layers of the backbone are shown.", group="Network", basic=True, placeholder="LAYER[:CHANNELS],...")
    units_per_layer: int | None = setting(
        None, "How many units are shown of a layer without CHANNELS. They are the first of the layer. The default is "
        f"{UNITS_PER_LAYER}.", group="Network", basic=True, minimum=1, placeholder="N")
    size: int | None = setting(
        None, "Long side in pixels to which larger images are shrunk. Smaller images are not enlarged. The default is "
        f"{PATCHES['size']}.", group="Pictures", basic=True, minimum=1, maximum=LARGEST_SIDE_PX, placeholder="PX")
    objective: str = setting(
        "", "What synthesized pictures maximize. channel takes the mean of a channel. neuron takes the cell in its "
        f"middle. The default is {SYNTHESIS['objective']}.", group="Look", choices=UnitObjectiveName)
    canvas: str = setting(
        "", "What is optimized. pixels are the values themselves. fourier are the Fourier coefficients of decorrelated "
        f"colors. The default is {SYNTHESIS['canvas']}.", choices=CanvasName)
    synthesized_size: int | None = setting(
        None, f"Side of a synthesized picture in pixels. The default is {SYNTHESIS['synthesized_size']}.",
        group="Pictures", minimum=2, maximum=4096, placeholder="PX")
    steps: int | None = setting(
        None, f"Optimization steps of each synthesized picture. The default is {SYNTHESIS['steps']}.", basic=True,
        minimum=1, placeholder="N")
    learning_rate: float | None = setting(
        None, f"Step size in values of the canvas. The default is {SYNTHESIS['learning_rate']}.", above=0,
        placeholder="NUMBER")
    robustness: float | None = setting(
        None, "How far synthesized pictures are moved, scaled and turned at random before each step. 0 leaves them as "
        f"they are. The default is {SYNTHESIS['robustness']}.", minimum=0, maximum=4, placeholder="NUMBER")
    blur: int | None = setting(
        None, "How often synthesized pictures are blurred by a pixel. The blur removes fine weave that only networks "
        f"see. The default is {SYNTHESIS['blur']}.", minimum=0, maximum=16, placeholder="N")
    diversity: int | None = setting(
        None, f"Synthesized pictures of each unit, kept apart. The default is {SYNTHESIS['diversity']}.", group="Look",
        minimum=1, maximum=9, placeholder="N")
    diversity_weight: float | None = setting(
        None, f"How much several pictures of a unit are kept apart. The default is {DIVERSITY_WEIGHT}.", group="Look",
        minimum=0, placeholder="NUMBER")
    seed: int = same(StylizeConfig, "seed")
    overwrite: bool = setting(
        False, "Start afresh and delete what an earlier run left in --output.", group="Run", basic=True)
    checkpoint_every: float | None = setting(
        None, "Seconds after which what was seen of the images is stored again. The default is "
        f"{PATCHES['checkpoint_every']:g}.", group="Run", minimum=0, placeholder="SECONDS")


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


class Synthesis(NamedTuple):
    """How pictures are synthesized: the flags of the same names, all filled in."""

    objective: str
    canvas: str
    synthesized_size: int
    steps: int
    learning_rate: float
    robustness: float
    blur: int
    diversity: int
    diversity_weight: float
    seed: int


class UnitsPlan(NamedTuple):
    """A config with everything resolved.

    `size_px` is the long side to which larger images are shrunk; `repeated` how many were found once more;
    `synthesis` is None where no pictures are asked for.
    """

    weights: str
    layers: tuple[LayerPlan, ...]
    operations: tuple[Operation, ...]
    images: tuple[ImageFile, ...]
    inputs: tuple[Input, ...]  # the file of weights, if there is one
    settings: dict[str, Any]  # what the patches and pictures depend on, by flag
    size_px: int
    floats_per_px: float      # of the network's largest layer
    repeated: int
    synthesis: Synthesis | None

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
    _check_output(config)
    _check_view(config)
    weights = fixed_weights(config.backbone, config.weights)
    layers = _layers(config)
    operations = find_backbone(config.backbone).operations
    if not operations:
        raise UserError(f"--backbone={config.backbone} was exported from a network that this version does not know, so "
                        "that it cannot be said what a unit sees: give a backbone of the table")
    images, repeated = find_images(config.images, config.output)
    whole = complete_units(config)
    for layer in layers:
        _check_layer(whole, layer)
    network = network_input(config.backbone, weights)
    settings = _settings(whole) | {
        "--images": fingerprint(images), "--seed": config.seed, "--backbone": config.backbone,
        "--weights": network[0].sha256 if network else weights, "--layers": sorted(layer.name for layer in layers)}
    largest, total = floats_per_px(find_backbone(config.backbone).layers, [layer.name for layer in layers])
    how = _synthesis(whole)
    if how is not None:
        check_memory(how.diversity * how.synthesized_size ** 2, total + largest + OPTIMIZED_FLOATS,
                     f"--synthesized_size={how.synthesized_size} with --diversity={how.diversity} needs",
                     "give a smaller --synthesized_size or --diversity")
    return UnitsPlan(
        weights=weights, layers=layers, operations=operations, images=images, inputs=network, settings=settings,
        size_px=whole.size or 0, floats_per_px=largest, repeated=repeated, synthesis=how)


def complete_units(config: UnitsConfig) -> UnitsConfig:
    """The config with the defaults of what was left out and means something with its view."""
    defaults = (PATCHES if config.view != "synthesized" else {}) | (SYNTHESIS if config.view != "patches" else {})
    if (config.diversity or 1) > 1:
        defaults = defaults | {"diversity_weight": DIVERSITY_WEIGHT}
    return dataclasses.replace(config, **{flag: value for flag, value in defaults.items()
                                          if is_unset(getattr(config, flag))})


def _settings(whole: UnitsConfig) -> dict[str, Any]:
    """The flags of one view, with what each is there, or that the view does not read it."""
    values = {flag: getattr(whole, flag) for flag in ("size", *SYNTHESIS, "diversity_weight")}
    return {f"--{flag}": UNREAD if is_unset(value) else value for flag, value in values.items()}


def absolute(path: str) -> str:
    """A path as it is known from everywhere; a name for which there is no file stays."""
    return os.path.abspath(path) if os.path.exists(path) else path


def _synthesis(whole: UnitsConfig) -> Synthesis | None:
    if whole.view == "patches":
        return None
    values = {name: getattr(whole, name) for name in Synthesis._fields}
    return Synthesis(**values | {"diversity_weight": whole.diversity_weight or 0.0})


def _check_output(config: UnitsConfig) -> None:
    """Raises `UserError` for a folder that cannot be written, and for paths that a flag file cannot hold."""
    if not config.output:
        raise UserError("--output is missing: give a folder to write, as in --output=units")
    for flag, paths in (("--output", [config.output]), ("--images", config.images), ("--weights", [config.weights])):
        for path in paths:
            if not (os.path.abspath(path) if flag == "--output" else absolute(path)).isprintable():
                raise UserError(f"{flag} {quoted(path)} is a name that cannot be printed: give another")
    check_writable(Path(config.output) / "index.html", "--output")


def _check_view(config: UnitsConfig) -> None:
    """Raises `UserError` for what the view needs and has not, or has and does not read."""
    if config.view == "synthesized" and config.images:
        raise UserError("--images are not looked at with --view=synthesized: leave them out, or give --view=both")
    if config.view != "synthesized" and not config.images:
        raise UserError(f"--images is missing for --view={config.view}: give a folder of images, as in --images=photos")
    unread: dict[str, Sequence[str]] = {"patches": (*SYNTHESIS, "diversity_weight"), "synthesized": tuple(PATCHES)}
    for flag in unread.get(config.view, ()):
        if not is_unset(getattr(config, flag)):
            raise UserError(f"--{flag}={getattr(config, flag)} means nothing with --view={config.view}: leave it out, "
                            "or give --view=both")
    if config.diversity_weight is not None and (config.diversity or 1) == 1:
        raise UserError(f"--diversity_weight={config.diversity_weight} is for several pictures of a unit: give "
                        "--diversity=2 or more, or leave it out")


def _check_layer(whole: UnitsConfig, layer: LayerPlan) -> None:
    """Raises `UserError` where a layer does not fit the sizes, the view or a sheet."""
    for flag, side_px in (("--size", whole.size), ("--synthesized_size", whole.synthesized_size)):
        if side_px is not None and layer.facts.smallest_side_px > side_px:
            raise UserError(f"{flag}={side_px} is too small for layer {layer.name}: it needs "
                            f"{layer.facts.smallest_side_px} px; give a larger {flag} or shallower layers")
    if whole.view == "synthesized" and layer.channels.rule == "strong":
        raise UserError(f"--layers={layer.name}:{layer.channels.written()} needs images, from which it is known which "
                        "units are strong: give --view=both with --images, or numbers such as 3+17")
    plan_grid(layer.shown, panels_px(whole), 1)


def panels_px(whole: UnitsConfig) -> tuple[int, int]:
    """(width, height) of the panels of a unit, side by side."""
    panels = (whole.view != "synthesized") + (whole.diversity or 0)
    return panels * SIDE_PX + (panels - 1) * GAP_PX, SIDE_PX


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
        plans[layer] = LayerPlan(facts[layer], _channels(text, channels, facts[layer],
                                                         config.units_per_layer or UNITS_PER_LAYER))
    if config.units_per_layer is not None and all(channels for _, channels, _ in given):
        raise UserError(f"--units_per_layer={config.units_per_layer} is for layers without CHANNELS, and each of "
                        "--layers names its own: leave one of them out")
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
