"""The embedded backbone: a convolutional network whose filters are cluster centers of whitened patches.

No download and no back-propagation: `learn` finds the filters in the very pictures at hand, layer after layer: patches
→ whitening → spherical k-means → one convolution. The other half is the network itself: the Keras model and the file
format.

Source: Coates and Ng 2012, "Learning feature representations with k-means", sections 3 to 5, for the filters; reflect
padding and binomial pooling are ours.
"""

import io
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from nst_tf.backbones.architectures import LEARNED_LAYERS, LEARNING_SIDE_PX, LearnedLayer, operations
from nst_tf.backbones.borders import Pad
from nst_tf.backbones.extractor import Adapted, Color, Extractor
from nst_tf.backbones.facts import trace
from nst_tf.backbones.surgery import BinomialPooling
from nst_tf.backbones.weights.npz import stored_arrays
from nst_tf.io.files import quoted, write_atomically
from nst_tf.vocabulary import UserError, check_name

BUNDLED = Path(__file__).with_name("kmeans_bundled.npz")
LARGEST_FILE_BYTES = 8_000_000

SHORTEST_SIDE_PX = 128
PATCHES_PER_LAYER = 20_000
PATCHES_PER_FILTER = 4
WHITENING_EPSILON = 1e-3
DROPPED_FRACTION = 0.2
ROUNDS = 12
BIAS_PERCENTILE = 40.0
TINY = 1e-6


class Filters(NamedTuple):
    """kernel float32 [k, …, channels in, channels out], one k for each space axis, and bias float32 [channels out]."""

    kernel: np.ndarray
    bias: np.ndarray


def build_kmeans(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[np.ndarray]) -> Extractor:
    """The network with filters learned from `pictures` (`self`), the `bundled` ones, `random` ones, or a file's.

    `self` learns the filters anew for each job. Before that they are random.

    Raises:
        UserError: a picture is too small to learn from, or the file does not hold filters.
    """
    if weights == "self":
        deepest = max((index for index, layer in enumerate(LEARNED_LAYERS) if layer.name in layers), default=0)
        recipe = LEARNED_LAYERS[:deepest + 1]
        filters = learn(pictures, seed, recipe) if pictures else random_filters(seed, recipe)
        return _learning(layers, seed, recipe, filters, mean_color(pictures) if pictures else (0.5, 0.5, 0.5))
    if weights == "random":
        return Extractor(build(random_filters(seed), layers), (0.5, 0.5, 0.5))
    filters, color = load(BUNDLED if weights == "bundled" else weights)
    return Extractor(build(filters, layers), color)


def _learning(layers: Sequence[str], seed: int, recipe: Sequence[LearnedLayer], filters: Mapping[str, Filters],
              color: Color) -> Extractor:
    """A network whose filters follow from the pictures of a job."""
    names = tuple(layer.name for layer in recipe)

    def reshaped(shapes: Sequence[tuple[int, ...]]) -> Extractor:
        empty = [Filters(np.zeros(kernel, np.float32), np.zeros(bias, np.float32))
                 for kernel, bias in zip(shapes[::2], shapes[1::2], strict=True)]
        return _learning(layers, seed, recipe, dict(zip(names, empty, strict=True)), color)

    return Extractor(build(filters, layers), color, names, partial(_adapt, seed, recipe), reshaped)


def _adapt(seed: int, recipe: Sequence[LearnedLayer], pictures: Sequence[np.ndarray]) -> Adapted:
    """Kernel and bias of each layer, learned from the pictures of a job."""
    filters = learn(pictures, seed, recipe)
    return Adapted(tuple(tf.constant(part) for layer in filters.values() for part in layer), mean_color(pictures))


