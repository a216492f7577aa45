"""The run folder's contract: where a run begins, goes on or is refused. No TensorFlow."""

import contextlib
import dataclasses
import glob
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nst_tf
from nst_tf.backbones.saved_model_facts import SAVED_MODEL, exported_folder
from nst_tf.config import RunConfig, StylizeConfig, to_flags
from nst_tf.grammar import Channels
from nst_tf.io.files import check_printable, check_writable, quoted, write_atomically
from nst_tf.optimize.pyramid import add_steps
from nst_tf.optimize.state import State
from nst_tf.recipes.plan import Input, Plan, complete, resolved, settings, stored_stages, stored_units
from nst_tf.track import checkpoint
from nst_tf.vocabulary import PrecisionName, RunError, UserError, names

# What a run folder may hold; --overwrite deletes these and nothing else. config.json, by which a folder is known as a
# run, comes last.
_CONTENTS = ("flags.txt", "metrics.jsonl", "events.*", "images", "checkpoints", "channels.txt", "output.png", ".lock",
             "config.json")

# Of how pictures are made; raised when equal settings make other ones: a run that was begun before would go on as
# neither, and a finished one would be said to be made as it was not. 2: style on copies of `--motif_size`.
METHOD = 2

# What reading a config.json raises that is cut, no JSON, or holds other things than were written.
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)

# The names of files and when they were written.
Found = tuple[tuple[str, int | None], ...]


