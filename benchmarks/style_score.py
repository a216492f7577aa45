"""How much of a style a picture has, and how much of its content is left, in the eyes of a real SqueezeNet.

    python -m benchmarks.style_score --output=out.png --content=photo.jpg --style=painting.jpg

Style score 1 = as far from the style as the untouched photo, 0 = the style's own Gram matrices; lower is better.
Content distance 0 = the photo. No optimizer of this repository sees this network, so it can judge them all.
"""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from nst_tf.backbones.weights.deep_compression import read_deep_compression
from nst_tf.losses.score import Scores, score
from nst_tf.vocabulary import UserError

STYLE_LAYERS = ("conv1", "fire2", "fire4", "fire6", "fire8")
CONTENT_LAYER = "fire7"
DEFAULT_WEIGHTS = Path(__file__).resolve().parents[2] / "shared/weights/squeezenet_v1.0_deep_compressed.net"
SMALLEST_SIDE_PX = 32


def package_pictures() -> Path:
    """The folder of pictures that scikit-image's package carries.

    Raises:
        UserError: it is not installed.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UserError("scikit-image, which has some of the pictures, is missing: pip install -e '.[benchmarks]'")
    return Path(spec.origin).parent / "data"


def measure(weights: Mapping[str, Sequence[np.ndarray]], output: np.ndarray, content: np.ndarray,
            style: np.ndarray) -> Scores:
    """The style score and content distance of float32 pictures [H, W, 3] in [0, 1]; output and content the same size.

    Returns:
        `Scores(style distance of the output / that of the content photo, content distance of the output)`.
    """
    from benchmarks.squeezenet import activations

    def features(picture: np.ndarray) -> dict[str, np.ndarray]:
        layers = activations(weights, picture[None].astype(np.float32), deepest=STYLE_LAYERS[-1])
        return {name: np.asarray(values, np.float64) for name, values in layers.items()}

    return score(features(output), features(content), [features(style)], (1.0,), STYLE_LAYERS, (CONTENT_LAYER,))


def measure_files(weights: Mapping[str, Sequence[np.ndarray]], output: Path, content: Path, style: Path) -> Scores:
    """`measure` for the files of `read_pictures`."""
    return measure(weights, *read_pictures(output, content, style))


def read_pictures(output: Path, content: Path, style: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a judge compares: the content resized to the output's size, the style to its long side (Lanczos)."""
    result, painting = _picture(output), _picture(style)
    scale = max(result.size) / max(painting.size)
    size = (max(1, round(painting.width * scale)), max(1, round(painting.height * scale)))
    for what, path, (width, height) in (("output", output, result.size), ("resized style", style, size)):
        if min(width, height) < SMALLEST_SIDE_PX:
            raise UserError(f"{what} '{path}' is {width}x{height} px: at least {SMALLEST_SIDE_PX} px a side are needed")
    return _values(result), _values(_picture(content), result.size), _values(painting, size)


def _values(picture: Image.Image, size: tuple[int, int] | None = None) -> np.ndarray:
    """float32 [H, W, 3] in [0, 1]."""
    return np.asarray(picture.resize(size or picture.size, Image.Resampling.LANCZOS), np.float32) / 255


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        raise UserError(f"picture '{path}' cannot be read: give an image file") from None


def main(argv: Sequence[str]) -> None:
    """Prints both numbers, or one line on stderr and status 2."""
    values = flags.FlagValues()
    flags.DEFINE_string("output", None, "the stylized picture, taken as it is", flag_values=values, required=True)
    flags.DEFINE_string("content", None, "the photo it was made from", flag_values=values, required=True)
    flags.DEFINE_string("style", None, "the painting", flag_values=values, required=True)
    flags.DEFINE_string("weights", str(DEFAULT_WEIGHTS), "SqueezeNet v1.0's .net file", flag_values=values)
    try:
        for stray in values(argv)[1:]:
            raise UserError(f"'{stray}' is not a flag: write --output=FILE --content=FILE --style=FILE")
        weights = read_deep_compression(values.weights)
        scores = measure_files(weights, *(Path(path) for path in (values.output, values.content, values.style)))
    except (UserError, flags.Error) as error:
        print(*str(error).split(), file=sys.stderr)
        sys.exit(2)
    print(f"style score {scores.style:.4f}  content distance {scores.content:.4f}")


if __name__ == "__main__":
    main(sys.argv)