def build(filters: Mapping[str, Filters], layers: Iterable[str],
          recipe: Sequence[LearnedLayer] = LEARNED_LAYERS) -> keras.Model:
    """The network up to the deepest layer asked for, as a Functional model.

    Args:
        filters: what `learn` or `load` returned.
        layers: names of `recipe`, in any order.
        recipe: the one the filters were learned with.
    Returns:
        a model: image float32 [B, H, W, 3], sRGB in [0, 1] → {layer: activations [B, h, w, channels]}.
    Raises:
        UserError: a layer that the recipe does not have.
    """
    wanted = {check_name("layer", name, [layer.name for layer in recipe]) for name in layers}
    image = features = keras.Input((None, None, 3), name="image")
    outputs: dict[str, Any] = {}
    for layer in recipe:
        if len(outputs) == len(wanted):
            break
        if layer.pool_before:
            features = halving()(features)
        features = convolution(layer, filters[layer.name])(features)
        if layer.name in wanted:
            outputs[layer.name] = features
    return keras.Model(image, outputs, name="kmeans")


def halving() -> Callable[[Any], Any]:
    """[B, H, W, C] → [B, ⌈H/2⌉, ⌈W/2⌉, C] by a binomial pooling, edges reflected."""
    pad, pool = Pad.margin("reflect", 1), BinomialPooling()
    return lambda features: pool(pad(features))


