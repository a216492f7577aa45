"""Resolves a config before any long work: every name, file, size, layer and weight is checked here. No TensorFlow."""

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.saved_model_facts import exported_folder
from nst_tf.backbones.table import (
    BACKBONES, Variant, check_classifier, check_variant, check_weights, find_backbone, smallest_side_px,
)
from nst_tf.config import StylizeConfig, check
from nst_tf.generators.choice import fast_folder, mixture_of
from nst_tf.generators.files import load
from nst_tf.grammar import Channels, LayerWeight, Reduction, parse_padding, parse_reduction
from nst_tf.io import files, images
from nst_tf.io.photo import Photo
from nst_tf.io.picture_files import PictureFiles
from nst_tf.losses.objective import Objective
from nst_tf.optimize.pyramid import Stage, add_steps
from nst_tf.recipes.stylize.plan_regions import PlannedRegion, mask_files, plan_regions
from nst_tf.recipes.stylize.plan_sizes import (
    check_learnable, measured_pictures, plan_copies, plan_sizes, plan_style_scales, reading_side_px, style_size_px,
    written_style_scales,
)
from nst_tf.recipes.stylize.plan_terms import plan_objective, plan_style_blend
from nst_tf.recipes.stylize.plan_tiles import Sight, check_tile, parse_tile, why_whole, written_tile
from nst_tf.runs.record import Input
from nst_tf.vocabulary import InitName, PrecisionName, UserError, check_name, names, unknown

# {(optimizer, canvas): --learning_rate}; benchmarks/parameterizations.py has the others that were tried.
LEARNING_RATES: dict[tuple[str, str], float] = {
    ("adam", "pixels"): 0.05, ("adam", "fourier"): 0.05, ("lbfgs", "pixels"): 0.03, ("lbfgs", "fourier"): 0.03}
GRADIENT_SMOOTHING = 0.7
REDUCE_SHARE = 0.6  # benchmarks/reduction.py has others
# What would make another function of J from step to step, or another vector of ∇J: {flag: why lbfgs refuses it}.
_LBFGS_REFUSES = {
    "gradient_smoothing": "needs the gradient itself",
    "jitter": "compares values of J from step to step, and a moved image is another J",
    "schedule": "searches its step lengths, and --learning_rate is that of the first step",
}


class Descent(NamedTuple):
    """The settings of the optimization, all filled in."""

    learning_rate: float
    schedule: str
    gradient_smoothing: float
    jitter_px: int


def plan_descent(config: StylizeConfig) -> Descent:
    """What was left out, filled in as the optimizer and the canvas need it."""
    is_lbfgs, is_pixels = config.optimizer == "lbfgs", config.canvas == "pixels"
    if is_lbfgs:
        for name, reason in _LBFGS_REFUSES.items():
            value = getattr(config, name)
            if value and value != "constant":
                raise UserError(f"--{name}={value} is for --optimizer=adam: lbfgs {reason}; leave it out")
    if config.gradient_smoothing and not is_pixels:
        raise UserError(f"--gradient_smoothing={config.gradient_smoothing} is for pixels: --canvas={config.canvas} "
                        "weighs frequencies itself; leave it out or give --canvas=pixels")
    rate, smoothing, jitter_px = config.learning_rate, config.gradient_smoothing, config.jitter
    if smoothing is None:
        smoothing = GRADIENT_SMOOTHING if is_pixels and not is_lbfgs else 0.0
    if jitter_px is None:
        jitter_px = 0 if is_lbfgs else find_backbone(config.backbone).jitter_px
    return Descent(LEARNING_RATES[config.optimizer, config.canvas] if rate is None else rate,
                   config.schedule or ("constant" if is_lbfgs else "cosine"), smoothing, jitter_px)


