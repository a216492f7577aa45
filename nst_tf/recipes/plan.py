"""Resolves a config before any long work: every name, file, size, layer and weight is checked here. No TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.table import BACKBONES, check_weights, smallest_side_px
from nst_tf.config import StylizeConfig, check
from nst_tf.grammar import LayerWeight, parse_layers
from nst_tf.io import files, images
from nst_tf.losses.terms import DEFAULT_WEIGHTS, Objective, TermWeights
from nst_tf.optimize.pyramid import Stage, plan_stages
from nst_tf.vocabulary import InitName, UserError, names, unknown

# Networks that learn from the pictures at hand see them at up to this long side, whatever --size is.
LEARNING_SIDE_PX = 512


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
    pictures = _pictures(config)
    for flag, path in pictures:
        images.verify(path, flag)
    sizes = {path: images.size_px(path, flag) for flag, path in pictures}
    stages = _stages(config, objective, pictures, sizes)
    read = pictures + ([("--weights", weights)] if weights not in BACKBONES[config.backbone].weights else [])
    inputs = tuple(Input(flag, path, files.sha256(path)) for flag, path in read)
    return Plan(weights, objective, _style_blend(config), stages, sizes[config.content], inputs)


def settings(config: StylizeConfig, plan: Plan) -> dict[str, Any]:
    """What the picture depends on, `{flag: value}`; files by base name and SHA-256: moving them changes nothing."""
    by_path = {item.path: {"file": Path(item.path).name, "sha256": item.sha256} for item in plan.inputs}

    def value(given: Any) -> Any:
        if isinstance(given, tuple):
            return [value(item) for item in given]
        return by_path.get(given, given) if isinstance(given, str) else given

    return {f"--{name}": value(given) for name, given in vars(config).items()}


def complete_settings(config: StylizeConfig, plan: Plan) -> dict[str, Any]:
    """`settings` with what was left out filled in, in the words of the flags: for people to read and compare."""
    objective = plan.objective

    def written(layers: tuple[LayerWeight, ...]) -> list[str]:
        return [f"{layer}@{weight:.3g}" for layer, weight in layers]

    weights = {f"--{term}_weight": weight for term, weight in objective.weights._asdict().items()}
    return settings(config, plan) | weights | {
        "--weights": Path(plan.weights).name, "--style_blend": [round(share, 4) for share in plan.style_blend],
        "--content_layers": written(objective.content_layers), "--style_layers": written(objective.style_layers)}


def resolved(plan: Plan) -> dict[str, Any]:
    """The plan as plain data for `config.json`."""
    stages = [{**stage._asdict(), "width": plan.stage_size_px(index)[0], "height": plan.stage_size_px(index)[1]}
              for index, stage in enumerate(plan.stages)]
    objective = plan.objective
    return {"weights": Path(plan.weights).name, "content_layers": dict(objective.content_layers),
            "style_layers": dict(objective.style_layers), "term_weights": objective.weights._asdict(),
            "style_blend": list(plan.style_blend), "stages": stages}


def stored_stages(resolved_plan: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages that `resolved` wrote."""
    return tuple(Stage(*(stage[name] for name in Stage._fields)) for stage in resolved_plan["stages"])


def _objective(config: StylizeConfig) -> Objective:
    row = BACKBONES[config.backbone]
    valid = [layer.name for layer in row.layers]

    def layers(flag: str, texts: tuple[str, ...], default: tuple[LayerWeight, ...]) -> tuple[LayerWeight, ...]:
        return parse_layers(texts, valid, flag) or default

    given = TermWeights(config.content_weight, config.style_weight, config.smoothness_weight)  # type: ignore[arg-type]
    defaults = DEFAULT_WEIGHTS[config.normalization]
    weights = TermWeights(*(default if weight is None else weight
                            for weight, default in zip(given, defaults, strict=True)))
    if not any(weights):
        raise UserError("--content_weight, --style_weight and --smoothness_weight are all 0: give one above 0")
    return Objective(
        layers("--content_layers", config.content_layers, row.content_layers),
        layers("--style_layers", config.style_layers, row.style_layers),
        weights, config.normalization, config.statistic)


def _style_blend(config: StylizeConfig) -> tuple[float, ...]:
    """Blend weights that sum to 1."""
    if not config.style_blend:
        return (1.0 / len(config.style),) * len(config.style)
    if len(config.style_blend) != len(config.style):
        raise UserError(f"--style_blend has {len(config.style_blend)} weights for {len(config.style)} styles: "
                        "give one for each --style")
    total = sum(config.style_blend)
    if not total:
        raise UserError("--style_blend: every weight is 0; give at least one style a weight above 0")
    return tuple(weight / total for weight in config.style_blend)


def _pictures(config: StylizeConfig) -> list[tuple[str, str]]:
    pictures = [("--content", config.content), *(("--style", path) for path in config.style)]
    return pictures + ([] if config.init in names(InitName) else [("--init", config.init)])


def _stages(config: StylizeConfig, objective: Objective, pictures: list[tuple[str, str]],
            sizes: Mapping[str, tuple[int, int]]) -> tuple[Stage, ...]:
    """The pyramid without the stages at which a picture would be too small for the deepest layer."""
    smallest = smallest_side_px(config.backbone, objective.layers())
    measured = [(flag, path) for flag, path in pictures if flag != "--init"]
    for flag, path in measured:
        fitted = _fitted(flag, config.size, sizes[path])
        if min(fitted) < smallest:
            raise UserError(
                f"{flag} {files.quoted(path)} is {fitted[0]} × {fitted[1]} px at --size={config.size}: the layers of "
                f"{config.backbone} need {smallest} px; give a larger {'--size' if flag == '--content' else 'picture'} "
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
