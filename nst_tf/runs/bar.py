"""The progress of a run: on a terminal a bar that moves, elsewhere a plain line now and then."""

from collections.abc import Callable
from datetime import timedelta
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from nst_tf.runs.estimate import Estimate, pictures
from nst_tf.runs.progress import Progress

BAR_CHARACTERS = 24
TERMINAL_SECONDS = 0.2
# Between plain lines: five seconds, in a long run more.
PLAIN_SECONDS, PLAIN_SHARE = 5.0, 1 / 20
# After so many steps a line says how long all of them take.
STEPS_BEFORE_ESTIMATE = 5


class ProgressBar:
    """Shows on `stream` how much is done, steps/s, time left, size and loss where there are such."""

    def __init__(self, stream: TextIO, now: Callable[[], float]) -> None:
        self._stream, self._now = stream, now
        # FORCE_COLOR and its like say nothing of where a cursor moves.
        console = Console(file=stream, force_terminal=stream.isatty(), soft_wrap=True)
        self._bar = RichProgress(
            BarColumn(BAR_CHARACTERS), TextColumn("{task.description}", markup=False), console=console,
            auto_refresh=False, redirect_stdout=False) if stream.isatty() and not console.is_dumb_terminal else None
        self._shown = self._last = now()
        # One for each unit: a run may count images, then steps, then sheets, then steps again.
        self._estimates: dict[str, Estimate] = {}
        self._is_told: set[str] = set()  # the units whose whole time is printed

    def __call__(self, progress: Progress) -> None:
        unit, time = progress.unit, self._now()
        estimate = self._estimates.setdefault(unit, Estimate(self._last))
        estimate.leave_out(self._last)
        estimate.add(progress.work_left, time)
        self._last = time
        left = estimate.seconds_left()
        whole = time - estimate.start + (left or 0.0)
        if left and estimate.steps >= STEPS_BEFORE_ESTIMATE and unit not in self._is_told:
            self._is_told.add(unit)
            self._print(f"nst_tf: {_whole(progress, estimate, whole)}")
        interval = TERMINAL_SECONDS if self._bar else max(PLAIN_SECONDS, PLAIN_SHARE * whole)
        if time - self._shown >= interval or progress.step in (1, progress.total_steps):
            self._shown = time
            self._show(progress, estimate.steps_per_second(), left)

    def close(self) -> None:
        """Leaves the bar on the terminal, so that what is printed next does not overwrite it."""
        if self._bar:
            self._bar.stop()

    def _show(self, progress: Progress, speed: float | None, left: float | None) -> None:
        text = _text(progress, speed, left)
        if not self._bar:
            self._print(text)
            return
        if not self._bar.tasks:
            self._bar.add_task("")
        self._bar.update(self._bar.task_ids[0], completed=progress.step, total=progress.total_steps, description=text)
        self._bar.start()  # once: later calls do nothing
        # rich hides the cursor; who suspends or kills the run would have none.
        self._bar.console.show_cursor(True)
        self._bar.refresh()

    def _print(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._stream, flush=True)


def _whole(progress: Progress, estimate: Estimate, seconds: float) -> str:
    """`about 3 min for 350 steps at 4 sizes`."""
    count = len(set(map(pictures, progress.work_left)))
    sizes = f" at {count} sizes" if count > 1 else ""
    steps = estimate.steps + sum(progress.work_left.values())
    return f"about {_rounded(seconds)} for {steps} {progress.unit}{sizes}"


def _text(progress: Progress, speed: float | None, left: float | None) -> str:
    unit = progress.unit
    # The speed names steps, as every line did that counts them; other units stand beside the count.
    parts = [f"{progress.step}/{progress.total_steps}" + f" {unit}" * (unit != "steps")]
    if progress.size:
        kind = "px" if len(progress.size) > 1 else "samples"
        parts.append(f"{'x'.join(map(str, reversed(progress.size)))} {kind}")
    if speed:
        parts.append(f"{speed:.1f} {unit}/s")
    if left is not None:
        parts.append(f"{timedelta(seconds=round(left))} left")
    if "loss/total" in progress.losses:
        parts.append(f"loss {float(progress.losses['loss/total']):.4g}")
    return "  ".join(parts)


def _rounded(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
