"""Resolves a config before any long work: every name, file, size, layer and weight is checked here. No TensorFlow."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.kmeans_recipe import LEARNING_SIDE_PX
from nst_tf.backbones.saved_model_facts import exported_folder
from nst_tf.backbones.table import check_weights, find_backbone, smallest_side_px
from nst_tf.config import StylizeConfig, check
from nst_tf.grammar import LayerWeight, parse_layers, parse_smoothing
from nst_tf.io import files, images
from nst_tf.losses.terms import DEFAULT_WEIGHTS, Objective, TermWeights
from nst_tf.optimize.pyramid import Stage, plan_stages
from nst_tf.vocabulary import InitName, UserError, names, unknown

# The layers that `--smoothing` changes: Wang, Li, Vasconcelos 2021 (in their code) smooth ResNet's last two stages.
SMOOTHED_STRIDE = 16


class Input(NamedTuple):
    """One file that the picture depends on."""

    flag: str
    path: str
    sha256: str


class Plan(NamedTuple):
    """A config with everything resolved: what the run will do, step by step."""

    weights: str
    objective: Objective
    style_blend: tuple[float, ...]
    jitter_px: int
    stages: tuple[Stage, ...]
    content_size_px: tuple[int, int]  # (width, height) of the photo; each stage has its aspect
    inputs: tuple[Input, ...]

    @property
    def total_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_size_px(self, stage: int) -> tuple[int, int]:
        """(width, height) of the picture at a stage."""
        return images.fit(self.stages[stage].long_side_px, *self.content_size_px)

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
    if not config.content:
        raise UserError("--content is missing: give a photo, as in --content=photo.jpg --style=painting.jpg")
    if not config.style:
        raise UserError("--style is missing: give one or more paintings, as in --style=a.jpg,b.jpg")
    objective = _objective(config)
    weights = check_weights(config.backbone, config.weights)
    if config.init not in names(InitName) and not Path(config.init).suffix and not Path(config.init).exists():
        raise UserError(str(unknown("--init", config.init, names(InitName))) + ", or an image file")
    pictures = measured_pictures(config)
    if config.init not in names(InitName):
        pictures.append(("--init", config.init))
    for flag, path in pictures:
        if not path.isprintable():
            raise UserError(f"{flag} {files.quoted(path)} has a name that cannot be printed: rename the file")
        images.verify(path, flag)
    sizes = {path: images.size_px(path, flag) for flag, path in pictures}
    if weights == "self":
        _check_learning(config, objective, sizes)
    stages = _stages(config, objective, sizes)
    inputs = (*(Input(flag, path, files.sha256(path)) for flag, path in pictures), *_network_input(config, weights))
    jitter_px = find_backbone(config.backbone).jitter_px if config.jitter is None else config.jitter
    return Plan(weights, objective, _style_blend(config), jitter_px, stages, sizes[config.content], inputs)


def measured_pictures(config: StylizeConfig) -> list[tuple[str, str]]:
    """(flag, path) of the pictures whose features are measured: the content, then the styles."""
    return [("--content", config.content), *(("--style", path) for path in config.style)]


def _network_input(config: StylizeConfig, weights: str) -> tuple[Input, ...]:
    """The file of weights, or the folder of an exported network; nothing for weights that have a name."""
    folder = exported_folder(config.backbone)
    if folder is not None:
        try:
            return (Input("--backbone", folder, files.sha256_of_folder(folder)),)
        except OSError as error:
            raise UserError(f"--backbone={config.backbone} cannot be read ({error.strerror}): give a folder that you "
                            "may read") from None
    if weights in find_backbone(config.backbone).weights:
        return ()
    files.check_readable(weights, "--weights")
    return (Input("--weights", weights, files.sha256(weights)),)


def complete(config: StylizeConfig, plan: Plan) -> StylizeConfig:
    """The config with everything that was left out filled in, so that it means the same under other defaults."""
    objective = plan.objective

    def written(layers: tuple[LayerWeight, ...]) -> tuple[str, ...]:
        return tuple(f"{layer}@{weight!r}" for layer, weight in layers)

    return dataclasses.replace(
        config, weights=plan.weights, style_blend=plan.style_blend, content_layers=written(objective.content_layers),
        style_layers=written(objective.style_layers), content_weight=objective.weights.content,
        style_weight=objective.weights.style, smoothness_weight=objective.weights.smoothness,
        smoothing=objective.smoothing.written(), jitter=plan.jitter_px)


def settings(config: StylizeConfig, plan: Plan) -> dict[str, Any]:
    """What the picture depends on, `{flag: value}`; files by base name and SHA-256: moving them changes nothing."""
    by_path = {item.path: {"file": Path(item.path).name, "sha256": item.sha256} for item in plan.inputs}
    values: dict[str, Any] = {}
    for name, given in vars(complete(config, plan)).items():
        if name == "style":
            given = [by_path[path] for path in given]
        elif name in ("content", "init", "weights"):
            given = by_path.get(given, given)
        elif name == "backbone":
            given = by_path[folder] if (folder := exported_folder(given)) is not None else given
        values[f"--{name}"] = list(given) if isinstance(given, tuple) else given
    return values


def resolved(plan: Plan) -> dict[str, Any]:
    """The plan as plain data for `config.json`."""
    stages = [{**stage._asdict(), "width": plan.stage_size_px(index)[0], "height": plan.stage_size_px(index)[1]}
              for index, stage in enumerate(plan.stages)]
    objective = plan.objective
    return {"weights": Path(plan.weights).name, "content_layers": dict(objective.content_layers),
            "style_layers": dict(objective.style_layers),
            "smoothed_layers": list(objective.smoothed_layers), "term_weights": objective.weights._asdict(),
            "style_blend": list(plan.style_blend), "stages": stages}


def stored_stages(resolved_plan: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages that `resolved` wrote."""
    return tuple(Stage(*(stage[name] for name in Stage._fields)) for stage in resolved_plan["stages"])


