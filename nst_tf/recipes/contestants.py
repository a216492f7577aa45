"""Networks as comparisons and judges name them: a name, with default weights or others. No TensorFlow."""

import os
from pathlib import Path
from typing import NamedTuple

from nst_tf.backbones.table import BACKBONES, check_weights
from nst_tf.recipes.stylize.plan_sizes import SHALLOWER
from nst_tf.vocabulary import UserError, check_name

# From here on, an error names flags of the command of a single network.
_OTHER_WEIGHTS = ", or give --weights=FILE"


class Contestant(NamedTuple):
    """One network: `weights` is a name or a path. `missing` says why it cannot run."""

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

    def said(self, error: object) -> str:
        """What is wrong, where networks have no flags of their own for weights and layers."""
        text, is_of_weights, _ = str(error).partition(_OTHER_WEIGHTS)
        return f"{text}, or write {self.backbone}=FILE" if is_of_weights else text.removesuffix(SHALLOWER)


def parse_contestant(text: str, flag: str) -> Contestant:
    """`"squeezenet=file.net"` → the network with these weights; with the table's default where none are named."""
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


def parse_judge(text: str) -> Contestant:
    """The network of --judge.

    Raises:
        UserError: it cannot run.
    """
    judging = parse_contestant(text, "--judge")
    if judging.missing:
        raise UserError(f"--judge={text}: {judging.missing}")
    return judging
