"""The same look at every size: one command at several sizes, its pictures reduced to one size and measured.

    python -m benchmarks.sizes --weights=squeezenet.net --sizes=256,512,1024 --judged_at=128,192 --output_dir=out/sizes

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

from benchmarks.embedded_default import IMAGES, PAIRS, pair_config
from benchmarks.style_score import DEFAULT_WEIGHTS, measure_files
from nst_tf.backbones.weights.deep_compression import read_deep_compression
from nst_tf.io import images
from nst_tf.io.contact_sheet import CAPTION_GAP_PX, Grid, LINE_PX, Tile, drawn
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.runtime import start_tensorflow


class Row(NamedTuple):
    """One size: what its picture, reduced, scores."""

    size: int
    style: float
    content: float


def make_pictures(content: str, style: str, sizes: Sequence[int], paths: Sequence[Path], **settings: Any) -> None:
    """Stylizes at every size."""
    for size, path in zip(sizes, paths, strict=True):
        *_, last = stylize(pair_config(content, style, size=size, **settings))
        images.save(path, last.picture())


def measure_pictures(paths: Sequence[Path], sizes: Sequence[int], content: Path, style: Path,
                     judged_px: int) -> list[Row]:
    """Measures the pictures reduced to a long side of `judged_px`."""
    weights = read_deep_compression(str(DEFAULT_WEIGHTS))
    rows = []
    for size, path in zip(sizes, paths, strict=True):
        picture = images.load(path, name="--output_dir")
        height, width = picture.shape[:2]
        reduced = path.with_stem(f"{path.stem}_at_{judged_px}")
        images.save(reduced, images.resize(picture, *images.fit(judged_px, width, height)))
        rows.append(Row(size, *measure_files(weights, reduced, content, style)))
    return rows


def measure_pairs(sizes: Sequence[int], output_dir: Path, judged_at: Sequence[int] = (),
                  measure_only: bool = False, **settings: Any) -> dict[int, list[list[Row]]]:
    """{judged at: rows of every pair}, printed as they are made; judged at half the smallest size by default."""
    found: dict[int, list[list[Row]]] = {judged_px: [] for judged_px in judged_at or [min(sizes) // 2]}
    for content, style in PAIRS:
        photo, painting = (IMAGES / f"{name}.jpg" for name in (content, style))
        paths = [output_dir / content / f"{size}.png" for size in sizes]
        if not measure_only:
            make_pictures(content, style, sizes, paths, **settings)
        for judged_px, pairs in found.items():
            pairs.append(measure_pictures(paths, sizes, photo, painting, judged_px))
            scores = " | ".join(f"{row.style:.3f}, {row.content:.3f}" for row in pairs[-1])
            own = spread([row.style for row in pairs[-1]])
            print(f"| {content} + {style} | {judged_px} px | {scores} | {100 * own:.0f} % |", flush=True)
    return found


def sheet(output_dir: Path, sizes: Sequence[int]) -> images.FloatImage:
    """A row for each pair: its pictures, each reduced into a 4:3 cell as wide as the smallest."""
    side_px = min(sizes)
    tiles = [Tile(images.load(output_dir / content / f"{size}.png", name="--output_dir"), (f"{size} px",))
             for content, _ in PAIRS for size in sizes]
    return drawn(tiles, Grid(len(sizes), len(PAIRS), (side_px, 3 * side_px // 4), CAPTION_GAP_PX + LINE_PX))


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
    flags.DEFINE_list("judged_at", [], "long sides in px that the pictures are reduced to; half the smallest of "
                      "--sizes when left out", flag_values=values)
    flags.DEFINE_string("backbone", "squeezenet", "a row of the table", flag_values=values)
    flags.DEFINE_string("weights", str(DEFAULT_WEIGHTS), "as for stylize.py", flag_values=values)
    flags.DEFINE_integer("steps", 320, "as for stylize.py", flag_values=values)
    flags.DEFINE_integer("motif_size", None, "as for stylize.py", flag_values=values)
    flags.DEFINE_string("output_dir", "out/sizes", "folder for the pictures", flag_values=values)
    flags.DEFINE_boolean("measure_only", False, "the pictures are in --output_dir", flag_values=values)
    flags.DEFINE_string("sheet", "", "all pictures side by side, at the smallest size", flag_values=values)
    values(argv)
    print(start_tensorflow())
    sizes, judged_at = ([int(size) for size in given] for given in (values.sizes, values.judged_at))
    if max(judged_at, default=0) > min(sizes):
        raise SystemExit("--judged_at is larger than the smallest of --sizes: pictures are reduced, not enlarged")
    print("| style score, content distance | at | " + " | ".join(f"{size} px" for size in sizes) + " | spread |")
    print("| --- | --- |" + " ---: |" * (len(sizes) + 1))
    found = measure_pairs(sizes, Path(values.output_dir), judged_at, values.measure_only, backbone=values.backbone,
                          weights=values.weights, steps=values.steps, motif_size=values.motif_size)
    for judged_px, pairs in found.items():
        scores = mean_scores(pairs)
        print(f"| mean style score | {judged_px} px | " + " | ".join(f"{score:.3f}" for score in scores),
              f"| {100 * spread(scores):.1f} % |")
    if values.sheet:
        images.save(values.sheet, sheet(Path(values.output_dir), sizes))


if __name__ == "__main__":
    main(sys.argv)
