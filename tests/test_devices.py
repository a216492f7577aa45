"""Tiles on several devices of one machine: equal to one device, bit for bit."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import tensorflow as tf

from nst_tf.optimize.devices import devices, each

from .commands import ROOT


def test_results_come_in_order_from_as_few_arguments_as_there_are_devices() -> None:
    taken = []

    def arguments() -> Iterator[tuple[int]]:
        for k in range(7):
            taken.append(k)
            yield (k,)

    found = each(lambda k: (k, len(taken)), arguments(), ["/CPU:0", "/CPU:0", "/CPU:0"])
    assert next(found)[0] == 0 and len(taken) <= 4
    assert [k for k, _ in found] == [1, 2, 3, 4, 5, 6]


def test_an_error_on_a_device_is_raised() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(each(lambda x: tf.matmul(x, x), [(tf.ones((2, 3)),)] * 3, ["/CPU:0", "/CPU:0"]))


def test_one_processor_is_one_device() -> None:
    assert len(devices()) == 1


_PROGRAM = """
import numpy as np, tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
from nst_tf.config import StylizeConfig
from nst_tf.optimize.devices import each
from nst_tf.recipes.stylize import tiled
from nst_tf.recipes.stylize.steps import stylize

all_devices, used = tiled.devices(), set()

def told(function, arguments, names):
    for result in each(function, arguments, names):
        used.update(tensor.device[-5:] for tensor in tf.nest.flatten(result))
        yield result

tiled.each = told
ends = []
for names in (all_devices[:1], all_devices):
    tiled.devices = lambda: names
    used.clear()
    config = StylizeConfig(content="samples/coast.jpg", style=("samples/swirls.jpg",), size=220, min_size=220, steps=2,
                           backbone="squeezenet1_1", weights="random", precision="float32", tile="128", motif_size=100,
                           color="luminance")
    for progress in stylize(config):
        pass
    assert len(used) == len(names), used
    ends.append(progress.state)
for one, several in zip(tf.nest.flatten(ends[0]), tf.nest.flatten(ends[1]), strict=True):
    np.testing.assert_array_equal(one, several)
"""


@pytest.mark.slow
def test_runs_on_three_devices_are_those_of_one() -> None:
    """Devices of a processor are told to TensorFlow before it starts: a process of its own."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
