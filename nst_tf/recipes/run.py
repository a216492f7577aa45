"""A run: `stylize` with its folder, resume, trackers and signals. Every side effect of a recipe is here."""

import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from nst_tf.config import RunConfig, StylizeConfig, check
from nst_tf.io import images
from nst_tf.optimize.state import Progress, State, averaged
from nst_tf.recipes.finish import Touch, finisher
from nst_tf.recipes.folder import Start, check_unchanged, locked, open_folder, picture_text, prepare
from nst_tf.recipes.plan import Plan, check_is_no_input, resolve, resolved, settings
from nst_tf.recipes.plan_sizes import measured_pictures
from nst_tf.runtime import start_tensorflow
from nst_tf.track import checkpoint
from nst_tf.track.cadence import every_seconds
from nst_tf.track.files import MetricsFile, SnapshotFiles
from nst_tf.track.progress import ProgressBar
from nst_tf.vocabulary import RunError, UserError

Tracker = Callable[[Progress], None]


def run(config: StylizeConfig, run_config: RunConfig) -> int:
    """Stylizes into a run folder; returns the exit status: 0, or 130 / 143 when a signal stopped it.

    Settings and files are checked before TensorFlow is imported, and the network is built before anything is written
    or, with `--overwrite`, deleted.
    """
    check(run_config)
    plan = resolve(config)
    _check_output(config, run_config, plan)
    start = open_folder(config, run_config, plan)
    if start.is_finished:
        return _write_again(config, run_config, start)
    say(f"nst_tf: {start_tensorflow()}, run {start.folder}")
    with memory_errors():
        from nst_tf.recipes.stylize import set_up, stylize

        start = start._replace(plan=_decided(start.plan))
        if start.state:
            say(f"nst_tf: continues at step {start.state.step} of {start.plan.total_steps}")
        setup = set_up(config, start.plan)
        start = start._replace(plan=start.plan._replace(objective=setup.objective))
        parameters = setup.network.parameters
        # Read now: when the last step is done, the photo may be gone.
        finish = finisher(config, start.plan, own_size=run_config.own_size)
        steps = stylize(config, start.state, start.plan, setup)
        with locked(start.folder), stop_signals() as received:
            prepare(start, config, run_config, parameters)
            start = start._replace(state=_follow(config, run_config, start, parameters, steps, received))
            return _finish(config, run_config, start, finish, received)


def _write_again(config: StylizeConfig, run_config: RunConfig, start: Start) -> int:
    """Writes the picture of a finished run, without TensorFlow where it is not needed."""
    say(f"nst_tf: run {start.folder} is finished")
    if run_config.bit_depth == 16:
        start_tensorflow()  # it writes the PNG
    with memory_errors():
        finish = finisher(config, start.plan, own_size=run_config.own_size)
        with locked(start.folder):
            check_unchanged(start.folder, start.found)
            return _finish(config, run_config, start, finish, [])


def _decided(plan: Plan) -> Plan:
    """The plan with its precision decided and said."""
    from nst_tf.recipes.precision import decided

    plan = decided(plan)
    say(f"nst_tf: the network computes in {plan.variant.precision}")
    return plan


def _follow(config: StylizeConfig, run_config: RunConfig, start: Start, parameters: int, steps: Iterator[Progress],
            received: list[int]) -> State:
    """Feeds the trackers until the last step or a signal; returns the last state, stored."""
    state = start.state
    with _trackers(config, run_config, start, parameters) as trackers:
        is_due = every_seconds(run_config.checkpoint_every, time.monotonic)
        for progress in steps:
            state = progress.state
            for track in trackers:
                track(progress)
            if progress.ends_stage or received or is_due():
                checkpoint.save(start.folder / "checkpoints", state)
            if received:
                break
    assert state is not None, "a run that is not finished has a step to do"
    return state


