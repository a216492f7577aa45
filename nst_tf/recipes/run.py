"""A run: `stylize` with its folder, resume, trackers and signals. Every side effect of a recipe is here."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nst_tf.config import RunConfig, StylizeConfig, check
from nst_tf.io import images
from nst_tf.io.files import quoted
from nst_tf.optimize.state import Progress, State, averaged
from nst_tf.recipes.folder import Start, open_folder, picture_text, prepare
from nst_tf.recipes.plan import Plan, complete_settings, resolve
from nst_tf.runtime import start_tensorflow
from nst_tf.track import checkpoint
from nst_tf.track.cadence import every_seconds
from nst_tf.track.files import MetricsFile, SnapshotFiles
from nst_tf.track.progress import ProgressBar
from nst_tf.vocabulary import UserError

Tracker = Callable[[Progress], None]


def run(config: StylizeConfig, run_config: RunConfig) -> int:
    """Stylizes into a run folder; returns the exit status: 0, or 130 / 143 when a signal stopped it.

    Settings and files are checked before TensorFlow is imported and before anything is written.
    """
    check(run_config)
    plan = resolve(config)
    _check_output(run_config.output, config.size, plan)
    start = open_folder(config, run_config, plan)
    state = checkpoint.load(start.folder / "checkpoints") if start.continues else None
    _say(f"nst_tf: {start_tensorflow()}, run {start.folder}")
    if start.continues:
        _say(f"nst_tf: continues at step {state.step if state else 0} of {start.plan.total_steps}")
    prepare(start, config, run_config)
    with _stop_signals() as received:
        state = _follow(config, run_config, start, state, received)
    text = picture_text(config, start.plan)
    for path in [start.folder / "output.png", *([Path(run_config.output)] if run_config.output else [])]:
        images.save(path, averaged(state)[0], text=text)
    return _finish(run_config, start, state, received)


def _follow(config: StylizeConfig, run_config: RunConfig, start: Start, state: State | None,
            received: list[int]) -> State:
    """Drives the recipe from `state` and feeds the trackers; returns the last state, stored."""
    from nst_tf.recipes.stylize import stylize

    stored_step = state.step if state else 0
    with _trackers(config, run_config, start, stored_step) as trackers:
        is_due = every_seconds(run_config.checkpoint_every, time.monotonic)
        for progress in stylize(config, state, start.plan):
            state = progress.state
            for track in trackers:
                track(progress)
            if progress.ends_stage or received or is_due():
                checkpoint.save(start.folder / "checkpoints", state)
            if received:
                break
    assert state is not None
    return state


@contextmanager
def _trackers(config: StylizeConfig, run_config: RunConfig, start: Start, step: int) -> Iterator[list[Tracker]]:
    from nst_tf.track.tensorboard import TensorBoard

    now, folder = time.monotonic, start.folder
    bar = ProgressBar(sys.stderr, now)
    board = TensorBoard(folder, run_config.log_every, now, step)
    if not step:
        content, *styles = (images.load(path, name=flag, max_side_px=config.size) for flag, path in
                            [("--content", config.content), *(("--style", style) for style in config.style)])
        board.start(complete_settings(config, start.plan), content, styles)
    try:
        yield [
            bar, MetricsFile(folder / "metrics.jsonl", run_config.log_every, now, step), board,
            SnapshotFiles(folder / "images", run_config.snapshots, picture_text(config, start.plan)),
            _preview(folder / "output.png", run_config.checkpoint_every, now)]
    finally:
        board.close()
        bar.close()


def _preview(path: Path, interval_seconds: float, now: Callable[[], float]) -> Tracker:
    """Writes the picture after the first step and then now and then, so that there is something to look at soon."""
    is_due = every_seconds(interval_seconds, now)

    def track(progress: Progress) -> None:
        if is_due() or not path.exists():
            images.save(path, progress.picture())

    return track


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM instead of dying, so that the step can be finished; the second one dies."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def receive(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(number, before[number])

    for stop in (signal.SIGINT, signal.SIGTERM):
        before[stop] = signal.signal(stop, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(run_config: RunConfig, start: Start, state: State, received: list[int]) -> int:
    output = run_config.output or start.folder / "output.png"
    if received:
        _say(f"nst_tf: stopped at step {state.step} of {start.plan.total_steps}, picture and state are stored; to go "
             f"on, give the same command with --run={start.folder.name} --resume")
        return 128 + received[0]
    print(f"picture:     {output}")
    print(f"run folder:  {start.folder}")
    print(f"TensorBoard: tensorboard --logdir {run_config.logdir} --samples_per_plugin images=500")
    return 0


def _check_output(output: str, size: int, plan: Plan) -> None:
    if not output:
        return
    images.check_output(output, size)
    for item in plan.inputs:
        if Path(output).resolve() == Path(item.path).resolve():
            raise UserError(f"--output {quoted(output)} is the file of {item.flag}: give another name")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
