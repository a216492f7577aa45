"""The objective: terms, layers and styles add up as written."""

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.grammar import LayerWeight
from nst_tf.losses.evaluation import measure_targets
from nst_tf.losses.objective import Objective, TermWeights, layer_shares

from .losses import losses_of

LAYERS = (LayerWeight("a", 3.0), LayerWeight("b", 1.0))


def _extract(image: tf.Tensor) -> dict[str, tf.Tensor]:
    """A toy network: two layers with different channels and strides."""
    return {"a": tf.nn.relu(image * [1.0, -2.0, 3.0] + 0.5), "b": tf.nn.avg_pool2d(image, 2, 2, "VALID") ** 2}


def _picture(seed: int, height: int = 17, width: int = 23) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).uniform(size=(1, height, width, 3)), tf.float32)


def _objective(normalization: str = "relative", weights: TermWeights = TermWeights(0.5, 2.0, 0.25)) -> Objective:
    return Objective(LAYERS[1:], LAYERS, weights, normalization, "gram")


def _gram(F: np.ndarray) -> np.ndarray:
    flat = F.reshape(-1, F.shape[-1])
    return flat.T @ flat / len(flat)


def _independent(normalization: str, weights: TermWeights, blend: tuple[float, float]) -> dict[str, float]:
    x, photo, *styles = (_picture(0), _picture(1), _picture(2, 19, 11), _picture(3, 9, 31))
    F, C = ({name: value.numpy() for name, value in _extract(image).items()} for image in (x, photo))
    targets = {name: sum(share * _gram(_extract(style)[name].numpy())
                         for share, style in zip(blend, styles, strict=True)) for name in ("a", "b")}
    content = {"relative": np.sum((F["b"] - C["b"]) ** 2) / np.sum(C["b"] ** 2),
               "gatys": 0.5 * np.sum((F["b"] - C["b"]) ** 2),
               "ng": np.sum((F["b"] - C["b"]) ** 2) / (4 * C["b"].size)}[normalization]
    squared = {name: np.sum((_gram(F[name]) - targets[name]) ** 2) for name in ("a", "b")}
    divisor = {"relative": lambda name: np.sum(targets[name] ** 2), "gatys": lambda name: 4 * 3 ** 2,
               "ng": lambda name: (2 * 3) ** 2}[normalization]
    shares = {"a": 0.75, "b": 0.25} if normalization == "relative" else {"a": 3.0, "b": 1.0}
    style = sum(shares[name] * squared[name] / divisor(name) for name in ("a", "b"))
    image = x.numpy()
    smooth = np.mean(np.diff(image, axis=1) ** 2) + np.mean(np.diff(image, axis=2) ** 2)
    total = weights.content * content + weights.style * style + weights.smoothness * smooth
    return {"loss/total": total, "loss/content": content, "loss/style": style, "loss/smoothness": smooth}


@pytest.mark.parametrize("normalization", ["relative", "gatys", "ng"])
def test_objective_equals_an_independent_implementation(normalization: str) -> None:
    objective, blend = _objective(normalization), (0.7, 0.3)
    targets = measure_targets(objective, _extract, _picture(1), [_picture(2, 19, 11), _picture(3, 9, 31)], blend)
    losses = losses_of(objective, targets, _extract, _picture(0))
    for tag, value in _independent(normalization, objective.weights, blend).items():
        assert float(losses[tag]) == pytest.approx(value, rel=1e-4), tag
    assert set(losses) == {"loss/total", "loss/content", "loss/style", "loss/smoothness", "content/b",
                           "style/0/a", "style/0/b", "style/1/a", "style/1/b"}


def test_distance_to_one_style_alone_is_zero_at_that_style() -> None:
    styles = [_picture(2, 19, 11), _picture(3, 9, 31)]
    targets = measure_targets(_objective(), _extract, _picture(1, 9, 31), styles, (0.5, 0.5))
    losses = losses_of(_objective(), targets, _extract, styles[1])
    assert float(losses["style/1/a"]) == pytest.approx(0, abs=1e-9)
    assert float(losses["style/0/a"]) > 1e-3 and float(losses["loss/style"]) > 1e-4


def test_weight_one_and_zero_equal_the_single_style() -> None:
    styles = [_picture(2), _picture(3)]
    both = measure_targets(_objective(), _extract, _picture(1), styles, (1.0, 0.0))
    alone = measure_targets(_objective(), _extract, _picture(1), styles[:1], (1.0,))
    for layer in ("a", "b"):
        blended, single = (aims.targets.target["style"].regions[0][layer][0] for aims in (both, alone))
        np.testing.assert_array_equal(blended, single)


def test_a_term_of_weight_zero_is_absent() -> None:
    objective = _objective(weights=TermWeights(0.0, 1.0, 0.0))
    targets = measure_targets(objective, _extract, _picture(1), [_picture(2)], (1.0,))
    losses = losses_of(objective, targets, _extract, _picture(0))
    assert not {"loss/content", "loss/smoothness", "content/b"} & set(losses)
    assert float(losses["loss/total"]) == float(losses["loss/style"])


def test_layers_of_terms_without_weight_are_not_read() -> None:
    objective = _objective(weights=TermWeights(1.0, 0.0, 0.0))
    assert objective.layers() == ("b",)
    targets = measure_targets(objective, _extract, _picture(1), [_picture(2)], (1.0,))
    assert set(targets.targets.target) == {"content"} and set(losses_of(objective, targets, _extract, _picture(0))) == {
        "loss/total", "loss/content", "content/b"}


def test_layer_shares() -> None:
    assert layer_shares(LAYERS, "relative") == [0.75, 0.25]
    assert layer_shares(LAYERS, "gatys") == layer_shares(LAYERS, "ng") == [3.0, 1.0]
