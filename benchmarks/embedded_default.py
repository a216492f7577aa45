"""The embedded default (`--backbone=kmeans --weights=self`) on three pairs: style score, content distance, seconds.

    python -m benchmarks.embedded_default --size=256 --output_dir=out/embedded
    python -m benchmarks.embedded_default --backbone=squeezenet --weights=squeezenet.net

Needs the photos and the real SqueezeNet in ../shared. Seconds count from after the start-up and include learning.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks.style_score import DEFAULT_WEIGHTS, measure_files
from nst_tf.backbones.weights.deep_compression import read_deep_compression
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.losses.score import Scores
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.runtime import start_tensorflow

IMAGES = Path(__file__).resolve().parents[2] / "shared/images"
PAIRS = (("golden_gate", "starry_night"), ("tubingen", "the_scream"), ("hoovertowernight", "shipwreck"))


def pair_config(content: str, style: str, **settings: Any) -> StylizeConfig:
    """The config of a pair by the names of its pictures."""
    return StylizeConfig(content=str(IMAGES / f"{content}.jpg"), style=(str(IMAGES / f"{style}.jpg"),), **settings)


def score_pair(content: str, style: str, output_dir: Path, **settings: Any) -> tuple[Scores, float]:
    """Stylizes one pair into `output_dir`; its scores and the seconds it took."""
    start = time.perf_counter()
    config = pair_config(content, style, **settings)
    for progress in stylize(config):
        pass
    output = output_dir / f"{content}_{style}.png"
    images.save(output, progress.picture())
    seconds = time.perf_counter() - start
    pictures = (output, Path(config.content), Path(*config.style))
    return measure_files(read_deep_compression(str(DEFAULT_WEIGHTS)), *pictures), seconds


def main(argv: Sequence[str]) -> None:
    """Prints one row for each pair and their mean."""
    values = flags.FlagValues()
    flags.DEFINE_integer("size", 256, "long side in px", flag_values=values)
    flags.DEFINE_string("output_dir", "out/embedded", "folder for the pictures", flag_values=values)
    flags.DEFINE_string("backbone", "kmeans", "a row of the table", flag_values=values)
    flags.DEFINE_string("weights", "", "as for stylize.py", flag_values=values)
    values(argv)
    print(start_tensorflow())
    rows = []
    for content, style in PAIRS:
        scores, seconds = score_pair(content, style, Path(values.output_dir), size=values.size,
                                     backbone=values.backbone, weights=values.weights)
        rows.append((*scores, seconds))
        print(f"{content} + {style}: style score {scores.style:.3f}, content distance {scores.content:.3f}, "
              f"{seconds:.1f} s", flush=True)
    print("mean: style score {:.3f}, content distance {:.3f}, {:.1f} s".format(*np.mean(rows, axis=0)))


if __name__ == "__main__":
    main(sys.argv)
