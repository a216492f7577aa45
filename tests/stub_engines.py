"""Engines without a network, one for each recipe that has a run folder: steps and states as the recipe has them."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nst_tf.io import images
from nst_tf.optimize.state import State, averaged, to_arrays
from nst_tf.recipes.dream.plan import DreamDecided, DreamState
from nst_tf.recipes.dream.recipe import frame_name
from nst_tf.recipes.stylize.plan import Decided
from nst_tf.recipes.units.maxima import MaximaState, empty_state, to_arrays as maxima_to_arrays
from nst_tf.runs.progress import Progress, counted
from nst_tf.runs.recipe import Job, Session, Written

# What happens after a step: {step: call with the job}. Each happens once.
EVENTS: dict[int, Callable[[Job], Any]] = {}
# How often each engine was opened.
OPENED: list[str] = []
# How often TensorFlow would have been started.
STARTED: list[str] = []
# What happens while a network is built: each once.
BUILDING: list[Callable[[Job], Any]] = []


def start_tensorflow(threads: int | None = None) -> str:
    """In place of the real one."""
    STARTED.append("TensorFlow")
    return "no TensorFlow"


def kill(number: int) -> Callable[[Job], None]:
    """A signal comes."""
    return lambda job: os.kill(os.getpid(), number)


def _watched(job: Job, steps: Iterator[Progress]) -> Iterator[Progress]:
    for progress in steps:
        if progress.step in EVENTS:
            EVENTS.pop(progress.step)(job)
        yield progress


def _open(name: str, job: Job) -> None:
    OPENED.append(name)
    while BUILDING:
        BUILDING.pop()(job)


def _gray(step: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), step / 100, np.float32)


def stylize(job: Job) -> Session:
    """The picture is as gray as the step says."""
    plan = job.plan
    decided = job.decided or Decided(variant=plan.variant._replace(precision="float32"), objective=plan.objective,
                                     stages=plan.stages)
    _open("stylize", job)
    first = job.state.step if job.state else 0

    def steps() -> Iterator[Progress]:
        step = 0
        for stage, planned in enumerate(decided.stages):
            for stage_step in range(1, planned.steps + 1):
                step += 1
                image = _gray(step)[None]
                state = State(step, stage, stage_step, image, image, 1.0, ())
                if step > first:
                    yield Progress(
                        step=step, total_steps=decided.total_steps, stage=stage, stage_step=stage_step, size=(6, 8),
                        ends_stage=stage_step == planned.steps, losses={"loss/total": 1 / step}, state=state,
                        picture=partial(_first, state), arrays=partial(to_arrays, state))

    return Session(events=_watched(job, steps()), decided=decided, facts={"parameters": 1}, step=first)


def _first(state: State) -> np.ndarray:
    return averaged(state)[0]


def dream(job: Job) -> Session:
    """The frame is as gray as the step says."""
    config, plan, state = job.config, job.plan, job.state or DreamState()
    _open("dream", job)
    octaves, total = len(plan.sizes_px), DreamState(config.frames).steps(config, plan)

    def steps() -> Iterator[Progress]:
        done = state
        for step in range(state.steps(config, plan) + 1, total + 1):
            stage, stage_step = (step - 1) // config.steps, (step - 1) % config.steps + 1
            width, height = plan.sizes_px[stage % octaves]
            picture, ends = _gray(step, height, width), stage_step == config.steps
            if ends:
                frames, rest = divmod(stage + 1, octaves)
                done = DreamState(frames, rest, picture)
            is_frame = ends and not done.octaves
            kept = {"step": np.asarray(step), "picture": picture} if ends and not is_frame else {}
            yield Progress(
                step=step, total_steps=total, stage=stage, stage_step=stage_step, size=(height, width),
                ends_stage=ends, losses={"dream/excitation": 1 / step}, state=done,
                picture=partial(_gray, step, height, width), arrays=lambda kept=kept: kept,  # type: ignore[misc]
                files={frame_name(done.frame): partial(_save, picture)} if is_frame else {})

    decided = job.decided or DreamDecided(variant=plan.variant._replace(precision="float32"), layers=plan.layers)
    return Session(events=_watched(job, steps()), decided=decided, step=state.steps(config, plan))


def _save(picture: np.ndarray, path: Path) -> None:
    images.save(path, picture)


def units(job: Job) -> Session:
    """The images are seen, and their number is the page."""
    seen, total = job.state or empty_state({layer.name: 8 for layer in job.plan.layers}), len(job.plan.images)
    _open("units", job)

    def steps() -> Iterator[Progress]:
        for step in range(seen.images + 1, total + 1):
            state = MaximaState(seen.maxima, step, 0)
            yield Progress(step=step, total_steps=total, stage=0, stage_step=step, size=(), ends_stage=step == total,
                           losses={}, state=state, arrays=partial(maxima_to_arrays, state),
                           unit="images")

    return Session(events=_watched(job, steps()), write=partial(_page, job, "index.html", seen.images))


def _page(job: Job, name: str, done: int, last: Progress | None) -> Written:
    step = last.step if last else done
    if last is None or last.is_last:
        (job.options.place / name).write_text(str(step))
    return Written((f"page: {step}",))


def compare(job: Job) -> Session:
    """No network runs."""
    _open("compare", job)
    total = len(job.plan.tasks)
    steps = (counted(step, total, "pictures") for step in range(1, total + 1))
    return Session(events=_watched(job, steps), write=partial(_page, job, "table.json", 0))


def stepless(job: Job) -> Session:
    """As an export or the learning of filters: all is in what writes, which is not reached here."""
    _open("stepless", job)

    def write(last: Progress | None) -> Written:
        raise AssertionError("written")

    return Session(events=iter(()), write=write)
