"""Activations that dreams (of whole layers) and synthesized pictures (of single units) maximize.

A dream sums over the positions of a picture how much there is of what is wanted; each synthesized picture has a unit of
its own, and a term keeps several pictures of one unit apart.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from nst_tf.losses.moments import gram_sum
from nst_tf.tensors import Tensor, fork, with_gradient

# A cosine below this counts as this, so that positions that point elsewhere still feel the dot product.
LEAST_COSINE = 0.1
# Below it a position of a dream (in units of its layer's root mean square) or a unit (of order 1 to 1000) is silent.
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


def weighted_channels(F: Tensor, v: Tensor) -> Tensor:
    """j_p = Σ_c v_c F_pc; arguments as `layer_energy`."""
    return tf.linalg.matvec(F, v)


def weighted_middle(F: Tensor, v: Tensor) -> Tensor:
    """j = Σ_c v_c F_c of the cell in the middle, [B, 1, 1]; arguments as `layer_energy`."""
    row, column = tf.shape(F)[1] // 2, tf.shape(F)[2] // 2
    return tf.linalg.matvec(F[:, row:row + 1, column:column + 1], v)


def alignment(F: Tensor, V: Tensor, power: float = 0.0) -> Tensor:
    """j_p = ⟨F_p, V_p⟩ · max(cos(F_p, V_p), 0.1)^power: more of a direction, and less of all else.

    Args:
        F: features [B, h, w, C].
        V: a direction [C] for every position, or one for each, [B, h, w, C]. A caricature takes the features of the
            picture itself.
        power: how much all other directions count against a position; 0 for the dot product.
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
    """j_p = max_q ⟨F_p, G_q⟩: each position becomes more like the position of the guide that matches it best.

    Args:
        F: features [B, h, w, C].
        G: features of the guide, one a row, [positions, C].
    Source: the guided dreams of Mordvintsev, Olah, Tyka 2015 (`objective_guide` of google/deepdream).
    """
    F, other = fork(F)
    best = tf.argmax(tf.linalg.matmul(tf.stop_gradient(other), G, transpose_b=True), axis=-1)
    return tf.reduce_sum(F * tf.gather(G, best), axis=-1)


EXCITATIONS: dict[str, Callable[..., Tensor]] = {
    "layer": layer_energy, "channel": weighted_channels, "neuron": weighted_middle, "direction": alignment,
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


def mean_of_channel(F: Tensor, channels: Tensor) -> Tensor:
    """a_b = mean over positions of F_{b,·,c_b}: the whole map of one channel for each picture.

    Args:
        F: features [B, h, w, C].
        channels: int32 [B], c.
    Returns:
        [B].
    Source: the channel objective of Olah, Mordvintsev, Schubert 2017.
    """
    return tf.reduce_mean(_chosen(F, channels), axis=[1, 2])


def middle_of_channel(F: Tensor, channels: Tensor) -> Tensor:
    """a_b = F_{b,⌊h/2⌋,⌊w/2⌋,c_b}: the cell in the middle of the map; arguments as `mean_of_channel`."""
    shape = tf.shape(F)
    return _chosen(F, channels)[:, shape[1] // 2, shape[2] // 2]


UNIT_ACTIVATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "channel": mean_of_channel, "neuron": middle_of_channel}


def likeness(F: Tensor, pictures: int) -> Tensor:
    """Mean over the pairs a ≠ b of one unit's pictures of ⟨G_a, G_b⟩ / (‖G_a‖‖G_b‖), G the Gram matrices.

    Args:
        F: features [U · N, h, w, C] of U units with N = `pictures` each, those of a unit side by side; N ≥ 2.
    Returns:
        [U], in [−1, 1]; 1 where all pictures of a unit have the same texture.
    Source: the diversity term of Olah, Mordvintsev, Schubert 2017.
    """
    G = gram_sum(F)
    flat = tf.reshape(G, [-1, pictures, G.shape[-1] ** 2])
    cosines = _self_products(tf.math.l2_normalize(flat, axis=-1, epsilon=SILENCE ** 2))
    return (tf.reduce_sum(cosines, axis=[1, 2]) - tf.linalg.trace(cosines)) / (pictures * (pictures - 1))


def unit_loss(F: Tensor, channels: Tensor, objective: str, pictures: int, diversity_weight: float,
              is_signed: bool = False) -> Tensor:
    """J = − Σ_b log a_b + γ N Σ_u likeness_u; asinh a_b in place of the logarithm where a may be below 0.

    The logarithm only makes units of any strength comparable with the other term: its gradient is that of a, over a.

    Args:
        F: features [U · N, h, w, C].
        channels: int32 [U · N].
        objective: a name of `UNIT_ACTIVATIONS`.
        pictures: N.
        diversity_weight: γ ≥ 0; without effect where N is 1.
        is_signed: whether the layer has no ReLU.
    Returns:
        a scalar; no picture's gradient depends on another unit's.
    """
    def rise(F: Tensor) -> Tensor:
        a = UNIT_ACTIVATIONS[objective](F, channels)
        return tf.reduce_sum(tf.math.asinh(a) if is_signed else tf.math.log(a + SILENCE))

    if pictures == 1 or not diversity_weight:
        return -rise(F)
    F, other = fork(F)
    return diversity_weight * pictures * tf.reduce_sum(likeness(other, pictures)) - rise(F)


def _chosen(F: Tensor, channels: Tensor) -> Tensor:
    """[B, h, w]: one channel of each picture, as a product, whose gradient is summed in a fixed order."""
    return tf.einsum("bhwc,bc->bhw", F, tf.one_hot(channels, F.shape[-1], dtype=F.dtype))


def _products_gradient(inputs: list[Tensor], _: list[Tensor], D: Tensor) -> tuple[Tensor]:
    (x,) = inputs
    return (tf.matmul(D + tf.linalg.matrix_transpose(D), x),)


@with_gradient(_products_gradient)
def _self_products(x: Tensor) -> Tensor:
    """x xᵀ with one contribution to the gradient of x instead of two (see `fork`)."""
    return tf.matmul(x, x, transpose_b=True)
