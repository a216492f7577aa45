"""What a logged row tells, and the photo's moved features: shortcuts that tell the same as the long way."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.grammar import LayerWeight
from nst_tf.losses import style
from nst_tf.losses.evaluation import evaluate, measure_targets
from nst_tf.losses.objective import Objective, TermWeights
from nst_tf.optimize import jitter
from nst_tf.recipes.stylize import rows, stage
from nst_tf.recipes.stylize.rows import RowDetails
from nst_tf.tensors import Features, Tensor

LAYERS = (LayerWeight("a", 1.0), LayerWeight("b", 2.0))
OBJECTIVE = Objective((), LAYERS, TermWeights(0.0, 1.0, 0.0), "relative", "gram")


def _extract(x: Tensor) -> Features:
    return {"a": x, "b": tf.square(x[:, ::2, ::2])}


def test_traced_details_are_those_of_the_first_rows_and_serve_other_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)

    def pictures(count: int) -> list[Tensor]:
        return [tf.constant(random.uniform(size=(1, 6, 8, 3)), tf.float32) for _ in range(count)]

    def sums_and_styles() -> tuple[Any, Any]:
        picture, *styles = pictures(3)
        targets, of_rows = measure_targets(OBJECTIVE, _extract, None, styles, [1.0, 3.0], size=(6, 8))
        return evaluate(OBJECTIVE, targets, _extract, picture)[1], of_rows

    monkeypatch.setattr(rows, "ROWS_BEFORE_TRACING", 2)
    calls: list[str] = []
    distance = style.style_distance

    def counted(objective: Objective) -> Any:
        calls.append("")
        return distance(objective)

    monkeypatch.setattr(style, "style_distance", counted)
    details, jobs = RowDetails(OBJECTIVE), [sums_and_styles() for _ in range(2)]
    calls.clear()
    eager = [details(*job) for job in jobs]
    traced = [details(*job) for job in (*jobs, *jobs)]
    assert len(calls) == 3, "two rows without a trace, one trace for both jobs"
    assert set(eager[0]) == {f"style/{k}/{layer}" for k in (0, 1) for layer in "ab"}
    for first, then in zip((*eager, *eager), traced, strict=True):
        for tag, value in first.items():
            np.testing.assert_allclose(then[tag], value, rtol=1e-6)
    assert float(eager[0]["style/0/a"]) != float(eager[1]["style/0/a"])


@pytest.mark.parametrize("at_once", [1, 4, 99])
def test_features_of_moves_are_those_of_each_move(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    photo = tf.constant(np.random.default_rng(0).uniform(size=(1, 6, 8, 3)), tf.float32)
    step = stage.StepPlan(OBJECTIVE, (), 8, (), (6, 8), 1, True, 0, False, "pixels", "adam", 0.0)
    monkeypatch.setattr(stage, "MEASURED_AT_ONCE_PX", at_once * 48)
    features = stage._features_of_moves(step, _extract, photo, ["b"])["b"]
    offsets = jitter.offsets(1)
    assert len(offsets) == 9
    for offset in offsets:
        np.testing.assert_array_equal(features[int(jitter.index(offset, 1))],
                                      _extract(jitter.shift(photo, offset, 1))["b"])
