"""The part of a plan that says what is measured: layers, weights and units of the terms. No TensorFlow.

A setting or a file that is wrong raises `UserError`, whose text says what to give instead.
"""

from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig, write_value
from nst_tf.grammar import LARGEST_WEIGHT, Channels, LayerWeight, parse_layers, parse_smoothing
from nst_tf.losses.objective import DEFAULT_WEIGHTS, DREAM_WEIGHT, DreamLayer, Objective, shares
from nst_tf.values import SMALLEST_NUMBER, is_computed_with
from nst_tf.vocabulary import UserError

# The layers that `--smoothing` changes: Wang, Li, Vasconcelos 2021 (in their code) smooth ResNet's last two stages.
SMOOTHED_STRIDE = 16


def plan_objective(config: StylizeConfig) -> Objective:
    """The objective of a config, with what was left out filled in from the backbone's row."""
    if config.normalization != "relative" and config.statistic != "gram":
        raise UserError(f"--normalization={config.normalization} is a cost function of Gram matrices: give it with "
                        f"--statistic=gram, or --statistic={config.statistic} with --normalization=relative")
    row = find_backbone(config.backbone)
    defaults, content_layers = DEFAULT_WEIGHTS[config.normalization], row.content_layers
    if config.normalization == "relative" and row.content_weight is not None:
        defaults = defaults._replace(content=row.content_weight)
    if not config.content:
        _check_no_content(config)
        defaults, content_layers = defaults._replace(content=0.0), ()
    flags = {name: getattr(config, f"{name}_weight") for name in ("content", "style", "smoothness", "neighbors")}
    weights = defaults._replace(**{name: weight for name, weight in flags.items() if weight is not None})
    objective = _with_dream(config, Objective(
        _layers(config, "content", content_layers, weights.content),
        _layers(config, "style", row.style_layers, weights.style or weights.neighbors), weights, config.normalization,
        config.statistic))
    if weights.neighbors:
        objective = objective._replace(neighbor_layers=objective.style_layers)
    if not objective.layers():
        raise UserError("--content_weight, --style_weight, --dream_weight and --neighbors_weight are all 0: give one "
                        "above 0, so that the network has something to say")
    _check_products(objective)
    return _with_smoothing(config, objective)


def _check_products(objective: Objective) -> None:
    """Raises `UserError` where weights are multiplied, as `gatys` and `ng` do, and a step does not have the product."""
    if objective.normalization == "relative":
        return
    for term, layers in (("content", objective.content_layers), ("style", objective.style_layers)):
        weight = getattr(objective.weights, term)
        for layer, layer_weight in layers:
            product = weight * layer_weight
            if product > LARGEST_WEIGHT or not is_computed_with(product) or weight and layer_weight and not product:
                raise UserError(f"--{term}_weight={weight:g} times the weight of --{term}_layers={layer}@"
                                f"{layer_weight:g} is out of range: give numbers whose product is from "
                                f"{SMALLEST_NUMBER:g} to {LARGEST_WEIGHT:g}")


def _check_no_content(config: StylizeConfig) -> None:
    """Raises `UserError` for a setting that has no meaning without a photo."""
    for name in ("content_weight", "content_layers", "content_mask", "color"):
        value = getattr(config, name)
        if value and value != getattr(StylizeConfig, name):
            raise UserError(f"--{name}={write_value(value)} needs --content: give a photo, or leave it out")


def _layers(config: StylizeConfig, term: str, default: tuple[LayerWeight, ...],
            term_weight: float) -> tuple[LayerWeight, ...]:
    """The layers of the content or the style."""
    flag, names = f"--{term}_layers", [layer.name for layer in find_backbone(config.backbone).all_layers]
    parsed = parse_layers(getattr(config, f"{term}_layers"), names, flag)
    if term_weight and not parsed and not default:
        raise UserError(f"{flag} is missing: --backbone={config.backbone} has no default for it; give some of "
                        f"{', '.join(names)}")
    return tuple(LayerWeight(layer, weight) for layer, _, weight in parsed) or default


