"""Smoothing of activations: by hand, against SciPy, finite differences, what is written and what is refused."""

import dataclasses

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from nst_tf.config import StylizeConfig
from nst_tf.grammar import Smoothing, parse_smoothing
from nst_tf.losses.feature_smoothing import measure_scales, smoothed, softmax
from nst_tf.recipes.stylize.plan import complete, resolve
from nst_tf.vocabulary import SmoothingName, UserError, names

RNG = np.random.default_rng(0)
FEATURES = {"shallow": RNG.normal(size=(1, 5, 7, 3)).astype(np.float32),
            "deep": 40 * RNG.uniform(size=(1, 3, 4, 6)).astype(np.float32)}


def test_by_hand_and_against_scipy() -> None:
    np.testing.assert_allclose(softmax(tf.constant([[0.0, np.log(3.0)]]), 1.0), [[0.25, 0.75]], rtol=1e-6)
    deep = FEATURES["deep"]
    np.testing.assert_allclose(softmax(deep, 7.0), scipy.special.softmax(deep / 7, -1), rtol=1e-4)


@pytest.mark.parametrize("name", names(SmoothingName))
def test_only_the_layers_named_are_changed(name: str) -> None:
    smoothing = Smoothing(name, 0.5)
    scales = measure_scales(smoothing, lambda image: FEATURES, tf.zeros([1, 9, 9, 3]), ("deep",))
    features = smoothed(smoothing, lambda image: FEATURES, scales, ("deep",))(tf.zeros([1, 9, 9, 3]))
    assert features["shallow"] is FEATURES["shallow"]
    rms = np.sqrt(np.mean(FEATURES["deep"] ** 2))
    expected = {"none": FEATURES["deep"],
                "softmax": scipy.special.softmax(FEATURES["deep"] / rms / 0.5, -1)}[name]
    np.testing.assert_allclose(features["deep"], expected, rtol=1e-4)


def test_softmax_does_not_depend_on_the_unit_of_the_activations() -> None:
    def measure(factor: float) -> tf.Tensor:
        features = {"deep": FEATURES["deep"] * factor}
        smoothing = Smoothing("softmax", 0.3)
        scales = measure_scales(smoothing, lambda image: features, None, ("deep",))
        return smoothed(smoothing, lambda image: features, scales, ("deep",))(None)["deep"]

    np.testing.assert_allclose(measure(1.0), measure(1000.0), rtol=1e-4)


def test_softmax_makes_peaks_smaller_and_larger_temperatures_smoother() -> None:
    peaky = np.array([100, 1, 1, 1], np.float32).reshape(1, 1, 1, 4)
    largest = [float(tf.reduce_max(softmax(peaky / 50, temperature))) for temperature in (0.1, 1.0, 10.0)]
    assert largest[0] > 0.99 > largest[1] > 0.5 > largest[2] > 0.25


def test_gradients_by_finite_differences() -> None:
    F = tf.constant(FEATURES["deep"] / 40, tf.float64)
    towards = tf.constant(RNG.normal(size=F.shape))

    def value(F: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.square(softmax(F, 0.7)) * towards)

    with tf.GradientTape() as tape:
        tape.watch(F)
        total = value(F)
    direction = tf.constant(RNG.normal(size=F.shape))
    slope = (value(F + 1e-6 * direction) - value(F - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(tf.reduce_sum(tape.gradient(total, F) * direction), slope, rtol=1e-6)


def test_what_is_written() -> None:
    for text in ("none", "softmax:0.5"):
        assert parse_smoothing(text).written() == text
    for text, message in (("softmx:1", "did you mean 'softmax'"), ("softmax", "with a number from"),
                          ("softmax:1e-39", "with a number from"), ("softmax:1e30", "with a number from"),
                          ("softmax:0", "with a number from"), ("softmax:nan", "with a number from"),
                          ("none:1", "with a number from"), ("", "Valid: none")):
        with pytest.raises(UserError, match=message):
            parse_smoothing(text)


def test_the_plan_smooths_layers_of_stride_16_and_more(photo: str, painting: str) -> None:
    config = StylizeConfig(content=photo, style=(painting,), backbone="resnet50", weights="random", size=63,
                           smoothing="softmax:2")
    objective = resolve(config).objective
    assert objective.smoothing == Smoothing("softmax", 2.0)
    assert objective.smoothed_layers == ("conv4_block6_out", "conv5_block3_out")
    assert resolve(dataclasses.replace(config, smoothing="none")).objective.smoothed_layers == ()
    default = dataclasses.replace(config, smoothing="")
    assert resolve(default).objective.smoothing == Smoothing("none", 1.0)
    papers = dataclasses.replace(default, normalization="gatys")
    assert resolve(papers).objective.smoothing == Smoothing("softmax", 10.0)


def test_smoothing_that_would_change_nothing(photo: str, painting: str) -> None:
    shallow = StylizeConfig(content=photo, style=(painting,), backbone="resnet50", weights="random", size=63,
                            content_layers=("conv2_block3_out",), style_layers=("conv1_relu",))
    for text in ("softmax:2", "softmax:0.5"):
        with pytest.raises(UserError) as raised:
            resolve(dataclasses.replace(shallow, smoothing=text))
        message = str(raised.value)
        assert message.startswith(f"--smoothing={text} changes layers of stride 16 and more, and none of the layers "
                                  "chosen is one: choose one of conv4_block") and "\n" not in message
    # A default has nothing to change either, and says so, so that the run can be repeated by its flags.
    default = dataclasses.replace(shallow, normalization="gatys")
    plan = resolve(default)
    assert plan.objective.smoothing.name == "none" and resolve(complete(default, plan)) == plan
    dreamt = dataclasses.replace(shallow, smoothing="softmax:2", dream=("conv5_block3_out:3",))
    assert resolve(dreamt).objective.smoothed_layers == ("conv5_block3_out",)
