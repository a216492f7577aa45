"""The standard streams of this process: whatever becomes of them, the work goes on."""

import contextlib
import io
import os
import select
import sys
from typing import Any


def open_closed_descriptors() -> None:
    """Opens the null device in place of those of the file descriptors 0, 1 and 2 that the caller has closed.

    The next file to be opened would get their number, and TensorFlow's log lines, which go to 2, would land in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one. Processes that this one starts have it too, like any standard stream.
            with contextlib.suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def outlive_readers() -> None:
    """Lets all that is printed from now on get lost, instead of failing, where it cannot be written.

    The reader may be gone, the terminal closed, the disk full. Streams that a caller has put in place are left alone.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and (stream is None or isinstance(_raw(stream), io.FileIO)):
            setattr(sys, name, _lasting(number, stream))


def open_log(path: str | os.PathLike[str]) -> io.TextIOWrapper:
    """Opens a log that goes on at its end, and that loses, instead of failing, what a full disk does not take."""
    return io.TextIOWrapper(io.BufferedWriter(_Lasting(path, "a")), encoding="utf-8", errors="backslashreplace")


class _Lasting(io.FileIO):
    """A file descriptor that drops what it cannot write."""

    def write(self, data: Any) -> int:
        try:
            # A pipe that is full and does not wait by itself writes None.
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError:
            return len(data)
        return written


def _raw(stream: Any) -> Any:
    return getattr(stream.buffer, "raw", stream.buffer)


def _lasting(number: int, stream: Any) -> io.TextIOWrapper:
    """A stream like Python's own; `stream` is None where the descriptor was closed when Python started."""
    file = io.BufferedWriter(_Lasting(number, "w", closefd=False))
    if stream is None:
        return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", line_buffering=True)
    # Python's stdout refuses letters that its encoding lacks, such as those of a file's name.
    errors = "backslashreplace" if stream.errors == "strict" else stream.errors
    return io.TextIOWrapper(file, encoding=stream.encoding, errors=errors,
                            line_buffering=stream.line_buffering or stream.write_through)
