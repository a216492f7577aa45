"""The part of a plan that says what is measured: layers, weights and normalization of the terms. No TensorFlow."""

from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.grammar import LayerWeight, parse_layers, parse_smoothing
from nst_tf.losses.terms import DEFAULT_WEIGHTS, Objective, TermWeights
from nst_tf.recipes.plan_dream import plan_dream
from nst_tf.vocabulary import UserError

# The layers that `--smoothing` changes: Wang, Li, Vasconcelos 2021 (in their code) smooth ResNet's last two stages.
SMOOTHED_STRIDE = 16


def plan_objective(config: StylizeConfig) -> Objective:
    """The objective of a config, with what was left out filled in from the backbone's row.

    Raises:
        UserError: an unknown layer, one that is missing, or weights that are all 0.
    """
    if config.normalization != "relative" and config.statistic != "gram":
        raise UserError(f"--normalization={config.normalization} is a cost function of Gram matrices: give it with "
                        f"--statistic=gram, or --statistic={config.statistic} with --normalization=relative")
    row = find_backbone(config.backbone)
    valid = [layer.name for layer in row.layers]

    def layers(flag: str, texts: tuple[str, ...], default: tuple[LayerWeight, ...],
               term_weight: float) -> tuple[LayerWeight, ...]:
        chosen = parse_layers(texts, valid, flag) or default
        if term_weight and not chosen:
            raise UserError(f"{flag} is missing: --backbone={config.backbone} has no default for it; give some of "
                            f"{', '.join(valid)}")
        return chosen

    defaults, content_layers = DEFAULT_WEIGHTS[config.normalization], row.content_layers
    if not config.content:
        _check_no_content(config)
        defaults, content_layers = defaults._replace(content=0.0), ()
    given = {name: getattr(config, f"{name}_weight") for name in TermWeights._fields if name != "dream"}
    weights = defaults._replace(**{name: weight for name, weight in given.items() if weight is not None})
    objective = Objective(
        layers("--content_layers", config.content_layers, content_layers, weights.content),
        layers("--style_layers", config.style_layers, row.style_layers, weights.style),
        weights, config.normalization, config.statistic)
    objective = plan_dream(config, objective)
    if not objective.layers():
        raise UserError("--content_weight, --style_weight and --dream_weight are all 0: give one above 0, so that the "
                        "network has something to say")
    return _with_smoothing(config, objective)


def _with_smoothing(config: StylizeConfig, objective: Objective) -> Objective:
    """The objective with its deep layers smoothed as was asked, or as its backbone needs it."""
    row = find_backbone(config.backbone)
    # Measured by benchmarks/smoothing.py: dividing by the targets' energy does what smoothing is for.
    default = "none" if config.normalization == "relative" else row.smoothing
    smoothing = parse_smoothing(config.smoothing or default)
    if smoothing.name == "none":
        return objective
    deep = [layer.name for layer in row.layers if layer.stride >= SMOOTHED_STRIDE]
    chosen = tuple(layer for layer in deep if layer in objective.layers())
    if chosen:
        return objective._replace(smoothing=smoothing, smoothed_layers=chosen)
    if config.smoothing:
        remedy = f"choose one of {', '.join(deep)}, or leave it out" if deep else "leave it out"
        raise UserError(f"--smoothing={config.smoothing} changes layers of stride {SMOOTHED_STRIDE} and more, and none "
                        f"of the layers chosen is one: {remedy}")
    return objective


def _check_no_content(config: StylizeConfig) -> None:
    """Raises `UserError` for settings that ask for something of the photo, which is not there."""
    if config.content_weight:
        raise UserError(f"--content_weight={config.content_weight} needs --content: give a photo, or leave it out")
    if config.content_layers:
        raise UserError("--content_layers needs --content: give a photo, or leave it out")
    if config.content_mask:
        raise UserError("--content_mask needs --content: give a photo, or leave it out")
    if config.color != "style":
        raise UserError(f"--color={config.color} needs --content: give a photo, or --color=style")


def plan_style_blend(config: StylizeConfig) -> tuple[float, ...]:
    """Blend weights that sum to 1.

    Raises:
        UserError: not one for each style, or all 0.
    """
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
