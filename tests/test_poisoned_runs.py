"""Whole runs with activations that are no numbers at given steps: what is said, recorded, stored and gone on with."""

import dataclasses
import doctest
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.io import images
from nst_tf.optimize.state import averaged
from nst_tf.optimize.step import run_stage
from nst_tf.recipes.dream import steps as dream
from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig
from nst_tf.recipes.stylize import steps as stylize
from nst_tf.recipes.stylize.network import Network, NetworkPlan
from nst_tf.recipes.units import synthesis
from nst_tf.recipes.units.plan import UnitsConfig
from nst_tf.runs import checkpoint
from nst_tf.runs.progress import Progress
from nst_tf.vocabulary import NotFinite

from .conftest import run_dream, run_stylize, run_units, save_picture, stored_state


ENGINES: dict[str, Callable[..., Iterator[Any]]] = {
    "stylize": stylize.stylize, "dream": dream.dream, "units": run_stage}
PLACES = {"stylize": (stylize, "stylize"), "dream": (dream, "dream"), "units": (synthesis, "run_stage")}
# What the activations of each layer are multiplied by.
FACTORS = {"conv1": tf.Variable(1.0), "conv2": tf.Variable(1.0)}
NETWORKS: dict[Any, Any] = {}
MEASURE = Extractor.native


def _poisoned(extractor: Extractor, *arguments: Any, **values: Any) -> dict[str, tf.Tensor]:
    """In place of `Extractor.native`."""
    return {layer: F * tf.cast(FACTORS.get(layer, 1.0), F.dtype)
            for layer, F in MEASURE(extractor, *arguments, **values).items()}


Poisoner = Callable[..., None]


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[Poisoner]:
    """(recipe, layer, events): poisons a layer for these steps of a run, counted from 0, failures among them.

    Stylizations of this file share what is compiled.
    """
    def shared(plan: NetworkPlan) -> Network:
        if plan not in NETWORKS:
            NETWORKS[plan] = Network(plan)
        return NETWORKS[plan]

    def set_poison(recipe: str, layer: str, *events: int, value: float = np.nan) -> None:
        def steps(*arguments: Any, **settings: Any) -> Iterator[Any]:
            FACTORS[layer].assign(value if 0 in events else 1.0)
            for count, event in enumerate(ENGINES[recipe](*arguments, **settings), 1):
                yield event
                FACTORS[layer].assign(value if count in events else 1.0)

        monkeypatch.setattr(*PLACES[recipe], steps)

    monkeypatch.setattr(Extractor, "native", _poisoned)
    monkeypatch.setattr(stylize, "Network", shared)
    yield set_poison
    for factor in FACTORS.values():
        factor.assign(1.0)


@pytest.fixture
def config(photo: str, painting: str) -> StylizeConfig:
    return StylizeConfig(content=photo, style=(painting,), backbone="kmeans", weights="bundled", size=32, min_size=32,
                         steps=5, content_layers=("conv2",), style_layers=("conv1", "conv2"))


def _options(tmp_path: Path) -> RunConfig:
    return RunConfig(logdir=str(tmp_path / "logs"), run="r", log_every=2, checkpoint_every=0.0)


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _failures(folder: Path) -> list[tuple[Any, ...]]:
    return [(row["step"], row["failed_step"], row["not_finite"], row["rate_share"]) for row in _rows(folder)
            if "not_finite" in row]


