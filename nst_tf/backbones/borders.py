"""What stands around a picture or a feature map before a convolution reads it."""

from typing import Any

import keras
import tensorflow as tf

from nst_tf.tensors import Tensor


def pad(x: Tensor, margins_px: Tensor, mode: str, largest_px: int) -> Tensor:
    """[B, H, W, C] with rows and columns added: zeros, the mirrored map (`reflect`), or its edge (`replicate`).

    Args:
        margins_px: int32 [2, 2], ((top, bottom), (left, right)); for `reflect` each less than the side.
        mode: a name of `PaddingName`.
        largest_px: no margin is larger.
    """
    def padded(x: Tensor, margins_px: Tensor, tf_mode: str) -> Tensor:
        return tf.pad(x, tf.concat([[[0, 0]], margins_px, [[0, 0]]], 0), tf_mode)

    if mode != "replicate":
        return padded(x, margins_px, {"zero": "CONSTANT", "reflect": "REFLECT"}[mode])
    # A symmetric border of one pixel repeats the edge. Slices would each add a contribution to the gradient (`fork`).
    for done_px in range(largest_px):
        x = padded(x, tf.clip_by_value(margins_px - done_px, 0, 1), "SYMMETRIC")
    return x


def same_margins_px(side_px: Tensor, kernel_px: int, stride: int) -> Tensor:
    """int32 [2], (before, after) of TensorFlow's `same` along an axis: ⌈side / stride⌉ cells, an odd pixel after."""
    if stride == 1:
        # Without the side, so that a graph keeps what it knows of shapes.
        return tf.constant([(kernel_px - 1) // 2, kernel_px // 2])
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
        margins = [same_margins_px(tf.shape(x)[axis], kernel_px, self.stride)
                   for axis, kernel_px in zip((1, 2), self.kernel_px)]
        padded = pad(x, tf.stack(margins), self.mode, max(self.kernel_px) // 2)
        # Margins that are tensors leave nothing of the shape known, and the next layer must know the channels.
        padded.set_shape(self.compute_output_shape(x.shape))
        return padded

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The sides are known when a picture is."""
        return (shape[0], None, None, shape[3])

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return super().get_config() | {"mode": self.mode, "kernel_px": self.kernel_px, "stride": self.stride}
