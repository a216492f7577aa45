"""`--precision=auto`: times one block of a network in float32 and in bfloat16, once for each device and TensorFlow."""

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from nst_tf.backbones.table import Variant
from nst_tf.io.files import write_atomically
from nst_tf.runtime import quiet_stderr
from nst_tf.vocabulary import PrecisionName, RunError

# What bfloat16 must gain to be chosen: it is a little less exact.
LEAST_GAIN = 1.3
ROUNDS = 5
_CPU_INFO = Path("/proc/cpuinfo")


def decided_variant(variant: Variant) -> Variant:
    """The variant with a precision that is not `auto`."""
    if variant.precision != "auto":
        return variant
    return variant._replace(precision=fastest_precision(cache_path(), device()))


def fastest_precision(cache: Path | None, device: str) -> PrecisionName:
    """`bfloat16` where it gains `LEAST_GAIN` on this device, else `float32`; asked once, then read from `cache`."""
    known = _read(cache) if cache else {}
    key = f"{device}, TensorFlow {tf.__version__}, oneDNN {os.environ.get('TF_ENABLE_ONEDNN_OPTS', 'by default')}"
    if key not in known:
        try:
            with quiet_stderr():  # TensorFlow says there that a processor has no bfloat16: so the timing shows
                seconds = time_blocks()
            gain = seconds["float32"] / seconds["bfloat16"]
        except tf.errors.OpError:  # no such kernel on this device, or no memory left
            gain = 0.0
        known[key] = {"precision": "bfloat16" if gain >= LEAST_GAIN else "float32", "gain": round(gain, 2)}
        # A home that cannot be written costs one timing a run.
        with contextlib.suppress(RunError, OSError):
            if cache:
                cache.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(cache, (json.dumps(known, indent=2) + "\n").encode())
    return "bfloat16" if known[key]["precision"] == "bfloat16" else "float32"


def time_blocks() -> dict[str, float]:
    """{precision: seconds} of two 3×3 convolutions of 128 channels and their gradient at 96 × 96, the best of a few."""
    runs = {precision: _block(precision) for precision in ("float32", "bfloat16")}
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for precision, run in runs.items():
            start = time.perf_counter()
            run()
            best[precision] = min(best[precision], time.perf_counter() - start)
    return best


def _block(precision: str) -> Callable[[], object]:
    generator = tf.random.Generator.from_seed(0)
    x = generator.normal([1, 96, 96, 128])
    kernels = [tf.cast(generator.normal([3, 3, 128, 128], stddev=0.04), precision) for _ in range(2)]

    @tf.function(autograph=False)
    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cast(x, precision)
            for kernel in kernels:
                y = tf.nn.relu(tf.nn.conv2d(y, kernel, 1, "SAME"))
            loss = tf.reduce_sum(tf.square(tf.cast(y, tf.float32)))
        return tape.gradient(loss, x)

    gradient(x)
    return lambda: gradient(x).numpy()


def cache_path() -> Path | None:
    """`~/.cache/nst_tf/precision.json`, or under `$XDG_CACHE_HOME`; None for a user without a home."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return folder / "nst_tf/precision.json" if folder.is_absolute() else None


def device() -> str:
    """The device that computes: the names of the GPUs, or the type of the CPU and how many cores there are."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return ", ".join(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus)
    # Processors of one name differ in what they can compute, which their family and model tell.
    kept = ("model name", "cpu family", "model", "stepping")
    with contextlib.suppress(OSError):
        facts = dict(line.split(":", 1) for line in _CPU_INFO.read_text(encoding="utf-8").splitlines() if ":" in line)
        stripped = {name.strip(): value.strip() for name, value in facts.items()}
        if found := [stripped[name] for name in kept if name in stripped]:
            return f"{' '.join(found)}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _read(cache: Path) -> dict[str, dict[str, str | float]]:
    """What `fastest_precision` kept; nothing where the file is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads(cache.read_text(encoding="utf-8"))
        return {key: entry for key, entry in known.items() if entry.get("precision") in ("float32", "bfloat16")}
    return {}
