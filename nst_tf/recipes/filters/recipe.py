"""Learning filters as a row of the run machinery: the bundled ones, or those of a user's own pictures.

No TensorFlow here.
"""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nst_tf.backbones.architectures import LEARNING_SIDE_PX
from nst_tf.config import Settings, setting
from nst_tf.io.files import check_writable
from nst_tf.io.images import FloatImage
from nst_tf.io.picture_folders import load_all
from nst_tf.runs.recipe import Options, Recipe
from nst_tf.runs.session import CHECKOUT, say
from nst_tf.vocabulary import UserError

BUNDLED_PATCHES_PER_LAYER = 80_000


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
    return [picture for _, picture in learned_from(config.pictures)] or _bundled_pictures()


def learned_from(paths: Sequence[str]) -> list[tuple[str, FloatImage]]:
    """The pictures of --pictures with their files; says what is left out of folders.

    Raises:
        UserError: a file that is no sound picture, or a folder that holds none.
    """
    loaded = load_all(paths, "--pictures", LEARNING_SIDE_PX)
    if loaded.left_out:
        say(f"nst_tf: {loaded.left_out}")
    return loaded.pictures


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


FILTERS = Recipe(
    name="filters", script="learn_filters.py", method=2, engine="nst_tf.recipes.filters.steps:session",
    resolve=_resolve, options=lambda config, _: Options(folder=None, has_bar=False),
    about=lambda job: f"{len(job.plan)} pictures",
    too_large="the pictures do not fit into memory: give fewer --pictures")
