"""What a look at units leaves: a sheet for each layer, a page, a table of numbers. No TensorFlow."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nst_tf.backbones.facts import Layer
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, contact_sheet
from nst_tf.io.files import write_atomically
from nst_tf.io.images import FloatImage
from nst_tf.io.unit_page import LayerEntry, PanelEntry, UnitEntry, page
from nst_tf.io.unit_panels import SIDE_PX, Pixels, side_by_side


class Panel(NamedTuple):
    """A picture of a unit: its pixels, what it is called in the name of its file, and what is known of it.

    `places`: one record for each of nine patches; `record`: that of a panel without places.
    """

    kind: str
    pixels: Pixels
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


def write_report(folder: Path, title: str, about: Sequence[str], layers: Sequence[LayerView]) -> dict[str, FloatImage]:
    """Writes everything but the TensorBoard images into a folder; returns the sheets, by layer."""
    sheets = {}
    for layer in layers:
        name = layer.facts.name
        tiles = [Tile(side_by_side([panel.pixels for panel in unit.panels]), (unit.caption,)) for unit in layer.units]
        widest = max(tile.picture.shape[1] for tile in tiles)
        sheets[name] = contact_sheet(tiles, (widest, SIDE_PX))
        images.save(folder / sheet_file(name), sheets[name])
        for unit in layer.units:
            for panel in unit.panels:
                images.save(folder / _panel_file(name, unit, panel), side_by_side([panel.pixels]))
    write_atomically(folder / "index.html", page(title, about, [_entry(layer) for layer in layers]).encode())
    record = {"about": [title, *about], "layers": {layer.facts.name: _record(layer) for layer in layers}}
    write_atomically(folder / "units.json", (json.dumps(record, indent=2) + "\n").encode())
    return sheets


def sheet_file(layer: str) -> str:
    """The name of a layer's sheet."""
    return f"sheet_{_file_name(layer)}.png"


def _file_name(layer: str) -> str:
    """The name of a layer as part of a file's name; layers of exported networks may have any."""
    return re.sub(r"[^\w.+-]+", "-", layer)


def _panel_file(layer: str, unit: UnitView, panel: Panel) -> str:
    return f"units/{_file_name(layer)}/{unit.unit:04d}_{panel.kind}.png"


def _entry(layer: LayerView) -> LayerEntry:
    return LayerEntry(layer.facts.name, layer.about, tuple(
        UnitEntry(unit.caption, tuple(
            PanelEntry(_panel_file(layer.facts.name, unit, panel), tuple(map(_text, panel.places)),
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
