"""The objective J = Σ_t weight_t · term_t, always minimized: measured over positions, then compared with targets."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from nst_tf.losses.content import CONTENT
from nst_tf.losses.dream import DREAM_TERM
from nst_tf.losses.guides import Area, ReceptiveField
from nst_tf.losses.neighbors import NEIGHBORS
from nst_tf.losses.objective import Objective
from nst_tf.losses.rhythm import RHYTHM
from nst_tf.losses.smoothness import SMOOTHNESS
from nst_tf.losses.style import STYLE
from nst_tf.losses.temporal import TEMPORAL
from nst_tf.losses.term import (
    Losses, Source, Term, TermTargets, Tiled, View, share_tensor, weighted_sum,
)
from nst_tf.tensors import Features, Tensor, fork

Sums = dict[str, Any]  # {term: what its `measure` returns}
# (term, what measures its targets) → the targets.
Remembered = Callable[[str, Callable[[], TermTargets]], TermTargets]

# {field of `TermWeights`: its term}; they are computed in this order.
TERMS: dict[str, Term] = {"content": CONTENT, "style": STYLE, "smoothness": SMOOTHNESS, "dream": DREAM_TERM,
                          "neighbors": NEIGHBORS, "temporal": TEMPORAL, "rhythm": RHYTHM}


class Targets(NamedTuple):
    """What J depends on beside the picture, as tensors by term: arguments of a compiled step, never constants in it.

    `fixed` lies beside the positions (see `term.TermTargets`); `weights` are those of the terms that count, [T].
    """

    fixed: dict[str, Any]
    target: dict[str, Any]
    weights: Tensor


class StageTargets(NamedTuple):
    """`Targets`, and what only the details of a logged row need."""

    targets: Targets
    details: dict[str, Any]


def measure_targets(objective: Objective, extract: Callable[[Tensor], Features], content: Tensor | None,
                    styles: Sequence[Tensor], style_blend: Sequence[float], areas: Sequence[Area] = (),
                    fields: Mapping[str, ReceptiveField] | None = None, size: Sequence[int] = (),
                    remembered: Remembered = lambda term, measure: measure(), tiled: Tiled | None = None,
                    earlier: tuple[Tensor, Tensor] | None = None) -> StageTargets:
    """The targets of one stage.

    Args:
        extract: picture [1, *space, 3] → {layer: features}.
        content: [1, *space, 3], None where it does not count; styles: K pictures of any sizes.
        style_blend: K weights ≥ 0, not all zero; only their ratios count.
        areas: where the regions lie; the whole picture has every style when left out.
        fields: {layer: what its cells see}; needed where there are areas.
        size: space axes of the picture that is optimized; those of the content when left out.
        remembered: gives the targets of a term that were measured before, or measures them.
        tiled: how pictures are measured in tiles; there are no targets of the content then, which lie beside the
            positions, but for its shares.
        earlier: what the temporal term holds the picture to (see `Source`).
    """
    size = size or (() if content is None else content.shape[1:-1])
    source = Source(extract, content, styles, style_blend, areas, fields or {}, size, tiled, earlier)
    of_terms = {name: remembered(name, partial(TERMS[name].targets, objective, source)) for name in objective.terms()}
    targets = Targets({name: of_term.fixed for name, of_term in of_terms.items()},
                      {name: of_term.target for name, of_term in of_terms.items()}, term_weights(objective))
    return StageTargets(targets, {name: of_term.details for name, of_term in of_terms.items()})


def term_weights(objective: Objective) -> Tensor:
    """The weights of the terms that count, [T]."""
    return tf.constant([getattr(objective.weights, name) for name in objective.terms()], tf.float32)


def with_constant_weights(objective: Objective, targets: Targets) -> Targets:
    """The targets with the weights of terms and layers as constants of the step that is traced.

    TensorFlow folds constant weights with the constant divisors of `gatys` and `ng`. As arguments they would round
    otherwise, and after some hundred steps a picture would be another one. In `relative` there is nothing to fold.
    """
    constant: dict[str, Any] = {}
    if "content" in targets.target:
        constant["content"] = share_tensor(objective.content_layers, objective.normalization)
    if "style" in targets.target:
        style = targets.target["style"]._replace(
            layer_shares=share_tensor(objective.style_layers, objective.normalization))
        is_whole = all(w is None for guides in targets.fixed["style"] for w in guides.values())
        constant["style"] = style._replace(shares=tf.ones([1])) if is_whole else style
    return targets._replace(target=targets.target | constant, weights=term_weights(objective))


def measure(objective: Objective, view: View, fixed: Mapping[str, Any]) -> Sums:
    """The sums of every term that counts over the positions of a picture, or of a tile of it."""
    return {name: TERMS[name].measure(objective, view, fixed[name]) for name in objective.terms()}


def compare(objective: Objective, sums: Sums, targets: Targets) -> Losses:
    """All losses under their TensorBoard tags, each [B]; `loss/total` is J."""
    terms: Losses = {}
    parts: Losses = {}
    for name in objective.terms():
        terms[f"loss/{name}"], of_term = TERMS[name].compare(objective, sums[name], targets.target[name])
        parts |= of_term
    return {"loss/total": weighted_sum(list(terms.values()), targets.weights), **terms, **parts}


def evaluate(objective: Objective, targets: Targets, extract: Callable[[Tensor], Features],
             picture: Tensor) -> tuple[Losses, Sums]:
    """The losses of whole pictures [B, *space, 3], and the sums that they are made of."""
    to_network, to_terms = fork(picture)
    sums = measure(objective, View(extract(to_network), to_terms), targets.fixed)
    return compare(objective, sums, targets), sums


def details(objective: Objective, sums: Sums, of_terms: Mapping[str, Any]) -> Losses:
    """Further losses, each [B]: `style/<k>/<layer>` is the distance to style k alone, `loss/style` uses the blend."""
    return {tag: value for name in objective.terms()
            for tag, value in TERMS[name].details(objective, sums[name], of_terms[name]).items()}
