"""Equal runs are equal: gradients at full size, whole runs in fresh processes, resume in a fresh process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nst_tf.vocabulary import StatisticName, names

from .conftest import save_picture

ROOT = Path(__file__).resolve().parents[1]

GRADIENTS = """
import hashlib, sys
import numpy as np, tensorflow as tf
from nst_tf.backbones.table import BACKBONES
from nst_tf.losses.guides import Area, ReceptiveField
from nst_tf.losses.motifs import extract_motifs, motif_fields, with_motifs
from nst_tf.losses.objective import evaluate, measure_targets
from nst_tf.grammar import Channels
from nst_tf.losses.terms import DreamLayer, Objective, TermWeights

name, weights, statistic, count, regions = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
generator = np.random.default_rng(0)
content, style, image = (generator.uniform(size=(1, 512, 512, 3)).astype(np.float32) for _ in range(3))
row = BACKBONES[name]
# The content layer is a style and a dream layer too: four readers of one tensor, with the network's next layer.
dreamt = DreamLayer(row.style_layers[3].layer, Channels("index", (3, 17)), 1.0)
objective = Objective(row.style_layers[3:4], row.style_layers, TermWeights(0.3, 1.0, 0.3, 0.1), "relative", statistic,
                      dream_layers=(dreamt,))
extractor = row.build(objective.layers(), weights, 0, [content[0, ::2, ::2], style[0, ::2, ::2]])
# Regions as bands, each with all styles: every style layer is read once more for each of them.
rows = np.arange(512)[:, np.newaxis] * np.ones((1, 512))
bands = [(rows * regions // 512 == r).astype(np.float32) for r in range(regions)]
areas = [Area(band, dict.fromkeys(range(3), band)) for band in bands]
fields = {layer.name: ReceptiveField(layer.stride, layer.receptive_field_px) for layer in row.layers}
# Where the backbone has copies for large motifs, one between too.
copies_px = (256, 96) if row.motif_size_px else ()
extractor = extract_motifs(extractor, [layer.layer for layer in row.style_layers], 512, copies_px)
objective, fields = with_motifs(objective, 512, copies_px), motif_fields(fields, 512, copies_px)
targets = measure_targets(objective, extractor, tf.constant(content), [tf.constant(style)] * 3, (0.5, 0.3, 0.2),
                          areas, fields).targets

def trace():
    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = evaluate(objective, targets, extractor, x)[0]["loss/total"]
        return tape.gradient(total, x), total
    return gradient

hashes = set()
for gradient in (trace(), trace()):
    for _ in range(count):
        g, total = gradient(tf.constant(image))
        hashes.add(hashlib.sha256(g.numpy().tobytes() + total.numpy().tobytes()).hexdigest())
print(*hashes)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backbone, weights, statistic, count, regions", [
    ("vgg19", "random", "gram", 5, 0), ("kmeans", "self", "gram", 10, 0), ("kmeans", "bundled", "gram", 10, 3),
    ("resnet50", "random", "gram", 5, 0), ("inception_v3", "random", "gram", 5, 0),
    ("alexnet", "random", "gram", 5, 0), ("squeezenet", "random", "gram", 5, 0),
    *(("kmeans", "bundled", statistic, 4, 2) for statistic in names(StatisticName) if statistic != "gram")])
def test_gradients_at_512_px_are_equal_in_two_traces_and_two_processes(
        backbone: str, weights: str, statistic: str, count: int, regions: int) -> None:
    command = [sys.executable, "-c", GRADIENTS, backbone, weights, statistic, str(count), str(regions)]
    printed = [subprocess.run(command, text=True, check=True, stdout=subprocess.PIPE).stdout.split() for _ in range(2)]
    assert len(printed[0]) == 1, f"{len(printed[0])} different gradients in one process"
    assert printed[0] == printed[1]


def _command(folder: Path, run: str, flags: list[str]) -> list[str]:
    return [sys.executable, str(ROOT / "scripts/stylize.py"), f"--content={folder}/photo.png",
            f"--style={folder}/painting.png", "--backbone=kmeans", "--size=512", "--min_size=300", "--steps=24",
            "--log_every=1", f"--logdir={folder}", f"--run={run}", *flags]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--optimizer=lbfgs", "--canvas=fourier", "--motif_size=96"]])
def test_whole_equals_whole_equals_half_and_resume_at_512_px_in_fresh_processes(flags: list[str],
                                                                                tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", 384, 512, 1)
    save_picture(tmp_path / "painting.png", 512, 400, 2)
    for run in ("first", "second"):
        subprocess.run(_command(tmp_path, run, flags), check=True)
    process = subprocess.Popen(_command(tmp_path, "stopped", flags))
    metrics = tmp_path / "stopped/metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 17):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143
    assert len(metrics.read_text().splitlines()) < 24, "the run ended before it could be stopped"
    subprocess.run([*_command(tmp_path, "stopped", flags), "--resume"], check=True)
    pictures = {run: (tmp_path / run / "output.png").read_bytes() for run in ("first", "second", "stopped")}
    assert pictures["first"] == pictures["second"] == pictures["stopped"]
