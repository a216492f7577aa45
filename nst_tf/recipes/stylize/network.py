"""A network as a job uses it: built once, adapted to the pictures of each job, with the steps compiled for it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from nst_tf.backbones.extractor import Adapted, Color, Extractor
from nst_tf.backbones.precision import in_variant
from nst_tf.backbones.reduction import Kept, choose_channels, folded_values, measure_moments, thinned
from nst_tf.backbones.surgery import vary
from nst_tf.backbones.table import Variant, find_backbone
from nst_tf.grammar import Reduction
from nst_tf.losses.moments import gram_sum
from nst_tf.losses.term import sum_of_squares
from nst_tf.strips import Picture
from nst_tf.tensors import Features, Tensor
from nst_tf.vocabulary import UserError

# Compiled steps that a network keeps. The one that was unused for longest goes first.
KEPT_STEPS = 32
# Extractors with other numbers of filters that a network keeps.
KEPT_EXTRACTORS = 4


class NetworkPlan(NamedTuple):
    """What a network is built from; `seed` is 0 where no weight depends on it."""

    backbone: str
    weights: str
    seed: int
    variant: Variant
    layers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A network with what follows from the pictures of one job; called, it measures a picture [B, H, W, 3]."""

    extractor: Extractor
    values: tuple[Tensor, ...]
    mean_color: Color

    def __call__(self, image: Tensor) -> Features:
        return self.extractor(image, self.values)


class Network:
    """A network, ready for the pictures of any number of jobs, one after another, in turns or in threads.

    It holds nothing of a job: values that follow from pictures are arguments of each call.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        self._lock = threading.Lock()
        self._steps: OrderedDict[Hashable, Any] = OrderedDict()
        # `plan` has a precision that is not `auto`.
        variant, self._extractor = in_variant(plan.variant, partial(_varied, plan, _built(plan)), plan.backbone,
                                              plan.layers, _energy_of_grams)
        self.plan = plan._replace(variant=variant)
        self._extractors: OrderedDict[Hashable, Extractor] = OrderedDict()

    def check_fits(self, plan: NetworkPlan) -> None:
        """Raises `UserError` where this is another network than a config asks for, naming the fields."""
        variant = plan.variant
        if variant.precision == "auto":
            variant = variant._replace(precision=self.plan.variant.precision)
        own = self.plan._asdict() | self.plan.variant._asdict()
        needed = plan._asdict() | variant._asdict()
        different = [name for name in ("backbone", "weights", "seed", *Variant._fields) if needed[name] != own[name]]
        missing = [layer for layer in plan.layers if layer not in self.plan.layers]
        # Filters are learned layer after layer, and from patches that the deepest layer can see.
        if plan.weights == "self" and plan.layers and self._deepest(plan.layers) != self._deepest(self.plan.layers):
            missing = missing or [self._deepest(self.plan.layers)]
        if missing and not different:
            different = [f"content_layers, style_layers or dream: {', '.join(missing)}"]
        if different:
            raise UserError(f"network= was loaded for another config ({', '.join(different)} differ): load one by "
                            "nst_tf.load_network(config)")

    def fit(self, pictures: Sequence[Picture]) -> Fitted:
        """The network for the pictures of a job: filters learned from them, pools scaled on them.

        Args:
            pictures: the content and the styles, [H, W, 3] in [0, 1].
        """
        adapted = self._extractor.adapt([np.asarray(each) for each in pictures] if self._extractor.adapter else [])
        return Fitted(self._of_shapes(adapted), *adapted)

    def reduce(self, fitted: Fitted, pictures: Sequence[Tensor], reduction: Reduction, whole: Collection[str],
               kept: Kept | None = None) -> tuple[Fitted, Kept]:
        """The network with fewer channels, for the pictures of a job, and what each layer keeps.

        Args:
            fitted: the whole network for the same job.
            pictures: [1, H, W, 3], on which channels are chosen and expressed by others.
            whole: layers that keep all channels.
            kept: what an earlier run chose; chosen now by default.
        """
        trained, variant = self._trained(_shapes(fitted.values)), self.plan.variant
        # In float32, and with the pools that are in force.
        measured = vary(trained, Variant(pooling=variant.pooling), [], 0)
        values = _cast(fitted.values, measured)
        moments = measure_moments(measured, values, pictures, whole)
        kept = kept or choose_channels(moments, reduction)
        folded = folded_values(measured, values, moments, kept, reduction)
        with self._lock:
            extractor = cached(self._extractors, ("reduced", *_shapes(folded)),
                               lambda: _varied(self.plan, thinned(trained, kept), variant), KEPT_EXTRACTORS)
        return Fitted(extractor, _cast([*folded, *values[len(trained.own):]], extractor), fitted.mean_color), kept

    def compiled(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The compiled step of a key; the first call compiles it.

        Args:
            key: all constants that `make` puts into the step.
        """
        with self._lock:
            return cached(self._steps, key, make, KEPT_STEPS)

    def _deepest(self, layers: Sequence[str]) -> str:
        return max(layers, key=[layer.name for layer in find_backbone(self.plan.backbone).all_layers].index)

    def _of_shapes(self, adapted: Adapted) -> Extractor:
        """The extractor whose variables have the shapes of these values: small pictures teach fewer filters."""
        shapes = _shapes(adapted.values)
        if shapes == tuple(tuple(variable.shape) for variable in self._extractor.own) or not shapes:
            return self._extractor
        with self._lock:
            return cached(self._extractors, shapes, lambda: self._build(shapes), KEPT_EXTRACTORS)

    def _build(self, shapes: Sequence[tuple[int, ...]]) -> Extractor:
        """The variant of `_trained`."""
        return _varied(self.plan, self._trained(shapes), self.plan.variant)

    def _trained(self, shapes: Sequence[tuple[int, ...]]) -> Extractor:
        """The network as it was trained, or with learned filters of other shapes (the first of `shapes`)."""
        extractor = _built(self.plan)
        return extractor.reshaped(shapes[:len(extractor.own)]) if shapes and extractor.reshaped else extractor


def _built(plan: NetworkPlan) -> Extractor:
    """The network as it was trained."""
    extractor: Extractor = find_backbone(plan.backbone).build(plan.layers, plan.weights, plan.seed, [])
    return extractor


def _varied(plan: NetworkPlan, extractor: Extractor, variant: Variant) -> Extractor:
    return vary(extractor, variant, [], find_backbone(plan.backbone).unpadded_px)


def _energy_of_grams(features: Features) -> Tensor:
    """A loss that takes the time of a style: the Gram products are a third of a step."""
    return sum(sum_of_squares(gram_sum(F))[0] for F in features.values())


def _shapes(values: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(value.shape) for value in values)


def _cast(values: Sequence[Any], extractor: Extractor) -> tuple[Tensor, ...]:
    """Values in the types of `extractor.own`."""
    return tuple(ops.cast(value, variable.dtype) for value, variable in zip(values, extractor.own, strict=True))


def cached(cache: OrderedDict[Hashable, Any], key: Hashable, make: Callable[[], Any], most: int) -> Any:
    """The cached or new value of a key. Of more values than `most` the least recently used are dropped."""
    cache[key] = cache.pop(key, None) or make()
    while len(cache) > most:
        cache.popitem(last=False)
    return cache[key]