@contextmanager
def _trackers(config: StylizeConfig, run_config: RunConfig, start: Start,
              parameters: int) -> Iterator[list[Tracker]]:
    from nst_tf.track.tensorboard import TensorBoard

    now, folder, step = time.monotonic, start.folder, start.state.step if start.state else 0
    text = picture_text(settings(config, start.plan), resolved(start.plan))
    bar = ProgressBar(sys.stderr, now)
    board = TensorBoard(folder, run_config.log_every, now, step)
    if not step:
        pictures = [images.load(path, name=flag, max_side_px=config.long_side_px)
                    for flag, path in measured_pictures(config)]
        content = pictures.pop(0) if config.content else None
        board.start(settings(config, start.plan), parameters, content, pictures)
    try:
        yield [
            bar, MetricsFile(folder / "metrics.jsonl", run_config.log_every, now, step), board,
            SnapshotFiles(folder / "images", run_config.snapshots, text),
            _preview(folder / "output.png", run_config.checkpoint_every, now, text)]
    finally:
        bar.close()
        # What stopped the run is the news, not that the events could not be closed after it.
        with suppress(RunError) if sys.exception() else nullcontext():
            board.close()


def _preview(path: Path, interval_seconds: float, now: Callable[[], float], text: Mapping[str, str]) -> Tracker:
    """Writes the picture after the first step and then now and then, so that there is something to look at soon."""
    is_due = every_seconds(interval_seconds, now)

    def track(progress: Progress) -> None:
        if is_due() or not path.exists():
            images.save(path, progress.picture(), text=text)

    return track


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM instead of dying, so that the step can be finished; the second one dies."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, frame: Any) -> None:
        received.append(number)
        restore()
        say("\nnst_tf: finishing the step; once more to stop at once")

    for stop in (signal.SIGINT, signal.SIGTERM):
        before[stop] = signal.signal(stop, receive)
    try:
        yield received
    finally:
        restore()


@contextmanager
def memory_errors(what: str = "the picture does not fit into memory: give a smaller --size") -> Iterator[None]:
    """Too large a picture as a line that says `what` is too large, and what to do."""
    try:
        yield
    except Exception as error:
        # What was not imported cannot have raised; a picture can be written without TensorFlow.
        tf = sys.modules.get("tensorflow")
        if not isinstance(error, (MemoryError, *((tf.errors.ResourceExhaustedError,) if tf else ()))):
            raise
        raise RunError(f"{what}; what is stored in the run folder is kept") from None


def _finish(config: StylizeConfig, run_config: RunConfig, start: Start, finish: Touch, received: list[int]) -> int:
    """Writes the picture and says where it is, or how to go on."""
    assert start.state is not None
    text = picture_text(settings(config, start.plan), resolved(start.plan))
    picture = finish(averaged(start.state)[0])
    for path in [start.folder / "output.png", *([Path(run_config.output)] if run_config.output else [])]:
        images.save(path, picture, text=text, bit_depth=run_config.bit_depth)
    if received and not start.is_finished:
        say(f"nst_tf: stopped at step {start.state.step} of {start.plan.total_steps}, picture and state are stored; "
            f"to go on: {beside_python('python')} scripts/stylize.py "
            f"--flagfile={shlex.quote(f'{start.folder}/flags.txt')} --run={start.folder.name} --resume "
            f"--steps={config.steps}")
        return 128 + received[0]
    print(f"picture:     {run_config.output or start.folder / 'output.png'}")
    print(f"run folder:  {start.folder}")
    print(f"TensorBoard: {beside_python('tensorboard')} --logdir {shlex.quote(run_config.logdir)} "
          "--samples_per_plugin images=500")
    return 0


def beside_python(command: str) -> str:
    """A command of this environment as it can be typed here: by name where it is active, else by its path."""
    beside = Path(sys.executable).with_name(command)
    is_active = os.path.realpath(shutil.which(command) or "") == os.path.realpath(beside) or not beside.exists()
    return command if is_active and os.environ.get("VIRTUAL_ENV") else shlex.quote(os.path.relpath(beside))


def _check_output(config: StylizeConfig, run_config: RunConfig, plan: Plan) -> None:
    output, bit_depth = run_config.output, run_config.bit_depth
    if run_config.own_size and not config.content:
        raise UserError("--own_size needs --content: give a photo, or leave it out; --size is a texture's side")
    if bit_depth not in (8, 16):
        raise UserError(f"--bit_depth={bit_depth} is out of range: give 8 or 16")
    if not output:
        return
    images.check_output(output, max(plan.content_size_px) if run_config.own_size else config.long_side_px,
                        bit_depth=bit_depth)
    check_is_no_input(output, plan.inputs)


def say(line: str) -> None:
    """A line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)
