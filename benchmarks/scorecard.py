"""Scores of finished pictures, most of them in the eyes of two networks: SqueezeNet v1.0 and HED's VGG16.

    python -m benchmarks.scorecard out.png photo.jpg painting.jpg
    python -m benchmarks.scorecard a.png photo.jpg painting.jpg b.png photo.jpg painting.jpg

Prints a row for each picture, photo and painting. A picture is taken as it is; the photo is resized to its size, the
painting to its long side. `COLUMNS` says what each number is. The weights of HED come from the package index.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks import scores
from benchmarks.style_score import DEFAULT_WEIGHTS, read_pictures
from nst_tf.backbones.table import BACKBONES
from nst_tf.backbones.weights.sources import weights_file
from nst_tf.losses.score import Scores, score
from nst_tf.recipes.markdown import as_markdown
from nst_tf.runtime import start_tensorflow
from nst_tf.tensors import Features
from nst_tf.vocabulary import UserError

# What HED's side outputs read, from fine to coarse.
EDGE_LAYERS = ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3")
# Ratios below count as this one.
LEAST_RATIO = 1e-3


class Card(NamedTuple):
    """The scores of a picture; see `COLUMNS`."""

    style: float
    style_hed: float
    frechet: float
    frechet_hed: float
    palette: float
    grain: float
    content: float
    content_hed: float
    self_similarity: float
    edges: float
    ssim: float


class Column(NamedTuple):
    """What a number is. `best` is that of a perfect picture; ratios are far from it, and averaged, in logarithms."""

    title: str
    best: float
    about: str
    is_ratio: bool = False

    def off(self, value: float) -> float:
        """How far a value is from the best one."""
        return abs(np.log(max(value, LEAST_RATIO) / self.best)) if self.is_ratio else abs(value - self.best)

    def mean(self, values: Sequence[float]) -> float:
        """The mean of values; of ratios the geometric one."""
        return float(np.exp(np.mean(np.log(np.maximum(values, LEAST_RATIO)))) if self.is_ratio else np.mean(values))


COLUMNS = {
    "style": Column("style", 0, "distance of Gram matrices from the painting's, over the photo's, by SqueezeNet v1.0"),
    "style_hed": Column("style by HED", 0, "the same by HED's VGG16"),
    "frechet": Column("Fréchet", 0, "Fréchet distance of `fire2` of SqueezeNet v1.0 from the painting's, over the "
                      "photo's"),
    "frechet_hed": Column("Fréchet by HED", 0, "the same of `block2_conv1` of HED's VGG16"),
    "palette": Column("palette", 0, "distance of the colors from the painting's in Oklab"),
    "grain": Column("grain", 1, "fine noise where the photo is flat, over the painting's", is_ratio=True),
    "content": Column("content", 0, "content distance by SqueezeNet v1.0"),
    "content_hed": Column("content by HED", 0, "the same by HED's VGG16"),
    "self_similarity": Column("layout", 0, "distance of self-similarities from the photo's, in `block4_conv2` of HED's "
                              "VGG16"),
    "edges": Column("edges", 1, "correlation of HED's edges with the photo's"),
    "ssim": Column("SSIM", 1, "structural similarity of the lightness to the photo's"),
}


class Eyes(NamedTuple):
    """A network that judges: `extract` maps [1, H, W, 3] to the features of all layers that are read."""

    extract: Callable[[np.ndarray], Features]
    style_layers: Sequence[str]
    content_layers: Sequence[str]
    early: str  # the layer of the Fréchet distance

    def see(self, picture: np.ndarray) -> Features:
        """The features of a picture [H, W, 3]."""
        return self.extract(picture[np.newaxis])

    def scores(self, output: Features, photo: Features, style: Features) -> Scores:
        """Style score and content distance."""
        return score(output, photo, [style], (1.0,), self.style_layers, self.content_layers)

    def judge(self, *pictures: np.ndarray) -> Scores:
        """`scores` of an output, its photo and its style."""
        return self.scores(*map(self.see, pictures))

    def frechet(self, output: Features, photo: Features, style: Features) -> float:
        """The Fréchet distance of the output from the style, over the photo's."""
        of_output, of_photo, of_style = (positions(features[self.early]) for features in (output, photo, style))
        return scores.frechet(of_output, of_style) / max(scores.frechet(of_photo, of_style), 1e-12)


def open_eyes(backbone: str, weights: str, early: str, also: Sequence[str] = ()) -> Eyes:
    """A network with the default layers of its row.

    Raises:
        UserError: its weights cannot be had.
    """
    row = BACKBONES[backbone]
    style, content = ([layer for layer, _ in layers] for layers in (row.style_layers, row.content_layers))
    layers = list(dict.fromkeys([*style, *content, early, *also]))
    return Eyes(row.build(layers, weights, 0, []), style, content, early)


