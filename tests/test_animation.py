"""Animations: what is written is what the frames are, one frame in memory at a time."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from nst_tf.io import images
from nst_tf.io.animation import save_animation
from nst_tf.io.pixels import over_white

from .conftest import save_picture


def _frames(folder: Path, count: int) -> list[Path]:
    return [Path(save_picture(folder / f"{number}.png", 17, 23, seed=number)) for number in range(count)]


@pytest.mark.parametrize("ending", [".gif", ".webp"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_animation_has_every_frame_once_and_equals_that_of_pictures_in_memory(
        tmp_path: Path, ending: str, count: int) -> None:
    frames = _frames(tmp_path, count)
    save_animation(str(tmp_path / f"a{ending}"), frames, 20.0)
    pictures = [Image.open(frame).convert("RGB") for frame in frames]
    options: dict[str, Any] = {".gif": {}, ".webp": {"quality": 90}}[ending]
    pictures[0].save(tmp_path / f"b{ending}", save_all=True, append_images=pictures[1:], duration=50, loop=0, **options)
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    with Image.open(tmp_path / f"a{ending}") as animation:
        shown = [np.asarray(frame.convert("RGB"), float) for frame in ImageSequence.Iterator(animation)]
    assert len(shown) == count
    for number, frame in enumerate(shown):
        distances = [np.abs(frame - np.asarray(picture, float)).mean() for picture in pictures]
        assert np.argmin(distances) == number


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_every_frame_has_the_transparency_and_is_the_same_over_white(tmp_path: Path, ending: str) -> None:
    frames, alpha = _frames(tmp_path, 3), np.ones((17, 23, 1), np.float32)
    alpha[:, :6], alpha[:, 6] = 0, 0.6
    over = [over_white(images.load(path), alpha) for path in frames]
    for path, picture in zip(frames, over, strict=True):
        images.save(path, picture)
    save_animation(str(tmp_path / f"a{ending}"), frames, 20.0, alpha)
    with Image.open(tmp_path / f"a{ending}") as animation:
        frames_shown = [frame.convert("RGBA") for frame in ImageSequence.Iterator(animation)]
    shown: list[Any] = [np.asarray(frame) / np.float32(255) for frame in frames_shown]
    assert len(shown) == 3
    for rgba, picture in zip(shown, over, strict=True):
        np.testing.assert_allclose(rgba[..., 3:], alpha if ending == ".webp" else np.round(alpha), atol=0.01)
        difference = np.abs(over_white(rgba[..., :3], rgba[..., 3:]) - picture)
        assert difference[:, :6].max() < 0.01 and difference.mean() < 0.1


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_few_frames_are_decoded_at_a_time(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    convert, seen, alive = Image.Image.convert, list[weakref.ref[Image.Image]](), list[int]()

    def counted(picture: Image.Image, *arguments: object, **options: object) -> Image.Image:
        converted = convert(picture, *arguments, **options)  # type: ignore[arg-type]
        if converted.mode == "RGB":
            seen.append(weakref.ref(converted))
            gc.collect()
            alive.append(sum(picture() is not None for picture in seen))
        return converted

    monkeypatch.setattr(Image.Image, "convert", counted)
    # What was there before is not searched: TensorFlow makes a collection slow.
    gc.freeze()
    try:
        save_animation(str(tmp_path / f"a{ending}"), _frames(tmp_path, 12), 12.0)
    finally:
        gc.unfreeze()
    assert len(alive) >= 12 and max(alive) <= 4
