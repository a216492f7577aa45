"""nst_tf: neural style transfer by optimization, in TensorFlow and Keras.

    from nst_tf import StylizeConfig, stylize

    for progress in stylize(StylizeConfig(content="photo.jpg", style=("painting.jpg",), backbone="kmeans")):
        picture = progress.picture()

For many pictures, `network = load_network(config)` once and `stylize(config, network=network)` for each: those of one
size share what is compiled.

Importing this package does not import TensorFlow; the first use of `stylize` or `load_network` does.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from nst_tf.config import StylizeConfig
from nst_tf.keras_settings import import_keras
from nst_tf.streams import open_closed_descriptors
from nst_tf.version import __version__
from nst_tf.vocabulary import RunError, UserError

if TYPE_CHECKING:
    from nst_tf.recipes.stylize.steps import load_network, stylize

# Now, before a file gets one of their numbers.
open_closed_descriptors()
# TensorFlow reads it when it is imported, and has oneDNN's kernels by itself only where the processor has instructions
# for networks (AVX512-VNNI, AMX, …). With AVX2 alone, steps of VGG19 and SqueezeNet are 1.1 times, of kmeans 1.2 times
# as fast with them (benchmarks/onednn.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__all__ = ["RunError", "StylizeConfig", "UserError", "__version__", "load_network", "stylize"]


def __getattr__(name: str) -> Any:
    if name in ("load_network", "stylize"):
        import_keras()
        return getattr(importlib.import_module("nst_tf.recipes.stylize.steps"), name)
    raise AttributeError(f"module 'nst_tf' has no attribute '{name}'")