def plan_reduction(config: StylizeConfig) -> tuple[Reduction, float]:
    """How the network is reduced, and for which share of the steps."""
    reduction, share = parse_reduction(config.reduce), config.reduce_share
    if reduction.name == "none":
        if share is not None:
            raise UserError(f"--reduce_share={share} needs --reduce: give one such as --reduce=qr:0.5, or leave it out")
        return reduction, 0.0
    if not find_backbone(config.backbone).is_chain:
        chains = ", ".join(name for name, row in BACKBONES.items() if row.is_chain)
        raise UserError(f"--reduce={config.reduce}: --backbone={config.backbone} is no plain chain of convolutions and "
                        f"pools, into which removed channels can be folded; give one of {chains}, or leave it out")
    return reduction, REDUCE_SHARE if share is None else share


class Plan(NamedTuple):
    """What the files and flags of a config say. What the device or an earlier run says is `Decided`."""

    weights: str
    variant: Variant                  # its precision may be `auto`
    objective: Objective              # its dream layers may be ranks, such as strong:5
    style_blend: tuple[float, ...]
    descent: Descent
    stages: tuple[Stage, ...]
    content_size_px: tuple[int, int]  # (width, height) of the photo, or of the texture; each stage has its aspect
    style_scales: tuple[float, ...]   # long side of each style relative to that of the picture
    style_sizes_px: tuple[tuple[int, int], ...]  # (width, height) of each style's file
    init: str
    inputs: tuple[Input, ...]
    regions: tuple[PlannedRegion, ...]  # none without masks
    motif_size_px: int                # 0: style is measured at one size
    smallest_px: int                  # the least side that the network takes
    reduction: Reduction
    reduce_share: float               # of the steps, that the reduced network takes
    tile_px: int | None               # 0 for none, None for `auto`
    sight: Sight                      # what tiles must know of the network
    opened: PictureFiles              # what was decoded to check it, for those who need it again

    def stage_size_px(self, stage: int) -> tuple[int, int]:
        """(width, height) of the picture at a stage."""
        return images.fit(self.stages[stage].long_side_px, *self.content_size_px)

    def style_size_px(self, style: int, stage: int) -> tuple[int, int]:
        """(width, height) at which a style is measured at a stage."""
        return style_size_px(self.style_scales[style], self.stages[stage].long_side_px, self.style_sizes_px[style])

    def copies_px(self, stage: int) -> tuple[int, ...]:
        """Long sides of the smaller copies of the picture on which its style is measured too, at a stage."""
        if not self.objective.weights.style:
            return ()
        styles = [self.style_size_px(style, stage) for style in range(len(self.style_scales))]
        shortest_px = min(min(size) for size in (self.stage_size_px(stage), *styles))
        return plan_copies(self.stages[stage].long_side_px, shortest_px, self.motif_size_px, self.smallest_px)

    def pixels_read(self, stage: int) -> tuple[int, ...]:
        """How many pixels the picture has that the network reads in a step of a stage, and each of its copies."""
        sides_px = (self.stages[stage].long_side_px, *self.copies_px(stage))
        return tuple(math.prod(images.fit(side_px, *self.content_size_px)) for side_px in sides_px)


