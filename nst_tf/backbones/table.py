"""`BACKBONES`: one row for each network. A new network needs its builder, a row here and a name in `vocabulary.py`.

No TensorFlow here: `--list_layers` and the checks of layers, weights and sizes read the facts of a row. A row's `build`
imports its network when it is called, which is after a session has started TensorFlow.
"""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nst_tf.backbones.architectures import (
    OPERATIONS, POOLED_CLASSIFIER, SQUEEZENET_CLASSIFIER, VGG_CLASSIFIER,
)
from nst_tf.backbones.classes import find_class, image_classes
from nst_tf.backbones.facts import Layer, Operation, trace
from nst_tf.backbones.saved_model_facts import exported_folder, read_facts
from nst_tf.grammar import Finder, LayerWeight, Padding
from nst_tf.vocabulary import PrecisionName, UserError, nearest

Picture = npt.NDArray[np.float32]
# (layers, weights, seed, pictures) → Extractor, a class whose module needs TensorFlow.
Builder = Callable[[Sequence[str], str, int, Sequence[Picture]], Any]

TRAINED = Padding("trained", False)


class Variant(NamedTuple):
    """How a network differs from the one that was trained (see `surgery.vary`); by default it does not."""

    precision: PrecisionName = "float32"
    pooling: str | None = None  # a name of `PoolingName`
    padding: Padding = TRAINED


class Classifier(NamedTuple):
    """What tells the classes of ImageNet behind a network's other layers: built only where one of its layers is chosen.

    The mean over the positions of its last layer, `scores`, is what the softmax of the network takes.
    """

    operations: tuple[Operation, ...]
    scores: str
    is_signed: bool    # whether scores may be below 0; else they end in a ReLU as all other layers do
    weights_mb: float  # what the published file costs that has it, in 10⁶ bytes; 0 where it is part of every file
    lacking: tuple[str, ...] = ()  # names of weights that have none


class Memory(NamedTuple):
    """What a run takes: the process without pictures, and for each pixel the features and gradients of a whole step.

    Measured with the default layers (benchmarks/memory.py); layers that are deeper or shallower take more or less.
    """

    base_mb: float
    float32_bytes: float
    bfloat16_bytes: float


