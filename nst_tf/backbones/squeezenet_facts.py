"""The layers of SqueezeNet v1.0 and v1.1 (Iandola et al. 2016) as tables. No TensorFlow."""

from collections.abc import Iterator
from typing import NamedTuple

from nst_tf.backbones.facts import Operation, trace

# (squeeze, expand) filters of fire2 … fire9; a fire's output has expand channels of 1×1 and as many of 3×3.
FIRES = {f"fire{index}": filters for index, filters in enumerate(
    ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)), start=2)}


class Version(NamedTuple):
    """What the two versions do differently: the first convolution, and after which layers they pool (3×3, stride 2)."""

    filters: int
    kernel_px: int
    pool_after: tuple[str, ...]


VERSIONS = {"squeezenet": Version(96, 7, ("conv1", "fire4", "fire8")),
            "squeezenet1_1": Version(64, 3, ("conv1", "fire3", "fire5"))}


def _operations(version: Version) -> Iterator[Operation]:
    """The widest path: of a fire's two expands, the 3×3 one decides the receptive field."""
    before = "conv1"
    yield Operation(before, version.kernel_px, 2, version.kernel_px // 2, version.filters, "same")
    for name, (_, expand) in FIRES.items():
        if before in version.pool_after:
            yield Operation("", 3, 2, 1, 0, "same")
        yield Operation(name, 3, 1, 1, 2 * expand, "same")
        before = name


SQUEEZENET = {name: tuple(_operations(version)) for name, version in VERSIONS.items()}
SQUEEZENET_LAYERS = {name: trace(operations) for name, operations in SQUEEZENET.items()}
