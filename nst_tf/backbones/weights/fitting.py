"""What a network needs from a weights file, and whether what the file holds fits, tensor by tensor."""

import contextlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from nst_tf.io.files import quoted
from nst_tf.vocabulary import UserError

# The most that is read into memory: protobuf's own limit. VGG19 with its classifier has 0.6 GB.
LARGEST_FILE_BYTES = 2**31 - 1
_WORD_STARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])")
# {class in Keras' spelling: how Keras 1 spelled it in the names that it made up}.
_OLD_KINDS = {"conv2d": "convolution2d", "batch_normalization": "batchnormalization"}

LayerArrays = list[npt.NDArray[np.float32]]
# An array in a file: its shape and type are known before its values are read by `np.asarray`.
StoredTensor = Any


class Need(NamedTuple):
    """One layer of a network that has weights.

    `kind` is its class in Keras' spelling (`conv2d`), `rank` its place among the layers of that class, from 0. A layer
    of the kind `dense` is a convolution here, whose kernel files have as [h · w · channels in, channels out].
    `numbered` says that Keras made its name up (`conv2d_17`); the number depends on what else the session has built.
    `shapes` are those of its variables, {`kernel`: [h, w, channels in, channels out], …}, in Keras' order.
    `caffe_name` is what Caffe's files call it.
    """

    name: str
    kind: str
    rank: int
    numbered: bool
    shapes: dict[str, tuple[int, ...]]
    caffe_name: str


class Found(NamedTuple):
    """The tensors that a file holds for one layer, {variable: tensor}, and what the file calls that layer."""

    name: str
    tensors: Mapping[str, StoredTensor]


def whole_file(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        ValueError: it is larger than `LARGEST_FILE_BYTES`.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_FILE_BYTES:
            raise ValueError(f"{size} bytes, at most {LARGEST_FILE_BYTES} are allowed")
        return file.read()


def needs(model: keras.Model, caffe_names: Mapping[str, str] | None = None) -> list[Need]:
    """Every layer of a network that has weights, in Keras' order.

    Args:
        caffe_names: {layer: its name in Caffe's files}, those that are equal left out.
    """
    found: list[Need] = []
    ranks: Counter[str] = Counter()
    for layer in model.layers:
        if layer.weights:
            kind = getattr(layer, "stored_as", None) or _WORD_STARTS.sub("_", type(layer).__name__).lower()
            shapes = {variable.name: tuple(variable.shape) for variable in layer.weights}
            caffe_name = (caffe_names or {}).get(layer.name, layer.name)
            found.append(Need(layer.name, kind, ranks[kind], is_numbered(layer.name, kind), shapes, caffe_name))
            ranks[kind] += 1
    return found


def names_in_file(wanted: Iterable[Need], stored: Iterable[str]) -> list[str]:
    """What a file calls each layer; `""` where it has none.

    That is its name here or in Caffe's files, or the same place among the numbered ones. The marks between words do
    not count: `fire2/squeeze1x1`, which Keras 3 does not allow, is `fire2-squeeze1x1` or `fire2_squeeze1x1` elsewhere.

    Args:
        stored: the file's layers, in its order, which is that of the network's layers and not that of the numbers.
    """
    stored = dict.fromkeys(stored)
    numbered = {need.kind: iter([name for name in stored if is_numbered(name, need.kind)]) for need in wanted}
    words = {_words(name): name for name in reversed(stored)}

    def named(need: Need) -> str:
        alike = (words.get(_words(name), "") for name in (need.name, need.caffe_name))
        return need.name if need.name in stored else next(filter(None, alike), "")

    return [next(numbered[need.kind], "") if need.numbered else named(need) for need in wanted]


def by_position(need: Need, tensors: Sequence[StoredTensor]) -> dict[str, StoredTensor]:
    """{variable: tensor} for a file that knows a layer's variables only by their order."""
    surplus = [f"tensor {index + 1}" for index in range(len(need.shapes), len(tensors))]
    return dict(zip([*need.shapes, *surplus], tensors))


def foreign_layers(stored: Mapping[str, Iterable[StoredTensor]], used: Iterable[str]) -> list[str]:
    """The convolutions of a file that the network does not have; a classifier is none.

    VGG19's first layers have the names and shapes of VGG16's; only the others tell the two apart.
    """
    used = set(used)
    return [name for name, tensors in stored.items()
            if name not in used and any(len(tensor.shape) == 4 for tensor in tensors)]


def fitting_arrays(path: str, wanted: Sequence[Need], found: Sequence[Found],
                   foreign: Sequence[str]) -> list[LayerArrays]:
    """The finite float32 values of every variable of every layer.

    Nothing is read before all shapes are known to be the network's own, so no file makes this allocate more than it.

    Raises:
        UserError: the first tensor that is missing, does not fit or is not finite, or the first of the foreign layers.
    """
    for need, layer in zip(wanted, found, strict=True):
        _check_fit(path, need, layer)
    if foreign:
        raise UserError(f"--weights={quoted(path)} has a layer {quoted(foreign[0])}, which this backbone does not "
                        "have: it is not a file of this backbone")
    return [[_values(path, need, variable, layer.tensors[variable]) for variable in need.shapes]
            for need, layer in zip(wanted, found)]


@contextlib.contextmanager
def one_line_errors(path: str, what: str) -> Iterator[None]:
    """Raises `UserError` for whatever libraries raise on a damaged or hostile file: that can be almost anything."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:80] or type(error).__name__
        raise UserError(f"--weights={quoted(path)} is not a readable {what} ({reason}): get a new copy of it") from None


def is_numbered(name: str, kind: str) -> bool:
    """Whether Keras made up this name for a layer of a class."""
    return re.fullmatch(rf"({kind}|{_OLD_KINDS.get(kind, kind)})(_\d+)?", name) is not None


def _words(name: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", name.lower())


def _check_fit(path: str, need: Need, found: Found) -> None:
    alias = f" ({quoted(found.name)} in the file)" if found.name not in ("", need.name) else ""
    for variable, wanted in need.shapes.items():
        if variable not in found.tensors:
            reason = ("give a Keras or .npz file that has the classifier, or choose other layers"
                      if need.kind == "dense" else "it is not a file of this backbone")
            raise UserError(f"--weights={quoted(path)} has no {variable} of layer {need.name}{alias}: {reason}")
        tensor = found.tensors[variable]
        if need.kind == "dense":
            wanted = (*([math.prod(wanted[:-1])] if len(wanted) > 1 else []), wanted[-1])
        if tuple(tensor.shape) != wanted or tensor.dtype.kind != "f":
            raise UserError(f"--weights={quoted(path)}: the {variable} of layer {need.name}{alias} is {tensor.dtype} "
                            f"{list(tensor.shape)}, this backbone needs float {list(wanted)}")
    surplus = [variable for variable in found.tensors if variable not in need.shapes]
    if surplus:
        raise UserError(f"--weights={quoted(path)} has a {surplus[0]} of layer {need.name}{alias}, which in this "
                        f"backbone has only {', '.join(need.shapes)}")


def _values(path: str, need: Need, variable: str, tensor: StoredTensor) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        values = np.asarray(tensor, np.float32).reshape(need.shapes[variable])
    if not np.isfinite(values).all():
        raise UserError(f"--weights={quoted(path)}: the {variable} of layer {need.name} holds values that are not "
                        "finite: get a new copy of it")
    return values
