"""A term of J: what it sums over the positions of a picture, and how it compares these sums with its targets.

`measure` is additive over positions: the sums of the tiles of a picture add to those of the picture. Only `compare`
couples positions, and it reads nothing but the sums, which are small. So the gradient of J by the sums is known before
the gradient of any tile is computed, and a step may be whole (`whole` in `optimize/step.py`), in tiles
(`recipes/stylize/tiled.py`) or on several devices.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.grammar import LayerWeight
from nst_tf.losses.guides import Area, ReceptiveField
from nst_tf.losses.moments import Samples
from nst_tf.losses.objective import Objective, layer_shares
from nst_tf.tensors import Features, Tensor, fork, of_examples, with_gradient

Losses = dict[str, Tensor]
Cells = Mapping[str, Sequence[int]]  # {layer: its sides}


class Tiled(NamedTuple):
    """How pictures are measured that are too large for their features: as `Source.sums` and `Source.cells`."""

    sums: Callable[[Tensor, Objective, Callable[[Objective, "View", Any], Any], Callable[[Cells], Any]], Any]
    cells: Callable[[Sequence[int]], Cells]


# The name under which `inside` has the weights of the pixels, beside the names of layers.
PICTURE = "picture"


class Source(NamedTuple):
    """The pictures that a term takes its targets from.

    `extract` is picture [1, *space, 3] → {layer: features}; `content` is None where there is none; `styles` are K
    pictures of any sizes, `blend` K weights ≥ 0; `areas` say where regions lie, `fields` what the cells of a layer see;
    `size` are the space axes of the picture that is optimized; with `tiled` no picture is measured as a whole;
    `earlier` are earlier frames at the places of this one, [1, *space, 3], and how certain that is, [1, *space].
    """

    extract: Callable[[Tensor], Features]
    content: Tensor | None
    styles: Sequence[Tensor]
    blend: Sequence[float]
    areas: Sequence[Area] = ()
    fields: Mapping[str, ReceptiveField] = {}
    size: Sequence[int] = ()
    tiled: Tiled | None = None
    earlier: tuple[Tensor, Tensor] | None = None

    def pictures(self) -> list[Tensor]:
        """The content if there is one, then the styles."""
        return [*([] if self.content is None else [self.content]), *self.styles]

    def sums(self, picture: Tensor, objective: Objective, measure: Callable[[Objective, "View", Any], Any],
             fixed: Callable[[Cells], Any]) -> Any:
        """`Term.measure` over all positions of a picture, `fixed` by the cells of each layer.

        Args:
            objective: has no layers but those that are measured.
        """
        if self.tiled:
            return self.tiled.sums(picture, objective, measure, fixed)
        features = self.extract(picture)
        cells = {layer: F.shape[1:-1] for layer, F in features.items()}
        return measure(objective, View(features, picture), fixed(cells))

    def cells(self, size: Sequence[int]) -> Cells:
        """The sides of each layer of a picture with these space axes."""
        if self.tiled:
            return self.tiled.cells(size)
        blank = tf.zeros([1, *size, self.pictures()[0].shape[-1]], self.pictures()[0].dtype)
        return {layer: F.shape[1:-1] for layer, F in self.extract(blank).items()}


class Constant(NamedTuple):
    """What a term reads beside its positions that is the same at each of them, and so for every tile."""

    value: Any


class TermTargets(NamedTuple):
    """What a term has of its `Source`, as nested tensors.

    `fixed` lies beside the positions of the picture and is cut like it where tiles are measured, but for what is
    `Constant`; `target` is what the sums are compared with; `details` is what only `Term.details` reads.
    """

    fixed: Any = ()
    target: Any = ()
    details: Any = ()


class View:
    """What the terms measure: a picture, or a tile of it with a margin.

    Every reader gets a copy of its own, so that the gradients of all readers are summed in one order (see `fork`).

    Args:
        features: {layer: [B, *cells, C]}.
        picture: x, [B, *space, 3].
        inside: {layer, or `PICTURE`: w [1 or B, *cells] ≥ 0}, how much each position counts: 1 in a tile and 0 in its
            margin. What is not there counts 1 everywhere.
    """

    def __init__(self, features: Features, picture: Tensor, inside: Mapping[str, Tensor] | None = None) -> None:
        self._features, self._picture, self._inside = dict(features), picture, inside or {}

    def features(self, layer: str) -> Tensor:
        """A copy of a layer's features."""
        self._features[layer], copy = fork(self._features[layer])
        return copy

    def picture(self) -> Tensor:
        """A copy of the picture."""
        self._picture, copy = fork(self._picture)
        return copy

    def weights(self, name: str, others: Tensor | None = None) -> Tensor | None:
        """How much each position of a layer, or of the `PICTURE`, counts, times other weights; None for 1."""
        given = [tf.cast(w, self._picture.dtype) for w in (self._inside.get(name), others) if w is not None]
        return given[0] * given[1] if len(given) == 2 else next(iter(given), None)


