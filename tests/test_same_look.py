"""The same command at every size makes the same look: what the pictures score when they are reduced to one size."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.sizes import Row, measure_sizes, spread  # noqa: E402
from benchmarks.style_score import DEFAULT_WEIGHTS  # noqa: E402


def test_spread_by_hand() -> None:
    assert spread([Row(size, style, 1.0, 1.0) for size, style in ((1, 0.2), (2, 0.25), (3, 0.22))]) == pytest.approx(
        0.25)


@pytest.mark.slow
def test_three_sizes_look_alike(tmp_path: Path, shared_images: Path) -> None:
    if not DEFAULT_WEIGHTS.exists():
        pytest.skip("needs the real SqueezeNet of ../shared/weights, which is not part of the project")
    content, style = shared_images / "golden_gate.jpg", shared_images / "starry_night.jpg"
    rows = measure_sizes(content, style, (128, 192, 256), tmp_path, backbone="squeezenet",
                         weights=str(DEFAULT_WEIGHTS), min_size=64, steps=100)
    assert max(row.style for row in rows) < 0.5 and spread(rows) <= 0.15
