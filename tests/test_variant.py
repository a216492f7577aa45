"""Other pooling, borders and numbers: every row of the table, against NumPy, and on flat pictures."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.borders import Pad, pad, same_margins_px
from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.facts import cells
from nst_tf.backbones.surgery import POOLINGS, BinomialPooling, l2, power_of_two_above, vary
from nst_tf.backbones.table import BACKBONES, Variant, check_variant, smallest_side_px
from nst_tf.config import StylizeConfig
from nst_tf.grammar import Padding, parse_padding
from nst_tf.losses.content import measure_content, relative
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.vocabulary import PaddingName, PoolingName, UserError, names

from .conftest import build, is_too_small, make_picture

PICTURES = [make_picture(64, 80, 0), make_picture(70, 60, 1)]
EVERYWHERE = {mode: Padding(mode, False) for mode in names(PaddingName) if mode != "trained"}
PADDINGS = ["reflect", "zero", "replicate", "zero:first", "replicate:first", "reflect:first"]
Make = Callable[..., Extractor]
# Of each kind of network one, as deep as what `vary` replaces needs: one after another, two paths that meet, layers
# that pad alone, convolutions that do not pad, grouped ones, mirrored borders and pools of its own.
LAYERS = {"vgg19": ("block1_conv2", "block2_conv1", "block3_conv1", "block4_conv1"),
          "resnet50": ("conv1_relu", "conv2_block2_out", "conv3_block1_out"),
          "inception_v3": ("conv2b", "conv4a", "mixed0"),
          "squeezenet": ("conv1", "fire2", "fire4", "fire6", "fire8"),
          "alexnet": ("conv1", "conv2", "conv3", "conv5"),
          "kmeans": ("conv1", "conv2", "conv3", "conv4", "conv5")}


def _make(name: str, layers: Sequence[str]) -> tuple[str, Extractor, Make]:
    """The name of a row, its network as it was trained, and a function that makes its variants, each once."""
    trained = build(name, layers, "bundled" if name == "kmeans" else "random")

    @functools.cache
    def make(**of: Any) -> Extractor:
        return vary(trained, Variant(**of), PICTURES, BACKBONES[name].unpadded_px)

    return name, trained, make


@pytest.fixture(scope="module", params=LAYERS)
def make(request: pytest.FixtureRequest) -> tuple[str, Extractor, Make]:
    return _make(request.param, LAYERS[request.param])


@pytest.fixture(scope="module", params=["resnet50", "inception_v3", "kmeans"])
def make_some(request: pytest.FixtureRequest) -> tuple[str, Extractor, Make]:
    """The three that differ most at their borders."""
    return _make(request.param, LAYERS[request.param])


def _distance(found: tf.Tensor, expected: tf.Tensor) -> float:
    return float(tf.norm(found - expected) / tf.norm(expected))


@pytest.mark.parametrize("precision, most", [("bfloat16", 0.06), ("float16", 0.01)])
def test_low_precision_gives_nearly_the_same_features_in_float32(make, precision: str, most: float) -> None:
    name, trained, variant = make
    if (name, precision) == ("resnet50", "float16"):
        pytest.skip("random residual sums leave the range of float16")
    picture = make_picture(75, 91, 2)[None]
    expected, found = trained(picture), variant(precision=precision)(picture)
    for layer, features in found.items():
        assert features.dtype == tf.float32
        assert 0 < _distance(features, expected[layer]) < most, layer


def test_float16_keeps_gradients_that_it_could_not_hold(make) -> None:
    """In `relative` a gradient at the features is 1e-8 and less, which float16 alone rounds to 0."""
    name, trained, variant = make
    picture, other = (tf.constant(make_picture(75, 91, seed)[None]) for seed in (2, 3))

    layer = LAYERS[name][1]

    def gradient(extractor: Extractor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(picture)
            loss = 1e-6 * relative(measure_content(extractor(picture)[layer], trained(other)[layer]))
        return tape.gradient(loss, picture)

    found = variant(precision="float16")
    assert found.parameters == trained.parameters
    assert _distance(gradient(found), gradient(trained)) < 0.05, name


@pytest.mark.parametrize("value", [0.0, 1.0, 3.0, 4.0, 1e-12, 2.5e9])
def test_the_scale_is_the_power_of_two_above(value: float) -> None:
    scale = float(power_of_two_above(tf.constant(value)))
    assert np.frexp(scale)[0] == 0.5 and (not value or 0.999 < scale / value < 2.001)


def test_poolings_by_hand() -> None:
    x = tf.constant(np.array([[1.0, 2.0, 5.0], [2.0, 4.0, 1.0]], np.float32)[None, ..., None])
    for name, expected in (("max", 4.0), ("average", 2.25), ("l2", 2.5)):
        pooled = POOLINGS[name](x, 2, 2, "VALID")
        np.testing.assert_allclose(pooled, [[[[expected]]]], rtol=1e-5)
    # What lies outside does not count: the last column's window holds 5 and 1 only.
    np.testing.assert_allclose(POOLINGS["average"](x, 2, 2, "SAME")[0, 0, 1], [3.0])


def test_l2_pooling_has_a_gradient_at_zero() -> None:
    x = tf.zeros([1, 2, 2, 1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = l2(x, 2, 2, "VALID")
    assert np.isfinite(tape.gradient(y, x)).all()


@pytest.mark.parametrize("pooling", names(PoolingName))
def test_swapped_pools_keep_the_size_of_activations(make, pooling: str) -> None:
    """Without a scale, behind three pools that average, activations are a tenth of what they were."""
    name, trained, variant = make
    picture = PICTURES[0][None]
    expected, found = trained(picture), variant(pooling=pooling)(picture)
    for layer, features in found.items():
        assert features.shape == expected[layer].shape
        ratio = float(tf.norm(features) / tf.norm(expected[layer]))
        assert 0.2 < ratio < 2.5, (layer, ratio)
    if pooling == "max" and name != "kmeans":
        assert all(np.array_equal(found[layer], expected[layer]) for layer in found)
    else:
        assert max(_distance(found[layer], expected[layer]) for layer in found) > 0.05


@pytest.mark.parametrize("mode, numpy_mode", [("zero", "constant"), ("reflect", "reflect"), ("replicate", "edge")])
@pytest.mark.parametrize("height, width, kernel_px, stride", [
    (17, 23, 7, 2), (16, 22, 7, 2), (13, 18, 11, 4), (5, 6, 3, 1)])
def test_padding_equals_numpy_at_the_margins_of_same(mode: str, numpy_mode: str, height: int, width: int,
                                                     kernel_px: int, stride: int) -> None:
    x = make_picture(height, width, 0)[None]

    def margins(side: int) -> tuple[int, int]:
        total = max((-(-side // stride) - 1) * stride + kernel_px - side, 0)
        return total // 2, total - total // 2

    expected = np.pad(x, ((0, 0), margins(height), margins(width), (0, 0)), numpy_mode)  # type: ignore[call-overload]
    np.testing.assert_array_equal(Pad(mode, (kernel_px, kernel_px), stride)(x), expected)
    # The margins are those of TensorFlow: a valid convolution behind them is a same one.
    if mode == "zero":
        kernel = np.random.default_rng(0).normal(size=(kernel_px, kernel_px, 3, 2)).astype(np.float32)
        np.testing.assert_allclose(tf.nn.conv2d(expected, kernel, stride, "VALID"),
                                   tf.nn.conv2d(x, kernel, stride, "SAME"), rtol=1e-4, atol=1e-4)


def _padded_and_halved(x: tf.Tensor) -> tf.Tensor:
    return BinomialPooling(dtype=x.dtype.name)(Pad("reflect", (7, 5), 2, dtype=x.dtype.name)(x))


def _halved_by_tensorflow(x: tf.Tensor) -> tf.Tensor:
    margins = [same_margins_px(side, kernel_px, 2) for side, kernel_px in zip(x.shape[1:3], (7, 5))]
    kernel = np.repeat(np.outer([1, 2, 1], [1, 2, 1])[..., None, None] / 16, x.shape[3], 2)
    padded = tf.pad(x, [(0, 0), *margins, (0, 0)], "REFLECT")
    return tf.nn.depthwise_conv2d(padded, tf.constant(kernel, x.dtype), [1, 2, 2, 1], "VALID")


@pytest.mark.parametrize("dtype, sides", [(tf.float32, (17, 22)), (tf.bfloat16, (8, 13))])
def test_mirror_pads_and_binomial_pools_have_the_gradient_of_tensorflow(sides: tuple[int, int], dtype: tf.DType,
                                                                        tmp_path: Path) -> None:
    """Also in a graph that is loaded again, where a gradient knows of its operation only what flows into it."""
    x = tf.cast(np.random.default_rng(0).normal(size=(2, *sides, 5)), dtype)
    module = tf.Module()
    module.halve = tf.function(_padded_and_halved, autograph=False,
                               input_signature=[tf.TensorSpec([None, None, None, 5], dtype)])
    tf.saved_model.save(module, str(tmp_path))

    def gradient(function: Callable[[tf.Tensor], tf.Tensor]) -> np.ndarray:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        upstream = tf.cast(np.random.default_rng(1).normal(size=y.shape), dtype)
        return tf.cast(tape.gradient(y, x, upstream), tf.float32).numpy()

    expected = gradient(_halved_by_tensorflow)
    for function in (_padded_and_halved, module.halve, tf.saved_model.load(str(tmp_path)).halve):
        np.testing.assert_array_equal(function(x), _halved_by_tensorflow(x))
        np.testing.assert_allclose(gradient(function), expected, rtol=2e-2 if dtype == tf.bfloat16 else 1e-5,
                                   atol=2e-2 if dtype == tf.bfloat16 else 1e-6)


def test_padding_of_other_margins_before_and_after() -> None:
    x = make_picture(4, 5, 0)[None]
    found = pad(tf.constant(x), tf.constant([[0, 2], [1, 3]]), "replicate", 3)
    np.testing.assert_array_equal(found, np.pad(x, ((0, 0), (0, 2), (1, 3), (0, 0)), mode="edge"))


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_a_flat_picture_has_flat_features_up_to_the_border(make, mode: str) -> None:
    _, trained, variant = make
    flat = np.full((1, 75, 101, 3), (0.8, 0.5, 0.3), np.float32)

    def unevenness(extractor: Extractor) -> float:
        return max(float(tf.reduce_max(tf.math.reduce_std(features, [1, 2])) / (tf.reduce_max(tf.abs(features))))
                   for features in extractor(flat).values())

    assert unevenness(variant(padding=EVERYWHERE[mode])) < 1e-4
    assert unevenness(variant(padding=EVERYWHERE["zero"])) > 0.05


def test_zero_padding_is_what_trained_networks_have(make) -> None:
    name, trained, variant = make
    if name in ("kmeans", "inception_v3"):
        pytest.skip("kmeans reflects; Inception's first convolutions do not pad at all")
    picture = make_picture(75, 91, 2)[None]
    expected = trained(picture)
    for layer, features in variant(padding=EVERYWHERE["zero"])(picture).items():
        np.testing.assert_allclose(features, expected[layer], rtol=1e-4, atol=1e-4 * np.abs(expected[layer]).max())


def test_the_first_padding_changes_less_than_all(make) -> None:
    name, trained, variant = make
    # Inception's first convolutions do not pad as they were trained: its map is smaller than that of a padded picture.
    before = variant(padding=EVERYWHERE["zero"]) if name == "inception_v3" else trained
    picture = make_picture(91, 75, 2)[None]
    layer, expected = list(before(picture).items())[-1]
    first, every = (_distance(variant(padding=Padding("replicate", is_first))(picture)[layer], expected)
                    for is_first in (True, False))
    assert 0 < first < every / 2


@pytest.mark.parametrize("name", BACKBONES)
def test_all_at_once_and_the_mean_color_stays(name: str) -> None:
    """Of every row: of one that is not among `LAYERS`, up to its second style layer."""
    _, trained, variant = _make(name, LAYERS.get(name, [layer for layer, _ in BACKBONES[name].style_layers[:2]]))
    both = variant(precision="bfloat16", pooling="average", padding=EVERYWHERE["reflect"])
    assert both.mean_color == trained.mean_color and both.parameters == trained.parameters
    assert all(np.isfinite(features).all() for features in both(make_picture(75, 91, 2)[None]).values())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_side_that_other_borders_need_is_the_least_that_gives_cells(backbone: str) -> None:
    """In the arithmetic of cells; networks agree with it in the next test."""
    row = BACKBONES[backbone]
    for padding in map(parse_padding, PADDINGS):
        mirrors = {"reflect": "reflect"}.get(padding.mode, "zero")
        operations = [operation._replace(padding=mirrors) if not (padding.first_only and index) else operation
                      for index, operation in enumerate(BACKBONES[backbone].operations)]
        for layer in (row.layers[0], row.layers[len(row.layers) // 2], row.layers[-1]):
            index = [operation.name for operation in operations].index(layer.name)
            side = smallest_side_px(backbone, [layer.name], padding)
            assert cells(operations, side)[index] > 0, (padding, layer)
            assert side == 1 or min(cells(operations, side - 1)[:index + 1]) == 0, (padding, layer)


@pytest.mark.parametrize("text", PADDINGS)
def test_other_borders_need_the_side_that_the_facts_say(make_some, text: str) -> None:
    name, trained, variant = make_some
    layers, padding = list(trained(make_picture(96, 96, 0)[None])), parse_padding(text)
    side, padded = smallest_side_px(name, layers, padding), variant(padding=padding)
    assert all(min(features.shape) > 0 and np.isfinite(features).all()
               for features in padded(make_picture(side, side + 5, 0)[None]).values())
    # The facts of Inception, whose first convolutions have no borders as trained, only suffice where they get some.
    if side > 1 and name != "inception_v3":
        assert is_too_small(padded, make_picture(side - 1, side + 5, 0))


def test_kmeans_needs_no_more_pixels_than_its_padding_asks_for(photo: str, painting: str) -> None:
    sides = {text: smallest_side_px("kmeans", ["conv1", "conv5"], parse_padding(text))
             for text in ("trained", "reflect", "replicate", "zero", "zero:first")}
    assert sides["zero"] == sides["replicate"] == 1
    assert sides["trained"] == sides["reflect"] == sides["zero:first"] > 16
    small = StylizeConfig(content=photo, style=(painting,), backbone="kmeans", weights="bundled", size=12, min_size=12,
                          steps=2, precision="float32", content_layers=("conv5",), style_layers=("conv1",))
    with pytest.raises(UserError, match=f"need {sides['trained']} px"):
        resolve(small)
    *_, last = stylize(dataclasses.replace(small, padding="replicate"))
    assert np.isfinite(float(last.losses["loss/total"]))


def test_a_network_without_changes_gives_the_features_of_the_trained_one(make) -> None:
    _, trained, variant = make
    picture = make_picture(75, 91, 2)[None]
    expected = trained(picture)
    for layer, features in variant()(picture).items():
        np.testing.assert_array_equal(features, expected[layer])


@pytest.mark.parametrize("text, expected", [
    ("reflect", Padding("reflect", False)), ("zero:first", Padding("zero", True))])
def test_paddings_are_parsed_and_written(text: str, expected: Padding) -> None:
    assert parse_padding(text) == expected and expected.written() == text


@pytest.mark.parametrize("text, expected", [
    ("reflekt", "did you mean 'reflect'?"), ("trained:first", "unknown"), ("reflect:last", "reflect:first"),
    ("zero:", "unknown"), (":first", "unknown")])
def test_wrong_paddings_are_one_line(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=r"--padding=") as error:
        parse_padding(text)
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("variant, flag", [
    (Variant(pooling="l2"), "--pooling=l2"), (Variant(padding=EVERYWHERE["zero"]), "--padding=zero"),
    (Variant("bfloat16"), "--precision=bfloat16")])
def test_an_exported_network_is_as_it_is(variant: Variant, flag: str) -> None:
    with pytest.raises(UserError, match=f"{flag}: --backbone=saved_model:x"):
        check_variant("saved_model:x", variant)
    assert check_variant("saved_model:x", Variant("auto")) == Variant()
    assert check_variant("vgg19", variant) is variant