# The fast tests of stylizations share what is compiled for bfloat16.
PRECISIONS = [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_stylization_goes_on(config: StylizeConfig, tmp_path: Path, precision: Any, poison: Poisoner,
                               capsys: pytest.CaptureFixture[str]) -> None:
    """The third step fails. When the second has been taken again, the third fails again."""
    poison("stylize", "conv1", 2, 4, value=np.inf if precision == "bfloat16" else np.nan)
    assert run_stylize(dataclasses.replace(config, precision=precision), _options(tmp_path)) == 0
    said = capsys.readouterr().err
    assert said.count("not finite") == 1
    assert ("nst_tf: the loss of style (conv1) is not finite at step 3: the run goes back, and on with 0.5 of the step "
            "size") in said
    folder = tmp_path / "logs/r"
    assert _failures(folder) == [(1, 3, "the loss of style (conv1)", 0.5), (1, 3, "the loss of style (conv1)", 0.25)]
    assert [row["step"] for row in _rows(folder) if "total" in row] == [1, 2, 2, 2, 4, 5]
    state = stored_state(folder)
    assert state and (state.step, state.rate_share) == (5, 0.25)
    assert images.load(folder / "output.png").std() > 0.01


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_stylization_that_gives_up_keeps_the_last_good_picture_and_goes_on_from_it(
        config: StylizeConfig, tmp_path: Path, precision: Any, poison: Poisoner) -> None:
    config = dataclasses.replace(config, precision=precision)
    poison("stylize", "conv2", *range(3, 9))
    options, folder = _options(tmp_path), tmp_path / "logs/r"
    with pytest.raises(NotFinite) as raised:
        run_stylize(config, options)
    message = str(raised.value)
    assert message.startswith("the loss of content (conv2), style (conv2) is not finite at step 3, 3 times in a row: "
                              "lower --learning_rate, and give another --run; or go on from the newest good state: ")
    assert message.endswith("--run=r --resume --steps=5") and "\n" not in message
    assert [failure[3] for failure in _failures(folder)] == [0.5, 0.25, 0.125]
    state, picture = stored_state(folder), images.load(folder / "output.png")
    assert state and (state.step, state.rate_share) == (2, 0.125)
    np.testing.assert_allclose(picture, averaged(state)[0], atol=0.5 / 255 + 1e-6)
    poison("stylize", "conv2")
    assert run_stylize(config, options) == 0
    state = stored_state(folder)
    assert state and (state.step, state.rate_share) == (5, 0.125)


@pytest.mark.slow
@pytest.mark.parametrize("size, events, failed, good", [(32, (0, 1, 2), 1, (0, 0, 0)), (32, (1, 2, 3), 1, (0, 0, 0)),
                                                        (64, (1, 2, 3), 2, (1, 1, 0))])
@pytest.mark.parametrize("canvas", ["pixels", "fourier"])
def test_the_beginning_of_a_size_that_fails_gives_up_and_goes_on(
        config: StylizeConfig, tmp_path: Path, poison: Poisoner, canvas: Any, size: int, events: tuple[int, ...],
        failed: int, good: tuple[int, ...]) -> None:
    """Of 64 px, the first step is one at 32 px."""
    config = dataclasses.replace(config, size=size, canvas=canvas)
    poison("stylize", "conv2", *events)
    with pytest.raises(NotFinite, match=f"at step {failed}, 3 times in a row: the picture that this size begins with"):
        run_stylize(config, _options(tmp_path))
    state = stored_state(tmp_path / "logs/r")
    assert state and (state.step, state.stage, state.stage_step, state.rate_share) == (*good, 0.125)
    assert images.load(tmp_path / "logs/r/output.png").std() > 0.01
    poison("stylize", "conv2")
    assert run_stylize(config, _options(tmp_path)) == 0


@pytest.mark.slow
def test_a_checkpoint_that_fails_is_left_for_the_one_before(config: StylizeConfig, tmp_path: Path, poison: Poisoner,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between a step and the next, which fails: the picture of the newest checkpoint is not known to be good."""
    def killed(*given: Any) -> Iterator[Progress]:
        for progress in ENGINES["stylize"](*given):
            yield progress
            if progress.step == 3:
                raise KeyboardInterrupt

    folder = tmp_path / "logs/r"
    with monkeypatch.context() as patched:
        patched.setattr(stylize, "stylize", killed)
        with pytest.raises(KeyboardInterrupt):
            run_stylize(config, _options(tmp_path))
    assert [path.name for path in checkpoint.stored(folder / "checkpoints")] == ["step_00000003.npz",
                                                                                 "step_00000002.npz"]
    poison("stylize", "conv2", 0, 1, 2)
    with pytest.raises(NotFinite, match="at step 4"):
        run_stylize(config, _options(tmp_path))
    assert [path.name for path in checkpoint.stored(folder / "checkpoints")] == ["step_00000002.npz"]
    poison("stylize", "conv2")
    assert run_stylize(config, _options(tmp_path)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("canvas", ["pixels", "fourier"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_huge_learning_rate_makes_a_picture_or_stops(config: StylizeConfig, tmp_path: Path, optimizer: Any,
                                                       canvas: Any, precision: Any) -> None:
    """With 1e3 every number stays finite. Beyond, a run may give up."""
    changed = dataclasses.replace(config, optimizer=optimizer, canvas=canvas, precision=precision)
    for rate in (1e3, 3e38):
        options = dataclasses.replace(_options(tmp_path), run=f"r{rate}")
        try:
            assert run_stylize(dataclasses.replace(changed, learning_rate=rate), options) == 0
        except NotFinite:
            assert rate > 1e3
        state, folder = stored_state(tmp_path / "logs" / options.run), tmp_path / "logs" / options.run
        assert state and all(np.isfinite(part).all() for part in (state.parameters, state.average, *state.slots))
        assert rate > 1e3 or not _failures(folder)
        assert images.load(folder / "output.png").shape == (24, 32, 3)


def _dream(photo: str, **settings: Any) -> DreamConfig:
    given: dict[str, Any] = {"content": photo, "backbone": "squeezenet", "weights": "random", "size": 61,
                             "dream": ("conv1",), "octaves": 2, "steps": 3, "frames": 2, "tile": 48,
                             "precision": "float32"}
    return DreamConfig(**(given | settings))


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_a_dream_goes_on(tmp_path: Path, precision: Any, poison: Poisoner,
                         capsys: pytest.CaptureFixture[str]) -> None:
    """Octaves, frames, tiles: the second step of the second octave fails, and the second one of the second frame."""
    photo = save_picture(tmp_path / "photo.png", 53, 71, seed=4)
    poison("dream", "conv1", 4, 9)
    options = DreamRunConfig(logdir=str(tmp_path / "logs"), run="r", log_every=1)
    assert run_dream(_dream(photo, precision=precision), options) == 0
    said = capsys.readouterr().err
    assert said.count("not finite") == 1
    assert "the excitation of conv1 is not finite at step 5: the run goes back, and on with 0.5 of the step" in said
    folder = tmp_path / "logs/r"
    assert _failures(folder) == [(3, 5, "the excitation of conv1", 0.5), (6, 8, "the excitation of conv1", 0.5)]
    assert [row["step"] for row in _rows(folder) if "excitation" in row] == [1, 2, 3, 4, 4, 5, 6, 7, 7, *range(8, 13)]
    assert all(images.load(folder / f"images/frame_0000{number}.png").std() > 0.01 for number in (1, 2))


@pytest.mark.slow
def test_a_dream_that_gives_up_goes_on_from_its_last_octave(tmp_path: Path, poison: Poisoner,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    photo = save_picture(tmp_path / "photo.png", 53, 71, seed=4)
    options = DreamRunConfig(logdir=str(tmp_path / "logs"), run="r", log_every=1)
    poison("dream", "conv1", 4, 5, 6)
    with pytest.raises(NotFinite, match=r"the excitation of conv1 is not finite at step 4, 3 times in a row: give a "
                                        r"smaller --step_size, and give another --run; or go on .*--frames=2$"):
        run_dream(_dream(photo), options)
    assert images.load(tmp_path / "logs/r/output.png").std() > 0.01
    poison("dream", "conv1")
    assert run_dream(_dream(photo), options) == 0
    assert "continues at frame 1 of 2, octave 2 of 2" in capsys.readouterr().err


def _units(tmp_path: Path) -> UnitsConfig:
    return UnitsConfig(view="synthesized", output=str(tmp_path / "out"), backbone="squeezenet", weights="random",
                       layers=("conv1:0-1",), synthesized_size=17, steps=3)


def test_synthesized_pictures_of_units_go_on(tmp_path: Path, poison: Poisoner,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    poison("units", "conv1", 1)
    assert run_units(_units(tmp_path)) == 0
    said = capsys.readouterr().err
    assert "the activation of units of conv1 is not finite at step 2: the run goes back" in said and "3/3" in said
    assert (tmp_path / "out/index.html").exists()


@pytest.mark.slow
def test_synthesized_pictures_of_units_give_up(tmp_path: Path, poison: Poisoner) -> None:
    poison("units", "conv1", 1, 2, 3)
    with pytest.raises(NotFinite, match="the activation of units of conv1 is not finite at step 1, 3 times in a row"):
        run_units(_units(tmp_path))


def test_what_failed_is_named() -> None:
    results = doctest.testmod(stylize)
    assert results.attempted and not results.failed
    assert stylize.what_failed({"loss/total": np.inf, "loss/style": 1.0}) == "the loss"
    assert stylize.what_failed({"loss/total": 1.0}) == "the gradient or the step along it"
    named = {"loss/content": np.nan, "content/conv1": np.nan, "loss/smoothness": np.nan, "style/0/conv2": 0.5}
    assert stylize.what_failed(named) == "the loss of content (conv1), smoothness"
