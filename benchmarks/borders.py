"""The frame that padding draws: a flat picture stylized after a flat painting, its border against its middle.

    python -m benchmarks.borders --weights=squeezenet.net

Prints, for each `--padding`, how much lighter the outermost 8 pixels of each side are than the middle, and the mean of
the four: a frame is what all sides share.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.runtime import start_tensorflow

PADDINGS = ("zero", "zero:first", "replicate:first", "reflect:first", "replicate", "reflect")
PHOTO, PAINTING = (0.6, 0.5, 0.4), (0.4, 0.5, 0.6)
BORDER_PX, MIDDLE_PX = 8, 16


def frame(picture: np.ndarray) -> np.ndarray:
    """(top, bottom, left, right) minus the middle, means over the colors of [H, W, 3]."""
    light = picture.mean(axis=-1)
    border, inner = slice(0, BORDER_PX), slice(MIDDLE_PX, -MIDDLE_PX)
    sides = [light[border], light[::-1][border], light[:, border], light[:, ::-1][:, border]]
    return np.array([side.mean() for side in sides]) - light[inner, inner].mean()


def frames(backbone: str, weights: str, folder: Path, paddings: Sequence[str] = PADDINGS) -> dict[str, np.ndarray]:
    """{padding: the frame that it draws} after 25 steps of style alone."""
    paths = [str(folder / name) for name in ("photo.png", "painting.png")]
    for path, color, size in zip(paths, (PHOTO, PAINTING), ((65, 81, 3), (71, 61, 3))):
        images.save(path, np.full(size, color, np.float32))
    found = {}
    for padding in paddings:
        config = StylizeConfig(content=paths[0], style=(paths[1],), backbone=backbone, weights=weights, size=81,
                               min_size=81, steps=25, jitter=0, content_weight=0.0, precision="float32",
                               padding=padding)
        for progress in stylize(config):
            pass
        found[padding] = frame(progress.picture())
    return found


def main(argv: Sequence[str]) -> None:
    """Prints a row for each padding."""
    values = flags.FlagValues()
    flags.DEFINE_string("backbone", "squeezenet", "a row of the table", flag_values=values)
    flags.DEFINE_string("weights", "", "as for stylize.py", flag_values=values)
    values(argv)
    print(start_tensorflow())
    with tempfile.TemporaryDirectory() as folder:
        for padding, sides in frames(values.backbone, values.weights, Path(folder)).items():
            print(f"{padding:16} top, bottom, left, right {np.array2string(sides, precision=4, sign='+')}, "
                  f"mean {sides.mean():+.4f}")


if __name__ == "__main__":
    main(sys.argv)
