"""The strongest responses of every unit to the images so far, in memory that does not grow with the images.

No TensorFlow here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

KEPT = 9
NO_IMAGE = -1


class Maxima(NamedTuple):
    """The `KEPT` strongest responses of each of C units, strongest first, of one image each; arrays [C, KEPT].

    A place that no image has taken has value 0 and image `NO_IMAGE`.
    """

    values: npt.NDArray[np.float32]
    images: npt.NDArray[np.int32]   # index in the list of images
    rows: npt.NDArray[np.int32]     # of the cell
    columns: npt.NDArray[np.int32]


class MaximaState(NamedTuple):
    """The maxima of each layer over the first `images` images, of which `skipped` could not be used."""

    maxima: Mapping[str, Maxima]
    images: int
    skipped: int


def empty_state(channels: Mapping[str, int]) -> MaximaState:
    """The state before the first image.

    Args:
        channels: number of units by layer.
    """
    def empty(count: int) -> Maxima:
        places = np.zeros((count, KEPT), np.int32)
        return Maxima(np.zeros((count, KEPT), np.float32), places + NO_IMAGE, places, places)

    return MaximaState({layer: empty(count) for layer, count in channels.items()}, 0, 0)


def merged(maxima: Maxima, values: npt.NDArray[np.float32], rows: npt.NDArray[np.int32],
           columns: npt.NDArray[np.int32], image: int) -> Maxima:
    """The maxima after one more image; of equal responses the earlier image's comes first.

    Args:
        values: [C], the largest response of each unit in this image; rows and columns: its cell.
        image: the image's index. A response of 0 or less takes no place.
    Returns:
        new maxima. The old ones do not change, so that a run may stop at any time.
    """
    new = Maxima(values, np.full(len(values), image, np.int32), rows, columns)
    joined: list[Any] = [np.concatenate([kept, added[:, np.newaxis]], axis=1, dtype=kept.dtype)
                         for kept, added in zip(maxima, new, strict=True)]
    joined[0][:, -1] = np.where(values > 0, values, -np.inf)
    order = np.argsort(-joined[0], axis=1, kind="stable")[:, :KEPT]
    return Maxima(*(np.take_along_axis(array, order, axis=1) for array in joined))


def strongest(maxima: Maxima, count: int) -> tuple[int, ...]:
    """The units with the largest mean of their `KEPT` strongest responses, in the order of their indices."""
    order = np.argsort(-maxima.values.mean(axis=1), kind="stable")
    return tuple(sorted(int(unit) for unit in order[:count]))


def to_arrays(state: MaximaState) -> dict[str, np.ndarray]:
    """The state as named arrays, which `from_arrays` reads."""
    arrays: dict[str, np.ndarray] = {f"{layer}/{name}": array for layer, maxima in state.maxima.items()
                                     for name, array in maxima._asdict().items()}
    return arrays | {"images": np.asarray(state.images), "skipped": np.asarray(state.skipped)}


def from_arrays(values: Mapping[str, np.ndarray], layers: Sequence[str]) -> MaximaState:
    """The state that `to_arrays` wrote.

    Raises:
        KeyError, ValueError, TypeError: the arrays are not those of a state of these layers.
    """
    maxima = {layer: Maxima(*(values[f"{layer}/{name}"] for name in Maxima._fields)) for layer in layers}
    return MaximaState(maxima, int(values["images"]), int(values["skipped"]))
