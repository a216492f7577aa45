"""Seconds of a step in tiles relative to the whole step, in turns, for tiles of several sides.

    python -m benchmarks.tiles --backbone=squeezenet1_1 --size=1254 --tiles=1024,768,512 --rounds=3

A size of 1254 px is 1 MP here (3 : 2). Weights are random: they cost what trained ones cost.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from nst_tf.config import StylizeConfig
from nst_tf.runtime import start_tensorflow

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Prints one line for each tile: the median ratio, the spread, and the seconds of the whole step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="squeezenet1_1")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--size", type=int, default=1254)
    parser.add_argument("--tiles", default="1024,768,512")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    start_tensorflow(None)
    from nst_tf.recipes.stylize.steps import stylize

    def steps(tile: str) -> Iterator[object]:
        return stylize(StylizeConfig(
            content=str(ROOT / "samples/coast.jpg"), style=(str(ROOT / "samples/swirls.jpg"),), weights="random",
            backbone=options.backbone, precision=options.precision, size=options.size, min_size=options.size,
            steps=10 ** 6, tile=tile))

    tiles = ["off", *options.tiles.split(",")]
    runs = {tile: steps(tile) for tile in tiles}
    for run in runs.values():
        next(run), next(run)
    seconds: dict[str, list[float]] = {tile: [] for tile in tiles}
    for _ in range(options.rounds):
        for tile, run in runs.items():
            before = time.perf_counter()
            next(run)
            seconds[tile].append(time.perf_counter() - before)
    whole = seconds.pop("off")
    for tile, taken in seconds.items():
        ratios = [each / one for each, one in zip(taken, whole, strict=True)]
        print(f"{options.backbone} {options.size} px, tiles of {tile} px: {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f}) of {statistics.median(whole):.2f} s", flush=True)


if __name__ == "__main__":
    main()
