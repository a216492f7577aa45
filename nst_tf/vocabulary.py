"""The names a user may type, and the one way to say that a name or a value is wrong.

No TensorFlow here: flags, help and errors come from these names before it is imported. Each `Literal`
lists the keys of one table; `tests/test_vocabulary.py` holds the two equal.
"""

import difflib
import os
import re
from collections.abc import Iterable
from typing import Any, Literal, get_args

BackboneName = Literal[
    "vgg19", "vgg16", "resnet50", "inception_v3", "squeezenet", "squeezenet1_1", "alexnet", "kmeans"]
CanvasName = Literal["pixels", "fourier"]
ColorName = Literal["style", "keep", "match", "luminance"]
DomainName = Literal["waveform", "spectrum"]
DreamModeName = Literal["dream", "caricature"]
DreamObjectiveName = Literal["layer", "channel", "neuron", "direction"]
InitName = Literal[
    "content", "style", "blend", "white_noise", "gaussian_noise", "faint_noise", "white", "black", "mean"]
NormalizationName = Literal["relative", "gatys", "ng"]
NumbersName = Literal["float32", "float16", "int8"]
OptimizerName = Literal["adam", "lbfgs"]
EngineName = Literal["local", "ray"]
PaddingName = Literal["trained", "reflect", "replicate", "zero"]
PoolingName = Literal["max", "average", "l2"]
PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]
ReductionName = Literal["none", "qr", "distinctiveness"]
ScheduleName = Literal["cosine", "constant"]
SignalBackboneName = Literal["random", "kmeans"]
SmoothingName = Literal["none", "softmax"]
StatisticName = Literal["gram", "mean_std", "covariance", "wasserstein", "histogram"]
VideoModeName = Literal["flow", "frames"]
UnitObjectiveName = Literal["channel", "neuron"]
UnitViewName = Literal["patches", "synthesized", "both"]
OutputFormat = Literal[".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"]

# {flag, or flag=name of a value, that is gone: what to give instead}.
REPLACED = {"style_size": "style_scale={value}px", "smoothing=scale": "smoothing=softmax:10"}


# Control characters and line breaks, and the halves of surrogate pairs that stand for bytes that no encoding reads.
_BREAKS_A_LINE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class UserError(ValueError):
    """Bad input: one line that says what was given, what is allowed and what to do. Scripts exit with status 2."""


class InUse(UserError):
    """Another process writes the folder: what is refused now may be right later."""


class RunError(RuntimeError):
    """The run itself failed (a full disk, a value that is not finite). Scripts exit with status 1."""


class NotFinite(RunError):
    """A loss or a gradient is not finite, whichever way the run takes."""


def names(literal: Any) -> tuple[str, ...]:
    """The names that a `Literal` allows, in order."""
    return get_args(literal)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`", did you mean 'x'?"`, or `"."` when no allowed name is close."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else "."


def unknown(what: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name outside its table: the nearest spelling first, then every valid name."""
    allowed = list(allowed)
    return UserError(f"{what} {quoted(name)} is unknown{nearest(name, allowed)} Valid: {', '.join(allowed)}")


def check_name(what: str, name: Any, allowed: Iterable[Any]) -> Any:
    """`name` itself when it is allowed; otherwise raises `UserError`."""
    allowed = list(allowed)
    if name not in allowed:
        raise unknown(what, name, allowed)
    return name


def quoted(path: str | os.PathLike[str]) -> str:
    """The path in quotes; what would break a line is escaped, so that an error stays one line."""
    text = _BREAKS_A_LINE.sub(lambda match: ascii(match[0])[1:-1], os.fspath(path))
    return f'"{text}"' if "'" in text and '"' not in text else f"'{text}'"


def is_one_line(text: str) -> bool:
    """Whether a text can be printed, and stands in a line of a flag file: names of every language, signs and spaces."""
    return not _BREAKS_A_LINE.search(text)
