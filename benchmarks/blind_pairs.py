"""Which of two values of a flag makes the better picture: looks at pairs whose names and order are hidden by a seed.

    python -m benchmarks.blind_pairs --folder=out/blind --flag=neighbors_weight --values=0,0.2
    python -m benchmarks.blind_pairs --folder=out/blind --sheet=3f2a91 --better=left
    python -m benchmarks.blind_pairs --folder=out/blind --count

The first command makes ten pictures with each value and goes on where it stopped. Each pair has two sheets, with the
sides drawn anew for each. Look at a sheet of `sheets/` at full size, and record the better side (left, right or same)
by the second command; `looks.json` keeps it. The last one says which value was where, counts, and prints the scores.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks.controls import typed
from benchmarks.style_score import DEFAULT_WEIGHTS, package_pictures
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import UserError, check_name

ROOT = Path(__file__).resolve().parents[1]
IMAGES, SAMPLES = ROOT.parent / "shared/images", ROOT / "samples"
LOOKS = 2
SIDES = ("left", "right", "same")
# Pixels of gray around the pictures of a sheet.
MARGIN_PX = 8
JUDGES = {"squeezenet": str(DEFAULT_WEIGHTS), "vgg16": "hed"}


class Pair(NamedTuple):
    """A photo and a style."""

    content: Path
    style: Path

    @property
    def name(self) -> str:
        return f"{self.content.stem}_{self.style.stem}"


def pairs() -> list[Pair]:
    """Ten styles, each on the photo that is used with it elsewhere, or on another one.

    Raises:
        UserError: a file, or the package that has some of them, is not here.
    """
    package = package_pictures()
    found = [Pair(IMAGES / "golden_gate.jpg", IMAGES / "starry_night.jpg"),
             Pair(SAMPLES / "coast.jpg", SAMPLES / "swirls.jpg"),
             Pair(IMAGES / "tubingen.jpg", IMAGES / "the_scream.jpg"),
             Pair(SAMPLES / "street.jpg", SAMPLES / "mosaic.jpg"),
             Pair(package / "astronaut.png", SAMPLES / "woodcut.jpg"),
             Pair(SAMPLES / "street.jpg", SAMPLES / "watercolor.jpg"),
             Pair(IMAGES / "tubingen.jpg", IMAGES / "shipwreck.jpg"),
             Pair(package / "astronaut.png", package / "ihc.png"),
             Pair(SAMPLES / "coast.jpg", package / "gravel.png"),
             Pair(IMAGES / "golden_gate.jpg", package / "hubble_deep_field.jpg")]
    for path in {path for pair in found for path in pair}:
        if not path.is_file():
            raise UserError(f"'{path}' is missing: put the picture there")
    return found


def code(seed: int, *names: Any) -> str:
    """A name that says nothing."""
    return hashlib.sha256(repr((seed, *names)).encode()).hexdigest()[:6]


def is_swapped(seed: int, name: str, look: int) -> bool:
    """Whether the second value is on the left."""
    return int(code(seed, "side", name, look), 16) % 2 == 1


def sheet(pictures: Sequence[np.ndarray], scale: int) -> np.ndarray:
    """Two pictures beside each other, each pixel `scale` times as large."""
    def framed(picture: np.ndarray) -> np.ndarray:
        large = picture.repeat(scale, 0).repeat(scale, 1)
        return np.pad(large, [[MARGIN_PX] * 2, [MARGIN_PX] * 2, [0, 0]], constant_values=0.5)

    return np.hstack([framed(picture) for picture in pictures])


def make(folder: Path, base: StylizeConfig, flag: str, values: Sequence[str], seed: int, scale: int) -> None:
    """Every picture that is not there yet, its scores, and the sheets of complete pairs."""
    from nst_tf.recipes.stylize.steps import stylize

    protocol = {"flag": flag, "values": list(values), "seed": seed}
    if len(values) != 2:
        raise UserError(f"--values={','.join(values)}: give two values, as in --values=0,0.2")
    if (path := folder / "protocol.json").is_file() and (other := json.loads(path.read_text())) != protocol:
        raise UserError(f"--folder={folder} holds pairs of --flag={other['flag']} --values={','.join(other['values'])} "
                        f"--seed={other['seed']}: give another folder")
    for name in ("pictures", "sheets"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(protocol))
    for pair in pairs():
        made = [folder / f"pictures/{code(seed, pair.name, value)}.png" for value in values]
        config = replace(base, content=str(pair.content), style=(str(pair.style),))
        for value, path in zip(values, made, strict=True):
            if not path.is_file():
                *_, last = stylize(replace(config, **_changes(flag, value)))
                images.save(path, last.picture())
                print(f"made a picture of {pair.name}", flush=True)
        pictures = [images.load(str(path)) for path in made]
        _judge(config, made, pictures)
        for look in range(LOOKS):
            ordered = pictures[::-1] if is_swapped(seed, pair.name, look) else pictures
            images.save(folder / f"sheets/{code(seed, pair.name, look)}.png", sheet(ordered, scale))


def _changes(flag: str, value: str) -> dict[str, Any]:
    """What a value such as `0.3` or `0.3+content_weight:0.2` changes."""
    first, *others = value.split("+")
    named = [(flag, first), *(tuple(other.split(":", 1)) for other in others)]
    return {name: typed(name, text) for name, text in named}


def _judge(config: StylizeConfig, paths: Sequence[Path], pictures: Sequence[np.ndarray]) -> None:
    """Writes the scores of a pair's pictures beside them."""
    from nst_tf.recipes.sweep.judging import open_judge

    if all(path.with_suffix(".json").is_file() for path in paths):
        return
    plain = StylizeConfig(content=config.content, style=config.style, size=config.size, precision="float32")
    judges = {network: open_judge(replace(plain, backbone=network, weights=weights))
              for network, weights in JUDGES.items()}
    for path, picture in zip(paths, pictures, strict=True):
        scores = {network: judge(picture) for network, judge in judges.items()}
        path.with_suffix(".json").write_text(json.dumps(scores))


