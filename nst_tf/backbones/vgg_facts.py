"""The layers of VGG16 and VGG19 as tables (Simonyan and Zisserman 2015, configurations D and E). No TensorFlow."""

from collections.abc import Iterator

from nst_tf.backbones.facts import Operation, trace

# Convolutions and channels of each block.
_VGG16_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_VGG19_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))

# ImageNet's mean color as the network was trained on it, RGB.
MEAN_RGB_255 = (123.68, 116.779, 103.939)
MEAN_COLOR = (123.68 / 255, 116.779 / 255, 103.939 / 255)


def _operations(blocks: tuple[tuple[int, int], ...]) -> Iterator[Operation]:
    for block, (convolutions, channels) in enumerate(blocks, 1):
        for index in range(1, convolutions + 1):
            yield Operation(f"block{block}_conv{index}", 3, 1, 1, channels)
        yield Operation(f"block{block}_pool", 2, 2, 0, channels)


VGG = {"VGG16": tuple(_operations(_VGG16_BLOCKS)), "VGG19": tuple(_operations(_VGG19_BLOCKS))}
VGG_LAYERS = {name: trace(operations) for name, operations in VGG.items()}
