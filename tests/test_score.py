"""Style score and content distance: numbers by hand, then the formula written again in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import style_score
from benchmarks.squeezenet import activations
from nst_tf.backbones.caffe_networks import build_squeezenet
from nst_tf.backbones.extractor import convolutions
from nst_tf.losses.score import score

from .conftest import make_picture


def _features(*positions: tuple[float, float]) -> tf.Tensor:
    """Two channels at some positions in a row: [1, 1, positions, 2]."""
    return tf.constant([[positions]], tf.float32)


def test_numbers_by_hand() -> None:
    photo, output = {"a": _features((1, 0), (1, 0)), "b": _features((2, 0))}, {"a": _features((1, 0), (0, 1)),
                                                                               "b": _features((1, 1))}
    style = {"a": _features((0, 1)), "b": _features((0, 2))}
    # a: G = diag(1, 0) of the photo, diag(½, ½) of the output, A = diag(0, 1): distances 2 and ½.
    # b: G = diag(4, 0) and ones, A = diag(0, 4): distances 32/16 and (1 + 1 + 1 + 9)/16.
    scores = score(output, photo, [style], (1.0,), ("a", "b"), ("b",))
    assert scores.style == pytest.approx((0.5 + 0.75) / (2 + 2))
    # ‖(1, 1) − (2, 0)‖² / ‖(2, 0)‖².
    assert scores.content == pytest.approx(0.5)
    # Two content layers count alike: a has 2/2.
    assert score(output, photo, [style], (1.0,), ("a",), ("a", "b")).content == pytest.approx(0.75)


def test_the_style_itself_scores_0_and_the_photo_1() -> None:
    photo, style = ({"a": tf.constant(make_picture(5 + k, 7 - k, k)[None])} for k in range(2))
    assert score(photo, photo, [style], (1.0,), ("a",), ("a",)) == (1, 0)
    assert score(style, style, [style], (1.0,), ("a",), ("a",)) == (0, 0)


def test_two_styles_blend_as_a_picture_made_of_both() -> None:
    photo, output = ({"a": _features(*positions)} for positions in (((1, 0),), ((2, 1),)))
    first, second = ((3, 1), (0, 2)), ((1, 1), (4, 0))
    blended = score(output, photo, [{"a": _features(*first)}, {"a": _features(*second)}], (3, 1), ("a",), ("a",))
    made = score(output, photo, [{"a": _features(*first * 3, *second)}], (1.0,), ("a",), ("a",))
    assert blended.style == pytest.approx(made.style, rel=1e-5) and 0 < made.style < 1


def _gram(features: np.ndarray) -> np.ndarray:
    positions = features.reshape(-1, features.shape[-1]).astype(np.float64)
    return positions.T @ positions / len(positions)


def test_the_benchmark_keeps_its_numbers() -> None:
    """As it computed them before it shared the package's formula: Gram matrices and sums by NumPy in float64."""
    model = build_squeezenet("squeezenet", ("fire8",), "random", seed=2).model
    weights = {layer.name.replace("-", "/"): (kernel.transpose(3, 2, 0, 1), bias)
               for layer in convolutions(model) for kernel, bias in [layer.get_weights()]}
    output, content, style = make_picture(65, 47, 1), make_picture(65, 47, 2), make_picture(51, 83, 3)
    found = style_score.measure(weights, output, content, style)
    of_output, of_content, of_style = ({name: np.asarray(values)[0] for name, values in activations(
        weights, tf.constant(picture[None]), deepest="fire8").items()} for picture in (output, content, style))

    def distance(picture: dict[str, np.ndarray]) -> float:
        grams = [(_gram(picture[layer]), _gram(of_style[layer])) for layer in style_score.STYLE_LAYERS]
        return float(np.mean([np.sum((g - a) ** 2) / np.sum(a ** 2) for g, a in grams]))

    f, c = (features["fire7"].astype(np.float64) for features in (of_output, of_content))
    assert found.style == pytest.approx(distance(of_output) / distance(of_content), rel=1e-10)
    assert found.content == pytest.approx(np.sum((f - c) ** 2) / np.sum(c ** 2), rel=1e-10)
