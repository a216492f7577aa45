"""Pictures in and out, in one place: `decode`, `pixels` and `encode` have the code.

Everything between is float32 [H, W, 3], sRGB in [0, 1].
"""

from nst_tf.io.decode import MAX_PIXELS, load, load_alpha, size_px
from nst_tf.io.encode import ENCODERS, check_output, encode, quantize, save
from nst_tf.io.pixels import FloatImage, PathLike, check_smallest_side, fit, resize

__all__ = [
    "ENCODERS", "MAX_PIXELS", "FloatImage", "PathLike", "check_output", "check_smallest_side", "encode", "fit", "load",
    "load_alpha", "quantize", "resize", "save", "size_px"]
