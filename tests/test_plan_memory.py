"""How much memory a run is planned to take, and which tiles follow from it. Measured figures: benchmarks/memory.py."""

from collections.abc import Callable
from typing import Any

import pytest

from nst_tf.config import StylizeConfig
from nst_tf.recipes.stylize.plan import resolve
from nst_tf.recipes.stylize.plan_memory import decide_tile, predicted_bytes
from nst_tf.vocabulary import UserError

Paths = Callable[[str, int, int, int], str]


def _config(pictures: Paths, size: int = 4000, **settings: Any) -> StylizeConfig:
    settings = {"backbone": "squeezenet1_1", "weights": "random", "size": size, **settings}
    return StylizeConfig(content=pictures("memory_content", 60, 80, 0), style=(pictures("memory_style", 300, 300, 1),),
                         **settings)


def _decided(config: StylizeConfig, limit_gb: float) -> int:
    return decide_tile(config, resolve(config), "float32", limit_gb)


def test_the_prediction_by_hand(pictures: Paths) -> None:
    """4,000 × 3,000 px: whole, and with tiles of 512 px, beside which the photo and its features are kept."""
    config = _config(pictures, min_size=4000)
    plan, pixels = resolve(config), 4000 * 3000
    assert predicted_bytes(config, plan, "float32", 0) == pytest.approx(675e6 + pixels * 990)
    kept = (128 / 16 + 256 / 64 + 256 / 64) * 4
    of_tile = 496 * 480 * 990
    assert predicted_bytes(config, plan, "float32", 512) == pytest.approx(
        675e6 + pixels * (48 + 12 + 6 + 9 + 12 + kept) + of_tile + 3 * 80 * 60)
    earlier = resolve(two := _config(pictures, min_size=2828)).stage_size_px(-2)
    assert predicted_bytes(two, resolve(two), "float32", 512) - predicted_bytes(config, plan, "float32", 512) == (
        pytest.approx(48 * earlier[0] * earlier[1]))
    assert predicted_bytes(config, plan, "bfloat16", 0) < predicted_bytes(config, plan, "float32", 0)


def test_the_whole_picture_where_it_fits_else_the_largest_tiles(pictures: Paths) -> None:
    config = _config(pictures)
    assert _decided(config, 20.0) == 0
    large, small = _decided(config, 5.5), _decided(config, 3.0)
    assert large == 1536 and 0 < small < large
    plan = resolve(config)
    assert predicted_bytes(config, plan, "float32", small) <= 0.95 * 3.0e9


def test_a_given_tile_is_taken(pictures: Paths) -> None:
    assert _decided(_config(pictures, tile="600"), 0.1) == 600
    assert _decided(_config(pictures, tile="off"), 0.1) == 0


def test_a_machine_that_is_too_small_is_no_reason_to_refuse(pictures: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_tf.recipes.stylize.plan_memory.memory_bytes", lambda: 1e9)
    config = _config(pictures)
    plan = resolve(config)
    least = predicted_bytes(config, plan, "float32", decide_tile(config, plan, "float32", None))
    assert least > 1e9 and least == pytest.approx(min(
        predicted_bytes(config, plan, "float32", tile_px) for tile_px in range(80, 512, 4)), rel=0.01)


def test_workers_share_the_machine(pictures: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(pictures)
    monkeypatch.setattr("nst_tf.recipes.stylize.plan_memory.memory_bytes", lambda: 20e9)
    one, four = (decide_tile(config, resolve(config), "float32", None, workers) for workers in (1, 4))
    assert one == 0 and four == _decided(config, 4 / 0.95)


def test_a_classifier_counts_where_its_layers_are_chosen(pictures: Paths) -> None:
    plain, telling = (_config(pictures, backbone="vgg19", size=600, **settings)
                      for settings in ({}, {"dream": ("predictions:207",), "dream_weight": 1.0}))
    without = telling.__class__(**{**vars(telling), "dream": ("block5_conv3:all",)})
    assert predicted_bytes(telling, resolve(telling), "float32", 0) > 490e6 + predicted_bytes(
        without, resolve(without), "float32", 0) > predicted_bytes(plain, resolve(plain), "float32", 0)


def test_deeper_layers_need_more(pictures: Paths) -> None:
    def needed(config: StylizeConfig) -> float:
        return predicted_bytes(config, resolve(config), "float32", 0)

    shallow, deep = (needed(_config(pictures, style_layers=(layer,), content_layers=(layer,)))
                     for layer in ("conv1", "fire9"))
    assert shallow < needed(_config(pictures)) < deep


@pytest.mark.parametrize("settings, line", [
    ({}, r"needs about 2\.6 GB of memory, in tiles too, and --memory_limit=1 leaves 0\.9"),
    ({"statistic": "histogram"}, r"needs about 12\.6 GB of memory \(--statistic=histogram sorts the values")])
def test_what_does_not_fit_is_refused(settings: dict[str, Any], line: str, pictures: Paths) -> None:
    with pytest.raises(UserError, match=line):
        _decided(_config(pictures, **settings), 1.0)
