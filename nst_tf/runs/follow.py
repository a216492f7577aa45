"""Feeds the events of a recipe to the trackers and the checkpoints, to the end or to a stop.

No TensorFlow but for the recipes that write TensorBoard's events.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from nst_tf.runs import checkpoint
from nst_tf.runs.metrics import MetricsFile, PictureTracker
from nst_tf.runs.progress import Failure, Interval, Progress
from nst_tf.runs.recipe import Job, Session
from nst_tf.runs.record import picture_text, settings_of
from nst_tf.runs.session import import_function, say
from nst_tf.vocabulary import NotFinite, RunError

Tracker = Callable[[Progress], None]


def follow(job: Job, session: Session) -> tuple[Progress | None, bool]:
    """Follows a session. Returns the last step, None where no step was left, and whether all is done.

    Raises:
        RunError: a number is not finite, or the disk refuses.
    """
    last: Progress | None = None
    back: Progress | None = None
    interval = Interval(job.options.checkpoint_every, time.monotonic)
    try:
        with _trackers(job, session) as trackers:
            for progress in session.events:
                if progress.failure:
                    _go_back(job, progress, progress.failure, trackers, is_first=back is None)
                    back = progress
                    continue
                last = progress
                for track in trackers:
                    track(last)
                # After the last step a stop changes nothing: the run is done.
                is_stopped = job.stop.is_requested and not last.is_last
                if job.options.folder is not None:
                    is_due = interval.is_due() or last.ends_stage or is_stopped
                    with interval.measured() if is_due else nullcontext():
                        _store(job, last, is_now=is_due)
                if is_stopped:
                    return last, False
        return last, True
    except NotFinite:
        # A checkpoint holds a picture that nothing has evaluated yet. From the one before, the run takes another way.
        if last is None and back and back.stage_step and job.options.folder:
            checkpoint.forget_newest(job.options.folder / checkpoint.FOLDER)
        raise
    finally:
        # A generator that is left before its end frees what it holds now, not when it is collected.
        getattr(session.events, "close", lambda: None)()


def _go_back(job: Job, progress: Progress, failure: Failure, trackers: list[Any], is_first: bool) -> None:
    """Records that a step failed. What the run has gone back to is stored, in place of what came after it."""
    if is_first:
        say(f"nst_tf: {failure}: the run goes back, and on with {failure.share:g} of the step size")
    for track in trackers:
        getattr(track, "go_back", lambda *_: None)(progress, failure)
    if job.options.folder is not None:
        _store(job, progress, is_now=True)


def _store(job: Job, progress: Progress, is_now: bool) -> None:
    """Writes the files that a step leaves and, if it is time, what the run goes on from."""
    folder = job.options.place
    for name, write in progress.files.items():
        write(folder / name)
    arrays = progress.arrays() if is_now else {}
    if arrays:
        checkpoint.save(folder / checkpoint.FOLDER, progress.step, arrays, job.recipe.remedy)


@contextmanager
def _trackers(job: Job, session: Session) -> Iterator[list[Tracker]]:
    """Opens the trackers that the job's options ask for, and closes them at the end."""
    options, trackers = job.options, list[Any]()
    try:
        if options.has_bar:
            trackers.append(import_function("nst_tf.runs.bar:ProgressBar")(sys.stderr, time.monotonic))
        if options.log_every is not None and options.folder is not None:
            text = picture_text(job)
            trackers += [
                MetricsFile(options.folder / "metrics.jsonl", options.log_every, time.monotonic, session.step),
                PictureTracker(options.folder, options.snapshots, options.checkpoint_every, time.monotonic, text),
                _board(job, session, options.folder, options.log_every)]
        yield trackers
    finally:
        # The run's error counts more than an error while closing a tracker.
        with suppress(RunError) if sys.exception() else nullcontext():
            for tracker in trackers:
                getattr(tracker, "close", lambda: None)()


def _board(job: Job, session: Session, folder: Path, log_every: int) -> Any:
    board = import_function("nst_tf.runs.tensorboard:TensorBoard")(folder, log_every, time.monotonic, session.step)
    if not session.step:
        board.start(settings_of(job), session.facts, session.shown)
    return board
