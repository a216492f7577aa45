"""Where the time of a step goes, for each network and precision: thread-milliseconds by kind of operation.

    python -m benchmarks.where_time_goes b9e35a7 . --networks=kmeans,vgg19

A row is one process of one checkout of the project: a folder or a commit, the working tree by default, so that rows of
before and after come from one command. `wall` is the median step without the profiler. Operations overlap on several
cores, and an operation counts as long as its thread waits for a core, so that their sum is larger than `wall`. `floor`
is what the step's own convolutions take alone, one after another, at their true shapes (forward / by the input). The
last line is the roofline of the machine: a matrix product of 2048 rows, and a copy of 256 MiB on all cores, reads and
writes counted.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.step_ratio import (
    CHILD, PRECISIONS, ROOT, Problem, environment, names, parser_of_steps, print_table, settings_of, title,
)

# {head of the column: its kinds of operations}.
COLUMNS = {
    "convolutions": ("forward", "backward"), "products": ("products",),
    "depthwise": ("depthwise", "depthwise backward"), "ReluGrad": ("ReluGrad",), "casts": ("casts",),
    "elementwise": ("elementwise",), "pools": ("pools",), "pads": ("pads",), "einsum": ("einsum",), "rest": ("rest",),
}
LONGEST_S = 300


def measured(folder: Path, work: str, request: Mapping[str, Any], values: argparse.Namespace) -> dict[str, Any]:
    """What `step_profile.py` prints in a process of the checkout.

    Raises:
        Problem: the process failed.
    """
    done = subprocess.run([sys.executable, CHILD, work, json.dumps(request)], cwd=folder, text=True,
                          env=environment(folder, values.threads, values.isa), capture_output=True, timeout=LONGEST_S)
    if done.returncode:
        raise Problem(f"{folder}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
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


def notes(profile: Mapping[str, Any], asks_operations: bool) -> Iterator[str]:
    """What else is to be said of a row: a floor of other convolutions, and, if asked for, the longest operations."""
    if profile["ran"] != profile["traced"]:
        yield f"The floor is of other convolutions: {profile['traced']} were traced, {profile['ran']} ran."
    if asks_operations:
        longest = sorted(profile["operations"].items(), key=lambda item: -item[1][0])[:24]
        yield from (f"    {milliseconds:7.2f} ms {count:4} {name}" for name, (milliseconds, count) in longest)
        yield f"    {profile['gflop']:.1f} GFLOP in {sum(profile['traced'])} convolutions"


def lines(checkouts: Sequence[Path], values: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The table: a row for each network, precision and checkout; then the roofline."""
    yield head()
    for network in values.networks:
        for precision in values.precisions:
            request = {"settings": settings_of(network, precision, folder), "seconds": values.seconds}
            for place in checkouts:
                profile = measured(place, "profile", request, values)
                yield row(title(network, [profile["precision"]]) + f", {place.name}" * (len(checkouts) > 1), profile)
                yield from notes(profile, values.operations)
    found = measured(checkouts[-1], "roofline", {}, values)
    yield (f"\nMatrix products: {found['float32']:.0f} GFLOP/s in float32, {found['bfloat16']:.0f} in bfloat16. "
           f"A copy: {found['copy']:.0f} GB/s.")


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, checked."""
    parser = parser_of_steps(__doc__)
    parser.add_argument("checkouts", nargs="*", default=[str(ROOT)], help="folders or commits")
    parser.add_argument("--precisions", type=names(PRECISIONS), default=["float32", "bfloat16"],
                        help="of each network, by commas")
    parser.add_argument("--seconds", type=float, default=6.0,
                        help="for which steps are timed, besides those under the profiler")
    parser.add_argument("--operations", action="store_true", help="prints the longest single operations too")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Prints the table, or one line on stderr and status 2."""
    values = parsed(argv)
    print_table("where_time_goes", values.checkouts, lambda checkouts, folder: lines(checkouts, values, folder))


if __name__ == "__main__":
    main(sys.argv[1:])
