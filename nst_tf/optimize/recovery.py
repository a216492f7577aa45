"""Where a descent goes back to when a loss or a gradient is not finite. No TensorFlow."""

from typing import Generic, TypeVar

# After so many failures in a row a descent is lost.
MOST_IN_A_ROW = 3
# What the step size is multiplied by after each.
SHRINK = 0.5

S = TypeVar("S")


class Recovery(Generic[S]):
    """Remembers the newest state that is known to be good, and counts failures in a row.

    The picture that a step makes is evaluated by the next one. Evaluated again it fails again. So where a step fails,
    its descent goes back to the state from which the step before began, and takes another way from there.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self._good: S | None = None
        self._farthest = 0  # the step that has failed, which another way has to pass

    @property
    def is_lost(self) -> bool:
        """Whether the descent has failed too often."""
        return self.in_a_row >= MOST_IN_A_ROW

    def succeed(self, step: int, state: S | None = None) -> None:
        """Takes note that a step was finite, and of the state from which it began, if one may go back to it."""
        self._good = state
        if step >= self._farthest:
            self.in_a_row = 0

    def fail(self, step: int, state: S) -> S:
        """Returns where to go back to when a step from `state` was not finite; `state` where none before is known."""
        self.in_a_row += 1
        self._farthest = max(step, self._farthest)
        good, self._good = self._good, None
        return state if good is None else good
