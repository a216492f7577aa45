"""Training a network of one forward pass: its settings, and everything that is checked before it. No TensorFlow."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.table import (
    Variant, check_classifier, check_variant, check_weights, find_backbone, smallest_side_px,
)
from nst_tf.config import RunConfig, Settings, StylizeConfig, check, same, setting
from nst_tf.generators.files import Style, check_folder
from nst_tf.generators.layers import HALVINGS, Layer, layers
from nst_tf.grammar import parse_padding
from nst_tf.io import files, images
from nst_tf.io.picture_folders import left_out, listed
from nst_tf.losses.objective import Objective
from nst_tf.optimize.pyramid import Stage
from nst_tf.recipes.stylize.plan import network_input
from nst_tf.recipes.stylize.plan_sizes import plan_copies, plan_style_scales, style_size_px
from nst_tf.recipes.stylize.plan_terms import plan_objective
from nst_tf.runs.record import Input
from nst_tf.runs.session import say
from nst_tf.vocabulary import PrecisionName, UserError, check_name, names

# Of every so many photos one is kept from the training, to be looked at.
HELD_OUT_OF = 10
LARGEST_STEPS = 10_000_000


@dataclass(frozen=True)
class FastConfig(Settings):
    """What the network learns, from what and how long."""

    style: tuple[str, ...] = setting(
        (), "The paintings. The network learns each as a style of its own. A comma in a name: '\"a,b.jpg\",c.jpg'.",
        group="Pictures", basic=True, placeholder="FILE,...")
    photos: tuple[str, ...] = setting(
        (), "Photos to learn on: files, or folders with all that lies below them. Hundreds are good, a dozen is enough "
        "to try.", group="Pictures", basic=True, placeholder="FILE|FOLDER,...")
    steps: int | None = setting(
        None, "Training steps. Without it --minutes decides.", basic=True, minimum=1, maximum=LARGEST_STEPS,
        placeholder="N")
    minutes: float = setting(
        60.0, "How long to train. The number of steps follows from the time of the first ones, and stays.", basic=True,
        above=0, placeholder="MINUTES")
    size: int = setting(
        512, "Long side in pixels of the pictures that the network is meant for. Photos are shrunk to about this side, "
        "and the paintings are measured beside it.", group="Pictures", basic=True, minimum=64, maximum=4096,
        placeholder="PX")
    crop: int = setting(
        256, "Side in pixels of the parts of photos that a step reads.", minimum=32, maximum=2048, placeholder="PX")
    batch: int = setting(4, "Parts of photos that a step reads.", minimum=1, maximum=256, placeholder="N")
    width: int = setting(
        16, "Channels of the network's first layer. Its size and time grow with the square.", group="Network",
        minimum=4, maximum=128, placeholder="N")
    residuals: int = setting(
        5, "Residual blocks in the middle of the network. More see farther.", group="Network", minimum=0, maximum=32,
        placeholder="N")
    style_scale: tuple[float | str, ...] = same(StylizeConfig, "style_scale")
    motif_size: int | None = same(StylizeConfig, "motif_size")
    backbone: str = same(StylizeConfig, "backbone")
    weights: str = same(StylizeConfig, "weights")
    precision: PrecisionName = same(StylizeConfig, "precision")
    pooling: str = same(StylizeConfig, "pooling")
    padding: str = same(StylizeConfig, "padding")
    content_layers: tuple[str, ...] = same(StylizeConfig, "content_layers")
    style_layers: tuple[str, ...] = same(StylizeConfig, "style_layers")
    content_weight: float | None = same(StylizeConfig, "content_weight")
    style_weight: float | None = same(StylizeConfig, "style_weight")
    smoothness_weight: float | None = same(StylizeConfig, "smoothness_weight")
    learning_rate: float = setting(0.002, "Step size of Adam at the start. It falls to a twentieth.", above=0,
                                   placeholder="NUMBER")
    seed: int = same(StylizeConfig, "seed")
    threads: int | None = same(StylizeConfig, "threads")


@dataclass(frozen=True)
class FastRunConfig(Settings):
    """Where the run is kept, and where the network goes."""

    output: str = setting(
        "", "The folder of the trained network, for stylize.py --fast=DIR.", group="Pictures", basic=True,
        placeholder="DIR")
    logdir: str = same(RunConfig, "logdir")
    run: str = same(RunConfig, "run")
    resume: bool = same(RunConfig, "resume")
    overwrite: bool = same(RunConfig, "overwrite")
    snapshots: tuple[int, ...] = same(RunConfig, "snapshots")
    checkpoint_every: float = setting(
        60.0, "Seconds between checkpoints.", group="Run", minimum=0, placeholder="SECONDS")
    log_every: int = same(RunConfig, "log_every")


class FastPlan(NamedTuple):
    """What the files and flags say."""

    network: tuple[Layer, ...]
    weights: str
    variant: Variant               # its precision may be `auto`
    objective: Objective
    copies_px: tuple[int, ...]     # of a picture of --size
    styles: tuple[Style, ...]
    style_sizes_px: tuple[tuple[int, int], ...]  # (width, height) at which each is measured
    photos: tuple[str, ...]        # to learn on
    held_out: tuple[str, ...]      # to look at
    inputs: tuple[Input, ...]


class Decided(NamedTuple):
    """What was decided on the device, or by the record of the run that goes on: the precision, and how many steps."""

    variant: Variant
    steps: int

    @property
    def stage(self) -> Stage:
        """All steps, as the one stage of an optimization."""
        return Stage(0, self.steps, self.steps)


def as_stylize(config: FastConfig) -> StylizeConfig:
    """The config of pictures by optimization with the same terms; its photo has no file."""
    shared = {field.name for field in dataclasses.fields(StylizeConfig)} & set(vars(config))
    shared -= {"steps", "learning_rate"}
    return StylizeConfig(content="photo", **{name: getattr(config, name) for name in shared})


def resolve(config: FastConfig, run_config: FastRunConfig) -> FastPlan:
    """The plan of a config.

    Raises:
        UserError: the first thing that is wrong, before anything is computed or written.
    """
    check(config, FastConfig)
    for flag, paths, example in (("--style", config.style, "a.jpg,b.jpg"), ("--photos", config.photos, "my_photos")):
        if not paths:
            raise UserError(f"{flag} is missing: give some, as in {flag}={example}")
    stems = [Path(path).stem for path in config.style]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise UserError(f"--style has two paintings of the name {twice!r}, by which the network is asked for them: "
                        "rename one")
    if config.crop > config.size:
        raise UserError(f"--crop={config.crop} is larger than --size={config.size}: give a smaller --crop")
    stylize = as_stylize(config)
    row, objective = find_backbone(config.backbone), plan_objective(stylize)
    weights = check_weights(config.backbone, config.weights)
    check_classifier(config.backbone, weights, objective.layers())
    padding = parse_padding(config.padding or row.padding)
    smallest_px = max(2 ** (HALVINGS + 1), smallest_side_px(config.backbone, objective.layers(), padding))
    if config.crop < smallest_px:
        raise UserError(f"--crop={config.crop} is too small: the layers of {config.backbone} need {smallest_px} px; "
                        "give a larger --crop or shallower layers")
    sizes = [images.size_px(path, "--style") for path in config.style]
    measured = tuple(style_size_px(scale, config.size, size)
                     for scale, size in zip(plan_style_scales(stylize), sizes, strict=True))
    for path, size in zip(config.style, measured, strict=True):
        images.check_smallest_side(size, smallest_px, "--style", path, f"for --backbone={config.backbone}")
    motif_size_px = row.motif_size_px if config.motif_size is None else config.motif_size
    learned, held_out = _photos(config)
    inputs = (*(Input("--style", path, files.sha256(path)) for path in config.style),
              *(Input("--photos", path, files.sha256(path)) for path in (*learned, *held_out)),
              *network_input(config.backbone, weights))
    if run_config.output:
        check_folder(run_config.output)
    return FastPlan(
        layers(config.width, config.residuals), weights,
        check_variant(config.backbone, Variant(config.precision, config.pooling or None, padding)), objective,
        plan_copies(config.size, min(config.crop, *map(min, measured)), motif_size_px, smallest_px),
        tuple(Style(Path(item.path).stem, item.sha256) for item in inputs[:len(config.style)]), measured, learned,
        held_out, inputs)


def _photos(config: FastConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The photos to learn on, and those to look at; few photos serve both."""
    found: list[str] = []
    others = 0
    for path in config.photos:
        listing = listed(path, "--photos", is_deep=True)
        found += listing.pictures
        others += listing.others
    if line := left_out("--photos", others):
        say(f"nst_tf: {line}")
    found = list({os.path.realpath(path): path for path in found}.values())
    if len(found) == 1:
        images.size_px(found[0], "--photos")
    held_out = tuple(found[HELD_OUT_OF - 1::HELD_OUT_OF])
    return tuple(path for path in found if path not in held_out), held_out or tuple(found)


def decided_before(plan: FastPlan, record: Mapping[str, Any], steps: int | None) -> Decided:
    """What a `config.json` says was decided; a larger --steps prolongs it."""
    precision = check_name("--precision", record["settings"]["--precision"], names(PrecisionName))
    return Decided(plan.variant._replace(precision=precision), max(int(record["resolved"]["steps"]), steps or 0))
