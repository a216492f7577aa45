"""The layers of every network as tables: name, kernel, stride, padding, channels. No TensorFlow.

VGG: Simonyan and Zisserman 2015, configurations D and E. AlexNet: Krizhevsky, Sutskever, Hinton 2012. SqueezeNet v1.0
and v1.1: Iandola et al. 2016. ResNet50: He et al. 2016. Inception v3: Szegedy et al. 2016. `kmeans`: this project.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nst_tf.backbones.facts import Operation

# Convolutions and channels of each block.
_VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_VGG19_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))


def _vgg(blocks: tuple[tuple[int, int], ...]) -> Iterator[Operation]:
    for block, (convolutions, channels) in enumerate(blocks, 1):
        for index in range(1, convolutions + 1):
            yield Operation(f"block{block}_conv{index}", 3, 1, 1, channels)
        yield Operation(f"block{block}_pool", 2, 2, 0, channels)


class Convolution(NamedTuple):
    """One convolution and its ReLU; `is_pooled`: it is normalized and pooled (3×3, stride 2) behind it."""

    name: str
    kernel_px: int
    stride: int
    filters: int
    groups: int
    is_pooled: bool


ALEXNET_CONVOLUTIONS = (
    Convolution("conv1", 11, 4, 96, 1, True),
    Convolution("conv2", 5, 1, 256, 2, True),
    Convolution("conv3", 3, 1, 384, 1, False),
    Convolution("conv4", 3, 1, 384, 2, False),
    Convolution("conv5", 3, 1, 256, 2, False),
)


def _alexnet() -> Iterator[Operation]:
    for convolution in ALEXNET_CONVOLUTIONS:
        kernel_px = convolution.kernel_px
        yield Operation(convolution.name, kernel_px, convolution.stride, kernel_px // 2, convolution.filters, "same")
        if convolution.is_pooled:
            yield Operation("", 3, 2, 1, convolution.filters, "same")


# Classifiers, which stand behind the last layer of a network: their dense layers as the convolutions that they are.
VGG_CLASSIFIER = (
    # Of 7 × 7 cells without padding, which are all of a picture of 224 px.
    Operation("fc1", 7, 1, 0, 4096), Operation("fc2", 1, 1, 0, 4096), Operation("predictions", 1, 1, 0, 1000))
POOLED_CLASSIFIER = (Operation("predictions", 1, 1, 0, 1000),)
SQUEEZENET_CLASSIFIER = (Operation("conv10", 1, 1, 0, 1000),)


# (squeeze, expand) filters of fire2 … fire9; a fire's output has expand channels of 1×1 and as many of 3×3.
FIRES = {f"fire{index}": filters for index, filters in enumerate(
    ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)), start=2)}


class Version(NamedTuple):
    """What the two versions do differently: the first convolution, and after which layers they pool (3×3, stride 2)."""

    filters: int
    kernel_px: int
    pool_after: tuple[str, ...]


SQUEEZENET_VERSIONS = {"squeezenet": Version(96, 7, ("conv1", "fire4", "fire8")),
                       "squeezenet1_1": Version(64, 3, ("conv1", "fire3", "fire5"))}


def _squeezenet(version: Version) -> Iterator[Operation]:
    """The widest path: of a fire's two expands, the 3×3 one decides the receptive field."""
    before = "conv1"
    yield Operation(before, version.kernel_px, 2, version.kernel_px // 2, version.filters, "same")
    for name, (_, expand) in FIRES.items():
        if before in version.pool_after:
            yield Operation("", 3, 2, 1, 0, "same")
        yield Operation(name, 3, 1, 1, 2 * expand, "same")
        before = name


# Blocks of each stage and their inner channels; a block gives four times as many.
_STAGES = {2: (3, 64), 3: (4, 128), 4: (6, 256), 5: (3, 512)}


def _resnet50() -> Iterator[Operation]:
    """The ReLUs; a block's output is the sum of its three convolutions and of a shortcut past them."""
    yield Operation("conv1_relu", 7, 2, 3, 64)
    yield Operation("pool1_pool", 3, 2, 1, 64)
    before = "pool1_pool"
    for stage, (blocks, channels) in _STAGES.items():
        for block in range(1, blocks + 1):
            name = f"conv{stage}_block{block}"
            # The stride is in the first convolution of a stage, of 1×1 (as in the authors' Caffe model).
            stride = 2 if stage > 2 and block == 1 else 1
            yield Operation(f"_{name}_shortcut", 1, stride, 0, 4 * channels, inputs=(before,))
            yield Operation(f"{name}_1_relu", 1, stride, 0, channels, inputs=(before,))
            yield Operation(f"{name}_2_relu", 3, 1, 1, channels)
            yield Operation(f"{name}_out", 1, 1, 0, 4 * channels, inputs=(f"{name}_2_relu", f"_{name}_shortcut"))
            before = f"{name}_out"


# The convolutions before mixed0, in the order in which Keras makes their activations.
STEM = ("conv1a", "conv2a", "conv2b", "conv3b", "conv4a")

# (kernel, stride, padding) along one axis; a 1×7 and a 7×1 convolution together are one step of 7.
_Step = tuple[int, int, int]
_POOL: _Step = (3, 1, 1)
_HALVE: _Step = (3, 2, 0)
_BLOCKS: dict[str, tuple[int, Sequence[Sequence[_Step]]]] = {
    **{f"mixed{index}": (channels, ([(1, 1, 0)], [(5, 1, 2)], [(3, 1, 1), (3, 1, 1)], [_POOL]))
       for index, channels in enumerate((256, 288, 288))},
    "mixed3": (768, ([_HALVE], [(3, 1, 1), _HALVE], [_HALVE])),
    **{f"mixed{index}": (768, ([(1, 1, 0)], [(7, 1, 3)], [(7, 1, 3), (7, 1, 3)], [_POOL])) for index in range(4, 8)},
    "mixed8": (1280, ([_HALVE], [(7, 1, 3), _HALVE], [_HALVE])),
    **{f"mixed{index}": (2048, ([(1, 1, 0)], [(3, 1, 1)], [(3, 1, 1), (3, 1, 1)], [_POOL])) for index in (9, 10)},
}


def _inception_v3() -> Iterator[Operation]:
    yield Operation("conv1a", 3, 2, 0, 32)
    yield Operation("conv2a", 3, 1, 0, 32)
    yield Operation("conv2b", 3, 1, 1, 64)
    yield Operation("", 3, 2, 0, 64)
    yield Operation("conv3b", 1, 1, 0, 80)
    yield Operation("conv4a", 3, 1, 0, 192)
    yield Operation("_pool", 3, 2, 0, 192)
    before = "_pool"
    for name, (channels, branches) in _BLOCKS.items():
        ends = []
        for branch, steps in enumerate(branches):
            for position, step in enumerate(steps):
                end = f"_{name}_{branch}_{position}"
                yield Operation(end, *step, channels, inputs=() if position else (before,))
            ends.append(end)
        yield Operation(name, 1, 1, 0, channels, inputs=tuple(ends))
        before = name


# Filters are learned from pictures of up to this long side, at several sizes.
LEARNING_SIDE_PX = 512


class LearnedLayer(NamedTuple):
    """One layer: halve the size or not, then convolve to at most `filters` channels, then ReLU.

    `components` is how many whitened principal components of a patch the filters are clustered in.
    """

    name: str
    kernel_px: int
    filters: int
    pool_before: bool
    components: int


LEARNED_LAYERS = (
    LearnedLayer("conv1", kernel_px=5, filters=64, pool_before=False, components=60),
    LearnedLayer("conv2", kernel_px=3, filters=96, pool_before=True, components=200),
    LearnedLayer("conv3", kernel_px=3, filters=128, pool_before=True, components=256),
    LearnedLayer("conv4", kernel_px=3, filters=192, pool_before=True, components=256),
    LearnedLayer("conv5", kernel_px=3, filters=256, pool_before=True, components=384),
)


def operations(recipe: Sequence[LearnedLayer]) -> Iterator[Operation]:
    """The operations of a recipe: a binomial pooling of 3 px where a layer halves the size, then its convolution."""
    channels = 3
    for layer in recipe:
        if layer.pool_before:
            yield Operation("", 3, 2, 1, channels, "reflect")
        channels = layer.filters
        yield Operation(layer.name, layer.kernel_px, 1, layer.kernel_px // 2, channels, "reflect")


# {backbone: its operations, along one axis}.
OPERATIONS: dict[str, tuple[Operation, ...]] = {name: tuple(made) for name, made in {
    "vgg19": _vgg(_VGG19_BLOCKS), "vgg16": _vgg(_VGG16_BLOCKS), "resnet50": _resnet50(),
    "inception_v3": _inception_v3(), **{name: _squeezenet(version) for name, version in SQUEEZENET_VERSIONS.items()},
    "alexnet": _alexnet(), "kmeans": operations(LEARNED_LAYERS)}.items()}
