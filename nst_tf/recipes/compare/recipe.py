"""A comparison of networks as a row of the run machinery: one run for each, judged by one network. No TensorFlow."""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nst_tf.backbones.table import BACKBONES, check_weights
from nst_tf.backbones.weights.sources import WeightsError, weights_file
from nst_tf.config import RunConfig, Settings, StylizeConfig, same, setting, to_flags
from nst_tf.recipes.stylize.plan import Plan, resolve
from nst_tf.recipes.stylize.plan_sizes import SHALLOWER
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.runs.folder import name_of, run_options
from nst_tf.runs.recipe import Job, Recipe
from nst_tf.runs.record import Input, placed, settings_of
from nst_tf.runs.run import plan_job, with_stored
from nst_tf.vocabulary import NormalizationName, PrecisionName, UserError, check_name


class Contestant(NamedTuple):
    """One network of a comparison: `weights` is a name or a path. `missing` says why the network cannot run."""

    backbone: str
    weights: str
    missing: str = ""

    @property
    def weights_name(self) -> str:
        """The weights as people are shown them: a file without its folders."""
        return Path(self.weights).name

    def is_same(self, other: "Contestant") -> bool:
        """Whether both are one network."""
        return self.backbone == other.backbone and os.path.realpath(self.weights) == os.path.realpath(other.weights)


def parse_contestant(text: str, flag: str) -> Contestant:
    """`"squeezenet=file.net"` → the network with these weights; with the table's default where none are named."""
    backbone, is_named, weights = text.partition("=")
    check_name(flag, backbone, BACKBONES)
    if not is_named and not BACKBONES[backbone].default_weights:
        return Contestant(backbone, "", f"it has no default weights: write {backbone}=FILE")
    if is_named and not weights:
        raise UserError(f"{flag}={text}: no weights stand after '=': write {backbone}, or {backbone}=NAME|FILE")
    try:
        return Contestant(backbone, check_weights(backbone, weights))
    except UserError as error:
        raise UserError(f"{flag}={text}: {error}") from None


def parse_contestants(texts: Sequence[str], flag: str) -> tuple[Contestant, ...]:
    """Every network of a list, or every row of the table."""
    contestants = tuple(parse_contestant(text, flag) for text in texts or BACKBONES)
    for index, contestant in enumerate(contestants):
        if any(contestant.is_same(earlier) for earlier in contestants[:index]):
            raise UserError(f"{flag}: {contestant.backbone} with weights '{contestant.weights}' is named twice")
    _check_any_is_left(contestants, f"{flag}: there are no weights for any of these")
    return contestants


def _check_any_is_left(contestants: Sequence[Contestant], what: str) -> None:
    """Raises `UserError` where none of the contestants can run."""
    if all(contestant.missing for contestant in contestants):
        first = contestants[0]
        raise UserError(f"{what}; {first.backbone}: {first.missing}")


def folder_names(contestants: Sequence[Contestant]) -> list[str]:
    """A folder for each: the network's name, with that of the weights where the network stands there again."""
    times = Counter(contestant.backbone for contestant in contestants)
    names: list[str] = []
    for backbone, weights, _ in contestants:
        name = f"{backbone}-{name_of(weights)}" if times[backbone] > 1 else backbone
        taken = sum(1 for earlier in names if re.fullmatch(rf"{re.escape(name)}(-\d+)?", earlier))
        names.append(f"{name}-{taken + 1}" if taken else name)
    return names


# Flags that may differ in one folder: another judge, or other networks, measure the same pictures.
_FREE = ("--backbones", "--judge", "--logdir", "--run", "--overwrite")


@dataclass(frozen=True)
class CompareConfig(Settings):
    """Which networks stylize which pictures, and which network judges the results."""

    content: str = same(StylizeConfig, "content")
    style: tuple[str, ...] = same(StylizeConfig, "style")
    style_blend: tuple[float, ...] = same(StylizeConfig, "style_blend")
    backbones: tuple[str, ...] = setting(
        (), "Networks to compare, with default weights or others. By default these are all networks.",
        group="Network", basic=True, placeholder="NAME[=NAME|FILE],...")
    judge: str = setting(
        "kmeans=bundled", "Network that measures the results.", group="Network", basic=True,
        placeholder="NAME[=NAME|FILE]")
    style_scale: tuple[float | str, ...] = same(StylizeConfig, "style_scale")
    size: int | None = same(StylizeConfig, "size")
    min_size: int = same(StylizeConfig, "min_size")
    steps: int = same(StylizeConfig, "steps")
    precision: PrecisionName = same(StylizeConfig, "precision")
    content_weight: float | None = same(StylizeConfig, "content_weight")
    style_weight: float | None = same(StylizeConfig, "style_weight")
    smoothness_weight: float | None = same(StylizeConfig, "smoothness_weight")
    normalization: NormalizationName = same(StylizeConfig, "normalization")
    seed: int = same(StylizeConfig, "seed")
    threads: int | None = same(StylizeConfig, "threads")
    logdir: str = same(RunConfig, "logdir")
    run: str = same(RunConfig, "run")
    overwrite: bool = same(RunConfig, "overwrite")


