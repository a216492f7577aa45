"""Learning filters as a row of the run machinery: the bundled ones, or those of a user's own pictures.

No TensorFlow here.
"""

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nst_tf.backbones.architectures import LEARNING_SIDE_PX
from nst_tf.config import Settings, setting
from nst_tf.io import images
from nst_tf.io.files import check_writable, quoted
from nst_tf.runs.recipe import Options, Recipe
from nst_tf.runs.session import CHECKOUT
from nst_tf.vocabulary import UserError

BUNDLED_PATCHES_PER_LAYER = 80_000
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class FiltersConfig(Settings):
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
    pictures = [images.load(path, name="--pictures", max_side_px=LEARNING_SIDE_PX)
                for path in picture_files(config.pictures)]
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


def picture_files(paths: Iterable[str]) -> list[str]:
    """The files of --pictures; a folder stands for all its pictures, in the order of their names."""
    files: list[str] = []
    for path in paths:
        pictures = [path]
        if Path(path).is_dir():
            pictures = sorted(str(file) for file in Path(path).iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
        if not pictures:
            raise UserError(f"--pictures {quoted(path)} holds no picture ({' '.join(PICTURE_SUFFIXES)}): give another")
        files += pictures
    return files


FILTERS = Recipe(
    name="filters", script="learn_filters.py", method=1, engine="nst_tf.recipes.filters.steps:session",
    resolve=_resolve, options=lambda config, _: Options(folder=None, has_bar=False),
    about=lambda job: f"{len(job.plan)} pictures",
    too_large="the pictures do not fit into memory: give fewer --pictures")
