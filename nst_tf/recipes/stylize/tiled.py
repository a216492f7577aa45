"""A step in tiles: the sums of J over all tiles, then their gradient pulled back tile by tile (see `losses/term.py`).

Value and gradient are those of the whole picture, up to rounding. Memory holds the features of one tile, and whole
pictures only as pixels, on the host.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nst_tf.losses.evaluation import Sums, Targets, compare, measure, with_constant_weights
from nst_tf.losses.motifs import copy_size, shrunk_layer
from nst_tf.losses.objective import Objective, TermWeights
from nst_tf.losses.term import PICTURE, Cells, Constant, Tiled, View, add, join
from nst_tf.optimize import windows
from nst_tf.optimize.devices import devices, each
from nst_tf.optimize.step import Value
from nst_tf.optimize.windows import Places
from nst_tf.recipes.stylize.plan_tiles import Axis, Sight
from nst_tf.strips import Picture, strips
from nst_tf.tensors import Array, Features, Tensor, fork


class Level(NamedTuple):
    """A picture whose positions are summed over: the image as it moves by jitter, a smaller copy of it, or its pixels.

    `objective` has the layers and terms that are measured there; `layers` are {name in it: name in the network}.
    """

    objective: Objective
    layers: dict[str, str]
    size: tuple[int, ...]
    axes: tuple[Axis, Axis]

    def tiles(self) -> Iterator[tuple[int, int]]:
        """The numbers (row, column) of all tiles."""
        down, across = (range(len(axis.tiling.tiles)) for axis in self.axes)
        return itertools.product(down, across)

    def places(self, tile: tuple[int, int], rows: Places, columns: Places) -> tuple[Places, Places]:
        """What a tile reads of a picture that is read at these rows and columns."""
        down, across = (places[axis.tiling.tiles[index].start:][:axis.tiling.read_px]
                        for places, axis, index in zip((rows, columns), self.axes, tile, strict=True))
        return down, across

    def inside(self, tile: tuple[int, int]) -> dict[str, tuple[Array, Array]]:
        """{layer: which rows of its cells count, and which columns}."""
        (down, across), (row, column) = self.axes, tile
        return {layer: (down.inside[layer][row], across.inside[layer][column]) for layer in down.inside}

    def cut_sums(self, sums: Sums) -> Sums:
        """Those of all sums that are measured here."""
        def own(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(own, value))
            return {layer: of_layer for layer, of_layer in value.items() if layer in self.layers}

        return {name: own(sums[name]) if self.layers else sums[name] for name in self.objective.terms()}

    def cut(self, fixed: Any, tile: tuple[int, int], layer: str = PICTURE) -> Any:
        """What lies beside the positions, as the tile is."""
        if fixed is None or isinstance(fixed, Constant):
            return fixed
        if isinstance(fixed, Mapping):
            return {name: self.cut(value, tile, name) for name, value in fixed.items() if name in self.layers}
        if isinstance(fixed, tuple):
            return tuple(self.cut(value, tile) for value in fixed)
        rows, columns = (axis.span(index, layer) for axis, index in zip(self.axes, tile, strict=True))
        return fixed[:, rows, columns]


def levels(objective: Objective, size: tuple[int, ...], long_side_px: int, copies_px: Sequence[int], tile_px: int,
           sight: Sight) -> list[Level]:
    """The levels of a picture of some size (height, width): itself, each smaller copy, and its pixels where they count.

    Args:
        long_side_px: of the picture that is optimized; other pictures are shrunk in proportion.
    """
    def level(part: Objective, size: tuple[int, ...], end: str = "") -> Level:
        read = [*(layer for layer, _ in (*part.content_layers, *part.style_layers, *part.neighbor_layers)),
                *(layer.layer for layer in part.dream_layers)]
        layers = {name: name.removesuffix(end) for name in dict.fromkeys(read)}
        height, width = (sight.axis(side_px, tile_px, layers) for side_px in size)
        return Level(part, layers, size, (height, width))

    weights = objective.weights
    objective = objective._replace(
        content_layers=objective.content_layers if weights.content else (),
        style_layers=objective.style_layers if weights.style else (),
        dream_layers=objective.dream_layers if weights.dream else (),
        neighbor_layers=objective.neighbor_layers if weights.neighbors else ())
    of_image, found = objective.style_layers, []
    for copy_px in copies_px:
        end = shrunk_layer("", copy_px)
        shrunk = tuple(pair for pair in objective.style_layers if pair[0].endswith(end))
        of_image = tuple(pair for pair in of_image if pair not in shrunk)
        part = objective._replace(content_layers=(), dream_layers=(), neighbor_layers=(), style_layers=shrunk,
                                  weights=TermWeights(0.0, weights.style, 0.0))
        found.append(level(part, copy_size(size, copy_px, long_side_px), end))
    image = objective._replace(style_layers=of_image, weights=_of_features(weights))
    pixels = objective._replace(content_layers=(), dream_layers=(), neighbor_layers=(), style_layers=(),
                                weights=TermWeights(0.0, 0.0, weights.smoothness, temporal=weights.temporal))
    return [level(image, size), *found, *([level(pixels, size)] if any(pixels.weights) else [])]


class TiledGradient:
    """Value and gradient of J in tiles (a `step.ValueAndGradient`), and what measures targets in tiles.

    The first pass adds the sums of all tiles. J and its gradient by the sums follow from them. The second pass pulls
    this gradient back to the pixels of each tile. Both passes compute the features: to keep them would need the memory
    that tiles save.

    Args:
        extract: (pictures [1, h, w, 3], values, scales) → {layer of the network: features}.
        prepared: (rows of the image, pictures, which rows) → them as they are measured; themselves where nothing is
            changed.
    """

    def __init__(self, objective: Objective, size: tuple[int, ...], long_side_px: int, copies_px: Sequence[int],
                 tile_px: int, jitter_px: int, sight: Sight, extract: Callable[..., Features],
                 prepared: Callable[[Tensor, Any, slice], Tensor]) -> None:
        self._levels_of = partial(levels, long_side_px=long_side_px, copies_px=copies_px, tile_px=tile_px, sight=sight)
        self._copies_px, self._long_side_px, self._jitter_px = copies_px, long_side_px, jitter_px
        self._extract, self._prepared = extract, prepared
        self.levels = self._levels_of(objective, size)
        self._objective, self._devices = objective, devices()
        self._compiled = [(tf.function(partial(_measured, level, extract), autograph=False),
                           tf.function(partial(_pulled, level, extract), autograph=False)) for level in self.levels]
        self._photo = tf.function(partial(_content, self.levels[0], extract), autograph=False)
        self._compare = tf.function(partial(_compared, objective), autograph=False)

    def __call__(self, x: Tensor, offset: Tensor, pictures: Any) -> Value:
        """J of the image [1, H, W, 3] and its gradient."""
        image = self._as_measured(x, pictures)
        read = self._read(image[0], offset.numpy() - self._jitter_px)
        content = self._content_tiles(pictures, *read[0][1:])
        total: Sums = {}
        for index, (level, (measured, _)) in enumerate(zip(self.levels, self._compiled, strict=True)):
            parts = each(measured, self._arguments(level, read[index], pictures, content), self._devices)
            total = join(total, _added(parts))
        fixed = {name: of_term for name, of_term in pictures.targets.fixed.items() if name != "content"}
        losses, by_sums = self._compare(total, pictures.targets._replace(fixed=fixed))
        gradient = self._gradient(read, by_sums, pictures, content)[np.newaxis]
        for rows, strip in self._strips(x):
            with tf.GradientTape() as tape:
                tape.watch(strip)
                measured = self._prepared(strip, pictures, rows)
            if measured is strip:
                break
            gradient[:, rows] = tape.gradient(measured, strip, tf.constant(gradient[:, rows])).numpy()
        return Value(losses["loss/total"], gradient, losses, total)

    def _as_measured(self, x: Tensor, pictures: Any) -> Array:
        """The image as it is measured, [1, H, W, 3], made strip by strip; itself where nothing is changed."""
        image = np.asarray(x)
        measured = np.empty_like(image)
        for rows, strip in self._strips(x):
            found = self._prepared(strip, pictures, rows)
            if found is strip:
                return image
            measured[:, rows] = found.numpy()
        return measured

    @staticmethod
    def _strips(x: Tensor) -> Iterator[tuple[slice, Tensor]]:
        return ((rows, tf.convert_to_tensor(x[:, rows])) for rows in strips(x.shape[1:]))

    def targets(self, values: Sequence[Tensor], scales: Features) -> Tiled:
        """What measures the pictures of a job in tiles: [1, H, W, 3], or [H, W, 3] that is read by windows."""
        def sums(picture: Any, objective: Objective, measure: Callable[[Objective, View, Any], Any],
                 fixed: Callable[[Cells], Any]) -> Any:
            image = picture if len(picture.shape) == 3 else np.asarray(picture)[0]
            of_picture = self._levels_of(_without_pixels(objective), tuple(image.shape[:2]))
            beside, read = fixed(self._cells(of_picture)), self._read(image, np.zeros(2, int))
            total: Any = None
            for level, (image, *places) in zip(of_picture, read):
                if level.layers:
                    parts = (measure(level.objective, _view(level, self._extract, tf.constant(window), inside, values,
                                                            scales), level.cut(beside, tile))
                             for tile, window, inside in _windows(level, image, *places))
                    total = _added(parts) if total is None else join(total, _added(parts))
            return total

        return Tiled(sums, lambda size: self._cells(self._levels_of(_without_pixels(self._objective), tuple(size))))

    def photo_tiles(self, photo: Picture, values: Sequence[Tensor], scales: Features, *moved: Places) -> list[Features]:
        """The content's features of each tile of the photo [H, W, 3]: of its cells that count.

        Args:
            moved: rows and columns where it is read; all by default.
        """
        read = photo, *(moved or map(windows.places, photo.shape[:2]))
        arguments = ((tf.constant(window), values, scales) for _, window, _ in _windows(self.levels[0], *read))
        return [_cells_that_count(found, self.levels[0].inside(tile)) for tile, found
                in zip(self.levels[0].tiles(), each(self._photo, arguments, self._devices), strict=True)]

    def _content_tiles(self, pictures: Any, rows: Places, columns: Places) -> Sequence[Features]:
        """The content's features of each tile: those that are kept, or of the photo as it is moved now."""
        if not self.levels[0].objective.weights.content:
            return ()
        kept: Sequence[Features] = pictures.targets.fixed["content"]
        return kept or self.photo_tiles(pictures.photo, pictures.values, pictures.scales, rows, columns)

    def _read(self, image: Picture, shift_px: Array) -> list[tuple[Picture, Places, Places]]:
        """What each level reads: a picture [h, w, 3] and places in it. A copy is made of the one before."""
        height, width = image.shape[:2]
        moved = (image, windows.places(height, shift_px[0]), windows.places(width, shift_px[1]))
        found = [moved]
        for copy_px in self._copies_px:
            size = copy_size((height, width), copy_px, self._long_side_px)
            found.append((windows.shrink(*found[-1], size), windows.places(size[0]), windows.places(size[1])))
        return [*found, (image, windows.places(height), windows.places(width))]

    def _gradient(self, read: Sequence[tuple[Any, Places, Places]], by_sums: Sums, pictures: Any,
                  content: Sequence[Features]) -> Array:
        """∂J/∂image [H, W, 3]."""
        total = np.zeros_like(read[0][0])
        of_levels = [total, *(np.zeros_like(image) for image, *_ in read[1:-1]), total]
        for index, (level, (_, pulled)) in enumerate(zip(self.levels, self._compiled, strict=True)):
            own = level.cut_sums(by_sums)
            arguments = ((*of_tile, own) for of_tile in self._arguments(level, read[index], pictures, content))
            for tile, g in zip(level.tiles(), each(pulled, arguments, self._devices), strict=True):
                windows.add(of_levels[index], g.numpy()[0], *level.places(tile, *read[index][1:]))
        for index in range(len(self._copies_px), 0, -1):
            windows.add_shrunk(of_levels[index - 1], of_levels[index], *read[index - 1][1:])
        return total

    def _arguments(self, level: Level, read: tuple[Picture, Places, Places], pictures: Any,
                   content: Sequence[Features]) -> Iterator[tuple[Any, ...]]:
        """What the compiled functions take of each tile."""
        fixed = {name: pictures.targets.fixed[name] for name in level.objective.terms() if name != "content"}
        for index, (tile, window, inside) in enumerate(_windows(level, *read)):
            beside = {name: level.cut(of_term, tile) for name, of_term in fixed.items()}
            if level.objective.weights.content:
                beside["content"] = _among_all_cells(content[index], inside)
            yield tf.constant(window), beside, inside, pictures.values, pictures.scales

    def _cells(self, of_picture: Sequence[Level]) -> Cells:
        """The sides of each layer of a picture."""
        found: dict[str, Sequence[int]] = {}
        for level in of_picture:
            rows, columns = (self._levels_of.keywords["sight"].cells(side_px, level.layers) for side_px in level.size)
            found |= {layer: (rows[layer], columns[layer]) for layer in level.layers}
        return found


