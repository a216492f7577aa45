"""What a dream is made of and where it is kept: everything is checked here before any long work. No TensorFlow."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nst_tf.backbones.facts import Layer
from nst_tf.backbones.table import Variant, check_classifier, check_variant, find_backbone, smallest_side_px
from nst_tf.config import LARGEST_SIDE_PX, RunConfig, Settings, StylizeConfig, check, same, setting
from nst_tf.grammar import LARGEST_JITTER_PX, LayerChannels, parse_layer_channels, parse_padding
from nst_tf.io import files, images
from nst_tf.io.images import FloatImage
from nst_tf.io.picture_files import PictureFiles
from nst_tf.optimize.octaves import kept, long_sides_px
from nst_tf.recipes.stylize.plan_terms import check_channels
from nst_tf.recipes.stylize.plan import check_is_no_input, network_input
from nst_tf.recipes.units.plan import UnitsConfig, fixed_weights
from nst_tf.runs.record import Input
from nst_tf.vocabulary import DreamModeName, DreamObjectiveName, PrecisionName, UserError

# The guide is read at this long side: its features need no detail, and every position is compared with every other.
GUIDE_SIDE_PX = 256
# Pairs of positions of tile and guide that are compared at once, four bytes each.
MOST_PAIRS = 2 ** 27
# Share of a tile that is read around its kept part, on each side.
OVERLAP_SHARE = 1 / 8


@dataclass(frozen=True)
class DreamConfig(Settings):
    """What is dreamed: two equal configs (and equal input files) give the same bytes."""

    content: str = setting("", "The photo to dream on.", group="Pictures", basic=True, placeholder="FILE")
    mode: DreamModeName = setting(
        "dream", "What is amplified. dream takes what --objective or --guide says. caricature takes what the network "
        "sees in the photo at each place.", group="Look", basic=True, choices=DreamModeName)
    backbone: str = same(StylizeConfig, "backbone")
    weights: str = same(UnitsConfig, "weights")
    precision: PrecisionName = same(StylizeConfig, "precision")
    dream: tuple[str, ...] = setting(
        (), "Layers to make more of, and channels of them. CHANNELS are numbers such as 3+17 or 0-15, or all, strong:N "
        "or weak:N. strong:N and weak:N take the N channels that respond most or least to the photo. A layer may be "
        "named again with other channels. The classes of conv10 and predictions have names too, such as conv10:daisy. "
        "The backbone has its own default.", group="Look", basic=True,
        placeholder="LAYER[:CHANNELS][@WEIGHT],...")
    objective: str = setting(
        "", "What is maximized. layer takes the squares of the channels, which amplifies what is there. channel takes "
        "their sum. neuron takes the sum of the one cell in the middle. direction takes the direction that the "
        "channels make with their weights. The default is channel for classes and layer for all else.", group="Look",
        choices=DreamObjectiveName)
    guide: str = setting(
        "", "A picture whose features are dreamed. Each place takes the feature that matches it best.",
        group="Pictures", basic=True, placeholder="FILE")
    cosine_power: float = setting(
        0.0, "How much direction and caricature drive out all else. 0 takes the dot product alone.", group="Look",
        minimum=0, maximum=16, placeholder="NUMBER")
    size: int = setting(
        512, "Long side of the picture in pixels.", group="Pictures", basic=True, minimum=1, maximum=LARGEST_SIDE_PX,
        placeholder="PX")
    octaves: int = setting(4, "Number of sizes, from small to large.", minimum=1, maximum=32, placeholder="N")
    octave_ratio: float = setting(
        1.4, "Ratio of each size to the one before.", above=1, maximum=10, placeholder="NUMBER")
    steps: int = setting(20, "Steps of each octave.", basic=True, minimum=1, placeholder="N")
    step_size: float = setting(
        0.006, "Root mean square of the change in each step. Pixel values lie in [0, 1].", above=0, maximum=1,
        placeholder="NUMBER")
    gradient_scales: int = setting(
        1, "Blurs of the gradient. Each is twice as wide as the one before, and a step is their sum. More give larger "
        "and calmer shapes. 0 takes the gradient itself.", minimum=0, maximum=5, placeholder="N")
    jitter: int = setting(
        16, "Pixels by which the image is moved at random before each step, and back.", minimum=0,
        maximum=LARGEST_JITTER_PX, placeholder="PX")
    tile: int = setting(
        512, "Side of the tiles in which the network reads larger pictures. Tiles bound the memory.", minimum=16,
        maximum=LARGEST_SIDE_PX, placeholder="PX")
    frames: int = setting(
        1, "Pictures of a zoom. Each is the dream of the one before, enlarged. With --resume a finished run takes "
        "more.", group="Pictures", basic=True, minimum=1, maximum=99999, placeholder="N")
    zoom: float = setting(
        1.04, "Enlargement from frame to frame.", group="Pictures", minimum=1, maximum=4, placeholder="NUMBER")
    turn: float = setting(
        0.0, "Turn from frame to frame in degrees, counterclockwise.", group="Pictures", minimum=-180, maximum=180,
        placeholder="DEGREES")
    seed: int = same(StylizeConfig, "seed")
    threads: int | None = same(StylizeConfig, "threads")


@dataclass(frozen=True)
class DreamRunConfig(Settings):
    """Where a dream is kept. Nothing here changes what is dreamed."""

    output: str = setting(
        "", "The picture to write: .png .jpg .webp .tif. Of several --frames this is the last. A .gif or .webp "
        "holds all frames.", group="Pictures", basic=True, placeholder="FILE")
    fps: float = setting(
        12.0, "Frames in a second of .gif and .webp.", group="Pictures", minimum=0.1, maximum=50, placeholder="NUMBER")
    logdir: str = same(RunConfig, "logdir")
    run: str = setting(
        "", "Name of this run's folder. The default is <content>_<time>.", group="Run", basic=True, placeholder="NAME")
    resume: bool = setting(
        False, "Continue a stopped run. With more --frames, add some to a finished one. With a new --output, write it "
        "again.", group="Run", basic=True)
    overwrite: bool = same(RunConfig, "overwrite")
    log_every: int = same(RunConfig, "log_every")


class DreamedLayer(NamedTuple):
    """A layer and its weight λ.

    `selection` are the channels of `--dream`, none where all count alike. `channels` are their {channel: weight}, once
    the network has measured the photo. `excitation` is a name of `losses.activations.EXCITATIONS`.
    """

    facts: Layer
    weight: float
    excitation: str
    selection: tuple[LayerChannels, ...]
    channels: Mapping[int, float] | None = None


class DreamState(NamedTuple):
    """What of a dream is done: frames, octaves of the next frame, and the picture [H, W, 3] after these."""

    frame: int = 0
    octaves: int = 0
    picture: FloatImage | None = None

    def steps(self, config: DreamConfig, plan: "DreamPlan") -> int:
        """How many steps are done."""
        return (self.frame * len(plan.sizes_px) + self.octaves) * config.steps


class DreamDecided(NamedTuple):
    """What the device and the photo decide, or the record of the run that goes on."""

    variant: Variant                   # its precision is not `auto`
    layers: tuple[DreamedLayer, ...]   # those of the plan, with their channels


class DreamPlan(NamedTuple):
    """What the files and flags of a config say. What the device or an earlier run says is `DreamDecided`."""

    weights: str
    variant: Variant
    layers: tuple[DreamedLayer, ...]
    sizes_px: tuple[tuple[int, int], ...]  # (width, height) of each octave
    inputs: tuple[Input, ...]
    smallest_px: int  # the least side that the layers take
    opened: PictureFiles  # the files that the checks have decoded

    @property
    def excitations(self) -> set[str]:
        """What is maximized: by default it is another for classes than for other channels."""
        return {layer.excitation for layer in self.layers}

    @property
    def stride(self) -> int:
        """The largest stride of the layers, which all others divide."""
        return max(layer.facts.stride for layer in self.layers)

    def overlap_px(self, tile_px: int) -> int:
        """The pixels that are read around the kept part of a tile, on each side."""
        return round(OVERLAP_SHARE * tile_px)


def resolve_dream(config: DreamConfig) -> DreamPlan:
    """The plan of a config.

    Raises:
        UserError: the first thing that is wrong, before anything is computed or written.
    """
    check(config, DreamConfig)
    if not config.content:
        raise UserError("--content is missing: give a photo, as in --content=photo.jpg")
    row = find_backbone(config.backbone)
    weights = fixed_weights(config.backbone, config.weights)
    variant = check_variant(config.backbone, Variant(config.precision, None, parse_padding(row.padding)))
    layers = _layers(config, _excitation(config))
    check_classifier(config.backbone, weights, [layer.facts.name for layer in layers])
    pictures = [("--content", config.content), *([("--guide", config.guide)] if config.guide else [])]
    smallest_px = smallest_side_px(config.backbone, [layer.facts.name for layer in layers], variant.padding)
    pictures_px = {flag: images.size_px(path, flag) for flag, path in pictures}
    sizes = _sizes(config, smallest_px, pictures_px["--content"])
    inputs = (*(Input(flag, path, files.sha256(path)) for flag, path in pictures),
              *network_input(config.backbone, weights))
    plan = DreamPlan(weights=weights, variant=variant, layers=layers, sizes_px=sizes, inputs=inputs,
                     smallest_px=smallest_px, opened=PictureFiles())
    read_dream(config, plan)
    _check_tiles(config, plan)
    if config.guide:
        _check_guide(config, plan, pictures_px["--guide"])
    return plan


def read_dream(config: DreamConfig, plan: DreamPlan) -> tuple[FloatImage, FloatImage | None]:
    """The photo and the guide as their files have them, float32 [H, W, 3]; None without a guide.

    Raises:
        UserError: the first that is no sound image.
    """
    photo = np.asarray(plan.opened.load(config.content, "--content", config.size))
    guide = np.asarray(plan.opened.load(config.guide, "--guide", GUIDE_SIDE_PX)) if config.guide else None
    return photo, guide


def complete_dream(config: DreamConfig, plan: DreamPlan, decided: DreamDecided | None = None) -> DreamConfig:
    """The config with everything that was left out filled in, so that it means the same under other defaults."""
    dream, variant = config.dream or _default_layers(config.backbone), decided.variant if decided else plan.variant
    # Where the default is both, no name says it; beside --guide and --mode=caricature layer says nothing.
    default = {frozenset(("channel",)): "channel", frozenset(("channel", "layer")): ""}
    objective = config.objective or default.get(frozenset(plan.excitations), "layer")
    return dataclasses.replace(config, weights=plan.weights, dream=dream, objective=objective,
                               precision=variant.precision)


def check_dream_output(config: DreamConfig, run_config: DreamRunConfig, plan: DreamPlan) -> None:
    """Raises `UserError` for an `--output` that cannot be written, or is one of the inputs."""
    output = run_config.output
    if not output:
        return
    if Path(output).suffix.lower() == ".gif":
        if config.frames == 1:
            raise UserError(f"--output {files.quoted(output)} is an animation: give --frames=24, or as many as "
                            "the zoom has, or a .png")
        files.check_writable(output, "--output")
    else:
        images.check_output(output, config.size)
    check_is_no_input(output, plan.inputs)


def _excitation(config: DreamConfig) -> str:
    """What is maximized: the caricature, the guide, or `--objective`; "" where each layer has its default."""
    flags = [f"--mode={config.mode}"] * (config.mode != "dream") + ["--guide"] * bool(config.guide)
    flags += [f"--objective={config.objective}"] * (config.objective not in ("", "layer"))
    if len(flags) > 1:
        raise UserError(f"{' and '.join(flags)} exclude each other: give one of them")
    if config.mode == "caricature":
        return "caricature"
    return "guide" if config.guide else config.objective


def _default_layers(backbone: str) -> tuple[str, ...]:
    return tuple(f"{layer}@{weight!r}" for layer, weight in find_backbone(backbone).dream_layers)


def _layers(config: DreamConfig, excitation: str) -> tuple[DreamedLayer, ...]:
    """Every layer once, in the network's order, with all its channels of `--dream`."""
    row = find_backbone(config.backbone)
    facts = {layer.name: layer for layer in row.all_layers}
    texts = config.dream or _default_layers(config.backbone)
    if not texts:
        raise UserError(f"--dream is missing: --backbone={config.backbone} has no default layers")
    layers: dict[str, DreamedLayer] = {}
    for text in texts:
        name, channels, weight = selected = parse_layer_channels(
            text, "--dream", allowed=facts, finders=row.finders)
        if channels is not None:
            check_channels(channels, facts[name].channels, name)
        is_whole = channels is None or channels.rule == "all"
        if not is_whole and excitation in ("guide", "caricature"):
            raise UserError(f"--dream={text}: channels are for --objective; --guide and --mode=caricature take whole "
                            f"layers, as in --dream={name}")
        if name in layers and (is_whole or not layers[name].selection):
            raise UserError(f"--dream: layer '{name}' is named twice; name it once, or with channels each time")
        if is_whole:
            layers[name] = DreamedLayer(facts[name], weight, excitation or "layer", ())
        else:
            earlier = layers[name].selection if name in layers else ()
            # The square of a score would make more of it only where it is above 0.
            default = "channel" if name in row.finders else "layer"
            layers[name] = DreamedLayer(facts[name], 1.0, excitation or default, (*earlier, selected))
    if not any(any(part.weight for part in layer.selection) if layer.selection else layer.weight
               for layer in layers.values()):
        raise UserError("--dream: every weight is 0; give at least one layer a weight above 0")
    return tuple(layers[name] for name in facts if name in layers)


