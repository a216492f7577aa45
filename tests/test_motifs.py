"""Large motifs: the picture's smaller copies, and a style that is the mean over them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from nst_tf.config import StylizeConfig
from nst_tf.grammar import LayerWeight
from nst_tf.io import images
from nst_tf.losses.guides import Sight
from nst_tf.losses.motifs import extract_motifs, motif_sights, shrink, with_motifs
from nst_tf.losses.objective import evaluate, measure_targets
from nst_tf.losses.terms import Objective, TermWeights
from nst_tf.recipes.plan import complete, resolve, resolved
from nst_tf.recipes.plan_sizes import motif_levels
from nst_tf.recipes.stylize import stylize

from .conftest import make_picture

STYLE_ONLY = TermWeights(0.0, 1.0, 0.0)


def _extract(image: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"a": tf.nn.relu(image * [1.0, -2.0, 3.0] + 0.5), "b": tf.nn.avg_pool2d(image, 2, 2, "VALID") ** 2}


def _objective(weights: TermWeights = STYLE_ONLY) -> Objective:
    return Objective((LayerWeight("b", 1.0),), (LayerWeight("a", 3.0), LayerWeight("b", 1.0)), weights, "relative",
                     "gram")


def _picture(seed: int, height: int, width: int) -> tf.Tensor:
    return tf.constant(make_picture(height, width, seed)[None])


def test_shrink_equals_scipy() -> None:
    x = make_picture(17, 23, 0)
    tent = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1])[..., None] / 81
    # Only where no kernel reaches over the edges: a single mirrored pixel is enough here, but not for SciPy.
    expected = scipy.ndimage.correlate(x, tent, mode="mirror")[1::3, 1::3][:5, :7]
    np.testing.assert_allclose(shrink(x[None])[0], expected, atol=1e-6)


def test_every_inner_pixel_counts_the_same() -> None:
    x = _picture(0, 17, 23)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(shrink(x))
    np.testing.assert_allclose(tape.gradient(total, x)[0, 2:12, 2:18], 1 / 9, rtol=1e-5)


def test_style_is_the_mean_over_the_copies() -> None:
    x, style, levels = _picture(0, 34, 46), _picture(1, 38, 31), 2
    extract = extract_motifs(_extract, ["a", "b"], levels)
    objective = with_motifs(_objective(), levels)
    found = evaluate(objective, measure_targets(objective, extract, None, [style], (1.0,)), extract, x)
    alone = []
    for _ in range(levels + 1):
        targets = measure_targets(_objective(), _extract, None, [style], (1.0,))
        alone.append(float(evaluate(_objective(), targets, _extract, x)["loss/style"]))
        x, style = shrink(x), shrink(style)
    assert float(found["loss/style"]) == pytest.approx(np.mean(alone), rel=1e-5)
    assert {tag for tag in found if tag.startswith("style/")} == {
        f"style/0/{layer}{part}" for layer in "ab" for part in ("", "/3", "/9")}


def test_gradient_by_finite_differences() -> None:
    x, style = _picture(0, 17, 23), _picture(1, 19, 11)
    extract, objective = extract_motifs(_extract, ["a", "b"], 1), with_motifs(_objective(TermWeights(0.5, 1, 0.3)), 1)
    targets = measure_targets(objective, extract, _picture(2, 17, 23), [style], (1.0,))
    direction = tf.constant(np.random.default_rng(3).normal(size=x.shape), tf.float32)

    def total(at: tf.Tensor) -> tf.Tensor:
        return evaluate(objective, targets, extract, at)["loss/total"]

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = total(x)
    slope = float(tf.reduce_sum(tape.gradient(value, x) * direction))
    assert slope == pytest.approx(float(total(x + 1e-3 * direction) - total(x - 1e-3 * direction)) / 2e-3, rel=1e-2)


def test_cells_of_a_copy_see_more_of_the_picture() -> None:
    assert motif_sights({"a": Sight(2, 7)}, 2) == {"a": Sight(2, 7), "a/3": Sight(6, 21), "a/9": Sight(18, 63)}
    assert motif_sights({"a": Sight(2, 7)}, 0) == {"a": Sight(2, 7)}


@pytest.mark.parametrize("arguments, levels", [
    ((512, 384, 128, 2), 1), ((383, 300, 128, 2), 0), ((384, 300, 128, 2), 1), ((1152, 900, 128, 2), 2),
    ((1152, 900, 128, 101), 1), ((1152, 900, 0, 2), 0)])
def test_levels(arguments: tuple[int, int, int, int], levels: int) -> None:
    assert motif_levels(*arguments) == levels


@pytest.fixture
def config(tmp_path: Path) -> StylizeConfig:
    paths = [tmp_path / "photo.png", tmp_path / "painting.png"]
    for seed, path in enumerate(paths):
        images.save(path, make_picture(51, 72, seed))
    return StylizeConfig(content=str(paths[0]), style=(str(paths[1]),), backbone="kmeans", weights="bundled", size=72,
                         min_size=72, steps=2, precision="float32", padding="zero")


def test_the_plan_says_how_many_copies_there_are(config: StylizeConfig) -> None:
    assert resolved(resolve(replace(config, motif_size=20, min_size=36)))["motif_levels"] == [0, 1]
    pretrained = replace(config, backbone="vgg19", weights="random")
    for given, size in ((config, 0), (pretrained, 128), (replace(pretrained, normalization="gatys"), 0)):
        assert complete(given, resolve(given)).motif_size == size
    json.dumps(resolved(resolve(config)))


def test_a_run_measures_the_copies(config: StylizeConfig) -> None:
    pictures = {size: list(stylize(replace(config, motif_size=size)))[-1] for size in (0, 24)}
    assert {tag for tag in pictures[24].losses if tag.endswith("/3")} == {f"style/0/conv{k}/3" for k in range(1, 6)}
    assert not any("/3" in tag for tag in pictures[0].losses if tag.startswith("style/"))
    assert np.abs(pictures[0].picture() - pictures[24].picture()).max() > 1e-3


def test_the_next_size_starts_from_the_photo_with_its_changes(config: StylizeConfig) -> None:
    still = replace(config, min_size=36, steps=2, learning_rate=1e-9)
    photo = images.load(config.content, name="--content", max_side_px=72)
    *_, last = stylize(still)
    np.testing.assert_allclose(last.picture(), photo, atol=1e-4)
    *_, blurred = stylize(replace(still, init=config.content))
    assert np.abs(blurred.picture() - photo).mean() > 0.02