def _windows(level: Level, image: Picture, rows: Places, columns: Places,
             ) -> Iterator[tuple[tuple[int, int], Array, dict[str, tuple[Array, Array]]]]:
    """Each tile, its window [1, h, w, 3] of a picture, and which cells count."""
    for tile in level.tiles():
        yield tile, windows.read(image, *level.places(tile, rows, columns))[np.newaxis], level.inside(tile)


def _cells_that_count(features: Features, inside: Mapping[str, tuple[Array, Array]]) -> Features:
    """The features of a tile without those of its margin, which are those of other tiles too."""
    found = {}
    for layer, F in features.items():
        (top, bottom), (left, right) = map(_span, inside[layer])
        found[layer] = F[:, top:bottom, left:right]
    return found


def _among_all_cells(features: Features, inside: Mapping[str, tuple[Array, Array]]) -> Features:
    """What `_cells_that_count` returned, with zeros where the others were: they do not count."""
    found = {}
    for layer, F in features.items():
        spans = ((first, len(counting) - end) for counting in inside[layer] for first, end in [_span(counting)])
        found[layer] = tf.pad(F, [(0, 0), *spans, (0, 0)])
    return found


def _span(counting: Array) -> tuple[int, int]:
    """The first cell that counts, and the first behind them."""
    places = np.flatnonzero(counting)
    return int(places[0]), int(places[-1]) + 1


