"""The run of every recipe: checks, lock, record, session, events, results. TensorFlow is imported after all checks."""

import dataclasses
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from nst_tf.config import LARGEST_THREADS, check, check_working_folder
from nst_tf.io.files import DISK_FULL, check_writable, disk_remedy, quoted, write_atomically
from nst_tf.runs.folder import (
    CONTENTS, LEFTOVERS, check_inputs_survive, check_is_run_or_empty, locked, new_folder, remove_files,
)
from nst_tf.runs.follow import follow
from nst_tf.runs.record import DAMAGED, UNREAD, config_json, damaged, differences, flag_file, kept_to, read_record
from nst_tf.runs.recipe import Job, Recipe, Session, Writer, Written
from nst_tf.runs.session import (
    STORED_IS_KEPT, Stop, import_function, memory_errors, say, started, stop_signals, whole_command_of,
)
from nst_tf.runtime import threads_in_force
from nst_tf.vocabulary import NotFinite, RunError, UserError


def run(recipe: Recipe, config: Any, run_config: Any = None, stop: Stop | None = None, shared: Any = None) -> int:
    """Runs a recipe and returns the exit status: 0, the recipe's own, or 130 / 143 when the run was stopped.

    Settings and files are checked before TensorFlow is imported. The folder is locked before its record is read. The
    network is built before anything is written or, with `--overwrite`, deleted.

    Args:
        stop: asks the run to stop, from any thread; signals do too, where this is the main thread.
        shared: what the jobs of this process share, such as networks; a type of the recipe.
    Raises:
        UserError: a setting or a file is wrong, or the folder holds another run, or another process writes it.
        RunError: the disk refuses, memory is short, or numbers are no longer finite.
    """
    with _disk_errors():
        job = plan_job(recipe, config, run_config, stop)._replace(shared=shared)
        folder = job.options.folder
        if folder is None:
            return _work(job)
        with new_folder(folder) if job.options.is_new else nullcontext(folder) as own, locked(own, job.options.flag):
            job = with_stored(job._replace(options=job.options._replace(folder=own)))
            if job.state is not None and recipe.is_finished(job):
                return _write_again(job)
            return _work(job)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turns an error of a file into one line, where nobody nearer to it has said more."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in DISK_FULL:
            raise
        what = quoted(error.filename) if error.filename else "a file"
        raise RunError(f"{what} could not be read or written ({error.strerror}): {disk_remedy(error)}") from error


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
        check_working_folder(*filter(None, (config, run_config)))
        is_place = options.flag == "--run" and not os.path.isfile(options.folder)
        check_writable(options.folder, "--logdir" if is_place else options.flag, "config.json")
        if options.overwrite and options.resume:
            raise UserError("--resume and --overwrite exclude each other: give one of them")
    return Job(recipe, config, run_config, planned, options, stop or Stop())


def with_stored(job: Job) -> Job:
    """Adds to a job what its folder holds: what was decided, and the state to go on from. Nothing is written.

    Threads that were left out are those of the record, or else all that this process may use.

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
        return _with_threads(job)
    try:
        job = _with_threads(job, record["settings"].get("--threads"))
        job = job._replace(decided=recipe.decided(job, record))
        is_larger = _is_larger(job, record)
    except DAMAGED:
        raise damaged(job) from None
    # A run from before a flag has none: then the default is what it had.
    newer = {f"--{field.name}": UNREAD for field in dataclasses.fields(job.config)
             if f"--{field.name}" not in record["settings"] and getattr(job.config, field.name) == field.default}
    different = differences({"--threads": UNREAD} | record["settings"] | newer, kept_to(job))
    is_only_larger = is_larger and different == [recipe.growing]
    if different and not (is_only_larger and options.resume):
        raise _other_settings(job, record, different, is_only_larger)
    job = job._replace(state=recipe.state(job))
    if job.state is not None and recipe.is_finished(job) and options.resume is False:
        raise UserError(f"run '{folder.name}' is finished: --resume writes its --output again, --resume with a larger "
                        f"{recipe.growing} adds {recipe.growing[2:]}, --overwrite starts it afresh")
    return job


def _with_threads(job: Job, stored: int | None = None) -> Job:
    """The job with the threads that were left out: those of its record, else those of this process.

    Raises:
        ValueError: the record has a number that no run can have.
    """
    if not job.recipe.has_threads or getattr(job.config, "threads", 0) is not None:
        return job
    if stored is None:
        stored = min(threads_in_force(), LARGEST_THREADS)
    if type(stored) is not int or not 1 <= stored <= LARGEST_THREADS:
        raise ValueError("no number of threads")
    return job._replace(config=dataclasses.replace(job.config, threads=stored))


def _other_settings(job: Job, record: Mapping[str, Any], different: Sequence[str], is_only_larger: bool) -> UserError:
    """The error of a run whose settings differ from those given. What would make them equal stands first."""
    growing, options = job.recipe.growing, job.options
    if is_only_larger:
        more = f"--resume to add {growing[2:]}, "
    elif different == [growing]:
        more = f"{growing}={record['settings'][growing]} --resume to go on or to write its --output again, "
    else:
        more = ""
    return UserError(f"run '{options.place.name}' exists with other settings ({', '.join(different)} differ): give "
                     f"another {options.flag}, {more}or --overwrite to start it afresh")


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
        with (started(recipe.about(job), getattr(job.config, "threads", None)) if recipe.needs_tensorflow
              else nullcontext()), memory_errors(_too_large(job)):
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
    """Writes what repeats the run. What a killed run has left goes first; a start from the beginning removes all files.

    Raises:
        RunError: the folder refuses.
    """
    folder = job.options.place
    try:
        remove_files(folder, LEFTOVERS)
        if job.state is None:
            remove_files(folder, (*CONTENTS, *job.recipe.contents))
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
    flags = [f"--flagfile={(options.folder / 'flags.txt').absolute()}"]
    if options.flag == "--run":
        flags.append(f"--run={options.folder.name}")
    if growing:
        flags += ["--resume", f"{growing}={getattr(job.config, growing[2:])}"]
    return f": {shlex.join((*whole_command_of(job.recipe.name, job.recipe.script), *flags))}"


def _too_large(job: Job) -> str:
    return job.recipe.too_large + STORED_IS_KEPT * (job.options.folder is not None)
