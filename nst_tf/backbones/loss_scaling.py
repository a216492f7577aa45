"""A trunk in float16, whose numbers end at 6e-8 … 65504: gradients are scaled into that range and back."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from nst_tf.tensors import Tensor, with_gradient


def power_of_two_above(x: Tensor) -> Tensor:
    """2^⌈log₂ x⌉ for a scalar x > 0, up to the rounding of the logarithm, itself an exact power; 1 for 0."""
    exponent = tf.math.ceil(tf.math.log(tf.maximum(x, 1e-38)) / tf.math.log(2.0))
    return tf.where(x > 0, tf.pow(2.0, exponent), 1.0)


def _multiply(_: list[Tensor], __: list[Tensor], g: Tensor, scale: Tensor) -> tuple[Tensor]:
    return (scale * g,)


@with_gradient(_multiply)
def _multiplied(x: Tensor) -> tuple[Tensor, Tensor]:
    """x, and a number without meaning whose gradient is what the gradient of x is multiplied by."""
    return tf.identity(x), tf.zeros([])


def _divide(_: list[Tensor], __: list[Tensor], *gradients: Tensor) -> tuple[Tensor, ...]:
    scale = power_of_two_above(tf.reduce_max(tf.stack([tf.reduce_max(tf.abs(g)) for g in gradients])))
    return scale, *(g / scale for g in gradients)


@with_gradient(_divide)
def _divided(scale: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
    """The features, whose gradients are divided by a power of two; the gradient of `scale` is this power."""
    return tuple(map(tf.identity, features))


class ScaledGradient:
    """A model whose features' gradients are divided by their own largest value before they go back through it.

    In `relative` they are as small as 1e-10, which float16 would round to 0. The divisor is a power of two, so nothing
    is rounded by it, and it is taken back at the picture.

    Source: loss scaling, Micikevicius et al. 2018.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def __call__(self, image: Tensor, training: bool = False) -> Mapping[str, Tensor]:
        x, scale = _multiplied(image)
        features = self._model(x, training=training)
        return dict(zip(features, _divided(scale, *features.values()), strict=True))

    def get_layer(self, name: str) -> keras.layers.Layer:
        """A layer of the model."""
        return self._model.get_layer(name)

    def count_params(self) -> int:
        """How many numbers the network holds."""
        return int(self._model.count_params())
