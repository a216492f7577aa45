"""The table of optimizers."""

from collections.abc import Callable
from typing import NamedTuple

from nst_tf.optimize.adam import AVERAGE_DECAY, adam_init, adam_update
from nst_tf.optimize.lbfgs import Search, is_refused, lbfgs_init, lbfgs_update
from nst_tf.tensors import Tensor

Slots = tuple[Tensor, ...]
Projection = Callable[[Tensor], Tensor]


class Optimizer(NamedTuple):
    """An optimizer as pure functions with explicit state.

    `init(x) -> slots`; `update(x, value, g, slots, t, learning_rate, project) -> (x, slots)` from J and its gradient at
    x, t counted from 1; the new x is the next point to evaluate, and the loop projects it. `slots` are float32
    tensors; together with x and t they are all that the next update depends on. `answer(x, slots)` is the best that is
    known after an update, and `is_refused(x, slots)` whether that is another point than the x that was updated.

    What is shown is the average of the answers with decay `average_decay`; 0 shows the last one alone.
    """

    init: Callable[[Tensor], Slots]
    update: Callable[[Tensor, Tensor, Tensor, Slots, Tensor, Tensor, Projection], tuple[Tensor, Slots]]
    answer: Callable[[Tensor, Slots], Tensor]
    is_refused: Callable[[Tensor, Slots], bool]
    average_decay: float


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(adam_init, adam_update, lambda x, slots: x, lambda x, slots: False, AVERAGE_DECAY),
    # An average would mix in older points, which are all worse: accepted values never rise.
    "lbfgs": Optimizer(lbfgs_init, lbfgs_update, lambda x, slots: Search(*slots).point, is_refused, 0.0),
}
