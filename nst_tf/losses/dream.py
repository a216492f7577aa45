"""Dream: how strongly chosen units respond, to be maximized beside content and style; and which units are chosen."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.grammar import Channels
from nst_tf.tensors import Tensor
from nst_tf.vocabulary import UserError

Activations = npt.NDArray[np.float32]

# At the border units respond to the padding; keras-io's deep dream leaves out as many cells.
LARGEST_BORDER = 2


def dream(F: Tensor, channels: Sequence[int], reference: Tensor) -> Tensor:
    """− 1/|U| Σ_{c ∈ U} log(1 + a_c / ā): without unit, so that one weight holds for every backbone and size.

    The logarithm lets every unit count, not only the one that rises most easily, and slows down what has risen: the
    gradient of a unit is that of a_c / (ā + a_c).

    Args:
        F: features [B, h, w, C].
        channels: U, indices of channels, each once.
        reference: ā > 0, what `reference` measured on content and styles.
    Returns:
        a scalar ≤ 0: 0 where the units are silent, −log 2 where they are as active as the layer is on the pictures.
    Source: Mordvintsev, Olah, Tyka 2015 (Inceptionism), who maximize ½‖F‖² of a whole layer.
    """
    # Differs from Mordvintsev et al. 2015: ½‖F‖² depends on the size and grows without end against the other terms, and
    # has hardly a gradient where a unit responds weakly.
    shares = np.zeros(F.shape[-1])
    shares[list(channels)] = 1 / len(channels)
    # All channels and a product, not a gather, whose gradient would be summed in any order.
    return -tf.reduce_sum(tf.constant(shares, F.dtype) * tf.math.log1p(activation(F) / reference))


def activation(F: Tensor) -> Tensor:
    """a_c = mean over pictures and inner cells of max(F_c, 0), [C]; F is [B, h, w, C]."""
    return tf.reduce_mean(tf.nn.relu(inner(F)), axis=[0, 1, 2])


def reference(activations: Sequence[Tensor]) -> Tensor:
    """ā = mean over pictures and channels of a layer's activations, [C] each; a scalar > 0."""
    return tf.maximum(tf.reduce_mean(tf.stack(activations)), 1e-12)


def inner(F: Tensor) -> Tensor:
    """F [B, h, w, C] without the `LARGEST_BORDER` outermost cells of each side; fewer where that is over a quarter."""
    rows, columns = (min(LARGEST_BORDER, side // 4) for side in F.shape[1:3])
    return F[:, rows:F.shape[1] - rows, columns:F.shape[2] - columns]


def choose(channels: Channels, used: Activations, what: str) -> tuple[int, ...]:
    """The units of a layer that are meant, in ascending order where they are ranked.

    `strong:N` are the N with the largest response, `weak:N` and `unused:N` those with the least among the units that
    respond at all: where a ReLU is silent there is no gradient that could wake it.

    Args:
        used: [C] ≥ 0, how much each unit responds to the pictures.
        what: what an error names.
    Raises:
        UserError: a channel that the layer does not have, or fewer units respond than are asked for.
    """
    if channels.rule == "all":
        return tuple(range(len(used)))
    if channels.rule == "index":
        if max(channels.indices) >= len(used):
            raise UserError(f"{what}: channel {max(channels.indices)} does not exist; give 0 to {len(used) - 1}")
        return channels.indices
    order = np.argsort(used, kind="stable")
    responding = order[used[order] > 0]
    if len(responding) < channels.first:
        raise UserError(f"{what}: {len(responding)} of its {len(used)} units respond to the pictures; give "
                        f"{channels.rule}:{len(responding)} or another layer")
    chosen = responding[-channels.first:] if channels.rule == "strong" else responding[:channels.first]
    return tuple(sorted(map(int, chosen)))
