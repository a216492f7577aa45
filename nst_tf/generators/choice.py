"""Which network paints, and in which of its styles. No TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

from nst_tf.generators.files import Generator
from nst_tf.io import files
from nst_tf.io.files import quoted
from nst_tf.vocabulary import UserError


# What stands before the folder of a network that paints the first image.
FAST_INIT = "fast:"


def fast_folder(init: str) -> str:
    """The folder in `--init=fast:DIR`; "" for another first image.

    Raises:
        UserError: it names none.
    """
    if not init.startswith(FAST_INIT):
        return ""
    if init == FAST_INIT:
        raise UserError(f"--init={init} names no folder: give one that train_fast.py wrote, as in --init=fast:painter")
    return init.removeprefix(FAST_INIT)


def mixture_of(generator: Generator, fast: str, style: Sequence[str], blend: Sequence[float],
               flag: str = "--fast") -> tuple[float, ...]:
    """How much of each of the network's styles: those of --style, by their --style_blend; the sum is 1.

    Args:
        fast: the network, as errors name it; flag: that gives it.
        style: files or names of styles; the only one when left out.
    Raises:
        UserError: a style that the network has not learned, or several to choose from.
    """
    names = [known.name for known in generator.styles]
    if not style and len(names) > 1:
        raise UserError(f"--style is missing: {quoted(fast)} has {', '.join(map(quoted, names))}; give one, or several "
                        "with --style_blend")
    chosen = [_place(text, fast, generator, flag) for text in style] or [0]
    blend = blend or (1.0,) * len(chosen)
    if len(blend) != len(chosen) or not any(blend):
        raise UserError(f"--style_blend has {len(blend)} weights for {len(chosen)} styles: give one for each --style, "
                        "not all 0")
    mixture, largest = [0.0] * len(names), max(blend)
    total = sum(weight / largest for weight in blend)
    for place, weight in zip(chosen, blend, strict=True):
        mixture[place] += weight / largest / total
    return tuple(mixture)


def _place(text: str, fast: str, generator: Generator, flag: str) -> int:
    """Which of the network's styles a --style means: the name of one, or the very file that was learned."""
    names = [style.name for style in generator.styles]
    if text in names:
        return names.index(text)
    checksum = files.sha256(text) if Path(text).is_file() else ""
    for place, style in enumerate(generator.styles):
        if checksum == style.sha256:
            return place
    listed, stem = ", ".join(map(quoted, names)), Path(text).stem
    if checksum and stem in names:
        raise UserError(f"--style {quoted(text)} has other bytes than the painting {quoted(stem)} that {quoted(fast)} "
                        f"has learned: give --style={stem}, or leave {flag} out")
    raise UserError(f"--style {quoted(text)} is none that {quoted(fast)} has learned: give one of {listed}, or leave "
                    f"{flag} out")
