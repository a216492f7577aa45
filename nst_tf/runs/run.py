"""The run of every recipe: checks, lock, record, session, events, results. TensorFlow is imported after all checks."""

import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from nst_tf.config import check
from nst_tf.io.files import check_writable, quoted, write_atomically
from nst_tf.runs.folder import check_inputs_survive, check_is_run_or_empty, locked, remove_contents
from nst_tf.runs.follow import follow
from nst_tf.runs.record import DAMAGED, config_json, damaged, differences, flag_file, kept_to, read_record
from nst_tf.runs.recipe import Job, Recipe, Session, Writer, Written
from nst_tf.runs.session import (
    STORED_IS_KEPT, Stop, beside_python, command_of, import_function, memory_errors, say, start, stop_signals,
)
from nst_tf.vocabulary import NotFinite, RunError, UserError


def run(recipe: Recipe, config: Any, run_config: Any = None, stop: Stop | None = None) -> int:
    """Runs a recipe and returns the exit status: 0, the recipe's own, or 130 / 143 when the run was stopped.

    Settings and files are checked before TensorFlow is imported. The folder is locked before its record is read. The
    network is built before anything is written or, with `--overwrite`, deleted.

    Args:
        stop: asks the run to stop, from any thread; signals do too, where this is the main thread.
    Raises:
        UserError: a setting or a file is wrong, or the folder holds another run, or another process writes it.
        RunError: the disk refuses, memory is short, or numbers are no longer finite.
    """
    job = plan_job(recipe, config, run_config, stop)
    if job.options.folder is None:
        return _work(job)
    with locked(job.options.folder, job.options.flag):
        job = with_stored(job)
        if job.state is not None and recipe.is_finished(job):
            return _write_again(job)
        return _work(job)


def plan_job(recipe: Recipe, config: Any, run_config: Any = None, stop: Stop | None = None) -> Job:
    """Checks the flags and files of a call and returns its job. Nothing is written.

    Raises:
        UserError: the first thing that is wrong.
    """
    for each in (config, run_config):
        if each is not None:
            check(each)
    planned = recipe.resolve(config, run_config)
    options = recipe.options(config, run_config)
    if options.folder is not None:
        check_writable(options.folder / "config.json", "--logdir" if options.flag == "--run" else options.flag)
        if options.overwrite and options.resume:
            raise UserError("--resume and --overwrite exclude each other: give one of them")
    return Job(recipe, config, run_config, planned, options, stop or Stop())


def with_stored(job: Job) -> Job:
    """Adds to a job what its folder holds: what was decided, and the state to go on from. Nothing is written.

    An unfinished run with equal settings goes on. A finished run is refused; so is a run of other settings, whose flags
    are named, or of another method. With `--resume`, a run with nothing stored starts from the beginning, a finished
    run writes its results again, and the growing flag may be larger. `--overwrite` starts afresh.

    Raises:
        UserError: the run is refused, or the folder holds one of the inputs or something that is no run.
    """
    recipe, options, folder = job.recipe, job.options, job.options.place
    check_is_run_or_empty(folder, recipe.contents, options.flag)
    check_inputs_survive(folder, job.plan.inputs, options.flag)
    record = None if options.overwrite else read_record(job)
    if record is None:
        return job
    try:
        job = job._replace(decided=recipe.decided(job, record))
        is_larger = _is_larger(job, record)
    except DAMAGED:
        raise damaged(job) from None
    different = differences(record["settings"], kept_to(job))
    is_only_larger = is_larger and different == [recipe.growing]
    if different and not (is_only_larger and options.resume):
        more = f"--resume to add {recipe.growing[2:]}, " * is_only_larger
        raise UserError(f"run '{folder.name}' exists with other settings ({', '.join(different)} differ): give another "
                        f"{options.flag}, {more}or --overwrite to start it afresh")
    job = job._replace(state=recipe.state(job))
    if job.state is not None and recipe.is_finished(job) and options.resume is False:
        raise UserError(f"run '{folder.name}' is finished: --resume writes its --output again, --resume with a larger "
                        f"{recipe.growing} adds {recipe.growing[2:]}, --overwrite starts it afresh")
    return job


