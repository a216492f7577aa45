"""Every setting and its default, once. Flags, help, `config.json` and the Python interface are made from these.

No TensorFlow here: `--help` and every check of a value answer before it is imported.
"""

import csv
import dataclasses
import io
import math
import os
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nst_tf.grammar import LARGEST_JITTER_PX
from nst_tf.vocabulary import (
    BackboneName, CanvasName, ColorName, NormalizationName, OptimizerName, PoolingName, PrecisionName, ScheduleName,
    StatisticName, UserError, check_name, names,
)


class Bounds(NamedTuple):
    """minimum ≤ value ≤ maximum, and value > above."""

    minimum: float
    above: float
    maximum: float

    def hold(self, value: float) -> bool:
        """Whether a finite value lies inside."""
        return math.isfinite(value) and self.minimum <= value <= self.maximum and value > self.above

    def __str__(self) -> str:
        limits = ((">=", self.minimum), (">", self.above), ("<=", self.maximum))
        return " and ".join(f"{sign} {limit}" for sign, limit in limits if math.isfinite(limit))


# No picture has a longer side; sizes beyond it would fail for memory after long work.
LARGEST_SIDE_PX = 65_535
DEFAULT_SIZE_PX = 512
# A style is measured at its own size at most; larger than this is a slip.
LARGEST_STYLE_SCALE = 16


def setting(default: Any, help: str, *, minimum: float = -math.inf, above: float = -math.inf,
            maximum: float = math.inf, choices: Any = None, open_choice: str = "",
            placeholder: str = "") -> Any:
    """A dataclass field that carries its help, bounds and choices.

    Args:
        minimum, maximum: the smallest and largest value allowed (each item of a list).
        above: values must be greater than this.
        choices: a `Literal` of `vocabulary.py` whose names are allowed.
        open_choice: one more, of which all after the colon is the user's, such as `saved_model:DIR`.
        placeholder: what stands after `--name=` in the help.
    """
    allowed = choices and (*names(choices), *([open_choice] if open_choice else []))
    metadata = {"help": help, "bounds": Bounds(minimum, above, maximum), "choices": allowed, "open_choice": open_choice,
                "placeholder": placeholder}
    return dataclasses.field(default=default, metadata=metadata)


def same(config_type: Any, name: str) -> Any:
    """A field like that of another config dataclass: default, help, bounds and choices stand once."""
    field = config_type.__dataclass_fields__[name]
    return dataclasses.field(default=field.default, metadata=field.metadata)


