"""The same pictures on several networks: one run each, one table, one contact sheet."""

import contextlib
import dataclasses
import io
import json
import os
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nst_tf.config import RunConfig, Settings, StylizeConfig, check, same, setting, to_flags
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, contact_sheet
from nst_tf.io.files import check_writable, quoted, write_atomically
from nst_tf.recipes import run as run_recipe
from nst_tf.recipes.compare_table import Row, as_markdown, as_text
from nst_tf.recipes.contestants import Contestant, folder_names, parse_contestant, parse_contestants
from nst_tf.recipes.folder import check_inputs_survive, locked, open_folder, run_name
from nst_tf.recipes.plan import Plan, resolve
from nst_tf.recipes.run import beside_python, say
from nst_tf.runtime import start_tensorflow
from nst_tf.track.files import read_rows
from nst_tf.vocabulary import NormalizationName, PrecisionName, RunError, UserError

if TYPE_CHECKING:
    from nst_tf.recipes.judge import Judge

HYPER_PARAMETERS = ("backbone", "weights", "parameters")
METRICS = {"score/style": "style score", "score/content": "content distance", "cost/seconds": "seconds",
           "cost/steps_per_second": "steps/s"}


@dataclass(frozen=True)
class CompareConfig(Settings):
    """Which networks stylize which pictures, and which network judges the results."""

    content: str = same(StylizeConfig, "content")
    style: tuple[str, ...] = same(StylizeConfig, "style")
    style_blend: tuple[float, ...] = same(StylizeConfig, "style_blend")
    backbones: tuple[str, ...] = setting(
        (), "networks to compare, with their default weights or others; all networks when left out",
        placeholder="NAME[=NAME|FILE],...")
    judge: str = setting("kmeans=bundled", "network that measures the results", placeholder="NAME[=NAME|FILE]")
    style_scale: tuple[float, ...] = same(StylizeConfig, "style_scale")
    style_size: int | None = same(StylizeConfig, "style_size")
    size: int | None = same(StylizeConfig, "size")
    min_size: int = same(StylizeConfig, "min_size")
    steps: int = same(StylizeConfig, "steps")
    precision: PrecisionName = same(StylizeConfig, "precision")
    content_weight: float | None = same(StylizeConfig, "content_weight")
    style_weight: float | None = same(StylizeConfig, "style_weight")
    smoothness_weight: float | None = same(StylizeConfig, "smoothness_weight")
    normalization: NormalizationName = same(StylizeConfig, "normalization")
    seed: int = same(StylizeConfig, "seed")
    logdir: str = same(RunConfig, "logdir")
    run: str = same(RunConfig, "run")
    overwrite: bool = same(RunConfig, "overwrite")


class Entry(NamedTuple):
    """A contestant and the ordinary run that it is; no run where it has no weights."""

    contestant: Contestant
    config: StylizeConfig | None
    run_config: RunConfig | None


def run(config: CompareConfig) -> int:
    """Runs every contestant that is not finished, then measures all and writes sheet and table.

    Returns:
        the exit status: 0; 1 when a run failed, the others being compared; 130 or 143 when a signal stopped it.
    Raises:
        UserError: a setting or a file is wrong, before any long work; or no network could be had.
    """
    check(config)
    contestants = parse_contestants(config.backbones, "--backbones")
    judging = parse_contestant(config.judge, "--judge")
    if judging.missing:
        raise UserError(f"--judge={config.judge}: {judging.missing}")
    judge_config = _stylize_config(dataclasses.replace(
        config, content_weight=None, style_weight=None, smoothness_weight=None, precision="float32"), judging)
    judge_plan = resolve(judge_config)
    folder = _open(config, judge_plan)
    entries = [_entry(config, contestant, folder, name)
               for contestant, name in zip(contestants, folder_names(contestants), strict=True)]
    say(f"nst_tf: {start_tensorflow()}, comparison {folder}")
    from nst_tf.recipes.judge import open_judge

    judge = open_judge(judge_config, judge_plan)
    with locked(folder):
        write_atomically(folder / "flags.txt", _flags(config, folder).encode())
        try:
            status, errors = _run_all(entries)
            if status not in (130, 143):
                _compare(config, folder, entries, errors, judge, judging, judge_plan.stage_size_px(-1))
        except KeyboardInterrupt:
            status = 130
    if status in (130, 143):
        say(f"nst_tf: comparison stopped; to go on: {beside_python('python')} scripts/compare_backbones.py "
            f"--flagfile={shlex.quote(str(folder / 'flags.txt'))}")
    return status