def _view(level: Level, extract: Callable[..., Features], window: Tensor, inside: Mapping[str, tuple[Tensor, Tensor]],
          values: Sequence[Tensor], scales: Features) -> View:
    """What the terms measure of a tile."""
    to_network, to_terms = fork(window)
    found = extract(to_network, values, scales) if level.layers else {}
    weights = {layer: (rows[:, np.newaxis] * columns)[np.newaxis] for layer, (rows, columns) in inside.items()}
    return View({layer: found[name] for layer, name in level.layers.items()}, to_terms, weights)


def _measured(level: Level, extract: Callable[..., Features], window: Tensor, fixed: Any, inside: Any,
              values: Sequence[Tensor], scales: Features) -> Sums:
    return measure(level.objective, _view(level, extract, window, inside, values, scales), fixed)


def _pulled(level: Level, extract: Callable[..., Features], window: Tensor, fixed: Any, inside: Any,
            values: Sequence[Tensor], scales: Features, by_sums: Sums) -> Tensor:
    """The gradient by the window, from that by its sums."""
    with tf.GradientTape() as tape:
        tape.watch(window)
        sums = _measured(level, extract, window, fixed, inside, values, scales)
    return tape.gradient(tf.nest.flatten(sums), window, tf.nest.flatten(by_sums))


