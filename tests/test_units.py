"""`visualize_units.py` as a user starts it: both views, resuming, damaged images, errors of one line; the page."""

import dataclasses
import html
import json
import os
import re
import signal
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nst_tf.backbones.facts import Layer
from nst_tf.grammar import Channels, LayerChannels, parse_channels, parse_layer_channels
from nst_tf.recipes.units import panels as unit_panels, patches as unit_patches, steps as units
from nst_tf.recipes.units.maxima import MaximaState
from nst_tf.recipes.units.plan import UnitsConfig, resolve_units
from nst_tf.recipes.units.report import LayerView, Panel, UnitView, page
from nst_tf.recipes.units.synthesis import batches
from nst_tf.vocabulary import RunError, UserError

from .conftest import run_units, save_picture

pytestmark = pytest.mark.usefixtures("shared_networks")


@pytest.mark.parametrize("text, channels", [
    ("3", Channels("index", (3,))), ("3+17", Channels("index", (3, 17))), ("0-2+9+1", Channels("index", (0, 1, 2, 9))),
    ("all", Channels("all")), ("strong:5", Channels("strong", first=5)), ("unused:12", Channels("unused", first=12)),
])
def test_channels_are_read_and_written(text: str, channels: Channels) -> None:
    assert parse_channels(text, "--x") == channels
    assert parse_channels(channels.written(), "--x") == channels
    assert parse_layer_channels(f"fire8:{text}@0.5", "--x") == LayerChannels("fire8", channels, 0.5)


@pytest.mark.parametrize("text", [
    "", "3+", "+3", "5-3", "-3", "1-2-3", "3.5", "a", "strong", "strong:", "strong:0", "strong:-1", "all:3", "1234567",
    "²", "every:3"])
def test_channels_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UserError, match="--x=fire8:.* cannot be read: write numbers and ranges"):
        parse_layer_channels(f"fire8:{text}", "--x")


@pytest.mark.parametrize("text", ["", ":3", "a:3@", "a:3@-1", "a:3@inf", "a@nan", "@1"])
def test_layers_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UserError, match="write LAYER, LAYER:CHANNELS or LAYER:CHANNELS@WEIGHT"):
        parse_layer_channels(text, "--x")


def test_parts_of_units_have_one_size() -> None:
    assert batches(range(5), 8, 128) == [(0, 1), (2, 3), (4, 4)]
    assert batches([7, 9], 1, 128) == [(7, 9)]
    assert batches([7, 9], 9, 128) == [(7,), (9,)]
    # So many pixels at once, not so many pictures.
    assert [len(batches(range(16), 1, side_px)) for side_px in (17, 256, 257, 512, 1024, 4096)] == [1, 1, 2, 4, 16, 16]


def test_patches_lie_in_their_places_and_boxes_around_what_they_name(tmp_path: Path) -> None:
    tiles = unit_panels.TileFile(tmp_path)
    patch = np.zeros((36, 36, 3), np.float32)
    for index in range(5, -1, -1):
        tiles.place("a", 3, index, patch if index == 5 else patch + 1)
    panel = tiles.panel("a", 3)
    assert (panel[75:75 + 72, 150:150 + 72] == 0).all()
    assert (panel == 0).sum() == 3 * 72 * 72 and panel.max() == 1
    tiles.place("a", 1, 0, patch + np.float32(0.5), (9, 3, 27, 33))
    white = np.argwhere(tiles.panel("a", 1)[:72, :72, 0] == 1)
    assert white.min(0).tolist() == [18, 6] and white.max(0).tolist() == [53, 65]
    np.testing.assert_array_equal(tiles.panel("a", 3), panel)
    np.testing.assert_array_equal(tiles.panel("b", 3), unit_panels.crossed_out())
    tiles.close()
    assert not list(tmp_path.iterdir())


def test_every_text_of_the_page_is_escaped() -> None:
    wicked = '"><script>alert(1)</script>\udcff'
    facts = Layer(f"layer{wicked}", 1, 1, 1, 1)
    panels = (Panel("patches", "a b/%&'.png", [{"file": f"place\n{wicked}"}, {"response": 0.123456}]),
              Panel("synthesized_1", "b.png", record={"'x\"": f"1{wicked}"}))
    text = page(f"page{wicked}", [f"line{wicked}"],
                [LayerView(facts, f"about{wicked}", (UnitView(3, f"title{wicked}", panels),))])
    assert "<script" not in text and text.count("&lt;script&gt;") == 9 and "http" not in text
    text.encode()
    read = _Read()
    read.feed(text)
    shown = wicked.replace("\udcff", "?")
    titles = [attributes["title"] for _, attributes in read.tags if "title" in attributes]
    assert titles == [f"file: place\n{shown}", "response: 0.12346", f"'x\": 1{shown}"]
    assert [attributes["src"] for tag, attributes in read.tags if tag == "img"] == ["a%20b/%25%26%27.png", "b.png"]
    assert [line for line in read.texts if shown in line] == [
        f"{word}{shown}" for word in ("page", "page", "line", "layer", "layer", "about", "title")]


