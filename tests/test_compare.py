"""Comparisons: which networks, the table, and whole comparisons that stop, go on and are refused."""

import dataclasses
import json
import os
import shlex
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFont
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from nst_tf import flags
from nst_tf.backbones import table
from nst_tf.backbones.kmeans import BUNDLED
from nst_tf.backbones.weights.sources import WeightsError
from nst_tf.config import StylizeConfig
from nst_tf.io import images
from nst_tf.io.contact_sheet import FONT_PX, SMALLEST_CELL_PX, Tile, contact_sheet
from nst_tf.recipes.batch import driver
from nst_tf.recipes.batch.recipe import split
from nst_tf.recipes.compare.recipe import CompareConfig, folder_names, parse_contestants
from nst_tf.recipes.contestants import Contestant, parse_contestant
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.recipes.sweep.judging import open_judge
from nst_tf.recipes.sweep.recipe import SweepRunConfig, judge_config
from nst_tf.recipes.sweep.table import COLUMNS, OF_NETWORKS, Row, Table
from nst_tf.runs import session
from nst_tf.vocabulary import UserError

from .conftest import run_compare

pytestmark = pytest.mark.usefixtures("shared_networks", "no_waits")


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    for name in ("RETRY_AFTER", "LOOKS_EVERY"):
        monkeypatch.setattr(driver, name, 0.0)


class Comparison(NamedTuple):
    """The flags of a comparison."""

    config: CompareConfig
    run_config: SweepRunConfig

    def with_(self, **changes: Any) -> "Comparison":
        of_run = {name: value for name, value in changes.items() if hasattr(self.run_config, name)}
        of_pictures = {name: value for name, value in changes.items() if name not in of_run}
        return Comparison(dataclasses.replace(self.config, **of_pictures),
                          dataclasses.replace(self.run_config, **of_run))

    def run(self, **changes: Any) -> int:
        return run_compare(*self.with_(**changes))

    @property
    def folder(self) -> Path:
        return Path(self.run_config.logdir) / self.run_config.run

    @property
    def rows(self) -> list[dict[str, Any]]:
        return json.loads((self.folder / "table.json").read_text(encoding="utf-8"))["rows"]


@pytest.fixture
def compared(photo: str, painting: str, tmp_path: Path) -> Comparison:
    return Comparison(
        CompareConfig(content=photo, style=(painting,), backbones=("kmeans=bundled", "squeezenet=random"), size=48,
                      steps=2, judge="squeezenet=random"), SweepRunConfig(logdir=str(tmp_path / "logs"), run="c"))


def _fail(*arguments: Any) -> Any:
    pytest.fail("this was computed again")


def test_contestants_are_names_with_weights_or_without() -> None:
    assert parse_contestant("kmeans", "--x") == ("kmeans", "self", "")
    assert parse_contestant(f"kmeans={BUNDLED}", "--x").weights_name == "kmeans_bundled.npz"
    assert parse_contestant("squeezenet", "--x").missing == "it has no default weights: write squeezenet=FILE"
    everything = parse_contestants((), "--x")
    assert [contestant.backbone for contestant in everything] == list(table.BACKBONES)
    assert [bool(contestant.missing) for contestant in everything] == [
        not row.default_weights for row in table.BACKBONES.values()]


@pytest.mark.parametrize("texts, text", [
    (["squezenet"], "--x 'squezenet' is unknown, did you mean 'squeezenet'"), ([""], "--x '' is unknown"),
    (["kmeans=bundeld"], "--x=kmeans=bundeld: .*did you mean 'bundled'"), (["kmeans="], "no weights stand after '='"),
    (["squeezenet=no.net"], "no such file"), (["vgg19", "kmeans", "vgg19=imagenet"], "vgg19 .* is named twice"),
    (["squeezenet"], "no weights for any of these; squeezenet: it has no default"),
])
def test_wrong_contestants_are_refused(texts: Sequence[str], text: str) -> None:
    with pytest.raises(UserError, match=text):
        parse_contestants(texts, "--x")