class Settings:
    """What the config dataclasses share: from Python, paths and lists may stand where texts and tuples are kept."""

    def __post_init__(self) -> None:
        def plain(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return tuple(plain(item) for item in value)
            return os.fspath(value) if isinstance(value, os.PathLike) else value

        for name, value in vars(self).items():
            object.__setattr__(self, name, plain(value))


@dataclass(frozen=True)
class StylizeConfig(Settings):
    """What picture is made: two equal configs (and equal input files) give the same bytes."""

    content: str = setting(
        "", "the photo to stylize; left out, --size gives the side of a square texture of the styles alone",
        placeholder="FILE")
    style: tuple[str, ...] = setting((), "one or more paintings", placeholder="FILE,...")
    style_blend: tuple[float, ...] = setting(
        (), "share of each style, in the order of --style; equal when left out", minimum=0, placeholder="NUMBER,...")
    content_mask: str = setting(
        "", "label image of the photo: each flat color names a region; soft edges stay soft", placeholder="FILE")
    style_mask: tuple[str, ...] = setting(
        (), "for each style, a label image in the same colors, or the color #rrggbb of the region that it is for, or "
        "nothing: it counts in every region; a region without a style stays the photo", placeholder="FILE|#RRGGBB,...")
    style_scale: tuple[float, ...] = setting(
        (), "long side at which each style is measured, relative to that of the picture, never above the style's own: "
        "smaller than 1 for smaller strokes; one for each style or one for all; 1 when left out", above=0,
        maximum=LARGEST_STYLE_SCALE, placeholder="NUMBER,...")
    style_size: int | None = setting(
        None, "long side at which the styles are measured at the last stage, instead of --style_scale; earlier stages "
        "in proportion", minimum=1, maximum=LARGEST_SIDE_PX, placeholder="PX")
    motif_size: int | None = setting(
        None, "long side of a small copy of the picture on which style is measured too, for large motifs and the same "
        "look at every size; copies of sizes between where it is less than a quarter of the picture's; larger where "
        "network or styles need it; none for a picture of less than twice this, or with 0; the backbone's own when "
        "left out, 0 with --normalization=gatys|ng", minimum=0, maximum=LARGEST_SIDE_PX, placeholder="PX")
    size: int | None = setting(
        None, f"long side of the output in pixels; {DEFAULT_SIZE_PX} when left out with a --content", minimum=1,
        maximum=LARGEST_SIDE_PX, placeholder="PX")
    min_size: int = setting(
        128, "long side of the first, smallest stage; --min_size=SIZE works at one size", minimum=1,
        maximum=LARGEST_SIDE_PX, placeholder="PX")
    steps: int = setting(320, "optimization steps over all stages", minimum=1, placeholder="N")
    backbone: str = setting(
        "vgg19", "network that measures content and style; DIR is a folder that export_model.py wrote",
        choices=BackboneName, open_choice="saved_model:DIR")
    weights: str = setting(
        "", "weights of the backbone: imagenet (vgg19, vgg16, resnet50, inception_v3), self or bundled (kmeans), the "
        "first by default; random; or a file: .h5 .keras .npz, .caffemodel (vgg, squeezenet, alexnet), .net "
        "(squeezenet)",
        placeholder="NAME|FILE")
    precision: PrecisionName = setting(
        "auto", "numbers that the network computes in; auto takes bfloat16 where one timed block says that it is at "
        "least 1.3 times as fast, and keeps that answer in ~/.cache/nst_tf; all else is float32",
        choices=PrecisionName)
    pooling: str = setting(
        "", "how the network halves its maps, scaled to what its next layers expect; as it was trained when left out",
        choices=PoolingName)
    padding: str = setting(
        "", "what stands around the maps of every convolution, or (:first) of the first: reflect, replicate, zero, or "
        "trained for the network as it is; the backbone's own when left out", placeholder="NAME[:first]")
    content_layers: tuple[str, ...] = setting(
        (), "layers that keep the content; the backbone's own when left out", placeholder="LAYER[@WEIGHT],...")
    style_layers: tuple[str, ...] = setting(
        (), "layers that carry the style; the backbone's own when left out", placeholder="LAYER[@WEIGHT],...")
    content_weight: float | None = setting(
        None, "weight of the content term; see --normalization", minimum=0, placeholder="NUMBER")
    style_weight: float | None = setting(
        None, "weight of the style term; see --normalization", minimum=0, placeholder="NUMBER")
    smoothness_weight: float | None = setting(
        None, "weight of the squared differences of neighboring pixels", minimum=0, placeholder="NUMBER")
    dream: tuple[str, ...] = setting(
        (), "layers whose units shall respond more: numbers as 3+17 or 0-15, all, strong:N or weak:N, or unused:N, the "
        "N units that content and styles use least on a layer that neither term reads; all when left out",
        placeholder="LAYER[:CHANNELS][@WEIGHT],...")
    dream_weight: float | None = setting(
        None, "weight of the dream term, which has no unit; with --normalization=relative it has a default", minimum=0,
        placeholder="NUMBER")
    statistic: StatisticName = setting(
        "gram", "what of a layer is called its style: Gram matrix, mean and deviation of each channel, mean and "
        "covariance, the Gaussian that has these, or the distribution itself", choices=StatisticName)
    normalization: NormalizationName = setting(
        "relative", "scale of the terms: relative to the targets, as in Gatys et al. 2016, or as in Ng's course; "
        "each has its own default weights", choices=NormalizationName)
    init: str = setting(
        "", "first image: content, style, blend, white_noise, gaussian_noise, faint_noise, white, black, mean or "
        "a file; content, or without one faint_noise, when left out", placeholder="NAME|FILE")
    color: ColorName = setting(
        "style", "whose colors the picture has: the styles'; keep joins the lightness of the result and the colors of "
        "the photo; match gives the styles the photo's mean and covariance of colors before; luminance optimizes the "
        "lightness alone, under the colors of the photo", choices=ColorName)
    canvas: CanvasName = setting(
        "pixels", "what is optimized: the pixels, or the Fourier coefficients of decorrelated colors",
        choices=CanvasName)
    optimizer: OptimizerName = setting(
        "adam", "optimization method; lbfgs judges one point a step, and the picture is the best one so far",
        choices=OptimizerName)
    learning_rate: float | None = setting(
        None, "step size in values of the canvas, which has its own default; pixel values are in [0, 1]. Of lbfgs: "
        "root mean square of the first step of each stage", above=0, placeholder="NUMBER")
    gradient_smoothing: float | None = setting(
        None, "share of each gradient of the pixels that is blurred by one pixel, against noise in flat areas; 0 for "
        "none; 0.7 when left out, 0 with lbfgs or another canvas, which cannot have it", minimum=0, maximum=1,
        placeholder="SHARE")
    jitter: int | None = setting(
        None, "pixels that the image is moved by at random before each step, against lattices of the network's "
        "strides; 0 for none, the backbone's own when left out, and 0 with lbfgs, which cannot have it", minimum=0,
        maximum=LARGEST_JITTER_PX, placeholder="PX")
    smoothing: str = setting(
        "", "what makes deep activations (stride >= 16) less peaky: none, softmax:T (T > 0; smoother with larger T) or "
        "scale:S; the backbone's own when left out", placeholder="none|softmax:T|scale:S")
    schedule: str = setting(
        "", "learning rate within a stage: cosine falls to a twentieth, constant stays; cosine when left out, constant "
        "with lbfgs, which cannot have another", choices=ScheduleName)
    seed: int = setting(0, "seed of every random number; same command, same seed: same bytes", minimum=0,
                        placeholder="N")

    @property
    def long_side_px(self) -> int:
        """`size`, or its default."""
        return DEFAULT_SIZE_PX if self.size is None else self.size


@dataclass(frozen=True)
class RunConfig(Settings):
    """Where a run is kept, how its picture is written and how often. Nothing here changes what is optimized."""

    output: str = setting("", "the picture to write: .png .jpg .webp .tif", placeholder="FILE")
    own_size: bool = setting(
        False, "write the picture at the photo's own width and height, enlarged from --size; previews stay small")
    bit_depth: int = setting(
        8, "bits of each value of the written picture: 8, or 16 (.png and .tif)", minimum=8, maximum=16,
        placeholder="8|16")
    logdir: str = setting("logs", "folder of all runs, for TensorBoard", placeholder="DIR")
    run: str = setting("", "name of this run's folder; <content>_<style>_<time> when left out", placeholder="NAME")
    resume: bool = setting(False, "continue a stopped run; with a larger --steps, add steps to a finished one")
    overwrite: bool = setting(False, "start the run afresh and delete what its folder holds")
    snapshots: tuple[int, ...] = setting(
        (), "steps whose picture is kept in images/", minimum=1, placeholder="STEP,...")
    checkpoint_every: float = setting(10.0, "seconds between checkpoints", minimum=0, placeholder="SECONDS")
    log_every: int = setting(10, "steps between rows of metrics.jsonl and TensorBoard", minimum=1, placeholder="N")


def check(config: Any) -> None:
    """Raises `UserError` for the first value of a config dataclass of the wrong type or outside its bounds or choices.

    The text names flag, value and remedy.
    """
    for field in dataclasses.fields(config):
        flag, value = f"--{field.name}", getattr(config, field.name)
        if not _has_type(value, field.type):
            raise UserError(f"{flag}={value!r} is of the wrong kind: give {_described(field.type)}")
        prefix, colon, _ = field.metadata["open_choice"].partition(":")
        is_open = colon and value.startswith(prefix + colon)
        if field.metadata["choices"] and value != field.default and not is_open:
            check_name(flag, value, field.metadata["choices"])
        bounds = field.metadata["bounds"]
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, (int, float)) and not isinstance(item, bool) and not bounds.hold(item):
                raise UserError(f"{flag}={item} is out of range: give a number {bounds}")


