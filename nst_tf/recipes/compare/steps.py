"""The same pictures on several networks: one run each, one table, one contact sheet."""

import contextlib
import io
import json
import statistics
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nst_tf.backbones.weights.sources import WeightsError
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, contact_sheet
from nst_tf.io.files import write_atomically
from nst_tf.io.images import FloatImage
from nst_tf.losses.score import distance_to_styles, score
from nst_tf.recipes import markdown
from nst_tf.recipes.compare.recipe import (
    CompareConfig, Contestant, contestant_runs, judge_weights, missing_weights,
)
from nst_tf.recipes.stylize.plan import Plan
from nst_tf.recipes.stylize.recipe import ALL_PICTURES, STYLIZE
from nst_tf.recipes.stylize.stage import styles_at
from nst_tf.recipes.stylize.steps import set_up
from nst_tf.runs.metrics import read_rows
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session, Written
from nst_tf.runs.run import run
from nst_tf.runs.session import say, tensorboard_line
from nst_tf.runs.tensorboard import write_comparison, write_metrics
from nst_tf.tensors import Features
from nst_tf.vocabulary import RunError, UserError


class Judge(NamedTuple):
    """`score(picture)`, and what it compares with: photo and styles at the size of the pictures.

    The score is (style score, content distance); without a photo (distance to the styles, None).
    """

    score: Callable[[FloatImage], tuple[float, float | None]]
    photo: FloatImage | None
    styles: list[FloatImage]


def open_judge(config: StylizeConfig, plan: Plan) -> Judge:
    """The judge of pictures of the last stage's size, with the layers, the styles and their blend of a config.

    Raises:
        UserError: a file is wrong, or the network's weights cannot be had.
    """
    setup = set_up(config, plan)
    content, styles = setup.inputs.content, styles_at(plan, setup.inputs, -1)
    photo = None if content is None else images.resize(content, *plan.stage_size_px(-1))
    style_layers = [layer for layer, _ in plan.objective.style_layers]
    content_layers = [layer for layer, _ in plan.objective.content_layers]

    def features(picture: FloatImage) -> Features:
        return setup.fitted(picture[None])

    of_photo, of_styles = None if photo is None else features(photo), [features(style) for style in styles]

    def measure(picture: FloatImage) -> tuple[float, float | None]:
        if of_photo is None:
            return distance_to_styles(features(picture), of_styles, plan.style_blend, style_layers), None
        return score(features(picture), of_photo, of_styles, plan.style_blend, style_layers, content_layers)

    return Judge(measure, photo, styles)


# {title: (field of `Row`, format of a number; "" for a text)}.
COLUMNS = {
    "backbone": ("backbone", ""), "weights": ("weights", ""), "style score": ("style_score", ".3f"),
    "content distance": ("content_distance", ".3f"), "seconds": ("seconds", ".1f"),
    "steps/s": ("steps_per_second", ".2f"), "parameters": ("parameters", ",d"), "MB": ("parameters_mb", ".1f"),
    "note": ("note", "")}
HYPER_PARAMETERS = ("backbone", "weights", "parameters")
# {TensorBoard tag: title of its column}.
METRICS = {"score/style": "style score", "score/content": "content distance", "cost/seconds": "seconds",
           "cost/steps_per_second": "steps/s"}


class Row(NamedTuple):
    """One network: what is None was not measured, and `note` says why."""

    backbone: str
    weights: str
    style_score: float | None = None
    content_distance: float | None = None
    seconds: float | None = None
    steps_per_second: float | None = None
    parameters: int | None = None
    note: str = ""

    @property
    def parameters_mb(self) -> float | None:
        """What the parameters weigh in float32, in 10⁶ bytes."""
        return None if self.parameters is None else 4 * self.parameters / 1e6

    def cells(self) -> tuple[str, ...]:
        """The texts of `COLUMNS`; a dash for what was not measured, and for no text."""
        values = [(getattr(self, field), form) for field, form in COLUMNS.values()]
        return tuple("–" if value in (None, "") else format(value, form) for value, form in values)


def as_markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    return markdown.as_markdown({title: bool(form) for title, (_, form) in COLUMNS.items()},
                                [row.cells() for row in rows])


# So many letters of a name fit below the smallest picture of a sheet.
CAPTION_LETTERS = 24
# Why a contestant has no picture.
Errors = dict[Contestant, Exception]


def session(job: Job) -> Session:
    """Opens the judge; the events run every contestant that is not finished, the writer measures all.

    Raises:
        UserError: the judge's files or weights cannot be had.
    """
    errors: Errors = {}
    with judge_weights(job.plan.judging):
        judge = open_judge(job.plan.judge_config, job.plan.judge_plan)
    return Session(events=_events(job, errors), write=partial(_compare, job, errors, judge))


