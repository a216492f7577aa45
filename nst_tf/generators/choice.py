"""Which network paints, and in which of its styles. No TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

from nst_tf.generators.files import Generator
from nst_tf.io import files
from nst_tf.io.files import quoted
from nst_tf.vocabulary import UserError


def mixture_of(generator: Generator, fast: str, style: Sequence[str], blend: Sequence[float]) -> tuple[float, ...]:
    """How much of each of the network's styles: those of --style, by their --style_blend; the sum is 1.

    Args:
        fast: the network, as errors name it.
        style: files or names of styles; the only one when left out.
    Raises:
        UserError: a style that the network has not learned, or several to choose from.
    """
    names = [known.name for known in generator.styles]
    if not style and len(names) > 1:
        raise UserError(f"--style is missing: {quoted(fast)} has {', '.join(names)}; give one, or several with "
                        "--style_blend")
    chosen = [_place(text, fast, generator) for text in style] or [0]
    blend = blend or (1.0,) * len(chosen)
    if len(blend) != len(chosen) or not any(blend):
        raise UserError(f"--style_blend has {len(blend)} weights for {len(chosen)} styles: give one for each --style, "
                        "not all 0")
    mixture, largest = [0.0] * len(names), max(blend)
    total = sum(weight / largest for weight in blend)
    for place, weight in zip(chosen, blend, strict=True):
        mixture[place] += weight / largest / total
    return tuple(mixture)


def _place(text: str, fast: str, generator: Generator) -> int:
    """Which of the network's styles a --style means: the very file, or the name of one."""
    checksum = files.sha256(text) if Path(text).is_file() else ""
    for place, style in enumerate(generator.styles):
        if checksum == style.sha256:
            return place
    for place, style in enumerate(generator.styles):
        if Path(text).stem == style.name:
            return place
    raise UserError(f"--style {quoted(text)} is none that {quoted(fast)} has learned: give one of "
                    f"{', '.join(style.name for style in generator.styles)}, or leave --fast out")
