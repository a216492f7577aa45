"""The words and panels of a layer's units, of their patches and their synthesized pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nst_tf.backbones.facts import Layer
from nst_tf.io import unit_panels
from nst_tf.recipes.unit_report import LayerView, Panel, UnitView

if TYPE_CHECKING:
    from nst_tf.recipes.unit_patches import Nine
    from nst_tf.recipes.unit_synthesis import Synthesized


def layer_view(facts: Layer, units: Sequence[int], nines: Mapping[int, "Nine"],
               pictures: Mapping[int, Sequence["Synthesized"]], size: int) -> LayerView:
    """A layer as it is shown.

    Args:
        nines, pictures: by unit; empty where that view is not asked for.
        size: long side of the images in pixels.
    """
    return LayerView(facts, _about(facts, size, bool(nines)), tuple(
        UnitView(unit, _caption(unit, nines.get(unit), pictures.get(unit)),
                 (*_patches(nines.get(unit)), *_pictures(pictures.get(unit, ())))) for unit in units))


def _about(facts: Layer, size: int, has_patches: bool) -> str:
    text = f"{facts.channels} units; a cell sees {facts.receptive_field_px} px"
    if not has_patches:
        return f"{text}."
    if facts.receptive_field_px > size:
        return (f"{text}, more than an image has: whole images, in which the box holds the middle 95 % of the "
                "gradient's magnitude.")
    return f"{text}; each patch is all that it sees, gray where that is outside the image."


def _caption(unit: int, nine: "Nine | None", pictures: Sequence["Synthesized"] | None) -> str:
    """The unit's number and its largest responses, or that it has none."""
    words = []
    if nine is not None:
        words.append(f"up to {_short(nine.places[0]['response'])}" if nine.places else "never responds to the images")
    if pictures is not None:
        largest = max(picture.activation for picture in pictures)
        words.append(f"synthesized {_short(largest)}" if largest > 0 else "could not be woken")
    return ", ".join([str(unit), *words])


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _patches(nine: "Nine | None") -> list[Panel]:
    """The panel of patches, crossed out where no image excites the unit."""
    if nine is None:
        return []
    return [Panel("patches", nine.panel if nine.places else unit_panels.crossed_out(), tuple(nine.places))]


def _pictures(pictures: Sequence["Synthesized"]) -> list[Panel]:
    """A panel for each picture; of a unit that was never woken it is crossed out."""
    return [Panel(f"synthesized_{number}",
                  unit_panels.whole(picture.picture) if picture.activation > 0 else unit_panels.crossed_out(),
                  record={"activation": picture.activation}) for number, picture in enumerate(pictures, 1)]
