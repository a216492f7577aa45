"""The part of a plan that says how much memory a run takes, and so in which tiles it is measured. No TensorFlow."""

import math
from collections.abc import Iterator

from nst_tf.backbones.table import Backbone, find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.losses.objective import COSINES_AT_ONCE
from nst_tf.recipes.memory import floats_per_px
from nst_tf.recipes.stylize.plan import Plan
from nst_tf.recipes.stylize.plan_tiles import why_whole
from nst_tf.runtime import memory_bytes
from nst_tf.vocabulary import UserError

# Bytes for each pixel of the whole picture in tiles: eleven arrays of three float32, of which four are the state.
PICTURE_BYTES = 11 * 12
# L-BFGS keeps this many more, and other canvases than pixels have no steps in strips.
LBFGS_BYTES, DENSE_BYTES = 24 * 12, 8 * 12
# What a run plans for of the machine's memory, since other processes need some too, and of --memory_limit.
MACHINE_SHARE, LIMIT_SHARE = 0.8, 0.95
# Larger tiles gain nothing.
LARGEST_TILE_PX = 1536


def predicted_bytes(config: StylizeConfig, plan: Plan, precision: str, tile_px: int) -> float:
    """The largest resident memory of a run.

        base + P · dense + T · features    with P the pixels of the picture, T those that are measured at once

    Args:
        tile_px: 0 for the whole picture.
    """
    row = find_backbone(config.backbone)
    width, height = plan.stage_size_px(-1)
    is_float32 = precision == "float32"
    features = (row.memory.float32_bytes if is_float32 else row.memory.bfloat16_bytes) * _depth(row, plan)
    pixels, base = width * height, row.memory.base_mb * 1e6
    if plan.objective.weights.neighbors:
        # A copy of the features, and the cosines of two layers at once (benchmarks/memory.py).
        counts = {layer.name: layer.channels / layer.stride ** 2 for layer in row.all_layers}
        features += 4 * sum(counts[layer] for layer, _ in plan.objective.neighbor_layers)
        base += 4 * 2 * COSINES_AT_ONCE
    other = (LBFGS_BYTES if config.optimizer == "lbfgs" else 0) + (DENSE_BYTES if config.canvas != "pixels" else 0)
    if not tile_px or max(width, height) <= tile_px:
        return base + pixels * (features + other)
    content = dict(plan.objective.content_layers) if plan.objective.weights.content else {}
    # The photo's features are kept, of tiles with what lies around them.
    kept = 1.3 * sum(layer.channels / layer.stride ** 2 for layer in row.all_layers if layer.name in content)
    tile = min(tile_px, width) * min(tile_px, height)
    return base + pixels * (PICTURE_BYTES + other + kept * (4 if is_float32 else 2)) + tile * features


def decide_tile(config: StylizeConfig, plan: Plan, precision: str, limit_gb: float | None) -> int:
    """The side of the tiles, 0 for the whole picture: the flag's, or the largest that fit into the memory.

    Where none fit into this machine, those that need least.

    Args:
        limit_gb: --memory_limit; by the memory of this machine when it is left out.
    Raises:
        UserError: not even the smallest fit into --memory_limit.
    """
    if plan.tile_px is not None:
        return plan.tile_px
    may_take = LIMIT_SHARE * limit_gb * 1e9 if limit_gb else MACHINE_SHARE * memory_bytes()
    whole = why_whole(config.backbone, config.statistic)
    sides = [0, *([] if whole else _tiles(plan))]
    for tile_px in sides:
        if predicted_bytes(config, plan, precision, tile_px) <= may_take:
            return tile_px
    least = min(sides, key=lambda tile_px: predicted_bytes(config, plan, precision, tile_px))
    if limit_gb is None:
        return least  # a machine may have swap, and a prediction may be wrong
    needed = predicted_bytes(config, plan, precision, least)
    reason = f" ({whole}, so it is measured whole)" if whole else ", in tiles too"
    raise UserError(f"--size={config.long_side_px} needs about {needed / 1e9:.1f} GB of memory{reason}, and "
                    f"--memory_limit={limit_gb:g} leaves {may_take / 1e9:.1f}: give a smaller --size, a larger "
                    "--memory_limit, or --tile=off to try it")


def _tiles(plan: Plan) -> Iterator[int]:
    """Sides from large to small, in eighths of an octave."""
    smallest_px = plan.sight.smallest_tile_px(plan.objective.layers())
    for k in range(math.ceil(4 * math.log2(LARGEST_TILE_PX / smallest_px)) + 1):
        yield max(smallest_px, round(LARGEST_TILE_PX / 2 ** (k / 4)))


def _depth(row: Backbone, plan: Plan) -> float:
    """How many features are made, relative to the default layers."""
    default = [layer for layer, _ in (*row.content_layers, *row.style_layers)]
    (_, made), (_, made_by_default) = (floats_per_px(row.all_layers, names)
                                       for names in (plan.objective.layers(), default))
    return made / made_by_default
