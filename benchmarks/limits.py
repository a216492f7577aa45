"""Runs under hard limits of memory: each finishes, or is refused in one line before work.

    python -m benchmarks.limits --runs=60 --seed=0 --record=logs/limits.jsonl

A seeded mix of networks, sizes, statistics, numbers and optimizers. Each run is a process with --memory_limit, in a
memory cgroup that ends it beyond this limit; where none can be made, this process ends it by its largest resident set.
Sizes follow from what the whole picture would need: from less than the limit to several times as much. The same command
goes on where it was stopped, and prints the table of all runs.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.memory import ROOT, settings_of
from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.plan_memory import LIMIT_SHARE, predicted_bytes
from nst_tf.vocabulary import UserError

LIMITS_GB = (2, 2, 2, 2, 3, 3, 4, 6, 8)
# What the whole picture would need, relative to the limit.
RATIOS = (0.6, 0.8, 0.95, 1.05, 1.2, 1.5, 2, 3)
MIX: dict[str, tuple[Any, ...]] = {
    "backbone": ("vgg19", "vgg16", "squeezenet", "squeezenet1_1", "resnet50", "inception_v3", "alexnet", "kmeans"),
    "statistic": ("gram", "gram", "covariance", "mean_std", "histogram"), "precision": ("bfloat16", "float32"),
    "color": ("style", "style", "luminance", "keep"), "optimizer": ("adam",) * 7 + ("lbfgs",)}
POLL_SECONDS = 0.05
COLUMNS = ("limit", "backbone", "size", "statistic", "precision", "color", "optimizer", "tiles", "mb", "seconds",
           "outcome")


def drawn(generator: random.Random) -> tuple[int, dict[str, Any]]:
    """A limit in GB and the settings of a run of as few steps as can be, whose size follows from the limit."""
    limit_gb, ratio = generator.choice(LIMITS_GB), generator.choice(RATIOS)
    mixed = {name: generator.choice(values) for name, values in MIX.items()}
    settings = settings_of(mixed.pop("backbone"), 1000, **mixed)
    settings["steps"] = 1 if mixed["optimizer"] == "adam" else 2
    config = StylizeConfig(**settings, tile="off")
    base = find_backbone(config.backbone).memory.base_mb * 1e6
    of_sample = predicted_bytes(config, resolve(config), settings["precision"], 0) - base
    size = round(1000 * (max(ratio * LIMIT_SHARE * limit_gb * 1e9 - base, 0.1 * of_sample) / of_sample) ** 0.5)
    return limit_gb, settings | {"size": size, "min_size": size}


@contextmanager
def limited(limit_gb: int) -> Iterator[Path | None]:
    """A memory cgroup of this limit, version 2 or 1; None where none can be made."""
    for parent, name in ((Path("/sys/fs/cgroup"), "memory.max"), (Path("/sys/fs/cgroup/memory"),
                                                                  "memory.limit_in_bytes")):
        group = parent / f"nst_tf_{time.time_ns()}"
        with suppress(OSError):
            group.mkdir()
            if (group / name).exists():
                (group / name).write_text(str(int(limit_gb * 1e9)))
                try:
                    yield group
                finally:
                    with suppress(OSError):
                        group.rmdir()
                return
            group.rmdir()
    yield None


def measured(limit_gb: int, settings: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """How a run under its limit ends."""
    began = time.monotonic()
    with limited(limit_gb) as group, tempfile.TemporaryDirectory() as folder:
        flags = [f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
                 for name, value in {**settings, "memory_limit": limit_gb, "logdir": folder, "run": "run"}.items()]
        said = Path(folder, "said")
        enter = f"echo $$ > {group}/cgroup.procs; " if group else ""
        with said.open("wb") as stderr:
            process = subprocess.Popen(["sh", "-c", f'{enter}exec "$@"', "sh", sys.executable,
                                        str(ROOT / "scripts/stylize.py"), *flags],
                                       stdout=subprocess.DEVNULL, stderr=stderr, cwd=ROOT)
            largest, outcome = 0.0, ""
            while process.poll() is None:
                largest = max(largest, _largest_bytes(process.pid))
                too_large, too_long = largest > limit_gb * 1e9, time.monotonic() - began > timeout_s
                if too_large or too_long:
                    outcome = "KILLED" if too_large else "too slow"
                    process.kill()
                    process.wait()
                    break
                time.sleep(POLL_SECONDS)
        text = said.read_text(encoding="utf-8", errors="replace")
        is_begun = Path(folder, "run", "metrics.jsonl").exists()
    lines = [line for line in text.splitlines() if not line.startswith("nst_tf:")]
    tile = re.search(r"tiles of (\d+) px", text)
    status = process.returncode
    outcome = outcome or ("kept" if status == 0 else "refused" if (status, len(lines), is_begun) == (2, 1, False)
                          else "KILLED" if status == -9 else f"FAILED ({status})")
    return {"limit": limit_gb, **{name: settings[name] for name in COLUMNS if name in settings},
            "tiles": tile[1] if tile else "", "mb": round(largest / 1e6), "seconds": round(time.monotonic() - began),
            "outcome": outcome, "cgroup": group is not None, "said": "" if status == 0 else text[-300:]}


def _largest_bytes(pid: int) -> float:
    """The largest resident set of a process so far; 0 where it is gone."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
        return int(found[1]) * 1024.0 if found else 0.0
    return 0.0


def main() -> None:
    """Makes the runs that are not recorded, and prints a Markdown table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, default=Path("logs/limits.jsonl"))
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after so long")
    parser.add_argument("--timeout", type=float, default=600)
    options = parser.parse_args()
    options.record.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.record.read_text().splitlines()] if options.record.exists() else []
    end = time.monotonic() + 60 * options.minutes
    for number in range(len(rows), options.runs):
        if time.monotonic() > end:
            break
        limit_gb, settings = drawn(random.Random(f"{options.seed} {number}"))
        try:
            rows.append(measured(limit_gb, settings, options.timeout))
        except UserError as error:
            rows.append({"limit": limit_gb, **settings, "outcome": f"FAILED ({error})"})
        with options.record.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for row in rows:
        print(f"| {' | '.join(str(row.get(name, '')) for name in COLUMNS)} |")


if __name__ == "__main__":
    main()
