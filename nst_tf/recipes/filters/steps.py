"""Learns the filters of a `kmeans` network and writes them."""

import os
import shlex
import time
from functools import partial

from nst_tf.backbones import kmeans
from nst_tf.recipes.filters.recipe import BUNDLED_PATCHES_PER_LAYER
from nst_tf.runs.progress import Progress
from nst_tf.runs.recipe import Job, Session, Written


def session(job: Job) -> Session:
    """There are no steps: learning is what is written."""
    return Session(events=iter(()), write=partial(_write, job))


def _write(job: Job, _: Progress | None) -> Written:
    config, pictures, start = job.config, job.plan, time.monotonic()
    count = max(kmeans.PATCHES_PER_LAYER, 0 if config.pictures else BUNDLED_PATCHES_PER_LAYER)
    filters = kmeans.learn(pictures, config.seed, patches_per_layer=count)
    kmeans.save(config.output, filters, kmeans.mean_color(pictures))
    return Written((f"filters: {config.output}, learned in {time.monotonic() - start:.0f} s; use them with "
                    f"--backbone=kmeans --weights={shlex.quote(os.path.abspath(config.output))}",))
