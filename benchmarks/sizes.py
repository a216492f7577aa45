"""The same look at every size: one command at several sizes, its pictures reduced to one size and measured.

    python benchmarks/sizes.py --weights=squeezenet.net --sizes=256,512,1024 --output_dir=out/sizes

Needs the photos and the real SqueezeNet in ../shared. The pictures are reduced to one size (Lanczos), where style score
and content distance (`style_score.py`) tell whether they look alike: half the smallest of their sizes, because at its
own size a picture by SqueezeNet has just been optimized for this very score, and no other has. The spread is the
largest style score relative to the smallest, minus 1; of one pair it moves by ten points with anything that moves a
run, so that it is the mean over the pairs that tells.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.embedded_default import IMAGES, PAIRS  # noqa: E402
from benchmarks.style_score import DEFAULT_WEIGHTS, measure_files  # noqa: E402
from nst_tf.backbones.deep_compression import read_deep_compression  # noqa: E402
from nst_tf.config import StylizeConfig  # noqa: E402
from nst_tf.io import images  # noqa: E402
from nst_tf.recipes.stylize import stylize  # noqa: E402
from nst_tf.runtime import start_tensorflow  # noqa: E402


class Row(NamedTuple):
    """One size: what its picture, reduced, scores."""

    size: int
    style: float
    content: float


def measure_sizes(content: Path, style: Path, sizes: Sequence[int], output_dir: Path, **settings: Any) -> list[Row]:
    """Stylizes at every size into `output_dir` and measures the pictures reduced to half the smallest one."""
    weights = read_deep_compression(DEFAULT_WEIGHTS)
    rows = []
    for size in sizes:
        for progress in stylize(StylizeConfig(content=str(content), style=(str(style),), size=size, **settings)):
            pass
        picture = progress.picture()
        images.save(output_dir / f"{size}.png", picture)
        height, width = picture.shape[:2]
        reduced = output_dir / f"{size}_reduced.png"
        images.save(reduced, images.resize(picture, *images.fit(min(sizes) // 2, width, height)))
        rows.append(Row(size, *measure_files(weights, reduced, content, style)))
    return rows


def measure_pairs(sizes: Sequence[int], output_dir: Path, **settings: Any) -> list[list[Row]]:
    """The rows of every pair, printed as they are made."""
    found = []
    for content, style in PAIRS:
        photo, painting = (IMAGES / f"{name}.jpg" for name in (content, style))
        found.append(measure_sizes(photo, painting, sizes, output_dir / content, **settings))
        scores = " | ".join(f"{row.style:.3f}, {row.content:.3f}" for row in found[-1])
        own = spread([row.style for row in found[-1]])
        print(f"| {content} + {style} | {scores} | {100 * own:.0f} % |", flush=True)
    return found


def mean_scores(found: Sequence[Sequence[Row]]) -> list[float]:
    """The mean style score over the pairs, for each size."""
    return [sum(row.style for row in rows) / len(rows) for rows in zip(*found, strict=True)]


def spread(scores: Sequence[float]) -> float:
    """How much larger the largest style score is than the smallest: 0.15 = within 15 % of one another."""
    return max(scores) / min(scores) - 1


def main(argv: Sequence[str]) -> None:
    """Prints one row for each pair, their mean and its spread."""
    values = flags.FlagValues()
    flags.DEFINE_list("sizes", ["256", "512", "1024"], "long sides in px", flag_values=values)
    flags.DEFINE_string("backbone", "squeezenet", "a row of the table", flag_values=values)
    flags.DEFINE_string("weights", str(DEFAULT_WEIGHTS), "as for stylize.py", flag_values=values)
    flags.DEFINE_integer("steps", 320, "as for stylize.py", flag_values=values)
    flags.DEFINE_integer("motif_size", None, "as for stylize.py", flag_values=values)
    flags.DEFINE_string("output_dir", "out/sizes", "folder for the pictures", flag_values=values)
    values(argv)
    print(start_tensorflow())
    print("| style score, content distance | " + " | ".join(f"{size} px" for size in values.sizes) + " | spread |")
    print("| --- |" + " ---: |" * (len(values.sizes) + 1))
    found = measure_pairs([int(size) for size in values.sizes], Path(values.output_dir), backbone=values.backbone,
                          weights=values.weights, steps=values.steps, motif_size=values.motif_size)
    scores = mean_scores(found)
    print("| mean style score | " + " | ".join(f"{score:.3f}" for score in scores), f"| {100 * spread(scores):.1f} % |")


if __name__ == "__main__":
    main(sys.argv)
