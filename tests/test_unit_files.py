"""What `visualize_units.py` leaves in its folder, what it holds in memory, and how it goes on after a kill."""

import dataclasses
import html
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from benchmarks.units_memory import make_images
from nst_tf.io import images
from nst_tf.recipes import memory
from nst_tf.recipes.units import patches as unit_patches, report as unit_report, steps as units
from nst_tf.recipes.units import synthesis as unit_synthesis
from nst_tf.recipes.units.plan import UnitsConfig, resolve_units
from nst_tf.runtime import memory_bytes
from nst_tf.vocabulary import RunError, UserError

from .conftest import run_units, save_picture

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.usefixtures("shared_networks")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    for index in range(3):
        save_picture(path / f"{index}.png", 23 + index, 17, seed=index)
    return path


def _patches(folder: Path, **settings: Any) -> UnitsConfig:
    defaults: dict[str, Any] = {"images": (str(folder),), "output": str(folder.parent / "out"), "size": 23,
                                "backbone": "squeezenet", "weights": "random", "layers": ("conv1:0-2",)}
    return UnitsConfig(**(defaults | settings))


def _synthesized(tmp_path: Path, **settings: Any) -> UnitsConfig:
    defaults: dict[str, Any] = {"view": "synthesized", "output": str(tmp_path / "out"), "backbone": "squeezenet",
                                "weights": "random", "layers": ("conv1:0-2",), "synthesized_size": 17, "steps": 2}
    return UnitsConfig(**(defaults | settings))


def test_an_earlier_run_with_other_layers_leaves_nothing_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_units(_synthesized(tmp_path, layers=("conv1:0-2", "fire2:0-1"))) == 0
    mine = [out / name for name in ("sheet_music.png", "units/notes.txt", "units/conv1/0000_mine.png",
                                    "events.mine", "units/music/score.png")]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"other settings \(--layers differ\)"):
        run_units(_synthesized(tmp_path, layers=("conv1:1",)))
    assert run_units(_synthesized(tmp_path, layers=("conv1:1",), overwrite=True)) == 0
    left = {str(path.relative_to(out)) for path in out.rglob("*.*") if path.is_file()}
    events = {name for name in left if name.endswith(".pictures")}
    assert len(events) == 1
    assert left - events == {str(path.relative_to(out)) for path in mine} | {
        ".lock", "config.json", "flags.txt", "index.html", "units.json", "sheet_conv1.png",
        "units/conv1/0001_synthesized_1.png"}
    assert all(path.read_bytes() == b"mine" for path in mine)
    assert run_units(_synthesized(tmp_path, layers=("fire2:1",), overwrite=True)) == 0
    assert all(path.read_bytes() == b"mine" for path in mine) and not (out / "sheet_conv1.png").exists()


def test_a_run_that_fails_before_it_writes_leaves_the_earlier_report(folder: Path) -> None:
    assert run_units(_patches(folder)) == 0
    path = folder / "1.png"
    path.write_bytes(b"x" * path.stat().st_size)
    before = {path: path.read_bytes() for path in (folder.parent / "out").rglob("*.*") if path.is_file()}
    with pytest.raises(UserError, match="--images .*1[.]png' is not an image, or its header is damaged"):
        run_units(_patches(folder))
    assert {path: path.read_bytes() for path in before} == before