class Start(NamedTuple):
    """How a run begins: its folder, its plan, and the state to go on from, None for the beginning.

    `found` is what the folder held when this was decided, so that `prepare` notices another process in between.
    """

    folder: Path
    plan: Plan
    state: State | None
    found: Found

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do but to write the picture."""
        return self.state is not None and self.state.step >= self.plan.total_steps


def open_folder(config: StylizeConfig, run_config: RunConfig, plan: Plan) -> Start:
    """Decides what starting this run means; nothing is written yet.

    Unfinished with equal settings: goes on. Finished or different: refused, naming the flags that differ. `--resume`
    with nothing stored: from the beginning; on a finished run: only writes `--output`, or adds steps when `--steps` is
    larger. Of another `METHOD`: refused. `--overwrite`: afresh.

    Raises:
        UserError: see above; or the folder holds something that is not a run, or cannot be written.
    """
    folder = Path(run_config.logdir) / run_name(config, run_config)
    check_writable(folder / "config.json", "--logdir")
    if run_config.resume and run_config.overwrite:
        raise UserError("--resume and --overwrite exclude each other: give one of them")
    check_is_run_or_empty(folder)
    found = found_in(folder)
    check_inputs_survive(folder, plan.inputs)
    stored = None if run_config.overwrite else _stored_config(folder)
    if stored is None:
        return Start(folder, plan, None, found)
    if stored.get("method") != METHOD:
        raise UserError(f"run '{folder.name}' is of a version of nst_tf that makes other pictures: give another --run, "
                        "or --overwrite to start it afresh")
    plan = _with_stored_units(_with_stored_precision(plan, stored), stored)
    different = differences(stored["settings"], settings(config, plan))
    stages = stored_stages(stored["resolved"])
    is_longer = run_config.resume and config.steps > stored["settings"]["--steps"]
    if different and not (is_longer and different == ["--steps"]):
        raise UserError(f"run '{folder.name}' exists with other settings ({', '.join(different)} differ): give another "
                        "--run, or --overwrite to start it afresh")
    plan = plan._replace(stages=add_steps(stages, config.steps) if is_longer else stages)
    start = Start(folder, plan, checkpoint.load(folder / "checkpoints"), found)
    if start.is_finished and not run_config.resume:
        raise UserError(f"run '{folder.name}' is finished: --resume writes its --output again, --resume with a larger "
                        "--steps adds steps, --overwrite starts it afresh")
    return start


def _with_stored_precision(plan: Plan, stored: Mapping[str, Any]) -> Plan:
    """`auto` is what it was when the run began: another answer would make another picture."""
    precision = stored["settings"].get("--precision", "auto")
    if plan.variant.precision != "auto" or precision not in names(PrecisionName):
        return plan
    return plan._replace(variant=plan.variant._replace(precision=precision))


def _with_stored_units(plan: Plan, stored: Mapping[str, Any]) -> Plan:
    """The units to dream of are those that were chosen when the run began, even where others would be measured now."""
    chosen = stored_units(stored["resolved"])
    layers = tuple(layer._replace(channels=Channels("index", chosen[layer.layer])) if chosen.get(layer.layer) else layer
                   for layer in plan.objective.dream_layers)
    return plan._replace(objective=plan.objective._replace(dream_layers=layers))


def prepare(start: Start, config: StylizeConfig, run_config: RunConfig, parameters: int) -> None:
    """Makes the folder and writes what repeats the run; a start from the beginning removes what an older run left.

    Args:
        parameters: of the network up to its deepest layer, for `config.json`.
    Raises:
        UserError: another process wrote this run since `open_folder`.
        RunError: the folder refuses.
    """
    check_unchanged(start.folder, start.found)
    record = {
        "nst_tf": nst_tf.__version__, "method": METHOD, "settings": settings(config, start.plan),
        "resolved": resolved(start.plan), "parameters": parameters, "run": vars(run_config),
        "inputs": [item._asdict() | {"path": str(Path(item.path).absolute())} for item in start.plan.inputs],
        "versions": versions(), "platform": sys.platform}
    try:
        if start.state is None:
            remove_contents(start.folder)
        write_atomically(start.folder / "config.json", (json.dumps(record, indent=2) + "\n").encode())
        write_atomically(start.folder / "flags.txt", _repeat(start, config, run_config).encode())
        for name in ("images", "checkpoints"):
            (start.folder / name).mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"run folder {quoted(start.folder)} cannot be prepared ({error.strerror}): give another "
                       "--run or --logdir") from error


def found_in(folder: Path) -> Found:
    """What a run folder holds that tells how far the run is."""
    paths = (folder / "config.json", *checkpoint.stored(folder / "checkpoints"), *sorted((folder / "images").glob("*")))
    return tuple((path.name, _written_ns(path)) for path in paths)


def _written_ns(path: Path) -> int | None:
    """When a file was written; None where there is none, also because a process that is still running removed it."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def check_unchanged(folder: Path, found: Found) -> None:
    """Raises `UserError` where another process wrote this run since `found_in`; this one holds its lock."""
    if found_in(folder) != found:
        raise UserError(f"run '{folder.name}' was written by another process meanwhile: give the command again, or "
                        "another --run")


def remove_contents(folder: Path) -> None:
    """Deletes what an older run left; its lock is held by this process, and config.json will be replaced whole."""
    for pattern in _CONTENTS[:-2]:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a second process out of a run folder; the system frees the lock when the process ends, however it ends.

    Raises:
        UserError: another process writes this run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as file:
        # Windows has no fcntl; there, two processes in one folder are not noticed.
        if importlib.util.find_spec("fcntl"):
            import fcntl
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"run '{folder.name}' is being written by another process: "
                                "give another --run") from None
        yield


def picture_text(given: Mapping[str, Any], planned: Mapping[str, Any]) -> dict[str, str]:
    """What a PNG says of its making: settings, base names and checksums; no paths and no times, so bytes repeat."""
    record = {"nst_tf": nst_tf.__version__, "settings": given, "resolved": planned, "versions": versions()}
    return {"Software": f"nst_tf {nst_tf.__version__}", "nst_tf": json.dumps(record)}


def versions() -> dict[str, str]:
    """Versions of what a picture depends on."""
    packages = ("tensorflow", "keras", "numpy", "pillow")
    return {"python": ".".join(map(str, sys.version_info[:3])),
            **{package: importlib.metadata.version(package) for package in packages}}