def _content(level: Level, extract: Callable[..., Features], window: Tensor, values: Sequence[Tensor],
             scales: Features) -> Features:
    """The content's features of a window of the photo."""
    found = extract(window, values, scales)
    return {layer: found[level.layers[layer]] for layer, _ in level.objective.content_layers}


def _compared(objective: Objective, sums: Sums, targets: Targets) -> tuple[dict[str, Tensor], Sums]:
    """The losses, as sums over the batch, and the gradient of J by the sums."""
    if objective.normalization != "relative":
        targets = with_constant_weights(objective, targets)
    with tf.GradientTape() as tape:
        tape.watch(tf.nest.flatten(sums))
        losses = {tag: tf.reduce_sum(loss) for tag, loss in compare(objective, sums, targets).items()}
    return losses, tape.gradient(losses["loss/total"], sums, unconnected_gradients="zero")


def _without_pixels(objective: Objective) -> Objective:
    return objective._replace(weights=_of_features(objective.weights))


def _of_features(weights: TermWeights) -> TermWeights:
    """The weights of the terms that do not read pixels."""
    return weights._replace(smoothness=0.0, temporal=0.0)


def _added(parts: Iterator[Any]) -> Any:
    """The sums of all tiles together."""
    total = next(parts)
    for part in parts:
        total = add(total, part)
    return total