def test_folders_are_named_by_network_and_where_it_stands_there_twice_by_weights() -> None:
    contestants = [Contestant("kmeans", "self"), Contestant("vgg19", "random"),
                   Contestant("kmeans", "a/my filters.npz"), Contestant("kmeans", "b/my filters.npz")]
    assert folder_names(contestants) == ["kmeans-self", "vgg19", "kmeans-my-filters", "kmeans-my-filters-2"]


def test_the_table_is_aligned_and_says_why_a_row_is_empty(tmp_path: Path) -> None:
    cells: dict[str, Any] = {"kmeans": {"backbone": "kmeans", "weights": "self"},
                             "squeezenet": {"backbone": "squeezenet", "weights": None}}
    table = Table(tmp_path, cells, Contestant("kmeans", "bundled"), StylizeConfig(style=("a.jpg",)))
    table.add(Row("kmeans", cells["kmeans"], 0.1234, 1.5, 12.34, 30.0, 834_976))
    table.add(Row("squeezenet", cells["squeezenet"], note="no | file"))
    about, lines = table.text().partition("\n\n")[0], table.text().partition("\n\n")[2].splitlines()
    assert about.startswith("a.jpg, 512 px, 320 steps, seed 0.\nMeasured by kmeans (bundled): style score, 1 = feat")
    titles = ["backbone", "weights", *COLUMNS, *OF_NETWORKS, "note"]
    assert [line.replace(r"\|", "  ").count("|") for line in lines] == [len(titles) + 1] * 4
    assert lines[2].replace("|", "").split() == [
        "kmeans", "self", "0.123", "1.500", "12.3", "30.00", "834,976", "3.3", "–"]
    assert lines[3].replace(" | ", " ").split() == ["|", "squeezenet", *"–" * 7, "no", r"\|", "file", "|"]
    assert len({len(line) for line in lines}) == 1
    for name, rule in zip(titles, lines[1].strip("| ").split(" | "), strict=True):
        assert rule.endswith(":") == (name not in ("backbone", "weights", "note")), name
        end = lines[0].index(f"{name} ") + len(name)
        assert not rule.endswith(":") or all(line[end - 1] != " " and line[end] == " " for line in lines), name
    assert Row("a", {}, parameters=2_500_000).parameters_mb == 10


def test_the_judge_measures_the_photo_as_1_and_counts_blended_styles(
        compared: Comparison, second_painting: str) -> None:
    def judge(blend: tuple[float, ...]) -> Any:
        two = compared.with_(style=(*compared.config.style, second_painting), style_blend=blend)
        return open_judge(judge_config(split(*two)[0], Contestant("squeezenet", "random")))

    mixed, photo = judge((0.5, 0.5)), images.load(compared.config.content, name="photo")
    photo = images.resize(photo, 48, 36)
    assert mixed(photo) == pytest.approx((1, 0))
    gray = np.full_like(photo, 0.5)
    assert mixed(gray)[1] > 0.1 and mixed(gray)[0] != judge((1, 0))(gray)[0]


def test_what_a_sweep_changes_does_not_change_its_judge(compared: Comparison) -> None:
    config, judging = dataclasses.replace(split(*compared)[0], style_scale=(0.5,), seed=3), Contestant("kmeans", "self")
    own = judge_config(config, judging)
    assert (own.style_scale, own.seed, own.backbone) == ((0.5,), 3, "kmeans")
    assert judge_config(config, judging, ["style_scale"]).style_scale == () and judge_config(config, judging, [
        "seed"]).seed == 0


