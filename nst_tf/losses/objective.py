"""Which terms count how much on which layers: the settings of the objective. J itself is in `evaluation.py`.

No TensorFlow here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from nst_tf.grammar import Channels, LayerWeight, Smoothing


class TermWeights(NamedTuple):
    """The weights of J, a sum of terms: the flags `--<field>_weight`.

        J = α · content + β · style + γ · smoothness + δ · dream + ν · neighbors + τ · temporal + ρ · rhythm

    Only videos have the temporal term, only signals rhythm; signals have neither
    dream nor neighbors.
    """

    content: float
    style: float
    smoothness: float
    dream: float = 0.0
    neighbors: float = 0.0
    temporal: float = 0.0
    rhythm: float = 0.0


DEFAULT_WEIGHTS = {
    "relative": TermWeights(0.17, 1.0, 0.4),
    # Gatys et al. 2016 give α/β = 1e-3 … 1e-4 and no smoothness term.
    "gatys": TermWeights(1.0, 1e3, 0.0),
    # Ng's course: α = 10, β = 40, no smoothness term.
    "ng": TermWeights(10.0, 40.0, 0.0),
}

# How much smaller each copy of the picture, on which style is measured too, is than the one before. A copy of half the
# size costs a quarter of a step; a larger copy costs more than it gives. With a ratio above four, grain appears between
# the sizes of two copies.
LEAST_MOTIF_RATIO, LARGEST_MOTIF_RATIO = 2, 4
# The share of the picture's own size in the style; the smaller copies have the rest. With a smaller share, a picture of
# 256 px is further from the style at its own size. With a larger one, pictures of several sizes look less alike.
PICTURE_SHARE = 0.6

# τ where frames follow each other, in `relative` (benchmarks/video.py).
TEMPORAL_WEIGHT = 20.0

# Cosines of positions of the picture with those of the style that are in memory at once (see `neighbors.py`).
COSINES_AT_ONCE = 2 ** 22

# δ where --dream is given, in `relative` (benchmarks/dream_terms.py); the others' terms have units of the network.
DREAM_WEIGHT = 0.05


class DreamLayer(NamedTuple):
    """Units of a layer that shall respond more, and their weight; by index (rule `index`) when J is evaluated."""

    layer: str
    channels: Channels
    weight: float


class RhythmLayer(NamedTuple):
    """A layer whose autocorrelation counts, up to so many positions."""

    layer: str
    lags: int


class Objective(NamedTuple):
    """What is measured on which layer, and how much each term counts."""

    content_layers: tuple[LayerWeight, ...]
    style_layers: tuple[LayerWeight, ...]
    weights: TermWeights
    normalization: str
    statistic: str
    smoothing: Smoothing = Smoothing("none", 1.0)
    smoothed_layers: tuple[str, ...] = ()
    dream_layers: tuple[DreamLayer, ...] = ()
    neighbor_layers: tuple[LayerWeight, ...] = ()
    signed_layers: tuple[str, ...] = ()  # of these: units may respond below 0, as the scores of most classifiers do
    rhythm_layers: tuple[RhythmLayer, ...] = ()

    def terms(self) -> tuple[str, ...]:
        """The terms of weight above 0, fields of `weights`."""
        return tuple(name for name, weight in self.weights._asdict().items() if weight)

    def structure(self) -> "Objective":
        """The objective without its numbers: what a compiled step is made for, whatever the weights and units are.

        The published cost functions keep their weights (see `evaluation.with_constant_weights`).
        """
        def layers(shares: tuple[LayerWeight, ...]) -> tuple[LayerWeight, ...]:
            return tuple(LayerWeight(layer, 1.0) for layer, _ in shares)

        dreamt = self._replace(
            dream_layers=tuple(DreamLayer(layer, Channels("all"), 1.0) for layer, _, _ in self.dream_layers))
        if self.normalization != "relative":
            return dreamt
        return dreamt._replace(
            content_layers=layers(self.content_layers), style_layers=layers(self.style_layers),
            neighbor_layers=layers(self.neighbor_layers),
            weights=type(self.weights)(*(float(bool(weight)) for weight in self.weights)))

    def at(self, is_last: bool) -> "Objective":
        """The objective at a size: neighbors count at the last one, when the large motifs are laid out."""
        return self if is_last else self._replace(weights=self.weights._replace(neighbors=0.0), neighbor_layers=())

    def layers(self) -> tuple[str, ...]:
        """Every layer that a term of weight above 0 reads, each once."""
        read = (self.content_layers if self.weights.content else ()) + (
            self.style_layers if self.weights.style else ()) + (
            self.neighbor_layers if self.weights.neighbors else ())
        dreamt = [layer.layer for layer in self.dream_layers] if self.weights.dream else []
        rhythmic = [layer.layer for layer in self.rhythm_layers] if self.weights.rhythm else []
        return tuple(dict.fromkeys([*(layer for layer, _ in read), *dreamt, *rhythmic]))


def layer_shares(layers: Sequence[LayerWeight], normalization: str) -> list[float]:
    """λ_l of each layer: w_l / Σw for `relative`; `gatys` and `ng` take the weights as written."""
    weights = [weight for _, weight in layers]
    return shares(weights) if normalization == "relative" else weights


def shares(weights: Sequence[float]) -> list[float]:
    """w / Σw of weights ≥ 0 that are not all 0."""
    # Divided by the largest first: the sum of huge weights would be infinite.
    largest = max(weights)
    total = sum(weight / largest for weight in weights)
    return [weight / largest / total for weight in weights]
