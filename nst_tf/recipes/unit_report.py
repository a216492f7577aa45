"""What a look at units leaves: a sheet for each layer, a page, a table of numbers. No TensorFlow."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.facts import Layer
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, drawn, plan_grid
from nst_tf.io.files import quoted, write_atomically
from nst_tf.io.unit_page import LayerEntry, PanelEntry, UnitEntry, page
from nst_tf.io.unit_panels import Pixels, as_picture, side_by_side
from nst_tf.vocabulary import RunError

# The names of panels: what a user put beside them is none of ours.
_PANEL = re.compile(r"\d{4,}_(patches|synthesized_\d+)\.png")


class Panel(NamedTuple):
    """A picture of a unit, whose pixels `save_panel` has written: what it is called there, and what is known of it.

    `places`: one record for each of nine patches; `record`: that of a panel without places.
    """

    kind: str
    places: tuple[Mapping[str, Any], ...] = ()
    record: Mapping[str, Any] | None = None


class UnitView(NamedTuple):
    """A unit and its panels."""

    unit: int
    caption: str
    panels: tuple[Panel, ...]


class LayerView(NamedTuple):
    """A layer and its units."""

    facts: Layer
    about: str
    units: tuple[UnitView, ...]


def save_panel(folder: Path, layer: str, unit: int, kind: str, pixels: Pixels) -> None:
    """Writes a panel at once, so that no more than one is in memory."""
    images.save(folder / _panel_file(layer, unit, kind), as_picture(pixels))


def write_sheet(folder: Path, layer: LayerView, panels_px: tuple[int, int]) -> None:
    """Writes the sheet of a layer from the files of its panels.

    Args:
        panels_px: (width, height) of a unit's panels side by side.
    """
    def tile(unit: UnitView) -> Tile:
        files = (folder / _panel_file(layer.facts.name, unit.unit, panel.kind) for panel in unit.panels)
        return Tile(side_by_side([images.load(file) for file in files]), (unit.caption,))

    sheet = drawn(map(tile, layer.units), plan_grid(len(layer.units), panels_px, 1))
    images.save(folder / sheet_file(layer.facts.name), sheet)


def write_page(folder: Path, title: str, about: Sequence[str], layers: Sequence[LayerView]) -> None:
    """Writes the page and the table of numbers."""
    write_atomically(folder / "index.html", page(title, about, [_entry(layer) for layer in layers]).encode())
    record = {"about": [title, *about], "layers": {layer.facts.name: _record(layer) for layer in layers}}
    write_atomically(folder / "units.json", (json.dumps(record, indent=2) + "\n").encode())


def remove_report(folder: Path) -> None:
    """Deletes what an earlier run wrote here of any layers, whole or in part, and nothing else.

    Raises:
        RunError: the folder refuses.
    """
    try:
        for below in sorted((folder / "units").glob("*/")):
            panels = [path for path in below.iterdir() if _PANEL.fullmatch(path.name)]
            # A sheet is written after its panels, and so deleted before them.
            for path in (folder / f"sheet_{below.name}.png", *panels) if panels else ():
                path.unlink(missing_ok=True)
            _remove_if_empty(below)
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


def _file_name(layer: str) -> str:
    """The name of a layer as part of a file's name; layers of exported networks may have any."""
    return re.sub(r"[^\w.+-]+", "-", layer)


def _panel_file(layer: str, unit: int, kind: str) -> str:
    return f"units/{_file_name(layer)}/{unit:04d}_{kind}.png"


def _entry(layer: LayerView) -> LayerEntry:
    return LayerEntry(layer.facts.name, layer.about, tuple(
        UnitEntry(unit.caption, tuple(
            PanelEntry(_panel_file(layer.facts.name, unit.unit, panel.kind), tuple(map(_text, panel.places)),
                       _text(panel.record or {})) for panel in unit.panels))
        for unit in layer.units))


def _text(record: Mapping[str, Any]) -> str:
    def written(value: Any) -> str:
        return f"{value:.5g}" if isinstance(value, float) else str(value)

    return "\n".join(f"{key}: {written(value)}" for key, value in record.items())


def _record(layer: LayerView) -> dict[str, Any]:
    units = {str(unit.unit): {panel.kind: list(panel.places) or panel.record for panel in unit.panels}
             for unit in layer.units}
    return {"stride": layer.facts.stride, "receptive_field_px": layer.facts.receptive_field_px, "units": units}
