"""Small pictures, made here: asymmetric and of odd sizes, so that swapped axes or channels are noticed."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import nst_tf  # noqa: F401  Before TensorFlow: what it switches on there, a script and its test have alike.
from nst_tf.backbones.extractor import Extractor
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.optimize.state import State, from_arrays
from nst_tf.recipes.dream.plan import DreamConfig, DreamRunConfig
from nst_tf.recipes.stylize.plan import Plan, complete
from nst_tf.recipes.table import RECIPES
from nst_tf.runs import checkpoint
from nst_tf.runs.progress import Progress
from nst_tf.runs.record import settings
from nst_tf.runs.run import run

SHARED = Path(__file__).resolve().parents[2] / "shared"


def run_stylize(config: StylizeConfig, run_config: RunConfig) -> int:
    """What scripts/stylize.py does."""
    return run(RECIPES["stylize"], config, run_config)


def run_dream(config: DreamConfig, run_config: DreamRunConfig) -> int:
    """What scripts/dream.py does."""
    return run(RECIPES["dream"], config, run_config)


run_units, run_compare, run_export, run_filters, run_gallery = (
    partial(run, RECIPES[name]) for name in ("units", "compare", "export", "filters", "gallery"))


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


def make_picture(height: int, width: int, seed: int) -> np.ndarray:
    """A smooth, colored, asymmetric picture with some texture, float32 [height, width, 3] in [0, 1]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(2 * np.pi * (generator.uniform(1, 5) * x + generator.uniform(1, 5) * y) + generator.uniform(0, 6))
             for _ in range(3)]
    picture = 0.5 + 0.3 * np.stack(waves, -1) + 0.1 * generator.normal(size=(height, width, 3))
    return np.clip(picture, 0, 1).astype(np.float32)


def is_too_small(extractor: Extractor, picture: np.ndarray) -> bool:
    """Whether a network refuses a picture, or has a map without cells for it: neither can be measured."""
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
    """What `--precision=auto` finds here is neither read from the user's cache nor written to it."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


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
