"""Random views of a picture, moved, scaled and turned: what a unit responds to shall not depend on the exact place."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nst_tf.tensors import Tensor

# Largest moves of a first and a second jitter in pixels, largest change of scale, largest turn in degrees.
JITTERS_PX = (4.0, 2.0)
SCALE = 0.1
TURN_DEGREES = 10.0
GRAY = 0.5


def view_maps(seed: int, step: int, count: int, view_px: int, picture_px: int, strength: float) -> Tensor:
    """Random affine maps (x, y) → A (x, y) + b of a view's pixels to those of a picture, one for each picture.

        A = R(φ) / s,    b = c + t − A c′,

    c the picture's middle, c′ the view's, s = 1 ± 0.1, φ = ± 10°, t = ± 4 ± 2 px, all uniform and times `strength`: a
    function of seed and step alone.

    Args:
        view_px, picture_px: their sides; both are squares.
        strength: 0 for views of the picture's middle as it is.
    Returns:
        float32 [count, 8], rows (a₀, a₁, b₀, a₂, a₃, b₁, 0, 0).
    Source: the transformation robustness of lucid (Olah, Mordvintsev, Schubert 2017), whose two jitters, scale and turn
        follow each other.
    """
    # Differs from Olah et al. 2017: one map that does all at once, so that the picture is resampled, and blurred, once;
    # another one for each picture of a batch; every angle as likely as none.
    uniform = np.random.default_rng((seed, step)).uniform(-strength, strength, (count, 4 + 2))
    scale, angle = 1 + SCALE * uniform[:, 0], np.deg2rad(TURN_DEGREES * uniform[:, 1])
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    shift = JITTERS_PX[0] * uniform[:, 2:4] + JITTERS_PX[1] * uniform[:, 4:6]
    x, y = (picture_px - 1) / 2 + shift.T - (view_px - 1) / 2 * np.stack([cosine - sine, sine + cosine])
    zero: npt.NDArray[np.float64] = np.zeros(count)
    return tf.constant(np.stack([cosine, -sine, x, sine, cosine, y, zero, zero], axis=1), tf.float32)


def view(pictures: Tensor, maps: Tensor, view_px: int) -> Tensor:
    """Pictures as `view_maps` see them, bilinear; what lies outside a picture is gray.

    TensorFlow takes the inverse map of the gradient for its transpose, which differ where the gradient changes from
    pixel to pixel: it points uphill still.

    Args:
        pictures: [B, H, W, C].
        maps: float32 [B, 8].
    Returns:
        [B, view_px, view_px, C].
    """
    seen = tf.raw_ops.ImageProjectiveTransformV3(
        images=pictures, transforms=maps, output_shape=[view_px, view_px], fill_value=GRAY, interpolation="BILINEAR",
        fill_mode="CONSTANT")
    return tf.ensure_shape(seen, [pictures.shape[0], view_px, view_px, pictures.shape[3]])


def zoomed(picture: np.ndarray, zoom: float, turn_degrees: float) -> np.ndarray:
    """The picture enlarged around its middle and turned counterclockwise, bilinear; what lies outside is mirrored.

    Args:
        picture: float32 [H, W, 3].
        zoom: ≥ 1.
    """
    height, width = picture.shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    angle = np.deg2rad(turn_degrees)
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    # Rows point down: seen from the picture, its pixels come from places that are turned clockwise.
    inverse = [cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y, 0, 0]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.constant(picture[np.newaxis]), transforms=tf.constant([inverse], tf.float32),
        output_shape=[height, width], fill_value=0.0, interpolation="BILINEAR", fill_mode="REFLECT")[0].numpy()