class Decided(NamedTuple):
    """What was decided on the device, or by the record of the run that goes on."""

    variant: Variant           # its precision is not `auto`
    objective: Objective       # its dream layers by channels
    stages: tuple[Stage, ...]  # those of the plan, the last one with the steps that a resume adds
    tile_px: int = 0           # a larger picture is measured in tiles of this side; 0 for none
    kept: Mapping[str, tuple[int, ...]] = {}  # {layer: its channels in the reduced network}; empty before it is known

    @property
    def total_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def objective_at(self, stage: int) -> Objective:
        """What is measured at a stage."""
        return self.objective.at(is_last=stage in (-1, len(self.stages) - 1))

    def reduced_steps(self, plan: Plan) -> int:
        """How many steps, from the first on, the reduced network takes. Steps that a resume adds move nothing."""
        planned = sum(stage.decay_steps for stage in self.stages)
        return self.total_steps if plan.reduce_share == 1 else math.ceil(round(plan.reduce_share * planned, 6))

    def steps_left(self, plan: Plan, stage: int, stage_step: int) -> Mapping[tuple[int, ...], int]:
        """{`pixels_read`: how many such steps are left} after `stage_step` steps of a stage.

        Steps of the reduced network are kinds of their own: a picture without pixels stands behind theirs.
        """
        done = stage_step + sum(each.steps for each in self.stages[:stage])
        left, step = Counter[tuple[int, ...]](), done - stage_step
        for index in range(stage, len(self.stages)):
            pixels, end = plan.pixels_read(index), step + self.stages[index].steps
            switch = min(max(self.reduced_steps(plan), step), end)
            for kind, first, last in (((*pixels, 0), step, switch), (pixels, switch, end)):
                if last > first and last >= done:
                    left[kind] += last - max(first, done)
            step = end
        return left


def resolve(config: StylizeConfig, opened: PictureFiles | None = None) -> Plan:
    """The plan of a config.

    Args:
        opened: reads the pictures; new by default.
    Raises:
        UserError: the first thing that is wrong, before anything is computed or written.
    """
    check(config, StylizeConfig)
    if config.fast:
        raise UserError("--fast paints in one pass, and this optimizes: leave it out, or use stylize.py or "
                        "run_batch.py")
    opened = opened or PictureFiles()
    if not config.content and config.size is None:
        raise UserError("--content is missing: give a photo, as in --content=photo.jpg --style=painting.jpg, or "
                        "--size=PX for a texture of the styles alone")
    if not config.style:
        raise UserError("--style is missing: give one or more paintings, as in --style=a.jpg,b.jpg")
    row, objective, descent = find_backbone(config.backbone), plan_objective(config), plan_descent(config)
    reduction, reduce_share = plan_reduction(config)
    weights = check_weights(config.backbone, config.weights)
    check_classifier(config.backbone, weights, objective.layers())
    padding = parse_padding(config.padding or row.padding)
    variant = check_variant(config.backbone, Variant(config.precision, config.pooling or None, padding))
    init = _plan_init(config)
    measured = measured_pictures(config)
    painter = fast_folder(init)
    is_file = init not in names(InitName) and not painter
    pictures = [*measured, *mask_files(config), *([("--init", init)] if is_file else [])]
    sizes = {path: opened.size_px(path, flag) for flag, path in pictures}
    if weights == "self":
        check_learnable(measured, sizes, smallest_side_px(config.backbone, objective.layers()),
                        "kmeans learns its filters from it; --weights=bundled learns nothing")
    # Two pixels: smoothness and the smoothed gradient need a neighbor.
    smallest_px = max(2, smallest_side_px(config.backbone, objective.layers(), padding))
    stages = plan_sizes(config, smallest_px, sizes)
    inputs = (*(Input(flag, path, files.sha256(path)) for flag, path in pictures),
              *([Input("--init", painter, files.sha256_of_folder(painter))] if painter else []),
              *network_input(config.backbone, weights))
    style_blend = plan_style_blend(config.style, config.style_blend)
    # The cost functions of `gatys` and `ng` are those of the papers.
    motif_size_px = row.motif_size_px if config.normalization == "relative" else 0
    plan = Plan(
        weights=weights, variant=variant, objective=objective, style_blend=style_blend, descent=descent, stages=stages,
        content_size_px=sizes[config.content] if config.content else (config.long_side_px, config.long_side_px),
        style_scales=plan_style_scales(config), style_sizes_px=tuple(sizes[path] for path in config.style), init=init,
        inputs=inputs, regions=plan_regions(config, sizes, style_blend, opened),
        motif_size_px=motif_size_px if config.motif_size is None else config.motif_size, smallest_px=smallest_px,
        tile_px=parse_tile(config.tile),
        sight=Sight(row.all_operations, 0 if padding.mode == "trained" else row.unpadded_px),
        opened=opened, reduction=reduction, reduce_share=reduce_share)
    check_tile(plan.tile_px, plan.sight, objective.layers(), why_whole(config.backbone, config.statistic))
    read_pictures(config, plan)
    return plan


