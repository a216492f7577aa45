"""What one control does: the same picture with each value of one flag, side by side, with J of its parts.

    python -m benchmarks.controls --flag=pooling --values=max,average,l2 --output=docs/images/pooling.jpg

Every tile is one stylize.py command with `--FLAG=VALUE`; content and style are those of the run's last step.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from absl import flags

from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, contact_sheet
from nst_tf.runs.progress import Progress
from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import check_name

ROOT = Path(__file__).resolve().parents[1]
TILE_PX = (384, 256)


def typed(flag: str, text: str) -> Any:
    """The text of a flag as its field in the config holds it."""
    kinds = {field.name: str(field.type) for field in fields(StylizeConfig)}
    kind = kinds[check_name("--flag", flag, kinds)]
    number = int if "int" in kind else float if "float" in kind and not text.endswith("px") else str
    return (number(text),) if "tuple" in kind else number(text)


def define_base(values: flags.FlagValues, size: int, output: str) -> None:
    """Defines what all runs of a sheet share, and where the sheet goes."""
    flags.DEFINE_string("content", str(ROOT / "samples/coast.jpg"), "the photo", flag_values=values)
    flags.DEFINE_string("style", str(ROOT / "samples/swirls.jpg"), "the painting", flag_values=values)
    flags.DEFINE_string("backbone", "kmeans", "network of all runs", flag_values=values)
    flags.DEFINE_string("weights", "", "its weights", flag_values=values)
    flags.DEFINE_integer("size", size, "long side in pixels", flag_values=values)
    flags.DEFINE_string("output", output, "the sheet", flag_values=values)


def last_steps(values: flags.FlagValues, flag: str, texts: Sequence[str]) -> Iterator[tuple[str, Progress, float]]:
    """(value, last step, seconds) of a whole run with each value of a flag."""
    from nst_tf.recipes.stylize.steps import stylize

    base = StylizeConfig(content=values.content, style=(values.style,), backbone=values.backbone,
                         weights=values.weights, size=values.size)
    for text in texts:
        start = time.monotonic()
        *_, last = stylize(replace(base, **{flag: typed(flag, text)}))
        yield text, last, time.monotonic() - start


def main(argv: Sequence[str]) -> None:
    """Prints a row for each value and writes the sheet."""
    values = flags.FlagValues()
    flags.DEFINE_string("flag", "statistic", "the control", flag_values=values)
    flags.DEFINE_list("values", [], "its values", flag_values=values)
    define_base(values, 384, "out/control.jpg")
    values(argv)
    print(start_tensorflow())
    tiles = []
    print(f"| --{values.flag} | content | style | seconds |\n| --- | --- | --- | --- |")
    for text, last, seconds in last_steps(values, values.flag, values.values):
        content, style = (float(last.losses[f"loss/{term}"]) for term in ("content", "style"))
        print(f"| `{text}` | {content:.3f} | {style:.4f} | {seconds:.0f} |", flush=True)
        tiles.append(Tile(last.picture(), (f"--{values.flag}={text}",)))
    images.save(values.output, contact_sheet(tiles, TILE_PX))


if __name__ == "__main__":
    main(sys.argv)
