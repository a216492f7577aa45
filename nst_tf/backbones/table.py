"""`BACKBONES`: one row for each network. Adding one = its file, a row here, a name in `vocabulary.py`.

No TensorFlow here: `--list_layers` and the checks of layers, weights and sizes read the facts of a row; a row's
`build` imports its network when it is called.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from nst_tf.backbones.facts import Layer
from nst_tf.backbones.kmeans_recipe import KMEANS_LAYERS, RECIPE
from nst_tf.backbones.saved_model_facts import exported_folder, read_facts
from nst_tf.backbones.squeezenet_facts import SQUEEZENET_LAYERS
from nst_tf.backbones.vgg_facts import VGG_LAYERS
from nst_tf.grammar import LayerWeight
from nst_tf.vocabulary import UserError, nearest

if TYPE_CHECKING:
    from nst_tf.backbones.extractor import Extractor

Picture = npt.NDArray[np.float32]


class Backbone(NamedTuple):
    """A row: facts, defaults and the builder `build(layers, weights, seed, pictures) -> Extractor`.

    `pictures` are the content and the styles, float32 [H, W, 3] in [0, 1], for a network that learns from them.
    """

    layers: tuple[Layer, ...]
    content_layers: tuple[LayerWeight, ...]
    style_layers: tuple[LayerWeight, ...]
    weights: tuple[str, ...]   # names that stand for weights; none where the network brings its own
    default_weights: str       # one of them, or "" where a file must be given
    suffix: str                # ending of a weights file
    build: Callable[[Sequence[str], str, int, Sequence[Picture]], "Extractor"]


def _vgg16(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Picture]) -> "Extractor":
    from nst_tf.backbones.vgg import build_vgg
    return build_vgg("VGG16", layers, weights, seed)


def _vgg19(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Picture]) -> "Extractor":
    from nst_tf.backbones.vgg import build_vgg
    return build_vgg("VGG19", layers, weights, seed)


def _kmeans(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Picture]) -> "Extractor":
    from nst_tf.backbones import kmeans, kmeans_learning
    from nst_tf.backbones.extractor import Extractor
    if weights == "self":
        deepest = max((index for index, layer in enumerate(RECIPE) if layer.name in layers), default=0)
        filters = kmeans_learning.learn(pictures, seed, RECIPE[:deepest + 1])
        mean_color = kmeans_learning.mean_color(pictures)
    else:
        filters, mean_color = kmeans.load(kmeans.BUNDLED if weights == "bundled" else weights)
    return Extractor(kmeans.build(filters, layers), mean_color)


def _squeezenet(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Picture]) -> "Extractor":
    from nst_tf.backbones.squeezenet import build_squeezenet
    return build_squeezenet(layers, weights, seed)


def _shares(**weights: float) -> tuple[LayerWeight, ...]:
    """Layers with weights that sum to 1."""
    return tuple(LayerWeight(layer, weight / sum(weights.values())) for layer, weight in weights.items())


BACKBONES: dict[str, Backbone] = {
    # Layers of Gatys, Ecker, Bethge 2016, who used VGG19.
    "vgg19": Backbone(
        VGG_LAYERS["VGG19"], _shares(block4_conv2=1), _shares(**{f"block{block}_conv1": 1 for block in range(1, 6)}),
        ("imagenet", "random"), "imagenet", ".h5", _vgg19),
    "vgg16": Backbone(
        VGG_LAYERS["VGG16"], _shares(block4_conv2=1), _shares(**{f"block{block}_conv1": 1 for block in range(1, 6)}),
        ("imagenet", "random"), "imagenet", ".h5", _vgg16),
    "kmeans": Backbone(
        KMEANS_LAYERS, _shares(conv4=1), _shares(conv1=3, conv2=1, conv3=1, conv4=1.5, conv5=2),
        ("self", "bundled"), "self", ".npz", _kmeans),
    "squeezenet": Backbone(
        SQUEEZENET_LAYERS, _shares(fire7=1), _shares(conv1=1, fire2=1, fire4=1, fire6=1, fire8=1),
        ("random",), "", ".net", _squeezenet),
}


def find_backbone(name: str) -> Backbone:
    """The row of a name, or the row of `saved_model:DIR`, an extractor that `scripts/export_model.py` wrote.

    Raises:
        UserError: the folder holds no SavedModel of this project.
    """
    folder = exported_folder(name)
    if folder is None:
        return BACKBONES[name]
    facts = read_facts(folder)

    def build(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Picture]) -> "Extractor":
        from nst_tf.backbones.saved_model import load_extractor
        return load_extractor(folder, facts, layers)

    return Backbone(layers=facts.layers, content_layers=facts.content_layers, style_layers=facts.style_layers,
                    weights=(), default_weights="", suffix="", build=build)


def check_weights(backbone: str, weights: str) -> str:
    """The weights to use: the row's default for `""`, one of its names, or a file that exists.

    Raises:
        UserError: neither a name of this row nor a file with its ending, or any for a network that brings its own.
    """
    row = find_backbone(backbone)
    if not row.weights:
        if weights:
            raise UserError(f"--weights={weights}: --backbone={backbone} brings its own weights; leave --weights out")
        return ""
    weights = weights or row.default_weights
    if weights in row.weights or (weights.endswith(row.suffix) and Path(weights).is_file()):
        return weights
    names = " or ".join(row.weights)
    if not weights:
        raise UserError(f"--backbone={backbone} needs --weights: give a {row.suffix} file, or {names}")
    if weights.endswith(row.suffix) or "/" in weights:
        raise UserError(f"--weights={weights}: no such {row.suffix} file; --backbone={backbone} takes {names}, or a "
                        f"{row.suffix} file")
    raise UserError(f"--weights={weights} is unknown for --backbone={backbone}{nearest(weights, row.weights)} "
                    f"Valid: {names}, or a {row.suffix} file")


def smallest_side_px(backbone: str, layers: Sequence[str]) -> int:
    """The least side of a picture that reaches every one of these layers."""
    return max((layer.smallest_side_px for layer in find_backbone(backbone).layers if layer.name in layers),
               default=1)


def layer_listing(backbone: str) -> str:
    """The table that `--list_layers` prints."""
    row = find_backbone(backbone)
    lines = [f"{'layer':<14}{'channels':>9}{'stride':>8}{'receptive field':>17}{'smallest side':>15}  default"]
    for layer in row.layers:
        roles = [role for role, chosen in (("content", row.content_layers), ("style", row.style_layers))
                 if layer.name in (name for name, _ in chosen)]
        lines.append(f"{layer.name:<14}{layer.channels:>9}{layer.stride:>8}{layer.receptive_field_px:>14} px"
                     f"{layer.smallest_side_px:>12} px  {', '.join(roles)}".rstrip())
    return "\n".join(lines)
