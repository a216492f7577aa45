"""What each end of a run takes of memory, beside the picture that is optimized: in MB, and in dense float copies of it.

    python -m benchmarks.ends_memory --megapixels=16

An end is what happens around the gradient: decoding, colors, files, checkpoints, the next size. Each runs alone in a
process of its own. `peak` is VmHWM above the resident memory before it, `kept` is what stays of that afterwards.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from nst_tf.config import RunConfig, StylizeConfig
from nst_tf.io.picture_files import PictureFiles
from nst_tf.recipes.stylize import steps
from nst_tf.recipes.stylize.finish import COLORS, finisher
from nst_tf.recipes.stylize.plan import Decided, Plan, read_pictures, resolve
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.recipes.stylize.stage import Inputs
from nst_tf.runs import checkpoint
from nst_tf.runs.metrics import PictureTracker
from nst_tf.runs.run import plan_job

ASPECT = 3 / 2
End = Callable[["Scene"], Callable[[], Any]]


class Scene:
    """A run of one photo and one style at its last size, without its network."""

    def __init__(self, folder: Path, side_px: int, content: str = "photo.jpg", small: bool = False,
                 **options: Any) -> None:
        self.folder, run = folder, {name: options.pop(name) for name in ("own_size", "bit_depth") if name in options}
        self.config = StylizeConfig(
            content=str(folder / content), style=(str(folder / "style.jpg"),), backbone="squeezenet1_1",
            weights="random", size=side_px // 2 if small else side_px, min_size=side_px // 2, steps=20,
            precision="float32", **options)
        self.run = RunConfig(run="run", logdir=str(folder), output=str(folder / "out.png"), **run)
        self.plan: Plan = resolve(self.config)

    def state(self) -> Any:
        """The state of Adam inside the last stage: four pictures of noise on the photo's scale."""
        import tensorflow as tf

        from nst_tf.optimize.state import State

        width, height = self.plan.stage_size_px(-1)
        picture = tf.random.stateless_uniform([1, height, width, 3], (1, 2))
        return State(5, len(self.plan.stages) - 1, 5, picture, tf.identity(picture) * 0.4, 0.41,
                     (tf.identity(picture) * 0.1, tf.identity(picture) * 0.2))

    def inputs(self) -> Any:
        """The pictures as the steps get them."""
        content, styles, init = read_pictures(self.config, self.plan)
        assert content is not None
        return Inputs(*COLORS[self.config.color].prepare(content, styles), init, None)

    def progress(self) -> Any:
        """What the trackers get."""
        setup: Any = SimpleNamespace(finish=finisher(self.config, self.plan),
                                     decided=SimpleNamespace(stages=self.plan.stages, total_steps=20,
                                                             steps_left=lambda *_: {}))
        step: Any = SimpleNamespace(objective=None, canvas="pixels", size=None)
        told: Any = SimpleNamespace(losses={}, sums={}, failures=0)
        return steps._progress(self.plan, setup, self.state(), told, step, dict)


def _decode(scene: Scene) -> Callable[[], Any]:
    return lambda: PictureFiles().load(scene.config.content, "--content", scene.config.long_side_px)


def _write(scene: Scene, ending: str = ".png") -> Callable[[], Any]:
    run = scene.run.__class__(**{**vars(scene.run), "output": str(scene.folder / f"out{ending}")})
    job = plan_job(STYLIZE, scene.config, run)
    decided = Decided(scene.plan.variant, scene.plan.objective, scene.plan.stages)
    job = job._replace(plan=scene.plan, decided=decided)
    progress = scene.progress()
    return lambda: STYLIZE.writer(job)(progress)


def _snapshot(scene: Scene) -> Callable[[], Any]:
    tracker, progress = PictureTracker(scene.folder, (5,), 1e9, lambda: 0.0, {}), scene.progress()
    (scene.folder / "output.png").touch()
    return lambda: tracker(progress)


