"""Long signals in tiles: they are pictures of one column to the tiles of pictures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.backbones.signal_facts import operations
from nst_tf.backbones.signal_networks import SignalNetwork
from nst_tf.losses.evaluation import StageTargets, Targets, measure_targets
from nst_tf.losses.objective import Objective
from nst_tf.optimize.step import Value
from nst_tf.optimize.tiles import Tile, Tiling
from nst_tf.recipes.signal.levels import moments
from nst_tf.recipes.stylize.plan_tiles import PIXELS, Axis, Sight
from nst_tf.recipes.stylize.tiled import TiledGradient
from nst_tf.strips import Picture, filled, strips
from nst_tf.tensors import Array, Features, Tensor

# Of a channel on the canvas; what is below is constant.
SMALLEST_DEVIATION = 1e-6
NOT_MOVED = tf.zeros([2], tf.int32)


class LineSight(Sight):
    """What tiles must know of a network for signals. The one column is not cut."""

    def axis(self, side_px: int, tile_px: int, layers: Mapping[str, str]) -> Axis:
        """The tiles along time, or the one across."""
        if side_px > 1:
            return super().axis(side_px, tile_px, layers)
        names = [*layers] or [PIXELS]
        return Axis(Tiling(1, (Tile(0, 0, 1),)), dict.fromkeys(names, 1), dict.fromkeys(names, 1),
                    dict.fromkeys(names, np.ones((1, 1), np.float32)))

    def cells(self, side_px: int, layers: Mapping[str, str]) -> dict[str, int]:
        """How many cells each layer has along time, or across."""
        return super().cells(side_px, layers) if side_px > 1 else dict.fromkeys(layers, 1)


class TiledSignals(NamedTuple):
    """What the tiles of a step know of the signals: filters, scales, which there are none of, and targets."""

    values: Sequence[Tensor]
    scales: Features
    targets: Targets


class LongSignal:
    """Value and gradient of J (a `step.ValueAndGradient`) of signals [1, T, C] on the host, in tiles.

    Args:
        size: T of the signal that is optimized.
        tile: samples of a tile.
    """

    def __init__(self, objective: Objective, network: SignalNetwork, size: int, tile: int) -> None:
        def extract(window: Tensor, values: Sequence[Tensor], _: Features) -> Features:
            return {layer: F[:, :, tf.newaxis] for layer, F in network.native(window[:, :, 0], values).items()}

        self._objective, self._size = objective, (size, 1)
        sight = LineSight(operations(network.hearing, network.layers), 0)
        self._tiles = TiledGradient(objective, self._size, size, (), tile, 0, sight, extract, lambda x, *_: x)

    def measure(self, content: Picture, styles: Sequence[Array], blend: Sequence[float],
                values: Sequence[Tensor]) -> tuple[TiledSignals, StageTargets]:
        """The targets of standardized signals.

        Args:
            content: [T, 1, C], read by rows; styles: each [T, C].
        """
        columns = [each[np.newaxis, :, np.newaxis] for each in styles]
        found = measure_targets(self._objective, lambda _: {}, None, columns, blend, size=self._size,
                                tiled=self._tiles.targets(values, {}))
        targets = found.targets
        if "content" in targets.fixed:
            kept = self._tiles.photo_tiles(filled(content), values, {})
            targets = targets._replace(fixed={**targets.fixed, "content": kept})
        return TiledSignals(values, {}, targets), found

    def __call__(self, x: Array, _: Tensor, pictures: TiledSignals) -> Value:
        """J of the signal as `standardized_tensor` has it, and its gradient by x."""
        x = np.asarray(x)
        mean, deviation = moments(x[0])
        scale = np.where(deviation > SMALLEST_DEVIATION, 1 / np.maximum(deviation, SMALLEST_DEVIATION), 0.0)
        z = np.empty_like(x)
        for rows in strips(x.shape[1:]):
            z[:, rows] = (x[:, rows] - mean) * scale
        value = self._tiles(z[:, :, np.newaxis], NOT_MOVED, pictures)
        g = value.gradient[:, :, 0]
        means = g.mean(axis=1, dtype=np.float64), np.einsum("btc,btc->bc", g, z, dtype=np.float64) / x.shape[1]
        for rows in strips(x.shape[1:]):
            g[:, rows] = (g[:, rows] - means[0] - z[:, rows] * means[1]) * scale
        return value._replace(gradient=g)
