"""What the optical flow between frames tells: where a frame shows what earlier ones showed, and how these look there.

Pictures are [H, W] or [H, W, C], flows [H, W, 2] in pixels, (columns, rows). NumPy only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_tf.io.optical_flow import Flow, Gray, optical_flow
from nst_tf.io.pixels import FloatImage

Mask = NDArray[np.float32]  # [H, W] in [0, 1]
Taps = Mapping[int, NDArray[Any]]

# Of Sundaram, Brox, Keutzer 2010, as Ruder et al. 2016 have them.
OCCLUSION_SHARE, OCCLUSION_PX2 = 0.01, 0.5
BOUNDARY_SHARE, BOUNDARY_PX2 = 0.01, 0.002
# A frame of which less is seen in the one before begins another shot.
LEAST_SEEN = 0.3


class Motion(NamedTuple):
    """How a frame follows from an earlier one: p of the frame was at p + `backward`(p)."""

    backward: Flow
    is_seen: Mask     # 1 where the flow forth and back agrees
    certainty: Mask   # as well, but 0 at the edges of what moves


class Earlier(NamedTuple):
    """A frame as later ones need it, and its picture, both with 8 bits."""

    gray: Gray
    picture: NDArray[np.uint8]  # [H, W, 3]


def _linear(t: NDArray[np.float32]) -> Taps:
    """{offset: weight} of the two pixels around a place, t ∈ [0, 1) behind the first."""
    return {0: 1 - t, 1: t}


def _cubic(t: NDArray[np.float32]) -> Taps:
    """{offset: weight} of the four pixels around a place: Catmull-Rom, which blurs less, and may overshoot."""
    return {-1: t * (t * (2 - t) - 1) / 2, 0: (t * t * (3 * t - 5) + 2) / 2, 1: t * (t * (4 - 3 * t) + 1) / 2,
            2: t * t * (t - 1) / 2}


def moved(picture: NDArray[np.float32], flow: Flow,
          weights: Callable[[NDArray[np.float32]], Taps] = _linear) -> NDArray[np.float32]:
    """picture(p + flow(p)), interpolated; beyond the edges it is that of the edge."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = np.clip(columns + flow[..., 0], 0, width - 1), np.clip(rows + flow[..., 1], 0, height - 1)
    left, top = x.astype(np.int32), y.astype(np.int32)
    across, down = weights(x - left), weights(y - top)
    total = np.zeros((height, width, *picture.shape[2:]), np.float32)
    for i, a in down.items():
        row = np.clip(top + i, 0, height - 1)
        for j, b in across.items():
            weight = a * b
            total += picture[row, np.clip(left + j, 0, width - 1)] * weight.reshape(weight.shape + (1,) * (
                picture.ndim - 2))
    return total


def moved_picture(picture: NDArray[np.uint8], flow: Flow) -> FloatImage:
    """A picture moved as sharp as can be, float32 in [0, 1]."""
    return np.clip(moved(as_floats(picture), flow, _cubic), 0, 1)


def motion_between(earlier: Gray, now: Gray) -> Motion:
    """The motion between two frames, by the flow both ways.

        seen:      |w̃ + ŵ|² ≤ 0.01 (|w̃|² + |ŵ|²) + 0.5,   w̃(p) = w(p + ŵ(p)),   and p + ŵ(p) in the picture
        no edge:   |∇û|² + |∇v̂|² ≤ 0.01 |ŵ|² + 0.002

    with w the flow forth and ŵ = (û, v̂) the flow back.

    Source: Ruder, Dosovitskiy, Brox 2016, eq. 5 and 6.
    """
    backward, forward = optical_flow(now, earlier), optical_flow(earlier, now)
    return motion_of(backward, forward)


def motion_of(backward: Flow, forward: Flow) -> Motion:
    """`motion_between`, from the flows."""
    back = moved(forward, backward)
    squares = _squares(backward)
    is_lost = _squares(back + backward) > OCCLUSION_SHARE * (_squares(back) + squares) + OCCLUSION_PX2
    height, width = backward.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    is_outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    slopes = sum(_squares(np.asarray(slope)) for slope in np.gradient(backward, axis=(0, 1)))
    is_edge = slopes > BOUNDARY_SHARE * squares + BOUNDARY_PX2
    is_seen = ~(is_lost | is_outside)
    return Motion(backward, is_seen.astype(np.float32), (is_seen & ~is_edge).astype(np.float32))


def _squares(flow: Flow) -> NDArray[np.float32]:
    return np.asarray(np.square(flow).sum(axis=-1))


def begins_shot(motion: Motion) -> bool:
    """Whether a frame shows something else than the one before."""
    return bool(motion.is_seen.mean() < LEAST_SEEN)


def moved_together(motions: Sequence[Motion], past: Sequence[Earlier]) -> tuple[FloatImage, Mask]:
    """Earlier pictures at the places of a frame, and how certain that is: Σ_j c_j m_j / C and C = Σ_j c_j.

        c_j ← max(0, c_j − Σ_{i<j} c_i):   each pixel is held by the nearest frame that has seen it

    Σ_j c_j ‖x − m_j‖² is C ‖x − Σ_j c_j m_j / C‖² and a constant, so that one picture stands for all.

    Args:
        motions: from the pictures of `past`, the nearest first.
    Source: Ruder, Dosovitskiy, Brox 2016, eq. 9 and 10.
    """
    certainty: Mask = np.zeros(motions[0].certainty.shape, np.float32)
    picture: FloatImage = np.zeros((*certainty.shape, 3), np.float32)
    for motion, earlier in zip(motions, past, strict=True):
        own = np.maximum(0, motion.certainty - certainty)
        picture += own[..., np.newaxis] * moved_picture(earlier.picture, motion.backward)
        certainty += own
    picture /= np.maximum(certainty, np.float32(1e-6))[..., np.newaxis]
    return picture, certainty


def as_floats(picture: NDArray[np.uint8]) -> FloatImage:
    """8 bits as float32 in [0, 1]."""
    return picture.astype(np.float32) / np.float32(255)


def warping_error(picture: NDArray[np.uint8], earlier: NDArray[np.uint8], motion: Motion) -> float:
    """How much two pictures of a clip flicker: the mean of (x − m)² over the certain pixels; values in [0, 1].

    m is the earlier picture, moved.

    Source: Lai et al. 2018, eq. 11.
    """
    difference = np.square(as_floats(picture) - moved(as_floats(earlier), motion.backward)).mean(axis=-1)
    return float((motion.certainty * difference).sum() / max(1.0, float(motion.certainty.sum())))
