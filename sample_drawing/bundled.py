"""The pictures that the bundled filters are learned from: drawn ones, and photos that scikit-image carries."""

import importlib

import numpy as np

from nst_tf.backbones.architectures import LEARNING_SIDE_PX
from nst_tf.io import images
from nst_tf.vocabulary import UserError
from sample_drawing import SAMPLES

# So many pictures of each kind are drawn, of this size.
VARIATIONS = 10
DRAWN_SIDE_PX = 320
FIRST_SEED = 100  # the pictures in samples/ have seed 0, so that they are new to the network
# In the public domain or under CC0: NASA, S. van der Walt, R. Michetti, SpaceX, NASA/ESA.
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field")


def bundled_pictures() -> list[np.ndarray]:
    """All of them, float32 [H, W, 3] in [0, 1].

    Raises:
        UserError: scikit-image is not installed.
    """
    try:
        data = importlib.import_module("skimage.data")
    except ModuleNotFoundError:
        raise UserError("the bundled filters are learned from photos of scikit-image, which is not installed: "
                        "pip install -e '.[filters]', or give --pictures") from None
    photos = [_reduced(getattr(data, name)()) for name in PHOTOS]
    return photos + [np.asarray(draw(seed, DRAWN_SIDE_PX) / 255, np.float32)
                     for draw in SAMPLES.values() for seed in range(FIRST_SEED, FIRST_SEED + VARIATIONS)]


def _reduced(pixels: np.ndarray) -> np.ndarray:
    picture = np.asarray(pixels[..., :3] / 255, np.float32)
    height, width = picture.shape[:2]
    return images.resize(picture, *images.fit(min(LEARNING_SIDE_PX, max(height, width)), width, height))