def _plan_init(config: StylizeConfig) -> str:
    """The name or file of the first image."""
    # Measured: a texture by `kmeans` that starts from stronger noise keeps it, by SqueezeNet it makes no difference.
    init = config.init or ("content" if config.content else "faint_noise")
    if folder := fast_folder(init):
        _check_fast_init(config, folder)
        return init
    if init not in names(InitName) and not Path(init).suffix and not Path(init).exists():
        raise UserError(str(unknown("--init", init, names(InitName))) + ", or an image file")
    if init in ("content", "blend") and not config.content:
        raise UserError(f"--init={init} needs --content: give a photo, or another --init such as faint_noise")
    return init


def _check_fast_init(config: StylizeConfig, folder: str) -> None:
    """Raises `UserError` unless the network in a folder can paint the first image."""
    if not config.content:
        raise UserError(f"--init={config.init} paints a photo: give --content, or another --init such as faint_noise")
    mixture_of(load(folder, "--init"), folder, config.style, config.style_blend, "--init")


def read_pictures(config: StylizeConfig, plan: Plan) -> tuple[Photo | None, list[Photo], Photo | None]:
    """The content, the styles and the first image as their files have them, [H, W, 3]; None for what is not.

    Raises:
        UserError: the first that is no sound image.
    """
    side_px, load = reading_side_px(config), plan.opened.load
    content = load(config.content, "--content", side_px) if config.content else None
    styles = [load(path, "--style", max(side_px, *plan.style_size_px(k, -1))) for k, path in enumerate(config.style)]
    if plan.init in names(InitName) or fast_folder(plan.init):
        return content, styles, None
    # Four times the first stage, because only its middle may be used.
    return content, styles, load(plan.init, "--init", 4 * max(plan.stage_size_px(0)))


def check_is_no_input(output: str, inputs: Iterable[Input]) -> None:
    """Raises `UserError` for an `--output` that is one of the inputs."""
    for item in inputs:
        if os.path.realpath(output) == os.path.realpath(item.path):
            raise UserError(f"--output {files.quoted(output)} is the file of {item.flag}: give another name")


def network_input(backbone: str, weights: str) -> tuple[Input, ...]:
    """The file of weights, or the folder of an exported network; nothing for weights that have a name."""
    folder = exported_folder(backbone)
    if folder is not None:
        try:
            return (Input("--backbone", folder, files.sha256_of_folder(folder)),)
        except OSError as error:
            raise UserError(f"--backbone={backbone} cannot be read ({error.strerror}): give a folder that you "
                            "may read") from None
    if weights in find_backbone(backbone).weights:
        return ()
    files.check_readable(weights, "--weights")
    return (Input("--weights", weights, files.sha256(weights)),)


def complete(config: StylizeConfig, plan: Plan, decided: Decided | None = None) -> StylizeConfig:
    """The config with everything that was left out filled in, so that it means the same under other defaults."""
    objective, descent, variant = plan.objective, plan.descent, decided.variant if decided else plan.variant

    def written(layers: tuple[LayerWeight, ...]) -> tuple[str, ...]:
        return tuple(f"{layer}@{weight!r}" for layer, weight in layers)

    return dataclasses.replace(
        config, size=config.long_side_px, style_scale=written_style_scales(config),
        init=plan.init, weights=plan.weights, style_blend=plan.style_blend,
        content_layers=written(objective.content_layers), style_layers=written(objective.style_layers),
        content_weight=objective.weights.content, style_weight=objective.weights.style,
        smoothness_weight=objective.weights.smoothness, smoothing=objective.smoothing.written(),
        dream=tuple(f"{layer}:{channels.written()}@{weight!r}" for layer, channels, weight in objective.dream_layers),
        dream_weight=objective.weights.dream, neighbors_weight=objective.weights.neighbors or None,
        learning_rate=descent.learning_rate, schedule=descent.schedule,
        gradient_smoothing=descent.gradient_smoothing, jitter=descent.jitter_px, precision=variant.precision,
        tile=written_tile(decided.tile_px if decided else plan.tile_px),
        padding=plan.variant.padding.written(), motif_size=plan.motif_size_px, reduce=plan.reduction.written(),
        reduce_share=plan.reduce_share or None,
        style_mask=tuple(item.lower() if item.startswith("#") else item for item in config.style_mask))


