"""The time of one step of the project as a ratio to that of another commit, measured in turns: `make bench`.

    python -m benchmarks.step_ratio b9e35a7 --networks=kmeans,vgg19 --isa=AVX2

Each row has a process of OLD and one of NEW, which build their network, take their first steps and then wait; in each
round OLD takes steps for a second, then NEW, so that what else the machine does hits both alike. A row has the median
seconds of a step of each and the median ratio of the rounds, with the least and the largest. --precision=auto, the
default, is decided anew by each, as on a machine where the project is new. Weights that are not at hand are random,
which cost what trained ones cost.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# No nst_tf here: the processes that are started measure the checkouts.
ROOT = Path(__file__).resolve().parents[1]
CHILD = Path(__file__).with_name("step_profile.py")
SQUEEZENET = ROOT.parent / "shared/weights/squeezenet_v1.0_deep_compressed.net"
STYLES = tuple(str(ROOT / "samples" / name) for name in ("swirls.jpg", "mosaic.jpg", "watercolor.jpg"))
PRECISIONS = ("float32", "bfloat16", "float16", "auto")
# {network: (settings, size of the picture in px)}.
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "kmeans": ({"backbone": "kmeans", "weights": "bundled"}, (384, 256)),
    "squeezenet": (
        {"backbone": "squeezenet", "weights": str(SQUEEZENET) if SQUEEZENET.exists() else "random"}, (512, 341)),
    # Random, so that older commits, which find no trained ones, take the same.
    "squeezenet1_1": ({"backbone": "squeezenet1_1", "weights": "random"}, (512, 341)),
    "vgg19": ({"backbone": "vgg19", "weights": "random"}, (512, 512)),
}


class Problem(Exception):
    """One line that says what was given and what to do."""


class Process:
    """A process that says something once it is ready, and then answers each line by one of JSON."""

    def __init__(self, command: Sequence[str | Path], folder: Path | None = None,
                 variables: Mapping[str, str] | None = None) -> None:
        # TensorFlow's start-up lines go where only an error is looked for.
        self._said = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(command, cwd=folder, env=None if variables is None else dict(variables),
                                         text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said)

    def ask(self, line: object = "") -> Any:
        """Its answer to a line."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # `answer` says why
            print(line, file=self._process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        """What it says next.

        Raises:
            Problem: it has ended.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            raise Problem(f"a process ended: {(self._said.read().strip().splitlines() or ['no message'])[-1]}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self._said.close()


def git(*arguments: str) -> str:
    """What git says of this checkout.

    Raises:
        subprocess.CalledProcessError, FileNotFoundError: it refuses; it is not installed.
    """
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def default_commit() -> str:
    """Where this branch left the main one; on the main one itself its commit before (the first parent of a merge)."""
    head = git("rev-parse", "HEAD")
    for branch in ("origin/main", "main"):
        with contextlib.suppress(subprocess.CalledProcessError):
            if (base := git("merge-base", "HEAD", branch)) != head:
                return base
    return "HEAD^"


def checkout(given: str, folder: Path) -> Path:
    """The folder that is given, or the files of the commit, written below `folder`.

    Raises:
        Problem: it is neither.
    """
    if given and Path(given).is_dir():
        return Path(given).resolve()
    try:
        commit = given or default_commit()
        name = git("rev-parse", "--short", "--verify", f"{commit}^{{commit}}")
        archive = subprocess.run(["git", "archive", name], cwd=ROOT, capture_output=True, check=True).stdout
    except (subprocess.CalledProcessError, FileNotFoundError):
        raise Problem(f"'{given or 'the commit before'}' is no folder, and no commit of this clone (is it shallow?): "
                      "give one, as in make bench COMMIT=b9e35a7") from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder / name, filter="data")
    return folder / name


def environment(checkout: Path, threads: int, isa: str = "", cache: Path | None = None) -> dict[str, str]:
    """The environment of a process that measures a checkout.

    Args:
        isa: the newest instructions that oneDNN may use.
        cache: where what --precision=auto decides is kept; the user's by default.
    """
    limits = {"ONEDNN_MAX_CPU_ISA": isa} if isa else {}
    caches = {"XDG_CACHE_HOME": str(cache)} if cache else {}
    return os.environ | limits | caches | {
        "PYTHONPATH": str(checkout), "TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)}


def names(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    """How `argparse` reads names that are separated by commas."""
    def read(text: str) -> list[str]:
        unknown = sorted(set(text.split(",")) - set(allowed))
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(allowed)}")
        return text.split(",")

    return read


def settings_of(network: str, precision: str, folder: Path, styles: int = 1, **others: Any) -> dict[str, Any]:
    """One stage of more steps than will be taken, else defaults; the photo is written into the folder."""
    chosen, size_px = NETWORKS[network]
    content = folder / f"{network}.png"
    with Image.open(ROOT / "samples/street.jpg") as street:
        street.resize(size_px, Image.Resampling.LANCZOS).save(content)
    return chosen | {"content": str(content), "style": STYLES[:styles], "size": max(size_px), "min_size": max(size_px),
                     "steps": 10 ** 6, "precision": precision} | others


def title(network: str, precisions: Sequence[str]) -> str:
    """The head of a row: network, size, and the precision of each process where they differ."""
    width, height = NETWORKS[network][1]
    return f"{network} {width} × {height}, {' → '.join(dict.fromkeys(precisions))}"


def row(name: str, seconds: np.ndarray) -> str:
    """The table's row of two steppers: [rounds, 2] seconds of a step."""
    ratios = seconds[:, 1] / seconds[:, 0]
    before, after = np.median(seconds, axis=0)
    return (f"| {name} | {before:.3f} s | {after:.3f} s | {np.median(ratios):.3f} ({ratios.min():.3f} … "
            f"{ratios.max():.3f}) |")


def measured(network: str, cases: Sequence[tuple[Path, Mapping[str, Any]]], values: argparse.Namespace) -> str:
    """The row of two (checkout, settings).

    Raises:
        Problem: one of them is no checkout, or its process failed.
    """
    with contextlib.ExitStack() as open_:
        processes, precisions = [], []
        for folder, settings in cases:
            cache = open_.enter_context(tempfile.TemporaryDirectory())
            process = Process([sys.executable, CHILD, "turns", json.dumps({"settings": settings})], folder,
                              environment(folder, values.threads, values.isa, Path(cache)))
            processes.append(open_.enter_context(contextlib.closing(process)))
            answer = process.answer()
            if folder not in Path(answer["source"]).resolve().parents:
                raise Problem(f"{folder} is no checkout of the project: Python finds {answer['source']}")
            precisions.append(answer["precision"])
        seconds = [[process.ask(values.seconds) for process in processes] for _ in range(values.rounds)]
    return row(title(network, precisions), np.array(seconds))


def rows(old: Path, new: Path, values: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The lines of the table: each network and precision; then, if asked for, three styles against one."""
    yield f"| step | {old.name} | {new.name} | ratio (single rounds) |\n| --- | ---: | ---: | ---: |"
    for network in values.networks:
        for precision in values.precisions:
            settings = settings_of(network, precision, folder)
            yield measured(network, [(old, settings), (new, settings)], values)
    if values.three_styles:
        yield "\n| step, wasserstein | 1 style | 3 styles | ratio (single rounds) |\n| --- | ---: | ---: | ---: |"
        for network in values.networks:
            cases = [(new, settings_of(network, values.precisions[-1], folder, styles, statistic="wasserstein"))
                     for styles in (1, 3)]
            yield measured(network, cases, values)


def parser_of_steps(about: str | None) -> argparse.ArgumentParser:
    """What both benchmarks of steps are asked: networks, threads, instructions."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=names(NETWORKS), default=list(NETWORKS), help="rows, by commas")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of TensorFlow, each pool")
    parser.add_argument("--isa", default="", help="the newest instructions of oneDNN, such as AVX2: an older processor")
    return parser


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, checked."""
    parser = parser_of_steps(__doc__)
    parser.add_argument("old", nargs="?", default="", help="a commit or a folder; where this branch began, or HEAD^")
    parser.add_argument("new", nargs="?", default=str(ROOT), help="the same; the working tree by default")
    parser.add_argument("--precisions", type=names(PRECISIONS), default=["auto"], help="of each network, by commas")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each process")
    parser.add_argument("--seconds", type=float, default=1.0, help="for which a turn takes steps, one at least")
    parser.add_argument("--three_styles", action="store_true", help="rows of three styles against one, wasserstein")
    return parser.parse_args(argv)


def print_table(program: str, commits: Sequence[str],
                table: Callable[[Sequence[Path], Path], Iterator[str]]) -> None:
    """Prints the lines of a table of some checkouts, or one line on stderr, with status 2.

    Args:
        commits: what `checkout` takes.
        table: (the checkouts, a temporary folder) → lines.
    """
    # Whoever ends this process leaves no temporary folders.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as folder:
        try:
            for line in table([checkout(commit, Path(folder)) for commit in commits], Path(folder)):
                print(line, flush=True)
        except Problem as problem:
            print(f"{program}: {problem}", file=sys.stderr)
            sys.exit(2)


def main(argv: Sequence[str]) -> None:
    """Prints the table, or one line on stderr and status 2."""
    values = parsed(argv)
    print_table("step_ratio", (values.old, values.new), lambda given, folder: rows(given[0], given[1], values, folder))


if __name__ == "__main__":
    main(sys.argv[1:])
