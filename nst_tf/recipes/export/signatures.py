"""The SavedModel of an extractor: its signatures, its functions for each depth, and the check of what was written."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.saved_model import IMAGE
from nst_tf.backbones.saved_model_facts import FACTS_FILE, Facts, to_json
from nst_tf.io.files import could_not_be_written, system_error
from nst_tf.losses.moments import Moments, mean, total_weight
from nst_tf.tensors import Tensor, positions
from nst_tf.vocabulary import RunError

# Largest difference between the network and its export, as a share of a layer's largest value.
TOLERANCE = 1e-5
# TensorFlow Serving takes {"b64": …} for inputs whose names end in _bytes.
IMAGE_BYTES = tf.TensorSpec([None], tf.string, name="image_bytes")
SIZE = tf.TensorSpec([2], tf.int32, name="size")


def decode(image_bytes: Tensor, size: Tensor) -> Tensor:
    """Files as pictures of one size: Lanczos resampling (3 lobes, widened when it shrinks), as `images.resize`.

    Unlike `images.load` it applies neither EXIF orientation nor color profiles, and drops transparency.

    Args:
        image_bytes: string [B], JPEG or PNG files.
        size: int32 [2], height and width.
    Returns:
        float32 [B, height, width, 3] in [0, 1].
    """
    def decode_one(data: Tensor) -> Tensor:
        # The kernel reads PNG too; the accurate transform is what Pillow uses.
        picture = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        picture = tf.cast(picture, tf.float32) / 255.0
        return tf.clip_by_value(tf.image.resize(picture, size, "lanczos3", antialias=True), 0.0, 1.0)

    return tf.map_fn(decode_one, image_bytes, fn_output_signature=tf.TensorSpec([None, None, 3], tf.float32))


def save(extractor: Extractor, facts: Facts, folder: Path) -> None:
    """Writes the SavedModel into a folder that is empty.

    Signatures: `features` (also `serving_default`), `gram` and `features_from_bytes`, each of which answers
    {layer: tensor} under the layers' own names (a signature's key may hold any character). Beside them one function
    for each depth, `features_up_to(image, layer)`, since a signature always computes every layer.

    Raises:
        RunError: the disk is full or refuses.
    """
    model = extractor.model
    layers = [layer.name for layer in facts.layers]
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    module.features_up_to = _features_up_to(model, layers)

    @tf.function(autograph=False, input_signature=[IMAGE])
    def features(image: Tensor) -> dict[str, Tensor]:
        return dict(extractor(image))

    @tf.function(autograph=False, input_signature=[IMAGE])
    def gram(image: Tensor) -> dict[str, Tensor]:
        return {layer: _gram(F) for layer, F in extractor(image).items()}

    @tf.function(autograph=False, input_signature=[IMAGE_BYTES, SIZE])
    def features_from_bytes(image_bytes: Tensor, size: Tensor) -> dict[str, Tensor]:
        return dict(extractor(decode(image_bytes, size)))

    signatures = {"features": features, "serving_default": features, "gram": gram,
                  "features_from_bytes": features_from_bytes}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / FACTS_FILE
        path.write_text(to_json(facts), encoding="utf-8")
        module.facts = tf.saved_model.Asset(str(path))
        try:
            tf.saved_model.save(module, str(folder), signatures,
                                tf.saved_model.SaveOptions(experimental_custom_gradients=True))
        except tf.errors.OpError as error:
            raise could_not_be_written(folder.parent, system_error(error)) from error


def _gram(F: Tensor) -> Tensor:
    """Σ_p F_p F_pᵀ / positions, [B, C, C]: the values of `mean(measure_gram(F))` with TensorFlow's own gradient.

    The gradient of `gram_sum` reads F, and a SavedModel holds only gradients that read no tensors (`with_gradient`).
    """
    flat = positions(F)
    return mean(Moments((tf.matmul(flat, flat, transpose_a=True),), total_weight(F, None)))[0]


def differences(extractor: Extractor, facts: Facts, folder: Path) -> dict[str, float]:
    """{layer: largest difference between the network and what was written, as a share of the layer's largest value}.

    Raises:
        RunError: one is above `TOLERANCE`.
    """
    loaded = tf.saved_model.load(str(folder))
    worst = dict.fromkeys((layer.name for layer in facts.layers), 0.0)
    smallest_px = max(layer.smallest_side_px for layer in facts.layers)
    for shape in ((1, smallest_px + 16, smallest_px + 23, 3), (2, smallest_px + 38, smallest_px + 11, 3)):
        image = np.random.default_rng(facts.seed).uniform(size=shape).astype(np.float32)
        values = loaded.signatures["features"](image=tf.constant(image))
        of_shape = checked_differences(values, extractor(image), TOLERANCE, "the SavedModel")
        worst = {layer: max(worst[layer], of_shape[layer]) for layer in worst}
    return worst


def checked_differences(values: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float,
                        what: str) -> dict[str, float]:
    """{layer: max |a − b| / max |b|} for activations a and what they should be, b.

    Raises:
        RunError: a layer differs by more than `tolerance`, or has an activation that is not a number.
    """
    differences = {}
    for layer, tensor in expected.items():
        b = np.asarray(tensor)
        difference = float(np.abs(np.asarray(values[layer]) - b).max() / max(float(np.abs(b).max()), 1e-30))
        if not difference <= tolerance:
            raise RunError(f"{what} gives other values than the network: layer {layer} differs by {difference:.1e} of "
                           f"its largest value, {tolerance:.0e} is allowed; nothing was written")
        differences[layer] = difference
    return differences


def _features_up_to(model: keras.Model, layers: Sequence[str]) -> Callable[..., Any]:
    """One traced function for each depth: (image, layer) → {every exported layer up to this one: activations}."""
    cuts = {layer: keras.Model(model.inputs[0], {name: model.output[name] for name in layers[:index + 1]})
            for index, layer in enumerate(layers)}

    @tf.function(autograph=False)
    def features_up_to(image: Tensor, layer: str) -> dict[str, Tensor]:
        return dict(cuts[layer](image, training=False))

    for layer in layers:
        features_up_to.get_concrete_function(IMAGE, layer)
    return features_up_to
