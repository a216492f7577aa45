"""Every optimizer on every canvas: its defaults, what is refused, whole runs, SciPy on a style transfer."""

import dataclasses
import os
import signal
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.optimize.canvas import CANVASES
from nst_tf.optimize.optimizers import OPTIMIZERS
from nst_tf.recipes.stylize.plan import Descent, LEARNING_RATES, complete, resolve
from nst_tf.recipes.stylize.stage import stage_losses
from nst_tf.recipes.stylize.steps import set_up, stylize
from nst_tf.runs.metrics import read_rows
from nst_tf.vocabulary import UserError

from .conftest import run_stylize as run, stored_state, stylize_settings as settings

WAYS = list(product(OPTIMIZERS, CANVASES))
pytestmark = pytest.mark.usefixtures("shared_networks")


@pytest.fixture
def config(photo: str, painting: str) -> StylizeConfig:
    """Two stages of 5 + 7 steps on shallow layers."""
    return StylizeConfig(content=photo, style=(painting,), backbone="kmeans", weights="bundled", size=64, min_size=46,
                         steps=12, precision="float32", content_layers=("conv2",), style_layers=("conv1", "conv2"))


def _with(config: StylizeConfig, **changes: Any) -> StylizeConfig:
    return dataclasses.replace(config, **changes)


def test_defaults(config: StylizeConfig) -> None:
    assert set(LEARNING_RATES) == set(WAYS)
    alexnet = _with(config, backbone="alexnet", weights="random", content_layers=(), style_layers=())
    assert resolve(alexnet).descent == Descent(0.05, "cosine", 0.7, 2)
    assert resolve(_with(alexnet, canvas="fourier")).descent == Descent(0.05, "cosine", 0.0, 2)
    assert resolve(_with(alexnet, optimizer="lbfgs")).descent == Descent(0.03, "constant", 0.0, 0)


@pytest.mark.parametrize("optimizer, canvas", WAYS)
def test_a_complete_config_means_the_same(config: StylizeConfig, optimizer: str, canvas: str) -> None:
    plan = resolve(_with(config, optimizer=optimizer, canvas=canvas))
    whole = complete(_with(config, optimizer=optimizer, canvas=canvas), plan)
    assert resolve(whole) == plan and settings(whole, plan)["--learning_rate"] == LEARNING_RATES[optimizer, canvas]
    assert settings(whole, plan)["--schedule"] in ("cosine", "constant")


