"""Shows what the units of a network see: the patches of a folder of images that excite each one most.

No TensorFlow here until everything that a user may have got wrong is checked.
"""

import dataclasses
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nst_tf.backbones.table import find_backbone
from nst_tf.config import to_flags
from nst_tf.io.files import quoted, write_atomically
from nst_tf.recipes import unit_maxima
from nst_tf.recipes.folder import locked
from nst_tf.recipes.plan_units import CONTENTS, STATE_FILE, LayerPlan, UnitsConfig, UnitsPlan, resolve_units
from nst_tf.recipes.run import beside_python, say, stop_signals
from nst_tf.recipes.unit_maxima import Seen, images_needed
from nst_tf.recipes.unit_report import LayerView, Panel, UnitView, sheet_file, write_report
from nst_tf.runtime import start_tensorflow
from nst_tf.track.cadence import every_seconds
from nst_tf.track.progress import CountBar
from nst_tf.vocabulary import RunError, UserError

if TYPE_CHECKING:
    from nst_tf.backbones.extractor import Extractor
    from nst_tf.recipes.unit_patches import Nine

# Responses measured again may differ by rounding; more means that another image lies there now.
LARGEST_DIFFERENCE = 1e-3


def run(config: UnitsConfig) -> int:
    """Looks at every image once, verifies and cuts the patches, writes sheets, page and table.

    Returns:
        the exit status: 0, or 130 / 143 when a signal stopped it; the same command then goes on.
    Raises:
        UserError: a setting or a file is wrong, before any long work, or no image could be read.
    """
    plan = resolve_units(config)
    folder = Path(config.output)
    _check_is_ours_or_empty(folder)
    channels = {layer.name: layer.facts.channels for layer in plan.layers}
    seen = unit_maxima.nothing(channels) if config.overwrite else unit_maxima.load(
        folder / STATE_FILE, plan.settings, channels)
    say(f"nst_tf: {start_tensorflow()}, {len(plan.images)} images, "
        f"{', '.join(f'{layer.shown} units of {layer.name}' for layer in plan.layers)}")
    if config.backbone == "kmeans" or plan.weights == "random":
        say("nst_tf: this network has not been trained on objects: expect textures, edges and colors only")
    if 0 < seen.images < len(plan.images):
        say(f"nst_tf: continues at image {seen.images + 1} of {len(plan.images)}")
    from nst_tf.recipes.unit_patches import look

    extractor = find_backbone(config.backbone).build(list(channels), plan.weights, config.seed, [])
    with locked(folder), stop_signals() as received:
        _prepare(folder, config)
        steps = look(plan, config.size, extractor, seen, lambda reason: say(f"nst_tf: skipped: {reason}"))
        seen = _follow(plan, folder, steps, seen, config.checkpoint_every, received)
        if received:
            say(f"nst_tf: stopped at image {seen.images} of {len(plan.images)}; to go on: {beside_python('python')} "
                f"scripts/visualize_units.py --flagfile={shlex.quote(str(folder / 'flags.txt'))}")
            return 128 + received[0]
        _show(config, plan, extractor, seen)
    return 0


def _follow(plan: UnitsPlan, folder: Path, steps: Iterator[Seen], seen: Seen, interval_seconds: float,
            received: Sequence[int]) -> Seen:
    """Follows the first pass to its end or a signal; returns what has been seen, stored."""
    is_due = every_seconds(interval_seconds, time.monotonic)
    bar = CountBar(sys.stderr, time.monotonic, len(plan.images), seen.images, "images")
    try:
        for seen in steps:
            bar(seen.images)
            if received:
                break
            if is_due():
                unit_maxima.save(folder / STATE_FILE, seen, plan.settings)
    finally:
        bar.close()
    unit_maxima.save(folder / STATE_FILE, seen, plan.settings)
    return seen


def _show(config: UnitsConfig, plan: UnitsPlan, extractor: "Extractor", seen: Seen) -> None:
    """The second pass, and what is written of it."""
    from nst_tf.recipes.unit_patches import cut, shown_units
    from nst_tf.track.tensorboard import write_pictures

    if seen.skipped == len(plan.images):
        raise UserError(f"none of the {len(plan.images)} images could be used: give other --images")
    folder, shown = Path(config.output), shown_units(plan, seen)
    bar = CountBar(sys.stderr, time.monotonic, len(images_needed(seen.maxima, shown)), 0, "verified")
    patches = cut(plan, config.size, extractor, seen, shown, bar)
    bar.close()
    if patches.largest_difference > LARGEST_DIFFERENCE:
        raise RunError("responses measured again differ from those of the first pass: the images were changed since; "
                       "give --overwrite to start afresh")
    about = (f"{config.backbone} ({Path(plan.weights).name}), {len(plan.images) - seen.skipped} images at most "
             f"{config.size} px long; each patch is all that the unit sees, gray where that is outside the image.")
    views = [_layer_view(layer, patches.layers[layer.name], config.size) for layer in plan.layers]
    sheets = write_report(folder, "What units see", [about], views)
    write_pictures(folder, {f"units/{layer}": sheet for layer, sheet in sheets.items()})
    print(f"page:        {folder / 'index.html'}")
    print(f"sheets:      {', '.join(sheet_file(layer) for layer in sheets)}")
    print(f"verified:    {patches.responses} responses measured again, largest relative difference "
          f"{patches.largest_difference:.1g}")
    if seen.skipped:
        print(f"skipped:     {seen.skipped} of {len(plan.images)} images")
    print(f"TensorBoard: {beside_python('tensorboard')} --logdir {shlex.quote(config.output)}")


def _layer_view(layer: LayerPlan, nines: Mapping[int, "Nine"], size: int) -> LayerView:
    facts = layer.facts
    if facts.receptive_field_px > size:
        field = (f"a cell sees {facts.receptive_field_px} px, more than an image has: whole images, in which the box "
                 "holds the middle 95 % of the gradient's magnitude")
    else:
        field = f"a cell sees {facts.receptive_field_px} px"
    return LayerView(facts, f"{facts.channels} units; {field}.", tuple(
        UnitView(unit, _caption(unit, nine), (Panel("patches", nine.panel, tuple(nine.places)),))
        for unit, nine in nines.items()))


def _caption(unit: int, nine: "Nine") -> str:
    if not nine.places:
        return f"{unit} never responds"
    return f"{unit}, up to {nine.places[0]['response']:.3g}"


def _check_is_ours_or_empty(folder: Path) -> None:
    """Only a folder that an earlier run wrote, or an empty one, may be written to."""
    if folder.is_dir() and not (folder / "flags.txt").exists() and {path.name for path in folder.iterdir()} - {".lock"}:
        raise UserError(f"--output {quoted(folder)} holds other things (it has no flags.txt of this script): give "
                        "another folder")


def _prepare(folder: Path, config: UnitsConfig) -> None:
    """Deletes what an earlier run left, if that is wanted, and writes the flag file by which this one goes on."""
    def absolute(path: str) -> str:
        return str(Path(path).absolute()) if os.path.exists(path) else path

    try:
        for pattern in CONTENTS if config.overwrite else ():
            for path in folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise RunError(f"{quoted(folder)} cannot be emptied ({error.strerror}): give another --output") from error
    whole = dataclasses.replace(config, images=tuple(map(absolute, config.images)), weights=absolute(config.weights),
                                output=str(folder.absolute()))
    write_atomically(folder / "flags.txt", to_flags(whole, leave_out=("overwrite",)).encode())