class Term(NamedTuple):
    """A row of the table of terms; all four are pure functions.

    `measure(objective, view, fixed) -> sums`: nested tensors [B, …], one entry for each example of the batch.
    `compare(objective, sums, target) -> (loss [B], {tag: [B]})`: the term, and its parts for reading.
    `targets(objective, source) -> TermTargets`, once for each stage; empty for a term that needs no other picture.
    `details(objective, sums, details) -> {tag: [B]}`: further losses, computed when a row is logged.
    """

    measure: Callable[[Objective, View, Any], Any]
    compare: Callable[[Objective, Any, Any], tuple[Tensor, Losses]]
    targets: Callable[[Objective, Source], TermTargets] = lambda objective, source: TermTargets()
    details: Callable[[Objective, Any, Any], Losses] = lambda objective, sums, details: {}


def add(first: Any, second: Any) -> Any:
    """The sums of two parts of a picture together.

    Raises:
        TypeError: one of them holds `Samples`, which do not add.
    """
    if isinstance(first, Samples):
        raise TypeError("sorted samples of two parts of a picture do not add: measure the picture whole")
    if isinstance(first, Mapping):
        return {name: add(value, second[name]) for name, value in first.items()}
    if isinstance(first, tuple):
        parts = [add(*pair) for pair in zip(first, second, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return first + second


def join(first: Any, second: Any) -> Any:
    """The sums of two sets of layers together: mappings are joined, tuples item by item."""
    if isinstance(first, Mapping):
        return {**first, **second, **{name: join(value, second[name]) for name, value in first.items()
                                      if name in second}}
    return tuple(join(*pair) for pair in zip(first, second, strict=True))


def share_tensor(layers: Sequence[LayerWeight], normalization: str) -> Tensor:
    """λ of some layers, [L]."""
    return tf.constant(layer_shares(layers, normalization), tf.float32)


def weighted_sum(values: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Σ_i w_i v_i of [B] each, w [n], as one reduction, whose order does not depend on timing."""
    return tf.reduce_sum(tf.stack(values) * tf.reshape(tf.cast(weights, values[0].dtype), [-1, 1]), axis=0)


def sum_of_squares(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ x² of each example, [B, …] → [B]; with w ≥ 0 [1 or B, *space] Σ_p w_p ‖x_p‖² of [B, *space, C].

    Its gradient is 2 x, or 2 w_p x_p, times that of the sum, in one pass over x: automatic differentiation first writes
    the gradient of the sum out for every value.
    """
    return _sum_of_squares(x) if weights is None else _weighted_sum_of_squares(x, weights[..., tf.newaxis])


def _sum_gradient(inputs: list[Tensor], _: list[Tensor], d: Tensor) -> tuple[Tensor]:
    (x,) = inputs
    return (x * of_examples(2.0 * d, x),)


@with_gradient(_sum_gradient)
def _sum_of_squares(x: Tensor) -> Tensor:
    return tf.reduce_sum(tf.square(x), axis=range(1, len(x.shape)))


def _weighted_sum_gradient(inputs: list[Tensor], _: list[Tensor], d: Tensor) -> tuple[Tensor, None]:
    x, w = inputs
    return x * (w * of_examples(2.0 * d, x)), None


@with_gradient(_weighted_sum_gradient)
def _weighted_sum_of_squares(x: Tensor, w: Tensor) -> Tensor:
    return tf.reduce_sum(w * tf.square(x), axis=range(1, len(x.shape)))
