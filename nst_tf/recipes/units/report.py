"""What a look at units leaves: a sheet for each layer, a page, a table of numbers."""

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from nst_tf.backbones.facts import Layer
from nst_tf.io import images
from nst_tf.io.contact_sheet import Tile, drawn, plan_grid
from nst_tf.io.files import quoted, write_atomically
from nst_tf.recipes.units.panels import Pixels, SIDE_PX, as_picture, place_shares, side_by_side
from nst_tf.recipes.units.patches import Nine
from nst_tf.vocabulary import RunError


class PanelEntry(NamedTuple):
    """A panel's file, relative to the page, and what is shown on hover: a text for each place, or for the whole."""

    file: str
    place_texts: tuple[str, ...] = ()
    text: str = ""


class UnitEntry(NamedTuple):
    """One unit of the page."""

    title: str
    panels: tuple[PanelEntry, ...]


class LayerEntry(NamedTuple):
    """One layer of the page: `about` is a line below its name."""

    name: str
    about: str
    units: tuple[UnitEntry, ...]


_STYLE = f"""
body {{ margin: 1.5rem; font: 15px/1.4 system-ui, sans-serif; color: #222; background: #fff }}
h1 {{ font-size: 1.5rem }} h2 {{ margin: 2rem 0 0 }} nav a {{ margin-right: 1rem }}
.units {{ display: flex; flex-wrap: wrap; gap: 1.25rem; margin-top: 1rem }}
figure {{ margin: 0 }} figcaption {{ margin-bottom: .2rem }}
.panels {{ display: flex; gap: 3px }}
.panel {{ position: relative; width: {SIDE_PX}px; height: {SIDE_PX}px }}
.panel img {{ display: block; width: 100%; height: 100% }}
.panel span {{ position: absolute }} .panel span:hover {{ outline: 3px solid #d60 }}
"""


def page(title: str, about: Sequence[str], layers: Sequence[LayerEntry]) -> str:
    """The page as HTML; every text is escaped.

    Args:
        about: paragraphs below the title.
    """
    links = "".join(f'<a href="#layer{index}">{_escaped(layer.name)}</a>' for index, layer in enumerate(layers))
    paragraphs = "".join(f"<p>{_escaped(line)}</p>\n" for line in about)
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_escaped(title)}</title>\n'
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_escaped(title)}</h1>\n{paragraphs}<nav>{links}</nav>\n"
            + "".join(_layer(index, layer) for index, layer in enumerate(layers)) + "</body>\n</html>\n")


def _layer(index: int, layer: LayerEntry) -> str:
    units = "".join(f'<figure><figcaption>{_escaped(unit.title)}</figcaption><div class="panels">'
                    f'{"".join(map(_panel, unit.panels))}</div></figure>\n' for unit in layer.units)
    return (f'<h2 id="layer{index}">{_escaped(layer.name)}</h2>\n<p>{_escaped(layer.about)}</p>\n'
            f'<div class="units">\n{units}</div>\n')


def _panel(panel: PanelEntry) -> str:
    places = "".join(
        f'<span style="left:{left:.2%};top:{top:.2%};width:{side:.2%};height:{side:.2%}" '
        f'title="{_escaped(text)}"></span>'
        for (left, top, side), text in zip(place_shares(), panel.place_texts))
    title = f' title="{_escaped(panel.text)}"' if panel.text else ""
    return f'<div class="panel"{title}><img src="{_escaped(quote(panel.file))}" alt="" loading="lazy">{places}</div>'


def _escaped(text: str) -> str:
    # A name may hold bytes that no encoding knows; line breaks are kept in a title as they are.
    return escape(text.encode(errors="replace").decode(), quote=True)


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


PATCHES_PANEL = "patches"  # its kind


def synthesized(number: int) -> str:
    """The kind of the panel of a unit's picture, counted from 1."""
    return f"synthesized_{number}"


def layer_view(facts: Layer, units: Sequence[int], nines: Mapping[int, Nine],
               activations: Mapping[int, Sequence[float]], size_px: int) -> LayerView:
    """A layer as it is shown.

    Args:
        nines: the patches, by unit; empty where that view is not asked for.
        activations: of synthesized pictures, by unit; likewise.
        size_px: long side of the images.
    """
    return LayerView(facts, _about(facts, size_px, bool(nines)), tuple(
        UnitView(unit, _caption(unit, nines.get(unit), activations.get(unit)),
                 (*_patches(nines.get(unit)), *_pictures(activations.get(unit, ())))) for unit in units))


def _about(facts: Layer, size_px: int, has_patches: bool) -> str:
    text = f"{facts.channels} units; a cell sees {facts.receptive_field_px} px"
    if not has_patches:
        return f"{text}."
    if facts.receptive_field_px > size_px:
        return (f"{text}, more than an image has: whole images, in which the box holds the middle 95 % of the "
                "gradient's magnitude.")
    return f"{text}; each patch is all that it sees, gray where that is outside the image."


def _caption(unit: int, nine: Nine | None, activations: Sequence[float] | None) -> str:
    """The unit's number and its largest responses, or that it has none."""
    words = []
    if nine is not None:
        words.append(f"up to {_short(nine.places[0]['response'])}" if nine.places else "never responds to the images")
    if activations is not None:
        words.append(f"synthesized {_short(max(activations))}" if max(activations) > 0 else "could not be woken")
    return ", ".join([str(unit), *words])


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _patches(nine: Nine | None) -> list[Panel]:
    return [] if nine is None else [Panel(PATCHES_PANEL, tuple(nine.places))]


def _pictures(activations: Sequence[float]) -> list[Panel]:
    return [Panel(synthesized(number), record={"activation": activation})
            for number, activation in enumerate(activations, 1)]
