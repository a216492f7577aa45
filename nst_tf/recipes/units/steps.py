"""Shows what the units of a network see: patches of images that excite each one most, and synthesized pictures."""

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nst_tf.backbones.extractor import Extractor
from nst_tf.backbones.table import find_backbone
from nst_tf.io import images
from nst_tf.recipes.units import panels, synthesis
from nst_tf.recipes.units.maxima import Seen, images_needed, nothing, to_arrays
from nst_tf.recipes.units.panels import TileFile
from nst_tf.recipes.units.patches import Patches, cut, look, shown_units
from nst_tf.recipes.units.plan import LayerPlan, Synthesis, UnitsPlan, complete_units, panels_px
from nst_tf.recipes.units.report import (
    LayerView, PATCHES_PANEL, layer_view, remove_report, save_panel, sheet_file, synthesized, write_page, write_sheet,
)
from nst_tf.recipes.units.synthesis import batches
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session, Written
from nst_tf.runs.session import STORED_IS_KEPT, memory_errors, say, tensorboard_line
from nst_tf.runs.tensorboard import write_pictures
from nst_tf.vocabulary import RunError, UserError

# Responses measured again may differ by rounding; more means that another image lies there now.
LARGEST_DIFFERENCE = 1e-3
# The stages of a look: the first pass over the images, the second one, the synthesis, the sheets.
FIRST_PASS, SECOND_PASS, SYNTHESIS, SHEETS = range(4)


class Report(NamedTuple):
    """The state after the last step: what the page shows."""

    views: Sequence[LayerView]
    patches: Patches | None


def session(job: Job) -> Session:
    """Builds the network for the passes over the images, the syntheses and the sheets that `--view` asks for.

    Raises:
        UserError: the network's weights cannot be had, or it has fewer units than were asked for.
    """
    config, plan = job.config, job.plan
    if config.backbone == "kmeans" or plan.weights == "random":
        say("nst_tf: this network has not been trained on objects: expect textures, edges and colors only")
    extractor = find_backbone(config.backbone).build(
        [layer.name for layer in plan.layers], plan.weights, config.seed, [])
    seen = job.state or nothing(_channels(plan, extractor))
    return Session(events=_events(job, extractor, seen), write=partial(_write, job))


def _channels(plan: UnitsPlan, extractor: Extractor) -> dict[str, int]:
    """How many units each layer has.

    Raises:
        UserError: fewer than were asked for: a network that learned from small pictures keeps fewer filters.
    """
    side_px = plan.smallest_side_px
    features = extractor(np.zeros((1, side_px, side_px, 3), np.float32))
    for layer in plan.layers:
        count = features[layer.name].shape[-1]
        if max((*layer.channels.indices, layer.channels.first - 1)) >= count:
            raise UserError(f"--weights={plan.weights}: layer {layer.name} has only {count} units there: give --layers="
                            f"{layer.name}:0-{count - 1}, or fewer")
    return {layer.name: features[layer.name].shape[-1] for layer in plan.layers}


def _events(job: Job, extractor: Extractor, seen: Seen) -> Iterator[Progress]:
    """Both passes over the images, then panels and sheets, written as they are made: few are in memory at once."""
    plan, folder = job.plan, job.options.place
    if job.options.overwrite:
        # Now: a stop in the first pass would leave the report of other settings beside this config.json.
        remove_report(folder)
    with contextlib.closing(TileFile(folder)) as tiles:
        patches = (yield from _patches(plan, extractor, seen, tiles)) if plan.images else None
        remove_report(folder)
        yield from _views(job, extractor, patches)


def _step(stage: int, step: int, total: int, unit: str, **fields: Any) -> Progress:
    """A step of a stage that counts for itself; the last of all are the sheets."""
    is_last = step == total
    return Progress(step=step, total_steps=total, stage=stage, stage_step=step, size=(), ends_stage=is_last,
                    goes_on=stage != SHEETS, losses={}, unit=unit, **{"state": None} | fields)


