"""The part of a plan that says which units shall respond more. No TensorFlow."""

from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.grammar import Channels, parse_layer_channels
from nst_tf.losses.terms import DREAM_WEIGHT, DreamLayer, Objective
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


def check_channels(asked: Channels, count: int, layer: str) -> None:
    """Raises `UserError` for a channel that a layer of so many has not, or more than it has."""
    last = max(asked.indices, default=0)
    if last >= count:
        raise UserError(f"--dream={layer}:{asked.written()}: channel {last} does not exist; give 0 to {count - 1}")
    if asked.first > count:
        raise UserError(f"--dream={layer}:{asked.written()} is more than its {count} channels: give {asked.rule}:N "
                        f"with N <= {count}")


def _check_unused(config: StylizeConfig, layers: tuple[DreamLayer, ...], read: tuple[str, ...]) -> None:
    for layer, channels, _ in layers:
        if channels.rule == "unused" and layer in read:
            free = [other.name for other in find_backbone(config.backbone).layers if other.name not in read]
            where = f"give one of {', '.join(free)}" if free else "leave it out of --style_layers"
            raise UserError(f"--dream={layer}:{channels.written()}: content or style reads {layer}, and would undo the "
                            f"dream; {where}, or {layer}:weak:{channels.first}")
