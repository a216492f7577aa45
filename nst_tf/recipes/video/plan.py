"""What a video is made of and where it is kept: everything is checked here before any long work. No TensorFlow."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.config import RunConfig, Settings, StylizeConfig, check, same, setting
from nst_tf.grammar import LARGEST_WEIGHT
from nst_tf.io import animation, files
from nst_tf.io.clips import Clip, Frame, open_clip
from nst_tf.io.optical_flow import SMALLEST_PX, has_flow
from nst_tf.io.photo import Alpha, Photo
from nst_tf.io.picture_files import PictureFiles
from nst_tf.io.video_files import FORMATS, check_video_output
from nst_tf.losses.objective import TEMPORAL_WEIGHT
from nst_tf.recipes.stylize import plan as stylize_plan
from nst_tf.recipes.stylize.plan import Decided, Plan, check_is_no_input
from nst_tf.runs.record import Input
from nst_tf.vocabulary import UserError, VideoModeName

# Frames that the past keeps, each with its picture.
LARGEST_HISTORY = 32
FOLDER_FPS = 25
# The most steps of a frame that follows others, as a share of --steps.
LATER_SHARE = 0.25


@dataclass(frozen=True)
class VideoConfig(StylizeConfig):
    """What video is made. The flags of stylize.py hold for its frames."""

    content: str = setting(
        "", "The clip to stylize: a folder of frames, in the order of their numbers, or a video file. Files need "
        "pip install -e '.[video]'.", group="Pictures", basic=True, placeholder="FILE|FOLDER")
    mode: str = setting(
        "", "How frames hang together. flow holds each to those before it, moved along the optical flow. frames makes "
        "each alone, as stylize.py does. The default is flow where pip install -e '.[video]' has brought what finds "
        "the flow, else frames.", group="Look", basic=True, choices=VideoModeName)
    fast: str = setting("", "Not for videos yet: their frames are optimized.", group="Pictures", placeholder="DIR")
    frames: int = setting(
        99999, "The most frames that are made, from the first on. With --resume a finished run takes more.",
        group="Pictures", minimum=1, maximum=99999, placeholder="N")
    temporal_weight: float | None = setting(
        None, "Weight of the difference from the frames before, with --mode=flow. More flickers less. Only "
        "--normalization=relative has a default.", group="Look", minimum=0, maximum=LARGEST_WEIGHT,
        placeholder="NUMBER")
    history: tuple[int, ...] = setting(
        (1, 2, 4), "How many frames ago those lie that a frame is held to. A place takes the nearest that has seen it.",
        group="Look", minimum=1, maximum=LARGEST_HISTORY, placeholder="N,...")
    later_steps: int | None = setting(
        None, "The most steps of a frame that follows others in --mode=flow. It ends before, as soon as it is as good "
        "as the first frame of its shot. The default is a quarter of --steps.", minimum=1, placeholder="N")


@dataclass(frozen=True)
class VideoRunConfig(Settings):
    """Where a video is kept. Nothing here changes its frames."""

    output: str = setting(
        "", "A folder for frames, or a file: .gif .webp .mp4 .mov .mkv .webm. Video files have the sound of --content.",
        group="Pictures", basic=True, placeholder="FILE|FOLDER")
    fps: float | None = setting(
        None, f"Frames in a second. The default is those of --content, {FOLDER_FPS} for a folder.", group="Pictures",
        minimum=0.1, maximum=240, placeholder="NUMBER")
    logdir: str = same(RunConfig, "logdir")
    run: str = same(RunConfig, "run")
    resume: bool = setting(
        False, "Continue a stopped run. With more --frames, add some to a finished one. With a new --output, write it "
        "again.", group="Run", basic=True)
    overwrite: bool = same(RunConfig, "overwrite")
    log_every: int = same(RunConfig, "log_every")


class VideoPlan(NamedTuple):
    """What the files and flags of a config say. `picture` is the plan of its first frame."""

    clip: Clip
    picture: Plan
    mode: str
    temporal_weight: float
    later_steps: int
    inputs: tuple[Input, ...]

    @property
    def weights(self) -> str:
        return self.picture.weights

    def count(self, config: VideoConfig) -> int:
        """How many frames are made, as far as is known."""
        return min(config.frames, self.clip.length)


class FrameFiles(PictureFiles):
    """The files of a job, where the content is a frame of a clip."""

    def __init__(self, others: PictureFiles, clip: Clip, frame: Frame) -> None:
        super().__init__()
        self._others, self._clip, self._frame = others, clip, frame

    def load(self, path: str, name: str, max_side_px: int) -> Photo:
        """The frame, or another picture."""
        if name != "--content":
            return self._others.load(path, name, max_side_px)
        return self.once(max_side_px, lambda: self._frame(max_side_px))

    def size_px(self, path: str, name: str) -> tuple[int, int]:
        """The size of the clip, or of another picture."""
        return self._clip.size_px if name == "--content" else self._others.size_px(path, name)

    def load_alpha(self, path: str, name: str, max_side_px: int) -> Alpha | None:
        """The alpha of the frame."""
        return self.load(path, name, max_side_px).alpha


def of_frame(config: VideoConfig, clip: Clip) -> StylizeConfig:
    """The config of a frame as a picture."""
    given = {field.name: getattr(config, field.name) for field in dataclasses.fields(StylizeConfig)}
    return StylizeConfig(**given | {"content": clip.files[0] if clip.files else clip.path})


def resolve_video(config: VideoConfig, run_config: VideoRunConfig) -> VideoPlan:
    """The plan of a config.

    Raises:
        UserError: the first thing that is wrong, before anything is computed or written.
    """
    check(config, VideoConfig)
    if not config.content:
        raise UserError("--content is missing: give a folder of frames or a video file, as in --content=clip.mp4")
    for flag in ("content_mask", "style_mask"):
        if getattr(config, flag):
            raise UserError(f"--{flag} is for one picture: the regions of a video move; leave it out")
    mode = _mode(config)
    weight = _temporal_weight(config, mode)
    check_output_kind(run_config)
    clip = open_clip(config.content, "--content")
    opened = FrameFiles(PictureFiles(), clip, next(clip.read()))
    plan = stylize_plan.resolve(of_frame(config, clip), opened)
    if mode == "flow" and min(plan.stage_size_px(-1)) < SMALLEST_PX:
        raise UserError(f"--mode=flow needs frames of at least {SMALLEST_PX} px each side, and these are "
                        f"{'x'.join(map(str, plan.stage_size_px(-1)))} px: give a larger --size, or --mode=frames")
    inputs = (Input("--content", config.content, _checksum(clip)),
              *(item for item in plan.inputs if item.flag != "--content"))
    check_is_no_input(run_config.output, inputs)
    return VideoPlan(clip, plan, mode, weight, config.later_steps or max(1, round(LATER_SHARE * config.steps)), inputs)


def _mode(config: VideoConfig) -> str:
    if config.mode == "flow" and not has_flow():
        raise UserError("--mode=flow needs the package opencv-python-headless: pip install -e '.[video]' brings it, or "
                        "give --mode=frames")
    return config.mode or ("flow" if has_flow() else "frames")


def _temporal_weight(config: VideoConfig, mode: str) -> float:
    weight = config.temporal_weight
    if mode == "frames":
        if weight:
            raise UserError(f"--temporal_weight={weight} is for --mode=flow: each frame is made alone; leave it out")
        return 0.0
    if weight is None and config.normalization != "relative":
        raise UserError(f"--mode=flow needs --temporal_weight with --normalization={config.normalization}, whose other "
                        "terms have the units of the network: give a number of the size of their loss")
    return TEMPORAL_WEIGHT if weight is None else weight


def check_output_kind(run_config: VideoRunConfig) -> None:
    """Raises `UserError` for an `--output` of an unknown ending, or that cannot be written."""
    output, suffix = run_config.output, Path(run_config.output).suffix.lower()
    if not output:
        return
    if suffix in FORMATS:
        check_video_output(output, "--output")
    elif suffix and suffix not in animation.ENDINGS and not os.path.isdir(output):
        raise UserError(f"--output {files.quoted(output)} has no known ending: allowed are "
                        f"{', '.join((*FORMATS, *animation.ENDINGS))}, or a folder")
    files.check_writable(output, "--output", "" if is_file(output) else "frame_00001.png")


def is_file(output: str) -> bool:
    """Whether an `--output` is a file; else it is a folder."""
    return Path(output).suffix.lower() in (*FORMATS, *animation.ENDINGS)


def _checksum(clip: Clip) -> str:
    """That of a file, or of all frames of a folder; their names do not count."""
    if not clip.files:
        return files.sha256(clip.path)
    return sha256("".join(map(files.sha256, clip.files)).encode()).hexdigest()


def times_of(plan: VideoPlan, fps: float | None, count: int) -> list[Fraction]:
    """The seconds at which the first frames are shown."""
    times = plan.clip.times
    if fps is None and len(times) >= count:
        return list(times[:count])
    rate = Fraction(FOLDER_FPS if fps is None else fps).limit_denominator(1001)
    return [number / rate for number in range(count)]


def complete_video(config: VideoConfig, plan: VideoPlan, decided: Decided | None = None) -> VideoConfig:
    """The config with everything that was left out filled in, so that it means the same under other defaults."""
    of_frames = vars(stylize_plan.complete(config, plan.picture, decided))
    return dataclasses.replace(config, **of_frames | {
        "mode": plan.mode, "later_steps": plan.later_steps,
        "temporal_weight": plan.temporal_weight if plan.mode == "flow" else None})


def resolved_video(plan: VideoPlan, decided: Decided | None = None) -> Mapping[str, Any]:
    """The plan, and what was decided, as plain data for `config.json`."""
    return {**stylize_plan.resolved(plan.picture, decided), "mode": plan.mode, "later_steps": plan.later_steps,
            "temporal_weight": plan.temporal_weight}
