"""Where the time of a step goes, for each network and precision: thread-milliseconds by kind of operation.

    python -m benchmarks.where_time_goes ../old . --networks=kmeans,vgg19

A row is one process of one checkout of the project (the working tree by default), so that rows of two checkouts come
from one command. `wall` is the median step without the profiler. Operations overlap on several cores, and an operation
counts as long as its thread waits for a core, so that their sum is larger than `wall`. `floor` is what the step's own
convolutions take alone, one after another, at their true shapes (forward / by the input). The last line is the
roofline of the machine: a matrix product of 2048 rows, and a copy of 256 MiB on all cores, reads and writes counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.step_ratio import NETWORKS, PRECISIONS, ROOT, environment, has_bfloat16, names, settings_of

PROFILE = Path(__file__).with_name("step_profile.py")
# {head of the column: its kinds of operations}.
COLUMNS = {
    "convolutions": ("forward", "backward"), "products": ("products",),
    "depthwise": ("depthwise", "depthwise backward"), "ReluGrad": ("ReluGrad",), "casts": ("casts",),
    "elementwise": ("elementwise",), "pools": ("pools",), "pads": ("pads",), "einsum": ("einsum",), "rest": ("rest",),
}
LONGEST_S = 300


def measured(checkout: Path, request: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """What `step_profile.py` prints in a process of the checkout.

    Raises:
        SystemExit: the process failed; one line says with what.
    """
    done = subprocess.run([sys.executable, PROFILE, json.dumps(request)], cwd=checkout, env=dict(variables), text=True,
                          capture_output=True, timeout=LONGEST_S)
    if done.returncode:
        raise SystemExit(f"{checkout}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def head() -> str:
    """The first two lines of the table."""
    heads = ["step, ms", *COLUMNS, "wall", "floor"]
    return f"| {' | '.join(heads)} |\n| --- |{' ---: |' * (len(heads) - 1)}"


def row(name: str, profile: Mapping[str, Any]) -> str:
    """The table's row of what `step_profile` found."""
    cells = [" / ".join(f"{profile['kinds'][kind]:.0f}" for kind in kinds) for kinds in COLUMNS.values()]
    floor = " / ".join(f"{milliseconds:.0f}" for milliseconds in profile["floor_ms"])
    return f"| {name} | {' | '.join(cells)} | {profile['wall_ms']:.0f} | {floor} |"


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[ROOT], help="of the project")
    parser.add_argument("--networks", type=names(NETWORKS), default=list(NETWORKS), help="rows, by commas")
    parser.add_argument("--precisions", type=names(PRECISIONS),
                        default=["float32", "bfloat16"] if has_bfloat16() else ["float32"],
                        help="of each network, by commas")
    parser.add_argument("--seconds", type=float, default=6.0,
                        help="for which steps are timed, besides those under the profiler")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of TensorFlow, each pool")
    parser.add_argument("--isa", default="", help="imitates an older processor: ONEDNN_MAX_CPU_ISA, such as AVX2")
    parser.add_argument("--operations", action="store_true", help="prints the longest single operations too")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Prints a row for each network, precision and checkout, then the roofline."""
    values = parsed(argv)
    checkouts = [path.resolve() for path in values.checkouts]
    print(head(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for network in values.networks:
            width, height = NETWORKS[network][1]
            for precision in values.precisions:
                settings = settings_of(network, precision, Path(folder))
                for checkout in checkouts:
                    name = f"{network} {width} × {height}, {precision}"
                    name += f", {checkout.name}" * (len(checkouts) > 1)
                    profile = measured(checkout, {"settings": settings, "seconds": values.seconds},
                                       environment(checkout, values.threads, values.isa))
                    print(row(name, profile), flush=True)
                    if profile["ran"] != profile["traced"]:
                        print(f"The floor is of other convolutions: {profile['traced']} traced, {profile['ran']} ran.")
                    if values.operations:
                        print_operations(profile)
    found = measured(checkouts[-1], {}, environment(checkouts[-1], values.threads, values.isa))
    print(f"\nMatrix products: {found['float32']:.0f} GFLOP/s in float32, {found['bfloat16']:.0f} in bfloat16. "
          f"A copy: {found['copy']:.0f} GB/s.")


def print_operations(profile: Mapping[str, Any]) -> None:
    """Prints the longest operations, and the work of the convolutions."""
    longest = sorted(profile["operations"].items(), key=lambda item: -item[1][0])[:24]
    print("".join(f"    {milliseconds:7.2f} ms {count:4} {name}\n" for name, (milliseconds, count) in longest) +
          f"    {profile['gflop']:.1f} GFLOP in {sum(profile['traced'])} convolutions")


if __name__ == "__main__":
    main(sys.argv[1:])
