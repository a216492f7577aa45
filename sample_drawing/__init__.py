"""Pictures drawn by code: two content scenes, a mask, four styles; the same bits for the same seed.

NumPy and Pillow only. Each function takes a seed, which varies composition and palette, and the long side in pixels.
"""

from collections.abc import Callable

from sample_drawing.canvas import Pixels
from sample_drawing.coast import coast, coast_mask
from sample_drawing.mosaic import mosaic
from sample_drawing.street import street
from sample_drawing.swirls import swirls
from sample_drawing.watercolor import watercolor
from sample_drawing.woodcut import woodcut

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
