"""Why a ResNet stylizes worse than VGG, and what --smoothing does about it: numbers of the mechanism, and of pictures.

    python -m benchmarks.smoothing --output_dir=out/smoothing

First table: how peaky the deepest style layer is, on a photo, with random weights: the share of the Gram matrix's
energy in the largest hundredth of its entries. Second table: the random ResNet50 with each smoothing in two
normalizations, judged by the real SqueezeNet. Needs the photos and the real SqueezeNet in ../shared.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks.embedded_default import IMAGES, PAIRS, score_pair
from nst_tf.backbones.table import BACKBONES
from nst_tf.grammar import parse_smoothing
from nst_tf.io import images
from nst_tf.losses.feature_smoothing import measure_scales, smoothed
from nst_tf.losses.moments import mean, measure_gram
from nst_tf.runtime import start_tensorflow

SMOOTHINGS = ("none", "softmax:1", "softmax:10")


def peak_share(gram: np.ndarray) -> float:
    """Σ of the largest hundredth of G² / Σ G², for a Gram matrix [C, C]: 0.01 where all are equal, 1 for one peak."""
    energy = np.sort(np.square(gram.astype(np.float64)).reshape(-1))[::-1]
    return float(energy[:max(1, len(energy) // 100)].sum() / energy.sum())


def peakiness(backbone: str, text: str, picture: np.ndarray) -> float:
    """`peak_share` of the deepest style layer of a random network, smoothed as --smoothing=text says."""
    layer = BACKBONES[backbone].style_layers[-1].layer
    extractor = BACKBONES[backbone].build([layer], "random", 0, [])
    scales = measure_scales(parse_smoothing(text), extractor, picture[None], (layer,))
    features = smoothed(parse_smoothing(text), extractor, scales, (layer,))(picture[None])[layer]
    return peak_share(mean(measure_gram(features))[0][0].numpy())


def main(argv: Sequence[str]) -> None:
    """Prints both tables."""
    values = flags.FlagValues()
    flags.DEFINE_string("output_dir", "out/smoothing", "folder for the pictures", flag_values=values)
    flags.DEFINE_integer("size", 192, "long side in px", flag_values=values)
    flags.DEFINE_integer("steps", 150, "steps of each picture", flag_values=values)
    values(argv)
    print(start_tensorflow())
    content, style = PAIRS[0]
    photo = images.load(str(IMAGES / f"{content}.jpg"), name="--content", max_side_px=values.size)
    print("| random network | deepest style layer | none | softmax:1 | softmax:10 |\n| --- | --- | --- | --- | --- |")
    for backbone in ("vgg19", "squeezenet", "inception_v3", "resnet50"):
        shares = [peakiness(backbone, text, photo) for text in SMOOTHINGS]
        cells = " | ".join(f"{share:.2f}" for share in shares)
        print(f"| `{backbone}` | {BACKBONES[backbone].style_layers[-1].layer} | {cells} |")
    print("\n| normalization | smoothing | style score | content distance |\n| --- | --- | --- | --- |")
    for normalization in ("relative", "gatys"):
        for text in SMOOTHINGS:
            folder = Path(values.output_dir) / f"{normalization}_{text.replace(':', '')}"
            scores, _ = score_pair(content, style, folder, size=values.size, steps=values.steps, backbone="resnet50",
                                   weights="random", normalization=normalization, smoothing=text)
            print(f"| {normalization} | {text} | {scores.style:.3f} | {scores.content:.3f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv)
