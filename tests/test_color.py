"""Color spaces against published numbers, and what of a photo's color a picture takes against known statistics."""

from typing import Any

import numpy as np
import pytest
import scipy.linalg

from nst_tf.io import color
from tests.conftest import make_picture

# IEC 61966-2-1, to four places: linear sRGB → XYZ under D65.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def saturated(height: int, width: int, seed: int) -> Any:
    """Random colors, many of them at the border of what sRGB has."""
    return np.clip(np.random.default_rng(seed).uniform(-0.4, 1.4, (height, width, 3)), 0, 1).astype(np.float32)


def test_srgb_is_the_published_curve() -> None:
    """IEC 61966-2-1: 0.5 is 0.21404 of the light, 0.04045 is 0.0031308; middle gray 0.18 is 0.4613."""
    values = np.array([0.0, 0.04045, 0.5, 1.0, -0.5])
    np.testing.assert_allclose(color.linear_from_srgb(values), [0, 0.0031308, 0.214041, 1, -0.214041], atol=1e-6)
    np.testing.assert_allclose(color.srgb_from_linear(np.array([0.18])), [0.461356], atol=1e-6)
    np.testing.assert_allclose(color.srgb_from_linear(color.linear_from_srgb(values)), values, atol=1e-7)


@pytest.mark.parametrize("xyz, lab", [
    ((0.950, 1.000, 1.089), (1.000, 0.000, 0.000)), ((1, 0, 0), (0.450, 1.236, -0.019)),
    ((0, 1, 0), (0.922, -0.671, 0.263)), ((0, 0, 1), (0.153, -1.415, -0.449))])
def test_oklab_is_ottossons_table(xyz: tuple[float, ...], lab: tuple[float, ...]) -> None:
    """The table of XYZ and Oklab in Ottosson 2020; three decimals, and sRGB's own matrix has four."""
    np.testing.assert_allclose(color.oklab_from_linear(np.linalg.solve(XYZ, xyz)), lab, atol=2e-3)


@pytest.mark.parametrize("rgb, lab", [
    ((1, 0, 0), (0.627955, 0.224863, 0.125846)), ((0, 1, 0), (0.866440, -0.233888, 0.179498)),
    ((0, 0, 1), (0.452014, -0.032457, -0.311528)), ((1, 1, 1), (1, 0, 0)), ((0, 0, 0), (0, 0, 0))])
