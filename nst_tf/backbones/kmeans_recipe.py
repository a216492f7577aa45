"""The recipe of the embedded network and the facts that follow from it. No TensorFlow."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nst_tf.backbones.facts import Operation, trace


# Filters are learned from pictures of up to this long side, at several sizes.
LEARNING_SIDE_PX = 512


class LayerRecipe(NamedTuple):
    """One layer: halve the size or not, then convolve to at most `filters` channels, then ReLU.

    `components` is how many whitened principal components of a patch the filters are clustered in.
    """

    name: str
    kernel_px: int
    filters: int
    pool_before: bool
    components: int


RECIPE = (
    LayerRecipe("conv1", kernel_px=5, filters=64, pool_before=False, components=60),
    LayerRecipe("conv2", kernel_px=3, filters=96, pool_before=True, components=200),
    LayerRecipe("conv3", kernel_px=3, filters=128, pool_before=True, components=256),
    LayerRecipe("conv4", kernel_px=3, filters=192, pool_before=True, components=256),
    LayerRecipe("conv5", kernel_px=3, filters=256, pool_before=True, components=384),
)


def operations(recipe: Sequence[LayerRecipe]) -> Iterator[Operation]:
    """The operations of a recipe: a binomial pooling of 3 px where a layer halves the size, then its convolution."""
    channels = 3
    for layer in recipe:
        if layer.pool_before:
            yield Operation("", 3, 2, 1, channels, "reflect")
        channels = layer.filters
        yield Operation(layer.name, layer.kernel_px, 1, layer.kernel_px // 2, channels, "reflect")


KMEANS = tuple(operations(RECIPE))
KMEANS_LAYERS = trace(KMEANS)