def run_name(config: StylizeConfig, run_config: RunConfig) -> str:
    """The name given, or one made of the pictures and the time.

    Raises:
        UserError: it is no name for a folder, or the folder of all runs has a name that cannot be printed.
    """
    check_printable(Path(run_config.logdir).absolute(), "--logdir")
    if run_config.run:
        if not re.fullmatch(r"\w[\w.+-]*", run_config.run):
            raise UserError(f"--run {quoted(run_config.run)} is no name for a folder: use letters, digits, '_', '-', "
                            "'+', '.'")
        return run_config.run
    pictures = filter(None, (config.content, *config.style[:3]))
    stems = [re.sub(r"[^\w.+-]+", "-", Path(path).stem) for path in pictures]
    # Names of folders are limited in bytes, and a letter may have four.
    name = "_".join(stem.encode()[:40].decode(errors="ignore") for stem in stems)
    name += time.strftime("_%Y%m%d-%H%M%S")
    taken = sum(1 for _ in Path(run_config.logdir).glob(f"{glob.escape(name)}*"))
    return f"{name}-{taken + 1}" if taken else name


def _repeat(start: Start, config: StylizeConfig, run_config: RunConfig) -> str:
    """The flag file of a run; a prolonged one is repeated in the two commands that made it."""
    paths = {item.path: str(Path(item.path).absolute()) for item in start.plan.inputs}
    whole = complete(config, start.plan)
    exported = exported_folder(whole.backbone)
    planned_steps = sum(stage.decay_steps for stage in start.plan.stages)
    whole = dataclasses.replace(
        whole, content=paths.get(whole.content, ""), style=tuple(paths[path] for path in whole.style),
        steps=planned_steps,
        content_mask=paths.get(whole.content_mask, whole.content_mask),
        style_mask=tuple(paths.get(item, item) for item in whole.style_mask),
        backbone=whole.backbone if exported is None else f"{SAVED_MODEL}{paths[exported]}",
        weights=paths.get(whole.weights, whole.weights), init=paths.get(whole.init, whole.init))
    placed = dataclasses.replace(run_config, logdir=str(Path(run_config.logdir).absolute()),
                                 output=run_config.output and str(Path(run_config.output).absolute()))
    text = to_flags(whole, placed, leave_out=("run", "resume", "overwrite"))
    if config.steps > planned_steps:
        more = f"# Prolonged: run this file with --run=NAME, then again with --run=NAME --resume --steps={config.steps}"
        text = f"{more}\n{text}"
    return text


def check_is_run_or_empty(folder: Path) -> None:
    """Only a folder that is ours, or nothing, may be written to; an interrupted start leaves known names only."""
    if not folder.is_dir() or (folder / "config.json").exists():
        return
    known = {path for pattern in _CONTENTS for path in folder.glob(pattern)}
    if set(folder.iterdir()) - known:
        raise UserError(f"{quoted(folder)} is no run folder (it has no config.json): give another --run")


def check_inputs_survive(folder: Path, inputs: Sequence[Input]) -> None:
    """Raises `UserError` for an input inside the folder: a start from the beginning deletes what the folder holds."""
    for item in inputs:
        if Path(os.path.realpath(folder)) in Path(os.path.realpath(item.path)).parents:
            raise UserError(f"{item.flag} {quoted(item.path)} lies in the folder of this run, which it rewrites: give "
                            "another --run, or copy the file")


def _stored_config(folder: Path) -> dict[str, Any] | None:
    """The `config.json` of a run folder; None where there is none."""
    path = folder / "config.json"
    if not path.exists():
        return None
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stored_stages(stored["resolved"])
        stored_units(stored["resolved"])
        int(stored["settings"]["--steps"])
    except DAMAGED:
        raise UserError(f"{quoted(path)} is damaged: give another --run, or --overwrite to start afresh") from None
    return stored


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The flags whose values differ; a file counts by its checksum."""
    def without_names(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [without_names(item) for item in value]
        return value.get("sha256") if isinstance(value, dict) else value

    flags = list(dict.fromkeys([*stored, *given]))
    return [flag for flag in flags if without_names(stored.get(flag)) != without_names(given.get(flag))]
