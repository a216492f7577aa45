"""Shows what the units of a network see: patches of images that excite each one most, and synthesized pictures.

No TensorFlow here until everything that a user may have got wrong is checked.
"""

import contextlib
import dataclasses
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nst_tf.backbones.table import find_backbone
from nst_tf.config import to_flags
from nst_tf.io.files import quoted, write_atomically
from nst_tf.recipes import unit_maxima
from nst_tf.recipes.folder import locked
from nst_tf.recipes.plan_units import CONTENTS, STATE_FILE, UnitsConfig, UnitsPlan, resolve_units
from nst_tf.recipes.run import beside_python, say, stop_signals
from nst_tf.recipes.unit_maxima import Seen, images_needed
from nst_tf.recipes.unit_report import sheet_file, write_report
from nst_tf.recipes.unit_views import layer_view
from nst_tf.runtime import start_tensorflow
from nst_tf.track.cadence import every_seconds
from nst_tf.track.progress import CountBar
from nst_tf.vocabulary import RunError, UserError

if TYPE_CHECKING:
    from nst_tf.backbones.extractor import Extractor
    from nst_tf.recipes.unit_patches import Patches
    from nst_tf.recipes.unit_synthesis import Synthesized

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
    _check_is_ours_or_empty(folder)
    seen = unit_maxima.load(folder / STATE_FILE, plan.settings) if plan.images and not config.overwrite else None
    say(f"nst_tf: {start_tensorflow()}, {', '.join(f'{layer.shown} units of {layer.name}' for layer in plan.layers)}")
    if config.backbone == "kmeans" or plan.weights == "random":
        say("nst_tf: this network has not been trained on objects: expect textures, edges and colors only")
    extractor = find_backbone(config.backbone).build(
        [layer.name for layer in plan.layers], plan.weights, config.seed, [])
    seen = seen or unit_maxima.nothing(_channels(plan, extractor))
    with locked(folder), stop_signals() as received:
        _prepare(folder, config)
        try:
            patches = _patches(config, plan, extractor, seen, received) if plan.images else None
            shown = ({layer: tuple(nines) for layer, nines in patches.layers.items()} if patches else
                     {layer.name: layer.channels.indices for layer in plan.layers})
            pictures = _pictures(config, extractor, shown, received) if config.view != "patches" else {}
        except _Stopped as stopped:
            say(f"nst_tf: {stopped.line}; to go on: {beside_python('python')} scripts/visualize_units.py "
                f"--flagfile={shlex.quote(str(folder / 'flags.txt'))}")
            return 128 + received[0]
        _report(config, plan, patches, shown, pictures)
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


def _patches(config: UnitsConfig, plan: UnitsPlan, extractor: "Extractor", seen: Seen,
             received: Sequence[int]) -> "Patches":
    """Both passes over the images."""
    from nst_tf.recipes.unit_patches import cut, look, shown_units

    if 0 < seen.images < len(plan.images):
        say(f"nst_tf: continues at image {seen.images + 1} of {len(plan.images)}")
    steps = look(plan, config.size, extractor, seen, lambda reason: say(f"nst_tf: skipped: {reason}"))
    seen = _follow(plan, Path(config.output) / STATE_FILE, steps, seen, config.checkpoint_every, received)
    if seen.skipped == len(plan.images):
        raise UserError(f"none of the {len(plan.images)} images could be used: give other --images")
    shown = shown_units(plan, seen)
    with _bar(len(images_needed(seen.maxima, shown)), 0, "verified") as show:
        def track(done: int) -> None:
            show(done)
            if received:
                raise _Stopped("stopped after the first pass over the images, which is stored")

        patches = cut(plan, config.size, extractor, seen, shown, track)
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


def _pictures(config: UnitsConfig, extractor: "Extractor", shown: Mapping[str, Sequence[int]],
              received: Sequence[int]) -> dict[str, dict[int, list["Synthesized"]]]:
    """The synthesized pictures, by layer and unit."""
    from nst_tf.recipes.unit_synthesis import batches, synthesize

    total = config.steps * sum(len(batches(units, config.diversity)) for units in shown.values())
    pictures: dict[str, dict[int, list[Synthesized]]] = {layer: {} for layer in shown}
    done = 0
    with _bar(total, 0, "steps") as show:
        for layer, units in shown.items():
            for part in synthesize(config, extractor, layer, units):
                if part is not None:
                    pictures[layer] |= part
                    continue
                done += 1
                show(done)
                if received:
                    raise _Stopped("stopped while synthesizing, which begins anew; the patches are stored")
    return pictures


@contextlib.contextmanager
def _bar(total: int, done: int, unit: str) -> Iterator[CountBar]:
    bar = CountBar(sys.stderr, time.monotonic, total, done, unit)
    try:
        yield bar
    finally:
        bar.close()


def _report(config: UnitsConfig, plan: UnitsPlan, patches: "Patches | None", shown: Mapping[str, Sequence[int]],
            pictures: Mapping[str, Mapping[int, Sequence["Synthesized"]]]) -> None:
    from nst_tf.track.tensorboard import write_pictures

    folder = Path(config.output)
    views = [layer_view(layer.facts, shown[layer.name], patches.layers[layer.name] if patches else {},
                        pictures.get(layer.name, {}), config.size) for layer in plan.layers]
    about = f"{config.backbone} {Path(plan.weights).name}".strip()
    if plan.images:
        about += f", {len(plan.images)} images at most {config.size} px long"
    sheets = write_report(folder, "What units see", [about], views)
    write_pictures(folder, {f"units/{layer}": sheet for layer, sheet in sheets.items()})
    print(f"page:        {folder / 'index.html'}")
    print(f"sheets:      {', '.join(str(folder / sheet_file(layer)) for layer in sheets)}")
    if patches:
        print(f"verified:    {patches.responses} responses measured again, largest relative difference "
              f"{patches.largest_difference:.1g}")
        print(f"skipped:     {patches.skipped} of {len(plan.images)} images")
    print(f"TensorBoard: {beside_python('tensorboard')} --logdir {shlex.quote(config.output)}")


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
