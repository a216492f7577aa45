"""A trunk in float16, whose numbers end at 6e-8 … 65504: gradients are scaled into that range and back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

Tensor = Any


def power_of_two_above(x: Tensor) -> Tensor:
    """2^⌈log₂ x⌉ for a scalar x > 0, up to the rounding of the logarithm, itself an exact power; 1 for 0."""
    exponent = tf.math.ceil(tf.math.log(tf.maximum(x, 1e-38)) / tf.math.log(2.0))
    return tf.where(x > 0, tf.pow(2.0, exponent), 1.0)


class ScaledGradient:
    """A model whose features' gradients are divided by their own largest value before they go back through it.

    In `relative` they are as small as 1e-10, which float16 would round to 0. The divisor is a power of two, so nothing
    is rounded by it, and it is taken back at the picture.

    Source: loss scaling, Micikevicius et al. 2018.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def __call__(self, image: Tensor, training: bool = False) -> Mapping[str, Tensor]:
        names = list(self._model.output)

        @tf.custom_gradient
        def features(x: Tensor) -> tuple[list[Tensor], Callable[..., Tensor]]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                outputs = self._model(x, training=training)
                ordered = [outputs[name] for name in names]

            def gradient(*upstream: Tensor, variables: Sequence[Any] = ()) -> tuple[Tensor, list[None]]:
                largest = tf.reduce_max(tf.stack([tf.reduce_max(tf.abs(g)) for g in upstream]))
                scale = power_of_two_above(largest)
                return scale * tape.gradient(ordered, x, [g / scale for g in upstream]), [None] * len(variables)

            return ordered, gradient

        return dict(zip(names, features(tf.convert_to_tensor(image))))

    def count_params(self) -> int:
        """How many numbers the network holds."""
        return int(self._model.count_params())