def _is_larger(job: Job, record: Mapping[str, Any]) -> bool:
    """Whether the recipe's growing flag, where it has one, is larger than in the record."""
    flag = job.recipe.growing
    return bool(flag) and bool(kept_to(job)[flag] > record["settings"][flag])


def _work(job: Job) -> int:
    """Fetches weights, starts TensorFlow, builds the network, makes the steps and writes the results."""
    recipe, has_folder = job.recipe, job.options.folder is not None
    recipe.fetch(job)
    # A signal while the network is built ends the run before it writes. A recipe without a folder cannot go on later;
    # there a signal ends the process.
    with stop_signals(job.stop) if has_folder else nullcontext():
        if recipe.needs_tensorflow:
            start(recipe.about(job))
        with memory_errors(_too_large(job)):
            session = import_function(recipe.engine)(job)
            job = job._replace(decided=session.decided)
            # The writer reads what it needs now: when the last step is done, the photo may be gone.
            write = session.write or recipe.writer(job)
            if job.stop.is_requested:
                say("nst_tf: stopped before the first step, nothing was written")
                return job.stop.status
            if has_folder:
                _prepare(job, session)
            try:
                return _finish(job, session, write)
            except KeyboardInterrupt:
                if has_folder:
                    say(f"nst_tf: stopped at once; to go on{_to_go_on(job)}")
                raise


def _prepare(job: Job, session: Session) -> None:
    """Writes what repeats the run. A start from the beginning first removes what an earlier run has left.

    Raises:
        RunError: the folder refuses.
    """
    folder = job.options.place
    try:
        if job.state is None:
            remove_contents(folder, job.recipe.contents)
    except OSError as error:
        raise RunError(f"run folder {quoted(folder)} cannot be prepared ({error.strerror}): give another "
                       f"{job.options.flag} or --logdir") from error
    write_atomically(folder / "config.json", config_json(job, session.facts).encode())
    write_atomically(folder / "flags.txt", flag_file(job).encode())


def _finish(job: Job, session: Session, write: Writer) -> int:
    """Follows the events to their end and writes the results. A run that is stopped says how it goes on."""
    try:
        last, is_done = follow(job, session)
    except NotFinite as error:
        if job.options.folder is None:
            raise
        raise NotFinite(f"{error}, and give another {job.options.flag}; or go on from the newest good state"
                        f"{_to_go_on(job)}") from error
    written = write(last)
    if is_done:
        return _tell(written)
    assert last is not None, "a run that was stopped has done a step"
    say(f"nst_tf: {job.recipe.stopped(job, last)}{_to_go_on(job)}")
    return job.stop.status


def _write_again(job: Job) -> int:
    """Writes the results of a finished run."""
    say(f"nst_tf: run {job.options.place} is finished")
    with memory_errors(_too_large(job)):
        return _tell(job.recipe.writer(job)(None))


def _tell(written: Written) -> int:
    for line in written.lines:
        print(line)
    return written.status


def _to_go_on(job: Job) -> str:
    """`: ` and the command by which a run goes on; nothing where no folder keeps what is done.

    A flag file names no run, and that of a prolonged run has the number of steps from before.
    """
    options, growing = job.options, job.recipe.growing
    if options.folder is None:
        return ""
    flags = [f"--flagfile={shlex.quote(str(options.folder / 'flags.txt'))}"]
    if options.flag == "--run":
        flags.append(f"--run={options.folder.name}")
    if growing:
        flags += ["--resume", f"{growing}={getattr(job.config, growing[2:])}"]
    program, *script = command_of(job.recipe.name, job.recipe.script)
    return f": {' '.join((beside_python(program), *script, *flags))}"


def _too_large(job: Job) -> str:
    return job.recipe.too_large + STORED_IS_KEPT * (job.options.folder is not None)
