"""Facts of a network's layers by arithmetic alone: stride, receptive field, smallest side. No TensorFlow."""

from collections.abc import Iterable
from typing import NamedTuple


class Operation(NamedTuple):
    """One convolution or pooling of a chain. `pad_px` is what is added on each side of its input.

    `padding` says with what: `zero`, or `reflect`, which needs more pixels than it adds.
    """

    name: str
    kernel_px: int
    stride: int
    pad_px: int
    channels: int
    padding: str = "zero"


class Layer(NamedTuple):
    """What a user must know to choose a layer; `smallest_side_px` is the least side of a picture that reaches it."""

    name: str
    channels: int
    stride: int
    receptive_field_px: int
    smallest_side_px: int


def trace(chain: Iterable[Operation]) -> tuple[Layer, ...]:
    """Every named layer of a chain, in order.

        r ← r + (k − 1) · j,    j ← j · s

    for the receptive field r and the jump j between neighboring cells, in pixels of the picture.
    Source: Araujo, Norris, Sim 2019, "Computing receptive fields of convolutional neural networks", eq. 1–2.
    """
    layers, done = [], []
    field, jump = 1, 1
    for operation in chain:
        done.append(operation)
        field += (operation.kernel_px - 1) * jump
        jump *= operation.stride
        if operation.name:
            layers.append(Layer(operation.name, operation.channels, jump, field, _smallest_side(done)))
    return tuple(layers)


def _smallest_side(chain: Iterable[Operation]) -> int:
    """The least side for which every operation of the chain has room, by trying sides upward."""
    operations = list(chain)
    side = 1
    while not _fits(side, operations):
        side += 1
    return side


def _fits(side: int, chain: Iterable[Operation]) -> bool:
    for operation in chain:
        if operation.padding == "reflect" and side <= operation.pad_px:
            return False
        side = (side + 2 * operation.pad_px - operation.kernel_px) // operation.stride + 1
        if side < 1:
            return False
    return True
