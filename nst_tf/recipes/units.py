"""Shows what the units of a network see: patches of images that excite each one most, and synthesized pictures.

No TensorFlow here until everything that a user may have got wrong is checked.
"""

import contextlib
import dataclasses
import itertools
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nst_tf.backbones.table import find_backbone
from nst_tf.config import to_flags
from nst_tf.io import images, unit_panels
from nst_tf.io.files import quoted, write_atomically
from nst_tf.io.unit_panels import TileFile
from nst_tf.recipes import unit_maxima
from nst_tf.recipes.folder import locked
from nst_tf.recipes.plan_units import (
    STATE_FILE, Synthesis, UnitsConfig, UnitsPlan, absolute, filled, panels_px, resolve_units,
)
from nst_tf.recipes.run import beside_python, memory_errors, say, stop_signals
from nst_tf.recipes.unit_maxima import Seen, images_needed
from nst_tf.recipes.unit_report import LayerView, remove_report, save_panel, sheet_file, write_page, write_sheet
from nst_tf.recipes.unit_views import PATCHES_PANEL, layer_view, synthesized
from nst_tf.runtime import start_tensorflow
from nst_tf.track.cadence import every_seconds
from nst_tf.track.progress import CountBar
from nst_tf.vocabulary import RunError, UserError

if TYPE_CHECKING:
    from nst_tf.backbones.extractor import Extractor
    from nst_tf.recipes.unit_patches import Patches

# Responses measured again may differ by rounding; more means that another image lies there now.
LARGEST_DIFFERENCE = 1e-3


class _Stopped(Exception):
    """A signal came; `line` says how far things are."""

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.line = line


def run(config: UnitsConfig) -> int:
    """Finds, verifies and cuts patches, synthesizes pictures, writes sheets, page and table, as `--view` asks for.

    Returns:
        the exit status: 0, or 130 / 143 when a signal stopped it; the same command then goes on.
    Raises:
        UserError: a setting or a file is wrong, before any long work, or no image could be read.
    """
    plan = resolve_units(config)
    folder = Path(config.output)
    _stored(config, plan)
    say(f"nst_tf: {start_tensorflow()}, {', '.join(f'{layer.shown} units of {layer.name}' for layer in plan.layers)}")
    if config.backbone == "kmeans" or plan.weights == "random":
        say("nst_tf: this network has not been trained on objects: expect textures, edges and colors only")
    extractor = find_backbone(config.backbone).build(
        [layer.name for layer in plan.layers], plan.weights, config.seed, [])
    channels = _channels(plan, extractor)
    with locked(folder), stop_signals() as received:
        # Again: until now another process may have written here.
        seen = _stored(config, plan) or unit_maxima.nothing(channels)
        _prepare(folder, config)
        try:
            with contextlib.closing(TileFile(folder)) as tiles:
                patches = _patches(config, plan, extractor, seen, tiles, received) if plan.images else None
                remove_report(folder)
                views = _views(folder, plan, extractor, patches, panels_px(filled(config)), received)
        except _Stopped as stopped:
            say(f"nst_tf: {stopped.line}; to go on: {beside_python('python')} scripts/visualize_units.py "
                f"--flagfile={shlex.quote(str(folder / 'flags.txt'))}")
            return 128 + received[0]
        _report(config, plan, patches, views)
    return 0


def _channels(plan: UnitsPlan, extractor: "Extractor") -> dict[str, int]:
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


def _patches(config: UnitsConfig, plan: UnitsPlan, extractor: "Extractor", seen: Seen, tiles: TileFile,
             received: Sequence[int]) -> "Patches":
    """Both passes over the images."""
    from nst_tf.recipes.unit_patches import cut, look, shown_units

    if plan.repeated:
        say(f"nst_tf: {plan.repeated} of {len(plan.images) + plan.repeated} images were found before, and count once")
    if 0 < seen.images < len(plan.images):
        say(f"nst_tf: continues at image {seen.images + 1} of {len(plan.images)}")
    with memory_errors(f"an image of {plan.size_px} px does not fit into memory: give a smaller --size"):
        steps = look(plan, extractor, seen, lambda reason: say(f"nst_tf: skipped: {reason}"))
        interval_seconds = filled(config).checkpoint_every or 0.0
        seen = _follow(plan, Path(config.output) / STATE_FILE, steps, seen, interval_seconds, received)
        if seen.skipped == len(plan.images):
            raise UserError(f"none of the {len(plan.images)} images could be used: give other --images")
        shown = shown_units(plan, seen)
        with _bar(len(images_needed(seen.maxima, shown)), 0, "verified") as show:
            def track(done: int) -> None:
                show(done)
                if received:
                    raise _Stopped("stopped after the first pass over the images, which is stored")

            patches = cut(plan, extractor, seen, shown, tiles, track)
    if patches.largest_difference > LARGEST_DIFFERENCE:
        raise RunError("responses measured again differ from those of the first pass: the images were changed since; "
                       "give --overwrite to start afresh")
    return patches


def _follow(plan: UnitsPlan, state: Path, steps: Iterator[Seen], seen: Seen, interval_seconds: float,
            received: Sequence[int]) -> Seen:
    """Follows the first pass to its end or a signal; what has been seen is stored."""
    is_due = every_seconds(interval_seconds, time.monotonic)
    with _bar(len(plan.images), seen.images, "images") as show:
        for seen in steps:
            show(seen.images)
            if received or is_due() or seen.images == len(plan.images):
                unit_maxima.save(state, seen, plan.settings)
            if received:
                raise _Stopped(f"stopped at image {seen.images} of {len(plan.images)}")
    return seen


