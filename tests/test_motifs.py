"""Large motifs: the picture's smaller copies, and a style that is measured on them too."""

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
from nst_tf.losses.evaluation import measure_targets
from nst_tf.losses.guides import ReceptiveField
from nst_tf.losses.motifs import extract_motifs, motif_shares, motif_fields, with_motifs
from nst_tf.losses.objective import Objective, TermWeights
from nst_tf.recipes.stylize.plan import complete, resolve, resolved
from nst_tf.recipes.stylize.plan_sizes import plan_copies
from nst_tf.recipes.stylize.steps import stylize
from nst_tf.tensors import shrink, tents

from .conftest import make_picture
from .losses import losses_of

STYLE_ONLY = TermWeights(0.0, 1.0, 0.0)
pytestmark = pytest.mark.usefixtures("shared_networks")


def _extract(image: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"a": tf.nn.relu(image * [1.0, -2.0, 3.0] + 0.5), "b": tf.nn.avg_pool2d(image, 2, 2, "VALID") ** 2}


def _objective(weights: TermWeights = STYLE_ONLY) -> Objective:
    return Objective((LayerWeight("b", 1.0),), (LayerWeight("a", 3.0), LayerWeight("b", 1.0)), weights, "relative",
                     "gram")


def _picture(seed: int, height: int, width: int) -> tf.Tensor:
    return tf.constant(make_picture(height, width, seed)[None])


def test_tents_by_hand() -> None:
    # The first of three cells looks at pixel ½: 3/4 of a tent of half-width 2 on pixels 0 and 1, 1/4 on 2 and on −1.
    np.testing.assert_allclose(tents(6, 3), np.array([[4, 3, 1, 0, 0, 0], [0, 1, 3, 3, 1, 0], [0, 0, 0, 1, 3, 4]]) / 8)
    np.testing.assert_allclose(tents(5, 5), np.eye(5))


def test_shrink_by_a_whole_number_equals_scipy() -> None:
    x = make_picture(15, 21, 0)
    tent = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1])[..., None] / 81
    expected = scipy.ndimage.correlate(x, tent, mode="reflect")[1::3, 1::3]
    np.testing.assert_allclose(shrink(x[None], 5, 7)[0], expected, atol=1e-6)


def test_shrink_equals_tensorflow_away_from_the_edges() -> None:
    x = _picture(0, 34, 46)
    expected = tf.image.resize(x, (15, 13), "bilinear", antialias=True)
    np.testing.assert_allclose(shrink(x, 15, 13)[0, 2:-2, 2:-2], expected[0, 2:-2, 2:-2], atol=1e-5)


@pytest.mark.parametrize("pixels, cells", [(512, 128), (1024, 362), (512, 362), (23, 7), (5, 1), (3, 2)])
def test_every_pixel_counts_about_the_same(pixels: int, cells: int) -> None:
    seen = tents(pixels, cells)
    np.testing.assert_allclose(seen.sum(1), 1)
    np.testing.assert_allclose(seen.sum(0), cells / pixels, rtol=0.12)
    np.testing.assert_allclose(seen, seen[::-1, ::-1], atol=1e-12)


def test_style_is_the_weighted_mean_over_the_copies() -> None:
    x, style, copies_px = _picture(0, 34, 46), _picture(1, 38, 31), (23, 10)
    extract = extract_motifs(_extract, ["a", "b"], 46, copies_px)
    objective = with_motifs(_objective(), 46, copies_px)
    found = losses_of(objective, measure_targets(objective, extract, None, [style], (1.0,)), extract, x)
    alone = []
    # The sides of the copies by hand: 34 and 46 · 23/46, then of these · 10/46 of the original's; style in proportion.
    for of_picture, of_style in (((34, 46), (38, 31)), ((17, 23), (19, 16)), ((7, 10), (8, 7))):
        x, style = shrink(x, *of_picture), shrink(style, *of_style)
        targets = measure_targets(_objective(), _extract, None, [style], (1.0,))
        alone.append(float(losses_of(_objective(), targets, _extract, x)["loss/style"]))
    shares = (0.6, 0.0366339, 0.3633661)  # 0.4 (1 − 1/n) and 0.4/n for n = log 4.6 / log 4 = 1.1008169
    assert float(found["loss/style"]) == pytest.approx(np.dot(shares, alone), rel=1e-5)
    assert {tag for tag in found if tag.startswith("style/")} == {
        f"style/0/{layer}{part}" for layer in "ab" for part in ("", "/23px", "/10px")}


def test_without_copies_nothing_changes() -> None:
    assert motif_shares(512, ()) == (1,) and with_motifs(_objective(), 512, ()) == _objective()
    assert motif_fields({"a": ReceptiveField(2, 7)}, 512, ()) == {"a": ReceptiveField(2, 7)}