def test_a_comparison_leaves_what_is_promised(compared: Comparison, capsys: pytest.CaptureFixture) -> None:
    assert compared.run() == 0
    folder = compared.folder
    names = {path.name for path in folder.iterdir() if not path.name.startswith(("events.", ".lock"))}
    assert names == {"kmeans", "squeezenet", "sheet.png", "sheet.html", "table.json", "table.md", "flags.txt",
                     "config.json", "done.jsonl", "thumbnails", "workers"}
    kmeans, squeezenet = compared.rows
    for row, backbone in ((kmeans, "kmeans"), (squeezenet, "squeezenet")):
        record = json.loads((folder / backbone / "config.json").read_text())
        logged = [json.loads(line) for line in (folder / backbone / "metrics.jsonl").read_text().splitlines()]
        assert row["backbone"] == backbone and row["style_score"] > 0 and row["content_distance"] > 0
        assert row["parameters"] == record["parameters"] and row["seconds"] == logged[-1]["seconds"]
        assert row["steps_per_second"] == logged[-1]["steps_per_second"]
        assert row["parameters_mb"] == pytest.approx(4e-6 * row["parameters"])
    # conv1 (7×7) and fire2 … fire8 of SqueezeNet v1.0, as its paper's table counts them.
    assert squeezenet["parameters"] == 14_208 + 11_920 + 12_432 + 45_344 + 49_440 + 104_880 + 111_024 + 188_992
    assert kmeans["note"] == "" and squeezenet["note"] == "partial: it is its own judge"
    printed = capsys.readouterr()
    assert (folder / "table.md").read_text() in printed.out
    assert "Measured by squeezenet (random)" in printed.out and "picture:" not in printed.out
    with Image.open(folder / "sheet.png") as sheet:
        # Content, style and two outputs, each in a cell of 200 px below 20 px margins.
        assert sheet.width == 20 + 2 * 220 and sheet.height > 2 * 36


def _events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def test_tensorboard_has_one_line_for_each_network(compared: Comparison) -> None:
    compared.run()
    compared.run()
    content = _events(compared.folder).SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert [info.name for info in experiment.hparam_infos] == ["backbone", "weights", "parameters"]
    for row in compared.rows:
        events = _events(compared.folder / row["backbone"])
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        chosen = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        assert chosen["backbone"].string_value == row["backbone"] and chosen["weights"].string_value == row["weights"]
        assert chosen["parameters"].number_value == row["parameters"]
        columns = dict(zip([info.name.tag for info in experiment.metric_infos],
                           ("style_score", "content_distance", "seconds", "steps_per_second"), strict=True))
        for tag, key in columns.items():
            (event,) = events.Tensors(tag)
            assert event.step == 2 and float(tf.make_ndarray(event.tensor_proto)) == pytest.approx(row[key])


