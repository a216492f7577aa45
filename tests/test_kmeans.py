"""The k-means backbone: its arithmetic by hand, an independent NumPy forward, learning invariants, its files."""

import pickle
import re
import zipfile
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nst_tf.backbones import kmeans
from nst_tf.backbones.architectures import LEARNED_LAYERS, LearnedLayer, OPERATIONS, operations
from nst_tf.backbones.facts import trace
from nst_tf.backbones.kmeans import Filters
from nst_tf.vocabulary import UserError

TINY_RECIPE = (LearnedLayer("one", 5, 12, False, 30), LearnedLayer("two", 3, 8, True, 40),
               LearnedLayer("three", 3, 10, True, 20))

GRAY = (0.5, 0.5, 0.5)


def picture(height, width, seed=0):
    """Waves in three different orientations: no channel is like another, no axis like the other."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    noise = np.random.default_rng(seed).random((height, width, 3))
    waves = np.stack([np.sin(rows / 2 + columns), np.sin(columns / 3), np.cos(rows / 5 - columns / 7)], axis=-1)
    return (0.4 + 0.25 * waves + 0.2 * noise).clip(0, 1).astype(np.float32)


def random_filters(recipe, seed=3):
    rng = np.random.default_rng(seed)
    filters, channels = {}, 3
    for layer in recipe:
        shape = (layer.kernel_px, layer.kernel_px, channels, layer.filters)
        filters[layer.name] = Filters((rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]))).astype(np.float32),
                                      rng.normal(size=layer.filters).astype(np.float32) * 0.1)
        channels = layer.filters
    return filters


def forward_by_loops(image, filters, recipe):
    """The same network as plain float64 sums over shifted pictures, pooled by an explicit 1-2-1 kernel."""
    x, outputs = image.astype(np.float64), {}
    for layer in recipe:
        if layer.pool_before:
            padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="reflect")
            height, width = x.shape[:2]
            x = sum(a * b * padded[dy:dy + height:2, dx:dx + width:2] / 16
                    for dy, a in enumerate((1, 2, 1)) for dx, b in enumerate((1, 2, 1)))
        kernel, bias = filters[layer.name]
        margin = layer.kernel_px // 2
        padded = np.pad(x, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        height, width = x.shape[:2]
        x = np.maximum(bias + sum(padded[dy:dy + height, dx:dx + width] @ kernel[dy, dx]
                                  for dy in range(layer.kernel_px) for dx in range(layer.kernel_px)), 0)
        outputs[layer.name] = x
    return outputs


def test_facts_by_hand():
    facts = {layer.name: layer[1:4] for layer in trace(tuple(operations(TINY_RECIPE)))}
    # one: 5. two: pooling of 3 px, then 3 px at stride 2: 5 + 2 + 4. three: 11 + 2·2 + 2·4.
    assert [facts[name] for name in ("one", "two", "three")] == [(12, 1, 5), (8, 2, 11), (10, 4, 23)]


def test_receptive_field_of_the_real_recipe_is_what_reaches_a_position():
    deepest = LEARNED_LAYERS[-1].name
    filters = {name: Filters(np.abs(kernel), np.abs(bias)) for name, (kernel, bias)
               in random_filters(LEARNED_LAYERS).items()}
    image = tf.ones((1, 32, 256, 3))
    with tf.GradientTape() as tape:
        tape.watch(image)
        one_position = tf.reduce_sum(kmeans.build(filters, [deepest])(image)[deepest][:, 1, 8])
    reached = np.abs(tape.gradient(one_position, image)).sum(axis=(0, 1, 3)) > 0
    assert reached.sum() == trace(OPERATIONS["kmeans"])[-1].receptive_field_px


@pytest.mark.parametrize("height, width", [(17, 23), (33, 47), (32, 18)])
def test_model_equals_an_independent_forward(height, width):
    filters, image = random_filters(TINY_RECIPE), picture(height, width)
    by_model = kmeans.build(filters, ["three", "one", "two"], TINY_RECIPE)(image[None])
    by_loops = forward_by_loops(image, filters, TINY_RECIPE)
    assert set(by_model) == set(by_loops)
    for name, values in by_loops.items():
        np.testing.assert_allclose(by_model[name].numpy()[0], values, atol=2e-6)
        assert (values > 0).any() and (values == 0).any()


def test_swapped_channels_are_noticed():
    model = kmeans.build(random_filters(TINY_RECIPE), ["one"], TINY_RECIPE)
    image = picture(17, 23)
    assert np.abs(model(image[None])["one"] - model(image[None, ..., ::-1])["one"]).max() > 0.05


def test_model_stops_at_the_deepest_layer_asked_for():
    model = kmeans.build(random_filters(TINY_RECIPE), ["two"], TINY_RECIPE)
    assert list(model.output) == ["two"]
    assert "three" not in [layer.name for layer in model.layers]


def test_unknown_layer_is_one_line():
    with pytest.raises(UserError, match="layer 'thre' is unknown, did you mean 'three'"):
        kmeans.build(random_filters(TINY_RECIPE), ["thre"], TINY_RECIPE)


def test_whitened_patches_are_uncorrelated_with_nearly_unit_variance():
    patches = kmeans.draw_patches(picture(60, 45), 3, 2000, np.random.default_rng(1))
    centered = patches - patches.mean(axis=0)
    white = centered @ kmeans.whitening(centered, 10)
    covariance = np.cov(white, rowvar=False)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
    variances = np.linalg.eigvalsh(np.cov(centered, rowvar=False))[::-1][:10]
    np.testing.assert_allclose(np.diag(covariance), variances / (variances + 1e-3 * variances[0]), atol=2e-3)


def test_spherical_kmeans_finds_planted_directions():
    rng = np.random.default_rng(2)
    planted = np.eye(6)[:3]
    points = np.repeat(planted, 50, axis=0) + 0.05 * rng.normal(size=(150, 6))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    # This seed starts with a point of each direction: k-means promises no more than the nearest optimum.
    centers = kmeans.spherical_kmeans(points, 3, np.random.default_rng(5))
    assert sorted((centers @ planted.T).argmax(axis=1)) == [0, 1, 2]
    np.testing.assert_allclose(np.linalg.norm(centers, axis=1), 1, atol=1e-6)
    assert (centers @ planted.T).max(axis=1).min() > 0.99


def test_patches_are_in_kernel_order():
    features = np.arange(5 * 7 * 2, dtype=np.float32).reshape(5, 7, 2)
    patches = kmeans.draw_patches(features, 3, 35, np.random.default_rng(0))
    inside = patches[patches[:, 8] == features[2, 3, 0]][0].reshape(3, 3, 2)
    np.testing.assert_array_equal(inside, features[1:4, 2:5])
    assert len(np.unique(patches[:, 8])) == 35


@pytest.mark.parametrize("size, sides", [((600, 1024), [512, 362, 256, 181, 128]), ((300, 200), [300, 212, 150]),
                                         ((40, 90), [90])])
def test_learning_pictures_halve_by_steps_of_root_two_and_keep_the_shape(size, sides):
    seen = kmeans.learning_pictures(picture(*size), 17)
    assert [max(view.shape[:2]) for view in seen] == sides
    for view in seen:
        assert view.shape[0] / view.shape[1] == pytest.approx(size[0] / size[1], rel=0.02)
        assert 0 <= view.min() and view.max() <= 1


def test_learned_responses_have_unit_spread_and_the_percentile_at_zero():
    patches = kmeans.draw_patches(picture(50, 41), 3, 1500, np.random.default_rng(1))
    kernel, bias = kmeans.learn_filters(patches, TINY_RECIPE[1], np.random.default_rng(0))
    responses = patches @ kernel.reshape(27, 8) + bias
    np.testing.assert_allclose(responses.std(axis=0), 1, atol=1e-3)
    np.testing.assert_allclose((responses > 0).mean(axis=0), 1 - kmeans.BIAS_PERCENTILE / 100, atol=2e-3)


def test_learning_twice_gives_the_same_bits_and_another_seed_other_filters():
    pictures = [picture(40, 64), picture(50, 33, seed=1)]
    first, again, other = (kmeans.learn(pictures, seed, TINY_RECIPE) for seed in (7, 7, 8))
    for layer in TINY_RECIPE:
        for part, repeated, different in zip(first[layer.name], again[layer.name], other[layer.name]):
            np.testing.assert_array_equal(part, repeated)
            assert part.shape != different.shape or (part != different).any()


@pytest.mark.parametrize("height, width", [(17, 23), (32, 90)])
def test_small_pictures_get_fewer_filters_and_a_working_network(height, width):
    filters = kmeans.learn([picture(height, width)], 0, LEARNED_LAYERS)
    deepest = LEARNED_LAYERS[-1]
    assert filters[deepest.name].bias.size < deepest.filters
    activations = kmeans.build(filters, [deepest.name])(picture(height, width)[None])[deepest.name]
    assert np.isfinite(activations).all() and np.asarray(activations).std() > 0


def test_a_flat_picture_gives_finite_filters():
    filters = kmeans.learn([np.full((40, 40, 3), 0.5, np.float32)], 0, TINY_RECIPE)
    assert all(np.isfinite(part).all() for layer in filters.values() for part in layer)


@pytest.mark.parametrize("pictures, message", [([], "no picture"), ([picture(40, 40), picture(4, 40)], "40 × 4 px")])
def test_nothing_to_learn_from_is_one_line(pictures, message):
    with pytest.raises(UserError, match=message):
        kmeans.learn(pictures, 0, TINY_RECIPE)


def test_save_and_load_round_trip_as_float16(tmp_path):
    filters = random_filters(TINY_RECIPE)
    kmeans.save(tmp_path / "filters.npz", filters, (0.25, 0.5, 0.125))
    loaded, mean_color = kmeans.load(tmp_path / "filters.npz", TINY_RECIPE)
    assert mean_color == (0.25, 0.5, 0.125)
    for name, layer in filters.items():
        for part, read in zip(layer, loaded[name]):
            assert read.dtype == np.float32
            np.testing.assert_array_equal(read, part.astype(np.float16).astype(np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["filters.npz"]


def test_whole_network_fits_two_megabytes(tmp_path):
    kmeans.save(tmp_path / "filters.npz", random_filters(LEARNED_LAYERS), (0.5, 0.5, 0.5))
    assert (tmp_path / "filters.npz").stat().st_size < 2_000_000


def test_unusable_filter_files_are_one_line(tmp_path):
    good = random_filters(TINY_RECIPE)
    kmeans.save(tmp_path / "good.npz", good, GRAY)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:-40])
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(good))
    objects: dict[str, Any] = {"one/kernel": np.array([{}], object)}
    np.savez(tmp_path / "objects.npz", **objects)
    with zipfile.ZipFile(tmp_path / "texts.npz", "w") as archive:
        archive.writestr("one/kernel", "no array")
    np.savez_compressed(tmp_path / "bomb.npz", zeros=np.zeros(10_000_000))
    kmeans.save(tmp_path / "wrong.npz", {**good, "two": Filters(good["two"].kernel[:, :, :5], good["two"].bias)}, GRAY)
    kmeans.save(tmp_path / "nan.npz", {**good, "two": Filters(good["two"].kernel * np.nan, good["two"].bias)}, GRAY)
    for name in ("none", "cut", "text", "pickle", "objects", "texts", "bomb", "wrong", "nan"):
        with pytest.raises(UserError, match=re.escape(f"{name}.npz' cannot be used")) as caught:
            kmeans.load(tmp_path / f"{name}.npz", TINY_RECIPE)
        assert "\n" not in str(caught.value)
