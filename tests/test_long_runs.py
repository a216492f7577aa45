"""Long runs never drift to gray or to clipped poles."""

import pytest

from benchmarks.long_run import SAMPLES, long_run


@pytest.mark.slow
@pytest.mark.parametrize("steps, schedule", [(10_000, "cosine"), (3_000, "constant")])
def test_a_long_run_from_white_noise_stays_good(steps: int, schedule: str) -> None:
    result = long_run(str(SAMPLES / "coast.jpg"), str(SAMPLES / "swirls.jpg"), steps, schedule, size=64)
    assert len(result.window_means) == steps // 500
    assert result.largest_rise() <= 0.005
    assert result.clipped_points() <= 2
    assert abs(result.saturation_ratio() - 1) <= 0.25
    assert result.window_means[-1] < 0.8 * result.window_means[0]
