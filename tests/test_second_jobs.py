"""A second job of a network, over all that a job can ask for: nothing is traced again, its picture is its own."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nst_tf import load_network
from nst_tf.optimize import jitter
from nst_tf.recipes.stylize import stage

from .network_jobs import LEARNED, ONE_SIZE, SHALLOW, job, mask_file, pixels

VARIANTS: dict[str, dict[str, Any]] = {
    "bundled": {"min_size": 40, "steps": 4, **SHALLOW}, "learned": LEARNED,
    "learned, pooled": {**LEARNED, "pooling": "average"},
    "learned, bfloat16": {**LEARNED, "precision": "bfloat16"},
    "pooled": {**SHALLOW, "pooling": "l2", "precision": "bfloat16"},
    "two styles, gatys": {**SHALLOW, "style_blend": (0.3, 0.7), "normalization": "gatys"},
    "smoothed": {"backbone": "squeezenet", "weights": "random", "smoothing": "softmax:0.5",
                 "style_layers": ("fire9",), "content_layers": ("fire2",)},
    "pooled, float16": {"pooling": "average", "precision": "float16"},  # on all layers
    "copies": {**SHALLOW, "motif_size": 28}, "histogram": {**SHALLOW, "statistic": "histogram"},
    "wasserstein": {**SHALLOW, "statistic": "wasserstein"},
    "texture": {**SHALLOW, "content": "", "content_layers": ()}, "masks": SHALLOW,
    "neighbors": {**SHALLOW, "neighbors_weight": 1.0},
    "ng": {**SHALLOW, "normalization": "ng"}, "dream": {**SHALLOW, "dream": ("conv5:weak:4",)},
    "jitter, moves kept": {**SHALLOW, "jitter": 1, "steps": 90},
    "fourier": {**SHALLOW, "canvas": "fourier"}, "lbfgs": {**SHALLOW, "optimizer": "lbfgs"},
    "gray, jitter": {**SHALLOW, "color": "luminance", "jitter": 2}, "float16": {**SHALLOW, "precision": "float16"}}
# Each of them is one of the others with another word, or two of them at once.
SLOW = ("learned, pooled", "jitter, moves kept", "learned, bfloat16", "pooled, float16", "float16", "ng", "neighbors")


def test_a_photo_whose_moves_are_kept_makes_the_picture_of_one_that_moves_each_step(
        pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = job(pictures, 1, (80, 96), **{**ONE_SIZE, **SHALLOW, "jitter": 1, "steps": 6})
    moved = pixels(config)
    monkeypatch.setattr(stage, "STEPS_OF_MOVE", 0.5)
    shifted, shift = list[Any](), jitter.shift

    def counted(image: Any, offset: Any, jitter_px: int) -> Any:
        shifted.append(offset)
        return shift(image, offset, jitter_px)

    monkeypatch.setattr(jitter, "shift", counted)
    kept = pixels(config)
    assert len(shifted) == 9 + 1, "each move of the photo once, and the trace of a step"
    np.testing.assert_allclose(kept, moved, atol=2e-3)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in VARIANTS])
def test_a_second_job_traces_nothing_and_makes_the_picture_that_it_makes_alone(
        name: str, pictures: Any, tmp_path: Path, traces: list[str]) -> None:
    settings = ONE_SIZE | VARIANTS[name]
    first, second = (job(pictures, seed, px, **settings) for seed, px in ((1, (80, 96)), (2, (131, 90))))
    if "style_blend" in settings:
        first, second = (dataclasses.replace(config, style=config.style * 2) for config in (first, second))
    if name == "masks":
        first, second = (dataclasses.replace(config, content_mask=mask_file(tmp_path, seed), style_mask=("#ffffff",))
                         for seed, config in enumerate((first, second)))
    alone, network = pixels(second), load_network(first)
    traces.clear()
    pixels(first, network)
    assert traces
    traces.clear()
    np.testing.assert_array_equal(pixels(second, network), alone)
    assert not traces
