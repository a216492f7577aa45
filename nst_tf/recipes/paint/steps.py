"""Paints a photo in one forward pass, whole or in tiles."""

from collections.abc import Iterator

import numpy as np

from nst_tf.generators.paint import painted
from nst_tf.io import images
from nst_tf.runs.progress import Progress, counted
from nst_tf.runs.recipe import Job, Session


def session(job: Job) -> Session:
    """One step: the picture."""
    return Session(events=_events(job), facts={"parameters": sum(
        np.size(part) for styled in job.plan.generator.weights.values() for part in styled if part is not None)})


def _events(job: Job) -> Iterator[Progress]:
    config, plan = job.config, job.plan
    photo = images.resize(plan.opened.load(config.content, "--content", config.long_side_px),
                          *images.fit(config.long_side_px, *plan.content_size_px))
    yield counted(1, 1, "pictures", state=painted(plan.generator, photo, plan.mixture, plan.tile_px), ends_stage=True)
