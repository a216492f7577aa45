"""What a GPU does: scripts, equal runs, seconds and memory of a step of VGG19. `benchmarks/gpu.sh` runs it.

    python -m benchmarks.gpu --sizes=512,2048

Each measurement is a process of its own, and all together end within 8 minutes: what does not fit is named. First,
scripts take two steps. Then two steps are made four times in each precision: two traces in each of two processes. Then
come steps of VGG19 with random weights, in each precision, with and without `jit_compile`, and the loop of TensorFlow's
tutorial in float32. --device=cpu measures the same on the processor, with --sizes=64 to try this script.
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks.step_profile import timed

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S, LEAST_S, STEPS_S = 8 * 60, 15, 3.0
PHOTO, PAINTING = (str(ROOT / "samples" / name) for name in ("street.jpg", "swirls.jpg"))
PRECISIONS = ("float32", "float16", "bfloat16")
# Two steps of each, with --size and --output.
SCRIPTS = {
    **{f"stylize.py, kmeans, {precision}":
       ("scripts/stylize.py", f"--content={PHOTO}", f"--style={PAINTING}", "--backbone=kmeans",
        f"--precision={precision}", "--steps=2") for precision in PRECISIONS},
    "dream.py, squeezenet": ("scripts/dream.py", f"--content={PHOTO}", "--backbone=squeezenet", "--weights=random",
                             "--steps=2", "--octaves=1"),
}


def steps_of(size_px: int, precision: str, folder: Path) -> Callable[[], Any]:
    """What takes one step of VGG19 on a square picture and returns its `Progress`."""
    from nst_tf.config import StylizeConfig
    from nst_tf.io import images
    from nst_tf.recipes.stylize.steps import stylize

    content = folder / f"{size_px}.png"
    images.save(content, images.resize(images.load(PHOTO), size_px, size_px))
    values: dict[str, Any] = {"precision": precision, "size": size_px, "min_size": size_px}
    run = stylize(StylizeConfig(content=str(content), style=(PAINTING,), weights="random", steps=10**6, **values))
    return functools.partial(next, run)


def tutorial_of(size_px: int) -> Callable[[], Any]:
    """What takes one step of the tutorial's loop on the same picture."""
    from benchmarks.step_time import CONTENT_LAYER, STYLE_LAYERS
    from benchmarks.tutorial import tutorial_loss, tutorial_steps
    from nst_tf.backbones.table import BACKBONES
    from nst_tf.io import images

    photo, painting = (images.resize(images.load(path), size_px, size_px) for path in (PHOTO, PAINTING))
    network = BACKBONES["vgg19"].build((*STYLE_LAYERS, CONTENT_LAYER), "random", 0, [])
    loss = tutorial_loss(network.model, photo, painting, CONTENT_LAYER, STYLE_LAYERS)
    return functools.partial(next, tutorial_steps(loss, photo))