def test_oklab_of_the_primaries(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    np.testing.assert_allclose(color.oklab(np.array(rgb, float)), lab, atol=1e-6)


def test_inverse_matrices_are_the_published_ones() -> None:
    """Ottosson 2020: the way back, in ten decimals."""
    lab = np.array([0.0, 1.0, 0.0])
    roots = np.array([0.3963377774, -0.1055613458, -0.0894841775])
    light = np.array([4.0767416621, -1.2684380046, -0.0041960863]) * roots[0] ** 3
    light += np.array([-3.3077115913, 2.6097574011, -0.7034186147]) * roots[1] ** 3
    light += np.array([0.2309699292, -0.3413193965, 1.7076147010]) * roots[2] ** 3
    np.testing.assert_allclose(color.linear_from_oklab(lab), light, atol=1e-7)


def test_there_and_back_in_float32() -> None:
    picture = saturated(17, 23, 1)
    assert color.oklab(picture).dtype == np.float32
    np.testing.assert_allclose(color.srgb(color.oklab(picture)), picture, atol=1e-3)
    assert np.abs(color.srgb(color.oklab(picture)) - picture).mean() < 2e-5
    primaries: Any = np.eye(3, dtype=np.float32)[None]
    stronger = color.oklab(primaries) * np.array([1, 1.0001, 1.0001], np.float32)
    np.testing.assert_allclose(color.srgb(stronger), primaries, atol=2e-3)


def test_colors_that_srgb_has_not_become_grayer_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    lab = np.stack([generator.uniform(0.02, 0.98, 2000), *generator.uniform(-0.4, 0.4, (2, 2000))], -1)
    light = color.linear_from_oklab(lab)
    outside = ((light < 0) | (light > 1)).any(-1)
    far_outside = ((light < -0.01) | (light > 1.01)).any(-1)
    shown = color.srgb(lab)
    got = color.oklab(shown)
    assert 0.5 < outside.mean() < 1 and shown.min() >= 0 and shown.max() <= 1
    np.testing.assert_allclose(got[~outside], lab[~outside], atol=1e-6)
    # Light may be clipped by a hundredth: a third of that in lightness, a cube root.
    np.testing.assert_allclose(got[:, 0], lab[:, 0], atol=4e-3)
    kept = (got[:, 1:] * lab[:, 1:]).sum(-1) / (lab[:, 1:] ** 2).sum(-1)
    np.testing.assert_allclose(got[:, 1:], kept[:, None] * lab[:, 1:], atol=4e-3)  # the same hue
    assert kept[far_outside].max() < 1 and kept.min() >= 0
    # As much chroma as fits: a little more is outside.
    more = color.linear_from_oklab(np.column_stack([lab[:, 0], (kept[:, None] + 0.02) * lab[:, 1:]]))[far_outside]
    assert ((more < 0) | (more > 1)).any(-1).all()


def test_lightness_outside_is_black_or_white() -> None:
    np.testing.assert_allclose(color.srgb(np.array([[1.2, 0.1, 0.0], [-0.1, 0.1, 0.1]])), [[1] * 3, [0] * 3], atol=2e-3)


def test_gray_has_the_lightness_and_no_color() -> None:
    lightness = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    picture = color.gray(lightness)
    assert picture.shape == (3, 4, 3) and (picture[..., :1] == picture).all()
    np.testing.assert_allclose(color.oklab(picture)[..., 0], lightness, atol=1e-6)
    np.testing.assert_allclose(color.oklab(picture)[..., 1:], 0, atol=1e-6)


def test_a_picture_with_the_colors_of_a_photo() -> None:
    picture, photo = make_picture(17, 23, 5), make_picture(17, 23, 6)
    joined = color.oklab(color.with_colors_of(picture, photo))
    wanted = np.concatenate([color.oklab(picture)[..., :1], color.oklab(photo)[..., 1:]], -1)
    light = color.linear_from_oklab(wanted)
    inside = ((light >= 0) & (light <= 1)).all(-1)
    assert 0.3 < inside.mean() < 1
    np.testing.assert_allclose(joined[inside], wanted[inside], atol=1e-5)
    np.testing.assert_allclose(joined[..., 0], wanted[..., 0], atol=4e-3)
    np.testing.assert_allclose(color.with_colors_of(photo, photo), photo, atol=1e-3)


def test_matched_colors_have_the_mean_and_covariance_of_the_target() -> None:
    style, photo = saturated(19, 29, 2), make_picture(17, 23, 3) ** 2 * [1, 0.8, 0.6]
    target = color.color_statistics(photo)
    np.testing.assert_allclose(target.mean, photo.reshape(-1, 3).mean(0), rtol=1e-12)
    np.testing.assert_allclose(target.covariance, np.cov(photo.reshape(-1, 3).T, bias=True), rtol=1e-9)
    got = color.color_statistics(color.match_colors(style, target))
    np.testing.assert_allclose(got.mean, target.mean, atol=1e-6)
    np.testing.assert_allclose(got.covariance, target.covariance, atol=1e-6)


def test_matching_is_the_map_of_image_analogies_whatever_the_order_of_the_channels() -> None:
    style, target = saturated(19, 29, 2).astype(np.float64), color.color_statistics(make_picture(17, 23, 3))
    S = color.color_statistics(style)
    A = scipy.linalg.sqrtm(target.covariance) @ np.linalg.inv(scipy.linalg.sqrtm(S.covariance))
    matched = color.match_colors(style, target)
    np.testing.assert_allclose(matched[3, 5], A @ (style[3, 5] - S.mean) + target.mean, atol=1e-9)
    order = [2, 0, 1]
    turned = color.ColorStatistics(target.mean[order], target.covariance[np.ix_(order, order)])
    np.testing.assert_allclose(color.match_colors(style[..., order], turned), matched[..., order], atol=1e-9)


def test_matching_works_where_covariances_are_degenerate() -> None:
    colored, flat = saturated(19, 29, 2), np.full((5, 7, 3), 0.25, np.float32)
    gray = color.gray(make_picture(17, 23, 4)[..., 0])
    to_gray = color.match_colors(colored, color.color_statistics(gray))
    np.testing.assert_allclose(to_gray, to_gray[..., :1].repeat(3, -1), atol=1e-5)
    np.testing.assert_allclose(to_gray.std(), gray.std(), atol=1e-5)
    np.testing.assert_allclose(color.match_colors(colored, color.color_statistics(flat)), 0.25, atol=1e-5)
    target = color.color_statistics(colored)
    from_gray = color.match_colors(gray, target)
    np.testing.assert_allclose(from_gray.reshape(-1, 3).mean(0), target.mean, atol=1e-5)
    assert np.linalg.matrix_rank(color.color_statistics(from_gray).covariance, tol=1e-6) == 1
    np.testing.assert_allclose(color.match_colors(flat, target), np.broadcast_to(target.mean, flat.shape), atol=1e-5)


def test_noise_of_a_nearly_gray_style_is_not_blown_up() -> None:
    generator = np.random.default_rng(0)
    gray = color.gray(make_picture(17, 23, 4)[..., 0])
    noisy = gray + generator.normal(0, 1 / 255, gray.shape).astype(np.float32)
    target = color.color_statistics(saturated(19, 29, 2))
    difference = color.match_colors(noisy, target) - color.match_colors(gray, target)
    largest_gain = np.sqrt(np.linalg.eigvalsh(target.covariance).max()) / color.SMALLEST_DEVIATION
    assert difference.std() < 1.2 * largest_gain / 255


def test_matched_lightness() -> None:
    style, photo = make_picture(17, 23, 1)[..., 0], 0.3 + 0.2 * make_picture(9, 11, 2)[..., 1]
    matched = color.match_lightness(style, photo)
    assert matched.mean() == pytest.approx(photo.mean(), abs=1e-6)
    assert matched.std() == pytest.approx(photo.std(), abs=1e-6)
    assert np.corrcoef(matched.ravel(), style.ravel())[0, 1] == pytest.approx(1)
    np.testing.assert_allclose(color.match_lightness(np.full((3, 4), 0.5), photo), photo.mean(), atol=1e-6)
