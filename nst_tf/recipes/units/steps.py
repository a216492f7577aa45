"""Shows what the units of a network see: patches of images that excite each one most, and synthesized pictures."""

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.backbones.extractor import Extractor
from nst_tf.io import images
from nst_tf.io.picture_folders import left_out
from nst_tf.recipes.stylize.plan_terms import check_channels
from nst_tf.recipes.units import report, synthesis
from nst_tf.recipes.units.maxima import MaximaState, empty_state, to_arrays
from nst_tf.recipes.units.panels import SIDE_PX, TileFile, crossed_out
from nst_tf.recipes.units.patches import Patches, cut_patches, find_maxima, images_needed, shown_units
from nst_tf.recipes.units.plan import UnitsPlan, panels_px
from nst_tf.runs.progress import Failure, Progress
from nst_tf.runs.recipe import Job, Session, Written
from nst_tf.runs.session import STORED_IS_KEPT, memory_errors, say, tensorboard_line
from nst_tf.runs.tensorboard import write_pictures
from nst_tf.vocabulary import RunError, UserError

# The responses of both passes may differ by rounding. More means that the image has changed.
LARGEST_DIFFERENCE = 1e-3
# The stages: the first pass over the images, the second one, the synthesis, the sheets.
FIRST_PASS, SECOND_PASS, SYNTHESIS, SHEETS = range(4)


class Passes(NamedTuple):
    """What both passes over the images have found."""

    units: Mapping[str, Sequence[int]]  # that are shown, by layer
    patches: Patches | None             # none where no patches are shown
    skipped: int                        # images


def session(job: Job) -> Session:
    """Builds the network for the passes over the images, the syntheses and the sheets that `--view` asks for.

    Raises:
        UserError: the network's weights cannot be had, or it has fewer units than were asked for.
    """
    config, plan = job.config, job.plan
    if config.backbone == "kmeans" or plan.weights == "random":
        say("nst_tf: this network has not been trained on objects: expect textures, edges and colors only")
    extractor = plan.row.build([layer.name for layer in plan.layers], plan.weights, config.seed, [])
    state = job.state or empty_state(_unit_counts(plan, extractor))
    return Session(events=_events(job, extractor, state), write=partial(_write, job))


def _unit_counts(plan: UnitsPlan, extractor: Extractor) -> dict[str, int]:
    """How many units each layer has.

    Raises:
        UserError: fewer than were asked for. A network that learned from small pictures keeps fewer filters.
    """
    side_px = plan.smallest_side_px
    features = extractor(np.zeros((1, side_px, side_px, 3), np.float32))
    counts = {layer.name: features[layer.name].shape[-1] for layer in plan.layers}
    for layer in plan.layers:
        check_channels(layer.channels, counts[layer.name], layer.name, f"--weights={plan.weights}: --layers")
    return counts


def _events(job: Job, extractor: Extractor, state: MaximaState) -> Iterator[Progress]:
    """Both passes over the images, then panels and sheets. Each is written at once, so that few are in memory.

    The state of a step is that of the first pass; after a sheet it is all that the page shows.
    """
    plan, folder = job.plan, job.options.place
    if job.options.overwrite:
        # Before the first pass: a stop would leave the report of other settings beside the new config.json.
        report.remove_report(folder)
    passes = Passes({layer.name: layer.channels.indices for layer in plan.layers}, None, 0)
    with contextlib.closing(TileFile(folder)) as tiles:
        if plan.images:
            passes = yield from _passes(plan, extractor, state, tiles)
        report.remove_report(folder)
        yield from _sheets(job, extractor, passes, tiles)


def _step(stage: int, step: int, total: int, unit: str, **fields: Any) -> Progress:
    """A step of a stage that counts for itself. The last step of all is the last sheet."""
    return Progress(step=step, total_steps=total, stage=stage, stage_step=step, size=(), ends_stage=step == total,
                    goes_on=stage != SHEETS, losses={}, unit=unit, **{"state": None} | fields)


