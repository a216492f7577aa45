"""Measure, then compare: the sums of tiles give the loss and the gradient of the whole, for every additive term."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.grammar import Channels, LayerWeight
from nst_tf.losses.evaluation import TERMS, compare, details, evaluate, measure, measure_targets
from nst_tf.losses.guides import Area, ReceptiveField
from nst_tf.losses.moments import Samples
from nst_tf.losses.objective import DreamLayer, Objective, TermWeights
from nst_tf.losses.statistics import STATISTICS
from nst_tf.losses.term import PICTURE, Constant, View, add

Tensor = Any

# Odd and asymmetric; cuts at multiples of the stride, some tiles smaller than their margin.
SIZES = {1: (37,), 2: (17, 23), 3: (9, 13, 11)}
CUTS = {37: (0, 16, 20, 37), 17: (0, 8, 17), 23: (0, 12, 23), 9: (0, 4, 9), 13: (0, 8, 13), 11: (0, 11)}
MARGIN = 6
STRIDES = {"fine": 1, "coarse": 2, PICTURE: 1}
# Of the numbers that the trunk computes in: the largest ‖Δg‖ / ‖g‖.
TOLERANCES = {"float64": 1e-6, "float32": 1e-3, "bfloat16": 3e-2}


def _convolved(x: Tensor, kernel: np.ndarray, stride: int) -> Tensor:
    """A convolution of 3 positions along each axis with zeros around, any rank, as one product with all its windows."""
    sides = x.shape[1:-1]
    padded = tf.pad(x, [[0, 0], *([1, 1] for _ in sides), [0, 0]])
    places = np.arange(math.prod(padded.shape[1:-1])).reshape(padded.shape[1:-1])
    windows = np.lib.stride_tricks.sliding_window_view(places, (3,) * len(sides))
    windows = windows[(slice(None, None, stride),) * len(sides)]
    cells = windows.shape[:len(sides)]
    parts = tf.gather(tf.reshape(padded, [x.shape[0], -1, x.shape[-1]]), windows.reshape(*cells, -1), axis=1)
    kernels = tf.constant(kernel.reshape(-1, kernel.shape[-1]), x.dtype)
    return tf.nn.relu(tf.tensordot(tf.reshape(parts, [x.shape[0], *cells, -1]), kernels, 1))


def _network(rank: int, trunk: str) -> Callable[[Tensor], dict[str, Tensor]]:
    """Two layers of strides 1 and 2; statistics are float32 where the trunk is less exact, as in the product."""
    generator = np.random.default_rng(rank)
    fine, coarse = (generator.normal(size=(3,) * rank + shape) / np.sqrt(3 ** rank * shape[0])
                    for shape in ((3, 5), (5, 4)))

    def extract(x: Tensor) -> dict[str, Tensor]:
        first = _convolved(tf.cast(x, trunk), fine, 1)
        features = {"fine": first, "coarse": _convolved(first, coarse, 2)}
        return {name: tf.cast(F, x.dtype) for name, F in features.items()}

    return extract


def _pictures(rank: int, dtype: str, seed: int, size: Sequence[int] | None = None) -> Tensor:
    return tf.constant(np.random.default_rng(seed).uniform(size=(1, *(size or SIZES[rank]), 3)), dtype)


def _objective(statistic: str, **weights: float) -> Objective:
    layers = (LayerWeight("fine", 2.0), LayerWeight("coarse", 1.0))
    dreamt = (DreamLayer("fine", Channels("index", (1, 4)), 1.0),
              DreamLayer("coarse", Channels("index", (0, 1, 2, 3)), 2.0))
    return Objective(layers[1:], layers, TermWeights(**{"content": 0.0, "style": 0.0, "smoothness": 0.0} | weights),
                     "relative", statistic, dream_layers=dreamt, neighbor_layers=layers)


def _areas(size: Sequence[int], styles: Sequence[Tensor]) -> list[Area]:
    """Two regions with a soft border along the first axis: the first has both styles, the second one."""
    ramp = np.clip(np.arange(size[0]) / 4 - 1, 0, 1).reshape(-1, *(1 for _ in size[1:])) * np.ones(size)
    ones = [np.ones(style.shape[1:-1], np.float32) for style in styles]
    return [Area(ramp.astype(np.float32), {0: ones[0], 1: ones[1]}),
            Area((1 - ramp).astype(np.float32), {1: ones[1]})]


def _tiles(size: Sequence[int]) -> Iterator[list[tuple[int, int, int, int]]]:
    """(start, first, stop, end) along each axis: read from start to end, of which first to stop counts."""
    spans = [[(max(0, first - MARGIN), first, stop, min(side, stop + MARGIN))
              for first, stop in itertools.pairwise(CUTS[side])] for side in size]
    for tile in itertools.product(*spans):
        yield list(tile)


def _cells(tile: list[tuple[int, int, int, int]], layer: str) -> list[tuple[int, int, int, int]]:
    """The same in cells of a layer."""
    return [tuple(-(-px // STRIDES[layer]) for px in span) for span in tile]  # type: ignore[misc]


def _cut(fixed: Any, tile: list[tuple[int, int, int, int]], layer: str = PICTURE) -> Any:
    """What lies beside the positions, cut as the tile is."""
    if isinstance(fixed, Constant):
        return fixed
    if isinstance(fixed, Mapping):
        return {name: _cut(value, tile, name) for name, value in fixed.items()}
    if isinstance(fixed, tuple):
        return tuple(_cut(value, tile) for value in fixed)
    return fixed if fixed is None else fixed[(slice(None), *(slice(s, e) for s, _, _, e in _cells(tile, layer)))]


def _inside(tile: list[tuple[int, int, int, int]], dtype: Any) -> dict[str, Tensor]:
    masks = {}
    for layer in STRIDES:
        cells = _cells(tile, layer)
        ones = np.ones([stop - first for _, first, stop, _ in cells])
        mask = np.pad(ones, [(first - start, end - stop) for start, first, stop, end in cells])
        masks[layer] = tf.constant(mask[np.newaxis], dtype)
    return masks


def _measured(objective: Objective, extract: Callable[[Tensor], Any], fixed: Any, tile: Any, x: Tensor) -> Any:
    return measure(objective, View(extract(x), x, _inside(tile, x.dtype)), _cut(fixed, tile))


def tiled(objective: Objective, targets: Any, extract: Callable[[Tensor], Any],
          x: Tensor) -> tuple[dict[str, Tensor], np.ndarray]:
    """Losses and gradient in two passes: the sums of all tiles, then their gradient pulled back tile by tile."""
    windows: list[tuple[Any, Any]] = [(tile, (slice(None), *(slice(start, end) for start, _, _, end in tile)))
                                      for tile in _tiles(x.shape[1:-1])]
    total: Any = None
    for tile, window in windows:
        sums = _measured(objective, extract, targets.fixed, tile, x[window])
        total = sums if total is None else add(total, sums)
    flat = tf.nest.flatten(total)
    with tf.GradientTape() as tape:
        tape.watch(flat)
        losses = compare(objective, total, targets)
    by_sums = tape.gradient(losses["loss/total"], flat)
    g = np.zeros(x.shape)
    for tile, window in windows:
        with tf.GradientTape() as tape:
            part = x[window]
            tape.watch(part)
            sums = tf.nest.flatten(_measured(objective, extract, targets.fixed, tile, part))
        used = [(value, d) for value, d in zip(sums, by_sums, strict=True) if d is not None]
        g[window] += tape.gradient([value for value, _ in used], part, [d for _, d in used]).numpy()
    return losses, g


def _whole(objective: Objective, targets: Any, extract: Callable[[Tensor], Any],
           x: Tensor) -> tuple[dict[str, Tensor], np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(x)
        losses, _ = evaluate(objective, targets, extract, x)
    return losses, tape.gradient(losses["loss/total"], x).numpy()


def _check(objective: Objective, rank: int, trunk: str, with_areas: bool = False) -> None:
    dtype = "float64" if trunk == "float64" else "float32"
    extract = _network(rank, trunk)
    x, content = (_pictures(rank, dtype, seed) for seed in (0, 1))
    styles = [_pictures(rank, dtype, 2), _pictures(rank, dtype, 3, [side + 5 for side in SIZES[rank]])]
    placed = _areas(SIZES[rank], styles) if with_areas else ()
    fields = {layer: ReceptiveField(stride, 3.0 + stride) for layer, stride in STRIDES.items()}
    certainty = np.random.default_rng(5).random((1, *SIZES[rank])).round().astype(dtype)
    targets, _ = measure_targets(objective, extract, content, styles, (0.7, 0.3), placed, fields,
                                 earlier=(_pictures(rank, dtype, 4), tf.constant(certainty)))
    (losses, g), (expected, wanted) = (run(objective, targets, extract, x) for run in (tiled, _whole))
    assert np.linalg.norm(wanted) > 1e-6
    assert np.linalg.norm(g - wanted) / np.linalg.norm(wanted) <= TOLERANCES[trunk]
    for tag, loss in expected.items():
        np.testing.assert_allclose(losses[tag], loss, rtol=TOLERANCES[trunk], err_msg=tag)


def _trunks(rank: int) -> list[str]:
    """All numbers of the trunk on a picture, of other ranks the most exact: all terms together have the rest."""
    return [trunk for trunk in TOLERANCES if rank == 2 or trunk == "float64"]


ADDITIVE = [name for name in STATISTICS if name != "histogram"]


@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize("statistic", ADDITIVE)
def test_style_of_tiles(statistic: str, rank: int) -> None:
    """In float64 over two regions, which are more than the whole picture that the other numbers have."""
    for trunk in _trunks(rank):
        _check(_objective(statistic, style=1.0), rank, trunk, with_areas=trunk == "float64")


@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize("term", [name for name in TERMS if name != "rhythm"])  # of signals: test_signal_terms.py
def test_each_term_of_tiles(term: str, rank: int) -> None:
    for trunk in _trunks(rank):
        _check(_objective("gram", **{term: 1.0}), rank, trunk)


@pytest.mark.parametrize("normalization", ["gatys", "ng"])
def test_published_normalizations_of_tiles(normalization: str) -> None:
    _check(_objective("gram", content=0.3, style=1.0)._replace(normalization=normalization), 2, "float64")


@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize("trunk", TOLERANCES)
def test_all_terms_of_tiles(trunk: str, rank: int) -> None:
    _check(_objective("covariance", content=0.3, style=1.0, smoothness=0.4, dream=0.1, neighbors=0.2), rank, trunk,
           with_areas=True)


def test_samples_do_not_add_and_say_so_by_type() -> None:
    F = tf.constant(np.random.default_rng(0).uniform(size=(1, 5, 7, 3)), tf.float32)
    samples = STATISTICS["histogram"].measure(F, None)
    assert isinstance(samples, Samples)
    with pytest.raises(TypeError, match="do not add: measure the picture whole"):
        add({"style": ({"fine": samples},)}, {"style": ({"fine": samples},)})
    assert not any(isinstance(STATISTICS[name].measure(F, None), Samples) for name in ADDITIVE)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_each_example_of_a_batch_has_sums_and_losses_of_its_own(statistic: str) -> None:
    objective = _objective(statistic, content=0.3, style=1.0, smoothness=0.4, dream=0.1, neighbors=0.2)
    extract = _network(2, "float64")
    content, *styles = (_pictures(2, "float64", seed) for seed in (1, 2, 3))
    fields = {layer: ReceptiveField(stride, 3.0 + stride) for layer, stride in STRIDES.items()}
    placed = _areas(SIZES[2], styles)
    targets, of_rows = measure_targets(objective, extract, content, styles, (0.7, 0.3), placed, fields)
    first, second = (_pictures(2, "float64", seed) for seed in (5, 6))
    both, sums = evaluate(objective, targets, extract, tf.concat([first, second], 0))
    assert all(value.shape[0] == 2 for value in tf.nest.flatten(sums))
    both |= details(objective, sums, of_rows)
    for index, picture in enumerate((first, second)):
        losses, alone = evaluate(objective, targets, extract, picture)
        for tag, loss in (losses | details(objective, alone, of_rows)).items():
            assert both[tag].shape == (2,)
            assert float(both[tag][index]) == pytest.approx(float(loss[0]), rel=1e-9), tag
