"""Whether two checkouts of the project make the same pictures: twelve runs of both, compared by pixel and by J.

    python -m benchmarks.same_pixels ../old . --keep=out/same_pixels
    python -m benchmarks.same_pixels ../old . --shorten=80 --precision=float32

Every command runs in a process of its own, in the folder of its checkout and on equally many threads, first in OLD.
The second line tells another order of summation from another picture: a change in the last bit grows with every step,
so that after whole runs pictures differ as much by the one as by the other; after a few steps they do not.

A line for each run: the largest and the mean difference of its pictures in units of 1/255, its J in OLD and in NEW (the
last row of metrics.jsonl; of a dream the last excitation, of units the mean response), and `equal`, `differs` or
`FAILED`. The exit status is 1 where a mean is above 1/255, J differs by more than 0.1 %, or a command fails. Runs whose
SqueezeNet is missing are skipped, which is said.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SQUEEZENET = ROOT.parent / "shared/weights/squeezenet_v1.0_deep_compressed.net"
MOST_MEAN, MOST_PERCENT = 1.0, 0.1

_STYLIZE = "scripts/stylize.py --logdir={out}/logs --run=run "
_DREAM = "scripts/dream.py --logdir={out}/logs --backbone=squeezenet --weights={squeezenet} "
_COAST = "--content=samples/coast.jpg --style=samples/swirls.jpg "
_KMEANS, _SQUEEZENET = "--backbone=kmeans ", "--backbone=squeezenet --weights={squeezenet} "
_LBFGS = _STYLIZE + _KMEANS + _COAST + ("--weights=bundled --size=256 --optimizer=lbfgs --precision=float32 "
                                        "--output={out}/coast.png ")
# {name: commands}. Precisions are given, since `auto` is a matter of timing; pictures are .png, which loses nothing.
RUNS = {
    # README's commands; the numbers of steps are the defaults.
    "readme_kmeans": (_STYLIZE + _KMEANS + _COAST + "--steps=320 --precision=float32 --output={out}/coast.png",),
    "readme_squeezenet": (_STYLIZE + _SQUEEZENET + _COAST + "--steps=320 --precision=bfloat16 "
                          "--output={out}/coast.png",),
    "readme_dream": (_DREAM + "--run=run --size=384 --content=samples/street.jpg --steps=20 --precision=bfloat16 "
                     "--output={out}/street.png",),
    "dream_zoom": (_DREAM + "--run=a --content=samples/coast.jpg --mode=caricature --size=256 --octaves=2 --steps=10 "
                   "--tile=160 --precision=float32 --output={out}/caricature.png",
                   _DREAM + "--run=b --content=samples/street.jpg --guide=samples/swirls.jpg --size=256 --octaves=1 "
                   "--steps=10 --frames=2 --zoom=1.1 --turn=3 --precision=float32 --output={out}/guided.png"),
    "units": ("scripts/visualize_units.py --backbone=squeezenet --weights={squeezenet} --images=samples --size=256 "
              "--layers=conv1:0-7,fire4:0-3 --view=both --steps=64 --output={out}/units",),
    "texture": (_STYLIZE + _KMEANS + "--smoothness_weight=0.2 --style=samples/swirls.jpg,samples/mosaic.jpg "
                "--statistic=histogram --size=256 --steps=120 --precision=float32 --output={out}/texture.png",),
    # That of docs/controls.md, at another size.
    "regions": (_STYLIZE + _SQUEEZENET + "--size=256 --steps=160 --content=samples/coast.jpg --precision=float32 "
                "--content_mask=samples/coast_mask.png --style=samples/swirls.jpg,samples/woodcut.jpg "
                "--style_mask=#2050ff,#ff8020 --output={out}/coast.png",),
    "colors": tuple(f"scripts/stylize.py --logdir={{out}}/logs --run={color} {_KMEANS}--content=samples/street.jpg "
                    f"--style=samples/watercolor.jpg --size=256 --steps=80 --precision=float32 --color={color} "
                    f"--own_size --output={{out}}/{color}.png" for color in ("keep", "match", "luminance")),
    "blend": (_STYLIZE + _SQUEEZENET + "--content=samples/street.jpg --size=288 --steps=120 --statistic=wasserstein "
              "--style=samples/swirls.jpg,samples/watercolor.jpg,samples/mosaic.jpg --style_blend=0.5,0.3,0.2 "
              "--style_scale=1,0.5,1.5 --dream=fire9:unused:5 --precision=bfloat16 --output={out}/street.png",),
    # Stopped at its end, and gone on with.
    "lbfgs": (_LBFGS + "--steps=80", _LBFGS + "--steps=120 --resume"),
    "fourier": (_STYLIZE + _KMEANS + _COAST + "--weights=bundled --canvas=fourier --learning_rate=0.03 "
                "--content_weight=0.15 --style_weight=1 --smoothness_weight=0.8 --size=256 "
                "--steps=150 --statistic=covariance --precision=float32 --output={out}/coast.png",),
    "random": ("scripts/stylize.py --logdir={out}/logs --run=a --backbone=vgg19 --weights=random --size=192 --steps=60 "
               "--normalization=gatys --pooling=average --padding=zero --init=white_noise --precision=float32 "
               + _COAST + "--output={out}/vgg19.png",
               "scripts/stylize.py --logdir={out}/logs --run=b --backbone=resnet50 --weights=random --size=192 "
               "--steps=40 --pooling=l2 --padding=reflect:first --statistic=mean_std --smoothing=softmax:1 "
               "--style_scale=0.5 --precision=bfloat16 " + _COAST + "--output={out}/resnet50.png"),
}


class Difference(NamedTuple):
    """Of two pictures, in units of 1/255."""

    largest: float
    mean: float


class Verdict(NamedTuple):
    """Of one run: what its line says, and whether it is within the limits."""

    text: str
    holds: bool


def commands(name: str, out: Path, squeezenet: Path, shorten: int = 1, precision: str = "") -> list[list[str]]:
    """The arguments of each command of a run that writes its pictures into `out`.

    Args:
        shorten: what its steps are divided by; two are left, since lbfgs refuses one.
        precision: instead of its own.
    """
    def changed(argument: str) -> str:
        flag, _, value = argument.partition("=")
        if flag == "--steps":
            return f"--steps={min(int(value), max(2, int(value) // shorten))}"
        return f"--precision={precision}" if precision and flag == "--precision" else argument

    return [[changed(argument.format(out=out, squeezenet=squeezenet)) for argument in command.split()]
            for command in RUNS[name]]


def run(checkout: Path, arguments: Sequence[str], threads: int) -> str:
    """Runs a script of a checkout; returns the last line of what went wrong, or nothing."""
    # `--precision` is given, so that no run reads or writes what `auto` has found.
    environment = os.environ | {
        "PYTHONPATH": str(checkout), "TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=checkout, env=environment, text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return (done.stderr.strip().splitlines() or ["no message"])[-1] if done.returncode else ""


def pictures(folder: Path) -> dict[str, Path]:
    """{name: file} of what a run was asked to write; its run folder holds the same once more."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.png"))
            if path.relative_to(folder).parts[0] != "logs"}


