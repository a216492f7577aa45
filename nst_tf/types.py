"""Names of types that many modules share. No TensorFlow: what computes takes them from `tensors`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

# TensorFlow has no types.
Tensor = Any
# {layer: activations [B, *space, C]}.
Features = Mapping[str, Tensor]
Array = npt.NDArray[np.float32]