def open_hed() -> Eyes:
    """HED's VGG16, with the layers of its edges."""
    return open_eyes("vgg16", "hed", "block2_conv1", EDGE_LAYERS)


def positions(features: Any) -> np.ndarray:
    """[1, h, w, C] → [h·w, C]."""
    values = np.asarray(features)
    return values.reshape(-1, values.shape[-1])


class EdgeHeads(NamedTuple):
    """What makes edges of VGG16's features: kernels [C] and biases of the side outputs, then those of their mixture."""

    sides: Sequence[tuple[np.ndarray, np.ndarray]]
    mixture: tuple[np.ndarray, np.ndarray]


def read_edge_heads(path: str) -> EdgeHeads:
    """The heads in HED's file of weights."""
    import h5py

    with h5py.File(path, "r") as file:
        *sides, mixture = [(file[f"{name}/vars/0"][()].ravel(), file[f"{name}/vars/1"][()])
                           for name in (*(f"dsn{k}" for k in range(1, 1 + len(EDGE_LAYERS))), "fuse")]
    return EdgeHeads(sides, mixture)


def edge_map(features: Features, heads: EdgeHeads, size_px: tuple[int, int]) -> np.ndarray:
    """P = sigmoid(b + Σ_k m_k · upsampled(F_k · w_k + b_k)), [H, W] for a size (H, W).

    Source: Xie, Tu 2015.
    """
    import tensorflow as tf

    kernels, logits = heads.mixture
    for layer, (kernel, bias), share in zip(EDGE_LAYERS, heads.sides, kernels, strict=True):
        side = np.asarray(features[layer]) @ kernel[:, np.newaxis] + bias
        logits = logits + share * tf.image.resize(side, size_px).numpy()[0, :, :, 0]
    return 1 / (1 + np.exp(-logits))


class Judges:
    """Two networks that judge together.

    Args:
        heads: those of the edges, which read `hed`.
    """

    def __init__(self, squeezenet: Eyes, hed: Eyes, heads: EdgeHeads) -> None:
        self._squeezenet, self._hed, self._heads = squeezenet, hed, heads
        self._seen: dict[bytes, tuple[Features, Features]] = {}

    def card(self, output: np.ndarray, photo: np.ndarray, style: np.ndarray) -> Card:
        """The scores of an output; all three as `read_pictures` returns them."""
        pictures = (output, photo, style)
        # Several pictures of one photo and style often follow each other.
        self._seen = {key: self._seen.get(key) or (self._squeezenet.see(picture), self._hed.see(picture))
                      for picture in pictures for key in [picture.tobytes()]}
        squeezenet, hed = zip(*(self._seen[picture.tobytes()] for picture in pictures), strict=True)
        style_score, content = self._squeezenet.scores(*squeezenet)
        style_hed, content_hed = self._hed.scores(*hed)
        edges, photo_edges = (edge_map(features, self._heads, photo.shape[:2]) for features in hed[:2])
        deep = [positions(features[self._hed.content_layers[0]]) for features in hed[:2]]
        return Card(style_score, style_hed, self._squeezenet.frechet(*squeezenet), self._hed.frechet(*hed),
                    scores.palette_distance(output, style), scores.grain(*pictures), content, content_hed,
                    scores.self_similarity(*deep), scores.edge_agreement(edges, photo_edges),
                    scores.ssim(output, photo))


def open_judges(weights: str) -> Judges:
    """SqueezeNet v1.0 from its file, and HED.

    Raises:
        UserError: weights cannot be had.
    """
    return Judges(open_eyes("squeezenet", weights, "fire2"), open_hed(), read_edge_heads(weights_file("vgg16", "hed")))


def table(cards: dict[str, Card]) -> str:
    """In Markdown, a row for each name."""
    titles = {"picture": False} | {column.title: True for column in COLUMNS.values()}
    return as_markdown(titles, [(name, *(f"{value:.3f}" for value in card)) for name, card in cards.items()])


def main(argv: Sequence[str]) -> None:
    """Prints the table, or one line on stderr and status 2."""
    values = flags.FlagValues()
    flags.DEFINE_string("weights", str(DEFAULT_WEIGHTS), "SqueezeNet v1.0's .net file", flag_values=values)
    try:
        paths = [Path(path) for path in values(argv)[1:]]
        if not paths or len(paths) % 3:
            raise UserError(f"{len(paths)} files are given: give three for each row, OUTPUT PHOTO PAINTING")
        triples = {str(paths[k]): read_pictures(*paths[k:k + 3]) for k in range(0, len(paths), 3)}
        start_tensorflow()
        judges = open_judges(values.weights)
    except (UserError, flags.Error) as error:
        print(*str(error).split(), file=sys.stderr)
        sys.exit(2)
    print(table({name: judges.card(*pictures) for name, pictures in triples.items()}))


if __name__ == "__main__":
    main(sys.argv)
