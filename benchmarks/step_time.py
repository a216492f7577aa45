"""Seconds of one step, beside those of TensorFlow's tutorial: VGG19, one size, random weights, in turns.

    python -m benchmarks.step_time --size=512 --rounds=9

Random weights cost what trained ones cost. Each precision is this project's whole step (three terms, every part that
TensorBoard shows, smoothed gradient, Adam, average) against the tutorial's float32 loop.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import flags

from nst_tf.config import StylizeConfig
from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import PrecisionName

ROOT = Path(__file__).resolve().parents[1]
CONTENT_LAYER, STYLE_LAYERS = "block5_conv2", tuple(f"block{block}_conv1" for block in range(1, 6))


def steppers(size_px: int) -> dict[str, Iterator[object]]:
    """{name: an iterator that makes one step each time} of the tutorial and of this project in two precisions."""
    from benchmarks.tutorial import tutorial_loss, tutorial_steps
    from nst_tf.backbones.table import BACKBONES
    from nst_tf.io import images
    from nst_tf.recipes.stylize.steps import stylize

    content, style = (str(ROOT / "samples" / name) for name in ("street.jpg", "swirls.jpg"))
    photo, painting = (images.resize(images.load(path), size_px, size_px) for path in (content, style))
    network = BACKBONES["vgg19"].build((*STYLE_LAYERS, CONTENT_LAYER), "random", 0, [])
    loss = tutorial_loss(network.model, photo, painting, CONTENT_LAYER, STYLE_LAYERS)
    names: tuple[PrecisionName, ...] = ("float32", "bfloat16")
    square = ROOT / "out/square.png"
    images.save(square, photo)
    config = StylizeConfig(content=str(square), style=(style,), weights="random", size=size_px, min_size=size_px,
                           steps=10**6)
    return {"tutorial": tutorial_steps(loss, photo),
            **{name: stylize(replace(config, precision=name)) for name in names}}


def main(argv: Sequence[str]) -> None:
    """Prints the median seconds of a step, and its ratio to the tutorial's in the same round with least and largest."""
    values = flags.FlagValues()
    flags.DEFINE_integer("size", 512, "side of the square picture in px", flag_values=values)
    flags.DEFINE_integer("rounds", 9, "steps of each", flag_values=values)
    values(argv)
    print(start_tensorflow())
    runs = steppers(values.size)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(values.rounds + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            next(run)
            if round_ > 1:
                seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        ratios = np.array(times) / np.array(seconds["tutorial"])
        print(f"{name:9} {np.median(times):.3f} s a step, {np.median(ratios):.2f} of the tutorial's "
              f"({ratios.min():.2f} … {ratios.max():.2f})")


if __name__ == "__main__":
    main(sys.argv)
