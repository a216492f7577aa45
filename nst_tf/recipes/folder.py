"""The run folder's contract: where a run begins, goes on or is refused. No TensorFlow."""

import importlib.metadata
import json
import re
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nst_tf
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.flags import to_flags
from nst_tf.io.files import check_writable, quoted, write_atomically
from nst_tf.optimize.pyramid import add_steps
from nst_tf.recipes.plan import Plan, resolved, settings, stored_stages
from nst_tf.track import checkpoint
from nst_tf.vocabulary import UserError

# What a run folder may hold; --overwrite deletes these and nothing else.
_CONTENTS = ("config.json", "flags.txt", "metrics.jsonl", "events.*", "images", "checkpoints", "output.png")


class Start(NamedTuple):
    """How a run begins: its folder, its plan, and whether something is stored there to go on from."""

    folder: Path
    plan: Plan
    continues: bool


def open_folder(config: StylizeConfig, run_config: RunConfig, plan: Plan) -> Start:
    """Decides what starting this run means; nothing is written yet.

    Unfinished with equal settings: goes on. Finished or different: refused, naming the flags that differ. `--resume`
    with nothing stored: from the beginning; on a finished run: only writes `--output`, or adds steps when `--steps` is
    larger. `--overwrite`: afresh.

    Raises:
        UserError: see above; or the folder holds something that is not a run, or cannot be written.
    """
    folder = Path(run_config.logdir) / _run_name(config, run_config)
    check_writable(folder / "config.json", "--logdir")
    if run_config.resume and run_config.overwrite:
        raise UserError("--resume and --overwrite exclude each other: give one of them")
    stored = _stored_config(folder)
    if stored is None or run_config.overwrite:
        return Start(folder, plan, continues=False)
    different = _differences(stored["settings"], settings(config, plan))
    total_steps = stored["settings"]["--steps"]
    is_longer = run_config.resume and config.steps > total_steps
    if different and not (is_longer and different == ["--steps"]):
        raise UserError(f"run '{folder.name}' exists with other settings ({', '.join(different)} differ): give another "
                        "--run, or --overwrite to start it afresh")
    stages = stored_stages(stored["resolved"])
    is_finished = checkpoint.newest_step(folder / "checkpoints") == sum(stage.steps for stage in stages)
    if is_finished and not run_config.resume:
        raise UserError(f"run '{folder.name}' is finished: --resume writes its --output again, --resume with a larger "
                        "--steps adds steps, --overwrite starts it afresh")
    return Start(folder, plan._replace(stages=add_steps(stages, config.steps) if is_longer else stages), continues=True)


def prepare(start: Start, config: StylizeConfig, run_config: RunConfig) -> None:
    """Makes the folder and writes what repeats the run; a fresh start removes what an older run left."""
    if not start.continues:
        for pattern in _CONTENTS:
            for path in start.folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("images", "checkpoints"):
        (start.folder / name).mkdir(parents=True, exist_ok=True)
    record = {
        "nst_tf": nst_tf.__version__, "settings": settings(config, start.plan), "resolved": resolved(start.plan),
        "inputs": [item._asdict() | {"path": str(Path(item.path).resolve())} for item in start.plan.inputs],
        "run": vars(run_config), "versions": versions(), "platform": sys.platform}
    write_atomically(start.folder / "config.json", (json.dumps(record, indent=2) + "\n").encode())
    # --run would name this very folder, and --steps of a prolonged run would be split anew.
    repeat = to_flags(config, run_config, leave_out=("run", "resume", "overwrite"))
    write_atomically(start.folder / "flags.txt", repeat.encode())


def picture_text(config: StylizeConfig, plan: Plan) -> dict[str, str]:
    """What a PNG says of its making: settings, base names and checksums; no paths and no times, so bytes repeat."""
    record = {"nst_tf": nst_tf.__version__, "settings": settings(config, plan), "resolved": resolved(plan),
              "versions": versions()}
    return {"Software": f"nst_tf {nst_tf.__version__}", "nst_tf": json.dumps(record)}


def versions() -> dict[str, str]:
    """Versions of what a picture depends on."""
    packages = ("tensorflow", "keras", "numpy", "pillow")
    return {"python": ".".join(map(str, sys.version_info[:3])),
            **{package: importlib.metadata.version(package) for package in packages}}


def _run_name(config: StylizeConfig, run_config: RunConfig) -> str:
    if run_config.run:
        if not re.fullmatch(r"\w[\w.+-]*", run_config.run):
            raise UserError(f"--run={run_config.run} is no name for a folder: use letters, digits, '_', '-', '+', '.'")
        return run_config.run
    stems = [re.sub(r"[^\w.+-]+", "-", Path(path).stem)[:40] for path in (config.content, *config.style[:3])]
    return "_".join([*stems, time.strftime("%Y%m%d-%H%M%S")])


def _stored_config(folder: Path) -> dict[str, Any] | None:
    """The `config.json` of a run folder; None where the folder is missing or empty."""
    path = folder / "config.json"
    if not path.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{quoted(folder)} is no run folder (it has no config.json): give another --run")
        return None
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stored_stages(stored["resolved"]), stored["settings"]["--steps"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{quoted(path)} is damaged: give another --run, or --overwrite to start afresh") from None
    return stored


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    def without_names(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [without_names(item) for item in value]
        return value["sha256"] if isinstance(value, dict) else value

    flags = list(dict.fromkeys([*stored, *given]))
    return [flag for flag in flags if without_names(stored.get(flag)) != without_names(given.get(flag))]