def resolved(plan: Plan, decided: Decided | None = None) -> dict[str, Any]:
    """The plan, and what was decided, as plain data for `config.json`."""
    decided = decided or Decided(plan.variant, plan.objective, plan.stages, plan.tile_px or 0)
    planned, objective = decided.stages, decided.objective
    stages = [{**stage._asdict(), "width": plan.stage_size_px(index)[0], "height": plan.stage_size_px(index)[1]}
              for index, stage in enumerate(planned)]
    return {"weights": Path(plan.weights).name, "content_layers": dict(objective.content_layers),
            "style_layers": dict(objective.style_layers),
            "dream_layers": {layer: {"channels": list(channels.indices), "weight": weight}
                             for layer, channels, weight in objective.dream_layers},
            "smoothed_layers": list(objective.smoothed_layers), "term_weights": objective.weights._asdict(),
            "style_blend": list(plan.style_blend), "regions": [region._asdict() for region in plan.regions],
            "stages": stages, "tile_px": decided.tile_px, "reduced_steps": decided.reduced_steps(plan),
            "reduced_layers": {layer: Channels("index", kept).written() for layer, kept in decided.kept.items()},
            "motif_copies_px": [list(plan.copies_px(stage)) for stage in range(len(stages))],
            # (width, height) of each style at the last stage.
            "style_sizes_px": [list(plan.style_size_px(style, -1)) for style in range(len(plan.style_scales))]}


def decided_before(plan: Plan, record: Mapping[str, Any], steps: int = 0) -> Decided:
    """What a `config.json` says was decided: another precision, or other units, would make another picture.

    Args:
        steps: of all stages; where they are more than the run had, they prolong its last stage.
    Raises:
        LookupError, ValueError, TypeError, AttributeError: the record is damaged.
    """
    stored, precision = record["resolved"], record["settings"]["--precision"]
    stages = tuple(Stage(*(int(stage[name]) for name in Stage._fields)) for stage in stored["stages"])
    units = {layer: tuple(map(int, units["channels"])) for layer, units in stored.get("dream_layers", {}).items()}
    kept = {layer: tuple(sorted(set(map(int, text.split("+")))))
            for layer, text in stored.get("reduced_layers", {}).items()}
    counts = {layer.name: layer.channels
              for layer in (BACKBONES[record["settings"]["--backbone"]].layers if kept else ())}
    if any(channels[0] < 0 or channels[-1] >= counts[layer] for layer, channels in kept.items()):
        raise ValueError("no channels")
    variant = plan.variant
    if variant.precision == "auto":
        variant = variant._replace(precision=check_name("--precision", precision, names(PrecisionName)))
    layers = tuple(layer._replace(channels=Channels("index", units[layer.layer])) if units.get(layer.layer) else layer
                   for layer in plan.objective.dream_layers)
    return Decided(variant=variant, objective=plan.objective._replace(dream_layers=layers),
                   stages=add_steps(stages, max(steps, int(record["settings"]["--steps"]))), kept=kept,
                   tile_px=int(stored.get("tile_px", 0)) if plan.tile_px is None else plan.tile_px)
