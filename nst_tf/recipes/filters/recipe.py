"""Learning filters as a row of the run machinery: the bundled ones, or those of a user's own pictures.

No TensorFlow here.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nst_tf.backbones.architectures import LEARNING_SIDE_PX
from nst_tf.config import setting
from nst_tf.io import images
from nst_tf.io.files import check_writable, quoted
from nst_tf.runs.recipe import Options, Recipe
from nst_tf.runs.session import CHECKOUT
from nst_tf.vocabulary import UserError

BUNDLED_PATCHES_PER_LAYER = 80_000
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class FiltersConfig:
    """From what the filters are learned and where they go."""

    pictures: tuple[str, ...] = setting(
        (), "Pictures to learn from, or folders of them. By default these are the drawn pictures and "
        "scikit-image's photos from which the bundled filters come. They need a checkout of the project, in which "
        "pip install -e '.[filters]' was run.", group="Pictures", basic=True, placeholder="FILE|FOLDER,...")
    output: str = setting(
        "filters.npz", "The file to write, for --backbone=kmeans --weights=FILE.", group="Pictures", basic=True,
        placeholder="FILE")
    seed: int = setting(0, "Seed of the patches drawn.", basic=True, minimum=0, placeholder="N")


def _resolve(config: FiltersConfig, _: None) -> list[np.ndarray]:
    """The pictures to learn from.

    Raises:
        UserError: an unwritable output, no picture, or one that cannot be read.
    """
    if not config.output.endswith(".npz"):
        raise UserError(f"--output={config.output} has another ending: filters are written as .npz; rename it")
    check_writable(config.output, "--output")
    paths = [path for given in config.pictures for path in picture_files(given)]
    pictures = [images.load(path, name="--pictures", max_side_px=LEARNING_SIDE_PX) for path in paths]
    return pictures or _bundled_pictures()


def _bundled_pictures() -> list[np.ndarray]:
    """The pictures that the bundled filters are learned from.

    Raises:
        UserError: the code that draws them is not here, or scikit-image, whose photos are used, is not installed.
    """
    # It is not installed, and not on the path of a script. Last, so that it hides no package.
    sys.path.append(str(CHECKOUT))
    try:
        bundled = importlib.import_module("sample_drawing.bundled")
    except ModuleNotFoundError:
        raise UserError("the bundled filters are learned from pictures that sample_drawing/ draws, a part of the "
                        "project's checkout and not of the installed package: give --pictures=FOLDER") from None
    pictures: list[np.ndarray] = bundled.bundled_pictures()
    return pictures


def picture_files(given: str) -> Iterator[str]:
    """The file itself, or every picture of a folder, in the order of their names."""
    if not Path(given).is_dir():
        yield given
        return
    found: Sequence[Path] = sorted(path for path in Path(given).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise UserError(f"--pictures {quoted(given)} holds no picture ({' '.join(PICTURE_SUFFIXES)}): give another")
    yield from map(str, found)


FILTERS = Recipe(
    name="filters", script="learn_filters.py", method=1, engine="nst_tf.recipes.filters.steps:session",
    resolve=_resolve, options=lambda config, _: Options(folder=None, has_bar=False),
    about=lambda job: f"{len(job.plan)} pictures",
    too_large="the pictures do not fit into memory: give fewer --pictures")
