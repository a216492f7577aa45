"""A network of one forward pass as a SavedModel and as a LiteRT file: photo in, picture out; both are checked."""

import importlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nst_tf.backbones.saved_model import IMAGE
from nst_tf.generators.files import Generator
from nst_tf.generators.paint import paint
from nst_tf.generators.weights import Styled
from nst_tf.io.files import could_not_be_written, system_error
from nst_tf.recipes.export.recipe import STYLES_FILE
from nst_tf.recipes.export.signatures import IMAGE_BYTES, SIZE, decode
from nst_tf.tensors import Tensor
from nst_tf.vocabulary import RunError

PICTURE, BYTES = "stylized", "stylized_bytes"
# Largest difference of a pixel in [0, 1] from the network itself, by the numbers of the file.
TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "int8": 0.1}


class Painter(tf.Module):
    """The network as functions that a SavedModel keeps.

    Args:
        generator: whose weights become its variables.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.network, self.styles = generator.network, len(generator.styles)
        self.parts = {f"{name}/{part}": tf.Variable(values) for name, styled in generator.weights.items()
                      for part, values in styled._asdict().items() if values is not None}

    def paint(self, image: Tensor, style: Tensor) -> Tensor:
        """Pictures [B, H, W, 3] of photos; `style` [K] are shares, which are divided by their sum."""
        names = {key.partition("/")[0] for key in self.parts}
        weights = {name: Styled(self.parts[f"{name}/kernel"], self.parts[f"{name}/shift"],
                                self.parts.get(f"{name}/scale")) for name in names}
        return paint(self.network, weights, image, (style / tf.reduce_sum(style))[tf.newaxis])[0]


def save(generator: Generator, folder: Path) -> None:
    """Writes the SavedModel into an empty folder.

    Signatures: `stylize` (also `serving_default`) takes image float32 [B, H, W, 3] in [0, 1] and style [K];
    `stylize_bytes` takes files of JPEG or PNG, their size and style, and gives files of PNG.

    Raises:
        RunError: the disk refuses.
    """
    module = Painter(generator)
    style = tf.TensorSpec([module.styles], tf.float32, name="style")

    @tf.function(autograph=False, input_signature=[IMAGE, style])
    def stylize(image: Tensor, style: Tensor) -> dict[str, Tensor]:
        return {PICTURE: module.paint(image, style)}

    @tf.function(autograph=False, input_signature=[IMAGE_BYTES, SIZE, style])
    def stylize_bytes(image_bytes: Tensor, size: Tensor, style: Tensor) -> dict[str, Tensor]:
        pictures = tf.image.convert_image_dtype(module.paint(decode(image_bytes, size), style), tf.uint8, saturate=True)
        return {BYTES: tf.map_fn(tf.io.encode_png, pictures, fn_output_signature=tf.string)}

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / STYLES_FILE
        path.write_text(json.dumps([known._asdict() for known in generator.styles], indent=1), encoding="utf-8")
        module.styles_file = tf.saved_model.Asset(str(path))
        _save(module, folder, {"stylize": stylize, "serving_default": stylize, "stylize_bytes": stylize_bytes})


def _save(module: Painter, folder: Path, signatures: dict[str, Any]) -> None:
    try:
        tf.saved_model.save(module, str(folder), signatures)
    except tf.errors.OpError as error:
        raise could_not_be_written(folder.parent, system_error(error)) from error


def save_litert(generator: Generator, path: Path, size_px: Sequence[int], numbers: str) -> None:
    """Writes one signature, image [1, H, W, 3] and style [K] → `stylized`, for pictures of one size.

    Args:
        size_px: height and width.
        numbers: those of the weights: float32, float16 or int8. The computation stays in float32 on a CPU.
    """
    module = Painter(generator)
    signature = [tf.TensorSpec([1, *size_px, 3], tf.float32, name="image"),
                 tf.TensorSpec([module.styles], tf.float32, name="style")]
    function = tf.function(lambda image, style: {PICTURE: module.paint(image, style)}, autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(*signature)], module)
    if numbers != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if numbers == "float16":
        converter.target_spec.supported_types = [tf.float16]
    # Operations of TensorFlow itself would convert too, and fail on a phone.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    path.write_bytes(converter.convert())


def difference(generator: Generator, folder: Path) -> float:
    """The largest difference of a pixel between the network and the SavedModel, in two sizes and batches.

    Raises:
        RunError: it is above the tolerance.
    """
    loaded = tf.saved_model.load(str(folder))
    worst = 0.0
    for shape in ((1, 45, 62, 3), (2, 64, 41, 3)):
        image, style = _example(shape, len(generator.styles))
        values = loaded.signatures["stylize"](image=tf.constant(image), style=tf.constant(style))[PICTURE]
        expected = _expected(generator, image, style)
        worst = max(worst, _checked(values, expected, TOLERANCES["float32"], "the SavedModel"))
    return worst


def difference_litert(generator: Generator, path: Path, size_px: Sequence[int], numbers: str) -> float:
    """The largest difference of a pixel between the network and LiteRT's interpreter (package ai-edge-litert).

    Raises:
        RunError: it is above the tolerance of these numbers.
    """
    image, style = _example((1, *size_px, 3), len(generator.styles))
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(path))
    inputs: Any = {"image" if len(detail["shape"]) == 4 else "style": detail["index"]
                   for detail in interpreter.get_input_details()}
    interpreter.allocate_tensors()
    interpreter.set_tensor(inputs["image"], image)
    interpreter.set_tensor(inputs["style"], style)
    interpreter.invoke()
    values = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return _checked(values, _expected(generator, image, style), TOLERANCES[numbers], "the LiteRT file")


def _example(shape: Sequence[int], styles: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.uniform(size=shape).astype(np.float32), random.uniform(size=styles).astype(np.float32)


def _expected(generator: Generator, image: np.ndarray, style: np.ndarray) -> Tensor:
    return paint(generator.network, generator.weights, tf.constant(image), tf.constant(style / style.sum())[None])[0]


def _checked(values: Tensor, expected: Tensor, tolerance: float, what: str) -> float:
    worst = float(np.abs(np.asarray(values) - np.asarray(expected)).max())
    if not worst <= tolerance:
        raise RunError(f"{what} gives other pictures than the network: a pixel differs by {worst:.1e}, {tolerance:.0e} "
                       "is allowed; nothing was written")
    return worst
