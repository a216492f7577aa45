"""How long a run takes: by hand on simple times, and on the recorded times of whole runs."""

from pathlib import Path

import pytest

from benchmarks import estimate as recorded
from nst_tf.runs.estimate import FIXED_PIXELS, MEASURING_STEPS, PREDICTED_STEPS, STARTING_STEPS, Estimate, Left

TRACES = sorted((Path(__file__).parent / "data").glob("estimate_*.json"))


def test_nothing_is_known_after_one_step() -> None:
    estimate = Estimate(100.0)
    estimate.add({(50,): 9}, 107.0)
    assert estimate.seconds_left() is None and estimate.steps_per_second() is None


def test_the_first_step_of_a_run_does_not_slow_the_others() -> None:
    estimate = Estimate(100.0)
    for time, left in ((107.0, 9), (108.0, 8), (108.5, 7), (110.0, 6)):
        estimate.add({(50,): left}, time)
    assert STARTING_STEPS == 2
    assert estimate.seconds_left() == 6 * (0.5 + 1.5) / 2 and estimate.steps_per_second() == 2 / 2.0


def test_a_larger_size_costs_its_pixels_and_a_start() -> None:
    estimate = Estimate(0.0)
    # The first two take 11 s: 4 s are steps, 2 s the measuring of the pictures, and 5 s the tracing.
    for time, left in ((8.0, 4), (11.0, 3), (13.0, 2), (15.0, 1)):
        estimate.add({(12_000,): left, (36_000,): 7}, time)
    larger = 2.0 * (36_000 + FIXED_PIXELS) / (12_000 + FIXED_PIXELS)
    assert larger == 4.0 and MEASURING_STEPS == 1
    assert estimate.seconds_left() == 1 * 2.0 + 7 * larger + (5.0 + larger)


def test_two_sizes_tell_what_the_third_costs() -> None:
    """t = (pixels + 12,000) / 24,000: 1 s, 2 s and, of 84,000 pixels, 4 s; tracing takes 3 s, at the beginning 10."""
    estimate, time = Estimate(0.0), 0.0
    for step, seconds in enumerate((12.0, 1.0, 1.0, 1.0, 6.5, 2.5, 2.0), 1):
        time += seconds
        first: Left = {(12_000,): 4 - step} if step <= 4 else {}
        estimate.add({**first, (36_000,): min(5, 9 - step), (84_000,): 5}, time)
    # The one measured step of 36,000 pixels and what 12,000 predict, which is 2 s too.
    guess = 1.0 * (36_000 + FIXED_PIXELS) / (12_000 + FIXED_PIXELS)
    assert guess == 2.0 and PREDICTED_STEPS == 2
    assert estimate.seconds_left() == pytest.approx(2 * 2.0 + 5 * 4.0 + 3.0 + 4.0)


def test_each_picture_of_a_step_is_traced() -> None:
    """Of the last size a smaller copy is read too: 20,000 and 16,000 pixels cost as 36,000 do, and are traced apart."""
    estimate = Estimate(0.0)
    for time, left in ((8.0, 4), (11.0, 3), (13.0, 2), (15.0, 1)):
        estimate.add({(12_000,): left, (20_000, 16_000): 7}, time)
    assert estimate.seconds_left() == 1 * 2.0 + 7 * 4.0 + (2 * 5.0 + 4.0)


def test_steps_of_a_reduced_network_tell_nothing_of_those_of_the_whole_one() -> None:
    """Until these are timed nothing is said. Their start and one more step are not the reduced network's 0.5 s."""
    estimate, time = Estimate(0.0), 0.0
    reduced, whole = (20_000, 16_000, 0), (20_000, 16_000)
    for left in (3, 2, 1, 0):
        time += 0.5
        estimate.add({reduced: left, whole: 5} if left else {whole: 5}, time)
        assert estimate.seconds_left() is None
    for step, left in enumerate((4, 3, 2)):
        time += 2.0
        estimate.add({whole: left}, time)
        assert estimate.seconds_left() == (None if step < 1 else pytest.approx(left * 2.0))


def test_sizes_that_come_again_are_not_traced_again() -> None:
    """Frames of a dream: two octaves, again and again."""
    estimate = Estimate(0.0)
    for time, small, large in ((4.0, 6, 6), (5.0, 5, 6), (6.0, 4, 6)):
        estimate.add({(10_000,): small, (22_000,): large}, time)
    for time, large in ((12.0, 5), (13.0, 4), (15.0, 3)):
        estimate.add({(22_000,): large, (10_000,): 4}, time)
    estimate.add({(10_000,): 3, (22_000,): 3}, 16.0)
    of_one, of_other = estimate._step_seconds((10_000,)), estimate._step_seconds((22_000,))
    assert estimate.seconds_left() == pytest.approx(3 * of_one + 3 * of_other)
    assert 1.0 <= of_one < 1.5 < of_other <= 2.0


def test_a_small_size_that_is_slower_than_a_large_one_makes_no_nonsense() -> None:
    """A neighbor took the processor while the small size was worked on."""
    estimate, time = Estimate(0.0), 0.0
    for step, seconds in enumerate((9.0, 8.0, 8.0, 5.0, 2.0, 2.0), 1):
        time += seconds
        first: Left = {(10,): 3 - step} if step <= 3 else {}
        estimate.add({**first, (20,): min(3, 6 - step), (40,): 3}, time)
    seconds_left = estimate.seconds_left()
    assert seconds_left is not None and 3 * 2.0 <= seconds_left <= 60.0


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_tenth_of_a_real_run_tells_how_long_it_takes(path: Path) -> None:
    trace = recorded.read(path)
    later = [each for each in recorded.said(trace) if each.true_left <= 0.9 * trace.end]
    assert len(later) > 50 and max(abs(each.error) for each in later) <= 0.15
    # What is left is told as well, up to the writing of the result.
    assert all(abs(each.left - each.true_left) <= 0.15 * each.true_left + 1.0 for each in later)


def test_there_are_recorded_runs() -> None:
    assert len(TRACES) >= 2
