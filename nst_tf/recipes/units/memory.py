"""What pictures need at the very least, before any work: Linux ends a process that takes more than there is.

No TensorFlow here. What is refused here fits nowhere near; what passes may still fail, and says so then.
"""

from collections.abc import Sequence

from nst_tf.backbones.facts import Layer
from nst_tf.runtime import memory_bytes
from nst_tf.vocabulary import UserError

FLOAT_BYTES = 4
# Of each pixel of a picture that is optimized, beside all activations and the gradient of the largest layer: three
# colors of what is optimized, its average, Adam's two moments, and what these become in a step.
OPTIMIZED_FLOATS = 3 * 2 * 4


def floats_per_px(layers: Sequence[Layer], deepest: Sequence[str]) -> tuple[float, float]:
    """How many activations there are for each pixel: (in the largest layer, in all), up to the last of `deepest`.

    Args:
        layers: all of a network, in its order.
    """
    last = max(index for index, layer in enumerate(layers) if layer.name in deepest)
    counts = [layer.channels / layer.stride ** 2 for layer in layers[:last + 1]]
    return max(counts), sum(counts)


def check_memory(pixels: float, floats: float, what: str, remedy: str) -> None:
    """Raises `UserError` where so many activations of so many pixels need more memory than this machine has.

    Args:
        what: the subject of the sentence, with the flags and their values.
    """
    needed, there = pixels * floats * FLOAT_BYTES, memory_bytes()
    if needed > there:
        raise UserError(f"{what} at least {needed / 1e9:.1f} GB of memory, and this machine has {there / 1e9:.1f}: "
                        f"{remedy}")
