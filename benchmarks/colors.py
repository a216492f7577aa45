"""What each --color does with the same pictures: one contact sheet, and how far each result is from the photo.

    python -m benchmarks.colors --backbone=squeezenet --weights=squeezenet.net --output=docs/images/color.jpg

Printed is the root mean square of the distance to the photo's a and b in Oklab, and the seconds of the whole run.
"""

import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from benchmarks.controls import define_base, last_steps
from nst_tf.io import color, images
from nst_tf.io.contact_sheet import Tile, contact_sheet
from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import ColorName, names

TILE_PX = (256, 205)


def main(argv: Sequence[str]) -> None:
    """Writes the sheet and prints one row for each mode."""
    values = flags.FlagValues()
    define_base(values, 320, "out/color.png")
    values(argv)
    print(start_tensorflow())
    photo = images.load(values.content, max_side_px=values.size)
    style = images.load(values.style, max_side_px=values.size)
    tiles = [Tile(photo, ("photo",)), Tile(style, ("style",))]
    print("| --color | distance to the photo's a, b | seconds |\n| --- | --- | --- |")
    for mode, last, seconds in last_steps(values, "color", names(ColorName)):
        distance = np.linalg.norm(color.oklab(last.picture())[..., 1:] - color.oklab(photo)[..., 1:], axis=-1)
        print(f"| `{mode}` | {np.sqrt(np.mean(distance ** 2)):.3f} | {seconds:.0f} |", flush=True)
        tiles.append(Tile(last.picture(), (f"--color={mode}",)))
    images.save(values.output, contact_sheet(tiles, TILE_PX))


if __name__ == "__main__":
    main(sys.argv)
