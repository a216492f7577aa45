"""The layers of AlexNet (Krizhevsky, Sutskever, Hinton 2012) as a table. No TensorFlow."""

from collections.abc import Iterator
from typing import NamedTuple

from nst_tf.backbones.facts import Operation, trace


class Convolution(NamedTuple):
    """One convolution and its ReLU; `is_pooled`: it is normalized and pooled (3×3, stride 2) behind it."""

    name: str
    kernel_px: int
    stride: int
    filters: int
    groups: int
    is_pooled: bool


CONVOLUTIONS = (
    Convolution("conv1", 11, 4, 96, 1, True),
    Convolution("conv2", 5, 1, 256, 2, True),
    Convolution("conv3", 3, 1, 384, 1, False),
    Convolution("conv4", 3, 1, 384, 2, False),
    Convolution("conv5", 3, 1, 256, 2, False),
)


def _operations() -> Iterator[Operation]:
    for convolution in CONVOLUTIONS:
        kernel_px = convolution.kernel_px
        yield Operation(convolution.name, kernel_px, convolution.stride, kernel_px // 2, convolution.filters,
                        "same")
        if convolution.is_pooled:
            yield Operation("", 3, 2, 1, convolution.filters, "same")


ALEXNET = tuple(_operations())
ALEXNET_LAYERS = trace(ALEXNET)
