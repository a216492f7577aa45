"""A static page of units: by layer, each unit's panels, and on hover what each patch is. No script, no network."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple
from urllib.parse import quote

from nst_tf.io.unit_panels import SIDE_PX, place_shares


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
    links = "".join(f'<a href="#layer{index}">{_text(layer.name)}</a>' for index, layer in enumerate(layers))
    paragraphs = "".join(f"<p>{_text(line)}</p>\n" for line in about)
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_text(title)}</title>\n'
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n{paragraphs}<nav>{links}</nav>\n"
            + "".join(_layer(index, layer) for index, layer in enumerate(layers)) + "</body>\n</html>\n")


def _layer(index: int, layer: LayerEntry) -> str:
    units = "".join(f'<figure><figcaption>{_text(unit.title)}</figcaption><div class="panels">'
                    f'{"".join(map(_panel, unit.panels))}</div></figure>\n' for unit in layer.units)
    return (f'<h2 id="layer{index}">{_text(layer.name)}</h2>\n<p>{_text(layer.about)}</p>\n'
            f'<div class="units">\n{units}</div>\n')


def _panel(panel: PanelEntry) -> str:
    places = "".join(
        f'<span style="left:{left:.2%};top:{top:.2%};width:{side:.2%};height:{side:.2%}" title="{_text(text)}"></span>'
        for (left, top, side), text in zip(place_shares(), panel.place_texts))
    title = f' title="{_text(panel.text)}"' if panel.text else ""
    return f'<div class="panel"{title}><img src="{_text(quote(panel.file))}" alt="" loading="lazy">{places}</div>'


def _text(text: str) -> str:
    # A name may hold bytes that no encoding knows; line breaks are kept in a title as they are.
    return escape(text.encode(errors="replace").decode(), quote=True)
