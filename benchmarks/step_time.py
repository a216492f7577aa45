"""Seconds of one step beside those of other loops: VGG19, one size, random weights, in turns.

    python -m benchmarks.step_time --size=512 --rounds=7

The others are the loop of TensorFlow's tutorial in float32 and, where torch is installed, a channels-last loop in
PyTorch, in both precisions. Random weights cost what trained ones cost. Each precision of this project is its whole
step (three terms, every part that TensorBoard shows, smoothed gradient, Adam, average).
"""

import contextlib
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.step_ratio import Problem, Process
from nst_tf.config import StylizeConfig
from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import PrecisionName

ROOT = Path(__file__).resolve().parents[1]
TORCH_LOOP = Path(__file__).with_name("torch_loop.py")
CONTENT_LAYER, STYLE_LAYERS = "block5_conv2", tuple(f"block{block}_conv1" for block in range(1, 6))
WARM_UP_STEPS = 2


def steppers(size_px: int, folder: Path) -> dict[str, Iterator[object]]:
    """{name: an iterator that makes one step each time} of the tutorial and of this project in two precisions.

    The photo and the painting, both square, are written into the folder.
    """
    from benchmarks.tutorial import tutorial_loss, tutorial_steps
    from nst_tf.backbones.table import BACKBONES
    from nst_tf.io import images
    from nst_tf.recipes.stylize.steps import stylize

    content, style = (str(ROOT / "samples" / name) for name in ("street.jpg", "swirls.jpg"))
    photo, painting = (images.resize(images.load(path), size_px, size_px) for path in (content, style))
    network = BACKBONES["vgg19"].build((*STYLE_LAYERS, CONTENT_LAYER), "random", 0, [])
    loss = tutorial_loss(network.model, photo, painting, CONTENT_LAYER, STYLE_LAYERS)
    names: tuple[PrecisionName, ...] = ("float32", "bfloat16")
    for name, picture in (("photo", photo), ("painting", painting)):
        images.save(folder / f"{name}.png", picture)
    config = StylizeConfig(content=str(folder / "photo.png"), style=(style,), weights="random", size=size_px,
                           min_size=size_px, steps=10**6)
    return {"tutorial, float32": tutorial_steps(loss, photo),
            **{f"nst_tf, {name}": stylize(replace(config, precision=name)) for name in names}}


def torch_processes(folder: Path) -> dict[str, Process]:
    """{name: a process of the PyTorch loop}; none where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return {}
    pictures = {"content": str(folder / "photo.png"), "style": str(folder / "painting.png")}
    return {f"PyTorch, {name}": Process([sys.executable, TORCH_LOOP, json.dumps(pictures | {"precision": name})])
            for name in ("float32", "bfloat16")}


def in_turns(timers: dict[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """{name: the seconds of a step in each round}, the first rounds left out."""
    found = [[timer() for timer in timers.values()] for _ in range(WARM_UP_STEPS + rounds)]
    return dict(zip(timers, np.array(found[WARM_UP_STEPS:]).T))


def row(name: str, seconds: np.ndarray, tutorial: np.ndarray) -> str:
    """The table's row: the median, and the ratio to the tutorial's in the same round with least and largest."""
    ratios = seconds / tutorial
    return (f"| {name} | {np.median(seconds):.3f} | {np.median(ratios):.2f} | "
            f"{ratios.min():.2f} … {ratios.max():.2f} |")


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """A process that fails ends this one with one line."""
    try:
        yield
    except Problem as problem:
        print(f"step_time: {problem}", file=sys.stderr)
        sys.exit(2)


def main(argv: Sequence[str]) -> None:
    """Prints a row for each loop."""
    values = flags.FlagValues()
    flags.DEFINE_integer("size", 512, "side of the square picture in px", flag_values=values)
    flags.DEFINE_integer("rounds", 9, "steps of each", flag_values=values)
    values(argv)
    print(start_tensorflow())

    def timer(run: Iterator[object]) -> Callable[[], float]:
        def seconds() -> float:
            start = time.perf_counter()
            next(run)
            return time.perf_counter() - start
        return seconds

    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as open_, one_line():
        timers = {name: timer(run) for name, run in steppers(values.size, Path(name)).items()}
        for loop, process in torch_processes(Path(name)).items():
            print(f"PyTorch {open_.enter_context(contextlib.closing(process)).answer()}")
            timers[loop] = process.ask
        seconds = in_turns(timers, values.rounds)
    print("| step | seconds | ratio to the tutorial | single rounds |\n| --- | ---: | ---: | --- |")
    for name, times in seconds.items():
        print(row(name, times, next(iter(seconds.values()))))
    if not any(name.startswith("PyTorch") for name in seconds):
        print("\ntorch is not installed: the rows of PyTorch are left out")


if __name__ == "__main__":
    main(sys.argv)
