"""THE run of every recipe: checks, lock, record, session, events, results. No TensorFlow until all checks are done."""

import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from nst_tf.config import check
from nst_tf.io.files import check_writable, quoted, write_atomically
from nst_tf.runs.folder import check_inputs_survive, check_is_run_or_empty, locked, remove_contents
from nst_tf.runs.follow import follow
from nst_tf.runs.record import DAMAGED, config_json, damaged, differences, flag_file, kept_to, read_record
from nst_tf.runs.recipe import Job, Recipe, Session, Writer
from nst_tf.runs.session import STORED_IS_KEPT, beside_python, command_of, load, memory_errors, say, start
from nst_tf.runs.stop import Stop, stop_signals
from nst_tf.vocabulary import RunError, UserError


def run(recipe: Recipe, config: Any, run_config: Any = None, stop: Stop | None = None) -> int:
    """Runs a recipe; returns the exit status: 0, the recipe's own, or 130 / 143 when it was stopped.

    Settings and files are checked before TensorFlow is imported. The folder is locked before its record is read, and
    the network is built before anything is written or, with `--overwrite`, deleted.

    Args:
        stop: asks the run to stop, from any thread; signals do too, where this is the main thread.
    Raises:
        UserError: a setting or a file is wrong, or the folder holds another run, or another process writes it.
        RunError: the disk refuses, memory is short, or numbers are no longer finite.
    """
    job = plan(recipe, config, run_config, stop)
    if job.options.folder is None:
        return _work(job)
    with locked(job.options.folder, job.options.flag):
        job = look(job)
        if job.state is not None and recipe.is_finished(job):
            return _write_again(job)
        return _work(job)


def plan(recipe: Recipe, config: Any, run_config: Any = None, stop: Stop | None = None) -> Job:
    """The job of a call, its flags and files checked; nothing is written yet.

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


def look(job: Job) -> Job:
    """The job with what its folder holds: what was decided, and the state to go on from. Nothing is written.

    An unfinished run with equal settings goes on. A finished one is refused, and so is one of other settings or of
    another method; the flags that differ are named. With `--resume`, nothing stored is a start from the beginning, a
    finished run only writes its results, and the growing flag may be larger. `--overwrite` starts afresh.

    Raises:
        UserError: see above; or the folder holds something that is not a run, or one of the inputs.
    """
    recipe, options, folder = job.recipe, job.options, job.options.place
    check_is_run_or_empty(folder, recipe.contents, recipe.earlier, options)
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
    """The session: TensorFlow, network, steps, results."""
    recipe, has_folder = job.recipe, job.options.folder is not None
    # A signal while the network is built ends the run before it writes. A recipe without a folder cannot go on later;
    # there a signal ends the process.
    with stop_signals(job.stop) if has_folder else nullcontext():
        if recipe.needs_tensorflow:
            start(recipe.about(job))
        with memory_errors(_too_large(job)):
            session = load(recipe.engine)(job)
            job = job._replace(decided=session.decided)
            # Now: when the last step is done, the photo may be gone.
            write = session.write or _writer(job)
            if job.stop.is_requested:
                say("nst_tf: stopped before the first step, nothing was written")
                return job.stop.status
            if not has_folder:
                return _end(job, session, write)
            _prepare(job, session)
            try:
                return _end(job, session, write)
            except KeyboardInterrupt:
                say(f"nst_tf: stopped at once; to go on: {_go_on(job)}")
                raise


def _end(job: Job, session: Session, write: Writer) -> int:
    """Follows the events and writes the results, or says how to go on."""
    last, is_done = follow(job, session)
    written = write(last)
    if is_done:
        for line in written.lines:
            print(line)
        return written.status
    assert last is not None, "a run that was stopped has done a step"
    if job.options.folder is None:
        say(f"nst_tf: stopped at {last.step} of {last.total_steps}")
        return job.stop.status
    say(f"nst_tf: {job.recipe.stopped(job, last)}: {_go_on(job)}")
    return job.stop.status


def _go_on(job: Job) -> str:
    """The command by which a run goes on.

    A flag file does not name the run, and that of a prolonged run has the number of steps that it had before.
    """
    options, growing = job.options, job.recipe.growing
    flags = [f"--flagfile={shlex.quote(str(options.place / 'flags.txt'))}"]
    if options.flag == "--run":
        flags.append(f"--run={options.place.name}")
    if growing:
        flags += ["--resume", f"{growing}={getattr(job.config, growing[2:])}"]
    program, *script = command_of(job.recipe)
    return " ".join((beside_python(program), *script, *flags))


def _write_again(job: Job) -> int:
    """Writes the results of a finished run."""
    say(f"nst_tf: run {job.options.place} is finished")
    with memory_errors(_too_large(job)):
        for line in _writer(job)(None).lines:
            print(line)
    return 0


def _too_large(job: Job) -> str:
    return job.recipe.too_large + STORED_IS_KEPT * (job.options.folder is not None)


def _writer(job: Job) -> Writer:
    assert job.recipe.writer is not None, "a recipe without a writer writes by its session"
    return job.recipe.writer(job)


def _prepare(job: Job, session: Session) -> None:
    """Writes what repeats the run; a start from the beginning first removes what an older run left.

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
