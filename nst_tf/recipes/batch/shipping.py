"""Tasks with the bytes of their files, for workers that share no disk with the driver. No TensorFlow, no Ray."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.saved_model_facts import SAVED_MODEL
from nst_tf.backbones.table import BACKBONES
from nst_tf.config import StylizeConfig, paths_of, to_flags
from nst_tf.io.files import check_readable, write_atomically
from nst_tf.recipes.batch.driver import Outcome
from nst_tf.recipes.batch.tasks import Task
from nst_tf.recipes.stylize.plan import check_is_no_input
from nst_tf.runs.record import Input
from nst_tf.vocabulary import InitName, RunError, names

# {place in a folder: bytes}
Contents = Mapping[str, bytes]
# Of a run folder, but for what is of the machine that writes it.
_LOCK = ".lock"


class Shipped(NamedTuple):
    """A file or a folder of a parcel."""

    path: str                            # as flags have it
    absolute: str                        # where the driver has it
    contents: Any                        # `Contents`, or what stands for them


class Parcel(NamedTuple):
    """A task with all that its worker must have."""

    task: Task
    files: tuple[Shipped, ...]
    folder: Contents                     # of its run, as far as it is made
    lines: Mapping[str, str]             # {flag: its line in the flag file of the run} of flags that hold paths


class Delivery(NamedTuple):
    """What comes back."""

    outcome: Outcome
    folder: Contents                     # of the run
    output: bytes | None                 # the picture of --output, where it was written
    log: str


def pack(task: Task, contents: Callable[[str], Any]) -> Parcel:
    """A task with the bytes of its files.

    Args:
        contents: gives those of a file or folder, or what stands for them.
    Raises:
        UserError: a file cannot be read, or --output is one of them.
    """
    found = named_files(task.config)
    if task.run_config.output:
        check_is_no_input(task.run_config.output, (Input(flag, path, "") for flag, path in found))
    folder = {} if task.run_config.overwrite else contents_below(_folder(task))
    absolute = {path: os.path.abspath(path) for _, path in found}
    files = tuple(Shipped(path, place, contents(path)) for path, place in absolute.items())
    return Parcel(task, files, folder, _path_lines(task, absolute))


def named_files(config: StylizeConfig) -> list[tuple[str, str]]:
    """(flag, path) of the files and folders that are there. A name counts as a name, also where a file has it."""
    known = {"--init": {*names(InitName)}, "--weights": {name for row in BACKBONES.values() for name in row.weights}}
    found = [(flag, path) for flag, path in paths_of(config)
             if path not in known.get(flag, ()) and os.path.lexists(path)]
    for flag, path in found:
        if flag != "--backbone":
            check_readable(path, flag)
    return found


def contents_of(path: str) -> Contents:
    """The bytes of a file, or of all files of a folder, by their places beside it."""
    if not os.path.isdir(path):
        return {Path(path).name: Path(path).read_bytes()}
    return {f"{Path(path).name}/{place}": data for place, data in contents_below(Path(path)).items()}


def contents_below(folder: Path) -> Contents:
    """The bytes of all files of a folder; nothing where there is none."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != _LOCK}


def make_apart(parcel: Parcel, make: Callable[[Task], Outcome], temporary: str | None = None) -> Delivery:
    """Makes the picture of a parcel in a folder that is gone afterwards.

    Args:
        temporary: the folder for it.
    """
    with tempfile.TemporaryDirectory(prefix="nst_tf_", dir=temporary) as name:
        task = unpack(parcel, Path(name))
        outcome = make(task)
        folder, output = _folder(task), Path(task.run_config.output)
        given = {here: file.absolute for here, file in _places(parcel, Path(name)).items()}
        _name_as_given(folder, parcel, given)
        line = outcome.line
        for here, there in given.items():
            line = line.replace(here, there)
        return Delivery(outcome._replace(line=line), contents_below(folder),
                        output.read_bytes() if output.is_file() else None, "")


def unpack(parcel: Parcel, root: Path) -> Task:
    """Writes the files of a parcel. Returns its task with their paths."""
    places = _places(parcel, root)
    for here, file in places.items():
        _write(Path(here).parent, file.contents)
    run_config = parcel.task.run_config
    output = str(root / "output" / Path(run_config.output).name) if run_config.output else ""
    task = Task(_with_paths(parcel.task.config, {file.path: here for here, file in places.items()}),
                dataclasses.replace(run_config, run=parcel.task.name, logdir=str(root / "logs"), output=output),
                parcel.task.source)
    _write(_folder(task), parcel.folder)
    return task


def _places(parcel: Parcel, root: Path) -> Mapping[str, Shipped]:
    """{path below `root`: file}. Two files may have one name, which the record of a run keeps."""
    return {str(root / "files" / str(number) / Path(file.path).name): file for number, file in enumerate(parcel.files)}


def deliver(delivery: Delivery, task: Task) -> Outcome:
    """Writes what came back to where the task has it, each file whole or not at all."""
    folder, outcome = _folder(task), delivery.outcome
    try:
        before = contents_below(folder)
        for place in before.keys() - delivery.folder.keys():
            (folder / place).unlink(missing_ok=True)
        for place, data in delivery.folder.items():
            if before.get(place) != data:
                write_atomically(folder / place, data)
        if delivery.output is not None:
            write_atomically(task.run_config.output, delivery.output)
    except RunError as error:
        return outcome._replace(status=1, line=str(error))
    return outcome


def _folder(task: Task) -> Path:
    return Path(task.run_config.logdir) / task.name


def _write(folder: Path, contents: Contents) -> None:
    for place, data in contents.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(data)


def _with_paths(config: StylizeConfig, others: Mapping[str, str]) -> StylizeConfig:
    """The config with other paths in place of some."""
    others = {**others, **{SAVED_MODEL + path: SAVED_MODEL + other for path, other in others.items()}}

    def changed(value: Any) -> Any:
        return tuple(map(changed, value)) if isinstance(value, tuple) else others.get(value, value)

    flags = {flag.removeprefix("--") for flag, _ in paths_of(config)}
    return dataclasses.replace(config, **{name: changed(getattr(config, name)) for name in flags})


def _name_as_given(folder: Path, parcel: Parcel, given: Mapping[str, str]) -> None:
    """Names the driver's files in the record of a run, in place of those that are gone afterwards."""
    record_path, flags_path = folder / "config.json", folder / "flags.txt"
    if not (record_path.exists() and flags_path.exists()):
        return
    record = json.loads(record_path.read_text(encoding="utf-8"))
    for item in record["inputs"]:
        item["path"] = given.get(item["path"], item["path"])
    record["run"] |= {name: getattr(parcel.task.run_config, name) for name in ("logdir", "output")}
    write_atomically(record_path, (json.dumps(record, indent=2) + "\n").encode())
    lines = [parcel.lines.get(line.partition("=")[0], line)
             for line in flags_path.read_text(encoding="utf-8").splitlines()]
    write_atomically(flags_path, ("\n".join(lines) + "\n").encode())


def _path_lines(task: Task, absolute: Mapping[str, str]) -> Mapping[str, str]:
    """{flag: its line of a flag file} of the flags that name these files, and of those that the run writes to."""
    places = {name: os.path.abspath(value) for name in ("logdir", "output")
              if (value := getattr(task.run_config, name))}
    config = _with_paths(task.config, absolute)
    flags = {*(f"--{name}" for name in places), *(flag for flag, path in paths_of(task.config) if path in absolute)}
    lines = {line.partition("=")[0]: line
             for line in to_flags(config, dataclasses.replace(task.run_config, **places)).splitlines()}
    return {flag: lines[flag] for flag in flags}