def test_the_report_of_before_is_gone_when_an_overwrite_is_stopped(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_units(_patches(folder)) == 0
    real, out = unit_patches.find_maxima, folder.parent / "out"

    def stopped(*arguments: Any) -> Iterator[Any]:
        for seen in real(*arguments):
            os.kill(os.getpid(), signal.SIGTERM) if seen.images == 1 else None
            yield seen

    monkeypatch.setattr(units, "find_maxima", stopped)
    assert run_units(_patches(folder, size=17, overwrite=True)) == 143
    assert {path.name for path in out.iterdir()} == {".lock", "config.json", "flags.txt", "checkpoints"}


def test_another_view_of_the_same_images_goes_on_and_names_only_what_differs(tmp_path: Path, folder: Path) -> None:
    assert run_units(_patches(folder)) == 0
    both = _patches(folder, view="both", synthesized_size=17, steps=2)
    assert run_units(both) == 0 and run_units(_patches(folder)) == 0 and run_units(both) == 0
    for other, flags in ((_synthesized(tmp_path), "--images"), (_synthesized(tmp_path, steps=3), "--steps, --images"),
                         (dataclasses.replace(both, steps=3, diversity=2), "--steps, --diversity"),
                         (dataclasses.replace(both, seed=1), "--seed")):
        with pytest.raises(UserError, match=rf"other settings \({flags} differ\)"):
            run_units(other)
    assert run_units(_synthesized(tmp_path, output=str(tmp_path / "alone"))) == 0
    for changes, flags in (({"seed": 1}, "--seed"), ({"canvas": "pixels", "steps": 1}, "--canvas, --steps"),
                           ({"layers": ("fire2:0",)}, "--layers"), ({"backbone": "squeezenet1_1"}, "--backbone")):
        with pytest.raises(UserError, match=rf"other settings \({flags} differ\)"):
            run_units(_synthesized(tmp_path, output=str(tmp_path / "alone"), **changes))


@pytest.mark.parametrize("view, text", [
    ("patches", "stopped at sheet 1 of 2, all of which are made anew; what was seen of the images is stored; to go on"),
    ("both", "stopped while synthesizing, which begins anew; what was seen of the images is stored; to go on")])
def test_a_stop_between_sheets_says_where(folder: Path, view: str, text: str, monkeypatch: pytest.MonkeyPatch,
                                          capfd: pytest.CaptureFixture[str]) -> None:
    real = unit_report.write_sheet

    def stopped(*arguments: Any) -> None:
        real(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    more: dict[str, Any] = {"synthesized_size": 17, "steps": 1} if view == "both" else {}
    with monkeypatch.context() as patch:
        patch.setattr(unit_report, "write_sheet", stopped)
        assert run_units(_patches(folder, view=view, layers=("conv1:0", "fire2:0"), **more)) == 143
    assert text in capfd.readouterr().err
    assert run_units(_patches(folder, view=view, layers=("conv1:0", "fire2:0"), **more)) == 0


def test_each_part_is_on_the_disk_before_the_next_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, seen = unit_synthesis.synthesize, []

    def watched(*arguments: Any) -> Iterator[Any]:
        for part in whole(*arguments):
            yield part
            for unit in part or ():
                seen.append((tmp_path / f"out/units/conv1/{unit:04d}_synthesized_9.png").is_file())

    monkeypatch.setattr(unit_synthesis, "synthesize", watched)
    assert run_units(_synthesized(tmp_path, diversity=9)) == 0
    assert seen == [True] * 3


def test_memory_does_not_grow_with_the_layers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of panels and sheets, after both passes over the images, in which what TensorFlow traces would be counted too."""
    peaks, cut = [], unit_patches.cut_patches

    def traced(*arguments: Any) -> Iterator[Any]:
        yield from cut(*arguments)
        tracemalloc.start()

    monkeypatch.setattr(units, "cut_patches", traced)
    for layers in (("conv1",), ("conv1", "fire2", "fire3")):
        assert run_units(_patches(folder, layers=layers, overwrite=True)) == 0
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    # A sheet of 16 units takes 11 MB; the panels of a layer take 2.
    assert peaks[1] < peaks[0] + 3, peaks


def test_an_image_that_is_found_twice_counts_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.symlink(folder / "1.png", folder / "a.png")
    os.symlink(folder, folder.parent / "link")
    (folder / "._1.png").write_bytes(b"no picture")
    given = (str(folder), str(folder.parent / "link"), str(folder / "2.png"))
    assert [image.name for image in resolve_units(_patches(folder, images=given)).images] == [
        "photos/0.png", "photos/1.png", "photos/2.png"]
    assert run_units(_patches(folder, images=given)) == 0
    printed, said = capfd.readouterr()
    assert "skipped:     0 of 3 images" in printed and "nst_tf: 6 of 9 images were found before" in said
    # The folder and the link to it.
    assert "nst_tf: files left out of --images: 2 that are no pictures\n" in said
    table = json.loads((folder.parent / "out/units.json").read_text())["layers"]["conv1"]["units"]
    assert all(len(unit["patches"]) <= 3 for unit in table.values())


def test_names_that_cannot_be_printed_are_shown_all_the_same(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.rename(folder / "0.png", os.fsencode(folder) + b"/\xff\n\x1b.png")
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xfe\n.png")).write_bytes(b"none")
    assert run_units(_patches(folder)) == 0
    printed, said = capfd.readouterr()
    assert "skipped:     1 of 4 images" in printed and "bad\\udcfe\\n.png' is not an image" in said
    out = folder.parent / "out"
    table = json.loads((out / "units.json").read_text())["layers"]["conv1"]["units"]
    files = {place["file"] for unit in table.values() for place in unit["patches"]}
    assert "photos/\udcff\n\x1b.png" in files
    assert "photos/?" in html.unescape((out / "index.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM")])
def test_what_does_not_fit_into_memory_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch,
                                                   error: Exception) -> None:
    def fail(*arguments: Any, **settings: Any) -> Any:
        raise error

    monkeypatch.setattr(images, "load", fail)
    with pytest.raises(RunError, match="an image of 23 px does not fit into memory: give a smaller --size; what is"):
        run_units(_patches(folder))
    monkeypatch.setattr(unit_synthesis, "run_stage", fail)
    with pytest.raises(RunError, match="1 of 17 px, do not fit into memory: give a smaller --synthesized_size or"):
        run_units(_synthesized(folder.parent, output=str(folder.parent / "other")))


def test_what_could_never_fit_is_refused_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # conv1 keeps 96 channels at half the side, fire2 128 at a quarter: 24 and 8 floats for each pixel. Then 24 of the
    # gradient of conv1 and 24 of the picture.
    monkeypatch.setattr(memory, "memory_bytes", lambda: 9 * 17 ** 2 * 80 * 4.0)
    resolve_units(_synthesized(folder.parent, layers=("fire2",), diversity=9))
    with pytest.raises(UserError, match="--synthesized_size=18 with --diversity=9 needs at least 0.0 GB of memory"):
        resolve_units(_synthesized(folder.parent, layers=("fire2",), diversity=9, synthesized_size=18))
    monkeypatch.setattr(memory, "memory_bytes", lambda: 17 * 23 * 24 * 4.0)
    # The images are 17 px wide and 23, 24 and 25 px high.
    with pytest.raises(RunError, match="1.png' at 17 × 24 px needs at least .* give a --size smaller than 64"):
        run_units(_patches(folder, layers=("fire2",), size=64))


def test_the_memory_of_this_machine_is_known() -> None:
    assert 1e8 < memory_bytes() < 1e15


def _start(images: Path, output: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/visualize_units.py"), f"--images={images}", f"--output={output}",
         "--size=23", "--backbone=squeezenet", "--weights=random", "--layers=conv1:0-2", "--checkpoint_every=0"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 500)
    killed = _start(tmp_path / "images", tmp_path / "killed")
    while not list((tmp_path / "killed").glob("checkpoints/*.npz")) and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    again = _start(tmp_path / "images", tmp_path / "killed")
    said = again.communicate()[1].decode()
    assert again.returncode == 0 and "nst_tf: continues at image " in said, said
    assert not list((tmp_path / "killed").glob("tmp*"))
    _start(tmp_path / "images", tmp_path / "whole").communicate()
    for name in ("checkpoints/step_00000500.npz", "units.json", "sheet_conv1.png", "index.html"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
