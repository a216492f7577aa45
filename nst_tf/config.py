"""Settings of stylize.py and of runs; other recipes' configs are in `recipes/`. Each default stands once.

Flags, help, `config.json` and the Python interface are made from these. A default of None is filled in by
`recipes/stylize/plan*.py`, that of `size` by `long_side_px`.

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


# The headings of `--help`, in order; `setting` names one of them.
GROUPS = ("Pictures", "Look", "Network", "Work", "Run")


def setting(default: Any, help: str, *, group: str = "Work", basic: bool = False, minimum: float = -math.inf,
            above: float = -math.inf, maximum: float = math.inf, choices: Any = None, open_choice: str = "",
            placeholder: str = "") -> Any:
    """A dataclass field that carries its help, bounds and choices.

    Args:
        help: sentences; `--help` shows the first, `--helpfull` and docs/flags.md show all.
        group: the heading of `GROUPS` under which help shows it.
        basic: most runs need it, so that `--help` shows it.
        minimum, maximum: the smallest and largest value allowed (each item of a list).
        above: values must be greater than this.
        choices: a `Literal` of `vocabulary.py` whose names are allowed.
        open_choice: one more, of which all after the colon is the user's, such as `saved_model:DIR`.
        placeholder: what stands after `--name=` in the help.
    """
    assert group in GROUPS, group
    allowed = choices and (*names(choices), *([open_choice] if open_choice else []))
    metadata = {"help": help, "group": group, "basic": basic, "bounds": Bounds(minimum, above, maximum),
                "choices": allowed, "open_choice": open_choice, "placeholder": placeholder}
    return dataclasses.field(default=default, metadata=metadata)


def same(config_type: Any, name: str) -> Any:
    """A field like that of another config dataclass: default, help, bounds and choices stand once."""
    field = config_type.__dataclass_fields__[name]
    return dataclasses.field(default=field.default, metadata=field.metadata)


class Settings:
    """The base of the config dataclasses. From Python, a path may be given for a text, and a list for a tuple."""

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
        "", "The photo to stylize. Without it, the styles alone make a square texture, whose side is --size.",
        group="Pictures", basic=True, placeholder="FILE")
    style: tuple[str, ...] = setting(
        (), "One or more paintings that give the style.", group="Pictures", basic=True, placeholder="FILE,...")
    style_blend: tuple[float, ...] = setting(
        (), "Share of each style, in the order of --style. By default all shares are equal.", group="Pictures",
        minimum=0, placeholder="NUMBER,...")
    content_mask: str = setting(
        "", "Label image of the photo. Each flat color names a region. Soft edges stay soft.", group="Pictures",
        placeholder="FILE")
    style_mask: tuple[str, ...] = setting(
        (), "Regions of each style, one item for each. A label image has the colors of --content_mask. A color #rrggbb "
        "gives the style to that region alone. An empty item gives the style to every region. A region without a "
        "style stays the photo.", group="Pictures", placeholder="FILE|#RRGGBB,...")
    style_scale: tuple[float | str, ...] = setting(
        (), "Size at which each style is measured. 0.5 is half the long side of the picture, for smaller strokes. "
        "400px is a long side of 400 pixels at the last stage, and is in proportion before. A style is never enlarged. "
        "One size holds for all styles, several are one for each. The default is 1.", group="Look",
        basic=True, above=0, maximum=LARGEST_STYLE_SCALE, placeholder="SIZE,...")
    motif_size: int | None = setting(
        None, "Long side of a small copy of the picture on which style is measured too. The copy lets the network see "
        "large motifs, and gives pictures of every size the same look. Further copies lie between where this one is "
        "less than a quarter of the picture. The copy is larger where the network or a style needs more pixels. A "
        "picture of less than twice this size has no copy. 0 turns the copies off. The backbone has its own default. "
        "With --normalization=gatys or ng the default is 0.", group="Look", minimum=0, maximum=LARGEST_SIDE_PX,
        placeholder="PX")
    size: int | None = setting(
        None, f"Long side of the output in pixels. The default is {DEFAULT_SIZE_PX}. Without --content there is none.",
        group="Pictures", basic=True, minimum=1, maximum=LARGEST_SIDE_PX, placeholder="PX")
    min_size: int = setting(
        128, "Long side of the first and smallest stage. --min_size=SIZE leaves one stage.", minimum=1,
        maximum=LARGEST_SIDE_PX, placeholder="PX")
    steps: int = setting(320, "Optimization steps over all stages.", basic=True, minimum=1, placeholder="N")
    backbone: str = setting(
        "vgg19", "Network that looks at the pictures. kmeans needs no download. saved_model:DIR is a folder that "
        "export_model.py wrote.", group="Network", basic=True, choices=BackboneName, open_choice="saved_model:DIR")
    weights: str = setting(
        "", "Weights of the backbone, by name or from a file. The names are imagenet for vgg19, vgg16, resnet50, "
        "inception_v3 and squeezenet1_1, hed for vgg16, self and bundled for kmeans, and random for all. The default "
        "is imagenet or self. squeezenet and alexnet have none. Files end in .h5, .keras or .npz, in .caffemodel for "
        "vgg, squeezenet and alexnet, or in .net for squeezenet.",
        group="Network", basic=True, placeholder="NAME|FILE")
    precision: PrecisionName = setting(
        "auto", "Numbers that the network computes in. auto times one block of layers, and takes bfloat16 where it is "
        "at least 1.3 times as fast. It keeps that answer in ~/.cache/nst_tf. All else is float32.", group="Network",
        choices=PrecisionName)
    pooling: str = setting(
        "", "How the network halves its maps. The result is scaled to what the next layers expect. By default the "
        "network pools as it was trained.", group="Network", choices=PoolingName)
    padding: str = setting(
        "", "What stands around the maps of the convolutions: reflect, replicate, zero or trained. trained leaves the "
        "network as it is. :first changes the first convolution alone. The backbone has its own default.",
        group="Network", placeholder="NAME[:first]")
    content_layers: tuple[str, ...] = setting(
        (), "Layers that keep the content. The backbone has its own default.", group="Network",
        placeholder="LAYER[@WEIGHT],...")
    style_layers: tuple[str, ...] = setting(
        (), "Layers that carry the style. The backbone has its own default.", group="Network",
        placeholder="LAYER[@WEIGHT],...")
    # Defaults: DEFAULT_WEIGHTS in losses/objective.py.
    content_weight: float | None = setting(
        None, "Weight of the content. More keeps more of the photo. The default depends on --normalization.",
        group="Look", basic=True, minimum=0, placeholder="NUMBER")
    style_weight: float | None = setting(
        None, "Weight of the style. The default depends on --normalization.", group="Look", minimum=0,
        placeholder="NUMBER")
    smoothness_weight: float | None = setting(
        None, "Weight of the squared differences of neighboring pixels. More makes areas calmer. The default "
        "depends on --normalization.", group="Look", minimum=0, placeholder="NUMBER")
    dream: tuple[str, ...] = setting(
        (), "Layers whose units shall respond more. CHANNELS are numbers such as 3+17 or 0-15, or all, strong:N, "
        "weak:N or unused:N. unused:N takes the N units that content and styles use least. It needs a layer that "
        "neither of them reads. The default is all.", group="Look", placeholder="LAYER[:CHANNELS][@WEIGHT],...")
    dream_weight: float | None = setting(
        None, "Weight of the dream term, which has no unit. Only --normalization=relative has a default.",
        group="Look", minimum=0, placeholder="NUMBER")
    statistic: StatisticName = setting(
        "gram", "Which statistic of the features is the style. gram compares Gram matrices. mean_std compares mean and "
        "deviation of each channel. covariance compares mean and covariance. wasserstein compares the Gaussians that "
        "have these. histogram compares the distributions themselves.", group="Look", choices=StatisticName)
    normalization: NormalizationName = setting(
        "relative", "Scale of the terms. relative divides each by its target. gatys takes the scale of Gatys et al. "
        "2016. ng takes that of Ng's course. Each has its own default weights.", group="Look",
        choices=NormalizationName)
    init: str = setting(
        "", "First image: content, style, blend, white_noise, gaussian_noise, faint_noise, white, black, mean or a "
        "file. The default is content. Without --content it is faint_noise.", placeholder="NAME|FILE")
    color: ColorName = setting(
        "style", "Whose colors the picture has. style takes those of the styles. keep joins the lightness of the "
        "result to the colors of the photo. match first gives the styles the photo's mean and covariance of colors. "
        "luminance optimizes the lightness alone, under the colors of the photo.", group="Look", basic=True,
        choices=ColorName)
    canvas: CanvasName = setting(
        "pixels", "What is optimized. pixels are the values themselves. fourier are the Fourier coefficients of "
        "decorrelated colors.", choices=CanvasName)
    optimizer: OptimizerName = setting(
        "adam", "Optimization method. lbfgs judges one point a step. Its picture is the best one so far.",
        choices=OptimizerName)
    learning_rate: float | None = setting(
        None, "Step size in values of the canvas. Pixel values lie in [0, 1]. Each canvas has its own default. For "
        "lbfgs this is the root mean square of the first step of each stage.", above=0, placeholder="NUMBER")
    gradient_smoothing: float | None = setting(
        None, "Share of each gradient that is blurred by one pixel. The blur takes noise from flat areas. The default "
        "is 0.7. lbfgs and --canvas=fourier allow only 0, which is no blur.", minimum=0, maximum=1,
        placeholder="SHARE")
    jitter: int | None = setting(
        None, "Pixels by which the image is moved at random before each step. Moves hide the lattices that the "
        "network's strides leave. The backbone has its own default. lbfgs allows only 0, which is no move.", minimum=0,
        maximum=LARGEST_JITTER_PX, placeholder="PX")
    smoothing: str = setting(
        "", "What makes deep activations (stride 16 and more) less peaky. softmax:T takes a softmax over the channels, "
        "which is smoother with larger T. The backbone has its own default. With --normalization=relative the default "
        "is none.", group="Network", placeholder="none|softmax:T")
    schedule: str = setting(
        "", "Learning rate within a stage. cosine lets it fall to a twentieth. constant keeps it. The default is "
        "cosine. lbfgs allows only constant.", choices=ScheduleName)
    seed: int = setting(
        0, "Seed of every random number. The same command with the same seed gives the same bytes.", minimum=0,
        placeholder="N")

    @property
    def long_side_px(self) -> int:
        """`size`, or its default."""
        return DEFAULT_SIZE_PX if self.size is None else self.size


@dataclass(frozen=True)
class RunConfig(Settings):
    """Where a run is kept, how its picture is written and how often. Nothing here changes what is optimized."""

    output: str = setting(
        "", "The picture to write: .png .jpg .webp .tif.", group="Pictures", basic=True, placeholder="FILE")
    own_size: bool = setting(
        False, "Write the picture at the photo's own width and height. It is enlarged from --size. Previews stay "
        "small.", group="Pictures")
    bit_depth: int = setting(
        8, "Bits of each value of the written picture. .png and .tif can have 16.", group="Pictures", minimum=8,
        maximum=16, placeholder="8|16")
    logdir: str = setting("logs", "Folder of all runs, for TensorBoard.", group="Run", placeholder="DIR")
    run: str = setting(
        "", "Name of this run's folder. The default is <content>_<style>_<time>.", group="Run", basic=True,
        placeholder="NAME")
    resume: bool = setting(
        False, "Continue a stopped run. With a larger --steps, add steps to a finished one.", group="Run", basic=True)
    overwrite: bool = setting(
        False, "Start the run afresh and delete what its folder holds.", group="Run", basic=True)
    snapshots: tuple[int, ...] = setting(
        (), "Steps whose picture is kept in images/.", group="Run", minimum=1, placeholder="STEP,...")
    checkpoint_every: float = setting(
        10.0, "Seconds between checkpoints.", group="Run", minimum=0, placeholder="SECONDS")
    log_every: int = setting(
        10, "Steps between rows of metrics.jsonl and TensorBoard.", group="Run", minimum=1, placeholder="N")


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
                pixels = ", or pixels such as 400px" if field.type == tuple[float | str, ...] else ""
                raise UserError(f"{flag}={item} is out of range: give a number {bounds}{pixels}")


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
    """Whether a value is that of a flag that was not given. 0 was given, though it equals False."""
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
    kinds: dict[Any, Any] = {bool: bool, int: int, int | None: int, float: (int, float), float | None: (int, float),
                             float | str: (int, float, str)}
    allowed = kinds.get(kind, str)
    return isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))


def _described(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        items = {str: "texts", int: "whole numbers", float: "numbers", float | str: "numbers, or texts such as 400px"}
        return f"a list of {items[typing.get_args(kind)[0]]}"
    return {bool: "True or False", int: "a whole number", int | None: "a whole number", float: "a number",
            float | None: "a number"}.get(kind, "a text")
