"""Pictures drawn by code: two content scenes, a mask, four styles; the same bits for the same seed.

NumPy and Pillow only. Each function takes a seed, which varies composition and palette, and the long side in pixels.
"""

from collections.abc import Callable

from nst_tf.samples.canvas import Pixels
from nst_tf.samples.coast import coast, coast_mask
from nst_tf.samples.mosaic import mosaic
from nst_tf.samples.street import street
from nst_tf.samples.swirls import swirls
from nst_tf.samples.watercolor import watercolor
from nst_tf.samples.woodcut import woodcut

SAMPLES: dict[str, Callable[..., Pixels]] = {
    "coast": coast,
    "street": street,
    "swirls": swirls,
    "mosaic": mosaic,
    "woodcut": woodcut,
    "watercolor": watercolor,
}
# Label images for --content_mask, in the colors that `coast.py` names.
MASKS: dict[str, Callable[..., Pixels]] = {"coast_mask": coast_mask}

__all__ = ["MASKS", "SAMPLES"]
