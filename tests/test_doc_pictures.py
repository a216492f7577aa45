"""The pictures of the docs are made by the commands beside them, which docs/make_pictures.py finds. No TensorFlow."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def maker() -> Any:
    return runpy.run_path(str(ROOT / "docs/make_pictures.py"))


def test_every_picture_of_the_docs_has_a_command_that_makes_it(maker: Any) -> None:
    parts = maker["chosen"]([])
    made = {Path(picture).name for part in parts for picture in part.pictures}
    shown = set()
    for page in maker["pages"]():
        shown |= set(re.findall(r"\]\((?:docs/|\.\./docs/)?images/([\w.]+)\)", page.read_text(encoding="utf-8")))
    assert shown - made == set() and len(shown) > 30
    assert {path.name for path in (ROOT / "docs/images").iterdir()} - shown == set(), "nobody looks at it"


def test_printed_tables_replace_those_of_the_same_head_below_their_fence(maker: Any) -> None:
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    fence = "```sh\npython -m benchmarks.x   # says\n```"
    page = f"# T\n\n{fence}\n\ntext\n\n{table}\n| c |\n| - |\n| 7 |\n\n# U\n\n{table}"
    commands = ("python -m benchmarks.x",)
    changed = maker["with_tables"](page, commands, "first\n| a  | b |\n|---|---|\n| 3 | 4 |\nlast\n")
    assert changed == page.replace(table, "| a  | b |\n|---|---|\n| 3 | 4 |\n", 1)
    assert maker["with_tables"](page, commands, "nothing\n") == page


def test_a_part_that_fails_or_lacks_a_file_is_not_made(
        maker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    fence = "```sh\npython -c \"open('docs/images/{}.txt', 'w')\"{}\n```\n"
    (docs / "good.md").write_text(fence.format("a", "") + fence.format("b", " squeezenet.net"))
    (docs / "bad.md").write_text(fence.format("none/c", ""))
    (docs / "images").mkdir()
    for name, value in {"ROOT": tmp_path, "MADE": tmp_path / "out/made.json",
                        "pages": lambda: sorted(docs.glob("*.md"))}.items():
        monkeypatch.setitem(maker["main"].__globals__, name, value)
    monkeypatch.setattr("sys.argv", ["make_pictures.py"])
    assert maker["main"]() == 1 and [path.name for path in (docs / "images").iterdir()] == ["a.txt"]
    assert "left out: squeezenet.net is not here" in capsys.readouterr().out
    (docs / "images/a.txt").unlink()
    assert maker["main"]() == 1 and not list((docs / "images").iterdir()), "what was made is not made again"


def test_pictures_stand_side_by_side_and_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, color in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (30, 20), color).save(f"{name}.png")

    def made(*arguments: str) -> Image.Image:
        monkeypatch.setattr("sys.argv", ["side_by_side.py", *arguments, "--output=c.png"])
        runpy.run_path(str(ROOT / "docs/side_by_side.py"), run_name="__main__")
        with Image.open("c.png") as image:
            return image.copy()
    both = made("a.png", "b.png")
    assert both.size == (68, 20) and both.getpixel((0, 0)) == (255, 0, 0) and both.getpixel((67, 19)) == (0, 0, 255)
    assert both.getpixel((33, 5)) == (255, 255, 255)
    assert made("a.png", "b.png", "--width_px=34").size == (34, 10)
    assert made("a.png", "--crop=1,2,5,4").size == (5, 4)
