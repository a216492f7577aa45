"""Label images to regions: which colors name them, and how much each pixel belongs to each. No TensorFlow.

A mask is painted in a few flat colors. What lies between two of them (smoothed edges, feathering, the noise of JPEG)
is read as a mixture: a pixel halfway from black to white belongs half to each.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.io.files import quoted
from nst_tf.io.images import FloatImage, PathLike, load, quantize, resize
from nst_tf.io.pixels import TRIANGLE
from nst_tf.vocabulary import UserError

Color = tuple[int, int, int]

# A label is painted flat: its pixels differ from their neighbors by no more than CORE, and of the flat pixels within
# TOLERANCE of it, half lie within CORE. Both of 255, in each channel.
TOLERANCE, CORE = 24, 4
# Below this share of the picture a color is taken for noise.
SMALLEST_SHARE = 0.001
LARGEST_MIXED_SHARE = 0.5
MOST_LABELS = 16
# A pixel is a mixture of labels that are found flat within so many pixels, where its color allows.
_NEAR_PX = 4
_MOST_CANDIDATES = 64


class Mask(NamedTuple):
    """Labels, from the largest region to the smallest, and the membership w [H, W, K] of each pixel in each.

    w ≥ 0 and Σ_k w_k = 1; exactly 1 where the mask shows label k itself.
    """

    labels: tuple[Color, ...]
    memberships: FloatImage


def load_mask(path: PathLike, name: str, max_side_px: int) -> Mask:
    """The labels and memberships of an image file; `name` is the flag that errors name.

    Raises:
        UserError: the file cannot be read as an image, or it is no label image.
    """
    picture = load(path, name=name, max_side_px=max_side_px)
    labels, what = find_labels(picture), f"{name} {quoted(path)}"
    if not labels or is_photo(picture, labels):
        raise UserError(f"{what} looks like a picture, not like a mask: paint each region in one flat color")
    if len(labels) == 1:
        raise UserError(f"{what} has one color, {written(labels[0])}: paint each region in a color of its own, more "
                        f"than {TOLERANCE} of 255 apart in red, green or blue")
    if len(labels) > MOST_LABELS:
        raise UserError(f"{what} has more than {MOST_LABELS} colors that cover {SMALLEST_SHARE:.1%} or more: paint "
                        "fewer regions")
    return Mask(labels, memberships(picture, labels))


def find_labels(picture: FloatImage) -> tuple[Color, ...]:
    """The colors that name regions, the most frequent first; at most one more than `MOST_LABELS`.

    Only pixels count that are like their neighbors, which those of an edge are not. The most frequent color is a label
    if at least half of those within `TOLERANCE` of it, and at least `SMALLEST_SHARE` of the picture, lie within `CORE`;
    the colors of a wide soft edge are spread out instead. What lies within its tolerance is then left out, and the
    next most frequent color is looked at.

    Args:
        picture: [H, W, 3] in [0, 1].
    """
    levels = quantize(picture)
    smallest = SMALLEST_SHARE * levels[..., 0].size
    colors, counts = _histogram(levels[_is_flat(levels)])
    is_left = np.ones(len(colors), bool)
    labels: list[Color] = []
    for _ in range(_MOST_CANDIDATES):
        if len(labels) > MOST_LABELS or counts[is_left].sum() < smallest:
            break
        candidate = colors[np.argmax(np.where(is_left, counts, 0))]
        distance = np.abs(colors - candidate).max(-1)
        core, around = counts[distance <= CORE].sum(), counts[distance <= TOLERANCE].sum()
        if core >= max(around / 2, smallest):
            labels.append(_color(candidate))
        is_left &= distance > TOLERANCE
    return tuple(labels)


def is_photo(picture: FloatImage, labels: Sequence[Color]) -> bool:
    """Whether more than half of the pixels have none of the labels' colors."""
    distance = np.min([_distance(_levels(picture), label) for label in labels], axis=0)
    return bool(np.mean(distance > TOLERANCE) > LARGEST_MIXED_SHARE)