def to_flags(*configs: Any, leave_out: Sequence[str] = ()) -> str:
    """The flag file that repeats these configs: one `--name=value` a line, whatever later defaults may be."""
    lines = []
    for config in configs:
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if not is_unset(value) and field.name not in leave_out:
                lines.append(f"--{field.name}={write_value(value)}")
    return "\n".join(lines) + "\n"


def is_unset(value: Any) -> bool:
    """Whether a value is what a flag has that was not given; 0 is a value (and equals False)."""
    return value is None or value is False or value in ("", ())


def write_value(value: Any) -> str:
    """A value as it stands on the command line; in lists, what holds a comma is quoted."""
    if isinstance(value, tuple):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([str(item) for item in value])
        return line.getvalue()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _has_type(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_has_type(item, typing.get_args(kind)[0]) for item in value)
    if kind in (int | None, float | None) and value is None:
        return True
    kinds: dict[Any, Any] = {bool: bool, int: int, int | None: int, float: (int, float), float | None: (int, float)}
    allowed = kinds.get(kind, str)
    return isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))


def _described(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return "a list of " + {str: "texts", int: "whole numbers", float: "numbers"}[typing.get_args(kind)[0]]
    return {bool: "True or False", int: "a whole number", int | None: "a whole number", float: "a number",
            float | None: "a number"}.get(kind, "a text")
