"""Which networks are compared: `NAME[=WEIGHTS],…` and the folder of each. No TensorFlow."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nst_tf.backbones.table import BACKBONES, check_weights
from nst_tf.vocabulary import UserError, check_name


class Contestant(NamedTuple):
    """One network of a comparison: `weights` is a name or a path, "" where `missing` says why there are none."""

    backbone: str
    weights: str
    missing: str = ""

    @property
    def weights_name(self) -> str:
        """The weights as people are shown them: a file without its folders."""
        return Path(self.weights).name

    def is_same(self, other: "Contestant") -> bool:
        """Whether both are one network."""
        return self.backbone == other.backbone and os.path.realpath(self.weights) == os.path.realpath(other.weights)


def parse_contestant(text: str, flag: str) -> Contestant:
    """`"squeezenet=file.net"` → the network with these weights; with the table's default where none are named.

    Raises:
        UserError: an unknown network, or weights that are named and do not exist.
    """
    backbone, is_named, weights = text.partition("=")
    check_name(flag, backbone, BACKBONES)
    if not is_named and not BACKBONES[backbone].default_weights:
        return Contestant(backbone, "", f"it has no default weights: write {backbone}=FILE")
    if is_named and not weights:
        raise UserError(f"{flag}={text}: no weights stand after '=': write {backbone}, or {backbone}=NAME|FILE")
    try:
        return Contestant(backbone, check_weights(backbone, weights))
    except UserError as error:
        raise UserError(f"{flag}={text}: {error}") from None


def parse_contestants(texts: Sequence[str], flag: str) -> tuple[Contestant, ...]:
    """Every network of a list, or every row of the table.

    Raises:
        UserError: one is wrong or stands there twice, or there are weights for none.
    """
    contestants = tuple(parse_contestant(text, flag) for text in texts or BACKBONES)
    for index, contestant in enumerate(contestants):
        if any(contestant.is_same(earlier) for earlier in contestants[:index]):
            raise UserError(f"{flag}: {contestant.backbone} with weights '{contestant.weights}' is named twice")
    if all(contestant.missing for contestant in contestants):
        first = contestants[0]
        raise UserError(f"{flag}: there are no weights for any of these; {first.backbone}: {first.missing}")
    return contestants


def folder_names(contestants: Sequence[Contestant]) -> list[str]:
    """A folder for each: the network's name, with that of the weights where the network stands there again."""
    times = Counter(contestant.backbone for contestant in contestants)
    names: list[str] = []
    for backbone, weights, _ in contestants:
        name = f"{backbone}-{Path(weights).stem}" if times[backbone] > 1 else backbone
        name = re.sub(r"[^\w.+-]+", "-", name)
        taken = sum(1 for earlier in names if re.fullmatch(rf"{re.escape(name)}(-\d+)?", earlier))
        names.append(f"{name}-{taken + 1}" if taken else name)
    return names
