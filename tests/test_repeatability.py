"""Equal runs are equal: gradients at full size, whole runs in fresh processes, resume in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from nst_tf.vocabulary import StatisticName, names

from .conftest import save_picture

ROOT = Path(__file__).resolve().parents[1]

GRADIENTS = """
import hashlib, json, sys
import numpy as np, tensorflow as tf
from nst_tf.backbones.surgery import vary
from nst_tf.backbones.table import BACKBONES, Variant
from nst_tf.losses.guides import Area, ReceptiveField
from nst_tf.losses.motifs import extract_motifs, motif_fields, with_motifs
from nst_tf.losses.evaluation import evaluate, measure_targets
from nst_tf.grammar import Channels, parse_padding
from nst_tf.losses.objective import DreamLayer, Objective, TermWeights

SIDE_PX = 384
generator = np.random.default_rng(0)
content, style, image = (generator.uniform(size=(1, SIDE_PX, SIDE_PX, 3)).astype(np.float32) for _ in range(3))

def trace(name, weights, statistic, regions, precision):
    row = BACKBONES[name]
    # The content layer is a style and a dream layer too: four readers of one tensor, with the network's next layer.
    dreamt = DreamLayer(row.style_layers[3].layer, Channels("index", (3, 17)), 1.0)
    objective = Objective(row.style_layers[3:4], row.style_layers, TermWeights(0.3, 1.0, 0.3, 0.1), "relative",
                          statistic, dream_layers=(dreamt,))
    extractor = row.build(objective.layers(), weights, 0, [content[0, ::2, ::2], style[0, ::2, ::2]])
    extractor = vary(extractor, Variant(precision, None, parse_padding(row.padding)), [], row.unpadded_px).native
    # Regions as bands, each with all styles: every style layer is read once more for each of them.
    rows = np.arange(SIDE_PX)[:, np.newaxis] * np.ones((1, SIDE_PX))
    bands = [(rows * regions // SIDE_PX == r).astype(np.float32) for r in range(regions)]
    areas = [Area(band, dict.fromkeys(range(3), band)) for band in bands]
    fields = {layer.name: ReceptiveField(layer.stride, layer.receptive_field_px) for layer in row.layers}
    # Where the backbone has copies for large motifs, one between too.
    copies_px = (192, 96) if row.motif_size_px else ()
    extractor = extract_motifs(extractor, [layer.layer for layer in row.style_layers], SIDE_PX, copies_px)
    objective, fields = with_motifs(objective, SIDE_PX, copies_px), motif_fields(fields, SIDE_PX, copies_px)
    targets = measure_targets(objective, extractor, tf.constant(content), [tf.constant(style)] * 3, (0.5, 0.3, 0.2),
                              areas, fields).targets

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = evaluate(objective, targets, extractor, x)[0]["loss/total"]
        return tape.gradient(total, x), total

    return [tf.function(gradient, autograph=False) for _ in range(2)]

for name, weights, statistic, count, regions, precision in json.loads(sys.argv[1]):
    hashes = set()
    for gradient in trace(name, weights, statistic, regions, precision):
        for _ in range(count):
            g, total = gradient(tf.constant(image))
            hashes.add(hashlib.sha256(g.numpy().tobytes() + total.numpy().tobytes()).hexdigest())
    print(*sorted(hashes))
"""


class Case(NamedTuple):
    """A network and what reads it; each of two traces gives so many `gradients`."""

    backbone: str
    weights: str = "random"
    statistic: str = "gram"
    gradients: int = 5
    regions: int = 0
    precision: str = "float32"


# Smaller pictures than 384 px, or fewer gradients, would hide sums whose order changes.
@pytest.mark.slow
@pytest.mark.parametrize("cases", [
    [Case("vgg19")], [Case("resnet50"), Case("inception_v3")], [Case("alexnet"), Case("squeezenet")],
    [Case(name, precision="bfloat16") for name in ("squeezenet", "resnet50")],
    [Case("kmeans", "self"), Case("kmeans", "bundled", regions=3, precision="bfloat16"),
     *(Case("kmeans", "bundled", statistic, 4, 2) for statistic in names(StatisticName) if statistic != "gram")],
], ids=lambda cases: "-".join(dict.fromkeys(case.backbone for case in cases)))
def test_gradients_at_384_px_are_equal_in_two_traces_and_two_processes(cases: list[Case]) -> None:
    command = [sys.executable, "-c", GRADIENTS, json.dumps(cases)]
    printed = [subprocess.run(command, text=True, check=True, stdout=subprocess.PIPE).stdout.splitlines()
               for _ in range(2)]
    for case, *hashes in zip(cases, *printed, strict=True):
        assert len(hashes[0].split()) == 1, f"{case}: {len(hashes[0].split())} different gradients in one process"
        assert hashes[0] == hashes[1], case


# A script that gets SIGTERM in its step 11.
STOPPED = """
import os, runpy, signal, sys
from nst_tf.recipes.stylize import steps

real = steps.stylize

def stopped(*arguments, **settings):
    for progress in real(*arguments, **settings):
        if progress.step == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        yield progress

steps.stylize = stopped
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--optimizer=lbfgs", "--canvas=fourier", "--motif_size=96"]])
def test_whole_equals_half_and_resume_at_384_px_in_fresh_processes(flags: list[str], tmp_path: Path) -> None:
    command = [str(ROOT / "scripts/stylize.py"), f"--content={save_picture(tmp_path / 'photo.png', 288, 384, 1)}",
               f"--style={save_picture(tmp_path / 'painting.png', 384, 300, 2)}", "--backbone=kmeans", "--size=384",
               "--min_size=192", "--steps=16", "--log_every=1", f"--logdir={tmp_path}", *flags]
    subprocess.run([sys.executable, *command, "--run=whole"], check=True)
    assert subprocess.run([sys.executable, "-c", STOPPED, *command, "--run=stopped"]).returncode == 143
    rows = (tmp_path / "stopped/metrics.jsonl").read_text().splitlines()
    assert 3 < len(rows) < 16, "the run should stop in its last stage"
    subprocess.run([sys.executable, *command, "--run=stopped", "--resume"], check=True)
    assert (tmp_path / "whole/output.png").read_bytes() == (tmp_path / "stopped/output.png").read_bytes()
