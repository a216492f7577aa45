"""What the loop tells: the state of a run and the progress of a step. No TensorFlow, so that readers need none."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

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


class Progress(NamedTuple):
    """What one step tells its readers. Tensors are read only by those who want them."""

    state: State
    total_steps: int
    losses: Mapping[str, Tensor]  # by TensorBoard tag, of the point that this step evaluated or kept
    ends_stage: bool
    pixel_steps_left: int         # Σ over the steps to come of the pixels of each: the work that is left
    finish: Callable[[Array], Array] = lambda picture: picture  # the last touches, at any size
    details: Callable[[], Mapping[str, Tensor]] = dict  # further losses by tag, evaluated when a row is logged

    def picture(self) -> Array:
        """The averaged image so far, finished: float32 [H, W, 3] in [0, 1], [H, W, 4] where the photo has alpha."""
        return self.finish(averaged(self.state)[0])


def averaged(state: State) -> Array:
    """Bias-corrected average of the iterates, x̄ = a / (1 − βᵗ): calmer than any single iterate. [1, H, W, 3].

    Where the optimizer's β is 0, the last image alone.

    Source: Polyak and Juditsky 1992; as an exponential average with Adam's correction in crowsonkb.
    """
    return np.clip(np.asarray(state.average) / np.float32(state.average_weight), 0, 1)