def _stylize_config(config: CompareConfig, contestant: Contestant) -> StylizeConfig:
    shared = {field.name for field in dataclasses.fields(StylizeConfig)} & set(vars(config))
    return StylizeConfig(**{name: getattr(config, name) for name in shared},
                         backbone=contestant.backbone, weights=contestant.weights)


def _open(config: CompareConfig, plan: Plan) -> Path:
    """The comparison's folder, checked; nothing is written yet."""
    name = run_name(StylizeConfig(content=config.content, style=config.style),
                    RunConfig(logdir=config.logdir, run=config.run))
    folder = Path(config.logdir) / name
    check_writable(folder / "table.json", "--logdir")
    if (folder / "config.json").exists():
        raise UserError(f"run '{name}' is one of stylize.py, no comparison: give another --run")
    if folder.is_dir() and not (folder / "flags.txt").exists() and {path.name for path in folder.iterdir()} - {".lock"}:
        raise UserError(f"{quoted(folder)} is no comparison's folder (it has no flags.txt): give another --run")
    check_inputs_survive(folder, plan.inputs)
    return folder


def _entry(config: CompareConfig, contestant: Contestant, folder: Path, name: str) -> Entry:
    """The run of a contestant, checked as far as that needs no network."""
    if contestant.missing:
        return Entry(contestant, None, None)
    stylize_config = _stylize_config(config, contestant)
    plan = resolve(stylize_config)
    run_config = RunConfig(logdir=str(folder), run=name, resume=not config.overwrite, overwrite=config.overwrite)
    start = open_folder(stylize_config, run_config, plan)
    # A run may be prolonged, but its picture is then another than that of as many steps at once.
    if start.plan.stages != plan.stages:
        raise UserError(f"comparison '{folder.name}' exists with fewer --steps: give another --run, or --overwrite to "
                        "start it afresh")
    return Entry(contestant, stylize_config, run_config)


def _run_all(entries: Sequence[Entry]) -> tuple[int, dict[Contestant, Exception]]:
    """Runs what is not finished; the exit status, and why a contestant has no picture."""
    errors: dict[Contestant, Exception] = {}
    for number, (contestant, config, run_config) in enumerate(entries, 1):
        say(f"nst_tf: {number} of {len(entries)}: {contestant.backbone} {contestant.weights_name}".rstrip())
        try:
            if config is None or run_config is None:
                raise UserError(contestant.missing)
            # Where each picture is, which a run prints, is not what was asked for here.
            with contextlib.redirect_stdout(io.StringIO()):
                status = run_recipe.run(config, run_config)
        except (UserError, RunError) as error:
            errors[contestant] = error
            say(f"nst_tf: {contestant.backbone} is left out: {' '.join(str(error).split())}")
        else:
            if status:
                return status, errors
    if len(errors) == len(entries):
        raise next(iter(errors.values()))
    return int(any(isinstance(error, RunError) for error in errors.values())), errors


