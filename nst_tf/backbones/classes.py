"""The names of ILSVRC-2012's 1000 classes, and the class that a name means. No TensorFlow."""

import difflib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nst_tf.vocabulary import UserError

CLASSES = Path(__file__).with_name("imagenet_classes.txt")
# An error lists so many classes.
MOST_LISTED = 6
# How a text may fit a name, the best first: it is the name, some words of it, a part of it.
_FITS: tuple[Callable[[str, str], bool], ...] = (
    str.__eq__, lambda text, name: f" {text} " in f" {name} ", lambda text, name: text in name)


class ImageClass(NamedTuple):
    """One class: all its names in WordNet, and what is meant where another class shares the first of them."""

    names: tuple[str, ...]
    meaning: str

    def written(self) -> str:
        """The first name, which is that of most tables, with its meaning."""
        return f"{self.names[0]} ({self.meaning})" if self.meaning else self.names[0]


@functools.cache
def image_classes() -> tuple[ImageClass, ...]:
    """The classes in the order of the networks' outputs."""
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    # What is before the first space is the number in WordNet.
    parts = [line.partition(" ")[2].partition(" | ") for line in lines if not line.startswith("#")]
    return tuple(ImageClass(tuple(names.split(", ")), meaning) for names, _, meaning in parts)


def find_class(text: str, what: str) -> int:
    """The number of the class that has a name, in any case; else of the only one that has it as words, or part, of one.

    A class may also be written as a run prints it, by number and name: `"207 golden retriever"`.

    Args:
        what: what an error names.
    Raises:
        UserError: no class has it, or several.
    """
    wanted = _plain(text)
    names = [[_plain(name) for name in image_class.names] for image_class in image_classes()]
    found = [number for number, image_class in enumerate(image_classes())
             if wanted in (f"{number} {name}" for name in (*names[number], _plain(image_class.written())))]
    for fits in _FITS:
        found = found or [number for number, of_class in enumerate(names)
                          if any(fits(wanted, name) for name in of_class) and wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{what}: '{text}' may be {_listed(found)}: give the number")
    near = difflib.get_close_matches(wanted, [name for of_class in names for name in of_class], n=MOST_LISTED)
    close = list(dict.fromkeys(number for name in near for number, of_class in enumerate(names) if name in of_class))
    hint = f"; the nearest are {_listed(close)}" if close else ""
    raise UserError(f"{what}: no class is called '{text}'{hint}: give one of ImageNet's 1000 names, or a number from 0 "
                    "to 999")


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())


def _listed(numbers: list[int]) -> str:
    listed = ", ".join(f"{number} {image_classes()[number].written()}" for number in numbers[:MOST_LISTED])
    return f"{listed} and {len(numbers) - MOST_LISTED} more" if len(numbers) > MOST_LISTED else listed
