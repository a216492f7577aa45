"""How a run is asked to stop: by an object, from any thread, or by a signal."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Stop:
    """Asks a run to finish its step, to store what is done and to end. Safe to use from any thread."""

    def __init__(self) -> None:
        # One assignment, which is atomic. A lock could be held by the very thread that a signal interrupts.
        self._signal: int | None = None
        self.hears_signals = False  # while `stop_signals` listens for it

    def request(self, number: int = signal.SIGINT) -> None:
        """Asks for the stop; `number` is the signal that the exit status tells of. The first request counts."""
        if self._signal is None:
            self._signal = int(number)

    @property
    def is_requested(self) -> bool:
        """Whether the run shall stop."""
        return self._signal is not None

    @property
    def status(self) -> int:
        """The exit status of a stopped run: 130 for Ctrl-C and for `request()`, 143 for SIGTERM."""
        return 128 + (self._signal or 0)


@contextmanager
def stop_signals(stop: Stop) -> Iterator[None]:
    """Ctrl-C and SIGTERM request the stop instead of killing; the second one kills. Only in the main thread.

    A run inside of a run, with the same stop, leaves the signals to the outer one.
    """
    if stop.hears_signals or threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, frame: Any) -> None:
        restore()
        stop.request(number)
        # No print: the signal may have interrupted one, and Python's buffers are not reentrant.
        with suppress(OSError):
            os.write(2, b"\nnst_tf: finishing the step; once more to stop at once\n")

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, receive)
    stop.hears_signals = True
    try:
        yield
    finally:
        stop.hears_signals = False
        restore()