def _sizes(config: DreamConfig, smallest_px: int, photo_px: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """(width, height) of each octave; those that are too small for the layers are left out."""
    smallest = max(2, smallest_px)
    sizes = [images.fit(max(1, side), *photo_px)
             for side in long_sides_px(config.size, config.octaves, config.octave_ratio)]
    if min(sizes[-1]) < smallest:
        raise UserError(f"--content {files.quoted(config.content)} is {sizes[-1][0]} × {sizes[-1][1]} px at --size="
                        f"{config.size}: the layers of {config.backbone} need {smallest} px; give a larger --size or "
                        "shallower layers")
    return tuple(size for size in sizes if min(size) >= smallest)


def _check_tiles(config: DreamConfig, plan: DreamPlan) -> None:
    if max(plan.sizes_px[-1]) <= config.tile:
        return
    if config.objective == "neuron":
        raise UserError(f"--objective=neuron is one cell of the whole picture: give --tile={max(plan.sizes_px[-1])} or "
                        "a smaller --size")
    smallest = max(plan.smallest_px, 4 * plan.stride)
    if config.tile < smallest or kept(config.tile, plan.overlap_px(config.tile), plan.stride) < 1:
        raise UserError(f"--tile={config.tile} is too small for layers of stride {plan.stride}: give at least "
                        f"{smallest}")


def _check_guide(config: DreamConfig, plan: DreamPlan, size_px: tuple[int, int]) -> None:
    guide_px = images.fit(min(GUIDE_SIDE_PX, max(size_px)), *size_px)
    if min(guide_px) < plan.smallest_px:
        raise UserError(f"--guide {files.quoted(config.guide)} is {guide_px[0]} × {guide_px[1]} px: the layers of "
                        f"{config.backbone} need {plan.smallest_px} px; give a larger picture or shallower layers")
    tile_px = [min(side, config.tile) for side in plan.sizes_px[-1]]
    for layer in plan.layers:
        pairs = math.prod((*tile_px, *guide_px)) // layer.facts.stride ** 4
        if pairs > MOST_PAIRS:
            raise UserError(f"--dream={layer.facts.name} has too many positions to compare each with each of the "
                            "guide: give a deeper layer, or a smaller --tile")
