"""Folders as they lie about, from a Mac or with other files in them: pictures are taken, the rest is told of."""

import os
from pathlib import Path

import pytest
from PIL import Image

from nst_tf.io import decode
from nst_tf.io.picture_folders import PICTURE_SUFFIXES, left_out, load_all
from nst_tf.recipes.export import recipe as export_recipe
from nst_tf.recipes.export.recipe import ExportConfig
from nst_tf.recipes.filters.recipe import FILTERS, FiltersConfig
from nst_tf.recipes.units.plan import UnitsConfig, resolve_units
from nst_tf.vocabulary import UserError

from .conftest import save_picture

APPLE_DOUBLE = bytes([0, 5, 0x16, 7, 0, 2, 0, 0]) + b"Mac OS X        "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one of them below, among five files that are none, and two that only have the name of one."""
    folder = tmp_path / "photos"
    (folder / "__MACOSX").mkdir(parents=True)
    (folder / "below").mkdir()
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "notes.txt", "scan.pdf", "__MACOSX/._a.png"):
        (folder / name).write_bytes(APPLE_DOUBLE)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no picture")
    for name in ("a.png", "below/b.png"):
        save_picture(folder / name, 40, 50, 0)
    return folder


def test_filters_and_exports_learn_from_the_pictures_of_a_folder(folder: Path, tmp_path: Path,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    learned = FILTERS.resolve(FiltersConfig(pictures=(str(folder),), output=str(tmp_path / "f.npz")), None)
    config = ExportConfig(
        backbone="kmeans", weights="self", layers=("conv1",), pictures=(str(folder),), output=str(tmp_path / "1"))
    exported = export_recipe._resolve(config, None)
    assert len(learned) == len(exported.pictures) == 1
    line = ("nst_tf: files left out of --pictures: 5 that are no pictures, 2 that cannot be read (--pictures "
            f"'{folder}/empty.jpg' is empty (0 bytes): get a new copy of it)\n")
    assert capsys.readouterr().err == 2 * line


def test_every_ending_of_a_format_that_is_read_is_one_of_a_picture() -> None:
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in decode._READABLE}
    assert endings >= {".jpg", ".jfif", ".gif"} and endings <= set(PICTURE_SUFFIXES)


def test_units_take_the_pictures_of_all_subfolders(folder: Path, tmp_path: Path) -> None:
    plan = resolve_units(UnitsConfig(images=(str(folder),), output=str(tmp_path / "u"), backbone="kmeans", size=64))
    # The run skips what only has the name of a picture, and says so.
    assert [image.name for image in plan.images] == [
        f"photos/{name}" for name in ("a.png", "empty.jpg", "text.jpg", "below/b.png")]
    assert left_out("--images", plan.others) == "files left out of --images: 6 that are no pictures"


def test_a_folder_without_a_picture_is_one_line(folder: Path) -> None:
    for each, text in ((folder / "__MACOSX", "holds no picture"), (folder / "absent", "does not exist")):
        with pytest.raises(UserError, match=text):
            load_all([str(each)], "--pictures", 64)
    os.remove(folder / "a.png")
    with pytest.raises(UserError, match=r"^--pictures '.*photos' holds no picture that can be read \(.*not an image"):
        load_all([str(folder)], "--pictures", 64)


def test_a_file_that_is_named_is_not_left_out(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^--pictures '.*text.jpg' is not an image"):
        load_all([str(folder / "a.png"), str(folder / "text.jpg")], "--pictures", 64)