def _tensorboard(scene: Scene) -> Callable[[], Any]:
    from nst_tf.runs.tensorboard import TensorBoard

    board, progress = TensorBoard(scene.folder / "board", 1000, lambda: 0.0), scene.progress()._replace(step=1)
    return lambda: board(progress)


def _save(scene: Scene) -> Callable[[], Any]:
    progress = scene.progress()
    return lambda: checkpoint.save(scene.folder / "run" / "checkpoints", 5, progress.arrays())


def _restore(scene: Scene) -> Callable[[], Any]:
    """As a resume does: the state of the job, and the variables of its first step."""
    from nst_tf.optimize.step import _Variables

    _save(scene)()
    job: Any = SimpleNamespace(options=SimpleNamespace(place=scene.folder / "run"))

    def restore() -> Any:
        state = STYLIZE.state(job)
        return state, _Variables.of(state.load() if hasattr(state, "load") else state)

    return restore


def _prepare(scene: Scene) -> Callable[[], Any]:
    return scene.inputs


def _first(scene: Scene) -> Callable[[], Any]:
    inputs, fitted = scene.inputs(), SimpleNamespace(mean_color=(0.4, 0.5, 0.6))
    plan = scene.plan._replace(stages=scene.plan.stages[-1:])
    return lambda: steps._first_image(scene.config, plan, inputs, fitted)  # type: ignore[arg-type]


def _next(scene: Scene) -> Callable[[], Any]:
    inputs, width_height = scene.inputs(), scene.plan.stage_size_px(-2)
    state: Any = SimpleNamespace(average=np.full((1, *width_height[::-1], 3), 0.4, np.float32), average_weight=0.8)
    from nst_tf.optimize.state import averaged

    return lambda: steps._next_image(scene.plan, inputs, averaged(state)[0], len(scene.plan.stages) - 1, False)


def _loop(scene: Scene) -> Callable[[], Any]:
    """Five steps whose gradient costs nothing: Adam, the average of the iterates, and the states that are kept."""
    import tensorflow as tf

    from nst_tf.optimize.canvas import CANVASES
    from nst_tf.optimize.optimizers import OPTIMIZERS
    from nst_tf.optimize.step import Value, make_step, run_stage

    adam, state = OPTIMIZERS["adam"], scene.state()
    step = make_step(lambda x, *_: Value(x[0, 0, 0, 0], x, {"loss/total": x[0, 0, 0, 0]}, {}), CANVASES["pixels"], adam,
                     0.7)
    offset = tf.zeros([2], tf.int32)
    return lambda: [None for _ in run_stage(state, 10, adam, step, lambda _: 0.01, lambda _: offset, ())]


# Name → what it runs, and the options of its scene.
ENDS: dict[str, tuple[Callable[..., Callable[[], Any]], dict[str, Any]]] = {
    "decode the photo": (_decode, {}),
    "decode a 16-bit photo": (_decode, {"content": "deep.png"}),
    "decode a photo with alpha": (_decode, {"content": "alpha.png"}),
    "prepare --color=match": (_prepare, {"color": "match"}),
    "prepare --color=luminance": (_prepare, {"color": "luminance"}),
    "first image: content": (_first, {"init": "content"}),
    "first image: faint_noise": (_first, {"init": "faint_noise"}),
    "first image: blend": (_first, {"init": "blend"}),
    "first image: style": (_first, {"init": "style"}),
    "first image: mean": (_first, {"init": "mean"}),
    "next size": (_next, {}),
    "next size, not from the photo": (_next, {"init": "faint_noise"}),
    "Adam and the average, 5 steps": (_loop, {}),
    "snapshot or preview": (_snapshot, {}),
    "snapshot, --color=keep": (_snapshot, {"color": "keep"}),
    "snapshot, --color=luminance": (_snapshot, {"color": "luminance"}),
    "snapshot with alpha": (_snapshot, {"content": "alpha.png"}),
    "TensorBoard's picture": (_tensorboard, {}),
    "checkpoint": (_save, {}),
    "resume": (_restore, {}),
    "output .png": (_write, {}),
    "output .jpg": (lambda scene: _write(scene, ".jpg"), {}),
    "output .png, 16 bits": (_write, {"bit_depth": 16}),
    "output .tif, 16 bits": (lambda scene: _write(scene, ".tif"), {"bit_depth": 16}),
    "output --own_size, of a quarter": (_write, {"own_size": True, "small": True}),
    "output --own_size --color=keep": (_write, {"own_size": True, "small": True, "color": "keep"}),
}