def _compare(config: CompareConfig, folder: Path, entries: Sequence[Entry], errors: dict[Contestant, Exception],
             judge: "Judge", judging: Contestant, size_px: tuple[int, int]) -> None:
    """Measures every finished picture as its file has it, writes sheet and tables, prints the table.

    Args:
        size_px: (width, height) of the pictures.
    """
    from nst_tf.track.tensorboard import write_comparison, write_metrics

    rows, tiles = [], _input_tiles(config, judge)
    for contestant, _, run_config in entries:
        if contestant in errors or run_config is None:
            note = " ".join(str(errors[contestant]).split())
            rows.append(Row(contestant.backbone, contestant.weights_name, note=note))
            continue
        run_folder = Path(run_config.logdir) / run_config.run
        picture = images.load(run_folder / "output.png", name="picture")
        row = _measured(contestant, run_folder, picture, judge, judging)
        rows.append(row)
        tiles.append(Tile(picture, _caption(row)))
        values = (row.style_score, row.content_distance, row.seconds, row.steps_per_second)
        write_metrics(run_folder, config.steps, {tag: value for tag, value in zip(METRICS, values, strict=True)
                                                 if value is not None})
    sheet = contact_sheet(tiles, size_px)
    images.save(folder / "sheet.png", sheet)
    write_comparison(folder, HYPER_PARAMETERS, METRICS, sheet)
    _write_tables(config, folder, rows, judging)


def _write_tables(config: CompareConfig, folder: Path, rows: Sequence[Row], judging: Contestant) -> None:
    about = _about(config, judging)
    write_atomically(folder / "table.md", f"{about}\n\n{as_markdown(rows)}\n".encode())
    data = {"about": about, "judge": judging._asdict() | {"weights": judging.weights_name},
            "rows": [row.as_data() for row in rows]}
    write_atomically(folder / "table.json", (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
    print(f"{about}\n\n{as_text(rows)}\n")
    print(f"contact sheet: {folder / 'sheet.png'}")
    print(f"tables:        {folder / 'table.md'}, {folder / 'table.json'}")
    print(f"TensorBoard:   {beside_python('tensorboard')} --logdir {shlex.quote(str(folder))} "
          "--samples_per_plugin images=500")


def _measured(contestant: Contestant, run_folder: Path, picture: images.FloatImage, judge: "Judge",
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


def _input_tiles(config: CompareConfig, judge: "Judge") -> list[Tile]:
    pairs = [("style", path, picture) for path, picture in zip(config.style, judge.styles, strict=True)]
    if judge.photo is not None:
        pairs.insert(0, ("content", config.content, judge.photo))
    return [Tile(picture, (kind, Path(path).name)) for kind, path, picture in pairs]


def _caption(row: Row) -> tuple[str, ...]:
    _, _, style, content, seconds, *_ = row.cells()
    scores = f"style {style}" if row.content_distance is None else f"style {style}, content {content}"
    return row.backbone, row.weights, scores, f"{seconds} s"


def _about(config: CompareConfig, judging: Contestant) -> str:
    """What the numbers mean, above the table."""
    pictures = " + ".join(Path(path).name for path in (config.content, *config.style) if path)
    scores = ("style score, 1 = the photo, 0 = the style; content distance, 0 = the photo" if config.content
              else "style score, 1 = features of 0, 0 = the style")
    return (f"{pictures} at {StylizeConfig(size=config.size).long_side_px} px, {config.steps} steps, seed "
            f"{config.seed}.\nMeasured by {judging.backbone} ({judging.weights_name}): {scores}.\n"
            "Seconds of the steps alone, without building or learning the network; steps/s at the last size.")


def _flags(config: CompareConfig, folder: Path) -> str:
    """The flag file by which this comparison goes on, from any folder."""
    def absolute(path: str) -> str:
        return str(Path(path).absolute())

    def with_absolute_weights(text: str) -> str:
        backbone, _, weights = text.partition("=")
        return f"{backbone}={absolute(weights)}" if os.path.isfile(weights) else text

    whole = dataclasses.replace(
        config, content=config.content and absolute(config.content), style=tuple(map(absolute, config.style)),
        backbones=tuple(map(with_absolute_weights, config.backbones)), judge=with_absolute_weights(config.judge),
        logdir=absolute(config.logdir), run=folder.name)
    return to_flags(whole, leave_out=("overwrite",))
