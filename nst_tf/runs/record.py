"""The record of a run: settings, config.json, the flag file, the text of a picture. No TensorFlow."""

import dataclasses
import functools
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.saved_model_facts import exported_folder
from nst_tf.config import absolute_paths, to_flags
from nst_tf.io.files import quoted
from nst_tf.runs.recipe import Job
from nst_tf.version import __version__
from nst_tf.vocabulary import UserError

# What the reading of a damaged config.json raises.
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
# The value of a flag that a command does not read. Another command in the same folder may read it.
UNREAD = "unread"
# Flags of one call, which a flag file does not repeat.
_OF_ONE_COMMAND = ("run", "resume", "overwrite")


class Input(NamedTuple):
    """One file that the result depends on."""

    flag: str
    path: str
    sha256: str


def settings(config: Any, inputs: Iterable[Input]) -> dict[str, Any]:
    """`{flag: value}` of a complete config. Files are base name and SHA-256: moving them changes nothing."""
    files = {(item.flag, item.path): {"file": Path(item.path).name, "sha256": item.sha256} for item in inputs}

    def told(flag: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return [told(flag, item) for item in value]
        path = (exported_folder(value) or value) if flag == "--backbone" else value
        return files.get((flag, path), value)

    return {f"--{name}": told(f"--{name}", value) for name, value in vars(config).items()}


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def settings_of(job: Job) -> dict[str, Any]:
    """The settings of a job's complete config."""
    return settings(job.recipe.complete(job), job.plan.inputs)


def flag_file(job: Job) -> str:
    """The flags that repeat a job, from any folder."""
    return job.recipe.repeat(job) if job.recipe.repeat else flags_of(job.recipe.complete(job), job)


def flags_of(config: Any, job: Job) -> str:
    """The flag file of a complete config with the job's other flags."""
    configs = (config, *([job.run_config] if job.run_config else []))
    return to_flags(*map(absolute_paths, configs), leave_out=_OF_ONE_COMMAND)


def prolonged_flags(config: Any, steps: int, job: Job) -> str:
    """The flag file of a run that began with so many steps; a prolonged one is repeated in the two commands that made
    it."""
    text = flags_of(dataclasses.replace(config, steps=steps), job)
    if job.config.steps > steps:
        more = "# Prolonged: run this file with --run=NAME, then again with --run=NAME --resume --steps="
        return f"{more}{job.config.steps}\n{text}"
    return text


def config_json(job: Job, facts: Mapping[str, Any]) -> str:
    """The `config.json` of a job: all that is needed to repeat it."""
    inputs = [item._asdict() | {"path": _absolute(item.path)} for item in job.plan.inputs]
    record = {"nst_tf": __version__, "recipe": job.recipe.name, "method": job.recipe.method,
              "settings": kept_to(job), "resolved": job.recipe.resolved(job), **facts,
              "run": vars(job.run_config or job.config), "inputs": inputs, "versions": versions(),
              "platform": sys.platform}
    return json.dumps(record, indent=2) + "\n"


def kept_to(job: Job) -> Mapping[str, Any]:
    """{flag: value} that must stay equal in a run folder."""
    return job.recipe.compared(job) if job.recipe.compared else settings_of(job)


def read_record(job: Job) -> Mapping[str, Any] | None:
    """The `config.json` of the job's folder; None where there is none.

    Raises:
        UserError: it cannot be read, is damaged, another recipe's, or of a method that makes other results.
    """
    path, flag, recipe = job.options.place / "config.json", job.options.flag, job.recipe
    try:
        record = {**json.loads(path.read_text(encoding="utf-8"))}
        name, method = record.get("recipe", recipe.name), record.get("method", 1)
        {**record["settings"]}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{quoted(path)} cannot be read ({error.strerror}), and nothing was changed: give another "
                        f"{flag}, or make it readable") from error
    except DAMAGED:
        raise damaged(job) from None
    if name != recipe.name:
        raise UserError(f"run '{path.parent.name}' is one of {name}, not of {recipe.name}: give another {flag}")
    if method != recipe.method:
        raise UserError(f"run '{path.parent.name}' is of a version of nst_tf that makes other pictures: give another "
                        f"{flag}, or --overwrite to start it afresh")
    return record


def damaged(job: Job) -> UserError:
    """The error of a `config.json` that cannot be read."""
    return UserError(f"{quoted(job.options.place / 'config.json')} is damaged: give another {job.options.flag}, or "
                     "--overwrite to start afresh")


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The flags whose values differ. Files are compared by checksum. A flag that one side does not read is equal."""
    def without_names(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [without_names(item) for item in value]
        return value.get("sha256", value) if isinstance(value, dict) else value

    pairs = {flag: (without_names(stored.get(flag)), without_names(given.get(flag))) for flag in (*stored, *given)}
    return [flag for flag, (one, other) in pairs.items() if UNREAD not in (one, other) and one != other]


def picture_text(job: Job) -> dict[str, str]:
    """The text of a PNG: settings, base names, checksums. Paths and times would make equal runs unequal files."""
    told = {flag: value for flag, value in settings_of(job).items() if flag not in job.recipe.untold}
    record = {"nst_tf": __version__, "settings": told, "resolved": job.recipe.resolved(job), "versions": versions()}
    return {"Software": f"nst_tf {__version__}", "nst_tf": json.dumps(record)}


def versions() -> dict[str, str]:
    """Versions of what a picture depends on."""
    packages = ("tensorflow", "keras", "numpy", "pillow")
    return {"python": ".".join(map(str, sys.version_info[:3])), **{package: _version(package) for package in packages}}


@functools.cache
def _version(package: str) -> str:
    """Of an installed package, whose files are read and parsed for it."""
    return importlib.metadata.version(package)
