"""The excitation J of a layer, which a dream maximizes: a sum over its positions p of j_p, made of features F and V."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from nst_tf.tensors import Tensor, fork

# A cosine below this counts as this, so that positions that point elsewhere still feel the dot product.
LEAST_COSINE = 0.1
# Features are in units of their layer's root mean square; far below it a position is silent.
SILENCE = 1e-6


def layer_energy(F: Tensor, v: Tensor) -> Tensor:
    """j_p = ½ Σ_c v_c F_pc², whose gradient is the activation itself: what is there is amplified.

    Args:
        F: features [B, h, w, C].
        v: weights ≥ 0 of the channels, [C].
    Returns:
        [B, h, w].
    Source: Mordvintsev, Olah, Tyka 2015.
    """
    return 0.5 * tf.linalg.matvec(tf.square(F), v)


def channel_activation(F: Tensor, v: Tensor) -> Tensor:
    """j_p = Σ_c v_c F_pc; arguments as `layer_energy`."""
    return tf.linalg.matvec(F, v)


def neuron_activation(F: Tensor, v: Tensor) -> Tensor:
    """j = Σ_c v_c F_c of the cell in the middle, [B, 1, 1]; arguments as `layer_energy`."""
    row, column = tf.shape(F)[1] // 2, tf.shape(F)[2] // 2
    return tf.linalg.matvec(F[:, row:row + 1, column:column + 1], v)


def alignment(F: Tensor, V: Tensor, power: float = 0.0) -> Tensor:
    """j_p = ⟨F_p, V_p⟩ · max(cos(F_p, V_p), 0.1)^power: more of a direction, and less of all else.

    Args:
        F: features [B, h, w, C].
        V: a direction [C] for every position, or one for each, [B, h, w, C], such as the features of the picture
            itself, of which a caricature is made.
        power: how much it matters that nothing else is there; 0 for the dot product.
    Source: the direction and caricature objectives of lucid (Olah, Mordvintsev, Schubert 2017; Olah 2018).
    """
    # Differs from Olah 2018: `--cosine_power` is 0 by default, because a caricature here starts from the photo, whose
    # cosine with itself is 1 already, and not from noise.
    if not power:
        return tf.reduce_sum(F * V, axis=-1)
    F, other = fork(F)
    dot, dot_of_cosine = fork(tf.reduce_sum(F * V, axis=-1))
    # The square is kept off 0, where the root has no gradient.
    squares = tf.maximum(tf.reduce_sum(tf.square(other), axis=-1) * tf.reduce_sum(tf.square(V), axis=-1), SILENCE ** 4)
    return dot * tf.maximum(dot_of_cosine * tf.math.rsqrt(squares), LEAST_COSINE) ** power


def guided(F: Tensor, G: Tensor) -> Tensor:
    """j_p = max_q ⟨F_p, G_q⟩: each position becomes more like what in the guide matches it best.

    Args:
        F: features [B, h, w, C].
        G: features of the guide, one a row, [positions, C].
    Source: the guided dreams of Mordvintsev, Olah, Tyka 2015 (`objective_guide` of google/deepdream).
    """
    F, other = fork(F)
    best = tf.argmax(tf.linalg.matmul(tf.stop_gradient(other), G, transpose_b=True), axis=-1)
    return tf.reduce_sum(F * tf.gather(G, best), axis=-1)


EXCITATIONS: dict[str, Callable[..., Tensor]] = {
    "layer": layer_energy, "channel": channel_activation, "neuron": neuron_activation, "direction": alignment,
    "guide": guided, "caricature": alignment}


class LayerExcitation(NamedTuple):
    """What is maximized of one layer.

    F and V are divided by `scale`, the root mean square of the layer's features on the photo, so that layers are
    comparable. `area_px` is the area of one cell, so that deep layers, which have fewer cells, count as much, and tiles
    add. `power` is that of `alignment`; the other rows have none.
    """

    name: str  # of a row of `EXCITATIONS`
    weight: float
    scale: float
    area_px: int
    border_cells: int
    power: float = 0.0


def excitation(layer: LayerExcitation, F: Tensor, V: Tensor) -> Tensor:
    """J = λ · area · Σ_p j_p over all cells but those of the border, which have seen padding.

    Args:
        F: features [1, h, w, C] as the network gives them.
        V: the second argument of the row; features are divided by `scale` already.
    Returns:
        a scalar.
    """
    if layer.name != "neuron":
        F = inside(F, layer.border_cells)
        V = inside(V, layer.border_cells) if layer.name == "caricature" else V
    row = EXCITATIONS[layer.name]
    j = row(F / layer.scale, V, layer.power) if row is alignment else row(F / layer.scale, V)
    return layer.weight * layer.area_px * tf.reduce_sum(j)


def inside(F: Tensor, border_cells: int) -> Tensor:
    """The features [B, h, w, C] without a border; at least a third of a small map is left."""
    cells = tf.shape(F)[1:3]
    border = tf.minimum(border_cells, cells // 3)
    end = cells - border
    return F[:, border[0]:end[0], border[1]:end[1]]