def test_gradient_by_finite_differences() -> None:
    x, style = _picture(0, 17, 23), _picture(1, 19, 11)
    extract = extract_motifs(_extract, ["a", "b"], 23, (11, 5))
    objective = with_motifs(_objective(TermWeights(0.5, 1, 0.3)), 23, (11, 5))
    targets = measure_targets(objective, extract, _picture(2, 17, 23), [style], (1.0,))
    direction = tf.constant(np.random.default_rng(3).normal(size=x.shape), tf.float32)

    def total(at: tf.Tensor) -> tf.Tensor:
        return losses_of(objective, targets, extract, at)["loss/total"]

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = total(x)
    slope = float(tf.reduce_sum(tape.gradient(value, x) * direction))
    assert slope == pytest.approx(float(total(x + 1e-3 * direction) - total(x - 1e-3 * direction)) / 2e-3, rel=1e-2)


def test_cells_of_a_copy_see_more_of_the_picture() -> None:
    assert motif_fields({"a": ReceptiveField(2, 7)}, 512, (256, 64)) == {
        "a": ReceptiveField(2, 7), "a/256px": ReceptiveField(4, 14), "a/64px": ReceptiveField(16, 56)}


@pytest.mark.parametrize("arguments, sizes_px", [
    ((512, 384, 128, 2), (128,)), ((255, 192, 128, 2), ()), ((256, 192, 128, 2), (128,)),
    ((513, 384, 128, 2), (256, 128)), ((1024, 768, 128, 2), (362, 128)), ((8192, 6144, 128, 2), (2048, 512, 128)),
    ((512, 384, 0, 2), ()), ((512, 64, 128, 20), (160,)), ((512, 64, 128, 33), ()), ((96, 72, 1, 2), (30, 10, 3))])
def test_copies(arguments: tuple[int, int, int, int], sizes_px: tuple[int, ...]) -> None:
    assert plan_copies(*arguments) == sizes_px


def test_copies_are_between_half_and_a_quarter_of_the_one_before_and_large_enough() -> None:
    for px in range(4, 700, 13):
        for shortest_px, motif_size_px in ((px, 30), (max(1, px // 3), 30), (px, 7)):
            sizes_px = plan_copies(px, shortest_px, motif_size_px, 3)
            for larger, smaller in zip((px, *sizes_px), sizes_px):
                assert 1.95 <= larger / smaller <= 4.15, (px, shortest_px, motif_size_px)
                assert smaller >= motif_size_px and round(shortest_px * smaller / px) >= 3, (px, shortest_px)


@pytest.mark.parametrize("long_side_px, shares", [
    (256, (0.6, 0.4)), (512, (0.6, 0.4)), (1024, (0.6, 2 / 15, 4 / 15)), (2048, (0.6, 0.2, 0.2)),
    (8192, (0.6, 2 / 15, 2 / 15, 2 / 15))])
def test_shares_by_hand(long_side_px: int, shares: tuple[float, ...]) -> None:
    copies_px = plan_copies(long_side_px, long_side_px, 128, 2)
    assert motif_shares(long_side_px, copies_px) == pytest.approx(shares)


def test_the_smallest_copy_counts_about_the_same_in_pictures_of_about_the_same_size() -> None:
    for long_side_px in range(256, 5000, 61):
        here, larger = (motif_shares(px, plan_copies(px, px, 128, 2))
                        for px in (long_side_px, round(1.1 * long_side_px)))
        assert sum(here) == pytest.approx(1) and min(here) >= 0, long_side_px
        assert larger[-1] == pytest.approx(here[-1], rel=0.07) and larger[0] == here[0], long_side_px


@pytest.fixture
def config(tmp_path: Path) -> StylizeConfig:
    paths = [tmp_path / "photo.png", tmp_path / "painting.png"]
    for seed, path in enumerate(paths):
        images.save(path, make_picture(51, 72, seed))
    return StylizeConfig(content=str(paths[0]), style=(str(paths[1]),), backbone="kmeans", weights="bundled", size=72,
                         min_size=72, steps=2, precision="float32", padding="zero")


def test_the_plan_says_which_copies_there_are(config: StylizeConfig) -> None:
    assert resolved(resolve(replace(config, motif_size=20, min_size=36)))["motif_copies_px"] == [[], [20]]
    pretrained = replace(config, backbone="vgg19", weights="random")
    for given, size in ((config, 0), (pretrained, 128), (replace(pretrained, normalization="gatys"), 0)):
        assert complete(given, resolve(given)).motif_size == size
    json.dumps(resolved(resolve(config)))


def test_a_run_measures_the_copies(config: StylizeConfig) -> None:
    pictures = {size: list(stylize(replace(config, motif_size=size)))[-1] for size in (0, 24)}
    tags = {size: list(progress.details()) for size, progress in pictures.items()}
    assert {tag for tag in tags[24] if tag.endswith("px")} == {f"style/0/conv{k}/24px" for k in range(1, 6)}
    assert not any("px" in tag for tag in tags[0])
    assert np.abs(pictures[0].picture() - pictures[24].picture()).max() > 1e-3


def test_the_next_size_starts_from_the_photo_with_its_changes(config: StylizeConfig) -> None:
    still = replace(config, min_size=36, steps=2, learning_rate=1e-9)
    photo = images.load(config.content, name="--content", max_side_px=72)
    *_, last = stylize(still)
    np.testing.assert_allclose(last.picture(), photo, atol=1e-4)
    *_, blurred = stylize(replace(still, init=config.content))
    assert np.abs(blurred.picture() - photo).mean() > 0.02
