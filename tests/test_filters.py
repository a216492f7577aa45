"""Learning filters from pictures: what is read, what is written, what is refused."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nst_tf.backbones import kmeans
from nst_tf.backbones.architectures import LEARNED_LAYERS
from nst_tf.recipes.filters.recipe import FiltersConfig
from nst_tf.runs.session import CHECKOUT
from nst_tf.vocabulary import UserError
from sample_drawing import bundled

from .conftest import run_filters, save_picture


def test_a_folder_and_a_file_are_learned_from_and_the_same_bytes_come_again(tmp_path: Path) -> None:
    folder = tmp_path / "paintings"
    folder.mkdir()
    for index, name in enumerate(("b.png", "a.jpg")):
        save_picture(folder / name, 47 + index, 63, index)
    (folder / "notes.txt").write_text("no picture")
    single = save_picture(tmp_path / "single.png", 50, 40, 7)
    outputs = [tmp_path / f"{name}.npz" for name in ("first", "second", "other")]
    for output, seed in zip(outputs, (3, 3, 4), strict=True):
        run_filters(FiltersConfig(pictures=(str(folder), single), output=str(output), seed=seed))
    assert outputs[0].read_bytes() == outputs[1].read_bytes() != outputs[2].read_bytes()
    learned, mean_color = kmeans.load(outputs[0])
    assert set(learned) == {layer.name for layer in LEARNED_LAYERS} and 0.3 < np.mean(mean_color) < 0.7


@pytest.mark.parametrize("changes, text", [
    ({"output": "x.npy"}, "written as .npz"), ({"pictures": ("none.png",)}, "does not exist"),
    ({"output": "/proc/x.npz"}, "cannot be written"), ({"seed": -1}, "--seed=-1"),
    ({"pictures": (".",)}, "holds no picture"),
])
def test_what_is_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any],
                                  text: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=text):
        run_filters(FiltersConfig(**changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing, text", [
    ("skimage.data", r"pip install -e '\.\[filters\]'"),
    ("sample_drawing.bundled", "part of the project's checkout .*: give --pictures=FOLDER$")])
def test_what_is_not_installed_is_named(missing: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=text):
        run_filters(FiltersConfig())


def test_what_draws_is_found_from_any_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if Path(folder or ".").resolve() != CHECKOUT])
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample_drawing"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(UserError, match="scikit-image, which is not installed"):
        run_filters(FiltersConfig())


def test_the_bundled_set_is_photos_and_generated_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage", reason="the photos are those of scikit-image")
    monkeypatch.setattr(bundled, "SAMPLES", {"flat": lambda seed, side: np.full((side, side, 3), seed, np.uint8)})
    pictures = bundled.bundled_pictures()
    assert len(pictures) == len(bundled.PHOTOS) + bundled.VARIATIONS
    assert all(picture.dtype == np.float32 and picture.max() <= 1 for picture in pictures)
    assert [picture.mean() for picture in pictures[5:7]] == pytest.approx([100 / 255, 101 / 255])


def test_bundled_filters_fit_the_network_and_two_megabytes() -> None:
    learned, mean_color = kmeans.load(kmeans.BUNDLED)
    assert [layer.bias.size for layer in learned.values()] == [layer.filters for layer in LEARNED_LAYERS]
    assert kmeans.BUNDLED.stat().st_size <= 2_000_000 and all(0 < value < 1 for value in mean_color)