class Backbone(NamedTuple):
    """A row: facts, defaults and the builder `build(layers, weights, seed, pictures) -> Extractor`.

    A network that learns does so from `pictures`: content and styles, float32 [H, W, 3] in [0, 1].
    """

    operations: tuple[Operation, ...]  # none where an exported network does not say what it is made of
    content_layers: tuple[LayerWeight, ...]
    style_layers: tuple[LayerWeight, ...]
    dream_layers: tuple[LayerWeight, ...]
    weights: tuple[str, ...]   # names that stand for weights; none where the network brings its own
    default_weights: str       # one of them, or "" where a file must be given
    suffixes: tuple[str, ...]  # endings of a weights file
    weights_mb: float          # what the published file costs, in 10⁶ bytes
    build: Builder
    smoothing: str = "none"    # default of --smoothing but in `relative`, which needs none
    jitter_px: int = 0         # default of --jitter
    padding: str = "trained"   # default of --padding
    motif_size_px: int = 128   # default of --motif_size in `relative`
    content_weight: float | None = None  # default of --content_weight in `relative`, where the common one does not suit
    unpadded_px: int = 0       # border that convolutions without padding lose; --padding gives it back
    classifier: Classifier | None = None
    is_chain: bool = False     # one convolution after another, with pools alone between: --reduce folds channels there
    exported_layers: tuple[Layer, ...] = ()
    memory: Memory = Memory(1200, 3600, 3600)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that every file of weights has, from shallow to deep."""
        return self.exported_layers or trace(self.operations)

    @property
    def all_operations(self) -> tuple[Operation, ...]:
        """Those of the layers, then those of the classifier."""
        return self.operations + (self.classifier.operations if self.classifier else ())

    @property
    def all_layers(self) -> tuple[Layer, ...]:
        """The layers that a user may choose, from shallow to deep: those of the classifier too."""
        return self.exported_layers or trace(self.all_operations)

    @property
    def finders(self) -> Mapping[str, Finder]:
        """{layer: who knows the names of its channels}."""
        return {self.classifier.scores: find_class} if self.classifier else {}

    def channel_name(self, layer: str, channel: int) -> str:
        """`"207 golden retriever"` for a class, `"207"` for another channel."""
        return f"{channel} {image_classes()[channel].names[0]}" if layer in self.finders else str(channel)

    def is_signed(self, layer: str) -> bool:
        """Whether a layer has no ReLU and so tells with values below 0 too."""
        return self.classifier is not None and self.classifier.is_signed and self.classifier.scores == layer


def builder(path: str, *arguments: str, learns: bool = False) -> Builder:
    """The builder `"module:function"`, whose module needs TensorFlow and is imported when a network is built.

    Args:
        arguments: what the function takes before layers, weights and seed.
        learns: whether it takes the pictures too.
    """
    module, _, name = path.partition(":")

    def build(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Picture]) -> Any:
        function = getattr(importlib.import_module(module), name)
        return function(*arguments, layers, weights, seed, *([pictures] if learns else []))

    return build


def _application(row: str) -> Builder:
    return builder("nst_tf.backbones.applications:build_application", row)


def _squeezenet(version: str) -> Builder:
    return builder("nst_tf.backbones.caffe_networks:build_squeezenet", version)


def _shares(**weights: float) -> tuple[LayerWeight, ...]:
    """Layers with weights that sum to 1."""
    return tuple(LayerWeight(layer, weight / sum(weights.values())) for layer, weight in weights.items())


_IMAGENET = ("imagenet", "random")
_KERAS = (".h5", ".keras", ".npz")
_CONV10 = Classifier(SQUEEZENET_CLASSIFIER, "conv10", False, 0.0)
# Layers of Gatys, Ecker, Bethge 2016, who used VGG19.
_VGG_STYLE = _shares(**{f"block{block}_conv1": 1 for block in range(1, 6)})

# jitter_px: where benchmarks/lattice.py finds a lattice in the gradient (SqueezeNet v1.0, which has trained weights to
# measure with, gains nothing).
# motif_size_px: filters that were learned from the painting would paint its very objects (the sun, the frame).
# content_weight: v1.1 of SqueezeNet reads the content from three layers (benchmarks/squeezenet1_1.py).
# padding: zeros draw a frame (benchmarks/borders.py). VGG has the cheap cure of crowsonkb/style-transfer-pytorch, since
# mirrored borders everywhere cost a tenth of its step.
BACKBONES: dict[str, Backbone] = {
    "vgg19": Backbone(
        OPERATIONS["vgg19"], _shares(block4_conv2=1), _VGG_STYLE, _shares(block5_conv3=1),
        _IMAGENET, "imagenet", _KERAS + (".caffemodel",), 80.1, _application("vgg19"),
        padding="replicate:first", is_chain=True,
        classifier=Classifier(VGG_CLASSIFIER, "predictions", True, 574.7),
        memory=Memory(830, 2410, 1510)),
    "vgg16": Backbone(
        OPERATIONS["vgg16"], _shares(block4_conv2=1), _VGG_STYLE, _shares(block5_conv3=1),
        ("imagenet", "hed", "random"), "imagenet", _KERAS + (".caffemodel",), 58.9, _application("vgg16"),
        padding="replicate:first", is_chain=True,
        classifier=Classifier(VGG_CLASSIFIER, "predictions", True, 553.5, ("hed",)),
        memory=Memory(800, 2230, 1400)),
    # The ends of the stages, as Wang, Li, Vasconcelos 2021.
    "resnet50": Backbone(
        OPERATIONS["resnet50"], _shares(conv4_block6_out=1),
        _shares(conv1_relu=1, conv2_block3_out=1, conv3_block4_out=1, conv4_block6_out=1, conv5_block3_out=1),
        _shares(conv4_block6_out=1), _IMAGENET, "imagenet", _KERAS, 94.8, _application("resnet50"),
        smoothing="softmax:10", jitter_px=2, padding="reflect",
        classifier=Classifier(POOLED_CLASSIFIER, "predictions", True, 103.0),
        memory=Memory(1160, 3570, 1860)),
    "inception_v3": Backbone(
        OPERATIONS["inception_v3"], _shares(mixed3=1),
        _shares(conv2b=1, conv4a=1, mixed0=1, mixed2=1, mixed4=1),
        _shares(mixed3=1, mixed5=1), _IMAGENET, "imagenet", _KERAS, 87.9, _application("inception_v3"),
        jitter_px=4, padding="reflect", unpadded_px=10,
        classifier=Classifier(POOLED_CLASSIFIER, "predictions", True, 96.1),
        memory=Memory(940, 1710, 1020)),
    "squeezenet": Backbone(
        OPERATIONS["squeezenet"], _shares(fire7=1), _shares(conv1=1, fire2=1, fire4=1, fire6=1, fire8=1),
        _shares(fire8=1), ("random",), "", _KERAS + (".caffemodel", ".net"), 0.7, _squeezenet("squeezenet"),
        padding="reflect", classifier=_CONV10,
        memory=Memory(725, 1220, 800)),
    "squeezenet1_1": Backbone(
        OPERATIONS["squeezenet1_1"], _shares(fire3=1, fire4=1, fire5=1),
        _shares(conv1=1, fire2=1, fire3=1, fire4=1, fire5=1),
        _shares(fire8=1), _IMAGENET, "imagenet", _KERAS + (".caffemodel",), 5.1, _squeezenet("squeezenet1_1"),
        jitter_px=1, padding="reflect", content_weight=0.1, classifier=_CONV10,
        memory=Memory(675, 990, 790)),
    "alexnet": Backbone(
        OPERATIONS["alexnet"], _shares(conv4=1), _shares(conv1=1, conv2=1, conv3=1, conv4=1, conv5=1),
        _shares(conv5=1), ("random",), "", _KERAS + (".caffemodel",), 243.9,
        builder("nst_tf.backbones.caffe_networks:build_alexnet"), jitter_px=2, padding="reflect",
        memory=Memory(720, 690, 690)),
    "kmeans": Backbone(
        OPERATIONS["kmeans"], _shares(conv4=1), _shares(conv1=3, conv2=1, conv3=1, conv4=1.5, conv5=2),
        _shares(conv5=1), ("self", "bundled", "random"), "self", (".npz",), 1.7,
        builder("nst_tf.backbones.kmeans:build_kmeans", learns=True), motif_size_px=0, is_chain=True,
        memory=Memory(680, 1855, 1090)),
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

    def build(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Picture]) -> Any:
        load_extractor = importlib.import_module("nst_tf.backbones.saved_model").load_extractor
        return load_extractor(folder, facts, layers)

    exported = BACKBONES.get(facts.backbone)
    classifier = exported.classifier if exported else None
    if classifier:
        has_scores = classifier.scores in [layer.name for layer in facts.layers]
        classifier = classifier._replace(operations=()) if has_scores else None
    return Backbone(
        operations=exported.all_operations if exported else (), classifier=classifier, exported_layers=facts.layers,
        content_layers=facts.content_layers, style_layers=facts.style_layers, dream_layers=facts.dream_layers,
        weights=(), default_weights="", suffixes=(), weights_mb=0.0, build=build,
        smoothing=facts.smoothing, jitter_px=facts.jitter_px, motif_size_px=facts.motif_size_px,
        content_weight=facts.content_weight)


def check_weights(backbone: str, weights: str) -> str:
    """The weights to use: the row's default for `""`, one of its names, or a file that exists.

    Raises:
        UserError: neither a name of this row nor a file with one of its endings, or any for a network that brings its
            own.
    """
    row = find_backbone(backbone)
    if not row.weights:
        if weights:
            raise UserError(f"--weights={weights}: --backbone={backbone} brings its own weights; leave --weights out")
        return ""
    weights = weights or row.default_weights
    is_file_name = weights.lower().endswith(row.suffixes)
    # os.path.isfile never raises, whatever the name.
    if weights in row.weights or (is_file_name and os.path.isfile(weights)):
        return weights
    names, file = " or ".join(row.weights), f"a {' '.join(row.suffixes)} file"
    if not weights:
        raise UserError(f"--backbone={backbone} needs --weights: give {file}, or {names}")
    if os.path.exists(weights):
        raise UserError(f"--weights={weights} is no weights file of --backbone={backbone}: give {names}, or {file}")
    if is_file_name or "/" in weights:
        raise UserError(f"--weights={weights}: no such file; --backbone={backbone} takes {names}, or {file}")
    raise UserError(f"--weights={weights} is unknown for --backbone={backbone}{nearest(weights, row.weights)} "
                    f"Valid: {names}, or {file}")


def check_classifier(backbone: str, weights: str, layers: Sequence[str]) -> None:
    """Raises `UserError` for a layer of a classifier that the weights, by their name, do not have."""
    row = find_backbone(backbone)
    if row.classifier and weights in row.classifier.lacking:
        for operation in row.classifier.operations:
            if operation.name in layers:
                others = [name for name in row.weights if name not in row.classifier.lacking]
                raise UserError(f"--weights={weights} has no classifier, and so no layer {operation.name}: give "
                                f"{', '.join(others)} or a file that has it, or another layer")


def smallest_side_px(backbone: str, layers: Sequence[str], padding: Padding = TRAINED) -> int:
    """The least side of a picture that reaches every one of these layers, at this `--padding`."""
    row = find_backbone(backbone)
    known, operations = row.all_layers, row.all_operations
    if padding.mode != "trained":
        changed = operations[:1] if padding.first_only else operations
        # Zeros and repeated edges need equally few pixels.
        mode = "reflect" if padding.mode == "reflect" else "zero"
        known = trace((*(operation._replace(padding=mode) for operation in changed), *operations[len(changed):]))
    return max((layer.smallest_side_px for layer in known if layer.name in layers), default=1)


def check_variant(backbone: str, variant: Variant) -> Variant:
    """`variant` itself where the network can be changed in this way.

    Raises:
        UserError: an exported network, which is as it is.
    """
    if exported_folder(backbone) is None:
        return variant
    for flag, value, is_own in (("--pooling", variant.pooling, variant.pooling is None),
                                ("--padding", variant.padding.written(), variant.padding == TRAINED)):
        if not is_own:
            raise UserError(f"{flag}={value}: --backbone={backbone} is as it was exported; leave {flag} out")
    if variant.precision not in ("auto", "float32"):
        raise UserError(f"--precision={variant.precision}: --backbone={backbone} computes in float32, as it was "
                        "exported; leave --precision out")
    return variant._replace(precision="float32")


def layer_listing(backbone: str) -> str:
    """The table that `--list_layers` prints."""
    row = find_backbone(backbone)
    width = 2 + max(len(layer.name) for layer in row.all_layers)
    lines = [f"{'layer':<{width}}{'channels':>8}{'stride':>8}{'receptive field':>17}{'smallest side':>15}  default"]
    defaults = {"content": row.content_layers, "style": row.style_layers, "dream": row.dream_layers}
    for layer in row.all_layers:
        roles = [role for role, chosen in defaults.items() if layer.name in dict(chosen)]
        lines.append(f"{layer.name:<{width}}{layer.channels:>8}{layer.stride:>8}{layer.receptive_field_px:>14} px"
                     f"{layer.smallest_side_px:>12} px  {', '.join(roles)}".rstrip())
    if row.weights:
        lines.append(f"weights: {', '.join(row.weights)}, or a {' '.join(row.suffixes)} file; the published file has "
                     f"{row.weights_mb} MB")
    if row.classifier:
        scores, behind = row.classifier.scores, ", ".join(operation.name for operation in row.classifier.operations)
        lines.append(f"{scores}: the classes of ImageNet, by number or name: --dream='{scores}:golden retriever'")
        if row.weights and row.classifier.weights_mb:
            lines.append(f"{behind}: only in weights with the classifier; the published file has "
                         f"{row.classifier.weights_mb} MB")
    return "\n".join(lines)
