"""What one process measures of a step: its time, that of its operations, and its convolutions alone.

`step_ratio` and `where_time_goes` run this file by path, with PYTHONPATH at the checkout that they measure: it imports
no other benchmark. The operations are those of TensorFlow's profiler, whose file a module of TensorFlow's own package
reads. (The `RunMetadata` of a compiled function stays empty in TensorFlow 2.21.) The profiler tells no shapes: those of
the convolutions are read from the traced step.
"""

import gc
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

WARM_UP_STEPS = 2
FORWARD, BACKWARD = "Conv2D", "Conv2DBackpropInput"
# The kind of an operation: the first whose pattern fits its type, without the "_MklNative" and "Fused" of oneDNN's.
KINDS = {
    "forward": r"Conv2D|Conv1D|Conv3D",
    "backward": r"Conv\dDBackpropInput\w*",
    "products": r"\w*MatMul\w*",
    "depthwise": r"DepthwiseConv2dNative",
    "depthwise backward": r"DepthwiseConv2dNativeBackprop\w+",
    "ReluGrad": r"\w*[Rr]eluGrad",
    "casts": r"Cast",
    "elementwise": r"Add|AddN|AddV2|BiasAdd|Mul|Square|SquaredDifference|Sub|RealDiv|DivNoNan|Maximum|Minimum|Neg|"
                   r"Sqrt|Rsqrt|R?[Ss]qrtGrad|Abs|Sign|Exp|Log|Pow|Relu|Elu|Select\w*|Greater\w*|Less\w*|Logical\w+",
    "pools": r"\w*(Max|Avg)Pool\w*",
    "pads": r"\w*Pad(V2|Grad)?|ReverseV2|Reverse",
    "einsum": r"Einsum|Transpose|Resize\w+",
    "rest": r"\w+",
}
# What runs others is no time of its own.
CALLS = re.compile(r"(Stateful)?PartitionedCall|(Stateless)?(While|If|Case)|XlaLaunch")
MATRIX_SIDE, COPY_BYTES = 2048, 2**28


class Convolution(NamedTuple):
    """One convolution of a traced step; equal ones share their tensors."""

    kind: str                 # FORWARD or BACKWARD
    dtype: str
    input: tuple[int, ...]    # [B, H, W, C] of what the forward convolution reads
    filters: tuple[int, ...]  # [h, w, C, D]
    output: tuple[int, ...]   # [B, H', W', D]
    attributes: tuple[tuple[str, Any], ...]

    def flop(self) -> int:
        """2 · B H' W' D · h w C: multiplications and additions, as many forward as by the input."""
        return 2 * int(np.prod(self.output)) * int(np.prod(self.filters[:3]))


def kind_of(operation: str) -> str:
    """The kind of an operation's type.

    >>> kind_of("_MklNativeFusedConv2D"), kind_of("_MklBatchMatMulV2"), kind_of("ReluGrad"), kind_of("Tile")
    ('forward', 'products', 'ReluGrad', 'rest')
    """
    plain = re.sub(r"^_*(Mkl)?(Native)?(Fused)?", "", operation)
    return next(kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, plain))


def operation_times(take_step: Callable[[], object], steps: int) -> dict[str, tuple[float, int]]:
    """{type of operation: (thread-milliseconds, executions) a step}, of profiled steps."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        for _ in range(steps):
            take_step()
        tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return {name: (picoseconds / 1e9 / steps, round(count / steps))
                for name, (picoseconds, count) in added_events(path.read_bytes()).items()}


def added_events(profile: bytes) -> dict[str, tuple[int, int]]:
    """{type of operation: (picoseconds, events)} over the threads of the host. An event's name is `NODE:TYPE`."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(profile)
    picoseconds, events = Counter[str](), Counter[str]()
    for plane in space.planes:
        if not plane.name.startswith("/host:CPU"):
            continue
        for event in (event for line in plane.lines for event in line.events):
            named = re.fullmatch(r"[^:]*:(_?[A-Z]\w*)", plane.event_metadata[event.metadata_id].name)
            if named and not CALLS.fullmatch(named[1]):
                picoseconds[named[1]] += event.duration_ps
                events[named[1]] += 1
    return {name: (picoseconds[name], events[name]) for name in picoseconds}


def traced_convolutions() -> list[Convolution]:
    """Those of the largest function that has been traced with a gradient: the step."""
    from tensorflow.python.framework.func_graph import FuncGraph

    found = (convolutions_of(thing) for thing in gc.get_objects() if type(thing) is FuncGraph)
    return max((all_ for all_ in found if any(of.kind == BACKWARD for of in all_)), key=len)


def convolutions_of(graph: Any) -> list[Convolution]:
    """Those of a traced function that run."""
    return [_convolution(operation) for operation in _live(graph) if operation.type in (FORWARD, BACKWARD)]