def make_files(folder: Path, side_px: int) -> None:
    """A photo of smooth areas with some noise: as JPEG, with 16 bits, with alpha; and a style of one megapixel."""
    generator = np.random.default_rng(0)
    width, height = side_px, round(side_px / ASPECT)
    areas = Image.fromarray(generator.integers(0, 256, (12, 18, 3), np.uint8))
    areas = areas.resize((width, height), Image.Resampling.BICUBIC)
    picture = np.asarray(areas) // 2 + generator.integers(0, 8, (height, width, 3), np.uint8) + 50
    Image.fromarray(picture).save(folder / "photo.jpg", quality=95)
    Image.fromarray(picture).resize((1224, 816)).save(folder / "style.jpg", quality=95)
    alpha = np.broadcast_to((np.arange(width) * 255 // width).astype(np.uint8)[None, :, None], (height, width, 1))
    Image.fromarray(np.concatenate([picture, alpha], -1)).save(folder / "alpha.png", compress_level=1)
    import tensorflow as tf

    tf.io.write_file(str(folder / "deep.png"), tf.io.encode_png(picture.astype(np.uint16) * 257, compression=1))


def memory(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def settled() -> int:
    """The resident memory once what is free went back to the system."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return memory("VmRSS")


def measure(name: str, folder: Path, side_px: int) -> dict[str, int]:
    """Runs one end and returns its peak and what it keeps, in bytes."""
    import tensorflow  # noqa: F401 (its memory is not an end's)
    import nst_tf.runs.tensorboard  # noqa: F401

    # Once with little pictures: what is imported, compiled and cached on the way is no copy of a picture.
    make, options = ENDS[name]
    for each, side in ((folder / "little", 96), (folder, side_px)):
        act = make(Scene(each, side, **options))
        before = settled()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        result = act()
        peak = memory("VmHWM")
    after = settled()
    del result
    return {"peak": peak - before, "kept": after - before}


def main() -> None:
    """Prints a table, one row an end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=16.0)
    parser.add_argument("--only", default="", help="a part of the names of the ends to measure")
    parser.add_argument("--one", help="(a process of its own) the end to measure")
    parser.add_argument("--folder", help="where the pictures are; made where it is empty")
    options = parser.parse_args()
    side_px = round((options.megapixels * 1e6 * ASPECT) ** 0.5)
    copy = 12 * side_px * round(side_px / ASPECT)
    if options.one:
        print(json.dumps(measure(options.one, Path(options.folder), side_px)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        for each, side in ((folder / "little", 96), (folder, side_px)):
            each.mkdir(parents=True, exist_ok=True)
            if not (each / "deep.png").exists():
                make_files(each, side)
        print(f"{side_px} × {round(side_px / ASPECT)} px, a float copy is {copy / 1e6:.0f} MB\n")
        print("| end | peak MB | copies | kept MB | copies |\n| --- | --- | --- | --- | --- |")
        for name in (name for name in ENDS if options.only in name):
            command = [sys.executable, "-m", "benchmarks.ends_memory", f"--one={name}", f"--folder={folder}",
                       f"--megapixels={options.megapixels}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"| {name} | failed: {done.stderr.strip().splitlines()[-1:]} |", flush=True)
                continue
            row = json.loads(done.stdout.splitlines()[-1])
            cells = (f"{value / 1e6:.0f} | {value / copy:.2f}" for value in (row["peak"], row["kept"]))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
