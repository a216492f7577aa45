"""The gallery: every preset on sample pictures, each by the very command that stands beside its picture.

No TensorFlow here.
"""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nst_tf.backbones.table import check_weights
from nst_tf.config import RunConfig, Settings, StylizeConfig, same, setting
from nst_tf.io.files import check_readable, check_writable, write_atomically
from nst_tf.presets import PRESETS
from nst_tf.runs.progress import Progress, counted
from nst_tf.runs.recipe import Job, Options, Recipe, Session, Written
from nst_tf.runs.session import say
from nst_tf.vocabulary import UserError, check_name

ABOUT = """# Gallery

A preset is a flag file of [nst_tf/presets/](../nst_tf/presets). `--flagfile=NAME` takes it; your own flags override
it. Every backbone takes every preset. `python scripts/build_gallery.py` runs the commands of this page and writes the
page. The seconds are those of the whole command, on the machine that made the page last."""
# The photo ("" for none) and the painting that show a preset best; coast and swirls where it is not named.
PICTURES = {"faithful": ("coast", "watercolor"), "sketch": ("street", "woodcut"), "texture": ("", "swirls")}


@dataclass(frozen=True)
class GalleryConfig(Settings):
    """Which presets are shown, by which network, and where the page goes."""

    presets: tuple[str, ...] = setting(
        (), "Presets whose sections of the page are replaced. By default these are all presets.", group="Pictures",
        basic=True, placeholder="NAME,...")
    backbone: str = same(StylizeConfig, "backbone")
    weights: str = same(StylizeConfig, "weights")
    size: int = setting(
        384, "Long side of the pictures in pixels.", group="Pictures", basic=True, minimum=1, maximum=4096,
        placeholder="PX")
    output: str = setting(
        "docs", "Folder for gallery.md and images/gallery_<preset>.jpg.", group="Pictures", basic=True,
        placeholder="DIR")
    logdir: str = same(RunConfig, "logdir")


class Exhibit(NamedTuple):
    """A preset on two pictures: what it is, and the flags of stylize.py that make its picture."""

    name: str
    about: str
    flags: tuple[str, ...]


class GalleryPlan(NamedTuple):
    """What the files and flags of a gallery say."""

    page: Path
    exhibits: tuple[Exhibit, ...]


def _resolve(config: GalleryConfig, _: None) -> GalleryPlan:
    check_weights(config.backbone, config.weights)
    if not Path("scripts/stylize.py").exists():
        raise UserError("there is no scripts/stylize.py here: start this script in the project's folder")
    names = [check_name("--presets", name, PRESETS) for name in config.presets or PRESETS]
    page = Path(config.output) / "gallery.md"
    check_writable(page, "--output")
    if page.exists():
        check_readable(page, "--output")
    return GalleryPlan(page=page, exhibits=tuple(plan_exhibit(config, name) for name in names))


def session(job: Job) -> Session:
    """Every command is a process of its own, so that this one needs no TensorFlow."""
    return Session(events=_events(job), write=partial(_write, job))


def _events(job: Job) -> Iterator[Progress]:
    """Makes every picture, and then its section of the page; ends with the first command that fails."""
    plan, total = job.plan, len(job.plan.exhibits)
    sections = {name: section for name, section in stored_sections(plan.page).items() if name in PRESETS}
    for number, exhibit in enumerate(plan.exhibits, 1):
        say(f"nst_tf: {number} of {total}: {exhibit.name}")
        start = time.monotonic()
        # The page shows this very command, which runs in a process of its own.
        status = subprocess.run([sys.executable, "scripts/stylize.py", *exhibit.flags, f"--logdir={job.config.logdir}"],
                                check=False, stdout=subprocess.DEVNULL).returncode
        if not status:
            sections[exhibit.name] = as_markdown(exhibit, time.monotonic() - start)
            # After each picture: the page is true even where a later command fails.
            text = "\n\n".join([ABOUT, *(sections[name] for name in sorted(sections))])
            write_atomically(plan.page, f"{text}\n".encode())
        yield counted(number, total, "pictures", state=status)
        if status:
            return


def _write(job: Job, last: Progress | None) -> Written:
    status = last.state if last else 0
    return Written((f"gallery: {job.plan.page}",) if not status else (), status)


def plan_exhibit(config: GalleryConfig, name: str) -> Exhibit:
    """What is shown of a preset: its first line, which says what it is, and its command."""
    about = PRESETS[name].read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    content, style = PICTURES.get(name, ("coast", "swirls"))
    flags = {"flagfile": name, "backbone": config.backbone, "weights": config.weights,
             "content": content and f"samples/{content}.jpg", "style": f"samples/{style}.jpg", "size": config.size,
             "output": Path(config.output) / _picture(name)}
    return Exhibit(name, about, tuple(f"--{flag}={value}" for flag, value in flags.items() if value))


def stored_sections(page: Path) -> dict[str, str]:
    """{preset: its section} of a page that an earlier call wrote; empty where there is none."""
    text = page.read_text(encoding="utf-8", errors="replace") if page.exists() else ""
    sections = [f"## {part.strip()}" for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    return {section.partition("\n")[0][3:]: section for section in sections}


def as_markdown(exhibit: Exhibit, seconds: float) -> str:
    """A section of the page: a preset's name, what it is, command, seconds and picture."""
    command = shlex.join(("python", "scripts/stylize.py", *exhibit.flags))
    return (f"## {exhibit.name}\n\n{exhibit.about}\n\n```sh\n{command}\n```\n\n"
            f"{seconds:.0f} s\n\n![{exhibit.name}: {exhibit.about}]({_picture(exhibit.name)})")


def _picture(name: str) -> str:
    return f"images/gallery_{name}.jpg"


GALLERY = Recipe(
    name="gallery", script="build_gallery.py", method=1, engine="nst_tf.recipes.gallery:session", resolve=_resolve,
    options=lambda config, _: Options(folder=None, has_bar=False), needs_tensorflow=False)
