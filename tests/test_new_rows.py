"""A term, a statistic and a backbone are one function and one row each: this file adds one of each."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor, cut, randomize
from nst_tf.backbones.facts import Operation
from nst_tf.backbones.table import BACKBONES, Backbone, Variant
from nst_tf.config import StylizeConfig
from nst_tf.grammar import LayerWeight
from nst_tf.losses.evaluation import TERMS
from nst_tf.losses.moments import Moments, blend, measure_mean
from nst_tf.losses.objective import Objective
from nst_tf.losses.statistics import STATISTICS, Statistic, relative
from nst_tf.losses.term import Losses, PICTURE, Term, View
from nst_tf.recipes.stylize.plan import Decided, resolve
from nst_tf.recipes.stylize.steps import set_up, stylize
from nst_tf.types import Tensor

from .test_tiles import _check, _objective


class Weights(NamedTuple):
    """The terms with one more."""

    content: float = 0.0
    style: float = 0.0
    smoothness: float = 0.0
    dream: float = 0.0
    neighbors: float = 0.0
    temporal: float = 0.0
    rhythm: float = 0.0
    brightness: float = 0.0


def measure_brightness(objective: Objective, view: View, fixed: Any) -> Moments:
    """The function of a term: Σ_p w_p x_p and n."""
    x = view.picture()
    w = view.weights(PICTURE)
    return measure_mean(x, tf.ones_like(x[..., 0]) if w is None else w)


def compare_brightness(objective: Objective, sums: Moments, target: Any) -> tuple[Tensor, Losses]:
    """(mean x − ¼)²."""
    mean = tf.reduce_mean(sums.sums[0], axis=-1) / sums.count
    return tf.square(mean - 0.25), {}


def measure_sum(F: Tensor, weights: Tensor | None = None) -> Moments:
    """The function of a statistic: Σ_p w_p F_p and n."""
    return measure_mean(F, tf.ones_like(F[..., 0]) if weights is None else weights)


OPERATION = Operation("only", 3, 1, 1, 5)


def build_one_layer(layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Any]) -> Extractor:
    """The function of a backbone: one convolution of five channels."""
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="only")(image))
    randomize(model, seed)
    return cut(model, layers, (0.5, 0.5, 0.5))


ONLY = (LayerWeight("only", 1.0),)


@pytest.fixture
def config(photo: str, painting: str) -> StylizeConfig:
    return StylizeConfig(content=photo, style=(painting,), backbone="kmeans", weights="bundled", size=48, min_size=48,
                         steps=30, precision="float32")


def test_a_term_is_one_function_pair_and_one_row(config: StylizeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMS, "brightness", Term(measure_brightness, compare_brightness))
    for rank in (1, 2, 3):
        _check(_objective("gram")._replace(weights=Weights(brightness=1.0)), rank, "float64")  # type: ignore[arg-type]
    plan = resolve(config)
    weights: Any = Weights(*plan.objective.weights, brightness=100.0)
    decided = Decided(variant=Variant(), objective=plan.objective._replace(weights=weights), stages=plan.stages)
    *_, last = stylize(config, plan=plan, setup=set_up(config, plan, decided))
    *_, without = stylize(config)
    assert float(last.losses["loss/brightness"]) < 1e-4
    assert abs(last.picture().mean() - 0.25) < 0.03 < abs(without.picture().mean() - 0.25)


def _allow(monkeypatch: pytest.MonkeyPatch, field: str, name: str) -> None:
    """One more name in a flag's vocabulary."""
    definition = StylizeConfig.__dataclass_fields__[field]
    choices = (*definition.metadata["choices"], name)
    monkeypatch.setattr(definition, "metadata", {**definition.metadata, "choices": choices})


def test_a_statistic_is_one_function_and_one_row(config: StylizeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    _allow(monkeypatch, "statistic", "mean")
    monkeypatch.setitem(STATISTICS, "mean", Statistic(measure_sum, blend, relative))
    for rank in (1, 2, 3):
        _check(_objective("mean", style=1.0), rank, "float64", with_areas=True)
    first, *_, last = stylize(dataclasses.replace(config, statistic="mean"))  # type: ignore[arg-type]
    assert float(last.losses["loss/style"]) < 0.3 * float(first.losses["loss/style"])
    assert {"style/0/conv1"} <= set(last.details())


def test_a_backbone_is_one_function_and_one_row(config: StylizeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    _allow(monkeypatch, "backbone", "one")
    monkeypatch.setitem(BACKBONES, "one", Backbone(
        operations=(OPERATION,), content_layers=ONLY, style_layers=ONLY, dream_layers=ONLY, weights=("random",),
        default_weights="random", suffixes=(".npz",), weights_mb=0.1, build=build_one_layer))
    first, *_, last = stylize(dataclasses.replace(config, backbone="one", weights="", pooling="", padding="reflect"))
    assert float(last.losses["loss/total"]) < 0.5 * float(first.losses["loss/total"])
    assert np.isfinite(last.picture()).all()
