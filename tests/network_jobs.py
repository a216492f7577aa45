"""Jobs for tests of one network: small pictures, few steps, shallow layers."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nst_tf import stylize
from nst_tf.config import StylizeConfig

BASE = StylizeConfig(backbone="kmeans", weights="bundled", size=64, min_size=40, steps=6, precision="float32")
# Shallow layers, which small pictures of any size teach all their filters.
LEARNED: dict[str, Any] = {"weights": "self", "style_layers": ("conv1", "conv2"), "content_layers": ("conv2",)}
# Of one size and on shallow layers, where neither deep layers nor several stages are what differs.
SHALLOW: dict[str, Any] = {"style_layers": ("conv1", "conv2"), "content_layers": ("conv2",)}
ONE_SIZE: dict[str, Any] = {"min_size": 64, "steps": 3}


def job(pictures: Any, seed: int, style_px: tuple[int, int] = (80, 96), **others: Any) -> StylizeConfig:
    """A job of its own: another photo of the same size, and a style of any size."""
    own = {"content": pictures(f"photo{seed}", 72, 96, seed),
           "style": (pictures(f"style{seed}", *style_px, 100 + seed),)}
    return dataclasses.replace(BASE, **own | others)


def pixels(config: StylizeConfig, network: Any = None) -> np.ndarray:
    """The picture of a job."""
    *_, last = stylize(config, network=network)
    return last.picture()


def mask_file(folder: Path, seed: int) -> str:
    """A region that stays the photo beside a white one, each time of another width."""
    labels = np.zeros((72, 96, 3), np.uint8)
    labels[:, 30 + 10 * seed:] = 255
    Image.fromarray(labels).save(folder / f"mask{seed}.png")
    return str(folder / f"mask{seed}.png")