def _patches(plan: UnitsPlan, extractor: Extractor, seen: Seen,
             tiles: TileFile) -> Generator[Progress, None, Patches]:
    """Both passes over the images."""
    total = len(plan.images)
    if plan.repeated:
        say(f"nst_tf: {plan.repeated} of {total + plan.repeated} images were found before, and count once")
    if 0 < seen.images < total:
        say(f"nst_tf: continues at image {seen.images + 1} of {total}")
    with memory_errors(f"an image of {plan.size_px} px does not fit into memory: give a smaller --size"
                       f"{STORED_IS_KEPT}"):
        for seen in look(plan, extractor, seen, lambda reason: say(f"nst_tf: skipped: {reason}")):
            yield _step(FIRST_PASS, seen.images, total, "images", state=seen, arrays=partial(to_arrays, seen))
        if seen.skipped == total:
            raise UserError(f"none of the {total} images could be used: give other --images")
        shown = shown_units(plan, seen)
        passes, needed = cut(plan, extractor, seen, shown, tiles), len(images_needed(seen.maxima, shown))
        while True:
            try:
                done = next(passes)
            except StopIteration as end:
                patches: Patches = end.value
                break
            yield _step(SECOND_PASS, done, needed, "verified", state=seen)
    if patches.largest_difference > LARGEST_DIFFERENCE:
        raise RunError("responses measured again differ from those of the first pass: the images were changed since; "
                       "give --overwrite to start afresh")
    return patches


def _views(job: Job, extractor: Extractor, patches: Patches | None) -> Iterator[Progress]:
    """Writes the panels of every unit, and the sheet of each layer when its units are done."""
    plan, folder, size_px = job.plan, job.options.place, panels_px(complete_units(job.config))
    views: list[LayerView] = []
    steps_done = 0
    for number, layer in enumerate(plan.layers, 1):
        nines = patches.layers[layer.name] if patches else {}
        for unit, nine in nines.items():
            save_panel(folder, layer.name, unit, PATCHES_PANEL,
                       nine.panel() if nine.places else panels.crossed_out())
        units, responses = tuple(nines) or layer.channels.indices, dict[int, list[float]]()
        if plan.synthesis:
            for response in _synthesize(folder, plan.synthesis, extractor, layer.name, units):
                if response is None:
                    steps_done += 1
                    yield _step(SYNTHESIS, steps_done, _steps(plan.synthesis, plan.layers), "steps")
                else:
                    responses |= response
        views.append(layer_view(layer.facts, units, nines, responses, plan.size_px))
        write_sheet(folder, views[-1], size_px)
        yield _step(SHEETS, number, len(plan.layers), "sheets", state=Report(tuple(views), patches))


def _steps(how: Synthesis, layers: Sequence[LayerPlan]) -> int:
    """How many steps all pictures take."""
    return how.steps * sum(len(batches(range(layer.shown), how.diversity, how.synthesized_size)) for layer in layers)


def _synthesize(folder: Path, how: Synthesis, extractor: Extractor, layer: str,
                units: Sequence[int]) -> Iterator[Mapping[int, list[float]] | None]:
    """Writes the pictures of a layer's units as they are made; yields None a step, and how strongly units respond."""
    with memory_errors(f"the pictures of a unit, {how.diversity} of {how.synthesized_size} px, do not fit into memory: "
                       f"give a smaller --synthesized_size or --diversity{STORED_IS_KEPT}"):
        for part in synthesis.synthesize(how, extractor, layer, units):
            if part is None:
                yield None
                continue
            for unit, made in part.items():
                for number, one in enumerate(made, 1):
                    is_awake = one.activation > 0
                    save_panel(folder, layer, unit, synthesized(number),
                               panels.whole(one.picture) if is_awake else panels.crossed_out())
            yield {unit: [one.activation for one in made] for unit, made in part.items()}


def _write(job: Job, last: Progress | None) -> Written:
    """Writes the page, the table and the events, when all sheets are there."""
    config, plan, folder = job.config, job.plan, job.options.place
    if last is None or not last.is_last:
        return Written()
    views, patches = last.state
    about = f"{config.backbone} {Path(plan.weights).name}".strip()
    if plan.images:
        about += f", {len(plan.images)} images at most {plan.size_px} px long"
    write_page(folder, "What units see", [about], views)
    sheets = {layer.name: folder / sheet_file(layer.name) for layer in plan.layers}
    write_pictures(folder, ((f"units/{name}", images.load(path)) for name, path in sheets.items()))
    lines = [f"page:        {folder / 'index.html'}", f"sheets:      {', '.join(map(str, sheets.values()))}"]
    if patches:
        lines += [f"verified:    {patches.responses} responses measured again, largest relative difference "
                  f"{patches.largest_difference:.1g}",
                  f"skipped:     {patches.skipped} of {len(plan.images)} images"]
    return Written((*lines, tensorboard_line(config.output)))
