"""Presets: every flag file runs, the command line overrides it, and the gallery shows what was run."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nst_tf import flags
from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.recipes import gallery
from nst_tf.presets import PRESETS
from nst_tf.recipes.gallery import GalleryConfig
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.runs.session import Stop
from nst_tf.vocabulary import BackboneName, UserError, names

from .conftest import run_gallery, run_stylize as run

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--backbone=kmeans", "--weights=bundled", "--size=48", "--min_size=34", "--steps=2")
pytestmark = pytest.mark.usefixtures("shared_networks")


def _parse(preset: str, *arguments: str) -> tuple[StylizeConfig, RunConfig]:
    (config, run_config), _ = flags.parse(["x", f"--flagfile={preset}", *arguments], [StylizeConfig, RunConfig], "", {})
    return config, run_config


def _pictures(preset: str, photo: str, painting: str) -> list[str]:
    return [f"--style={painting}", *([] if preset == "texture" else [f"--content={photo}"])]


def test_the_presets_are_there() -> None:
    assert {"painterly", "faithful", "texture", "sketch", "bold"} <= PRESETS.keys()


@pytest.mark.parametrize("preset", PRESETS)
def test_two_steps_of_every_preset(preset: str, photo: str, painting: str, tmp_path: Path) -> None:
    config, run_config = _parse(preset, *SMALL, *_pictures(preset, photo, painting), f"--logdir={tmp_path}", "--run=r")
    assert (config.size, config.steps) == (48, 2), "the command line overrides a preset"
    assert config != StylizeConfig(content=config.content, style=config.style, backbone="kmeans", weights="bundled",
                                   size=48, min_size=34, steps=2), "a preset changes something"
    assert run(config, run_config) == 0
    with Image.open(tmp_path / "r/output.png") as image:
        assert max(image.size) == 48


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_suits_every_backbone_and_says_what_it_is(preset: str, tmp_path: Path) -> None:
    samples = ROOT / "samples"
    for backbone in names(BackboneName):
        weights = "bundled" if backbone == "kmeans" else "random"
        pictures = _pictures(preset, f"{samples}/coast.jpg", f"{samples}/swirls.jpg")
        assert resolve(_parse(preset, f"--backbone={backbone}", f"--weights={weights}", *pictures)[0]).stages
    first, *lines = PRESETS[preset].read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"# [A-Z].*\.", first)
    assert not any(re.search("flagfile|logdir|run=|output|layers|backbone|weights=", line) for line in lines)


def _shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of every command, in this process, in which TensorFlow runs already."""
    def shortened(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        python, *arguments = command
        assert python == sys.executable
        monkeypatch.setattr(sys, "argv", [*arguments, "--steps=2"])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(arguments[0], run_name="__main__")
        return subprocess.CompletedProcess(command, int(end.value.code or 0))

    monkeypatch.setattr(subprocess, "run", shortened)


def test_the_gallery_shows_what_was_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = GalleryConfig(presets=("sketch",), backbone="kmeans", weights="bundled", size=48, output=str(tmp_path),
                           logdir=str(tmp_path / "logs"))
    _shorten(monkeypatch)
    assert run_gallery(config) == 0
    page = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert "## sketch" in page and PRESETS["sketch"].read_text().splitlines()[0][2:] in page
    assert "![sketch: Lines on paper" in page and "(images/gallery_sketch.jpg)" in page
    assert ("python scripts/stylize.py --flagfile=sketch --backbone=kmeans --weights=bundled "
            "--content=samples/street.jpg --style=samples/woodcut.jpg --size=48 "
            f"--output={tmp_path}/images/gallery_sketch.jpg\n") in page
    with Image.open(tmp_path / "images/gallery_sketch.jpg") as image:
        assert max(image.size) == 48


def test_some_presets_replace_their_sections_and_leave_the_others(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0))
    page = tmp_path / "gallery.md"

    def sections(size: int, *presets: str) -> dict[str, str]:
        assert run_gallery(GalleryConfig(presets=presets, backbone="kmeans", size=size, output=str(tmp_path))) == 0
        about, *parts = page.read_text(encoding="utf-8").split("\n## ")
        assert about == f"{gallery.ABOUT}\n"
        return {part.partition("\n")[0]: part for part in parts}

    everything = sections(48)
    assert list(everything) == list(PRESETS)
    whole = page.read_bytes()
    changed = sections(47, "sketch", "bold")
    assert list(changed) == list(everything)
    for name, section in changed.items():
        is_new = name in ("sketch", "bold")
        assert ("--size=47" in section) == is_new and (section == everything[name]) != is_new
    # A preset that is gone leaves the page; the same presets again give the same page.
    page.write_text(page.read_text() + "\n## gone\n\nNo such file.\n")
    assert sections(48, "sketch", "bold") == everything and page.read_bytes() == whole


def test_what_is_wrong_with_a_gallery_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for changes, text in (({"presets": ("bald",)}, "did you mean 'bold'"), ({"weights": "none.npz"}, "no such file"),
                          ({"output": "/proc/x"}, "cannot be written")):
        with pytest.raises(UserError, match=text):
            run_gallery(GalleryConfig(**{"backbone": "kmeans", **changes}))  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="start this script in the project's folder"):
        run_gallery(GalleryConfig(backbone="kmeans"))


def test_an_object_stops_the_gallery_between_two_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    stop = Stop()

    def stopping(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        stop.request()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", stopping)
    config = GalleryConfig(presets=("sketch", "bold"), backbone="kmeans", output=str(tmp_path))
    assert run_gallery(config, stop=stop) == 130
    assert "stopped at 1 of 2" in capsys.readouterr().err and (tmp_path / "gallery.md").exists()


def test_a_failed_command_ends_the_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 130))
    assert run_gallery(GalleryConfig(backbone="kmeans", output=str(tmp_path))) == 130
    assert not (tmp_path / "gallery.md").exists()


def test_the_page_shows_what_was_done_before_a_command_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    statuses = iter([0, 0, 1])
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, next(statuses)))
    config = GalleryConfig(presets=("sketch", "bold", "faithful"), backbone="kmeans", output=str(tmp_path))
    assert run_gallery(config) == 1
    page = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert page.startswith(f"{gallery.ABOUT}\n\n## bold\n") and "\n## sketch\n" in page and "## faithful" not in page
