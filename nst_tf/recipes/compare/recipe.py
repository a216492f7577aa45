"""A comparison of networks: a sweep whose cells are the networks, of which some may be left out. No TensorFlow."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nst_tf.backbones.table import BACKBONES
from nst_tf.config import same, setting
from nst_tf.recipes.batch.recipe import WORKING, WorkConfig, options_of, split
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.contestants import Contestant, parse_contestant, parse_judge
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.sweep.recipe import (
    SWEEP, SweepConfig, SweepPlan, SweepRunConfig, check_folder_flags, judge_config, plan_cell,
)
from nst_tf.runs.folder import name_of
from nst_tf.runs.record import UNREAD, settings_of
from nst_tf.vocabulary import UserError


@dataclass(frozen=True)
class CompareConfig(WorkConfig):
    """Which networks are compared. The other flags of stylize.py hold for all of them."""

    backbones: tuple[str, ...] = setting(
        (), "Networks to compare, with default weights or others. By default these are all networks.",
        group="Network", basic=True, placeholder="NAME[=NAME|FILE],...")
    judge: str = same(SweepConfig, "judge")
    backbone: str = setting("", "Does nothing: --backbones names the networks.", group="Network", placeholder="NAME")
    weights: str = setting("", "Does nothing: --backbones names the weights too.", group="Network", placeholder="NAME")


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


def _resolve(config: CompareConfig, run_config: SweepRunConfig) -> SweepPlan:
    check_folder_flags(run_config)
    for flag, value in (("--backbone", config.backbone), ("--weights", config.weights)):
        if value:
            raise UserError(f"{flag}={value}: a comparison has several networks: write --backbones=NAME=WEIGHTS,...")
    judging, (shared, of_run) = parse_judge(config.judge), split(config, run_config)
    parsed, contestants, tasks = parse_contestants(config.backbones, "--backbones"), [], list[Task]()
    for contestant, name in zip(parsed, folder_names(parsed), strict=True):
        try:
            if not contestant.missing:
                own = {"backbone": contestant.backbone, "weights": contestant.weights}
                tasks.append(plan_cell(name, own, shared, of_run))
        except UserError as error:
            contestant = contestant._replace(missing=contestant.said(error))
        contestants.append(contestant)
    try:
        inputs = resolve(judge_config(shared, judging)).inputs
    except UserError as error:
        # What is wrong for all networks, such as a photo that is not there, is no fault of the judge.
        said = judging.said(error)
        reasons = {after.missing for before, after in zip(parsed, contestants, strict=True) if not before.missing}
        raise UserError(f"--judge={config.judge}: " * (reasons != {said}) + said) from None
    _check_any_is_left(contestants, "--backbones: none of these can run so")
    named = dict(zip(folder_names(parsed), contestants, strict=True))
    return SweepPlan(
        {name: {"backbone": each.backbone, "weights": each.weights_name or None} for name, each in named.items()},
        tasks, judging, shared, inputs, {name: each.missing for name, each in named.items() if each.missing})


# A folder that another version has made may hold settings; those of each network are in its own folder.
COMPARE = SWEEP._replace(
    name="compare", script="compare_backbones.py", method=2, resolve=_resolve,
    options=partial(options_of, "compare", free=(*WORKING, "backbones", "judge")),
    compared=lambda job: dict.fromkeys(settings_of(job), UNREAD), about=lambda job: f"comparison {job.options.folder}")