def difference(old: np.ndarray, new: np.ndarray) -> Difference:
    """Of two pictures of 8 bits; infinite where their shapes differ."""
    if old.shape != new.shape:
        return Difference(np.inf, np.inf)
    apart = np.abs(old.astype(np.float64) - new.astype(np.float64))
    return Difference(float(apart.max()), float(apart.mean()))


def worst(old: Path, new: Path) -> Difference:
    """The largest of each number over all pictures of two folders; infinite where one has others."""
    files = pictures(old), pictures(new)
    if files[0].keys() != files[1].keys() or not files[0]:
        return Difference(np.inf, np.inf)
    found = []
    for name, path in files[0].items():
        with Image.open(path) as first, Image.open(files[1][name]) as second:
            found.append(difference(np.asarray(first), np.asarray(second)))
    return Difference(max(one.largest for one in found), max(one.mean for one in found))


def objectives(folder: Path) -> dict[str, float]:
    """{where: J} of all that a run left: `metrics.jsonl`, a dream's excitation, the responses of units."""
    found: dict[str, float] = {}
    for path in sorted((folder / "logs").glob("*/metrics.jsonl")):
        row = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        if "total" in row:
            found[f"{path.parent.name}/total"] = row["total"]
    for path in sorted((folder / "logs").glob("*/events.*")):
        for value in scalars(path, "dream/excitation"):
            found[f"{path.parent.name}/excitation"] = value
    for path in sorted(folder.glob("*/units.json")):
        found["units"] = float(np.mean(list(_responses(json.loads(path.read_text(encoding="utf-8"))))))
    return found


