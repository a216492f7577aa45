"""Pictures by SqueezeNet v1.1 beside those by v1.0, in the eyes of v1.0 and of a network that has painted neither.

    python -m benchmarks.squeezenet1_1 --output_dir=out/squeezenet1_1
    python -m benchmarks.squeezenet1_1 --content_layers=fire5 --content_weight=0.17

Paints three pairs by `--backbone=squeezenet1_1`, with its defaults or what is given instead, and by
`--backbone=squeezenet` with its default and two more content weights. The other judge is HED's VGG16, in the layers of
`--backbone=vgg16`. v1.0 is no judge of its own pictures. The last line is v1.1's style score by HED, relative to v1.0's
at the same content distance by HED, which is interpolated, or else at the nearest.

Needs the photos and SqueezeNet v1.0 in ../shared. The weights of the other networks come from the package index.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks.embedded_default import IMAGES, PAIRS, score_pair
from benchmarks.scorecard import open_hed
from benchmarks.style_score import DEFAULT_WEIGHTS, read_pictures
from nst_tf.losses.score import Scores
from nst_tf.runtime import start_tensorflow

CONTENT_WEIGHTS = (0.17, 0.6, 2.0)

Judge = Callable[[np.ndarray, np.ndarray, np.ndarray], Scores]  # output, content, style: [H, W, 3] in [0, 1]


def mean_scores(judge: Judge, output_dir: Path, **settings: Any) -> np.ndarray:
    """Paints the pairs and prints their rows. Means of style score and content distance by v1.0, and by the judge."""
    rows = []
    for content, style in PAIRS:
        by_squeezenet, _ = score_pair(content, style, output_dir, size=256, **settings)
        pictures = read_pictures(output_dir / f"{content}_{style}.png", IMAGES / f"{content}.jpg",
                                 IMAGES / f"{style}.jpg")
        rows.append([*by_squeezenet, *judge(*pictures)])
    for name, row in zip((*(" + ".join(pair) for pair in PAIRS), "**mean**"), (*rows, np.mean(rows, axis=0))):
        print(f"| `{output_dir.name}` | {name} | " + " | ".join(f"{value:.3f}" for value in row) + " |", flush=True)
    return np.mean(rows, axis=0)


def main(argv: Sequence[str]) -> None:
    """Prints a row for each pair and the means, for each network and content weight."""
    values = flags.FlagValues()
    for name in ("style_layers", "content_layers"):
        flags.DEFINE_list(name, [], "as for stylize.py", flag_values=values)
    for name in ("content_weight", "smoothness_weight"):
        flags.DEFINE_float(name, None, "as for stylize.py", flag_values=values)
    for name in ("jitter", "motif_size"):
        flags.DEFINE_integer(name, None, "as for stylize.py", flag_values=values)
    given = list(values)
    flags.DEFINE_string("weights", "", "those of squeezenet1_1, as for stylize.py", flag_values=values)
    flags.DEFINE_string("output_dir", "out/squeezenet1_1", "folder for the pictures", flag_values=values)
    values(argv)
    print(start_tensorflow())
    judge, folder = open_hed().judge, Path(values.output_dir)
    print("| run | pictures | style by v1.0 | content by v1.0 | style by HED | content by HED |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    tried = {name: values[name].value for name in given if values[name].present}
    *_, style, content = mean_scores(judge, folder / "squeezenet1_1", backbone="squeezenet1_1",
                                     weights=values.weights, **tried)
    curve = [mean_scores(judge, folder / f"squeezenet_{weight}", backbone="squeezenet", weights=str(DEFAULT_WEIGHTS),
                         content_weight=weight)[2:] for weight in CONTENT_WEIGHTS]
    styles, contents = np.array(sorted(curve, key=lambda point: point[1])).T
    print(f"style by HED, relative to v1.0's: {style / np.interp(content, contents, styles):.2f}")


if __name__ == "__main__":
    main(sys.argv)
