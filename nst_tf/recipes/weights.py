"""Fetching trained weights ahead of time, listing and verifying them, as a row of the run machinery. No TensorFlow."""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nst_tf.backbones.table import BACKBONES, check_weights
from nst_tf.backbones.weights.download import KERAS_FILES, KerasFile, keras_weights
from nst_tf.backbones.weights.sources import SOURCES, WeightsError, cache_path, fetch, is_right, keras_home
from nst_tf.config import Settings, setting
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Options, Recipe, Session, Written
from nst_tf.runs.session import started
from nst_tf.vocabulary import BackboneName, UserError


@dataclass(frozen=True)
class WeightsConfig(Settings):
    """Whose weights are fetched or verified."""

    backbone: str = setting(
        "", "Network whose weights are fetched. Without it, the command lists all that can be fetched.",
        group="Network", basic=True, choices=BackboneName)
    weights: str = setting(
        "", "Name of the weights. By default these are the default weights of the network.", group="Network",
        basic=True, placeholder="NAME")
    verify: bool = setting(
        False, "Compare the files that were fetched with their checksums, and fetch nothing.", basic=True)


class Known(NamedTuple):
    """Weights that can be fetched: where they are kept, and where they come from. `keras` is Keras' own file."""

    backbone: str
    weights: str
    megabytes: float
    path: Path | None
    source: str
    keras: KerasFile | None = None

    @property
    def state(self) -> str:
        """Whether the file is here, to the last bit."""
        if self.path is None or not self.path.exists():
            return "not fetched"
        is_whole = self.keras.is_right if self.keras else is_right(self.path, SOURCES[self.backbone, self.weights])
        return "fetched" if is_whole else "damaged"


def known_weights() -> list[Known]:
    """All weights that can be fetched, those of the package index first. Keras' files with a classifier, which runs
    fetch where they name it, are among them where they are here.
    """
    found = [Known(*key, source.file_bytes / 1e6, cache_path(*key),
                   f"package {source.requirement}, license {source.license}; {source.authors}")
             for key, source in SOURCES.items()]
    for (name, has_classifier), file in KERAS_FILES.items():
        row, path = BACKBONES[name], file.cached
        if not has_classifier:
            found.append(Known(name, "imagenet", row.weights_mb, path or file.places[0], "Keras' own download", file))
        elif path and row.classifier:
            found.append(Known(name, "imagenet", row.classifier.weights_mb, path,
                               "Keras' own download, with the classifier", file))
    return found


def _resolve(config: WeightsConfig, _: None) -> list[Known]:
    """The weights that are meant.

    Raises:
        UserError: the network has no such weights, or none that can be fetched.
    """
    known = known_weights()
    if not config.backbone:
        if config.weights:
            raise UserError(f"--weights={config.weights} needs --backbone: give the network whose weights these are")
        return known
    weights = check_weights(config.backbone, config.weights or BACKBONES[config.backbone].default_weights or "random")
    meant = [each for each in known if (each.backbone, each.weights) == (config.backbone, weights)]
    if not meant:
        names = ", ".join(dict.fromkeys(f"--backbone={each.backbone} --weights={each.weights}" for each in known))
        raise UserError(f"--backbone={config.backbone}{f' --weights={weights}' if config.weights else ''}: there is "
                        f"nothing to fetch; give one of {names}")
    return meant


def session(job: Job) -> Session:
    """There are no steps: all is in what is written."""
    return Session(events=iter(()), write=partial(_write, job))


def _write(job: Job, _: Progress | None) -> Written:
    config, known = job.config, job.plan
    if config.verify:
        return _verify(known, is_named=bool(config.backbone))
    if not config.backbone:
        return Written((_table(known), f"kept in {keras_home() or 'no place, since there is no home folder'}; a run "
                        "fetches what it needs by itself"))
    return Written((_fetch(known[0]),))


def _fetch(known: Known) -> str:
    use = f"use them with --backbone={known.backbone} --weights={known.weights}"
    try:
        if known.keras is None:
            path, is_new = fetch(known.backbone, known.weights)
        else:
            is_new = known.keras.cached is None
            with started(f"{known.backbone} by Keras") if is_new else nullcontext():
                path = Path(keras_weights(known.backbone, has_classifier=False))
    except WeightsError as error:
        remedy = error.remedy if known.keras else "run this where pip reaches a package index"
        raise UserError(f"{error.reason}: {remedy}, or give a run --weights=FILE") from None
    return f"weights: {path}{'' if is_new else ', fetched before'}; {use}"


def _verify(known: list[Known], is_named: bool) -> Written:
    """One line for each file that is here, and for each that was named; status 1 where one is not as it must be."""
    lines, status = [], 0
    for each in known:
        state = each.state
        if state == "not fetched" and not is_named:
            continue
        if state == "damaged":
            state = ("not the file that Keras downloads, so it is cut off or your own; move it away" if each.keras else
                     f"damaged; --backbone={each.backbone} --weights={each.weights} without --verify replaces it")
        elif state == "fetched":
            state = "right, to the last bit"
        lines.append(f"{each.backbone} {each.weights}: {each.path} is {state}")
        status |= each.state != "fetched"
    return Written(tuple(lines) or ("nothing was fetched yet",), int(status))


def _table(known: list[Known]) -> str:
    rows = [(each.backbone, each.weights, f"{each.megabytes:.1f} MB", each.state, each.source) for each in known]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows)


WEIGHTS = Recipe(
    name="weights", script="get_weights.py", method=1, engine="nst_tf.recipes.weights:session", resolve=_resolve,
    options=lambda config, _: Options(folder=None, has_bar=False), needs_tensorflow=False)
