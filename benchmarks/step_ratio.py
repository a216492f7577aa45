"""The time of one step of a checkout of the project as a ratio to another's, measured in turns.

    python -m benchmarks.step_ratio ../old . --rounds=9

Each case has a process of OLD and one of NEW, which build their network, take their first steps and then wait; in each
round OLD times a few steps, then NEW, so that what else the machine does hits both alike. A row has the median seconds
of a step of each and the median ratio of the rounds, with the least and the largest. The last rows are steps with three
styles as a ratio to those with one, both of NEW, with --statistic=wasserstein. VGG19 has random weights, which cost
what trained ones cost; SqueezeNet, where its file is missing, has them too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# No nst_tf here: this file, run by path, measures the checkout that PYTHONPATH names.
ROOT = Path(__file__).resolve().parents[1]
SQUEEZENET = ROOT.parent / "shared/weights/squeezenet_v1.0_deep_compressed.net"
STYLES = tuple(str(ROOT / "samples" / name) for name in ("swirls.jpg", "mosaic.jpg", "watercolor.jpg"))
WARM_UP_STEPS = 3
PRECISIONS = ("float32", "bfloat16", "float16", "auto")
# {network: (settings, size of the picture in px)}.
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "kmeans": ({"backbone": "kmeans", "weights": "bundled"}, (384, 256)),
    "squeezenet": (
        {"backbone": "squeezenet", "weights": str(SQUEEZENET) if SQUEEZENET.exists() else "random"}, (512, 341)),
    # Random, so that older checkouts, which find no trained ones, take the same.
    "squeezenet1_1": ({"backbone": "squeezenet1_1", "weights": "random"}, (512, 341)),
    "vgg19": ({"backbone": "vgg19", "weights": "random"}, (512, 512)),
}


class Stepper:
    """A process with a network and a picture, which takes timed steps when told to."""

    def __init__(self, checkout: Path, settings: dict[str, Any], variables: dict[str, str]) -> None:
        # TensorFlow's start-up lines go where only an error is looked for.
        self._said = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", json.dumps(settings)], cwd=checkout, env=variables, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said)
        self.source = self._answer()

    def seconds(self, steps: int) -> float:
        """The median of so many steps."""
        assert self._process.stdin
        print(steps, file=self._process.stdin, flush=True)
        return float(np.median(self._answer()))

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._said.seek(0)
            raise SystemExit(f"a process ended: {(self._said.read().strip().splitlines() or ['no message'])[-1]}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()
        self._said.close()


def child(settings: dict[str, Any]) -> None:
    """Takes the first steps, says where nst_tf lies, then as many steps as each line of stdin says."""
    import nst_tf

    steps = _timed(nst_tf.stylize(nst_tf.StylizeConfig(**settings)))
    for _ in range(WARM_UP_STEPS):
        next(steps)
    print(json.dumps(nst_tf.__file__), flush=True)
    for line in sys.stdin:
        print(json.dumps([next(steps) for _ in range(int(line))]), flush=True)


def _timed(run: Iterator[Any]) -> Iterator[float]:
    """The seconds of each step; reading J waits for its end."""
    while True:
        start = time.perf_counter()
        float(next(run).losses["loss/total"])
        yield time.perf_counter() - start


def environment(checkout: Path, threads: int, isa: str = "") -> dict[str, str]:
    """The environment of a process that measures a checkout, with oneDNN's instructions limited to those of `isa`."""
    limit = {"ONEDNN_MAX_CPU_ISA": isa} if isa else {}
    return os.environ | limit | {"PYTHONPATH": str(checkout), "TF_NUM_INTRAOP_THREADS": str(threads),
                                 "TF_NUM_INTEROP_THREADS": str(threads)}


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


def in_turns(steppers: Sequence[Stepper], rounds: int, steps: int) -> np.ndarray:
    """[rounds, steppers]: the seconds of a step."""
    return np.array([[stepper.seconds(steps) for stepper in steppers] for _ in range(rounds)])


def row(name: str, seconds: np.ndarray) -> str:
    """The table's row of two steppers: [rounds, 2] seconds of a step."""
    ratios = seconds[:, 1] / seconds[:, 0]
    before, after = np.median(seconds, axis=0)
    return (f"| {name} | {before:.3f} s | {after:.3f} s | {np.median(ratios):.3f} ({ratios.min():.3f} … "
            f"{ratios.max():.3f}) |")


def has_bfloat16() -> bool:
    """Whether the processor says that it computes in bfloat16."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(words))


def measure(name: str, cases: Sequence[tuple[Path, dict[str, Any]]], values: argparse.Namespace) -> None:
    """Prints the row of two (checkout, settings)."""
    steppers: list[Stepper] = []
    try:
        for checkout, settings in cases:
            steppers.append(Stepper(checkout, settings, environment(checkout, values.threads, values.isa)))
            if checkout not in Path(steppers[-1].source).resolve().parents:
                raise SystemExit(f"{checkout} is no checkout of the project: Python finds {steppers[-1].source}")
        print(row(name, in_turns(steppers, values.rounds, values.steps)), flush=True)
    finally:
        for stepper in steppers:
            stepper.close()


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout of the project")
    parser.add_argument("new", type=Path, help="another one, or the same")
    parser.add_argument("--networks", type=names(NETWORKS), default=list(NETWORKS), help="rows, by commas")
    parser.add_argument("--precisions", type=names(PRECISIONS),
                        default=["float32", "bfloat16"] if has_bfloat16() else ["float32"],
                        help="of each network, by commas")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each process")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of TensorFlow, each pool")
    parser.add_argument("--isa", default="", help="imitates an older processor: ONEDNN_MAX_CPU_ISA, such as AVX2")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Prints a row for each network and precision, then the rows of three styles against one."""
    values = parsed(argv)
    old, new = values.old.resolve(), values.new.resolve()
    with tempfile.TemporaryDirectory() as folder:
        print("| step | old | new | new to old (single rounds) |\n| --- | ---: | ---: | ---: |")
        for network in values.networks:
            for precision in values.precisions:
                settings = settings_of(network, precision, Path(folder))
                measure(f"{network}, {precision}", [(old, settings), (new, settings)], values)
        print("\n| step, wasserstein | 1 style | 3 styles | 3 to 1 (single rounds) |\n| --- | ---: | ---: | ---: |")
        for network in values.networks:
            precision = values.precisions[-1]
            cases = [(new, settings_of(network, precision, Path(folder), styles, statistic="wasserstein"))
                     for styles in (1, 3)]
            measure(f"{network}, {precision}", cases, values)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(json.loads(sys.argv[2]))
    else:
        main(sys.argv[1:])
