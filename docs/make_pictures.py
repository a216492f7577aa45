"""Makes the pictures and tables of README and docs again, by the commands that stand beside them.

    python docs/make_pictures.py                   what has not been made yet
    python docs/make_pictures.py dream controls    only what docs/dream.md and docs/controls.md show
    python docs/make_pictures.py --pictures        without the parts that only print tables
    python docs/make_pictures.py --list            says what there is, and what has been made
    python docs/make_pictures.py --again           begins anew

A part is a fence of commands. It counts where one of them writes into docs/images, or is a benchmark or sweep that
prints tables: these replace the tables of the same heads below it. A part that fails, or was stopped, is made again by
the next call. Seconds in tables are true only where the machine does nothing else.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
IMAGES = "docs/images/"
# {the commands of a part that was made: the seconds that they took}
MADE = ROOT / "out/docs_pictures.json"
# Files that do not come with the project, and whole folders of them.
FOREIGN = re.compile(r"\.\./shared\b|\bsqueezenet\.net\b")
# What may be deleted before a part is made: it would go on there, with pictures of an earlier version.
_SCRATCH = re.compile(r"--run=(\S+)|--output(?:_dir)?=(out/\S+)")
_FENCE = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
_TABLE = re.compile(r"(?:^\|.*\n)+", re.M)
_PRINTS = ("python -m benchmarks.", "python scripts/run_sweep.py", "python scripts/compare_backbones.py")


class Part(NamedTuple):
    """The commands of one fence."""

    page: Path
    commands: tuple[str, ...]

    @property
    def key(self) -> str:
        """What says that the part was made: other commands are another part."""
        return "\n".join(self.commands)

    @property
    def pictures(self) -> tuple[str, ...]:
        """The files in docs/images that it writes."""
        return tuple(re.findall(re.escape(IMAGES) + r"[\w.]+", self.key))

    @property
    def prints(self) -> bool:
        """Whether it prints tables."""
        return any(command.startswith(_PRINTS) for command in self.commands)

    @property
    def missing(self) -> tuple[str, ...]:
        """The foreign files that it reads and that are not here."""
        return tuple(name for name in sorted(set(FOREIGN.findall(self.key))) if not (ROOT / name).exists())


def pages() -> list[Path]:
    """The pages that show pictures and tables."""
    return [ROOT / "README.md", ROOT / "samples/README.md", *sorted((ROOT / "docs").glob("*.md"))]


def parts_of(page: Path) -> Iterator[Part]:
    """The parts of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        part = Part(page, tuple(commands_of(fence[1])))
        if part.pictures or part.prints and _TABLE.search(_below(text, fence.end())):
            yield part


def commands_of(code: str) -> Iterator[str]:
    """The commands of a fence, a line each, without what only shows them: comments, TensorBoard, pip."""
    for line in code.replace("\\\n", " ").splitlines():
        command = " ".join(re.sub(r"\s+# .*", "", line).split())
        if command.startswith("python "):
            yield command


def _below(text: str, start: int) -> str:
    """What stands below a place, up to the next fence or heading of commands."""
    end = re.compile(r"^(?:```sh|#)", re.M).search(text, start)
    return text[start:end.start() if end else None]


def with_tables(text: str, commands: tuple[str, ...], printed: str) -> str:
    """The text of a page; tables that were printed replace those of the same heads below the fence."""
    fence = next(found for found in _FENCE.finditer(text) if tuple(commands_of(found[1])) == commands)
    below = _below(text, fence.end())
    new = [table[0] for table in _TABLE.finditer(printed)]

    def printed_one(old: re.Match[str]) -> str:
        found = next((table for table in new if _head(table) == _head(old[0])), None)
        if found is None:
            return old[0]
        new.remove(found)
        return found
    return text[:fence.end()] + _TABLE.sub(printed_one, below) + text[fence.end() + len(below):]


def _head(table: str) -> list[str]:
    return [cell.strip() for cell in table.partition("\n")[0].strip("|").split("|")]


def make(part: Part) -> bool:
    """Runs the commands of a part, and puts its tables into its page. Returns whether all went well."""
    for run, output in _SCRATCH.findall(part.key):
        shutil.rmtree(ROOT / "logs" / run if run else ROOT / output, ignore_errors=True)
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (ROOT / "out").mkdir(exist_ok=True)
    printed = ""
    for command in part.commands:
        print(f"$ {command}", flush=True)
        done = subprocess.run(command, shell=True, check=False, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE)
        printed += done.stdout
        print(done.stdout, end="", flush=True)
        if done.returncode:
            print(f"status {done.returncode}", flush=True)
            return False
    text = part.page.read_text(encoding="utf-8")
    part.page.write_text(with_tables(text, part.commands, printed), encoding="utf-8")
    return True


def chosen(names: Iterable[str]) -> list[Part]:
    """The parts of the pages with these names, all without a name."""
    names = set(names)
    of_pages = {"samples" if page.parent.name == "samples" else page.stem: page for page in pages()}
    if unknown := names - of_pages.keys():
        raise SystemExit(f"no such page: {', '.join(sorted(unknown))}. There are: {', '.join(of_pages)}")
    return [part for name, page in of_pages.items() if not names or name in names for part in parts_of(page)]


def main() -> int:
    """Makes the parts that are left, one by one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", help="names of pages, such as dream")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--again", action="store_true", help="make also what has been made")
    parser.add_argument("--pictures", action="store_true", help="leave out parts that only print tables")
    options = parser.parse_args()
    made = json.loads(MADE.read_text(encoding="utf-8")) if MADE.exists() else {}
    parts, failed = [part for part in chosen(options.pages) if part.pictures or not options.pictures], 0
    for number, part in enumerate(parts, 1):
        state = f"made in {made[part.key]} s" if part.key in made else "not made"
        what = ", ".join(part.pictures) or "tables"
        print(f"{number} of {len(parts)}: {part.page.relative_to(ROOT)}: {what}: {state}", flush=True)
        if options.list or part.key in made and not options.again:
            continue
        if part.missing:
            print(f"left out: {', '.join(part.missing)} is not here")
            continue
        began = time.monotonic()
        if make(part):
            made[part.key] = round(time.monotonic() - began)
            MADE.write_text(json.dumps(made, indent=1), encoding="utf-8")
        else:
            failed += 1
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
