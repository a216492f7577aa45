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

# Bytes for each pixel of three colors in float32. The state of Adam has four of them: image, average and two moments.
COLOR_BYTES = 12
STATE_BYTES = 4 * COLOR_BYTES
# In tiles, beside the state: the gradient, and the image to go back to in half precision.
STEP_BYTES = 1.5 * COLOR_BYTES
# The smaller copies, their gradients, and what is half shrunk.
MOTIFS_BYTES = 0.75 * COLOR_BYTES
# The photo as its file has it.
PHOTO_BYTES = 3
# L-BFGS keeps this much more, and other canvases than pixels have no steps in strips.
LBFGS_BYTES, DENSE_BYTES = 24 * COLOR_BYTES, 8 * COLOR_BYTES
# What a step with whole copies takes beside this.
WHOLE_COPIES_BYTES = 5.5 * COLOR_BYTES
# What a run plans for of the machine's memory, since other processes need some too, and of --memory_limit.
MACHINE_SHARE, LIMIT_SHARE = 0.8, 0.95
# Larger tiles gain nothing.
LARGEST_TILE_PX = 1536


def predicted_bytes(config: StylizeConfig, plan: Plan, precision: str, tile_px: int) -> float:
    """The largest resident memory of a run.

        base + P · beside + T · features    with P the pixels of the picture, T those that are measured at once

    Args:
        tile_px: 0 for the whole picture.
    """
    row = find_backbone(config.backbone)
    width, height = plan.stage_size_px(-1)
    is_float32 = precision == "float32"
    features = (row.memory.float32_bytes if is_float32 else row.memory.bfloat16_bytes) * _depth(row, plan)
    pixels, base = width * height, (row.memory.base_mb + _classifier_mb(row, plan)) * 1e6
    if plan.objective.weights.neighbors:
        # A copy of the features, and the cosines of two layers at once (benchmarks/memory.py).
        counts = {layer.name: layer.channels / layer.stride ** 2 for layer in row.all_layers}
        features += 4 * sum(counts[layer] for layer, _ in plan.objective.neighbor_layers)
        base += 4 * 2 * COSINES_AT_ONCE
    other = (LBFGS_BYTES if config.optimizer == "lbfgs" else 0) + (DENSE_BYTES if config.canvas != "pixels" else 0)
    if not tile_px or max(width, height) <= tile_px:
        return base + pixels * (features + other)
    beside = STATE_BYTES + STEP_BYTES + other + (WHOLE_COPIES_BYTES if other else 0)
    beside += MOTIFS_BYTES if plan.copies_px(-1) else 0
    content = dict(plan.objective.content_layers) if plan.objective.weights.content else {}
    kept = sum(layer.channels / layer.stride ** 2 for layer in row.all_layers if layer.name in content)
    beside += kept * (4 if is_float32 else 2) + COLOR_BYTES * _dense_pictures(config, plan)
    # The state of the stage before is let go after the first step of the last.
    before = STATE_BYTES * math.prod(plan.stage_size_px(-2)) if len(plan.stages) > 1 else 0
    before += PHOTO_BYTES * min(pixels, math.prod(plan.content_size_px)) if config.content else 0
    layers = {layer: layer for layer in plan.objective.layers()}
    # Tiles are as small as their number allows.
    tile = math.prod(plan.sight.axis(side_px, tile_px, layers).tiling.read_px for side_px in (width, height))
    return base + before + pixels * beside + tile * features


def decide_tile(config: StylizeConfig, plan: Plan, precision: str, limit_gb: float | None, workers: int = 1) -> int:
    """The side of the tiles, 0 for the whole picture: the flag's, or the largest that fit into the memory.

    Where none fit into this machine, those that need least.

    Args:
        limit_gb: --memory_limit; by the memory of this machine when it is left out.
        workers: how many runs share this machine.
    Raises:
        UserError: not even the smallest fit into --memory_limit.
    """
    if plan.tile_px is not None:
        return plan.tile_px
    may_take = LIMIT_SHARE * limit_gb * 1e9 if limit_gb else MACHINE_SHARE * memory_bytes() / workers
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


def _classifier_mb(row: Backbone, plan: Plan) -> float:
    """The weights of the layers that tell classes, where they are chosen and not part of every network."""
    if row.classifier is None or not row.classifier.weights_mb:
        return 0.0
    is_read = {operation.name for operation in row.classifier.operations} & set(plan.objective.layers())
    return row.classifier.weights_mb - row.weights_mb if is_read else 0.0


def _dense_pictures(config: StylizeConfig, plan: Plan) -> int:
    """How many more pictures of the last size a run in tiles keeps as floats."""
    has_size = plan.content_size_px == plan.stage_size_px(-1) and config.color != "luminance"
    reads_photo = bool(config.content_mask) or bool(config.content and plan.descent.jitter_px)
    is_prepared = bool(config.content_mask) or config.color == "luminance"
    return (reads_photo and not has_size) + is_prepared


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
