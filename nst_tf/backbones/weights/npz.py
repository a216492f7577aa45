"""Reads `.npz` archives without unpickling; nothing is allocated by what a file only claims.

A file of weights names its arrays LAYER/VARIABLE, as Keras names both: `conv1/kernel`, `conv1/bias`, `bn/gamma`, …
"""

import math
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nst_tf.backbones.weights.fitting import (
    Found, LayerArrays, Need, fitting_arrays, foreign_layers, names_in_file, one_line_errors,
)


class StoredArray(NamedTuple):
    """One array of an archive; `np.asarray` reads its values."""

    archive: zipfile.ZipFile
    entry: zipfile.ZipInfo
    header_bytes: int
    shape: tuple[int, ...]
    dtype: np.dtype
    order: Any  # "C", or "F" where the first axis runs fastest

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        values = np.frombuffer(self.archive.read(self.entry), self.dtype, offset=self.header_bytes)
        return values.reshape(self.shape, order=self.order).astype(dtype or self.dtype)


def stored_arrays(archive: zipfile.ZipFile) -> dict[str, StoredArray]:
    """The arrays of an archive by name, in its order, of which only the headers were read.

    Raises:
        ValueError: a name that stands twice, no array, Python objects, or a shape that its bytes do not hold.
    """
    arrays = {entry.filename.removesuffix(".npy"): _stored(archive, entry) for entry in archive.infolist()}
    if len(arrays) != len(archive.infolist()):
        raise ValueError("two arrays have one name")
    return arrays


def read_npz(path: str, wanted: Sequence[Need]) -> list[LayerArrays]:
    """The weights of every layer of a network from an archive of arrays LAYER/VARIABLE, float16 to float64.

    Layers that Keras numbers (`conv2d_17`) go by their order in the file.

    Raises:
        UserError: no such archive, the first tensor that does not fit, or a convolution that the network does not have.
    """
    with one_line_errors(path, ".npz archive"), zipfile.ZipFile(path) as archive:
        layers: dict[str, dict[str, StoredArray]] = {}
        for name, array in stored_arrays(archive).items():
            layer, _, variable = name.rpartition("/")
            layers.setdefault(layer, {})[variable] = array
        names = names_in_file(wanted, layers)
        foreign = foreign_layers({name: layer.values() for name, layer in layers.items()}, names)
        return fitting_arrays(path, wanted, [Found(name, layers.get(name, {})) for name in names], foreign)


def _stored(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> StoredArray:
    with archive.open(entry) as file:
        # Headers of a later version, which np.savez writes only beyond 64 KiB, may claim 4 GiB.
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{entry.filename} has an .npy header of another version than 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        header_bytes = file.tell()
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds Python objects")
    if header_bytes + math.prod(shape) * dtype.itemsize != entry.file_size:
        raise ValueError(f"{entry.filename} does not hold the shape {shape} that it claims")
    return StoredArray(archive, entry, header_bytes, shape, dtype, "F" if fortran else "C")
