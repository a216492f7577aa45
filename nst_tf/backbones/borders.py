"""Borders: what stands around the maps of a network, zeros, the mirrored map or its repeated edge."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nst_tf.tensors import Tensor, shape_of, with_gradient


def pad(x: Tensor, margins_px: Tensor, mode: str, largest_px: int) -> Tensor:
    """[B, H, W, C] with rows and columns added: zeros, the mirrored map (`reflect`), or its edge (`replicate`).

    Args:
        margins_px: int32 [2, 2], ((top, bottom), (left, right)); for `reflect` each less than the side.
        mode: a name of `PaddingName`.
        largest_px: no margin is larger.
    """
    def padded(x: Tensor, margins_px: Tensor, tf_mode: str) -> Tensor:
        return tf.pad(x, tf.concat([[[0, 0]], margins_px, [[0, 0]]], 0), tf_mode)

    if mode == "reflect":
        # The cells of a picture are too small to be worth a gather.
        return padded(x, margins_px, "REFLECT") if x.shape[3] == 3 else _reflected(x, margins_px)[0]
    if mode == "zero":
        return padded(x, margins_px, "CONSTANT")
    # A symmetric border of one pixel repeats the edge. Slices would each add a contribution to the gradient (`fork`).
    for done_px in range(largest_px):
        x = padded(x, tf.clip_by_value(margins_px - done_px, 0, 1), "SYMMETRIC")
    return x


def _mirrored_places(side_px: Any, before_px: Any, after_px: Any) -> Any:
    """0 … side − 1 with the mirrored ones before and after; int32 [side + margins], of NumPy where all are numbers."""
    is_known = isinstance(side_px, int) and not isinstance(before_px, tf.Tensor)
    places = abs((np.arange if is_known else tf.range)(-before_px, side_px + after_px))
    return side_px - 1 - abs(side_px - 1 - places)


def _fold(_: list[Tensor], __: list[Tensor], g: Tensor, margins: Tensor) -> tuple[Tensor, None]:
    shape = shape_of(margins)
    margins_px = ([(0, 0), tuple(shape[:2]), tuple(shape[2:4]), (0, 0)] if isinstance(shape, list)
                  else tf.pad(tf.reshape(shape[:4], [2, 2]), [[1, 1], [0, 0]]))
    return tf.raw_ops.MirrorPadGrad(input=g, paddings=margins_px, mode="REFLECT"), None


@with_gradient(_fold)
def _reflected(x: Tensor, margins_px: Tensor) -> tuple[Tensor, Tensor]:
    """x with mirrored margins, and an empty tensor of their shape, by whose gradient the gradient of x knows them.

    One gather of whole cells: `tf.pad` computes a place for each number, which takes thrice as long.
    """
    shape, margins = shape_of(x), tf.get_static_value(margins_px)
    sides_px = (shape[1], shape[2])
    of_axes = [tf.unstack(margin) for margin in tf.unstack(margins_px)] if margins is None else margins.tolist()
    rows, columns = (_mirrored_places(side_px, *margin) for side_px, margin in zip(sides_px, of_axes, strict=True))
    is_known = margins is not None and isinstance(shape, list)
    first = (np.arange if is_known else tf.range)(shape[0])[:, np.newaxis, np.newaxis] * (sides_px[0] * sides_px[1])
    starts = first + rows[:, np.newaxis] * sides_px[1]
    if is_known:
        # Their sum is left to the graph: it has as many numbers as the map has cells.
        starts, columns = (tf.constant(places, tf.int32) for places in (starts, columns))
    # The cells' own shape is that of their places, so that a converter knows the channels.
    return (tf.gather(tf.reshape(x, [-1, x.shape[3]]), starts + columns),
            tf.zeros([*margins.ravel(), 0] if is_known else tf.concat([tf.reshape(margins_px, [4]), [0]], 0), x.dtype))


def same_margins_px(side_px: Any, kernel_px: int, stride: int) -> Any:
    """(before, after) of TensorFlow's `same` along an axis: ⌈side / stride⌉ cells, an odd pixel after.

    Numbers where they follow from numbers, else int32 [2]: a graph keeps what it knows of shapes.
    """
    if stride == 1:
        return (kernel_px - 1) // 2, kernel_px // 2
    if isinstance(side_px, int):
        total = max(0, (-(-side_px // stride) - 1) * stride + kernel_px - side_px)
        return total // 2, total - total // 2
    total = tf.maximum(0, (-(-side_px // stride) - 1) * stride + kernel_px - side_px)
    return tf.stack([total // 2, total - total // 2])


class Pad(keras.layers.Layer):
    """`pad` as a layer, by what a `same` convolution of a kernel and a stride would add."""

    def __init__(self, mode: str, kernel_px: tuple[int, int], stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode, self.kernel_px, self.stride = mode, kernel_px, stride

    @classmethod
    def margin(cls, mode: str, margin_px: int) -> "Pad":
        """The same margin on all four sides."""
        return cls(mode, (2 * margin_px + 1,) * 2)

    @classmethod
    def like(cls, layer: keras.layers.Layer, mode: str) -> "Pad":
        """The margins that a `Pad`, a symmetric `ZeroPadding2D` or a convolution with `same` padding makes."""
        if isinstance(layer, Pad):
            return cls(mode, layer.kernel_px, layer.stride)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return cls.margin(mode, layer.padding[0][0])
        return cls(mode, layer.kernel_size, layer.strides[0])

    def call(self, x: Tensor) -> Tensor:
        """[B, H, W, C] → [B, H + margins, W + margins, C]."""
        shape = shape_of(x)
        margins = [same_margins_px(shape[axis], kernel_px, self.stride)
                   for axis, kernel_px in zip((1, 2), self.kernel_px)]
        padded = pad(x, tf.convert_to_tensor(margins), self.mode, max(self.kernel_px) // 2)
        # Margins that are tensors leave nothing of the shape known, and the next layer must know the channels.
        padded.set_shape(self.compute_output_shape(x.shape))
        return padded

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The sides are known when a picture is."""
        return (shape[0], None, None, shape[3])

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return super().get_config() | {"mode": self.mode, "kernel_px": self.kernel_px, "stride": self.stride}
