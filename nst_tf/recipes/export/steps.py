"""Exports an extractor as a SavedModel, and on demand for LiteRT: a folder written whole, the report."""

import contextlib
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.saved_model_facts import Facts, SAVED_MODEL
from nst_tf.backbones.table import BACKBONES
from nst_tf.generators.files import Generator
from nst_tf.grammar import LayerWeight
from nst_tf.io.files import could_not_be_written
from nst_tf.recipes.export import litert, painter, signatures
from nst_tf.recipes.export.recipe import ExportConfig, ExportPlan, LITERT_FILE, check_output
from nst_tf.recipes.stylize.recipe import STYLIZE
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session, Written
from nst_tf.runs.session import beside_python, whole_command_of
from nst_tf.runtime import quiet_stderr
from nst_tf.version import __version__


def session(job: Job) -> Session:
    """Builds the network. There are no steps: the export is what is written."""
    config, plan = job.config, job.plan
    if plan.generator:
        return Session(events=iter(()), write=partial(_write_painter, config, plan.generator))
    extractor = BACKBONES[config.backbone].build([layer.name for layer in plan.layers], plan.weights, config.seed,
                                                 plan.pictures)
    return Session(events=iter(()), write=partial(_write, config, plan, extractor))


def _write(config: ExportConfig, plan: ExportPlan, extractor: Extractor, _: Progress | None) -> Written:
    """Exports, checks the export against the network and puts it in place.

    Raises:
        UserError: the folder was filled meanwhile; nothing was written.
        RunError: the disk refuses, or the export does not give what the network gives; nothing was written.
    """
    facts, differences_litert = _facts(config, plan, extractor), None
    with _written_whole(Path(config.output)) as folder, quiet_stderr():
        signatures.save(extractor, facts, folder)
        differences = signatures.differences(extractor, facts, folder)
        if config.litert:
            litert.save(extractor, folder / LITERT_FILE, config.litert_size)
            differences_litert = litert.differences(
                extractor, facts, folder / LITERT_FILE, config.litert_size)
        # Again: the folder may have been filled meanwhile.
        check_output(config)
    lines = _report(config, facts, differences)
    return Written((*lines, *(_report_litert(config, differences_litert) if differences_litert else ())))


def _write_painter(config: ExportConfig, generator: Generator, _: Progress | None) -> Written:
    """Exports a network of one forward pass, checks it and puts it in place.

    Raises:
        UserError, RunError: as in `_write`.
    """
    lines = []
    with _written_whole(Path(config.output)) as folder, quiet_stderr():
        painter.save(generator, folder)
        difference = painter.difference(generator, folder)
        if config.litert:
            path = folder / LITERT_FILE
            painter.save_litert(generator, path, config.litert_size, config.litert_numbers)
            of_litert = painter.difference_litert(generator, path, config.litert_size, config.litert_numbers)
            lines.append(f"LiteRT:      {Path(config.output) / LITERT_FILE}, {path.stat().st_size / 1e6:.1f} MB, "
                         "{} × {} px, ".format(*config.litert_size)
                         + f"{config.litert_numbers}; a pixel in [0, 1] differs by at most {of_litert:.0g}")
        check_output(config)
    return Written((
        f"SavedModel:  {config.output}, {_size_mb(config):.1f} MB, styles: "
        f"{', '.join(style.name for style in generator.styles)}",
        f"checked:     equals the network to {difference:.0g} of a pixel in [0, 1], in two sizes and batches", *lines))


def _size_mb(config: ExportConfig) -> float:
    """The size of what was written, without the LiteRT file."""
    return sum(path.stat().st_size for path in Path(config.output).rglob("*")
               if path.is_file() and path.name != LITERT_FILE) / 1e6


def default_layers(shares: Sequence[LayerWeight], layers: Sequence[str]) -> tuple[LayerWeight, ...]:
    """The default layers of a backbone that are among those exported, their weights again summing to 1."""
    kept = [share for share in shares if share.layer in layers]
    total = sum(share.weight for share in kept)
    return tuple(LayerWeight(share.layer, share.weight / total) for share in kept)


def _facts(config: ExportConfig, plan: ExportPlan, extractor: Extractor) -> Facts:
    row, names = BACKBONES[config.backbone], [layer.name for layer in plan.layers]
    # A network that learns from small pictures keeps fewer filters than its recipe allows.
    measured = tuple(layer._replace(channels=extractor.model.output[layer.name].shape[-1]) for layer in plan.layers)
    content, style, dream = (default_layers(shares, names)
                             for shares in (row.content_layers, row.style_layers, row.dream_layers))
    return Facts(__version__, config.backbone, plan.origin, config.seed, extractor.mean_color, measured, content, style,
                 dream, row.smoothing, row.jitter_px, row.motif_size_px, row.content_weight)


@contextlib.contextmanager
def _written_whole(output: Path) -> Iterator[Path]:
    """An empty folder beside `output`, which takes its place when the block ends well, and is removed when not."""
    target = Path(os.path.realpath(output))
    new, old = (target.with_name(f".{target.name}.{secrets.token_hex(8)}.{end}") for end in ("tmp", "old"))
    try:
        new.mkdir(parents=True)
        yield new
        if target.is_dir():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.is_dir():
                old.rename(target)
            raise
    except OSError as error:
        raise could_not_be_written(output, error) from error
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def _report(config: ExportConfig, facts: Facts, differences: dict[str, float]) -> list[str]:
    folder = os.path.abspath(config.output)
    show = shlex.join((beside_python("saved_model_cli"), "show", "--all", "--dir", folder))
    stylize = shlex.join((*whole_command_of(STYLIZE.name, STYLIZE.script), f"--backbone={SAVED_MODEL}{folder}"))
    missing = "".join(f" --{name}=..." for name in ("content_layers", "style_layers") if not getattr(facts, name))
    return [
        f"SavedModel:  {config.output}, {_size_mb(config):.1f} MB, {', '.join(layer.name for layer in facts.layers)}",
        f"checked:     equals the network to {max(differences.values()):.0g} of each layer's largest value, in two "
        "sizes and batches of one and two",
        f"signatures:  {show}",
        f"stylize:     {stylize}{missing} ..."]


def _report_litert(config: ExportConfig, differences: dict[str, float]) -> list[str]:
    path = Path(config.output) / LITERT_FILE
    size = "{} × {} px".format(*config.litert_size) if config.litert_size else "any size"
    width = max(map(len, differences))
    return [f"LiteRT:      {path}, {path.stat().st_size / 1e6:.1f} MB, {size}; its difference from Keras, as a share "
            "of each layer's largest value:",
            *(f"             {layer:<{width}}  {difference:.0g}" for layer, difference in differences.items())]
