"""Says what is known of a layer's units: captions, places of patches, responses to synthesized pictures."""

from collections.abc import Mapping, Sequence

from nst_tf.backbones.facts import Layer
from nst_tf.recipes.unit_patches import Nine
from nst_tf.recipes.unit_report import LayerView, Panel, UnitView

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
