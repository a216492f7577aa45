"""Sweeps: the grammar of grids, names of cells, the table, and a whole sweep of tiny pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_tf.config import StylizeConfig
from nst_tf.recipes.contestants import Contestant
from nst_tf.recipes.sweep.grid import cell_names, read_grid
from nst_tf.recipes.sweep.recipe import SWEEP, SweepConfig, SweepRunConfig
from nst_tf.recipes.sweep.table import Row, Table
from nst_tf.runs.run import run
from nst_tf.vocabulary import UserError

from .conftest import save_picture


def test_the_first_flag_changes_slowest() -> None:
    cells = read_grid("style_scale:0.5,1;content_weight:0.1,0.2")
    assert cells == [{"style_scale": (scale,), "content_weight": weight} for scale in (0.5, 1.0)
                     for weight in (0.1, 0.2)]
    assert cell_names(cells)[0] == "style_scale-0.5_content_weight-0.1"


def test_values_have_the_types_of_their_flags() -> None:
    (cell,) = read_grid('steps:7;init:content;style:"a.jpg,b;c.jpg"')
    assert cell == {"steps": 7, "init": "content", "style": ("a.jpg", "b;c.jpg")}
    assert read_grid('style:"a.jpg,b.jpg",c.jpg') == [{"style": ("a.jpg", "b.jpg")}, {"style": ("c.jpg",)}]


def test_a_grid_in_a_file_is_the_grid(tmp_path: Path) -> None:
    (tmp_path / "g").write_text("# ratio\ncontent_weight: 0.1, 0.2\n\n--init: content, white_noise\n")
    assert read_grid(str(tmp_path / "g")) == read_grid("content_weight:0.1,0.2;init:content,white_noise")


def test_draws_lie_in_their_ranges_and_more_draws_begin_with_fewer() -> None:
    grid = "content_weight:0.01..100;steps:2..9;color:style,keep"
    cells = read_grid(grid, draws=200, seed=3)
    assert cells == read_grid(grid, draws=200, seed=3) and cells[:5] == read_grid(grid, draws=5, seed=3)
    assert cells[:5] != read_grid(grid, draws=5, seed=4)
    weights = [cell["content_weight"] for cell in cells]
    assert all(0.01 <= weight <= 100 for weight in weights) and 75 < sum(weight < 1 for weight in weights) < 125
    assert all(isinstance(cell["steps"], int) and 2 <= cell["steps"] <= 9 for cell in cells)
    assert {cell["color"] for cell in cells} == {"style", "keep"}


@pytest.mark.parametrize("grid, draws, said", [
    ("", 0, "--grid is missing"), ("stylle:a", 0, "did you mean 'style'"), ("steps:many", 0, "--steps='many'"),
    ("threads:1,2", 0, "holds for the whole sweep"), ("run:a,b", 0, "holds for the whole sweep"),
    ("steps", 0, "cannot be read"), ("steps:", 0, "cannot be read"), ("steps:1,1", 0, "twice"),
    ("steps:1;steps:2", 0, "names steps twice"), ("steps:1..9", 0, "--random=N"), ("steps:9..1", 3, "exchange"),
    ("steps:1..3", 9, "only 3 different cells"),
    (f"steps:{','.join(map(str, range(1, 40)))};seed:{','.join(map(str, range(40)))}", 0, "1560 cells")])
def test_what_is_wrong_in_a_grid_is_one_line(grid: str, draws: int, said: str) -> None:
    with pytest.raises(UserError) as error:
        read_grid(grid, draws)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_names_that_meet_have_numbers() -> None:
    assert cell_names([{"style": ("a/x.jpg",)}, {"style": ("b/x.jpg",)}]) == ["style-x.jpg", "style-x.jpg-2"]


def test_the_table_keeps_the_order_of_the_grid(tmp_path: Path) -> None:
    def of(judging: Contestant) -> Table:
        return Table(tmp_path, {"a": {"init": "<b>"}, "b": {"init": "white"}}, judging, StylizeConfig())

    table = of(Contestant("kmeans", "bundled"))
    table.add(Row("b", {"init": "white"}, note="it | failed"))
    assert table.write() is None
    (tmp_path / "a").mkdir()
    save_picture(tmp_path / "a/output.png", 30, 40, seed=1)
    table.add(Row("a", {"init": "<b>"}, 0.25, None, 1.0), np.zeros((30, 40, 3), np.float32))
    assert table.write() is not None
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[6].startswith("| <b>   |       0.250 |                – |     1.0 |") and "it \\| failed" in lines[7]
    html = (tmp_path / "sheet.html").read_text()
    assert "&lt;b&gt;" in html and "<b>" not in html and "thumbnails/a.jpg" in html
    assert of(Contestant("kmeans", "bundled")).scores("a") == {"style_score": 0.25, "content_distance": None}
    assert of(Contestant("vgg19", "imagenet")).scores("a") is None


def _sweep(folder: Path, photo: str, painting: str, grid: str, **more: Any) -> int:
    of_run = {name: more.pop(name) for name in ("overwrite",) if name in more}
    config = SweepConfig(content=photo, style=(painting,), grid=grid, backbone="kmeans", weights="bundled",
                         precision="float32", **{"size": 40, "min_size": 40, "steps": 2} | more)
    return run(SWEEP, config, SweepRunConfig(logdir=str(folder / "logs"), run="s", **of_run))


@pytest.mark.usefixtures("shared_networks")
def test_a_sweep_goes_on_and_is_extended(photo: str, painting: str, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    def made(grid: str, **more: Any) -> str:
        assert _sweep(tmp_path, photo, painting, grid, **more) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("cells:"))

    folder = tmp_path / "logs/s"
    assert "2 made, 0 were there" in made("content_weight:0.1,2")
    rows = json.loads((folder / "table.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["content_weight-0.1", "content_weight-2.0"]
    assert rows[0]["style_score"] != rows[1]["style_score"] and all(row["content_distance"] > 0 for row in rows)
    assert list(folder.glob("events.*.comparison")) and list(folder.glob("content_weight-2.0/events.*.metrics"))
    with Image.open(folder / "sheet.png") as image:
        assert image.size > (200, 150)
    assert "0 made, 2 were there" in made("content_weight:0.1,2")
    assert json.loads((folder / "table.json").read_text())["rows"] == rows
    assert "1 made, 2 were there" in made("content_weight:0.1,1,2")
    with pytest.raises(UserError, match=r"\(--steps differ\)|--steps"):
        _sweep(tmp_path, photo, painting, "content_weight:0.1,2", steps=3)
    assert "1 made, 0 were there" in made("content_weight:0.1", overwrite=True)


def test_a_cell_that_cannot_be_is_named(photo: str, painting: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^cell size-40_style-none.jpg: .*does not exist"):
        _sweep(tmp_path, photo, painting, "size:40;style:none.jpg")
    assert not (tmp_path / "logs").exists()
