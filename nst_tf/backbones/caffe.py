"""What the networks that were trained in Caffe share: their preprocessing."""

import keras
import numpy as np

# ImageNet's mean color, rounded as Caffe's examples have it, RGB.
MEAN_RGB_255 = (123.0, 117.0, 104.0)
MEAN_COLOR = (123 / 255, 117 / 255, 104 / 255)


def preprocess(image: keras.KerasTensor, mean_rgb_255: tuple[float, float, float] = MEAN_RGB_255) -> keras.KerasTensor:
    """RGB in [0, 1] → BGR, 0–255, minus the mean color, no scaling."""
    # Not a slice of step −1: with its gradient it took a twentieth of a whole step of SqueezeNet.
    return keras.ops.flip(image, axis=-1) * 255.0 - np.asarray(mean_rgb_255[::-1], np.float32)