def test_a_second_start_recomputes_nothing_and_another_judge_measures_the_same_pictures(
        compared: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    compared.run()
    before, first = compared.rows, {path: path.read_bytes() for path in compared.folder.rglob("output.png")}
    sheet = (compared.folder / "sheet.png").read_bytes()
    monkeypatch.setattr("nst_tf.recipes.stylize.steps.stylize", _fail)
    assert compared.run() == 0
    assert compared.rows == before and (compared.folder / "sheet.png").read_bytes() == sheet
    assert {path: path.read_bytes() for path in compared.folder.rglob("output.png")} == first and len(first) == 2
    assert compared.run(judge="kmeans=bundled") == 0
    after = compared.rows
    assert [row["seconds"] for row in after] == [row["seconds"] for row in before]
    assert [row["note"] for row in after] == ["partial: it is its own judge", ""]
    assert all(one["style_score"] != other["style_score"] for one, other in zip(after, before, strict=True))


def test_scores_of_another_judge_file_are_not_taken_over(tmp_path: Path) -> None:
    file, cells = tmp_path / "mine.npz", {"a": {"backbone": "kmeans"}}

    def table() -> Table:
        return Table(tmp_path, cells, Contestant("kmeans", str(file)), StylizeConfig())

    file.write_bytes(b"one")
    before = table()
    before.add(Row("a", cells["a"], 0.5))
    before.write()
    assert table().scores("a") == {"style_score": 0.5, "content_distance": None}
    file.write_bytes(b"other")
    assert table().scores("a") is None


def _stop_in_second_run(stop: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(config: Any, *args: Any) -> Any:
        for progress in stylize(config, *args):
            if config.backbone == "squeezenet" and progress.state.step == 1:
                stop()
            yield progress

    monkeypatch.setattr("nst_tf.recipes.stylize.steps.stylize", stopped)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_comparison_goes_on_by_the_command_that_it_prints(
        compared: Comparison, number: int, status: int, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture) -> None:
    with monkeypatch.context() as patch:
        _stop_in_second_run(lambda: os.kill(os.getpid(), number), patch)
        assert compared.run(overwrite=True) == status
    assert [row["backbone"] for row in compared.rows] == ["kmeans"]
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("nst_tf: stopped after 1 of 2 pictures; to go on: ")
    words = shlex.split(line.partition("scripts/compare_backbones.py ")[2])
    again, _ = flags.parse(["x", *words], [CompareConfig, SweepRunConfig], "", {})
    assert Comparison(*again) == compared
    assert run_compare(*again) == 0 and all(row["style_score"] for row in compared.rows)


def test_ctrl_c_while_a_network_is_built_is_a_stop_too(compared: Comparison, monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture) -> None:
    from nst_tf.recipes.stylize import steps as engine

    real = engine.set_up

    def interrupt(stylize_config: Any, *args: Any) -> Any:
        if stylize_config.backbone == "kmeans":
            os.kill(os.getpid(), signal.SIGINT)
        return real(stylize_config, *args)

    monkeypatch.setattr(engine, "set_up", interrupt)
    assert compared.run() == 130
    assert "stopped after 0 of 2 pictures; to go on: " in capsys.readouterr().err


def _without_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*args: Any) -> Any:
        raise WeightsError("VGG19's ImageNet weights could not be downloaded", "put them there", "give --weights=FILE")

    monkeypatch.setitem(table.BACKBONES, "vgg19", table.BACKBONES["vgg19"]._replace(build=build))


def test_networks_that_cannot_run_stand_in_the_table_with_the_reason(
        compared: Comparison, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    captions: list[tuple[str, ...]] = []

    def note(tiles: Sequence[Tile], *more: Any) -> Any:
        captions.extend(tile.caption for tile in tiles)
        return contact_sheet(tiles, *more)

    monkeypatch.setattr("nst_tf.recipes.sweep.table.contact_sheet", note)
    _without_download(monkeypatch)
    backbones = ("vgg19", "kmeans=bundled", "squeezenet", "inception_v3=random")
    mixed = compared.with_(backbones=backbones)
    assert mixed.run() == 0
    vgg, kmeans, squeezenet, inception = mixed.rows
    assert vgg["note"] == "VGG19's ImageNet weights could not be downloaded: put them there, or write vgg19=FILE"
    assert squeezenet["note"] == "it has no default weights: write squeezenet=FILE"
    assert inception["note"].endswith(
        "is 48 × 36 px at --size=48: the layers of inception_v3 need 91 px; give a larger --size")
    assert vgg["style_score"] is squeezenet["parameters"] is None and kmeans["style_score"] > 0
    printed = capsys.readouterr()
    for row in (vgg, squeezenet, inception):
        assert f"nst_tf: {row['backbone']} is left out: {row['note']}\n" in printed.err and row["note"] in printed.out
    assert captions[-1] == ("left out: vgg19,", "squeezenet, inception_v3", "the table says why")
    assert [caption[0] for caption in captions[-4:-1]] == ["content", "style", "kmeans"]
    font = ImageFont.load_default(FONT_PX)
    assert all(font.getlength(line) <= SMALLEST_CELL_PX for line in captions[-1])


def test_nothing_to_compare_is_an_error(compared: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_download(monkeypatch)
    assert compared.run(backbones=("vgg19", "squeezenet"), run="missing") == 1
    assert compared.with_(run="missing").rows[0]["note"].startswith("VGG19's ImageNet weights could not be downloaded")
    with pytest.raises(UserError, match="^--judge: .*: put them there, or write vgg19=FILE, or give another judge$"):
        compared.run(judge="vgg19", run="judged")
    assert not list(compared.folder.glob("table.*"))


def test_a_run_that_fails_does_not_cost_the_others(compared: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory() -> None:
        raise MemoryError

    _stop_in_second_run(out_of_memory, monkeypatch)
    assert compared.run() == 1
    kmeans, squeezenet = compared.rows
    assert kmeans["style_score"] > 0 and "does not fit into memory" in squeezenet["note"]


@pytest.mark.parametrize("changes, text", [
    ({"content": "none.jpg"}, "^--content 'none.jpg' does not exist"), ({"style": ()}, "^--style is missing"),
    ({"backbones": ("vgg",)}, "--backbones 'vgg' is unknown, did you mean 'vgg1"),
    ({"judge": "squeezenet"}, "--judge=squeezenet: it has no default weights"),
    ({"judge": "kmean"}, "--judge 'kmean' is unknown, did you mean 'kmeans'"),
    ({"judge": "kmeans=none.npz"}, "--judge=kmeans=none.npz: .*no such file"),
    ({"size": 8, "judge": "kmeans=bundled"}, "^--judge=kmeans=bundled: .* --size=8: .* kmeans need .*larger --size$"),
    ({"judge": "inception_v3=random"}, "^--judge=inception_v3=random: .* need 91 px; give a larger --size$"),
    ({"backbones": ("inception_v3=random", "squeezenet")}, "none of these can run so; inception_v3: .* need 91 px"),
    ({"logdir": "/proc/x"}, "cannot be written"), ({"run": "a/b"}, "no name for a folder"),
    ({"steps": 0}, "--steps=0"),
])
def test_what_is_wrong_is_refused_before_anything_is_written(
        compared: Comparison, tmp_path: Path, changes: dict[str, Any], text: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "start_tensorflow", _fail)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=text) as raised:
        compared.run(**changes)
    assert "\n" not in str(raised.value) and sorted(tmp_path.rglob("*")) == before


def test_other_settings_and_foreign_folders_are_refused(compared: Comparison, tmp_path: Path) -> None:
    compared.run()
    before = (compared.folder / "table.json").read_bytes()
    for changes, text in (({"seed": 1}, r"\(--seed differ\)"), ({"steps": 3}, "was made with --steps=2: give that"),
                          ({"steps": 1}, "was made with --steps=2: give that"),
                          ({"content": str(compared.folder / "sheet.png")}, "lies in the folder of this run"),
                          ({"logdir": str(compared.folder), "run": "kmeans"}, "is one of stylize, not of compare")):
        with pytest.raises(UserError, match=text):
            compared.run(**changes)
    (tmp_path / "logs/thesis").mkdir()
    (tmp_path / "logs/thesis/table.md").write_text("mine")
    with pytest.raises(UserError, match="is no run folder"):
        compared.run(run="thesis")
    assert (compared.folder / "table.json").read_bytes() == before
    # Of other settings those that need no other networks.
    assert compared.run(steps=1, overwrite=True) == 0
    assert (compared.folder / "table.json").read_bytes() != before


def test_the_pictures_are_those_of_the_ordinary_run(compared: Comparison) -> None:
    compared.run()
    ordinary = dataclasses.replace(split(*compared)[0], backbone="kmeans", weights="bundled")
    picture = [progress.picture() for progress in stylize(ordinary)][-1]
    np.testing.assert_array_equal(images.quantize(images.load(compared.folder / "kmeans/output.png")),
                                  images.quantize(picture))
