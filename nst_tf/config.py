"""Settings of stylize.py and of runs; other recipes' configs are in `recipes/`. Each default stands once.

Flags, help, `config.json` and the Python interface are made from these. A default of None is filled in by
`recipes/stylize/plan*.py`, that of `size` by `long_side_px`.

No TensorFlow here: `--help` and every check of a value answer before it is imported.
"""

import dataclasses
import math
import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nst_tf.grammar import LARGEST_JITTER_PX, LARGEST_WEIGHT, check_path, with_ends, with_home, written_list
from nst_tf.values import Bounds, check_number, described, has_type, plain, shown
from nst_tf.vocabulary import (
    BackboneName, CanvasName, ColorName, NormalizationName, OptimizerName, PoolingName, PrecisionName, ScheduleName,
    StatisticName, UserError, check_name, is_one_line, names, quoted,
)

# No picture has a longer side; sizes beyond it would fail for memory after long work.
LARGEST_SIDE_PX = 65_535
DEFAULT_SIZE_PX = 512
# A style is measured at its own size at most; larger than this is a slip.
LARGEST_STYLE_SCALE = 16
# Of one process. More threads than cores are harmless.
LARGEST_THREADS = 1024


# The headings of `--help`, in order; `setting` names one of them.
GROUPS = ("Pictures", "Signals", "Look", "Network", "Work", "Run")


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
        placeholder: what stands after `--name=` in the help. With FILE, FOLDER or DIR in it, values hold paths.
    """
    assert group in GROUPS, group
    allowed = choices and (*names(choices), *([open_choice] if open_choice else []))
    metadata = {"help": help, "group": group, "basic": basic, "bounds": Bounds(minimum, above, maximum),
                "choices": allowed, "open_choice": open_choice, "placeholder": placeholder,
                "before_path": _before_path(placeholder, open_choice)}
    return dataclasses.field(default=default, metadata=metadata)


def _before_path(placeholder: str, open_choice: str) -> str | None:
    """A pattern of what stands before the path in a value; None where values hold no path."""
    if open_choice:
        return re.escape(open_choice.partition(":")[0]) + ":"
    if not re.search("FILE|FOLDER|DIR", placeholder):
        return None
    if "|fast:" in placeholder:
        return "(?:fast:)?"
    return r"\w+=" if "[=" in placeholder else ""


def same(config_type: Any, name: str) -> Any:
    """A field like that of another config dataclass: default, help, bounds and choices stand once."""
    field = config_type.__dataclass_fields__[name]
    return dataclasses.field(default=field.default, metadata=field.metadata)


Config = TypeVar("Config", bound="Settings")
_COLOR = re.compile("#[0-9a-fA-F]{6}")


class Settings:
    """The base of the config dataclasses: what may be given, and what is kept of it.

    From Python, `plain` takes further kinds of values. `~` at the start of a path is the user's home folder.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, _plain(getattr(self, field.name), field))


def _plain(value: Any, field: "dataclasses.Field[Any]") -> Any:
    return _with_paths(plain(value, is_list=isinstance(field.default, tuple)), field, with_home)


def _with_paths(value: Any, field: "dataclasses.Field[Any]", change: Callable[[str], str]) -> Any:
    """A value in which every path is changed."""
    def changed(item: Any) -> Any:
        start = _path_start(item, field)
        return item if start is None else item[:start] + change(item[start:])

    return tuple(map(changed, value)) if isinstance(value, tuple) else changed(value)


def _path_start(item: Any, field: "dataclasses.Field[Any]") -> int | None:
    """Where the path begins in a value or an item of it; None where it holds none."""
    before = field.metadata["before_path"]
    match = re.match(before, item) if before is not None and isinstance(item, str) else None
    return match and match.end()