def convolution(layer: LearnedLayer, filters: Filters) -> Callable[[Any], Any]:
    """features → ReLU(kernel ∗ features + bias), as large as `features`, edges reflected."""
    pad = Pad.margin("reflect", layer.kernel_px // 2)
    convolve = keras.layers.Conv2D(filters.bias.size, layer.kernel_px, activation="relu", name=layer.name,
                                   trainable=False)
    convolve.build((None, None, None, filters.kernel.shape[2]))
    convolve.set_weights(list(filters))
    return lambda features: convolve(pad(features))


def save(path: str | os.PathLike[str], filters: Mapping[str, Filters], mean_color: Color) -> None:
    """Writes the filters as a float16 .npz file, whole or not at all; equal filters give equal bytes."""
    arrays: dict[str, Any] = {f"{name}/{part}": values.astype(np.float16)
                              for name, layer in filters.items() for part, values in layer._asdict().items()}
    buffer = io.BytesIO()
    np.savez(buffer, mean_color=np.asarray(mean_color, np.float16), **arrays)
    write_atomically(path, buffer.getvalue())


def load(path: str | os.PathLike[str],
         recipe: Sequence[LearnedLayer] = LEARNED_LAYERS) -> tuple[dict[str, Filters], Color]:
    """The filters that `save` wrote, as float32, and the mean color of the pictures that they were learned from.

    Raises:
        UserError: the file is missing, is no such archive, or does not hold the filters of `recipe`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Before anything is unpacked: a small archive may say that it unpacks to terabytes.
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_FILE_BYTES:
                raise ValueError(f"more than {LARGEST_FILE_BYTES} bytes")
            arrays = stored_arrays(archive)
            filters = {layer.name: Filters(*(np.asarray(arrays[f"{layer.name}/{part}"], np.float32)
                                             for part in Filters._fields)) for layer in recipe}
            red, green, blue = (float(value) for value in np.asarray(arrays["mean_color"]))
        _check_shapes(filters, recipe)
    except Exception as error:  # NumPy and zipfile raise almost anything on a damaged or hostile file.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise UserError(f"filter file {quoted(path)} cannot be used ({reason}): give one that learn_filters.py "
                        "wrote") from None
    return filters, (red, green, blue)


def _check_shapes(filters: Mapping[str, Filters], recipe: Iterable[LearnedLayer]) -> None:
    channels = 3
    for layer in recipe:
        kernel, bias = filters[layer.name]
        if bias.ndim != 1 or kernel.shape != (layer.kernel_px, layer.kernel_px, channels, bias.size):
            raise ValueError(f"layer {layer.name} has shapes {kernel.shape} and {bias.shape}")
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise ValueError(f"layer {layer.name} holds values that are not finite")
        channels = bias.size


def random_filters(seed: int, recipe: Sequence[LearnedLayer] = LEARNED_LAYERS) -> dict[str, Filters]:
    """Normal kernels of variance 2 / fan-in (He et al. 2015), zero biases; the same for each seed on every machine."""
    generator, channels, filters = np.random.default_rng(seed), 3, {}
    for layer in recipe:
        shape = (layer.kernel_px, layer.kernel_px, channels, layer.filters)
        kernel = generator.normal(0.0, np.sqrt(2.0 / np.prod(shape[:3])), shape)
        filters[layer.name] = Filters(kernel.astype(np.float32), np.zeros(layer.filters, np.float32))
        channels = layer.filters
    return filters


def whitening(patches: np.ndarray, components: int) -> np.ndarray:
    """W = V·diag(λ + ε·λ₁)^(−1/2): the leading principal axes, scaled to (almost) unit variance.

    Wᵀ·Cov·W = diag(λ / (λ + ε·λ₁)), so ε keeps axes that hold only noise from being blown up.

    Args:
        patches: float32 [n, d], centered.
        components: how many axes to keep, at most d.
    Returns:
        float32 [d, min(components, d)].

    Source: Coates and Ng 2012, section 3.1; PCA whitening instead of ZCA, for the truncation.
    """
    variances, axes = np.linalg.eigh(patches.T @ patches / np.float32(len(patches)))
    variances, axes = variances[::-1][:components], axes[:, ::-1][:, :components]
    floor = WHITENING_EPSILON * variances[0] + np.float32(TINY ** 2)
    return axes / np.sqrt(np.maximum(variances, 0) + floor)


def spherical_kmeans(points: np.ndarray, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Unit centers D that maximize Σ_i max_j (z_i·d_j)²: d_j ← normalize(Σ_{i in cluster j} (z_i·d_j)·z_i).

    Args:
        points: float32 [n, p], rows of unit length.
        clusters: how many centers, at most n; they start as distinct points drawn by `rng`.
        rng: an empty cluster starts again from a point drawn by it.
    Returns:
        float32 [clusters, p], rows of unit length.
    Source: Coates and Ng 2012, the k-means of section 3.
    """
    # Differs from Coates and Ng 2012: a point joins the center that it points to, not the one of largest |z·d|, since
    # the ReLU behind a filter has a sign; centers start at data points, not at random; no damping by the old center.
    centers = points[rng.choice(len(points), clusters, replace=False)]
    for _ in range(ROUNDS):
        similarity = points @ centers.T
        nearest = similarity.argmax(axis=1)
        weighted = points * similarity[np.arange(len(points)), nearest, None]
        order = np.argsort(nearest, kind="stable")
        bounds = np.searchsorted(nearest[order], np.arange(clusters + 1))
        centers = np.stack([weighted[order[start:end]].sum(axis=0) if end > start else points[rng.integers(len(points))]
                            for start, end in zip(bounds[:-1], bounds[1:])])
        centers = _unit_rows(centers)
    return centers


def learn_filters(patches: np.ndarray, layer: LearnedLayer, rng: np.random.Generator, axes: int = 2) -> Filters:
    """One layer's filters: cluster centers seen through the whitening, scaled and shifted for the ReLU.

    r = (x − μ)·W·dᵀ / σ, and the bias puts each filter's 40th percentile of r at zero.

    Args:
        patches: float32 [n, k·k·channels], flattened as a convolution kernel is.
        layer: the layer's kernel size, most filters and whitened components.
        rng: chooses the first centers.
        axes: of a kernel: 2 for pictures, 1 for signals.
    Returns:
        `Filters` with at most one filter for each four patches.
    """
    mean = patches.mean(axis=0)
    centered = patches - mean
    whiten = whitening(centered, layer.components)
    white = centered @ whiten
    # Differs from Coates and Ng 2012: patches are not normalized in contrast before the whitening, so that strong and
    # weak strokes stay apart for the network; the weakest, nearly flat ones are left out instead.
    norms = np.linalg.norm(white, axis=1)
    points = _unit_rows(white[norms >= np.quantile(norms, DROPPED_FRACTION)])
    # More filters than this would memorize the patches of a small picture instead of clustering them.
    clusters = max(1, min(layer.filters, len(patches) // PATCHES_PER_FILTER))
    centers = spherical_kmeans(points, clusters, rng)
    responses = centers @ white.T
    spread = responses.std(axis=1)
    scale = 1 / np.where(spread > TINY, spread, 1)
    kernel = whiten @ centers.T * scale
    # Differs from Coates and Ng 2012: their threshold is a constant; a percentile keeps every filter equally active.
    bias = -mean @ kernel - np.percentile(responses, BIAS_PERCENTILE, axis=1) * scale
    shape = (*(layer.kernel_px,) * axes, -1, clusters)
    return Filters(kernel.reshape(shape).astype(np.float32), bias.astype(np.float32))


def learn(pictures: Sequence[np.ndarray], seed: int, recipe: Sequence[LearnedLayer] = LEARNED_LAYERS,
          patches_per_layer: int = PATCHES_PER_LAYER) -> dict[str, Filters]:
    """The filters of every layer, learned from the pictures alone: the same pictures and seed, the same filters.

    Args:
        pictures: float32 [H, W, 3], sRGB in [0, 1], of any sizes; those above 512 px are reduced first.
        seed: of the patches drawn and the first centers.
        recipe: the layers to learn.
        patches_per_layer: how many are drawn for each layer, evenly from all pictures.
    Returns:
        {layer: Filters}.
    Raises:
        UserError: no picture, or one with a side that is too small.
    Source: Coates and Ng 2012, section 5 (layer after layer).
    """
    if not pictures:
        raise UserError("no picture to learn filters from: give at least one")
    smallest_px = trace(tuple(operations(recipe)))[-1].smallest_side_px
    for picture in pictures:
        if min(picture.shape[:2]) < smallest_px:
            raise UserError(f"a picture of {picture.shape[1]} × {picture.shape[0]} px is too small to learn from: at "
                            f"least {smallest_px} px a side are needed")
    rng = np.random.default_rng(seed)
    features = [[tf.constant(view[None]) for view in learning_pictures(picture, smallest_px)] for picture in pictures]
    filters = {}
    for layer in recipe:
        if layer.pool_before:
            halve = halving()
            features = [[halve(view) for view in of_picture] for of_picture in features]
        patches = np.concatenate([
            draw_patches(view.numpy()[0], layer.kernel_px, patches_per_layer // len(features) // len(of_picture), rng)
            for of_picture in features for view in of_picture])
        filters[layer.name] = learn_filters(patches, layer, rng)
        if layer is not recipe[-1]:
            convolve = convolution(layer, filters[layer.name])
            features = [[convolve(view) for view in of_picture] for of_picture in features]
    return filters


def mean_color(pictures: Sequence[np.ndarray]) -> Color:
    """The mean of the pictures' mean colors, RGB in [0, 1]."""
    red, green, blue = np.mean([picture.mean(axis=(0, 1)) for picture in pictures], axis=0)
    return float(red), float(green), float(blue)


def learning_pictures(picture: np.ndarray, smallest_px: int) -> list[np.ndarray]:
    """The picture at sizes √2 apart, from at most 512 px down to 128 px on the long side: at least one, at most five.

    Strokes then look alike at every stage of the image pyramid, and a small picture yields patches enough.
    """
    long_side_px = max(picture.shape[:2])
    factor = min(1.0, LEARNING_SIDE_PX / long_side_px)
    found = [_reduce(picture, factor, smallest_px)]
    while round(long_side_px * factor / 2 ** 0.5) >= SHORTEST_SIDE_PX:
        factor /= 2 ** 0.5
        found.append(_reduce(picture, factor, smallest_px))
    return found


def draw_patches(features: np.ndarray, kernel_px: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `count` distinct patches of [*space, C], edges reflected: [n, k·…·C] in the order of a kernel."""
    axes, margin = features.ndim - 1, kernel_px // 2
    padded = np.pad(features, [(margin, margin)] * axes + [(0, 0)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel_px,) * axes, axis=tuple(range(axes)))
    places = math.prod(features.shape[:-1])
    chosen = rng.choice(places, size=min(max(count, 1), places), replace=False)
    patches = windows[np.unravel_index(chosen, features.shape[:-1])]
    return np.moveaxis(patches, 1, -1).reshape(len(patches), -1)


def _reduce(picture: np.ndarray, factor: float, smallest_px: int) -> np.ndarray:
    if factor == 1:
        return picture
    size = [max(smallest_px, round(side_px * factor)) for side_px in picture.shape[:2]]
    return np.clip(tf.image.resize(picture, size, "bicubic", antialias=True).numpy(), 0, 1)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
