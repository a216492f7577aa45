"""The weights of a generator: before training, as one vector that an optimizer moves, and back. No TensorFlow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nst_tf.generators.layers import Layer, convolutions
from nst_tf.types import Array


class Styled(NamedTuple):
    """The weights of a convolution: its kernel [k, k, C, D], and shift β and scale γ of each of K styles, [K, D].

    The last convolution has no scale: its colors are not normalized.
    """

    kernel: Any
    shift: Any
    scale: Any = None


Weights = Mapping[str, Styled]


def initial(network: Sequence[Layer], styles: int, seed: int) -> dict[str, Styled]:
    """The weights before training: kernels N(0, 2 / fan-in) (He et al. 2015), γ = 1, β = 0.

    The last kernel is 0: the network begins as the photo itself.
    """
    random, weights = np.random.default_rng(seed), {}
    for convolution in convolutions(tuple(network)):
        fan_in = convolution.side_px ** 2 * convolution.inputs
        kernel = random.normal(0.0, np.sqrt(2.0 / fan_in), convolution.kernel).astype(np.float32)
        shift = np.zeros((styles, convolution.channels), np.float32)
        weights[convolution.name] = (Styled(kernel * 0, shift) if convolution.is_last
                                     else Styled(kernel, shift, np.ones_like(shift)))
    return weights


def shapes(network: Sequence[Layer], styles: int) -> list[tuple[int, ...]]:
    """The shapes of all parts, in the order of the vector."""
    found: list[tuple[int, ...]] = []
    for convolution in convolutions(tuple(network)):
        of_style = (styles, convolution.channels)
        found += [convolution.kernel, of_style, *([] if convolution.is_last else [of_style])]
    return found


def flat(weights: Weights) -> Array:
    """All weights as one vector, float32 [N]."""
    return np.concatenate([np.ravel(part) for styled in weights.values() for part in styled if part is not None])


def unflat(network: Sequence[Layer], styles: int, vector: Any,
           split: Callable[[Any, list[int]], Sequence[Any]] = lambda vector, counts: np.split(
               vector, np.cumsum(counts)[:-1]), reshape: Callable[[Any, Any], Any] = np.reshape) -> dict[str, Styled]:
    """The weights that `flat` joined.

    Args:
        split, reshape: those of TensorFlow for a tensor. One operation splits it, since its gradient joins the parts:
            slices would add up, in an order that depends on timing (see `tensors.fork`).
    """
    of_shapes = shapes(network, styles)
    parts = iter([reshape(part, shape) for part, shape in
                  zip(split(vector, [int(np.prod(shape)) for shape in of_shapes]), of_shapes, strict=True)])
    return {convolution.name: Styled(*(next(parts) for _ in range(2 if convolution.is_last else 3)))
            for convolution in convolutions(tuple(network))}
