"""The part of a plan that says what is measured: layers, weights and units of the terms. No TensorFlow."""

from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.grammar import Channels, LayerWeight, parse_layer_channels, parse_layers, parse_smoothing
from nst_tf.losses.objective import DEFAULT_WEIGHTS, DREAM_WEIGHT, DreamLayer, Objective, TermWeights
from nst_tf.vocabulary import UserError, unknown


def plan_dream(config: StylizeConfig, objective: Objective) -> Objective:
    """The objective with the dream layers of a config, their ranked channels as they were asked for.

    Raises:
        UserError: an unknown layer or channel, `unused` on a layer that content or style reads, or a weight without
            layers, or none where there is no default.
    """
    layers = parse_dream(config)
    if not layers:
        if config.dream_weight:
            raise UserError(f"--dream_weight={config.dream_weight} needs --dream: give layers to dream of, as in "
                            f"--dream={find_backbone(config.backbone).layers[-1].name}")
        return objective
    weight = config.dream_weight
    if weight is None:
        if config.normalization != "relative":
            raise UserError(f"--dream needs --dream_weight with --normalization={config.normalization}, whose other "
                            "terms have the units of the network: give a number of the size of their loss")
        weight = DREAM_WEIGHT
    _check_unused(config, layers, objective.layers())
    return objective._replace(dream_layers=layers, weights=objective.weights._replace(dream=weight))


def parse_dream(config: StylizeConfig) -> tuple[DreamLayer, ...]:
    """Every `LAYER[:CHANNELS][@WEIGHT]` of --dream, checked against the backbone's layers; `all` is filled in.

    Raises:
        UserError: an unknown layer, one named twice, a channel that it does not have, or weights that are all zero.
    """
    channels = {layer.name: layer.channels for layer in find_backbone(config.backbone).layers}
    parsed: list[DreamLayer] = []
    for text in config.dream:
        layer, asked, weight = parse_layer_channels(text, "--dream")
        if layer not in channels:
            raise unknown("--dream: layer", layer, channels)
        if layer in (earlier.layer for earlier in parsed):
            raise UserError(f"--dream: layer '{layer}' is named twice; name it once, with all its channels")
        asked = asked or Channels("all")
        check_channels(asked, channels[layer], layer)
        parsed.append(DreamLayer(layer, asked, weight))
    if parsed and not any(layer.weight for layer in parsed):
        raise UserError("--dream: every weight is 0; give at least one layer a weight above 0")
    return tuple(parsed)


def written_dream(config: StylizeConfig) -> tuple[str, ...]:
    """What was asked for, in full: a rank stays a rank, since a new run measures anew."""
    return tuple(f"{layer}:{channels.written()}@{weight!r}" for layer, channels, weight in parse_dream(config))


def check_channels(asked: Channels, count: int, layer: str, flag: str = "--dream") -> None:
    """Raises `UserError` for a channel that a layer of so many has not, or more than it has."""
    last = max(asked.indices, default=0)
    if last >= count:
        raise UserError(f"{flag}={layer}:{asked.written()}: channel {last} does not exist; give 0 to {count - 1}")
    if asked.first > count:
        raise UserError(f"{flag}={layer}:{asked.written()} is more than its {count} channels: give {asked.rule}:N "
                        f"with N <= {count}")


def _check_unused(config: StylizeConfig, layers: tuple[DreamLayer, ...], read: tuple[str, ...]) -> None:
    for layer, channels, _ in layers:
        if channels.rule == "unused" and layer in read:
            free = [other.name for other in find_backbone(config.backbone).layers if other.name not in read]
            where = f"give one of {', '.join(free)}" if free else "leave it out of --style_layers"
            raise UserError(f"--dream={layer}:{channels.written()}: content or style reads {layer}, and would undo the "
                            f"dream; {where}, or {layer}:weak:{channels.first}")


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