def paths_of(config: Any) -> Iterator[tuple[str, str]]:
    """(flag, path) of every path in a config. Names that may stand in its place, such as `bundled`, are among them."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for item in value if isinstance(value, tuple) else (value,):
            start = _path_start(item, field)
            if start is not None and item[start:]:
                yield f"--{field.name}", item[start:]


def absolute_paths(config: Config) -> Config:
    """The config with absolute paths. What may be a name, a color or a grid is a path where such a file exists."""
    def absolute(text: str, field: "dataclasses.Field[Any]") -> str:
        is_path = bool(text) and (field.metadata["placeholder"].startswith(("FILE", "FOLDER", "DIR"))
                                  or bool(field.metadata["open_choice"])
                                  or os.path.exists(text) and ("." in text or os.sep in text))
        return str(Path(text).absolute()) if is_path and not _COLOR.fullmatch(text) else text

    values = {field.name: _with_paths(getattr(config, field.name), field, partial(absolute, field=field))
              for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    return dataclasses.replace(config, **values)  # type: ignore[type-var]


@dataclass(frozen=True)
class StylizeConfig(Settings):
    """What picture is made: two equal configs (and equal input files) give the same bytes."""

    content: str = setting(
        "", "The photo to stylize. Without it, the styles alone make a square texture, whose side is --size.",
        group="Pictures", basic=True, placeholder="FILE")
    style: tuple[str, ...] = setting(
        (), "One or more paintings that give the style. A comma in a name: '\"a,b.jpg\",c.jpg'.", group="Pictures",
        basic=True, placeholder="FILE,...")
    fast: str = setting(
        "", "Paint in one forward pass, by a network that train_fast.py wrote. --style chooses among its own styles. "
        "Flags of the optimizer are refused then.", group="Pictures", basic=True, placeholder="DIR")
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
        "auto", "Numbers that the network computes in. auto times the network, and takes bfloat16 where it is at "
        "least 1.15 times as fast. It keeps that answer for this network in ~/.cache/nst_tf. All else is float32.",
        group="Network", choices=PrecisionName)
    pooling: str = setting(
        "", "How the network halves its maps. The result is scaled to what the next layers expect. By default the "
        "network pools as it was trained.", group="Network", choices=PoolingName)
    padding: str = setting(
        "", "What stands around the maps of the convolutions: reflect, replicate, zero or trained. trained leaves the "
        "network as it is. :first changes the first convolution alone. The backbone has its own default.",
        group="Network", placeholder="NAME[:first]")
    reduce: str = setting(
        "none", "Removes channels of the network for a part of the run, which makes its steps faster and less exact. "
        "qr:KEPT keeps a share of the channels of each layer, those that tell most of the pictures at hand. "
        "distinctiveness:ANGLE removes those that respond alike, within so many degrees. Only vgg19, vgg16 and kmeans "
        "have it.", group="Network", placeholder="none|qr:KEPT|distinctiveness:ANGLE")
    reduce_share: float | None = setting(
        None, "Share of the steps, from the first on, that the reduced network takes. The whole network takes the "
        "others. The default is 0.6. 1 is the whole run.", group="Network", above=0, maximum=1, placeholder="SHARE")
    content_layers: tuple[str, ...] = setting(
        (), "Layers that keep the content. The backbone has its own default.", group="Network",
        placeholder="LAYER[@WEIGHT],...")
    style_layers: tuple[str, ...] = setting(
        (), "Layers that carry the style. The backbone has its own default.", group="Network",
        placeholder="LAYER[@WEIGHT],...")
    # Defaults: DEFAULT_WEIGHTS in losses/objective.py, and `content_weight` of a row of the backbones.
    content_weight: float | None = setting(
        None, "Weight of the content. More keeps more of the photo. The default depends on --normalization and "
        "--backbone.", group="Look", basic=True, minimum=0, maximum=LARGEST_WEIGHT, placeholder="NUMBER")
    style_weight: float | None = setting(
        None, "Weight of the style. The default depends on --normalization.", group="Look", minimum=0,
        maximum=LARGEST_WEIGHT, placeholder="NUMBER")
    smoothness_weight: float | None = setting(
        None, "Weight of the squared differences of neighboring pixels. More makes areas calmer. The default "
        "depends on --normalization.", group="Look", minimum=0, maximum=LARGEST_WEIGHT, placeholder="NUMBER")
    dream: tuple[str, ...] = setting(
        (), "Layers whose units shall respond more. CHANNELS are numbers such as 3+17 or 0-15, or all, strong:N, "
        "weak:N or unused:N. unused:N takes the N units that content and styles use least. It needs a layer that "
        "neither of them reads. The default is all. The classes of conv10 and predictions have names too, such as "
        "conv10:daisy.", group="Look", placeholder="LAYER[:CHANNELS][@WEIGHT],...")
    dream_weight: float | None = setting(
        None, "Weight of the dream term, which has no unit. Only --normalization=relative has a default.",
        group="Look", minimum=0, maximum=LARGEST_WEIGHT, placeholder="NUMBER")
    neighbors_weight: float | None = setting(
        None, "Weight of the distance of each place of the picture to the place of the styles that is most like it, on "
        "the layers of the style, at the last size. It has no unit. More makes strokes cleaner. By default it is 0.",
        group="Look", minimum=0, maximum=LARGEST_WEIGHT, placeholder="NUMBER")
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
        "file. fast:DIR is the photo as a network of train_fast.py paints it. The default is content. Without "
        "--content it is faint_noise.", placeholder="NAME|FILE|fast:DIR")
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
    tile: str = setting(
        "auto", "Side of the tiles in which a large picture is measured. Tiles bound the memory and change only the "
        "rounding. auto takes the whole picture where it fits into memory, else the largest tiles that do. off takes "
        "the whole picture.", placeholder="auto|off|PX")
    seed: int = setting(
        0, "Seed of every random number. The same command with the same seed gives the same bytes.", minimum=0,
        placeholder="N")
    threads: int | None = setting(
        None, "Threads that compute each operation. Another number adds in another order, which makes a slightly other "
        "picture. The default is one for each core that the process may use. A run goes on with the number that it "
        "began with.", minimum=1, maximum=LARGEST_THREADS, placeholder="N")

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
        10.0, "Seconds between checkpoints. They are more where writing one takes more than a tenth of them. 0 is "
        "after each step.", group="Run", minimum=0, placeholder="SECONDS")
    memory_limit: float | None = setting(
        None, "Gigabytes that the run must not exceed. By them --tile=auto chooses the tiles. The default is four "
        "fifths of the memory of the machine or container.", above=0, placeholder="GB")
    log_every: int = setting(
        10, "Steps between rows of metrics.jsonl and TensorBoard.", group="Run", minimum=1, placeholder="N")


def check(config: Any, expected: type | None = None) -> None:
    """Raises `UserError` for the first value of a config dataclass of the wrong type or outside its bounds or choices.

    The text names flag, value and remedy.

    Args:
        expected: the class of the config, where a user of Python may have given another thing.
    """
    if expected is not None and not isinstance(config, expected):
        raise UserError(f"{shown(config)} is no {expected.__name__}: give one, as in "
                        f"{expected.__name__}(content='photo.jpg', ...)")
    for field in dataclasses.fields(config):
        flag, value = f"--{field.name}", getattr(config, field.name)
        if not has_type(value, field.type):
            asked = described(field.type, field.metadata["placeholder"].startswith(("FILE", "FOLDER", "DIR")))
            raise UserError(f"{flag}={shown(value)} is of the wrong kind: give {asked}")
        prefix, colon, _ = field.metadata["open_choice"].partition(":")
        is_open = colon and value.startswith(prefix + colon)
        if field.metadata["choices"] and value != field.default and not is_open:
            check_name(flag, value, field.metadata["choices"])
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, (int, float)) and not isinstance(item, bool):
                check_number(flag, item, field.metadata["bounds"], field.type, field.metadata["group"] != "Run")
    for flag, path in paths_of(config):
        check_path(path, flag)


def check_working_folder(*configs: Any) -> None:
    """Raises `UserError` where files lie by a folder whose name cannot stand in a flag file, which has whole paths."""
    # What is not there is a name, such as that of weights. A run makes the folders that it writes to.
    found = any(not os.path.isabs(path) and (flag in ("--logdir", "--output") or os.path.exists(path))
                for config in configs for flag, path in paths_of(config))
    if found and not is_one_line(os.getcwd()):
        raise UserError(f"the working folder {quoted(os.getcwd())} has a name that cannot be printed: change to "
                        "another with cd, or rename it")


def to_flags(*configs: Any, leave_out: Collection[str] = ()) -> str:
    """The flag file that repeats these configs: one `--name=value` a line, whatever later defaults may be."""
    lines = []
    for config in configs:
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if not is_unset(value) and field.name not in leave_out:
                text = write_value(value)
                lines.append(f"--{field.name}={text if isinstance(value, tuple) else with_ends(text)}")
    return "\n".join(lines) + "\n"


def is_unset(value: Any) -> bool:
    """Whether a value is that of a flag that was not given. 0 was given, though it equals False."""
    return value is None or value is False or value in ("", ())


def write_value(value: Any) -> str:
    """A value as it stands on the command line; in lists, what holds a comma is quoted."""
    if isinstance(value, tuple):
        return written_list(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
