"""J in float32 against seconds: TensorFlow's tutorial loop, and this project's defaults with more and more steps.

    python -m benchmarks.quality --weights=squeezenet.net --plot=docs/images/quality.png --sheet=docs/images/quality.jpg

Both minimize the same J (default terms and weights) on the same network, the published SqueezeNet, from the same photo.
The tutorial's loop has one size, float32, Adam at 0.02 and no smoothing of any kind. Its moments' decay and ε are
those of Keras: the tutorial's own (0.99 and 0.1) fit a cost of 1e6, and are far slower on a J of 0.1. Seconds include
tracing and leave out reading files and building the network.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.embedded_default import PAIRS, pair_config
from benchmarks.objective import float32_objective, stage_losses
from benchmarks.style_score import DEFAULT_WEIGHTS
from benchmarks.tutorial import tutorial_steps
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, contact_sheet
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.steps import set_up, stylize
from nst_tf.runtime import start_tensorflow

TUTORIAL_STEPS = (25, 50, 100, 200, 350, 500)

Curve = list[tuple[int, float, float]]  # (steps, seconds, J)


def tutorial_on(config: StylizeConfig) -> Iterator[np.ndarray]:
    """Steps of the tutorial's loop on the J of a config; yields the image [1, H, W, 3] after each."""
    config = replace(config, precision="float32", min_size=config.long_side_px)
    plan = resolve(config)
    setup = set_up(config, plan)
    measure = stage_losses(config, plan, setup, stage=0)
    photo, *_ = setup.inputs.measured()
    content = images.resize(photo, *plan.stage_size_px(0))
    return tutorial_steps(lambda x: measure(x, np.zeros(2, np.int32))["loss/total"], content, 0.9, 1e-7)


def tutorial_curve(config: StylizeConfig) -> tuple[Curve, np.ndarray]:
    """The tutorial's loop on the J of a config, and its last picture."""
    steps = tutorial_on(config)
    evaluate, curve = float32_objective(replace(config, min_size=config.long_side_px)), []
    seconds, start = 0.0, time.perf_counter()
    for step, image in enumerate(steps, 1):
        if step in TUTORIAL_STEPS:
            seconds += time.perf_counter() - start
            curve.append((step, seconds, evaluate(image[0])))
            start = time.perf_counter()
        if step == TUTORIAL_STEPS[-1]:
            return curve, image[0]
    raise AssertionError("the loop never ends by itself")


def default_curve(config: StylizeConfig, steps: Sequence[int], enough: float) -> tuple[Curve, np.ndarray]:
    """A whole run of the defaults for each number of steps, until one reaches `enough`; and the last picture."""
    evaluate, curve = float32_objective(config), []
    for count in steps:
        # A network of its own for each: another one would have the steps compiled already.
        setup = set_up(config, resolve(config))
        longer = replace(config, steps=count)
        start, plan = time.perf_counter(), resolve(longer)
        decided = setup.decided._replace(stages=plan.stages)
        for progress in stylize(longer, plan=plan, setup=setup._replace(decided=decided)):
            pass
        picture = progress.picture()
        curve.append((count, time.perf_counter() - start, evaluate(picture)))
        if curve[-1][2] <= enough:
            break
    return curve, picture


def reached(curve: Curve, objective: float) -> float:
    """Seconds at which a curve is as low as `objective`, log-linear between its points; infinite where it never is."""
    for (_, before, high), (_, after, low) in zip(curve, curve[1:]):
        if low <= objective <= high:
            share = (high - objective) / (high - low)
            return float(np.exp(np.log(before) + share * np.log(after / before)))
    return curve[0][1] if curve[0][2] <= objective else float("inf")


def plot(curves: dict[str, dict[str, Curve]], path: str) -> None:
    """J against seconds, one panel for each pair, both logarithmic."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, panels = pyplot.subplots(1, len(curves), figsize=(3.6 * len(curves), 3.8), sharey=True, squeeze=False,
                                     layout="constrained")
    for panel, (pair, made) in zip(panels[0], curves.items(), strict=True):
        for name, curve in made.items():
            panel.plot([seconds for _, seconds, _ in curve], [value for *_, value in curve], marker="o", markersize=4,
                       label=name)
        panel.set(title=pair, xlabel="seconds", xscale="log", yscale="log")
        for axis, ticks in ((panel.xaxis, (2, 5, 10, 20, 50, 100)), (panel.yaxis, (0.06, 0.08, 0.1, 0.15, 0.2))):
            axis.set_major_locator(ticker.FixedLocator(ticks))
            axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
            axis.set_minor_locator(ticker.NullLocator())
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("J in float32")
    panels[0][-1].legend()
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str]) -> None:
    """Prints a row for each point, and by how much sooner the defaults reach the tutorial's last J."""
    values = flags.FlagValues()
    flags.DEFINE_integer("size", 512, "long side in px", flag_values=values)
    flags.DEFINE_list("steps", ["50", "100", "150", "200", "320", "400"], "of the defaults", flag_values=values)
    flags.DEFINE_integer("pairs", len(PAIRS), "how many photos and paintings", flag_values=values)
    flags.DEFINE_string("weights", str(DEFAULT_WEIGHTS), "SqueezeNet v1.0's", flag_values=values)
    flags.DEFINE_string("plot", "", "picture of the curves to write", flag_values=values)
    flags.DEFINE_string("sheet", "", "file for the last pictures side by side", flag_values=values)
    values(argv)
    print(start_tensorflow())
    curves: dict[str, dict[str, Curve]] = {}
    tiles: dict[str, list[Tile]] = {"tutorial": [], "nst_tf": []}
    for content, style in PAIRS[:values.pairs]:
        config = pair_config(content, style, backbone="squeezenet", weights=values.weights, size=values.size)
        made = {"tutorial": tutorial_curve(config)}
        tutorial = made["tutorial"][0]
        made["nst_tf"] = default_curve(config, [int(count) for count in values.steps], tutorial[-1][2])
        curves[f"{content} + {style}"] = {name: curve for name, (curve, _) in made.items()}
        for name, (curve, picture) in made.items():
            for steps, seconds, value in curve:
                print(f"{content:18} {name:9} {steps:5} steps {seconds:7.1f} s  J {value:.4f}")
            tiles[name].append(Tile(picture, (name, f"{steps} steps, {seconds:.0f} s, J {value:.4f}")))
        seconds = reached(made["nst_tf"][0], tutorial[-1][2])
        print(f"{content:18} as low as the tutorial's {tutorial[-1][0]} steps after {seconds:.1f} s, "
              f"{seconds / tutorial[-1][1]:.2f} of its time", flush=True)
    if values.plot:
        plot(curves, values.plot)
    if values.sheet:
        in_rows = [tile for row in tiles.values() for tile in row]
        images.save(Path(values.sheet), contact_sheet(in_rows, (values.size, 3 * values.size // 4)))


if __name__ == "__main__":
    main(sys.argv)