def _events(job: Job, errors: Errors) -> Iterator[Progress]:
    """Runs what is not finished, and notes in `errors` why a contestant has no picture.

    Raises:
        UserError, RunError: no contestant has one.
    """
    runs, total = contestant_runs(job), len(job.plan.contestants)
    for number, contestant in enumerate(job.plan.contestants, 1):
        say(f"nst_tf: {number} of {total}: {contestant.backbone} {contestant.weights_name}".rstrip())
        status = 0
        try:
            if contestant.missing:
                raise UserError(contestant.missing)
            # A run prints where its picture is, which nobody wants to know here.
            with contextlib.redirect_stdout(io.StringIO()):
                status = run(STYLIZE, *runs[contestant], job.stop)
        except WeightsError as error:
            errors[contestant] = UserError(missing_weights(error, contestant))
        except (UserError, RunError) as error:
            errors[contestant] = error
        if contestant in errors:
            say(f"nst_tf: {contestant.backbone} is left out: {' '.join(str(errors[contestant]).split())}")
        if len(errors) == total:
            raise next(iter(errors.values()))
        yield Progress(step=number, total_steps=total, stage=0, stage_step=number, size=(), ends_stage=False,
                       losses={}, state=None, goes_on=bool(status), unit="networks")


def _compare(job: Job, errors: Errors, judge: Judge, last: Progress | None) -> Written:
    """Measures every finished picture as its file has it, writes sheet and tables."""
    if last is None or not last.is_last:
        return Written()
    config, folder, judging = job.config, job.options.place, job.plan.judging
    runs, rows, tiles = contestant_runs(job), [], _input_tiles(config, judge)
    for contestant in job.plan.contestants:
        if contestant in errors:
            note = " ".join(str(errors[contestant]).split())
            rows.append(Row(contestant.backbone, contestant.weights_name, note=note))
            continue
        run_folder = folder / runs[contestant][1].run
        picture = images.load(run_folder / "output.png", name="picture")
        row = _measured(contestant, run_folder, picture, judge, judging)
        rows.append(row)
        tiles.append(Tile(picture, _caption(row)))
        values = {tag: getattr(row, COLUMNS[title][0]) for tag, title in METRICS.items()}
        write_metrics(run_folder, config.steps, {tag: value for tag, value in values.items() if value is not None})
    if errors:
        names = ", ".join(contestant.backbone for contestant in errors)
        caption = (*textwrap.wrap(f"left out: {names}", CAPTION_LETTERS), "the table says why")
        tiles.append(Tile(np.ones((1, 1, 3), np.float32), caption))
    sheet = contact_sheet(tiles, job.plan.judge_plan.stage_size_px(-1))
    images.save(folder / "sheet.png", sheet)
    write_comparison(folder, HYPER_PARAMETERS, METRICS, sheet)
    lines = _write_tables(config, folder, rows, judging)
    return Written(lines, int(any(isinstance(error, RunError) for error in errors.values())))


def _write_tables(config: CompareConfig, folder: Path, rows: Sequence[Row],
                  judging: Contestant) -> tuple[str, ...]:
    about = _about(config, judging)
    table = f"{about}\n\n{as_markdown(rows)}\n"
    write_atomically(folder / "table.md", table.encode())
    data = {"about": about, "judge": judging._asdict() | {"weights": judging.weights_name},
            "rows": [row._asdict() | {"parameters_mb": row.parameters_mb} for row in rows]}
    write_atomically(folder / "table.json", (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
    return (table, f"contact sheet: {folder / 'sheet.png'}",
            f"tables:        {folder / 'table.md'}, {folder / 'table.json'}",
            tensorboard_line(folder, *ALL_PICTURES).replace(":", ":  ", 1))


def _measured(contestant: Contestant, run_folder: Path, picture: images.FloatImage, judge: Judge,
              judging: Contestant) -> Row:
    """The row of a finished run; its cost is read from its folder, so that a later process knows it too."""
    style_score, content_distance = judge.score(picture)
    logged = read_rows(run_folder / "metrics.jsonl")
    speeds = [row["steps_per_second"] for row in logged
              if row["stage"] == logged[-1]["stage"] and "steps_per_second" in row]
    record = json.loads((run_folder / "config.json").read_text(encoding="utf-8"))
    return Row(contestant.backbone, contestant.weights_name, style_score, content_distance,
               logged[-1]["seconds"] if logged else None, statistics.median(speeds) if speeds else None,
               record.get("parameters"), "partial: it is its own judge" if contestant.is_same(judging) else "")


def _input_tiles(config: CompareConfig, judge: Judge) -> list[Tile]:
    pairs = [("style", path, picture) for path, picture in zip(config.style, judge.styles, strict=True)]
    if judge.photo is not None:
        pairs.insert(0, ("content", config.content, judge.photo))
    return [Tile(picture, (kind, Path(path).name)) for kind, path, picture in pairs]


def _caption(row: Row) -> tuple[str, ...]:
    _, _, style, content, seconds, *_ = row.cells()
    scores = f"style {style}" if row.content_distance is None else f"style {style}, content {content}"
    return row.backbone, f"weights: {row.weights}", scores, f"{seconds} s"


def _about(config: CompareConfig, judging: Contestant) -> str:
    """What the numbers mean, above the table."""
    pictures = " + ".join(Path(path).name for path in (config.content, *config.style) if path)
    scores = ("style score, 1 = the photo, 0 = the style; content distance, 0 = the photo" if config.content
              else "style score, 1 = features of 0, 0 = the style")
    return (f"{pictures} at {StylizeConfig(size=config.size).long_side_px} px, {config.steps} steps, seed "
            f"{config.seed}.\nMeasured by {judging.backbone} ({judging.weights_name}): {scores}.\n"
            "Seconds of the steps alone, without building or learning the network; steps/s at the last size.")
