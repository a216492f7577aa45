"""Whether the activations of a picture fit into memory, before any work. No TensorFlow.

Linux ends a process that takes more memory than there is, without a message. The check refuses what can never fit. What
passes may still run out of memory: `runs.session.memory_errors` says so then.
"""

from collections.abc import Sequence

from nst_tf.backbones.facts import Layer
from nst_tf.runtime import memory_bytes
from nst_tf.vocabulary import UserError

FLOAT_BYTES = 4
# For each pixel of a picture that Adam optimizes, beside all activations and the gradient of the largest layer: three
# colors of the picture, of its average and of Adam's two moments, before and after a step.
OPTIMIZED_FLOATS = 3 * 2 * 4


def floats_per_px(layers: Sequence[Layer], deepest: Sequence[str]) -> tuple[float, float]:
    """How many activations a pixel has: (in the largest layer, in all layers), up to the last of `deepest`.

    Args:
        layers: all of a network, in its order.
    """
    last = max(index for index, layer in enumerate(layers) if layer.name in deepest)
    counts = [layer.channels / layer.stride ** 2 for layer in layers[:last + 1]]
    return max(counts), sum(counts)


def check_memory(pixels: float, floats: float, subject: str, remedy: str) -> None:
    """Raises `UserError` where `pixels` pixels of `floats` activations each exceed the memory of this machine.

    Args:
        subject: the subject of the sentence, with the flags and their values.
    """
    needed, available = pixels * floats * FLOAT_BYTES, memory_bytes()
    if needed > available:
        raise UserError(f"{subject} at least {needed / 1e9:.1f} GB of memory, and this machine has "
                        f"{available / 1e9:.1f}: {remedy}")