def tell_steps(sizes: Sequence[int], precision: str, jit: bool, folder: Path) -> Iterator[dict[str, float]]:
    """For each size the seconds of the first step, those of a later one, and the peak of memory in MB."""
    import tensorflow as tf

    import nst_tf.recipes.stylize.steps  # noqa: F401  What it decorates is not the step.

    if jit:
        # The step is made by a call of `tf.function`; users have no flag for it, as long as it gains nothing.
        tf.function = functools.partial(tf.function, jit_compile=True)
    for size_px in sizes:
        take_step = tutorial_of(size_px) if precision == "tutorial" else steps_of(size_px, precision, folder)

        def wait(take_step: Callable[[], Any] = take_step) -> None:
            told = take_step()
            float(told.losses["loss/total"] if hasattr(told, "losses") else told[0, 0, 0, 0])

        start = time.perf_counter()
        wait()
        first = time.perf_counter() - start
        wait()
        yield {"first": first, "step": float(np.median(list(timed(wait, STEPS_S)))), "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The largest memory of tensors on the GPU since the last call; without one, of the process so far."""
    import tensorflow as tf

    from nst_tf.runs.metrics import peak_memory_mb

    if not tf.config.list_physical_devices("GPU"):
        return peak_memory_mb() or float("nan")
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    tf.config.experimental.reset_memory_stats("GPU:0")
    return float(peak)


def tell_equality(size_px: int, precision: str, folder: Path) -> Iterator[str]:
    """The hash of picture and losses after two steps, of two traces."""
    for _ in range(2):
        take_step = steps_of(size_px, precision, folder)
        first, second = take_step(), take_step()
        losses = {tag: float(loss) for of in (first, second) for tag, loss in of.losses.items()}
        yield hashlib.sha256(second.picture().tobytes() + json.dumps(losses).encode()).hexdigest()


def child(work: str, request: dict[str, Any]) -> None:
    """Prints lines of JSON: what a process of its own has measured."""
    from nst_tf.runtime import start_tensorflow

    device = start_tensorflow()
    if work == "device":
        import tensorflow as tf
        print(json.dumps([device, len(tf.config.list_physical_devices("GPU"))]))
        return
    with tempfile.TemporaryDirectory() as folder:
        tell: Callable[..., Iterator[Any]] = tell_steps if work == "steps" else tell_equality
        for line in tell(**request, folder=Path(folder)):
            print(json.dumps(line), flush=True)


class Deadline:
    """Runs processes until the time is over."""

    def __init__(self, device: str) -> None:
        self._end = time.monotonic() + LONGEST_S
        hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if device == "cpu" else {}
        self._variables = os.environ | hidden | {"PYTHONPATH": str(ROOT)}

    def lines(self, *command: str) -> tuple[list[str], str]:
        """What a Python command printed, and what went wrong: "" where nothing did."""
        left_s = self._end - time.monotonic()
        if left_s < LEAST_S:
            return [], f"left out: {LONGEST_S // 60} minutes are over"
        with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
            try:
                status = subprocess.run([sys.executable, *command], cwd=ROOT, env=self._variables, stdout=printed,
                                        stderr=said, timeout=left_s).returncode
            except subprocess.TimeoutExpired:
                status = -1
            printed.seek(0)
            said.seek(0)
            problem = (said.read().strip().splitlines() or [f"status {status}"])[-1] if status > 0 else ""
            return printed.read().splitlines(), "ended: no time left" if status < 0 else problem[:120]

    def measured(self, work: str, **request: Any) -> tuple[list[Any], str]:
        """What `child` told, and what went wrong."""
        lines, problem = self.lines("-m", "benchmarks.gpu", f"--child={work}", f"--request={json.dumps(request)}")
        return [json.loads(line) for line in lines], problem


def script_rows(deadline: Deadline, size_px: int) -> Iterator[str]:
    """A row for each script: whether its two steps ended well."""
    yield "| two steps of | |\n| --- | --- |"
    for name, (script, *arguments) in SCRIPTS.items():
        with tempfile.TemporaryDirectory() as folder:
            _, problem = deadline.lines(script, *arguments, f"--size={size_px}", f"--output={folder}/out.png",
                                        f"--logdir={folder}/logs")
        yield f"| {name} | {problem or 'done'} |"


def equality_rows(deadline: Deadline, size_px: int) -> Iterator[str]:
    """A row for each precision: whether two traces in each of two processes are equal."""
    yield f"\n| two traces, two processes, VGG19 {size_px} px | |\n| --- | --- |"
    for precision in PRECISIONS:
        told = [deadline.measured("equality", size_px=size_px, precision=precision) for _ in range(2)]
        hashes, problems = [line for lines, _ in told for line in lines], [problem for _, problem in told if problem]
        verdict = "equal" if len(set(hashes)) == 1 else f"{len(set(hashes))} different results of {len(hashes)}"
        yield f"| {precision} | {problems[0] if problems else verdict} |"


def step_rows(deadline: Deadline, sizes: Sequence[int]) -> Iterator[str]:
    """A row for each loop and size: seconds, ratio to the tutorial, first step, memory."""
    yield ("\n| step of VGG19 | seconds | ratio to the tutorial | first step, s | peak MB |\n"
           "| --- | ---: | ---: | ---: | ---: |")
    of_tutorial: list[Any] = []
    for precision, jit in [("tutorial", False), *((name, jit) for name in PRECISIONS for jit in (False, True))]:
        told, problem = deadline.measured("steps", sizes=sizes, precision=precision, jit=jit)
        of_tutorial = told if precision == "tutorial" else of_tutorial
        for index, size_px in enumerate(sizes):
            name = f"{precision}{', jit_compile' * jit}, {size_px}²"
            if index >= len(told):
                yield f"| {name} | {problem} | | | |"
                continue
            seconds, first, peak = (told[index][key] for key in ("step", "first", "peak_mb"))
            ratio = f"{seconds / of_tutorial[index]['step']:.2f}" if index < len(of_tutorial) else ""
            yield f"| {name} | {seconds:.3f} | {ratio} | {first:.1f} | {peak:.0f} |"


def parsed(argv: Sequence[str]) -> flags.FlagValues:
    """The arguments, checked."""
    values = flags.FlagValues()
    flags.DEFINE_list("sizes", ["512", "2048"], "sides of the square pictures in px", flag_values=values)
    flags.DEFINE_enum("device", "gpu", ["gpu", "cpu"], "what is measured", flag_values=values)
    flags.DEFINE_string("child", "", "what this process measures", flag_values=values)
    flags.DEFINE_string("request", "{}", "of --child: its settings as JSON", flag_values=values)
    values(list(argv))
    return values


def main(argv: Sequence[str]) -> None:
    """Prints the tables, or one line on stderr and status 2 where TensorFlow sees no GPU."""
    values = parsed(argv)
    if values.child:
        child(values.child, json.loads(values.request))
        return
    deadline, sizes = Deadline(values.device), [int(text) for text in values.sizes]
    told, problem = deadline.measured("device")
    if not problem and values.device == "gpu" and not told[0][1]:
        problem = ("TensorFlow sees no GPU here and nothing was measured: --device=cpu --sizes=64 tries this script on "
                   "the processor")
    if problem:
        print(f"gpu: {problem}", file=sys.stderr)
        sys.exit(2)
    print(f"{told[0][0]}\n")
    for rows in (script_rows(deadline, min(256, sizes[0])), equality_rows(deadline, min(384, sizes[0])),
                 step_rows(deadline, sizes)):
        for row in rows:
            print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv)
