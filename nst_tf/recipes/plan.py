"""Resolves a config before any long work: every name, file, size, layer and weight is checked here. No TensorFlow."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.saved_model_facts import exported_folder
from nst_tf.backbones.table import Variant, check_variant, check_weights, find_backbone
from nst_tf.config import Settings, StylizeConfig, check
from nst_tf.grammar import LayerWeight, parse_padding
from nst_tf.io import files, images
from nst_tf.losses.terms import Objective
from nst_tf.optimize.pyramid import Stage
from nst_tf.recipes.plan_descent import Descent, plan_descent
from nst_tf.recipes.plan_dream import written_dream
from nst_tf.recipes.plan_regions import PlannedRegion, mask_files, plan_regions
from nst_tf.recipes.plan_sizes import (
    check_learning, measured_pictures, plan_copies, plan_sizes, plan_style_scales,
    smallest_measured_px, style_size_px,
)
from nst_tf.recipes.plan_terms import plan_objective, plan_style_blend
from nst_tf.vocabulary import InitName, UserError, names, unknown


class Input(NamedTuple):
    """One file that the picture depends on."""

    flag: str
    path: str
    sha256: str


class Plan(NamedTuple):
    """A config with everything resolved: what the run will do, step by step."""

    weights: str
    variant: Variant                  # its precision may be `auto`; `precision.decided` resolves it
    objective: Objective
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

    @property
    def total_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

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

    def pixel_steps_left(self, stage: int, stage_step: int) -> int:
        """Σ of the pixels of every step that is left after `stage_step` steps of a stage."""
        steps = [self.stages[stage].steps - stage_step, *(later.steps for later in self.stages[stage + 1:])]
        sizes = [self.stage_size_px(index) for index in range(stage, len(self.stages))]
        return sum(count * width * height for count, (width, height) in zip(steps, sizes, strict=True))


def resolve(config: StylizeConfig) -> Plan:
    """The plan of a config.

    Raises:
        UserError: the first thing that is wrong, before anything is computed or written.
    """
    check(config)
    if not config.content and config.size is None:
        raise UserError("--content is missing: give a photo, as in --content=photo.jpg --style=painting.jpg, or "
                        "--size=PX for a texture of the styles alone")
    if not config.style:
        raise UserError("--style is missing: give one or more paintings, as in --style=a.jpg,b.jpg")
    objective = plan_objective(config)
    descent = plan_descent(config)
    weights = check_weights(config.backbone, config.weights)
    padding = parse_padding(config.padding or find_backbone(config.backbone).padding)
    variant = check_variant(config.backbone, Variant(config.precision, config.pooling or None, padding))
    init = _plan_init(config)
    pictures = measured_pictures(config) + mask_files(config)
    if init not in names(InitName):
        pictures.append(("--init", init))
    check_pictures(pictures)
    sizes = {path: images.size_px(path, flag) for flag, path in pictures}
    if weights == "self":
        check_learning(config, objective, sizes)
    stages = plan_sizes(config, objective, padding, sizes)
    inputs = (*(Input(flag, path, files.sha256(path)) for flag, path in pictures),
              *network_input(config.backbone, weights))
    style_blend = plan_style_blend(config)
    regions = plan_regions(config, sizes, style_blend)
    content_size_px = sizes[config.content] if config.content else (config.long_side_px, config.long_side_px)
    motif_size_px = config.motif_size
    if motif_size_px is None:
        # The cost functions of `gatys` and `ng` are those of the papers.
        motif_size_px = find_backbone(config.backbone).motif_size_px if config.normalization == "relative" else 0
    return Plan(weights, variant, objective, style_blend, descent, stages, content_size_px, plan_style_scales(config),
                tuple(sizes[path] for path in config.style), init, inputs, regions, motif_size_px,
                smallest_measured_px(config, objective, padding))


def _plan_init(config: StylizeConfig) -> str:
    """The name or file of the first image."""
    # Measured: a texture by `kmeans` that starts from stronger noise keeps it, by SqueezeNet it makes no difference.
    init = config.init or ("content" if config.content else "faint_noise")
    if init not in names(InitName) and not Path(init).suffix and not Path(init).exists():
        raise UserError(str(unknown("--init", init, names(InitName))) + ", or an image file")
    if init in ("content", "blend") and not config.content:
        raise UserError(f"--init={init} needs --content: give a photo, or another --init such as faint_noise")
    return init


def check_pictures(pictures: Iterable[tuple[str, str]]) -> None:
    """Raises `UserError` for the first of (flag, path) that is no sound image, or whose name cannot be printed."""
    for flag, path in pictures:
        files.check_printable(path, flag)
        images.verify(path, flag)


def check_is_no_input(output: str, inputs: Iterable[Input]) -> None:
    """Raises `UserError` for an `--output` whose name cannot be printed, or that is one of the inputs."""
    if not output.isprintable():
        raise UserError(f"--output {files.quoted(output)} is a name that cannot be printed: give another")
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
    files.check_printable(weights, "--weights")
    files.check_readable(weights, "--weights")
    return (Input("--weights", weights, files.sha256(weights)),)


def complete(config: StylizeConfig, plan: Plan) -> StylizeConfig:
    """The config with everything that was left out filled in, so that it means the same under other defaults."""
    objective, descent = plan.objective, plan.descent

    def written(layers: tuple[LayerWeight, ...]) -> tuple[str, ...]:
        return tuple(f"{layer}@{weight!r}" for layer, weight in layers)

    return dataclasses.replace(
        config, size=config.long_side_px, style_scale=() if config.style_size is not None else plan.style_scales,
        init=plan.init, weights=plan.weights, style_blend=plan.style_blend,
        content_layers=written(objective.content_layers), style_layers=written(objective.style_layers),
        content_weight=objective.weights.content, style_weight=objective.weights.style,
        smoothness_weight=objective.weights.smoothness, smoothing=objective.smoothing.written(),
        dream=written_dream(config), dream_weight=objective.weights.dream,
        learning_rate=descent.learning_rate, schedule=descent.schedule,
        gradient_smoothing=descent.gradient_smoothing, jitter=descent.jitter_px, precision=plan.variant.precision,
        padding=plan.variant.padding.written(), motif_size=plan.motif_size_px,
        style_mask=tuple(item.lower() if item.startswith("#") else item for item in config.style_mask))


def settings(config: StylizeConfig, plan: Plan) -> dict[str, Any]:
    """What the picture depends on, as `described` writes it."""
    return described(complete(config, plan), plan.inputs)


def described(config: Settings, inputs: Iterable[Input]) -> dict[str, Any]:
    """`{flag: value}` of a complete config; files by base name and SHA-256: moving them changes nothing."""
    files_of = {(item.flag, item.path): {"file": Path(item.path).name, "sha256": item.sha256} for item in inputs}

    values: dict[str, Any] = {}
    for name, given in vars(config).items():
        flag, items = f"--{name}", given if isinstance(given, tuple) else (given,)
        if flag == "--backbone":
            items = (exported_folder(given) or given,)
        found = [files_of.get((flag, item), item) for item in items]
        values[flag] = found if isinstance(given, tuple) else found[0]
    return values


def resolved(plan: Plan) -> dict[str, Any]:
    """The plan as plain data for `config.json`."""
    stages = [{**stage._asdict(), "width": plan.stage_size_px(index)[0], "height": plan.stage_size_px(index)[1]}
              for index, stage in enumerate(plan.stages)]
    objective = plan.objective
    return {"weights": Path(plan.weights).name, "content_layers": dict(objective.content_layers),
            "style_layers": dict(objective.style_layers),
            "dream_layers": {layer: {"channels": list(channels.indices), "weight": weight}
                             for layer, channels, weight in objective.dream_layers},
            "smoothed_layers": list(objective.smoothed_layers), "term_weights": objective.weights._asdict(),
            "style_blend": list(plan.style_blend), "regions": [region._asdict() for region in plan.regions],
            "stages": stages, "motif_copies_px": [list(plan.copies_px(stage)) for stage in range(len(stages))],
            # (width, height) of each style at the last stage.
            "style_sizes_px": [list(plan.style_size_px(style, -1)) for style in range(len(plan.style_scales))]}


def stored_stages(resolved_plan: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages that `resolved` wrote."""
    return tuple(Stage(*(stage[name] for name in Stage._fields)) for stage in resolved_plan["stages"])


def stored_units(resolved_plan: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The channels of each dream layer that `resolved` wrote; none where they were not chosen yet."""
    return {layer: tuple(map(int, units["channels"])) for layer, units in resolved_plan.get("dream_layers", {}).items()}