def _objective(config: StylizeConfig) -> Objective:
    row = find_backbone(config.backbone)
    valid = [layer.name for layer in row.layers]

    def layers(flag: str, texts: tuple[str, ...], default: tuple[LayerWeight, ...],
               term_weight: float) -> tuple[LayerWeight, ...]:
        chosen = parse_layers(texts, valid, flag) or default
        if term_weight and not chosen:
            raise UserError(f"{flag} is missing: --backbone={config.backbone} has no default for it; give some of "
                            f"{', '.join(valid)}")
        return chosen

    given = TermWeights(config.content_weight, config.style_weight, config.smoothness_weight)  # type: ignore[arg-type]
    defaults = DEFAULT_WEIGHTS[config.normalization]
    weights = TermWeights(*(default if weight is None else weight
                            for weight, default in zip(given, defaults, strict=True)))
    if not any(weights):
        raise UserError("--content_weight, --style_weight and --smoothness_weight are all 0: give one above 0")
    objective = Objective(
        layers("--content_layers", config.content_layers, row.content_layers, weights.content),
        layers("--style_layers", config.style_layers, row.style_layers, weights.style),
        weights, config.normalization, config.statistic)
    # Measured by benchmarks/smoothing.py: dividing by the targets' energy does what smoothing is for.
    default = "none" if config.normalization == "relative" else row.smoothing
    smoothing = parse_smoothing(config.smoothing or default)
    deep = tuple(layer.name for layer in row.layers
                 if layer.stride >= SMOOTHED_STRIDE and layer.name in objective.layers())
    return objective._replace(smoothing=smoothing, smoothed_layers=deep if smoothing.name != "none" else ())


def _style_blend(config: StylizeConfig) -> tuple[float, ...]:
    """Blend weights that sum to 1."""
    if not config.style_blend:
        return (1.0 / len(config.style),) * len(config.style)
    if len(config.style_blend) != len(config.style):
        raise UserError(f"--style_blend has {len(config.style_blend)} weights for {len(config.style)} styles: "
                        "give one for each --style")
    largest = max(config.style_blend)
    if not largest:
        raise UserError("--style_blend: every weight is 0; give at least one style a weight above 0")
    # Divided by the largest first: the sum of huge weights would be infinite.
    total = sum(weight / largest for weight in config.style_blend)
    return tuple(weight / largest / total for weight in config.style_blend)


def _check_learning(config: StylizeConfig, objective: Objective, sizes: Mapping[str, tuple[int, int]]) -> None:
    smallest = smallest_side_px(config.backbone, objective.layers())
    for flag, path in measured_pictures(config):
        check_learnable(sizes[path], smallest, flag, path, "its filters are learned from it; --weights=bundled learns "
                        "nothing")


def check_learnable(size_px: tuple[int, int], smallest_px: int, flag: str, path: str, reason: str) -> None:
    """Raises `UserError` for a picture that is too small to learn filters from.

    They are learned from pictures at their own size, up to `LEARNING_SIDE_PX`; pictures are not enlarged.

    Args:
        size_px: (width, height) of the file.
        smallest_px: what the deepest layer needs.
        reason: says who asks.
    """
    learned_px = images.fit(min(LEARNING_SIDE_PX, max(size_px)), *size_px)
    images.check_smallest_side(learned_px, smallest_px, flag, path, reason)


def _stages(config: StylizeConfig, objective: Objective,
            sizes: Mapping[str, tuple[int, int]]) -> tuple[Stage, ...]:
    """The pyramid without the stages at which a picture would be too small for the deepest layer."""
    # Two pixels: smoothness and the smoothed gradient need a neighbor.
    smallest = max(2, smallest_side_px(config.backbone, objective.layers()))
    measured = measured_pictures(config)
    for flag, path in measured:
        fitted = _fitted(flag, config.size, sizes[path])
        if min(fitted) < smallest:
            is_shrunk = flag == "--content" or max(sizes[path]) > config.size
            raise UserError(
                f"{flag} {files.quoted(path)} is {fitted[0]} × {fitted[1]} px at --size={config.size}: the layers of "
                f"{config.backbone} need {smallest} px; give a larger {'--size' if is_shrunk else 'picture'} "
                "or shallower layers")
    min_size = min(config.min_size, config.size)
    while any(min(_fitted(flag, min_size, sizes[path])) < smallest for flag, path in measured):
        min_size += 1
    return plan_stages(config.size, min_size, config.steps)


def _fitted(flag: str, long_side_px: int, size_px: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture is measured: the photo at the stage's size, a style never enlarged."""
    if flag == "--style":
        long_side_px = min(long_side_px, max(size_px))
    return images.fit(long_side_px, *size_px)
