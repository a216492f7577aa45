"""Dreams of used and of unused units: one contact sheet, and how far the other terms let the units rise.

    python -m benchmarks.dream_terms --weights=squeezenet.net --output=docs/images/dream_style.jpg

For each --dream the mean activation of its units, in units of the layer's mean activation on photo and painting: in the
photo, in the picture without the dream and in the one with it; and style and content distance without and with it.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, contact_sheet
from nst_tf.io.images import FloatImage
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.runtime import start_tensorflow

ROOT = Path(__file__).resolve().parents[1]

TILE_PX = (300, 200)


class Measured(NamedTuple):
    """What is measured of a picture."""

    activation: float  # of the units, over ā
    style: float
    content: float


def main(argv: Sequence[str]) -> None:
    """Writes the sheet and prints one row for each dream."""
    values = _flags(argv)
    print(start_tensorflow())
    from nst_tf.recipes.stylize.steps import stylize

    base = StylizeConfig(content=values.content, style=(values.style,), backbone=values.backbone,
                         weights=values.weights, size=values.size, steps=values.steps)
    photo = images.load(values.content, max_side_px=values.size)
    *_, last = stylize(base)
    plain = last.picture()
    tiles = [Tile(plain, ("without dream",))]
    print("| `--dream` | units | photo | without | with | factor | style without, with | content without, with |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- |")
    for text in values.dream:
        config = dataclasses.replace(base, dream=(text,), dream_weight=values.dream_weight)
        picture, units, of = measured(config, {"photo": photo, "without": plain})
        print(f"| `{text}` | {'+'.join(map(str, units))} | {of['photo'].activation:.3f} | "
              f"{of['without'].activation:.3f} | {of['with'].activation:.3f} | "
              f"{of['with'].activation / of['without'].activation:.1f} | "
              f"{of['without'].style:.4f}, {of['with'].style:.4f} | "
              f"{of['without'].content:.3f}, {of['with'].content:.3f} |", flush=True)
        tiles.append(Tile(picture, (f"--dream={text}",)))
    images.save(values.output, contact_sheet([tiles[index] for index in (0, *map(int, values.shown))], TILE_PX))


def measured(config: StylizeConfig, pictures: Mapping[str, FloatImage]
             ) -> tuple[FloatImage, tuple[int, ...], dict[str, Measured]]:
    """The picture of a config with one dream layer, its units, and what is measured of it (`with`) and of others."""
    import tensorflow as tf

    from nst_tf.losses.dream import activation
    from nst_tf.recipes.stylize.stage import stage_losses
    from nst_tf.recipes.stylize.steps import set_up, stylize

    plan = resolve(config)
    setup = set_up(config, plan)
    *_, last = stylize(config, plan=plan, setup=setup)
    measure = stage_losses(config, plan, setup, len(plan.stages) - 1)
    (layer, channels, _), = setup.decided.objective.dream_layers
    photo, painting = (np.mean(activation(setup.fitted(picture[None])[layer]))
                       for picture in setup.inputs.measured())

    def of(picture: FloatImage) -> Measured:
        losses = measure(tf.constant(picture[np.newaxis]), tf.zeros([2], tf.int32))
        response = activation(setup.fitted(picture[np.newaxis])[layer]).numpy()[list(channels.indices)]
        return Measured(float(np.mean(response) / np.mean([photo, painting])), float(losses["loss/style"]),
                        float(losses["loss/content"]))

    final = last.picture()
    return final, channels.indices, {name: of(picture) for name, picture in {**pictures, "with": final}.items()}


def _flags(argv: Sequence[str]) -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("content", str(ROOT / "samples/coast.jpg"), "the photo", flag_values=values)
    flags.DEFINE_string("style", str(ROOT / "samples/swirls.jpg"), "the painting", flag_values=values)
    flags.DEFINE_string("backbone", "squeezenet", "network of all runs", flag_values=values)
    flags.DEFINE_string("weights", "", "its weights", flag_values=values)
    flags.DEFINE_integer("size", 384, "long side in pixels", flag_values=values)
    flags.DEFINE_integer("steps", 250, "steps of each run", flag_values=values)
    flags.DEFINE_list("dream", "fire8:strong:5,fire8:weak:5,fire9:unused:5,fire5:unused:5", "one layer for each run",
                      flag_values=values)
    flags.DEFINE_float("dream_weight", None, "weight of the dream term", flag_values=values)
    flags.DEFINE_list("shown", "1,3,4", "the dreams of the sheet, from 1", flag_values=values)
    flags.DEFINE_string("output", "out/dream_style.png", "the sheet", flag_values=values)
    values(argv)
    return values


if __name__ == "__main__":
    main(sys.argv)
