"""What `nst_tf.json` in an exported SavedModel says: layers, defaults, where it comes from. No TensorFlow."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.facts import Layer
from nst_tf.grammar import LARGEST_JITTER_PX, LARGEST_WEIGHT, LayerWeight, check_path, parse_smoothing
from nst_tf.vocabulary import UserError

# What stands before the folder in --backbone.
SAVED_MODEL = "saved_model:"
FACTS_FILE = "nst_tf.json"
LARGEST_FACTS_BYTES = 1_000_000
_DEFAULTS = ("content_layers", "style_layers", "dream_layers")


class Facts(NamedTuple):
    """An exported extractor: `weights` is a name, or base name and SHA-256 of a file; layers from shallow to deep.

    The default layers are those of the backbone that were exported, with shares that sum to 1; none where none was.
    """

    nst_tf: str
    backbone: str
    weights: str | dict[str, str]
    seed: int
    mean_color: tuple[float, float, float]
    layers: tuple[Layer, ...]
    content_layers: tuple[LayerWeight, ...]
    style_layers: tuple[LayerWeight, ...]
    dream_layers: tuple[LayerWeight, ...]
    smoothing: str
    jitter_px: int
    motif_size_px: int
    content_weight: float | None = None


def exported_folder(backbone: str) -> str | None:
    """`DIR` of `saved_model:DIR`; None for a name of the table."""
    return backbone.removeprefix(SAVED_MODEL) if backbone.startswith(SAVED_MODEL) else None


def to_json(facts: Facts) -> str:
    """The text of `nst_tf.json`."""
    defaults = {name: dict(getattr(facts, name)) for name in _DEFAULTS}
    plain = facts._asdict() | {"layers": [layer._asdict() for layer in facts.layers]} | defaults
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str | bytes) -> Facts:
    """The facts that `to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OverflowError or RecursionError: the text is anything else.
    """
    stored = json.loads(text)
    layers = tuple(_layer(item) for item in stored["layers"])
    names = [layer.name for layer in layers]
    if not names or len(set(names)) < len(names):
        raise ValueError("no layers, or two of one name")
    red, green, blue = (_number(value) for value in stored["mean_color"])
    if not all(0 <= value <= 1 for value in (red, green, blue)) or not 0 <= stored["jitter_px"] <= LARGEST_JITTER_PX:
        raise ValueError("a mean color or a jitter that is out of range")
    if int(stored["motif_size_px"]) < 0:
        raise ValueError("a motif size that is negative")
    content_weight = stored.get("content_weight")  # older exports have none
    if content_weight is not None and not 0 <= content_weight <= LARGEST_WEIGHT:
        raise ValueError("a content weight that is out of range")
    content, style, dream = (_shares(stored[name], names) for name in _DEFAULTS)
    # Older exports of ResNet50 have a smoothing that is gone; this is ResNet50's now.
    smoothing = "softmax:10" if stored["smoothing"].startswith("scale:") else stored["smoothing"]
    return Facts(str(stored["nst_tf"]), str(stored["backbone"]), stored["weights"], int(stored["seed"]),
                 (red, green, blue), layers, content, style, dream,
                 parse_smoothing(smoothing).written(), int(stored["jitter_px"]), int(stored["motif_size_px"]),
                 content_weight)


def read_facts(folder: str) -> Facts:
    """The facts of the SavedModel in a folder.

    Raises:
        UserError: the folder holds no SavedModel, or not one that this project exported.
    """
    check_path(folder, f"--backbone={SAVED_MODEL}")
    what = f"--backbone={SAVED_MODEL}{folder}"
    remedy = "give a folder that scripts/export_model.py wrote"
    if not folder or not os.path.isfile(Path(folder) / "saved_model.pb"):
        raise UserError(f"{what} is no SavedModel (there is no {Path(folder) / 'saved_model.pb'}): {remedy}")
    path = Path(folder) / "assets" / FACTS_FILE
    if not os.path.isfile(path):
        raise UserError(f"{what} is a SavedModel of another program (there is no {path}): {remedy}")
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FACTS_BYTES + 1)
        if len(data) > LARGEST_FACTS_BYTES:
            raise ValueError(f"more than {LARGEST_FACTS_BYTES} bytes")
        return from_json(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:80]
        raise UserError(f"{what}: {path} is damaged ({reason}): export the model again") from None


def _layer(item: Mapping[str, Any]) -> Layer:
    # Older exports hold one fact more.
    layer = Layer(**{name: value for name, value in item.items() if name != "smallest_mirrored_side_px"})
    if not isinstance(layer.name, str) or not layer.name or not layer.name.isprintable():
        raise ValueError("a layer's name cannot be printed")
    if not all(isinstance(value, int) and value >= 1 for value in layer[1:]):
        raise ValueError(f"layer {layer.name} has facts that are no numbers of pixels or channels")
    return layer


def _shares(item: Mapping[str, Any], names: list[str]) -> tuple[LayerWeight, ...]:
    if not set(item) <= set(names) or any(_number(weight) < 0 for weight in item.values()):
        raise ValueError("a default layer that was not exported, or a weight below 0")
    if item and not sum(item.values()):
        raise ValueError("default layers whose weights are all 0")
    return tuple(LayerWeight(layer, float(weight)) for layer, weight in item.items())


def _number(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError("a number that is not finite")
    return float(value)
