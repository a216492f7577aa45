"""Facts of a network's layers by arithmetic alone: stride, receptive field, smallest side. No TensorFlow."""

import functools
from collections.abc import Collection, Sequence
from typing import NamedTuple


class Operation(NamedTuple):
    """One convolution or pooling, along one axis. `pad_px` is what is added on each side of its input.

    `padding` says with what. `zero` adds zeros. `same` adds zeros as TensorFlow does: with a stride, fewer for some
    sides, first at the start. `reflect` mirrors, and needs more pixels than it adds. `inputs` names the operations that
    it reads, all concatenated or added; the one before it where it is left out. An operation without a name, or with
    one that starts with `_`, is no layer that a user may choose.
    """

    name: str
    kernel_px: int
    stride: int
    pad_px: int
    channels: int
    padding: str = "zero"
    inputs: tuple[str, ...] = ()


class Layer(NamedTuple):
    """What a user must know to choose a layer. `smallest_side_px` is the least side of a picture that reaches it."""

    name: str
    channels: int
    stride: int
    receptive_field_px: int
    smallest_side_px: int


class Geometry(NamedTuple):
    """What a layer's cells see along one axis: cell i the pixels start + i · stride ≤ p < start + i · stride + size.

    Of these, the ones below 0 or beyond the picture are padding.
    """

    start_px: int
    stride: int
    size_px: int

    def interval_px(self, cell: int) -> tuple[int, int]:
        """The first pixel that a cell sees and the first behind them."""
        first = self.start_px + cell * self.stride
        return first, first + self.size_px


class _View(NamedTuple):
    """What cell 0 of an operation sees: pixels start ≤ p < end of the picture; its neighbor sees `jump` further."""

    start: int
    end: int
    jump: int


@functools.cache
def trace(operations: tuple[Operation, ...]) -> tuple[Layer, ...]:
    """Every layer of a network, in order; where paths meet, the receptive field covers that of each.

        start ← start − p · j,    end ← end + (k − 1 − p) · j,    j ← j · s

    for the pixels that a cell sees and the jump j between neighboring cells, in pixels of the picture.
    Source: Araujo, Norris, Sim 2019, "Computing receptive fields of convolutional neural networks", eq. 1–2.
    """
    views = _views(operations, [operation.pad_px for operation in operations])
    return tuple(Layer(operation.name, operation.channels, view.jump, view.end - view.start, smallest_px)
                 for operation, view, smallest_px in zip(operations, views, _smallest_sides(operations))
                 if operation.name and not operation.name.startswith("_"))


def geometry(operations: Sequence[Operation], name: str, side_px: int) -> Geometry:
    """What the cells of a layer see of a side of a picture; where padding is `same`, p of `trace` depends on the side.

    Where paths meet, a cell sees from the first pixel that any path sees to the last.

    Args:
        name: of the operation.
        side_px: at least the layer's smallest side.
    """
    counts = cells(operations, side_px)
    pads = [_pad_at_start_px(operation, min((counts[index] for index in inputs), default=side_px), count)
            for operation, inputs, count in zip(operations, _inputs(operations), counts)]
    start, end, jump = next(view for operation, view in zip(operations, _views(operations, pads))
                            if operation.name == name)
    return Geometry(start, jump, end - start)


def reach(operations: Sequence[Operation], names: Collection[str], side_px: int,
          margin_px: int = 0) -> tuple[int, int, int]:
    """What the cells of these layers see of a side of a picture: stride, pixels before and behind, for tiles.

    The stride is that of the deepest layer. A cell that begins at pixel p, its number times its own stride s, sees no
    pixel before p − before, and none behind p + s + behind.

    Args:
        margin_px: what is padded around the picture before the first operation.
    """
    seen = [geometry(operations, name, side_px + 2 * margin_px) for name in names]
    return (max(each.stride for each in seen), max(0, *(margin_px - each.start_px for each in seen)),
            max(0, *(each.start_px - margin_px + each.size_px - each.stride for each in seen)))


def cells(operations: Sequence[Operation], side_px: int) -> list[int]:
    """How many cells each operation makes of a side of a picture; 0 where the picture is too small for it."""
    counts: list[int] = []
    for operation, inputs in zip(operations, _inputs(operations)):
        side = min((counts[index] for index in inputs), default=side_px)
        is_too_small = side < 1 or (operation.padding == "reflect" and side <= operation.pad_px)
        count = (side + 2 * operation.pad_px - operation.kernel_px) // operation.stride + 1
        counts.append(0 if is_too_small else max(0, count))
    return counts


def _inputs(operations: Sequence[Operation]) -> list[list[int]]:
    """The indices of what each operation reads; nothing for the first, which reads the picture."""
    index_of = {operation.name: index for index, operation in enumerate(operations)}
    return [[index_of[name] for name in operation.inputs] or [index - 1] * (index > 0)
            for index, operation in enumerate(operations)]


def _pad_at_start_px(operation: Operation, side_px: int, count: int) -> int:
    """What is added before the first of `side_px` pixels, from which an operation makes `count` cells."""
    if operation.padding != "same":
        return operation.pad_px
    return max(0, (count - 1) * operation.stride + operation.kernel_px - side_px) // 2


def _views(operations: Sequence[Operation], pads_px: Sequence[int]) -> list[_View]:
    """The view of cell 0 of each operation, which adds `pads_px` before its input."""
    views: list[_View] = []
    for operation, inputs, pad_px in zip(operations, _inputs(operations), pads_px, strict=True):
        start, end, jump = _joined([views[index] for index in inputs])
        start -= pad_px * jump
        end += (operation.kernel_px - 1 - pad_px) * jump
        views.append(_View(start, end, jump * operation.stride))
    return views


def _joined(views: Sequence[_View]) -> _View:
    if not views:
        return _View(0, 1, 1)
    starts, ends, jumps = zip(*views)
    assert len(set(jumps)) == 1, "paths that meet have the same stride"
    return _View(min(starts), max(ends), jumps[0])


def _smallest_sides(operations: Sequence[Operation]) -> list[int]:
    """The least side for which each operation gets a cell, by trying sides upward."""
    smallest = [0] * len(operations)
    side = 0
    while not all(smallest):
        side += 1
        smallest = [found or side * (count > 0) for found, count in zip(smallest, cells(operations, side))]
    return smallest
