"""A network as a job uses it: built once, adapted to the pictures of each job, with the steps compiled for it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nst_tf.backbones.extractor import Adapted, Color, Extractor
from nst_tf.backbones.table import Variant, find_backbone
from nst_tf.backbones.variant import vary
from nst_tf.tensors import Features, Tensor
from nst_tf.vocabulary import UserError

Picture = npt.NDArray[np.float32]

# Compiled steps that a network keeps; the one that was not used for longest goes first.
KEPT_STEPS = 32


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

    It holds nothing of a job: what follows from pictures is handed to each call.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        self.plan = plan
        self._extractors: dict[Any, Extractor] = {}
        self._steps: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.RLock()
        self.extractor = self._build([])

    @property
    def parameters(self) -> int:
        """How many numbers the network holds, up to its deepest layer."""
        return self.extractor.parameters

    def check_fits(self, plan: NetworkPlan) -> None:
        """Raises `UserError` where this is another network than a config asks for, naming the fields."""
        asked = plan.variant
        if asked.precision == "auto":
            asked = asked._replace(precision=self.plan.variant.precision)
        pairs = {"backbone": (plan.backbone, self.plan.backbone), "weights": (plan.weights, self.plan.weights),
                 "seed": (plan.seed, self.plan.seed),
                 **{name: (getattr(asked, name), getattr(self.plan.variant, name)) for name in Variant._fields}}
        different = [name for name, (wanted, there) in pairs.items() if wanted != there]
        missing = [layer for layer in plan.layers if layer not in self.plan.layers]
        if not different and missing:
            raise UserError(f"network= was loaded without the layers {', '.join(missing)}: load one by "
                            "nst_tf.load_network(config) with the layers of this config")
        if different:
            raise UserError(f"network= was loaded for another config ({', '.join(different)} differ): load one by "
                            "nst_tf.load_network(config)")

    def fit(self, pictures: Sequence[Picture]) -> Fitted:
        """The network for the pictures of a job: filters learned from them, pools scaled on them.

        Args:
            pictures: the content and the styles, float32 [H, W, 3] in [0, 1].
        """
        adapted = self.extractor.adapt(pictures)
        return Fitted(self._of_shapes(adapted, pictures), *adapted)

    def compiled(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The step of a key, made by the first call that asks for it.

        Args:
            key: all that `make` puts into the step as a constant.
        """
        with self._lock:
            step = self._steps.pop(key, None) or make()
            self._steps[key] = step
            while len(self._steps) > KEPT_STEPS:
                self._steps.popitem(last=False)
            return step

    def traces(self) -> int:
        """How often a step was traced so far."""
        return sum(step.experimental_get_tracing_count() for step in self._steps.values())

    def _of_shapes(self, adapted: Adapted, pictures: Sequence[Picture]) -> Extractor:
        """The extractor whose variables have the shapes of these values: small pictures teach fewer filters."""
        shapes = tuple(tuple(value.shape) for value in adapted.values)
        if shapes == tuple(tuple(variable.shape) for variable in self.extractor.own) or not shapes:
            return self.extractor
        with self._lock:
            if shapes not in self._extractors:
                self._extractors[shapes] = self._build(pictures)
            return self._extractors[shapes]

    def _build(self, pictures: Sequence[Picture]) -> Extractor:
        row, plan = find_backbone(self.plan.backbone), self.plan
        extractor = row.build(plan.layers, plan.weights, plan.seed, pictures)
        return vary(extractor, plan.variant, pictures, row.unpadded_px)
