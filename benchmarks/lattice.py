"""Where the strides of a network leave a lattice in the gradient, and what --jitter does about it.

    python -m benchmarks.lattice --weights=squeezenet.net
    python -m benchmarks.lattice --picture=docs/images/lattice.png --backbones=inception_v3,alexnet

For each backbone: the gradient of its default objective with respect to a photo (samples/coast.jpg, style
samples/swirls.jpg, 256 px). Its energy is summed apart for each of the 4 × 4 places that a pixel can have on a lattice
of 4 px. Printed is the largest of these sums relative to their mean: 1 for a network that treats all pixels alike.
With jitter, the gradient is the mean over 64 steps. --picture shows instead, enlarged, what 100 steps make of the photo
without smoothing of the picture or of its gradient: a row for each backbone, without jitter and with 4 px.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from nst_tf.backbones.table import BACKBONES
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.runtime import start_tensorflow

ROOT = Path(__file__).resolve().parents[1]

PERIOD_PX = 4
STEPS = 64
JITTERS_PX = (0, 1, 2, 4)
PICTURES = {"content": str(ROOT / "samples/coast.jpg"), "style": (str(ROOT / "samples/swirls.jpg"),),
            "smoothness_weight": 0.0}


def lattice_peak(gradient: np.ndarray, period_px: int = PERIOD_PX) -> float:
    """max_ab E_ab / mean_ab E_ab, with E_ab = Σ g² over the pixels at (a, b) modulo the period.

    Args:
        gradient: [H, W, 3].
    """
    height, width = (side // period_px for side in gradient.shape[:2])
    energy = np.square(gradient[:height * period_px, :width * period_px]).sum(-1)
    places = energy.reshape(height, period_px, width, period_px).sum((0, 2))
    return float(places.max() / places.mean())


def gradients(config: StylizeConfig) -> Callable[[int], np.ndarray]:
    """jitter_px → the mean gradient over `STEPS` offsets, [H, W, 3], of the objective of a config's only stage."""
    import tensorflow as tf

    from nst_tf.optimize import jitter
    from nst_tf.recipes.stylize import stage, steps as stylize
    from nst_tf.recipes.stylize.plan import resolve

    plan = resolve(config)
    setup = stylize.set_up(config, plan)
    content, *_ = setup.inputs.measured()
    image = tf.constant(images.resize(content, *plan.stage_size_px(0))[None])

    def mean_gradient(jitter_px: int) -> np.ndarray:
        measure = stage.stage_losses(config, plan, setup, 0, jitter_px)

        @tf.function(autograph=False)
        def gradient(offset: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(image)
                total = measure(image, offset)["loss/total"]
            return tape.gradient(total, image)

        steps = STEPS if jitter_px else 1
        return np.mean([gradient(jitter.offset(0, step, jitter_px))[0] for step in range(steps)], axis=0)

    return mean_gradient


def draw(path: str, backbones: Sequence[str]) -> None:
    """Writes the comparison of pictures: 96 × 64 px of each, six times enlarged."""
    from nst_tf.recipes.stylize.steps import stylize

    rows = []
    for backbone in backbones:
        crops = []
        for jitter_px in (0, 4):
            config = StylizeConfig(**PICTURES, backbone=backbone, weights="random",  # type: ignore[arg-type]
                                   size=192, min_size=192, steps=100, gradient_smoothing=0.0, jitter=jitter_px)
            *_, last = stylize(config)
            crops.append(np.kron(last.picture()[30:94, 40:136], np.ones((6, 6, 1), np.float32)))
        rows.append(np.concatenate([crops[0], np.ones((384, 20, 3), np.float32), crops[1]], axis=1))
    images.save(path, np.concatenate(rows))


def main(argv: Sequence[str]) -> None:
    """Prints one row for each backbone, or writes the picture."""
    values = flags.FlagValues()
    flags.DEFINE_string("weights", "", "squeezenet's .net file, for a row with trained weights", flag_values=values)
    flags.DEFINE_list("backbones", list(BACKBONES), "rows of the table", flag_values=values)
    flags.DEFINE_string("picture", "", "write this PNG instead of printing the table", flag_values=values)
    values(argv)
    print(start_tensorflow())
    if values.picture:
        draw(values.picture, values.backbones)
        return
    print("| backbone | weights | " + " | ".join(f"jitter {jitter_px} px" for jitter_px in JITTERS_PX) + " |")
    print("| --- " * (2 + len(JITTERS_PX)) + "|")
    pairs = [(name, "self" if name == "kmeans" else "random") for name in values.backbones]
    for backbone, weights in pairs + [("squeezenet", values.weights)] * bool(values.weights):
        config = StylizeConfig(**PICTURES, backbone=backbone, weights=weights,  # type: ignore[arg-type]
                               size=256, min_size=256)
        mean_gradient = gradients(config)
        peaks = [f"{lattice_peak(mean_gradient(jitter_px)):.2f}" for jitter_px in JITTERS_PX]
        print(f"| `{backbone}` | {Path(weights).name} | {' | '.join(peaks)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv)