def _with_dream(config: StylizeConfig, objective: Objective) -> Objective:
    """The objective with the dream layers of a config; channels that are ranked have no numbers yet."""
    layers, weight = parse_dream(config), config.dream_weight
    if not layers:
        if weight:
            raise UserError(f"--dream_weight={weight} needs --dream: give layers to dream of, as in "
                            f"--dream={find_backbone(config.backbone).layers[-1].name}")
        return objective
    if weight is None:
        if config.normalization != "relative":
            raise UserError(f"--dream needs --dream_weight with --normalization={config.normalization}, whose other "
                            "terms have the units of the network: give a number of the size of their loss")
        weight = DREAM_WEIGHT
    _check_unused(config, layers, objective.layers())
    signed = tuple(layer for layer, _, _ in layers if find_backbone(config.backbone).is_signed(layer))
    return objective._replace(dream_layers=layers, signed_layers=signed,
                              weights=objective.weights._replace(dream=weight))


def parse_dream(config: StylizeConfig) -> tuple[DreamLayer, ...]:
    """Every `LAYER[:CHANNELS][@WEIGHT]` of --dream, checked against the backbone's layers; `all` is filled in."""
    row = find_backbone(config.backbone)
    counts = {layer.name: layer.channels for layer in row.all_layers}
    layers = [DreamLayer(layer, channels or Channels("all"), weight) for layer, channels, weight
              in parse_layers(config.dream, counts, "--dream", takes_channels=True, finders=row.finders)]
    for layer, channels, _ in layers:
        check_channels(channels, counts[layer], layer)
    return tuple(layers)


def check_channels(channels: Channels, count: int, layer: str, flag: str = "--dream") -> None:
    """Raises `UserError` for channels that a layer of `count` channels does not have."""
    what, last = f"{flag}={layer}:{channels.written()}", max(channels.indices, default=0)
    if last >= count:
        raise UserError(f"{what}: channel {last} does not exist; give 0 to {count - 1}")
    if channels.first > count:
        raise UserError(f"{what} is more than its {count} channels: give {channels.rule}:N with N <= {count}")


def _check_unused(config: StylizeConfig, layers: tuple[DreamLayer, ...], read: tuple[str, ...]) -> None:
    for layer, channels, _ in layers:
        if channels.rule == "unused" and layer in read:
            free = [other.name for other in find_backbone(config.backbone).layers if other.name not in read]
            where = f"give one of {', '.join(free)}" if free else "leave it out of --style_layers"
            raise UserError(f"--dream={layer}:{channels.written()}: content or style reads {layer}, and would undo the "
                            f"dream; {where}, or {layer}:weak:{channels.first}")


def _with_smoothing(config: StylizeConfig, objective: Objective) -> Objective:
    """The objective with its deep layers smoothed, by --smoothing or as the backbone needs it."""
    row = find_backbone(config.backbone)
    # Measured by benchmarks/smoothing.py: dividing by the targets' energy does what smoothing is for.
    default = "none" if config.normalization == "relative" else row.smoothing
    smoothing = parse_smoothing(config.smoothing or default)
    if smoothing.name == "none":
        return objective
    deep = [layer.name for layer in row.layers if layer.stride >= SMOOTHED_STRIDE]
    smoothed = tuple(layer for layer in deep if layer in objective.layers())
    if smoothed:
        return objective._replace(smoothing=smoothing, smoothed_layers=smoothed)
    if config.smoothing:
        remedy = f"choose one of {', '.join(deep)}, or leave it out" if deep else "leave it out"
        raise UserError(f"--smoothing={config.smoothing} changes layers of stride {SMOOTHED_STRIDE} and more, and none "
                        f"of the layers chosen is one: {remedy}")
    return objective


def plan_style_blend(style: tuple[str, ...], style_blend: tuple[float, ...]) -> tuple[float, ...]:
    """Blend weights of --style that sum to 1."""
    weights = style_blend or (1.0,) * len(style)
    if len(weights) != len(style):
        raise UserError(f"--style_blend has {len(weights)} weights for {len(style)} styles: "
                        "give one for each --style")
    if not any(weights):
        raise UserError("--style_blend: every weight is 0; give at least one style a weight above 0")
    return tuple(shares(weights))