class ComparePlan(NamedTuple):
    """What the files and flags of a comparison say."""

    contestants: tuple[Contestant, ...]
    judging: Contestant
    judge_config: StylizeConfig
    judge_plan: Plan

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The files that the pictures depend on."""
        return self.judge_plan.inputs


def _resolve(config: CompareConfig, _: None) -> ComparePlan:
    parsed = parse_contestants(config.backbones, "--backbones")
    judging = parse_contestant(config.judge, "--judge")
    if judging.missing:
        raise UserError(f"--judge={config.judge}: {judging.missing}")
    judge_config = stylize_config(dataclasses.replace(
        config, content_weight=None, style_weight=None, smoothness_weight=None, precision="float32"), judging)
    contestants = tuple(_checked(config, contestant) for contestant in parsed)
    try:
        judge_plan = resolve(judge_config)
    except UserError as error:
        # What is wrong for all networks, such as a photo that is not there, is no fault of the judge.
        reasons = {after.missing for before, after in zip(parsed, contestants, strict=True) if not before.missing}
        raise UserError(f"--judge={config.judge}: " * (reasons != {_said(error)}) + _said(error)) from None
    _check_any_is_left(contestants, "--backbones: none of these can run so")
    return ComparePlan(contestants=contestants, judging=judging, judge_config=judge_config, judge_plan=judge_plan)


def _checked(config: CompareConfig, contestant: Contestant) -> Contestant:
    """The contestant; `missing` is the reason where its own plan is refused, as for a size too small for its layers."""
    try:
        if not contestant.missing:
            resolve(stylize_config(config, contestant))
    except UserError as error:
        return contestant._replace(missing=_said(error))
    return contestant


def _said(error: UserError) -> str:
    """What is wrong; a comparison has no flags for layers."""
    return str(error).removesuffix(SHALLOWER)


def stylize_config(config: CompareConfig, contestant: Contestant) -> StylizeConfig:
    """The ordinary stylization of a contestant."""
    shared = {field.name for field in dataclasses.fields(StylizeConfig)} & set(vars(config))
    return StylizeConfig(**{name: getattr(config, name) for name in shared},
                         backbone=contestant.backbone, weights=contestant.weights)


def contestant_runs(job: Job) -> dict[Contestant, tuple[StylizeConfig, RunConfig]]:
    """The ordinary run of each contestant that has weights, in a folder below that of the comparison."""
    config, contestants = job.config, job.plan.contestants
    return {contestant: (stylize_config(config, contestant),
                         RunConfig(logdir=str(job.options.place), run=name, resume=not config.overwrite,
                                   overwrite=config.overwrite))
            for contestant, name in zip(contestants, folder_names(contestants), strict=True)
            if not contestant.missing}


def _check_runs(job: Job) -> None:
    """Raises `UserError` for a contestant's run that is there and cannot go on, as far as that needs no network."""
    for config, run_config in contestant_runs(job).values():
        with_stored(plan_job(STYLIZE, config, run_config))


def _repeat(job: Job) -> str:
    """The flag file by which a comparison goes on, from any folder."""
    def with_absolute_weights(text: str) -> str:
        backbone, _, weights = text.partition("=")
        return f"{backbone}={Path(weights).absolute()}" if os.path.isfile(weights) else text

    config = dataclasses.replace(
        placed(job.config, job.plan.inputs), backbones=tuple(map(with_absolute_weights, job.config.backbones)),
        judge=with_absolute_weights(job.config.judge), run=job.options.place.name)
    return to_flags(config, leave_out=("overwrite",))


def missing_weights(error: WeightsError, contestant: Contestant) -> str:
    """Why a contestant has no weights, and what helps in a comparison."""
    return f"{error.reason}: {error.remedy}, or write {contestant.backbone}=FILE"


@contextmanager
def judge_weights(judging: Contestant) -> Iterator[None]:
    """Says of the judge's weights, where they cannot be had, what helps in a comparison."""
    try:
        yield
    except WeightsError as error:
        raise UserError(f"--judge: {missing_weights(error, judging)}, or give another judge") from None


def _fetch(job: Job) -> None:
    judging = job.plan.judging
    with judge_weights(judging):
        weights_file(judging.backbone, judging.weights)


COMPARE = Recipe(
    name="compare", script="compare_backbones.py",
    method=2,  # of the default judge; each run below has the method of its own recipe
    engine="nst_tf.recipes.compare.steps:session", resolve=_resolve, options=partial(run_options, has_bar=False),
    fetch=_fetch,
    state=_check_runs, repeat=_repeat,
    compared=lambda job: {flag: value for flag, value in settings_of(job).items() if flag not in _FREE},
    about=lambda job: f"comparison {job.options.folder}", stopped=lambda job, last: "comparison stopped; to go on")