@pytest.mark.parametrize("changes, text", [
    ({"optimizer": "lbfgs", "gradient_smoothing": 0.5}, "--gradient_smoothing=0.5 is for --optimizer=adam"),
    ({"optimizer": "lbfgs", "jitter": 3}, "--jitter=3 is for --optimizer=adam"),
    ({"optimizer": "lbfgs", "schedule": "cosine"}, "--schedule=cosine is for --optimizer=adam"),
    ({"canvas": "fourier", "gradient_smoothing": 0.5}, "--gradient_smoothing=0.5 is for pixels"),
    ({"optimizer": "lbfgs", "steps": 1}, "--steps=1 is too few for --optimizer=lbfgs, whose first step only measures"),
    ({"schedule": "cosin"}, "--schedule 'cosin' is unknown, did you mean 'cosine'?"),
    ({"canvas": "furier"}, "--canvas 'furier' is unknown, did you mean 'fourier'?"),
])
def test_what_cannot_be_obeyed_is_refused(config: StylizeConfig, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as raised:
        resolve(_with(config, **changes))
    assert text in str(raised.value) and "\n" not in str(raised.value)


def test_what_changes_nothing_may_be_given(config: StylizeConfig) -> None:
    given = _with(config, optimizer="lbfgs", gradient_smoothing=0.0, jitter=0, schedule="constant")
    assert resolve(given) == resolve(_with(config, optimizer="lbfgs"))


@pytest.mark.parametrize("steps", [2, 3, 7, 11])
def test_no_stage_of_lbfgs_has_a_single_step_which_would_only_measure_where_it_starts(config: StylizeConfig,
                                                                                      steps: int) -> None:
    small = _with(config, min_size=16, steps=steps)
    of_adam, of_lbfgs = (resolve(_with(small, optimizer=optimizer)).stages for optimizer in ("adam", "lbfgs"))
    assert any(stage.steps == 1 for stage in of_adam) and all(stage.steps > 1 for stage in of_lbfgs)
    assert sum(stage.steps for stage in of_lbfgs) == steps and of_lbfgs[-1].long_side_px == 64
    assert all(stage.decay_steps == stage.steps for stage in of_lbfgs)


def test_two_steps_of_lbfgs_change_the_picture(config: StylizeConfig) -> None:
    first, second = stylize(_with(config, optimizer="lbfgs", min_size=16, steps=2))
    assert second.losses["loss/total"] < first.losses["loss/total"]
    assert np.abs(second.picture() - first.picture()).max() > 0.01


@pytest.mark.parametrize("optimizer, canvas", WAYS[1:])
def test_whole_equals_whole_equals_stopped_and_resumed(config: StylizeConfig, optimizer: str, canvas: str,
                                                       tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: Any) -> Any:
        for progress in stylize(*args):
            if progress.state.step == stop:
                os.kill(os.getpid(), signal.SIGTERM)
            yield progress

    way = _with(config, optimizer=optimizer, canvas=canvas)
    runs = [RunConfig(logdir=str(tmp_path), run=name, log_every=1) for name in ("whole", "again", "stopped")]
    assert run(way, runs[0]) == run(way, runs[1]) == 0
    for stop in (3, 9):
        with monkeypatch.context() as patch:
            patch.setattr("nst_tf.recipes.stylize.steps.stylize", stopped)
            assert run(way, runs[2]) == 143
    assert run(way, runs[2]) == 0
    folders = [tmp_path / name for name in ("whole", "again", "stopped")]
    pictures = [(folder / "output.png").read_bytes() for folder in folders]
    assert pictures[0] == pictures[1] == pictures[2]
    states = [stored_state(folder) for folder in folders]
    for one, other in zip(tf.nest.flatten(states[0]), tf.nest.flatten(states[2]), strict=True):
        np.testing.assert_array_equal(one, other)
    totals = [[row["total"] for row in read_rows(folder / "metrics.jsonl")] for folder in folders]
    assert len(totals[0]) == 12 and totals[0] == totals[2]


@pytest.mark.parametrize("optimizer, canvas", WAYS)
def test_every_way_lowers_the_objective_and_shows_a_picture(config: StylizeConfig, optimizer: str, canvas: str) -> None:
    *_, last = progresses = list(stylize(_with(config, optimizer=optimizer, canvas=canvas, min_size=64)))
    losses = [float(progress.losses["loss/total"]) for progress in progresses]
    assert losses[-1] < 0.8 * losses[0]
    picture = last.picture()
    assert picture.shape == (48, 64, 3) and picture.dtype == np.float32 and 0 <= picture.min() <= picture.max() <= 1


def test_lbfgs_stylizes_as_soon_as_scipy(config: StylizeConfig) -> None:
    one_size = _with(config, optimizer="lbfgs", min_size=64, steps=60)
    plan = resolve(one_size)
    setup = set_up(one_size, plan)
    *_, last = stylize(one_size, plan=plan, setup=setup)
    measure = tf.function(stage_losses(one_size, plan, setup, 0), autograph=False)
    still = tf.constant([0, 0])

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        image = tf.constant(x.reshape(1, 48, 64, 3), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(image)
            total = measure(image, still)["loss/total"]
        return float(total), tape.gradient(total, image).numpy().ravel().astype(np.float64)

    start = next(iter(stylize(one_size, plan=plan, setup=setup))).picture()
    result = scipy.optimize.minimize(evaluate, start.ravel(), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * start.size,
                                     options={"maxcor": 10, "maxfun": 60, "ftol": 0.0, "gtol": 0.0})
    ours, at_start = (evaluate(picture)[0] for picture in (last.picture(), start))
    assert result.fun < 0.5 * at_start
    assert ours < 1.1 * result.fun
