"""`stylize.py --fast`: a photo in one forward pass of a trained network, a row of the machinery. No TensorFlow."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.generators.choice import mixture_of
from nst_tf.generators.files import Generator, load
from nst_tf.generators.layers import SMALLEST_PX
from nst_tf.io import files, images
from nst_tf.io.files import quoted
from nst_tf.io.picture_files import PictureFiles
from nst_tf.recipes.stylize.plan_tiles import parse_tile
from nst_tf.recipes.stylize.recipe import STYLIZE, check_picture_output, picture_writer
from nst_tf.runs.folder import run_options
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Recipe, Writer, Written
from nst_tf.runs.record import Input
from nst_tf.vocabulary import UserError

# The flags of stylize.py that a network of one forward pass reads. The others are those of the optimizer.
READ = ("fast", "content", "style", "style_blend", "size", "color", "tile", "threads")
# The same of its runs. A batch resumes all its runs.
READ_OF_RUN = ("output", "own_size", "bit_depth", "logdir", "run", "resume", "overwrite")
# Colors that are joined to the finished picture; the others change what the optimizer measures.
COLORS = ("style", "keep")


class PaintPlan(NamedTuple):
    """What the files and flags say. `mixture` is how much of each style of the network, with the sum 1."""

    generator: Generator
    mixture: tuple[float, ...]
    content_size_px: tuple[int, int]  # (width, height) of the photo
    tile_px: int | None               # 0 for none, None for `auto`
    inputs: tuple[Input, ...]
    opened: PictureFiles


def _resolve(config: StylizeConfig, run_config: RunConfig) -> PaintPlan:
    for field in (*dataclasses.fields(StylizeConfig), *dataclasses.fields(RunConfig)):
        given = getattr(config if hasattr(config, field.name) else run_config, field.name)
        if field.name not in READ + READ_OF_RUN and given != field.default:
            raise UserError(f"--{field.name} is read by the optimizer, and --fast paints in one pass: leave out one of "
                            "them")
    if config.color not in COLORS:
        raise UserError(f"--color={config.color} changes what the optimizer measures: give {' or '.join(COLORS)} with "
                        "--fast")
    if not config.content:
        raise UserError("--content is missing: give a photo, as in --fast=DIR --content=photo.jpg")
    generator = load(config.fast)
    mixture, opened = mixture_of(generator, config.fast, config.style, config.style_blend), PictureFiles()
    size_px = images.size_px(config.content, "--content")
    images.check_smallest_side(images.fit(config.long_side_px, *size_px), SMALLEST_PX, "--content", config.content,
                               "the network halves the picture twice; give a larger --size")
    opened.load(config.content, "--content", config.long_side_px)
    inputs = (Input("--content", config.content, files.sha256(config.content)),
              Input("--fast", config.fast, files.sha256_of_folder(config.fast)))
    plan = PaintPlan(generator, mixture, size_px, parse_tile(config.tile), inputs, opened)
    check_picture_output(config, run_config, plan)
    if run_config.output and Path(run_config.output).resolve().parent == Path(config.fast).resolve():
        raise UserError(f"--output {quoted(run_config.output)} is in the folder of --fast: give another folder")
    return plan


def _writer(job: Job) -> Writer:
    write_picture = picture_writer(job)

    def write(last: Progress | None) -> Written:
        assert last is not None, "one forward pass is one step"
        return Written(write_picture(last.state))

    return write


PAINT = Recipe(
    # Its command is that of the optimizer; `recipe_of` chooses.
    name="stylize", script="stylize.py", method=STYLIZE.method, engine="nst_tf.recipes.paint.steps:session",
    resolve=_resolve,
    options=lambda config, run_config: run_options(config, run_config)._replace(log_every=None), writer=_writer,
    contents=("output.png",))


def recipe_of(config: StylizeConfig) -> Recipe:
    """How stylize.py makes the picture of a config: by optimization, or in one forward pass."""
    return PAINT if config.fast else STYLIZE
