"""What one control does: the same picture with each value of one flag, side by side, with J of its parts.

    python benchmarks/controls.py --flag=pooling --values=max,average,l2 --output=docs/images/pooling.jpg

Every tile is one stylize.py command with `--FLAG=VALUE`; content and style are those of the run's last step.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nst_tf.config import StylizeConfig  # noqa: E402
from nst_tf.io import images  # noqa: E402
from nst_tf.io.contact_sheet import Tile, contact_sheet  # noqa: E402
from nst_tf.runtime import start_tensorflow  # noqa: E402
from nst_tf.vocabulary import check_name  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
TILE_PX = (384, 256)


def typed(flag: str, text: str) -> Any:
    """The text of a flag as its field in the config holds it."""
    kinds = {field.name: str(field.type) for field in fields(StylizeConfig)}
    kind = kinds[check_name("--flag", flag, kinds)]
    number = int if "int" in kind else float if "float" in kind else str
    return (number(text),) if "tuple" in kind else number(text)


def main(argv: Sequence[str]) -> None:
    """Prints a row for each value and writes the sheet."""
    values = flags.FlagValues()
    flags.DEFINE_string("flag", "statistic", "the control", flag_values=values)
    flags.DEFINE_list("values", [], "its values", flag_values=values)
    flags.DEFINE_string("content", str(ROOT / "samples/coast.jpg"), "the photo", flag_values=values)
    flags.DEFINE_string("style", str(ROOT / "samples/swirls.jpg"), "the painting", flag_values=values)
    flags.DEFINE_string("backbone", "kmeans", "network of all runs", flag_values=values)
    flags.DEFINE_string("weights", "", "its weights", flag_values=values)
    flags.DEFINE_integer("size", 384, "long side in pixels", flag_values=values)
    flags.DEFINE_string("output", "out/control.jpg", "the sheet", flag_values=values)
    values(argv)
    print(start_tensorflow())
    from nst_tf.recipes.stylize import stylize

    base = StylizeConfig(content=values.content, style=(values.style,), backbone=values.backbone,
                         weights=values.weights, size=values.size)
    tiles = []
    print(f"| --{values.flag} | content | style | seconds |\n| --- | --- | --- | --- |")
    for text in values.values:
        start = time.monotonic()
        *_, last = stylize(replace(base, **{values.flag: typed(values.flag, text)}))
        content, style = (float(last.losses[f"loss/{term}"]) for term in ("content", "style"))
        print(f"| `{text}` | {content:.3f} | {style:.4f} | {time.monotonic() - start:.0f} |", flush=True)
        tiles.append(Tile(last.picture(), (f"--{values.flag}={text}",)))
    images.save(values.output, contact_sheet(tiles, TILE_PX))


if __name__ == "__main__":
    main(sys.argv)
