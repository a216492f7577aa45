"""The largest memory of runs beside what the plan predicts, and runs under --memory_limit.

    python -m benchmarks.memory --backbones=squeezenet1_1,vgg19 --sizes=512,1024,1448 --tiles=off,512
    python -m benchmarks.memory --backbones=kmeans,vgg19 --sizes=1024,3072 --limits=1.5,2,3

Each run has two steps at one size and is a process of its own. The memory is its largest resident set, VmHWM. The
second line prints whether each run keeps to its limit, or says in one line that it cannot, before any work.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from nst_tf.config import StylizeConfig
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.plan_memory import predicted_bytes

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = {"kmeans": "bundled"}
# As the kernel tells it: `resource.getrusage` of a child would count what was there before its program began.
_RUN = ("import re, sys, runpy, atexit\n"
        "atexit.register(lambda: print('VmHWM', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]))\n"
        "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n")


def settings_of(backbone: str, size: int, **others: Any) -> dict[str, Any]:
    """The settings of a run of two steps at one size."""
    return {"content": str(ROOT / "samples/coast.jpg"), "style": (str(ROOT / "samples/swirls.jpg"),),
            "backbone": backbone, "weights": WEIGHTS.get(backbone, "random"), "size": size, "min_size": size,
            "steps": 2, **others}


def run(settings: dict[str, Any], *flags: str) -> tuple[int, float, str]:
    """Exit status, VmHWM in MB and stderr of a run."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
                     for name, value in settings.items()]
        done = subprocess.run([sys.executable, "-c", _RUN, str(ROOT / "scripts/stylize.py"), *arguments,
                               f"--logdir={folder}", "--run=run", *flags], capture_output=True, text=True, cwd=ROOT)
    found = re.search(r"VmHWM (\d+)", done.stdout)
    return done.returncode, int(found[1]) * 1024 / 1e6 if found else 0.0, done.stderr


def compare(settings: dict[str, Any], tile: str) -> str:
    """A row: predicted and measured."""
    config = StylizeConfig(**settings, tile=tile)
    plan = resolve(config)
    predicted_mb = predicted_bytes(config, plan, config.precision, plan.tile_px or 0) / 1e6
    status, measured_mb, said = run(settings, f"--tile={tile}")
    assert status == 0, said
    return (f"| {config.backbone} | {config.precision} | {config.statistic} | {config.size} | {tile} | "
            f"{predicted_mb:.0f} | {measured_mb:.0f} | {predicted_mb / measured_mb:.2f} |")


def keep_to(settings: dict[str, Any], limit_gb: str) -> str:
    """A row: whether a run keeps to its limit, or is refused by one line."""
    status, measured_mb, said = run(settings, f"--memory_limit={limit_gb}")
    lines = [line for line in said.splitlines() if not line.startswith("nst_tf:")]
    tile = re.search(r"tiles of (\d+) px", said)
    outcome = "refused" if status == 2 and len(lines) == 1 else (
        "kept" if status == 0 and measured_mb <= 1e3 * float(limit_gb) else f"FAILED ({status})")
    return (f"| {settings['backbone']} | {settings['size']} | {limit_gb} | {tile[1] if tile else 'off'} | "
            f"{measured_mb:.0f} | {outcome} |")


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", default="squeezenet1_1")
    parser.add_argument("--sizes", default="512,1024,1448")
    parser.add_argument("--precisions", default="bfloat16")
    parser.add_argument("--statistics", default="gram")
    parser.add_argument("--neighbors_weight", type=float, default=0.0)
    parser.add_argument("--tiles", default="off")
    parser.add_argument("--limits", default="")
    options = parser.parse_args()
    names = ("backbones", "sizes", "precisions", "statistics", "limits" if options.limits else "tiles")
    print(json.dumps(vars(options)))
    for backbone, size, precision, statistic, last in itertools.product(
            *(getattr(options, name).split(",") for name in names)):
        settings = settings_of(backbone, int(size), precision=precision, statistic=statistic,
                               neighbors_weight=options.neighbors_weight)
        print((keep_to if options.limits else compare)(settings, last), flush=True)


if __name__ == "__main__":
    main()
