"""The network of fewer channels that --reduce begins with: at which size it is chosen, and what it keeps."""

from nst_tf.backbones.table import find_backbone
from nst_tf.config import StylizeConfig
from nst_tf.recipes.stylize.plan import Decided, Plan
from nst_tf.recipes.stylize.stage import Setup, batch, content_at, styles_at

# The reduced network is chosen at the largest size up to this one: more pixels tell the same of the channels.
REDUCED_AT_PX = 512


def with_reduced(config: StylizeConfig, plan: Plan, setup: Setup) -> Setup:
    """The setup with the network of fewer channels: those that an earlier run chose, or chosen now.

    Layers to dream of stay whole, since their units have numbers, and so does a classifier.
    """
    if setup.reduced:
        return setup
    row, inputs = find_backbone(config.backbone), setup.inputs
    plan_at = _reduced_at(plan, setup.decided)
    content = content_at(plan_at, inputs, 0)
    pictures = [*([] if content is None else [content]), *map(batch, styles_at(plan_at, inputs, 0))]
    whole = {layer for layer, _, _ in plan.objective.dream_layers}
    whole |= {operation.name for operation in row.classifier.operations} if row.classifier else set()
    reduced, kept = setup.network.reduce(setup.fitted, pictures, plan.reduction, whole, setup.decided.kept)
    return setup._replace(reduced=reduced, decided=setup.decided._replace(kept=kept))


def _reduced_at(plan: Plan, decided: Decided) -> Plan:
    """The plan of one stage at whose size the reduced network is chosen; a smaller one than any where that is large."""
    stage = max((each for each in plan.stages if each.long_side_px <= REDUCED_AT_PX),
                key=lambda each: each.long_side_px, default=plan.stages[0])
    if decided.tile_px and stage.long_side_px > decided.tile_px:
        width, height = plan.content_size_px
        least_px = -(-plan.smallest_px * max(width, height) // min(width, height))
        stage = stage._replace(long_side_px=max(REDUCED_AT_PX, least_px))
    return plan._replace(stages=(stage,))


def reduced_line(plan: Plan, setup: Setup) -> str:
    """What the reduced network keeps, and for how long."""
    decided, extractor = setup.decided, setup.fitted.extractor
    channels = sum(extractor.model.get_layer(layer).kernel.shape[-1] for layer in decided.kept)
    return (f"nst_tf: --reduce={plan.reduction.written()} keeps {sum(map(len, decided.kept.values()))} of {channels} "
            f"channels for the first {decided.reduced_steps(plan)} of {decided.total_steps} steps")