def record(folder: Path, name: str, better: str) -> None:
    """Keeps the answer to a sheet; a second answer to the same sheet is refused."""
    sheets = sorted(path.stem for path in (folder / "sheets").glob("*.png"))
    check_name("--sheet", name, sheets)
    check_name("--better", better, SIDES)
    path = folder / "looks.json"
    looks = json.loads(path.read_text()) if path.is_file() else {}
    if name in looks:
        raise UserError(f"--sheet={name} has an answer, {looks[name]}: look at another")
    path.write_text(json.dumps(looks | {name: better}, indent=1) + "\n")
    print(f"{len(looks) + 1} of {len(sheets)}")


def count(folder: Path) -> str:
    """A table of all pairs, and how many each value won: pairs in which its looks are more than the other's."""
    if missing := [name for name in ("protocol.json", "looks.json") if not (folder / name).is_file()]:
        raise UserError(f"--folder={folder} holds no {missing[0]}: make pairs and look at them first")
    protocol, looks = (json.loads((folder / name).read_text()) for name in ("protocol.json", "looks.json"))
    seed, values = protocol["seed"], protocol["values"]
    rows, wins = [], dict.fromkeys((*values, "neither"), 0)
    for pair in pairs():
        better = [_winner(looks.get(code(seed, pair.name, look)), values, is_swapped(seed, pair.name, look))
                  for look in range(LOOKS)]
        votes = [better.count(value) for value in values]
        winner = "neither" if votes[0] == votes[1] else values[votes[1] > votes[0]]
        wins[winner] += 1
        told = [json.loads((folder / f"pictures/{code(seed, pair.name, value)}.json").read_text()) for value in values]
        cells = [f"{each[network][0]:.3f}, {each[network][1]:.3f}" for network in JUDGES
                 for each in told]
        rows.append(f"| {pair.name} | {', '.join(better)} | {' | '.join(cells)} |")
    titles = [f"{of} {value}" for of in JUDGES for value in values]
    head = f"| pair | looks | {' | '.join(titles)} |"
    line = "| --- | --- |" + " --- |" * len(titles)
    counted = ", ".join(f"{value} {won}" for value, won in wins.items())
    return "\n".join([head, line, *rows, "", f"pairs won: --{protocol['flag']} {counted}"])


def _winner(side: str | None, values: Sequence[str], swapped: bool) -> str:
    if side in (None, "same"):
        return side or "no look"
    return values[(side == "right") != swapped]


def main(argv: Sequence[str]) -> None:
    """Makes pairs, records a look, or counts."""
    values = flags.FlagValues()
    flags.DEFINE_string("folder", None, "where all is kept", flag_values=values, required=True)
    flags.DEFINE_string("flag", "neighbors_weight", "the flag", flag_values=values)
    flags.DEFINE_list("values", ["0", "0.2"], "its two values", flag_values=values)
    flags.DEFINE_string("backbone", "squeezenet1_1", "the network that paints", flag_values=values)
    flags.DEFINE_string("weights", "", "its weights", flag_values=values)
    flags.DEFINE_integer("size", 256, "long side in pixels", flag_values=values)
    flags.DEFINE_integer("steps", 160, "steps of each picture", flag_values=values)
    flags.DEFINE_integer("seed", 0, "what names and order follow from", flag_values=values)
    flags.DEFINE_integer("scale", 3, "side of a picture's pixel on a sheet", flag_values=values)
    flags.DEFINE_string("sheet", "", "the sheet that was looked at", flag_values=values)
    flags.DEFINE_string("better", "", "its better side: left, right or same", flag_values=values)
    flags.DEFINE_bool("count", False, "count the looks", flag_values=values)
    try:
        values(argv)
        folder = Path(values.folder)
        if values.count:
            print(count(folder))
        elif values.sheet:
            record(folder, values.sheet, values.better)
        else:
            start_tensorflow()
            make(folder, StylizeConfig(backbone=values.backbone, weights=values.weights, size=values.size,
                                       steps=values.steps, precision="float32"),
                 values.flag, values.values, values.seed, values.scale)
    except (UserError, flags.Error) as error:
        print(*str(error).split(), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv)
