"""What stylize_signal.py makes of signals whose truth is known; benchmarks/signals.py makes and judges them."""

import pytest

from benchmarks.signals import PAIRS, equalized, heartbeats, judge_timbre, melodies, timbre


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=" to ".join)
def test_a_melody_takes_the_timbre_of_another_and_keeps_its_notes(pair: tuple[str, str]) -> None:
    found = timbre(pair)
    assert found.kept_pitch >= 0.95
    assert found.envelope_db <= found.content_envelope_db / 2
    assert found.style_share <= 0.3


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS[:2], ids=" to ".join)
def test_an_equalizer_does_not_pass(pair: tuple[str, str]) -> None:
    content, style, notes = melodies(pair, 4.0)
    assert judge_timbre(equalized(content, style), content, style, notes).style_share > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("rate", [250, 500])
def test_a_heart_beats_like_another_at_its_own_times(rate: int) -> None:
    found = heartbeats(rate=rate)
    assert found.found == found.asked and found.largest_error_ms <= 20
    assert found.content_correlation < 0.5 and found.correlation >= 0.95