class _Read(HTMLParser):
    """The tags of a page with their attributes, and its texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts += [data.strip()] if data.strip() else []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    for index, name in enumerate(("a.png", "b <i>&\".png", "c.png")):
        save_picture(path / name, 41 + index, 60 - index, seed=index)
    (path / "bad.jpg").write_bytes(b"none")
    return path


def _config(folder: Path, **settings: object) -> UnitsConfig:
    defaults: dict[str, object] = {
        "images": (str(folder),), "output": str(folder.parent / "out"), "backbone": "squeezenet", "weights": "random",
        "layers": ("conv1:3+17", "fire2:strong:2")}
    if settings.get("view") != "synthesized":
        defaults["size"] = 48
    return UnitsConfig(**(defaults | settings))  # type: ignore[arg-type]


def test_both_views_leave_sheet_page_table_and_events(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = _config(folder, view="both", synthesized_size=24, steps=3, diversity=2)
    assert run_units(config) == 0
    out = folder.parent / "out"
    printed, said = capfd.readouterr()
    assert "skipped:     1 of 4 images" in printed and "verified:" in printed
    assert "skipped: --images" in said and "expect textures, edges and colors only" in said
    assert {path.name for path in out.iterdir()} >= {"sheet_conv1.png", "sheet_fire2.png", "index.html", "flags.txt"}
    table = json.loads((out / "units.json").read_text())
    assert list(table["layers"]) == ["conv1", "fire2"] and table["layers"]["conv1"]["receptive_field_px"] == 7
    of_unit = table["layers"]["conv1"]["units"]["17"]
    responses = [place["response"] for place in of_unit["patches"]]
    assert responses == sorted(responses, reverse=True) and of_unit["synthesized_2"]["activation"] >= 0
    text = (out / "index.html").read_text()
    assert "<i>" not in text and 'photos/b <i>&".png' in html.unescape(text)
    files = [html.unescape(name) for name in re.findall(r'src="([^"]+)"', text)]
    assert len(files) == 4 * 3 and all((out / name).is_file() for name in files)
    with Image.open(out / "sheet_conv1.png") as sheet:
        assert sheet.width > 3 * unit_panels.SIDE_PX
    events = EventAccumulator(str(out)).Reload()
    assert events.Tags()["tensors"] == ["units/conv1", "units/fire2"]


def test_the_same_command_goes_on_and_another_is_refused(folder: Path) -> None:
    config, out = _config(folder), folder.parent / "out"
    assert run_units(config) == 0
    first = {path: path.read_bytes() for path in out.rglob("*") if path.suffix in (".png", ".json", ".html", ".npz")}
    assert run_units(config) == 0
    assert {path: path.read_bytes() for path in first} == first
    # Other units of the same layers are known already.
    assert run_units(_config(folder, layers=("conv1", "fire2:0"), units_per_layer=3)) == 0
    with pytest.raises(UserError, match=r"other settings \(--size, --layers differ\)"):
        run_units(_config(folder, size=40, layers=("conv1",)))
    save_picture(folder / "d.png", 40, 50, seed=9)
    with pytest.raises(UserError, match=r"other settings \(--images differ\)"):
        run_units(config)
    assert run_units(_config(folder, overwrite=True, layers=("conv1",), units_per_layer=1)) == 0
    assert not (out / "sheet_fire2.png").exists() and (out / "sheet_conv1.png").exists()


def test_an_image_that_changed_since_is_noticed(folder: Path) -> None:
    config = _config(folder, layers=("conv1",))
    assert run_units(config) == 0
    path = folder / "a.png"
    size = path.stat().st_size
    path.write_bytes((folder / "c.png").read_bytes()[:size].ljust(size, b"\0"))
    with pytest.raises((UserError, RunError), match="changed since|damaged"):
        run_units(config)


def test_a_signal_stops_and_the_flag_file_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch,
                                                  capfd: pytest.CaptureFixture[str]) -> None:
    real = unit_patches.find_maxima

    def stopped(*args: Any) -> Iterator[MaximaState]:
        for seen in real(*args):
            if seen.images == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield seen

    monkeypatch.setattr(units, "find_maxima", stopped)
    assert run_units(_config(folder)) == 128 + signal.SIGTERM
    assert "stopped at image 2 of 4; to go on: " in capfd.readouterr().err
    monkeypatch.setattr(units, "find_maxima", real)
    assert run_units(_config(folder)) == 0
    assert "continues at image 3 of 4" in capfd.readouterr().err


def test_synthesis_wakes_the_unit_and_repeats(folder: Path) -> None:
    config = _config(folder, images=(), view="synthesized", layers=("conv1:0-3",), synthesized_size=32, steps=15)
    out = folder.parent / "out"
    activations = []
    for steps, overwrite in ((1, False), (15, True), (15, False)):
        assert run_units(dataclasses.replace(config, steps=steps, overwrite=overwrite)) == 0
        table = json.loads((out / "units.json").read_text())["layers"]["conv1"]["units"]
        activations.append([unit["synthesized_1"]["activation"] for unit in table.values()])
    assert all(later > 1.1 * first > 0 for first, later in zip(*activations[:2]))
    assert activations[1] == activations[2]


@pytest.mark.parametrize("settings, text", [
    ({"output": ""}, "--output is missing"), ({"images": ()}, "--images is missing for --view=patches"),
    ({"images": ("none",)}, "does not exist"), ({"view": "patch"}, "did you mean 'patches'"),
    ({"view": "synthesized", "images": ()}, "--layers=fire2:strong:2 needs images"),
    ({"layers": ("conv9",)}, "layer 'conv9' is unknown"), ({"layers": ("conv1", "conv1:3")}, "named twice"),
    ({"layers": ("conv1:96",)}, "channel 96 does not exist; give 0 to 95"),
    ({"layers": ("conv1:strong:97",)}, "give strong:N with N <= 96"),
    ({"layers": ("conv1:weak:3",)}, "weak:N is not known here"),
    ({"layers": ("fire9",), "size": 1}, "--size=1 is too small for layer"),
    ({"backbone": "kmeans", "weights": "self", "layers": ()}, "give bundled, random"),
    ({"backbone": "resnet50", "weights": "random", "layers": ("conv5_block3_out:all",)}, "do not fit on a sheet"),
    ({"output": "out\udcff"}, "has a name that cannot be printed"), ({"images": ("a\nb",)}, "cannot be printed"),
])
def test_what_is_wrong_is_one_line(folder: Path, settings: dict[str, object], text: str) -> None:
    if settings.get("size") == 1:
        settings = settings | {"backbone": "inception_v3", "layers": ("mixed10",)}
    with pytest.raises(UserError, match=text) as raised:
        resolve_units(_config(folder, **settings))
    assert "\n" not in str(raised.value) and not (folder.parent / "out").exists()


def test_flags_that_a_view_does_not_read_change_nothing(folder: Path) -> None:
    patches, pictures = _config(folder), _config(folder, view="synthesized", layers=("conv1:3@2",))
    for config, changed in ((patches, dataclasses.replace(patches, steps=3, canvas="pixels", diversity=2)),
                            (pictures, dataclasses.replace(pictures, size=40, images=(), diversity_weight=2.0))):
        assert resolve_units(changed)._replace(size_px=0) == resolve_units(config)._replace(size_px=0)


def test_output_and_images_must_not_lie_in_one_another(folder: Path) -> None:
    for output in (folder, folder / "out", folder.parent):
        with pytest.raises(UserError, match="lie in one another"):
            resolve_units(_config(folder, output=str(output)))
    other = folder.parent / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is no run folder"):
        run_units(_config(folder, output=str(other)))
    assert (other / "mine.txt").exists()


def test_no_usable_image_is_one_line(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"none")
    with pytest.raises(UserError, match="none of the 4 images could be used"):
        run_units(_config(folder, layers=("conv1",)))


def test_the_real_network_finds_colors_and_edges(shared_images: Path, tmp_path: Path) -> None:
    weights = shared_images.parent / "weights/squeezenet_v1.0_deep_compressed.net"
    for index, color in enumerate(((255, 160, 0), (10, 10, 10), (40, 200, 60))):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), color).save(tmp_path / f"photos/{index}.png")
    assert run_units(UnitsConfig(images=(str(tmp_path / "photos"),), output=str(tmp_path / "out"), size=64,
                                 backbone="squeezenet", weights=str(weights), layers=("conv1:19",))) == 0
    table = json.loads((tmp_path / "out/units.json").read_text())["layers"]["conv1"]["units"]["19"]["patches"]
    assert table[0]["file"] == "photos/0.png", "unit 19 likes orange"
