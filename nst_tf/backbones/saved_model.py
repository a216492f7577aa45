"""An exported extractor, loaded again: a SavedModel of `recipes/export` as a backbone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.saved_model_facts import SAVED_MODEL, Facts
from nst_tf.tensors import Tensor
from nst_tf.vocabulary import UserError


IMAGE = tf.TensorSpec([None, None, None, 3], tf.float32, name="image")


class LoadedNetwork:
    """Some layers of an exported network, called and counted as a `keras.Model` is."""

    def __init__(self, loaded: Any, deepest: str, layers: Sequence[str]) -> None:
        # Kept whole: its variables are gone when it is.
        self._loaded = loaded
        self._deepest = deepest
        self._layers = tuple(layers)

    def __call__(self, image: Tensor, training: bool = False) -> Mapping[str, Tensor]:
        features = self._loaded.features_up_to(tf.convert_to_tensor(image, tf.float32), self._deepest)
        return {layer: features[layer] for layer in self._layers}

    def count_params(self) -> int:
        """How many numbers the network holds, up to its deepest layer."""
        variables = self._loaded.features_up_to.get_concrete_function(IMAGE, self._deepest).variables
        return sum(math.prod(variable.shape) for variable in variables)


def load_extractor(folder: str, facts: Facts, layers: Sequence[str]) -> Extractor:
    """The extractor of some layers of an exported network; what lies deeper than all of them is not computed.

    A signature would compute every exported layer: TensorFlow differentiates a loaded function as a whole. The export
    therefore holds one function for each depth, `features_up_to(image, layer)`.

    A SavedModel is a program, which runs when it is called: load only those that you trust.

    Raises:
        UserError: the SavedModel is damaged.
    """
    names = [layer.name for layer in facts.layers]
    deepest = max(layers, key=names.index, default=names[0])
    try:
        loaded = tf.saved_model.load(folder)
        features = loaded.features_up_to.get_concrete_function(IMAGE, deepest).structured_outputs
        if not set(layers) <= set(features):
            raise ValueError(f"it gives no {', '.join(set(layers) - set(features))}")
    except Exception as error:  # TensorFlow raises almost anything on a damaged or foreign SavedModel.
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--backbone={SAVED_MODEL}{folder} cannot be loaded ({reason}): export the model "
                        "again") from None
    return Extractor(LoadedNetwork(loaded, deepest, layers), facts.mean_color)
