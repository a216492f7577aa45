"""The state of a run of the loop, as arrays too. No TensorFlow, so that readers need none."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from nst_tf.strips import Rows, by_rows
from nst_tf.types import Array, Tensor


class State(NamedTuple):
    """All that the next step depends on, so that a run can stop and go on bit for bit.

    Random numbers are functions of seed and step (see `jitter`), so there is no generator to keep.
    """

    step: int                  # steps done, over all stages
    stage: int                 # index of the stage
    stage_step: int            # steps done in this stage
    parameters: Tensor         # θ, what is optimized; where --canvas=pixels the image [1, H, W, 3] in [0, 1]
    average: Tensor            # [1, H, W, 3]: running average of the images, not yet corrected for its start at 0
    average_weight: float      # Σ of the weights in `average`, 1 − βᵗ
    slots: tuple[Tensor, ...]  # the optimizer's state
    rate_share: float = 1.0    # of the learning rate; less after a step that was not finite (see `recovery`)


def to_arrays(state: State) -> dict[str, np.ndarray]:
    """The state as named arrays, which `from_arrays` reads."""
    tensors = {"parameters": state.parameters, "average": state.average}
    tensors |= {f"slot_{index}": slot for index, slot in enumerate(state.slots)}
    numbers = {"step": state.step, "stage": state.stage, "stage_step": state.stage_step,
               "average_weight": state.average_weight, "rate_share": state.rate_share}
    return {name: np.asarray(value) for name, value in {**tensors, **numbers}.items()}


def from_arrays(values: Mapping[str, np.ndarray], keep: Callable[[Array], Tensor] = np.asarray) -> State:
    """The state that `to_arrays` wrote.

    Args:
        keep: makes of each large array what the state keeps of it, before the next one is read.
    Raises:
        KeyError, ValueError, TypeError, OverflowError: the arrays are not those of a state.
    """
    slots = sorted((name for name in values if name.startswith("slot_")), key=lambda name: int(name[5:]))
    names = ("parameters", "average", *slots)
    parameters, average, *rest = (keep(np.asarray(values[name], np.float32)) for name in names)
    step, stage, stage_step = (int(values[name]) for name in ("step", "stage", "stage_step"))
    # Older versions wrote none.
    rate_share = float(values.get("rate_share", 1.0))
    if not 0.0 < rate_share <= 1.0:
        raise ValueError("no share")
    return State(step, stage, stage_step, parameters, average, float(values["average_weight"]), tuple(rest), rate_share)


def averaged(state: State) -> Array:
    """Bias-corrected average of the iterates, x̄ = a / (1 − βᵗ): calmer than any single iterate. [B, H, W, 3].

    Where the optimizer's β is 0, the last image alone.

    Source: Polyak and Juditsky 1992; as an exponential average with Adam's correction in crowsonkb.
    """
    return _unbiased(np.asarray(state.average), state.average_weight)


def average_of(state: State) -> Array:
    """`averaged` of what has no bounds, such as the weights of a network."""
    average: Array = np.asarray(state.average, np.float32) / np.float32(state.average_weight)
    return average


def averaged_rows(state: State) -> Rows:
    """The first picture of `averaged`, [H, W, 3], strip by strip."""
    return by_rows(lambda strip: _unbiased(strip, state.average_weight), np.asarray(state.average)[0])


def _unbiased(average: Array, weight: float) -> Array:
    return np.clip(average / np.float32(weight), 0, 1)
