"""The loop of TensorFlow's style transfer tutorial, written anew from its description, to compare with.

One size, float32, Adam from the photo, clipped to [0, 1], a Gram matrix by `einsum`
(https://www.tensorflow.org/tutorials/generative/style_transfer).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import nst_tf  # noqa: F401  Before TensorFlow, which reads what it switches on.
import keras
import numpy as np
import tensorflow as tf

Tensor = Any
LEARNING_RATE = 0.02


def tutorial_loss(model: keras.Model, content: np.ndarray, style: np.ndarray, content_layer: str,
                  style_layers: tuple[str, ...]) -> Callable[[Tensor], Tensor]:
    """The tutorial's own cost: means of squared differences, weights 1e4 and 1e-2, total variation 30."""
    def gram(features: Tensor) -> Tensor:
        positions = tf.cast(tf.shape(features)[1] * tf.shape(features)[2], tf.float32)
        return tf.linalg.einsum("bijc,bijd->bcd", features, features) / positions

    def grams(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {layer: gram(features[layer]) for layer in style_layers}

    wanted, styles = model(content[np.newaxis])[content_layer], grams(model(style[np.newaxis]))

    def loss(image: Tensor) -> Tensor:
        features = model(image)
        found = grams(features)
        style_loss = tf.add_n([tf.reduce_mean((found[layer] - styles[layer]) ** 2) for layer in style_layers])
        content_loss = tf.reduce_mean((features[content_layer] - wanted) ** 2)
        return (1e-2 / len(style_layers) * style_loss + 1e4 * content_loss
                + 30.0 * tf.reduce_sum(tf.image.total_variation(image)))

    return loss


def tutorial_steps(loss: Callable[[Tensor], Tensor], content: np.ndarray, beta_1: float = 0.99,
                   epsilon: float = 0.1) -> Iterator[np.ndarray]:
    """Steps from the photo; yields the image [1, H, W, 3] after each.

    Args:
        loss: image → scalar.
        beta_1, epsilon: of Adam; the tutorial's fit its own cost, which is larger than 1e4.
    """
    image = tf.Variable(content[np.newaxis])
    optimizer = keras.optimizers.Adam(LEARNING_RATE, beta_1=beta_1, epsilon=epsilon)

    @tf.function()
    def step() -> None:
        with tf.GradientTape() as tape:
            value = loss(image)
        optimizer.apply_gradients([(tape.gradient(value, image), image)])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))

    while True:
        step()
        yield image.numpy()
