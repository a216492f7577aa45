"""The progress bar: on a terminal one line that moves, elsewhere a plain line now and then."""

import shutil
from collections.abc import Callable
from typing import TextIO

from nst_tf.optimize.state import Progress
from nst_tf.track.cadence import every_seconds

BAR_CHARACTERS = 24
TERMINAL_SECONDS = 0.2
PLAIN_SECONDS = 5.0


class ProgressBar:
    """Shows steps, steps/s, time left and loss on `stream`."""

    def __init__(self, stream: TextIO, now: Callable[[], float]) -> None:
        self._stream, self._now = stream, now
        self._moves = stream.isatty()
        self._is_due = every_seconds(TERMINAL_SECONDS if self._moves else PLAIN_SECONDS, now)
        self._first = (0, now())  # step and time since which the speed is measured
        self._stage = -1

    def __call__(self, progress: Progress) -> None:
        if progress.state.stage != self._stage:
            # The first step of a stage compiles; the speed is that of the steps after it.
            self._stage = progress.state.stage
            self._first = (progress.state.step, self._now())
        last = progress.state.step == progress.total_steps
        if self._is_due() or last or progress.state.step == 1 or (progress.ends_stage and not self._moves):
            self._write(self._line(progress))

    def close(self) -> None:
        """Leaves the line on the terminal, so that what is printed next does not overwrite it."""
        if self._moves and self._stage >= 0:
            self._stream.write("\n")

    def _line(self, progress: Progress) -> str:
        state, total = progress.state, progress.total_steps
        height, width = state.average.shape[1:3]
        parts = [f"{state.step}/{total}", f"{width}x{height} px"]
        steps, seconds = state.step - self._first[0], self._now() - self._first[1]
        if steps and seconds > 0:
            # A step takes as long as it has pixels, so that later, larger stages are not underestimated.
            steps_left = progress.pixel_steps_left / (height * width)
            parts += [f"{steps / seconds:.1f} steps/s", f"{_clock(steps_left * seconds / steps)} left"]
        text = "  ".join([*parts, f"loss {float(progress.losses['loss/total']):.4g}"])
        return f"{_bar(state.step / total, self._columns() - len(text) - 5)}{text}"[:self._columns() - 1]

    def _columns(self) -> int:
        """A line that is wider than the terminal would scroll at every update."""
        return shutil.get_terminal_size().columns if self._moves else 120

    def _write(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}" if self._moves else f"{line}\n")
        self._stream.flush()


class CountBar:
    """Shows on `stream` how many of a known number of things are done; some may have been done before."""

    def __init__(self, stream: TextIO, now: Callable[[], float], total: int, done: int, unit: str) -> None:
        self._stream, self._now, self._total, self._unit = stream, now, total, unit
        self._moves = stream.isatty()
        self._is_due = every_seconds(TERMINAL_SECONDS if self._moves else PLAIN_SECONDS, now)
        self._first = (done, now())

    def __call__(self, done: int) -> None:
        if self._is_due() or done == self._total:
            done_here, seconds = done - self._first[0], self._now() - self._first[1]
            parts = [f"{done}/{self._total} {self._unit}"]
            if done_here and seconds > 0:
                speed = done_here / seconds
                parts += [f"{speed:.1f} {self._unit}/s", f"{_clock((self._total - done) / speed)} left"]
            columns = shutil.get_terminal_size().columns if self._moves else 120
            line = "  ".join(parts)
            line = f"{_bar(done / self._total, columns - len(line) - 5)}{line}"[:columns - 1]
            self._stream.write(f"\r\x1b[K{line}" if self._moves else f"{line}\n")
            self._stream.flush()

    def close(self) -> None:
        """Leaves the line on the terminal."""
        if self._moves:
            self._stream.write("\n")


def _bar(share: float, room: int) -> str:
    """`[####....]  `, as wide as there is room; nothing where there is hardly any."""
    length = min(BAR_CHARACTERS, room)
    filled = int(length * share)
    return f"[{'#' * filled}{'.' * (length - filled)}]  " if length > 3 else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
