"""The progress bar: on a terminal one line that moves, elsewhere a plain line now and then."""

import shutil
from collections.abc import Callable
from typing import TextIO

from nst_tf.runs.cadence import every_seconds
from nst_tf.runs.progress import Progress

BAR_CHARACTERS = 24
TERMINAL_SECONDS = 0.2
PLAIN_SECONDS = 5.0


class ProgressBar:
    """Shows on `stream` how much is done, steps/s, time left, size and loss where there are such."""

    def __init__(self, stream: TextIO, now: Callable[[], float]) -> None:
        self._stream, self._now = stream, now
        self._moves = stream.isatty()
        self._is_due = every_seconds(TERMINAL_SECONDS if self._moves else PLAIN_SECONDS, now)
        self._first = (0, now())  # step and time since which the speed is measured
        self._stage: int | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self._stage:
            # The first step of a stage compiles; the speed is that of the steps after it.
            self._stage = progress.stage
            self._first = (progress.step, self._now())
        last = progress.step == progress.total_steps
        if self._is_due() or last or progress.step == 1:
            self._write(self._line(progress))

    def close(self) -> None:
        """Leaves the line on the terminal, so that what is printed next does not overwrite it."""
        if self._moves and self._stage is not None:
            self._stream.write("\n")

    def _line(self, progress: Progress) -> str:
        step, total, unit = progress.step, progress.total_steps, progress.unit
        # The speed names steps, as every line did that counts them; other units stand beside the count.
        parts = [f"{step}/{total}" if unit == "steps" else f"{step}/{total} {unit}"]
        if progress.size:
            parts.append(f"{'x'.join(map(str, reversed(progress.size)))} px")
        steps, seconds = step - self._first[0], self._now() - self._first[1]
        if steps and seconds > 0:
            parts += [f"{steps / seconds:.1f} {unit}/s", f"{_clock(progress.steps_left * seconds / steps)} left"]
        if "loss/total" in progress.losses:
            parts.append(f"loss {float(progress.losses['loss/total']):.4g}")
        text = "  ".join(parts)
        return f"{_bar(step / total, self._columns() - len(text) - 5)}{text}"[:self._columns() - 1]

    def _columns(self) -> int:
        """A line that is wider than the terminal would scroll at every update."""
        return shutil.get_terminal_size().columns if self._moves else 120

    def _write(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}" if self._moves else f"{line}\n")
        self._stream.flush()


def _bar(share: float, room: int) -> str:
    """`[####....]  `, as wide as there is room; nothing where there is hardly any."""
    length = min(BAR_CHARACTERS, room)
    filled = int(length * share)
    return f"[{'#' * filled}{'.' * (length - filled)}]  " if length > 3 else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
