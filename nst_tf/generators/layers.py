"""The layers of a generator as data: what stands where, how large the network is, how far it sees. No TensorFlow."""

from collections.abc import Iterator
from typing import NamedTuple

COLORS = 3
# How many times the picture's side is halved inside the network.
HALVINGS = 2
# The least side of a photo: the last halves need a neighbor for their mirrored border.
SMALLEST_PX = 8


class Convolution(NamedTuple):
    """A convolution with mirrored borders, after which each style has its own scale and shift of every channel.

    `stride` 2 halves the sides; `doubles` doubles them before, by repeating pixels. The last one gives colors.
    """

    name: str
    side_px: int
    inputs: int
    channels: int
    stride: int = 1
    doubles: bool = False
    is_last: bool = False

    @property
    def kernel(self) -> tuple[int, int, int, int]:
        """The shape of its kernel."""
        return self.side_px, self.side_px, self.inputs, self.channels


class Residual(NamedTuple):
    """x + second(first(x)); the second one has no ReLU."""

    first: Convolution
    second: Convolution


Layer = Convolution | Residual


def layers(width: int = 16, residuals: int = 5) -> tuple[Layer, ...]:
    """The generator with `width` channels at the picture's own size, twice and four times as many at its halves.

    Source: Johnson, Alahi, Fei-Fei 2016 (supplement), with half of their channels; enlarged by repeated pixels instead
        of strides (Odena, Dumoulin, Olah 2016), against checkerboards.
    """
    one, two, four = width, 2 * width, 4 * width
    return (
        Convolution("fine", 9, COLORS, one),
        Convolution("half", 3, one, two, stride=2),
        Convolution("quarter", 3, two, four, stride=2),
        *(Residual(Convolution(f"residual{k}_1", 3, four, four), Convolution(f"residual{k}_2", 3, four, four))
          for k in range(1, residuals + 1)),
        Convolution("half_again", 3, four, two, doubles=True),
        Convolution("fine_again", 3, two, one, doubles=True),
        Convolution("colors", 9, one, COLORS, is_last=True))


def convolutions(network: tuple[Layer, ...]) -> Iterator[Convolution]:
    """All convolutions in their order."""
    for layer in network:
        yield from layer if isinstance(layer, Residual) else (layer,)


def reach_px(network: tuple[Layer, ...]) -> int:
    """How many pixels away from a pixel of the output, at most, a pixel of the photo counts; moments aside.

    A convolution adds (side − 1) / 2 cells of its input. Pixel j of a doubled map is pixel ⌊j / 2⌋ of the
    smaller one, which moves it by at most one.
    """
    reach, cell_px = 0, 1
    for convolution in convolutions(network):
        if convolution.doubles:
            cell_px //= 2
            reach += cell_px
        reach += (convolution.side_px - 1) // 2 * cell_px
        cell_px *= convolution.stride
    return reach


def parameters(network: tuple[Layer, ...], styles: int) -> int:
    """How many numbers the network holds."""
    return sum(convolution.side_px ** 2 * convolution.inputs * convolution.channels
               + styles * convolution.channels * (1 if convolution.is_last else 2)
               for convolution in convolutions(network))