def _passes(plan: UnitsPlan, extractor: Extractor, state: MaximaState,
            tiles: TileFile) -> Generator[Progress, None, Passes]:
    """Both passes over the images."""
    total = len(plan.images)
    if plan.repeated:
        say(f"nst_tf: {plan.repeated} of {total + plan.repeated} images were found before, and count once")
    if plan.others:
        say(f"nst_tf: {left_out('--images', plan.others)}")
    if 0 < state.images < total:
        say(f"nst_tf: continues at image {state.images + 1} of {total}")
    with memory_errors(f"an image of {plan.size_px} px does not fit into memory: give a smaller --size"
                       f"{STORED_IS_KEPT}"):
        for state in find_maxima(plan, extractor, state, lambda reason: say(f"nst_tf: skipped: {reason}")):
            yield _step(FIRST_PASS, state.images, total, "images", state=state, arrays=partial(to_arrays, state))
        if state.skipped == total:
            raise UserError(f"none of the {total} images could be used: give other --images")
        units, patches = shown_units(plan, state.maxima), Patches({}, 0.0)
        count = len(images_needed(state.maxima, units))
        for step, patches in enumerate(cut_patches(plan, extractor, state.maxima, units, tiles), 1):
            yield _step(SECOND_PASS, step, count, "verified")
    if patches.largest_difference > LARGEST_DIFFERENCE:
        raise RunError("responses measured again differ from those of the first pass: the images were changed since; "
                       "give --overwrite to start afresh")
    return Passes(units, patches, state.skipped)


def _sheets(job: Job, extractor: Extractor, passes: Passes, tiles: TileFile) -> Iterator[Progress]:
    """Writes the panels of every unit, and the sheet of each layer when its units are done."""
    config, plan, folder = job.config, job.plan, job.options.place
    layers: tuple[report.LayerView, ...] = ()
    synthesis_steps = config.steps * sum(
        len(synthesis.batches(range(layer.unit_count), config.diversity, config.synthesized_size))
        for layer in plan.layers)
    step = 0
    for number, layer in enumerate(plan.layers, 1):
        activations: dict[int, list[float]] = {unit: [] for unit in passes.units[layer.name]}
        if config.has_patches:
            for unit in activations:
                report.save_panel(folder, layer.name, unit, report.PATCHES, tiles.panel(layer.name, unit))
        if config.has_synthesis:
            for failure in _synthesize(job, extractor, layer.name, activations):
                step += failure is None
                yield _step(SYNTHESIS, step, synthesis_steps, "steps",
                            failure=failure._replace(step=step + 1) if failure else None)
        patches = passes.patches
        views = tuple(report.unit_view(layer.name, unit, patches.of_unit(layer.name, unit) if patches else None, values,
                                       plan.row.channel_name(layer.name, unit))
                      for unit, values in activations.items())
        about = report.about_layer(layer.facts, plan.size_px, config.has_patches)
        layers += (report.LayerView(layer.facts, about, views),)
        report.write_sheet(folder, layers[-1], panels_px(config))
        yield _step(SHEETS, number, len(plan.layers), "sheets", state=(layers, passes))


def _synthesize(job: Job, extractor: Extractor, layer: str,
                activations: dict[int, list[float]]) -> Iterator[Failure | None]:
    """Writes the pictures of a layer's units as they are made; yields once a step, or what has failed.

    Args:
        activations: takes how strongly each of its units responds to its pictures.
    """
    config, is_signed = job.config, job.plan.row.is_signed(layer)
    with memory_errors(f"the pictures of a unit, {config.diversity} of {config.synthesized_size} px, do not fit into "
                       f"memory: give a smaller --synthesized_size or --diversity{STORED_IS_KEPT}"):
        for part in synthesis.synthesize(config, extractor, layer, is_signed, tuple(activations)):
            if part is None or isinstance(part, Failure):
                yield part
                continue
            for unit, pictures in part.items():
                activations[unit] = [activation for _, activation in pictures]
                for number, (picture, activation) in enumerate(pictures, 1):
                    panel = images.resize(picture, SIDE_PX, SIDE_PX) if activation > 0 else crossed_out()
                    report.save_panel(job.options.place, layer, unit, report.synthesized(number), panel)


def _write(job: Job, last: Progress | None) -> Written:
    """Writes the page, the table and the events, when all sheets are there."""
    config, plan, folder = job.config, job.plan, job.options.place
    if last is None or not last.is_last:
        return Written()
    layers, (_, patches, skipped) = last.state
    about = f"{config.backbone} {Path(plan.weights).name}".strip()
    if plan.images:
        about += f", {len(plan.images)} images at most {plan.size_px} px long"
    report.write_page(folder, "What units see", [about], layers)
    sheets = {layer.name: folder / report.sheet_file(layer.name) for layer in plan.layers}
    write_pictures(folder, ((f"units/{name}", images.load(path)) for name, path in sheets.items()))
    lines = [f"page:        {folder / 'index.html'}", f"sheets:      {', '.join(map(str, sheets.values()))}"]
    if patches:
        lines += [f"verified:    {len(patches.records)} responses measured again, largest relative difference "
                  f"{patches.largest_difference:.1g}",
                  f"skipped:     {skipped} of {len(plan.images)} images"]
    return Written((*lines, tensorboard_line(config.output)))
