"""What a look at units leaves: the panels of every unit, a sheet for each layer, a page, a table of numbers."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.facts import Layer
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, drawn, plan_grid
from nst_tf.io.files import quoted, write_atomically
from nst_tf.io.images import FloatImage
from nst_tf.recipes.page import render
from nst_tf.recipes.units.panels import GAP_PX, SIDE_PX, TILE_PX, side_by_side
from nst_tf.vocabulary import RunError

PAGE = Path(__file__).with_name("page.html")
PATCHES = "patches"  # the kind of the panel of patches
# The names of panels. Other files in their folders are the user's.
_PANEL = re.compile(r"\d{4,}_(patches|synthesized_\d+)\.png")

Record = Mapping[str, Any]


class Panel(NamedTuple):
    """A picture of a unit: its kind, its file below the folder, and what is known of it.

    `places` has a record for each of up to nine patches, `record` is that of a single picture.
    """

    kind: str
    file: str
    places: Sequence[Record] = ()
    record: Record | None = None


class UnitView(NamedTuple):
    """A unit and its panels."""

    unit: int
    caption: str
    panels: tuple[Panel, ...]


class LayerView(NamedTuple):
    """A layer and its units; `about` is a line below its name."""

    facts: Layer
    about: str
    units: tuple[UnitView, ...]


def synthesized(number: int) -> str:
    """The kind of the panel of a synthesized picture, counted from 1."""
    return f"synthesized_{number}"


def unit_view(layer: str, unit: int, patches: Sequence[Record] | None, activations: Sequence[float],
              name: str = "") -> UnitView:
    """A unit as it is shown.

    Args:
        patches: the records of its patches, the strongest first; None where patches are not shown.
        activations: of its synthesized pictures; empty where these are not shown.
        name: its number and what it is called, where units of the layer have names.
    """
    words, panels = [name or str(unit)], []
    if patches is not None:
        words.append(f"up to {_short(patches[0]['response'])}" if patches else "never responds to the images")
        panels.append(Panel(PATCHES, panel_file(layer, unit, PATCHES), patches))
    if activations:
        words.append(f"synthesized {_short(max(activations))}" if max(activations) > 0 else "could not be woken")
        kinds = [synthesized(number) for number in range(1, len(activations) + 1)]
        panels += [Panel(kind, panel_file(layer, unit, kind), record={"activation": activation})
                   for kind, activation in zip(kinds, activations, strict=True)]
    return UnitView(unit, ", ".join(words), tuple(panels))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def about_layer(facts: Layer, size_px: int, has_patches: bool) -> str:
    """What the units of a layer see.

    Args:
        size_px: long side of the images.
    """
    text = f"{facts.channels} units; a cell sees {facts.receptive_field_px} px"
    if not has_patches:
        return f"{text}."
    if facts.receptive_field_px > size_px:
        return (f"{text}, more than an image has: whole images, in which the box holds the middle 95 % of the "
                "gradient's magnitude.")
    return f"{text}; each patch is all that it sees, gray where that is outside the image."


def page(title: str, about: Sequence[str], layers: Sequence[LayerView]) -> str:
    """The page as HTML.

    Args:
        about: paragraphs below the title.
    """
    return render(PAGE, {"lines": _lines}, title=title, about=about, layers=layers, side_px=SIDE_PX, tile_px=TILE_PX,
                  gap_px=GAP_PX)


def _lines(record: Record) -> str:
    """A record as one line for each of its items."""
    return "\n".join(f"{key}: {value:.5g}" if isinstance(value, float) else f"{key}: {value}"
                     for key, value in record.items())


def save_panel(folder: Path, layer: str, unit: int, kind: str, panel: FloatImage) -> None:
    """Writes a panel at once, so that no more than one is in memory."""
    images.save(folder / panel_file(layer, unit, kind), panel)


def write_sheet(folder: Path, layer: LayerView, panels_px: tuple[int, int]) -> None:
    """Writes the sheet of a layer from the files of its panels.

    Args:
        panels_px: (width, height) of a unit's panels side by side.
    """
    tiles = (Tile(side_by_side([images.load(folder / panel.file) for panel in unit.panels]), (unit.caption,))
             for unit in layer.units)
    images.save(folder / sheet_file(layer.facts.name), drawn(tiles, plan_grid(len(layer.units), panels_px, 1)))


def write_page(folder: Path, title: str, about: Sequence[str], layers: Sequence[LayerView]) -> None:
    """Writes the page and the table of numbers."""
    write_atomically(folder / "index.html", page(title, about, layers).encode())
    table = {"about": [title, *about], "layers": {layer.facts.name: _numbers(layer) for layer in layers}}
    write_atomically(folder / "units.json", (json.dumps(table, indent=2) + "\n").encode())


def _numbers(layer: LayerView) -> dict[str, Any]:
    units = {str(unit.unit): {panel.kind: panel.places or panel.record for panel in unit.panels}
             for unit in layer.units}
    return {"stride": layer.facts.stride, "receptive_field_px": layer.facts.receptive_field_px, "units": units}


def remove_report(folder: Path) -> None:
    """Deletes the report of an earlier run, of any layers and complete or not, and nothing else.

    Raises:
        RunError: the folder refuses.
    """
    try:
        for subfolder in sorted((folder / "units").glob("*/")):
            panels = [path for path in subfolder.iterdir() if _PANEL.fullmatch(path.name)]
            # A sheet is written after its panels, and so deleted before them.
            for path in (folder / f"sheet_{subfolder.name}.png", *panels) if panels else ():
                path.unlink(missing_ok=True)
            _remove_if_empty(subfolder)
        _remove_if_empty(folder / "units")
        for path in (folder / "index.html", folder / "units.json", *folder.glob("events.*.pictures")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{quoted(folder)} cannot be emptied ({error.strerror}): give another --output") from error


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def sheet_file(layer: str) -> str:
    """The name of a layer's sheet."""
    return f"sheet_{_file_name(layer)}.png"


def panel_file(layer: str, unit: int, kind: str) -> str:
    """The file of a unit's panel, relative to the folder."""
    return f"units/{_file_name(layer)}/{unit:04d}_{kind}.png"


def _file_name(layer: str) -> str:
    """The name of a layer as part of a file's name; layers of exported networks may have any."""
    return re.sub(r"[^\w.+-]+", "-", layer)