def _live(graph: Any) -> list[Any]:
    """The operations that a result of the function depends on, in order; TensorFlow drops the others."""
    live, found = set(), [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    while found:
        operation = found.pop()
        if operation not in live:
            live.add(operation)
            found += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return [operation for operation in graph.get_operations() if operation in live]


def _convolution(operation: Any) -> Convolution:
    first, filters = (tuple(tensor.shape) for tensor in operation.inputs[:2])
    output, dtype = tuple(operation.outputs[0].shape), operation.outputs[0].dtype.name
    if operation.type == BACKWARD:
        first, output = output, tuple(operation.inputs[2].shape)
    names = ("strides", "padding", "explicit_paddings", "dilations")
    values = (operation.get_attr(name) for name in names)
    return Convolution(operation.type, dtype, first, filters, output, tuple(
        (name, value.decode() if isinstance(value, bytes) else tuple(value)) for name, value in zip(names, values)))


def alone_ms(convolutions: Sequence[Convolution], seconds: float) -> float:
    """The milliseconds of convolutions that run one after another on all cores, nothing beside them."""
    import tensorflow as tf

    if not convolutions:
        return 0.0
    tensors = {(shape, of.dtype): tf.cast(tf.random.stateless_normal(shape, (0, 0)), of.dtype)
               for of in convolutions for shape in (of.input, of.filters, of.output)}

    def run(tensors: dict[Any, Any]) -> Any:
        read = [tf.constant(0.0)]
        for of in convolutions:
            attributes = {name: list(value) if isinstance(value, tuple) else value.encode()
                          for name, value in of.attributes}
            filters = tensors[of.filters, of.dtype]
            # The order is by dependency. A value of each is read, else TensorFlow would drop it.
            with tf.control_dependencies(read[-1:]):
                if of.kind == FORWARD:
                    result = tf.raw_ops.Conv2D(input=tensors[of.input, of.dtype], filter=filters, **attributes)
                else:
                    result = tf.raw_ops.Conv2DBackpropInput(
                        input_sizes=of.input, filter=filters, out_backprop=tensors[of.output, of.dtype], **attributes)
                read.append(tf.cast(result[0, 0, 0, 0], tf.float32))
        return tf.stack(read)

    names = {key: str(index) for index, key in enumerate(tensors)}
    compiled = tf.function(lambda named: run({key: named[name] for key, name in names.items()}))
    given = {names[key]: tensor for key, tensor in tensors.items()}
    return median_ms(lambda: compiled(given).numpy(), seconds)


def median_ms(work: Callable[[], object], seconds: float) -> float:
    """The median of the calls of so many seconds, after another call."""
    work()
    return float(np.median(list(timed(work, seconds)))) * 1e3


def timed(work: Callable[[], object], seconds: float) -> Iterator[float]:
    """The seconds of calls, one at least, until so many have passed."""
    begin = end = time.perf_counter()
    while end == begin or end - begin < seconds:
        start = time.perf_counter()
        work()
        end = time.perf_counter()
        yield end - start


def started(settings: dict[str, Any]) -> Callable[[], None]:
    """What takes one step of `stylize` and waits for its end; the first ones are taken."""
    import nst_tf

    run = nst_tf.stylize(nst_tf.StylizeConfig(**settings))

    def take_step() -> None:
        float(next(run).losses["loss/total"])

    for _ in range(WARM_UP_STEPS):
        take_step()
    return take_step


def answer_turns(settings: dict[str, Any]) -> None:
    """Says what it measures, then, for each line of stdin, how long a step takes: the median of so many seconds."""
    import nst_tf

    take_step = started(settings)
    print(json.dumps({"source": nst_tf.__file__, "precision": traced_convolutions()[0].dtype}), flush=True)
    for line in sys.stdin:
        print(json.dumps(float(np.median(list(timed(take_step, float(line)))))), flush=True)


def step_profile(settings: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What is measured of the step of one size that the settings of a `StylizeConfig` make.

    Args:
        seconds: for how long it takes steps; a third of it under the profiler and for the convolutions of each kind.
    """
    take_step = started(settings)
    walls = list(timed(take_step, seconds))
    times = operation_times(take_step, max(2, len(walls) // 3))
    kinds, ran = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0)
    for name, (milliseconds, count) in times.items():
        kinds[kind_of(name)] += milliseconds
        ran[kind_of(name)] += count
    convolutions = traced_convolutions()
    halves = [[of for of in convolutions if of.kind == kind] for kind in (FORWARD, BACKWARD)]
    return {"precision": convolutions[0].dtype, "wall_ms": float(np.median(walls)) * 1e3, "kinds": kinds,
            "operations": times,
            "floor_ms": [alone_ms(half, seconds / 3) for half in halves],
            "gflop": sum(of.flop() for of in convolutions) / 1e9,
            "ran": [ran["forward"], ran["backward"]], "traced": [len(half) for half in halves]}


def roofline() -> dict[str, float]:
    """Matrix products in GFLOP/s by precision, and a copy in GB/s, read and written."""
    import nst_tf  # noqa: F401  Before TensorFlow, which reads what it switches on.
    import tensorflow as tf

    found = {}
    product = tf.function(tf.matmul)
    for name in ("float32", "bfloat16"):
        matrix = tf.cast(tf.random.stateless_normal([MATRIX_SIDE, MATRIX_SIDE], (0, 0)), name)
        # Reading one value of the product waits for it.
        found[name] = 2e-6 * MATRIX_SIDE**3 / median_ms(lambda: product(matrix, matrix)[0, 0].numpy(), 1.0)
    cores = os.cpu_count() or 1
    source, target = (np.ones([cores, COPY_BYTES // cores], np.uint8) for _ in range(2))
    with ThreadPoolExecutor(cores) as pool:
        found["copy"] = 2e-6 * source.nbytes / median_ms(lambda: list(pool.map(np.copyto, target, source)), 1.0)
    return found


if __name__ == "__main__":
    work, arguments = sys.argv[1], json.loads(sys.argv[2])
    if work == "turns":
        answer_turns(**arguments)
    else:
        found = step_profile(**arguments) if work == "profile" else roofline()
        print(json.dumps(found), flush=True)