def scalars(path: Path, tag: str) -> Iterator[float]:
    """The values of a tag in a file of TensorBoard's events, in the order of writing."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.util.tensor_util import make_ndarray

    data, start = path.read_bytes(), 0
    while start + 16 <= len(data):
        # A record is its length (8 bytes), a checksum (4), the event, a checksum (4).
        length = struct.unpack_from("<Q", data, start)[0]
        for value in Event.FromString(data[start + 12:start + 12 + length]).summary.value:
            if value.tag == tag:
                yield float(make_ndarray(value.tensor))
        start += length + 16


def _responses(record: Any) -> Iterator[float]:
    """Every number called `response`, however deep."""
    for key, value in record.items() if isinstance(record, dict) else enumerate(record):
        if key == "response":
            yield float(value)
        elif isinstance(value, (dict, list)):
            yield from _responses(value)


def judge(apart: Difference, old: dict[str, float], new: dict[str, float]) -> Verdict:
    """The line of a run; J that only one checkout wrote is not compared."""
    both = [(old[name], new[name]) for name in old if name in new]
    changes = [100 * abs(b - a) / max(abs(a), 1e-30) for a, b in both]
    most = int(np.argmax(changes)) if changes else None
    values = "J in none of both" if most is None else (
        f"J {both[most][0]:.6g} {both[most][1]:.6g} ({changes[most]:.4f} %)")
    holds = apart.mean <= MOST_MEAN and (most is None or changes[most] <= MOST_PERCENT)
    is_equal = not apart.largest and not any(changes)
    word = "equal" if is_equal else "differs" if holds else "FAILED"
    return Verdict(f"largest {apart.largest:5.1f}  mean {apart.mean:.4f}  {values:44}  {word}", holds)


def compare(name: str, checkouts: Sequence[Path], keep: Path, values: argparse.Namespace) -> Verdict:
    """Runs the commands of one run in both checkouts and compares what they wrote."""
    folders = []
    for word, checkout in zip(("old", "new"), checkouts, strict=True):
        folders.append(keep / name / word)
        for arguments in commands(name, folders[-1], values.squeezenet.resolve(), values.shorten,
                                  values.precision):
            if wrong := run(checkout, arguments, values.threads):
                return Verdict(f"FAILED in {word.upper()}: {wrong}", False)
    return judge(worst(*folders), *map(objectives, folders))


def check_checkout(folder: Path) -> None:
    """Ends unless Python finds the package of this checkout in its folder."""
    code = "import nst_tf; print(nst_tf.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd="/", env=os.environ | {"PYTHONPATH": str(folder)},
                          text=True, stdout=subprocess.PIPE)
    if folder not in Path(done.stdout.strip()).resolve().parents:
        raise SystemExit(f"{folder} is no checkout of the project: Python finds nst_tf at {done.stdout.strip()}")


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout of the project")
    parser.add_argument("new", type=Path, help="another one")
    parser.add_argument("--only", default=",".join(RUNS), help="names of runs, by commas")
    parser.add_argument("--keep", type=Path, help="an empty or new folder that keeps pictures and run folders")
    parser.add_argument("--squeezenet", type=Path, default=SQUEEZENET, help="SqueezeNet v1.0's .net file")
    parser.add_argument("--shorten", type=int, default=1, help="divides the steps of every command, down to two")
    parser.add_argument("--precision", default="", help="of every command instead of its own, where it has one")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of TensorFlow, each pool")
    values = parser.parse_args(argv)
    unknown = set(values.only.split(",")) - set(RUNS)
    if unknown:
        parser.error(f"--only has no run {', '.join(sorted(unknown))}: give some of {', '.join(RUNS)}")
    if values.keep and values.keep.exists() and any(values.keep.iterdir()):
        parser.error(f"--keep={values.keep} is not empty: give another folder")
    return values


def main(argv: Sequence[str]) -> int:
    """Prints a line for each run; returns the exit status."""
    values = parsed(argv)
    checkouts = [folder.resolve() for folder in (values.old, values.new)]
    for checkout in checkouts:
        check_checkout(checkout)
    holds = True
    with tempfile.TemporaryDirectory() as temporary:
        keep = values.keep.resolve() if values.keep else Path(temporary)
        for name in values.only.split(","):
            if not values.squeezenet.exists() and any("{squeezenet}" in command for command in RUNS[name]):
                print(f"{name:18} skipped: no SqueezeNet at {values.squeezenet}", flush=True)
                continue
            verdict = compare(name, checkouts, keep, values)
            print(f"{name:18} {verdict.text}", flush=True)
            holds = holds and verdict.holds
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