def memberships(picture: FloatImage, labels: Sequence[Color]) -> FloatImage:
    """w [H, W, K] ≥ 0 with Σ_k w_k = 1: of each pixel c, the two labels between which its color lies.

        w_b = 1 − w_a = clip((t − e) / (1 − 2e), 0, 1),    t = (c − a)·(b − a) / ‖b − a‖²

    for the labels a and b whose segment passes nearest to c; e is `TOLERANCE` on that segment, so that noise within it
    gives exactly 0 or 1. Labels nearby go first: black smoothed into white passes through gray, and is still no part
    of a gray region that lies elsewhere.

    Args:
        picture: [H, W, 3] in [0, 1].
        labels: K colors.
    """
    pixels = _levels(picture)
    distances = np.stack([_distance(pixels, label) for label in labels], -1)
    nearest = np.eye(len(labels), dtype=bool)[distances.argmin(-1)] & (distances <= TOLERANCE)
    flat = _window_all(nearest, 1)
    near = ~_window_all(~flat, _NEAR_PX)
    w = flat.astype(np.float32)
    edge = ~flat.any(-1)
    if edge.any():
        mixed, deviation = _mixtures(pixels[edge], labels, near[edge])
        anywhere, _ = _mixtures(pixels[edge], labels, np.ones_like(near[edge]))
        w[edge] = np.where((deviation <= TOLERANCE)[:, np.newaxis], mixed, anywhere)
    return w


def resize_memberships(w: FloatImage, width: int, height: int) -> FloatImage:
    """Memberships [H, W, K] at another size, by a triangle that is widened when it shrinks: they still sum to 1."""
    return resize(w, width, height, TRIANGLE)


def compose(image: Any, photo: Any, share: Any) -> Any:
    """s · image + (1 − s) · photo, all [..., H, W, C]; the very photo where s is 0, the very image where it is 1."""
    return share * image + (1 - share) * photo


def match(color: Color, labels: Sequence[Color]) -> int | None:
    """The index of the label that a color of another mask means: the nearest within `TOLERANCE`."""
    distances = [max(abs(a - b) for a, b in zip(color, label, strict=True)) for label in labels]
    nearest = int(np.argmin(distances))
    return nearest if distances[nearest] <= TOLERANCE else None


def written(color: Color) -> str:
    """`(255, 0, 0)` → `"#ff0000"`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def _mixtures(pixels: NDArray[np.float32], labels: Sequence[Color],
              allowed: NDArray[np.bool_]) -> tuple[FloatImage, NDArray[np.float32]]:
    """The best mixture [M, K] of two allowed labels (or one) for each pixel [M, 3], and how far off it is [M]."""
    best = np.full(len(pixels), np.inf, np.float32)
    w = np.zeros((len(pixels), len(labels)), np.float32)
    for a, b in combinations_with_replacement(range(len(labels)), 2):
        start = np.asarray(labels[a], np.float32)
        along = np.asarray(labels[b], np.float32) - start
        t = np.clip((pixels - start) @ along / max(1.0, float(along @ along)), 0, 1)
        deviation = np.abs(pixels - start - t[:, np.newaxis] * along).max(-1)
        is_better = (deviation < best) & allowed[:, a] & allowed[:, b]
        margin = TOLERANCE / max(np.abs(along).max(), 2.5 * TOLERANCE)
        share = np.clip((t - margin) / (1 - 2 * margin), 0, 1) if a != b else t
        best[is_better], w[is_better] = deviation[is_better], 0
        w[is_better, b] = share[is_better]
        w[is_better, a] += 1 - share[is_better]
    return w, best


def _window_all(layers: Any, radius_px: int) -> NDArray[np.bool_]:
    """Of [H, W, K], whether all values within `radius_px` rows and columns are true; outside the picture, they are."""
    for axis in (0, 1):
        margins = [(radius_px, radius_px) if axis == each else (0, 0) for each in range(3)]
        padded = np.pad(layers, margins, constant_values=True)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius_px + 1, axis)
        layers = np.all(windows, axis=-1)
    return layers


def _is_flat(levels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether no channel differs by more than `CORE` within the 3×3 pixels around; the border repeats itself."""
    padded = np.pad(levels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
    return np.asarray((windows.max((-1, -2)) - windows.min((-1, -2)) <= CORE).all(-1))


def _histogram(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The colors [N, 3] of pixels [M, 3], and how many have each."""
    values, counts = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1], np.int64), return_counts=True)
    return np.stack([values >> 16, values >> 8 & 255, values & 255], -1), counts


def _levels(picture: FloatImage) -> NDArray[np.float32]:
    return np.asarray(picture * np.float32(255), np.float32)


def _distance(pixels: NDArray[np.float32], label: Color) -> NDArray[np.float32]:
    """The largest difference in a channel."""
    return np.asarray(np.abs(pixels - np.asarray(label, np.float32)).max(-1), np.float32)


def _color(values: NDArray[np.int64]) -> Color:
    red, green, blue = (int(value) for value in values)
    return red, green, blue
