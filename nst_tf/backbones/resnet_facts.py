"""The layers of ResNet50 (He et al. 2016) as a table, under the names of `keras.applications`. No TensorFlow."""

from collections.abc import Iterator

from nst_tf.backbones.facts import Operation, trace

# Blocks of each stage and their inner channels; a block gives four times as many.
_STAGES = {2: (3, 64), 3: (4, 128), 4: (6, 256), 5: (3, 512)}


def _operations() -> Iterator[Operation]:
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


RESNET50 = tuple(_operations())
RESNET50_LAYERS = trace(RESNET50)
