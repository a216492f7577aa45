"""`--precision=auto`: times the network at hand in float32 and in bfloat16, once for each device and TensorFlow."""

import contextlib
import functools
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.table import Variant, find_backbone, smallest_side_px
from nst_tf.io.files import write_atomically
from nst_tf.runtime import cpu_facts, quiet_stderr, threads_in_force, threads_text
from nst_tf.tensors import Features
from nst_tf.version import __version__
from nst_tf.vocabulary import PrecisionName, RunError

# What bfloat16 must gain to be chosen: it is a little less exact.
LEAST_GAIN = 1.15
ROUNDS = 3
# A network that is slow at the small side has its gain there; a fast one only at the larger, as at the sizes of runs.
SIDES_PX = (96, 192)
SLOW_SECONDS = 0.05

# The network of a variant, whose precision is not `auto`.
Make = Callable[[Variant], Extractor]
# Features → scalar.
Loss = Callable[[Features], tf.Tensor]


def in_variant(variant: Variant, make: Make, backbone: str, layers: Sequence[str],
               loss: Loss) -> tuple[Variant, Extractor]:
    """The network of a variant; for `auto`, of the precision that is fastest for it here.

    Args:
        layers: of the network.
        loss: a function of the module, which reads the features as the steps do that come.
    """
    if variant.precision != "auto":
        return variant, make(variant)
    # What was timed is not built again.
    make = functools.cache(make)
    least_px = smallest_side_px(backbone, layers, variant.padding)
    precision = fastest_precision(
        cache_path(), f"{device()}, {_described(variant, backbone, layers)}, {loss.__name__.strip('_')}",
        lambda: time_networks(lambda name: make(variant._replace(precision=name)), loss, least_px))
    variant = variant._replace(precision=precision)
    return variant, make(variant)


def _described(variant: Variant, backbone: str, layers: Sequence[str]) -> str:
    """What decides how fast a network is, but for its weights: how deep it is, and its borders and pools."""
    row = find_backbone(backbone)
    deepest = [layer.name for layer in row.all_layers if layer.name in layers][-1:]
    parts = [f"{backbone} up to {''.join(deepest)}", f"padding {variant.padding.written()}",
             f"pooling {variant.pooling or 'trained'}", f"nst_tf {__version__}"]
    return ", ".join(parts)


def fastest_precision(cache: Path | None, network: str, measure: Callable[[], dict[str, float]]) -> PrecisionName:
    """`bfloat16` where it gains `LEAST_GAIN`, else `float32`; measured once, then read from `cache`.

    Args:
        network: names the device and what of the network matters.
        measure: {precision: seconds}.
    """
    known = _read(cache) if cache else {}
    onednn = [os.environ.get(name, "by default") for name in ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA")]
    key = f"{network}, TensorFlow {tf.__version__}, oneDNN {' '.join(onednn)}"
    if key not in known:
        try:
            with quiet_stderr():  # TensorFlow says there that a processor has no bfloat16: so the timing shows
                seconds = measure()
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


def time_networks(make: Callable[[PrecisionName], Extractor], loss: Loss, least_px: int) -> dict[str, float]:
    """{precision: seconds} of a loss of a network's features and of its gradient by the picture, the best of a few.

    Args:
        make: precision → network.
        least_px: the least side that the network takes.
    """
    precisions: tuple[PrecisionName, ...] = ("float32", "bfloat16")
    gradients = {precision: _gradient(make(precision), loss) for precision in precisions}
    seconds: dict[str, float] = {}
    for side_px in SIDES_PX:
        side_px = max(side_px, least_px)
        picture = tf.random.Generator.from_seed(0).uniform([1, side_px, side_px, 3])
        for gradient in gradients.values():
            gradient(picture)  # oneDNN prepares its kernels for this size
        seconds = dict.fromkeys(gradients, float("inf"))
        for _ in range(ROUNDS):
            for precision, gradient in gradients.items():
                start = time.perf_counter()
                gradient(picture).numpy()
                seconds[precision] = min(seconds[precision], time.perf_counter() - start)
        if seconds["float32"] > SLOW_SECONDS:
            break
    return seconds


def _gradient(extractor: Extractor, loss: Loss) -> Callable[[tf.Tensor], tf.Tensor]:
    """Picture → gradient of a loss, one trace for all sizes."""
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([1, None, None, 3], tf.float32)])
    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            J = loss(extractor.native(x))
        return tape.gradient(J, x)

    return gradient


def cache_path() -> Path | None:
    """`~/.cache/nst_tf/precision.json`, or under `$XDG_CACHE_HOME`; None for a user without a home."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return folder / "nst_tf/precision.json" if folder.is_absolute() else None


def device() -> str:
    """The device that computes: the names of the GPUs, or the type of the CPU and how many threads compute."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return ", ".join(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus)
    # Processors of one name differ in what they can compute, which their family and model tell.
    kept = ("model name", "cpu family", "model", "stepping")
    facts, threads = cpu_facts(), threads_text(threads_in_force())
    if found := [facts[name] for name in kept if name in facts]:
        return f"{' '.join(found)}, {threads}"
    return f"{platform.processor() or platform.machine()}, {threads}"


def _read(cache: Path) -> dict[str, dict[str, str | float]]:
    """What `fastest_precision` kept; nothing where the file is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads(cache.read_text(encoding="utf-8"))
        return {key: entry for key, entry in known.items() if entry.get("precision") in ("float32", "bfloat16")}
    return {}
