"""The devices of this machine that measure tiles: all GPUs at once, each a tile of its own.

Sums and gradients are added on the first device, in the order of the tiles, so that they are those of one device bit
for bit where all devices are of one kind. `tf.distribute.MirroredStrategy` would copy variables that never change, and
its sums over devices have other roundings than those of one.
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import tensorflow as tf


def devices() -> list[str]:
    """The names of all GPUs that TensorFlow sees, or of its CPUs where it sees none."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def each(function: Callable[..., Any], arguments: Iterable[Sequence[Any]], names: Sequence[str]) -> Iterator[Any]:
    """`function(*a)` for each `a` of some arguments, in their order; as many at once as there are devices.

    The k-th lies and runs on device k modulo their number, whatever the function, so that results stay where they are
    needed next.
    """
    if len(names) == 1:
        yield from (function(*argument) for argument in arguments)
        return
    rest, pending = iter(arguments), deque[Future[Any]]()
    for name in itertools.cycle(names):
        with tf.device(name):
            argument = next(rest, None)
        if argument is None:
            break
        if len(pending) == len(names):
            yield pending.popleft().result()
        pending.append(_pool(len(names)).submit(_on, name, function, argument))
    while pending:
        yield pending.popleft().result()


def _on(name: str, function: Callable[..., Any], argument: Sequence[Any]) -> Any:
    with tf.device(name):
        return function(*argument)


@functools.cache
def _pool(count: int) -> ThreadPoolExecutor:
    """Threads that wait for as many devices."""
    return ThreadPoolExecutor(count, "device")