def _views(folder: Path, plan: UnitsPlan, extractor: "Extractor", patches: "Patches | None",
           size_px: tuple[int, int], received: Sequence[int]) -> list[LayerView]:
    """Writes the panels of every unit, and the sheet of each layer when its units are done.

    Args:
        size_px: (width, height) of a unit's panels side by side.
    """
    views = []
    with _bar(_steps(plan), 0, "steps") as show:
        done = itertools.count(1)

        def step() -> None:
            show(next(done))
            if received:
                stored = "; what was seen of the images is stored" if plan.images else ""
                raise _Stopped(f"stopped while synthesizing, which begins anew{stored}")

        for layer in plan.layers:
            nines = patches.layers[layer.name] if patches else {}
            for unit, nine in nines.items():
                save_panel(folder, layer.name, unit, PATCHES_PANEL,
                           nine.panel() if nine.places else unit_panels.crossed_out())
            units = tuple(nines) or layer.channels.indices
            made = _synthesize(folder, plan.synthesis, extractor, layer.name, units, step) if plan.synthesis else {}
            views.append(layer_view(layer.facts, units, nines, made, plan.size_px))
            write_sheet(folder, views[-1], size_px)
    return views


def _steps(plan: UnitsPlan) -> int:
    """How many steps all pictures take."""
    if plan.synthesis is None:
        return 0
    from nst_tf.recipes.unit_synthesis import batches

    how = plan.synthesis
    return how.steps * sum(len(batches(range(layer.shown), how.diversity, how.synthesized_size))
                           for layer in plan.layers)


def _synthesize(folder: Path, how: Synthesis, extractor: "Extractor", layer: str, units: Sequence[int],
                step: Callable[[], None]) -> dict[int, list[float]]:
    """Writes the synthesized pictures of a layer's units as they are made; returns how strongly these respond."""
    from nst_tf.recipes.unit_synthesis import synthesize

    activations = {}
    with memory_errors(f"the pictures of a unit, {how.diversity} of {how.synthesized_size} px, do not fit into memory: "
                       "give a smaller --synthesized_size or --diversity"):
        for part in synthesize(how, extractor, layer, units):
            if part is None:
                step()
                continue
            for unit, made in part.items():
                for number, one in enumerate(made, 1):
                    is_awake = one.activation > 0
                    save_panel(folder, layer, unit, synthesized(number),
                               unit_panels.whole(one.picture) if is_awake else unit_panels.crossed_out())
                activations[unit] = [one.activation for one in made]
    return activations


@contextlib.contextmanager
def _bar(total: int, done: int, unit: str) -> Iterator[CountBar]:
    bar = CountBar(sys.stderr, time.monotonic, total, done, unit)
    try:
        yield bar
    finally:
        bar.close()


def _report(config: UnitsConfig, plan: UnitsPlan, patches: "Patches | None", views: Sequence[LayerView]) -> None:
    """Writes the page, the table and the events, and says where all is."""
    from nst_tf.track.tensorboard import write_pictures

    folder = Path(config.output)
    about = f"{config.backbone} {Path(plan.weights).name}".strip()
    if plan.images:
        about += f", {len(plan.images)} images at most {plan.size_px} px long"
    write_page(folder, "What units see", [about], views)
    sheets = {layer.name: folder / sheet_file(layer.name) for layer in plan.layers}
    write_pictures(folder, ((f"units/{name}", images.load(path)) for name, path in sheets.items()))
    print(f"page:        {folder / 'index.html'}")
    print(f"sheets:      {', '.join(map(str, sheets.values()))}")
    if patches:
        print(f"verified:    {patches.responses} responses measured again, largest relative difference "
              f"{patches.largest_difference:.1g}")
        print(f"skipped:     {patches.skipped} of {len(plan.images)} images")
    print(f"TensorBoard: {beside_python('tensorboard')} --logdir {shlex.quote(config.output)}")


def _stored(config: UnitsConfig, plan: UnitsPlan) -> Seen | None:
    """What has been seen of the images, None where nothing has or that does not count.

    Raises:
        UserError: the folder is not ours, or what was seen is damaged or belongs to other settings.
    """
    folder = Path(config.output)
    _check_is_ours_or_empty(folder)
    return unit_maxima.load(folder / STATE_FILE, plan.settings) if plan.images and not config.overwrite else None


def _check_is_ours_or_empty(folder: Path) -> None:
    """Only a folder that an earlier run wrote, or an empty one, may be written to."""
    if not folder.is_dir():
        return
    is_ours = (folder / "flags.txt").exists() and not (folder / "config.json").exists()
    if not is_ours and {path.name for path in folder.iterdir()} - {".lock"}:
        raise UserError(f"--output {quoted(folder)} holds other things (it has no flags.txt of this script): give "
                        "another folder")


def _prepare(folder: Path, config: UnitsConfig) -> None:
    """Deletes what an earlier run left, if that is wanted, and writes the flag file by which this one goes on."""
    if config.overwrite:
        remove_report(folder, [STATE_FILE])
    whole = dataclasses.replace(filled(config), images=tuple(map(absolute, config.images)),
                                weights=absolute(config.weights), output=os.path.abspath(folder))
    write_atomically(folder / "flags.txt", to_flags(whole, leave_out=("overwrite",)).encode())
