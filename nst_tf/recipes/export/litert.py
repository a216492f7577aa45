"""An extractor as a LiteRT file for phones, by Keras' exporter, and its values by LiteRT's own interpreter."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.saved_model_facts import Facts
from nst_tf.recipes.export.signatures import check_agreement, shares

# Another runtime adds in another order; measured are some 1e-6.
TOLERANCE = 1e-4


def save(extractor: Extractor, path: Path, size_px: Sequence[int]) -> None:
    """Writes one signature, image float32 [B, H, W, 3] in [0, 1] → {layer: activations}.

    Args:
        size_px: height and width of the only pictures taken, one at a time, as some accelerators of phones need; any
            batch and size when empty.
    """
    shape = [1, *size_px, 3] if size_px else [None, None, None, 3]
    signature = [tf.TensorSpec(shape, tf.float32, name="image")]
    extractor.model.export(str(path), format="litert", verbose=False, input_signature=signature)


def differences(extractor: Extractor, facts: Facts, path: Path, size_px: Sequence[int]) -> dict[str, float]:
    """{layer: largest difference between Keras' and LiteRT's values, as a share of the layer's largest value}.

    Raises:
        RunError: one is above `TOLERANCE`.
    """
    smallest_px = max(layer.smallest_side_px for layer in facts.layers)
    height, width = size_px or (smallest_px + 16, smallest_px + 23)
    image = np.random.default_rng(facts.seed).uniform(size=(1, height, width, 3)).astype(np.float32)
    found = shares(run(path, image), extractor(image))
    check_agreement(found, TOLERANCE, "the LiteRT file")
    return found


def run(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """{layer: activations} of pictures [B, H, W, 3] by LiteRT's interpreter (package ai-edge-litert)."""
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], image.shape)
    interpreter.allocate_tensors()
    answer: dict[str, Any] = interpreter.get_signature_runner()(image=image)
    return answer
