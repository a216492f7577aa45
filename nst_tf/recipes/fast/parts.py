"""Parts of photos to learn on: squares of any scale near the pictures that the network is meant for. No TensorFlow."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nst_tf.io import images
from nst_tf.io.pixels import FloatImage
from nst_tf.runs.session import say
from nst_tf.vocabulary import UserError

# How many parts are kept, in whole bytes: the fewest are made of few photos too, the most bound the memory.
FEWEST_PARTS, MOST_PARTS = 256, 1024
# The long side of a photo is drawn between these shares of --size before a part is taken from it.
SCALES = (0.75, 1.5)


def parts_of(paths: Sequence[str], size_px: int, side_px: int, seed: int) -> NDArray[np.uint8]:
    """Squares from photos at random scales and places, uint8 [N, side, side, 3]: a function of files and seed.

    A photo is never enlarged but to the side of a part. One that cannot be read is left out.

    Raises:
        UserError: no photo can be read.
    """
    count = min(max(FEWEST_PARTS, len(paths)), MOST_PARTS)
    parts, reasons = list[NDArray[np.uint8]](), list[str]()
    each = -(-count // len(paths))
    order = np.random.default_rng(seed).permutation(len(paths))
    for number in order:
        if len(parts) >= count:
            break
        try:
            photo = np.asarray(images.load(paths[number], name="--photos", max_side_px=round(SCALES[1] * size_px)))
        except UserError as error:
            reasons.append(str(error))
            continue
        random = np.random.default_rng((seed, int(number)))
        parts += [_part(photo, size_px, side_px, random) for _ in range(each)]
    if reasons:
        say(f"nst_tf: {len(reasons)} of the --photos cannot be read ({reasons[0]})")
    if not parts:
        raise UserError(f"--photos holds no picture that can be read ({reasons[-1]})")
    return np.stack(parts[:count])


def _part(photo: FloatImage, size_px: int, side_px: int, random: np.random.Generator) -> NDArray[np.uint8]:
    height, width = photo.shape[:2]
    scale = min(1.0, random.uniform(*SCALES) * size_px / max(height, width))
    # What is cut out is resized, not the photo: a strip would become huge.
    cut_px = max(1, min(round(side_px / scale), height, width))
    top, left = (int(random.integers(0, side - cut_px + 1)) for side in (height, width))
    found: NDArray[np.uint8] = images.quantize(
        images.resize(photo[top:top + cut_px, left:left + cut_px], side_px, side_px))
    return found
