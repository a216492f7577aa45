"""Reads the convolutions of Keras' HDF5 weight files, old and new, without Keras' loaders and without unpickling."""

import re
from collections.abc import Collection, Mapping

import h5py
import numpy as np
import numpy.typing as npt

from nst_tf.vocabulary import UserError

_NUMBERED = re.compile(r"conv2d(_\d+)?")

Arrays = list[npt.NDArray[np.float32]]


def read_convolutions(path: str, shapes: Mapping[str, tuple[int, ...]], known: Collection[str]) -> list[Arrays]:
    """[kernel, bias] of each convolution of a network, in its order.

    Args:
        path: a Keras file: weights (`.h5`, as `keras.applications` caches them), a whole model (`.h5`), or Keras 3
            weights (`.weights.h5`); layers that the network does not have (deeper ones, a classifier) are left out.
        shapes: {layer: kernel shape [k, k, channels in, channels out]}, in the network's order.
        known: every layer of the whole network, also those that lie deeper than what is read.
    Raises:
        UserError: no HDF5 file, the first tensor that does not fit, or a layer that the network does not have, by name.
    """
    try:
        with h5py.File(path, "r") as file:
            stored = _groups(file)
            _refuse_foreign(path, stored, known)
            return [_fitting(path, name, shape, stored, index) for index, (name, shape) in enumerate(shapes.items())]
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--weights={path} is not a readable Keras .h5 file ({_reason(error)})") from None


def _refuse_foreign(path: str, stored: Mapping[str, list[h5py.Dataset]], known: Collection[str]) -> None:
    """VGG19's first layers have the names and shapes of VGG16's; only the others tell the two apart."""
    for name, datasets in stored.items():
        if _NUMBERED.fullmatch(name) is None and name not in known and any(data.ndim == 4 for data in datasets):
            raise UserError(f"--weights={path} has a layer {name}, which this backbone does not have: it is not a file "
                            "of this backbone")


def _groups(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """{layer: its datasets}; Keras 3 names layers by class and number: conv2d, conv2d_1, …"""
    groups: dict[str, list[h5py.Dataset]] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
            parts = [part for part in name.split("/")[:-1] if part not in ("layers", "model_weights", "vars")]
            if parts:
                groups.setdefault(parts[0], []).append(item)

    file.visititems(visit)
    return groups


def _fitting(path: str, name: str, shape: tuple[int, ...], stored: Mapping[str, list[h5py.Dataset]],
             index: int) -> Arrays:
    key = name if name in stored else _by_number(stored, index)
    datasets = {dataset.ndim: dataset for dataset in stored.get(key, [])}
    for tensor, wanted in ((4, shape), (1, shape[-1:])):
        kind = "kernel" if tensor == 4 else "bias"
        if tensor not in datasets:
            raise UserError(f"--weights={path} has no {kind} of layer {name}: it is not a file of this backbone")
        if datasets[tensor].shape != wanted or datasets[tensor].dtype.kind != "f":
            raise UserError(f"--weights={path}: the {kind} of layer {name} is {datasets[tensor].dtype} "
                            f"{list(datasets[tensor].shape)}, this backbone needs float {list(wanted)}")
    kernel, bias = (np.asarray(datasets[tensor], np.float32) for tensor in (4, 1))
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise UserError(f"--weights={path}: layer {name} holds values that are not finite")
    return [kernel, bias]


def _by_number(stored: Mapping[str, object], index: int) -> str:
    """The index-th of conv2d, conv2d_1, conv2d_2, … (sorted by number: conv2d_10 comes after conv2d_9)."""
    numbered = [name for name in stored if _NUMBERED.fullmatch(name)]
    numbered.sort(key=lambda name: int(name.partition("_")[2] or 0))
    return numbered[index] if index < len(numbered) else ""


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:80]
