"""Long runs stay good: windows of the objective, clipped pixels and saturation of a run of many steps.

    python -m benchmarks.long_run --steps=20000 --schedule=cosine
    python -m benchmarks.long_run --steps=5000 --schedule=constant
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.recipes.stylize.steps import stylize

WINDOW_STEPS = 500
POLE = 0.5 / 255  # a pixel this near to 0 or 1 is written as 0 or 255
SAMPLES = Path(__file__).resolve().parents[1] / "samples"


class LongRun(NamedTuple):
    """What a long run did: J averaged over windows, and its last picture beside the style."""

    window_means: np.ndarray
    picture: np.ndarray
    style: np.ndarray

    def largest_rise(self) -> float:
        """The largest relative rise from one window to the next in the last half of the run."""
        means = self.window_means[len(self.window_means) // 2:]
        return float(np.max(means[1:] / means[:-1] - 1.0))

    def clipped_points(self) -> float:
        """Share of values at 0 or 1, in percentage points above the style's."""
        return 100 * (clipped_share(self.picture) - clipped_share(self.style))

    def saturation_ratio(self) -> float:
        """Mean saturation relative to the style's."""
        return float(mean_saturation(self.picture) / mean_saturation(self.style))


def clipped_share(picture: np.ndarray) -> float:
    """Share of color values at 0 or 1."""
    return float(np.mean((picture <= POLE) | (picture >= 1 - POLE)))


def mean_saturation(picture: np.ndarray) -> float:
    """Mean of max − min over the three colors: 0 for gray."""
    return float(np.mean(picture.max(-1) - picture.min(-1)))


def long_run(content: str, style: str, steps: int, schedule: str, size: int = 96) -> LongRun:
    """Runs `kmeans` at one size from white noise."""
    config = StylizeConfig(content=content, style=(style,), backbone="kmeans", size=size, min_size=size, steps=steps,
                           init="white_noise", schedule=schedule)
    losses = []
    for progress in stylize(config):
        losses.append(float(progress.losses["loss/total"]))
    means = np.mean(np.reshape(losses[:len(losses) // WINDOW_STEPS * WINDOW_STEPS], (-1, WINDOW_STEPS)), axis=1)
    return LongRun(means, progress.picture(), images.load(style, name="--style", max_side_px=size))


def main(argv: Sequence[str]) -> None:
    """Prints the figures of one run."""
    values = flags.FlagValues()
    flags.DEFINE_integer("steps", 20000, "steps", flag_values=values)
    flags.DEFINE_string("schedule", "cosine", "cosine or constant", flag_values=values)
    flags.DEFINE_string("content", str(SAMPLES / "coast.jpg"), "photo", flag_values=values)
    flags.DEFINE_string("style", str(SAMPLES / "swirls.jpg"), "painting", flag_values=values)
    flags.DEFINE_string("output", "", "where to write the last picture", flag_values=values)
    values(argv)
    result = long_run(values.content, values.style, values.steps, values.schedule)
    print("window means:", " ".join(f"{mean:.5f}" for mean in result.window_means))
    print(f"largest rise in the last half: {100 * result.largest_rise():.3f} %")
    print(f"values at 0 or 1: {result.clipped_points():+.2f} points against the style")
    print(f"mean saturation: {result.saturation_ratio():.3f} of the style's")
    if values.output:
        images.save(values.output, result.picture)


if __name__ == "__main__":
    main(sys.argv)
