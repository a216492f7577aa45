"""The layers of SqueezeNet v1.0 (Iandola et al. 2016) as a table. No TensorFlow."""

from collections.abc import Iterator

from nst_tf.backbones.facts import Operation, trace

# (squeeze, expand) filters of fire2 … fire9; a fire's output has expand channels of 1×1 and as many of 3×3.
FIRES = {f"fire{index}": filters for index, filters in enumerate(
    ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)), start=2)}
POOL_AFTER = ("conv1", "fire4", "fire8")

# Caffe's mean color, RGB.
MEAN_RGB_255 = (123.0, 117.0, 104.0)
MEAN_COLOR = (123 / 255, 117 / 255, 104 / 255)


def _chain() -> Iterator[Operation]:
    """The widest path: of a fire's two expands, the 3×3 one decides the receptive field."""
    yield Operation("conv1", 7, 2, 3, 96)
    for name, (_, expand) in FIRES.items():
        if f"fire{int(name[4:]) - 1}" in POOL_AFTER or name == "fire2":
            yield Operation("", 3, 2, 1, 0)
        yield Operation(name, 3, 1, 1, 2 * expand)


SQUEEZENET_LAYERS = trace(_chain())
