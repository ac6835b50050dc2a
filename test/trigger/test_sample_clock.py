"""The clock of the samples against simulated drivers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.trigger.sample_clock import SampleClock

START = 1_000_000_000_123
MS = 1_000_000


def clock_of(rate, chunk, seconds, stamp_of):
    """A clock that has seen all chunks; ``stamp_of(true)`` is what a driver makes of a time."""
    clock = SampleClock(rate, START, 20 * rate)
    for index in range(0, round(seconds * rate), chunk):
        clock.observe(index, chunk, round(stamp_of(START + index * 1e9 / rate)))
    return clock


@settings(max_examples=50)
@given(st.sampled_from([8000, 16_000, 44_100, 48_000, 96_000]), st.integers(1, 5000))
def test_exact_stamps_give_exact_times_whatever_the_chunks(rate, chunk):
    clock = clock_of(rate, chunk, 20 * chunk / rate, lambda true: true)
    for index in (0, 1, 7 * chunk, 10_000_019):
        time_ns = clock.time_ns(index)
        assert abs(time_ns - (START + index * 1_000_000_000 / rate)) <= 0.5
        assert clock.position_at(time_ns) == index == clock.position(index)
    assert clock.reading().judged.startswith('exact: ') and clock.steady


@pytest.mark.parametrize('ppm', [-500, 0, 300])
@pytest.mark.parametrize('chunk', [480, 1024])
def test_jitter_and_drift_are_averaged_out(chunk, ppm):
    rate, rng = 48_000, np.random.default_rng([chunk, abs(ppm)])
    clock, errors = SampleClock(rate, START, 20 * rate), []
    for index in range(0, 30 * rate, chunk):
        true = START + index * 1e9 / rate * (1 + ppm * 1e-6)
        clock.observe(index, chunk, round(true + rng.uniform(-10 * MS, 10 * MS)))
        errors.append(abs(clock.time_ns(index) - true))
        assert abs(clock.position_at(clock.time_ns(index)) - index) <= 1
    assert max(errors[5 * rate // chunk :]) < 2 * MS
    reading = clock.reading()
    assert reading.jitter_ms == pytest.approx(20, abs=1)
    assert reading.drift_ppm == pytest.approx(ppm, abs=200)
    assert not clock.seams


def test_drift_without_jitter_is_followed():
    rate, chunk, ppm = 16_000, 512, 2000
    clock = SampleClock(rate, START, 20 * rate)
    for index in range(0, 60 * rate, chunk):
        true = START + index * 1e9 / rate * (1 + ppm * 1e-6)
        clock.observe(index, chunk, round(true))
        assert abs(clock.time_ns(index) - true) < 0.5 * MS
    assert abs(clock.time_ns(index) - true) < 0.01 * MS
    assert clock.reading().drift_ppm == pytest.approx(ppm, abs=1) and clock.steady


@pytest.mark.parametrize(
    'seen, unusual',
    [
        (lambda true: true, 2),
        (lambda true: true * (1 + 5e-4) - START * 5e-4, 16),
        (lambda true: true + 60 * MS * np.random.default_rng(int(true)).random(), 670),
    ],
)
def test_how_much_is_unusual_depends_on_what_was_seen(seen, unusual):
    clock = clock_of(48_000, 960, 10, seen)
    index = 10 * 48_000
    for sign in (-1, 1):
        usual = clock.time_ns(index) + sign * round(unusual * 0.45 * MS)
        assert clock.deviation(index, usual) == 0
        late = clock.time_ns(index) + sign * unusual * MS
        assert clock.deviation(index, late) == pytest.approx(sign * unusual * 48, abs=unusual * 3)


def test_a_gap_shrinks_to_what_a_later_stamp_allows_and_its_sound_moves_back():
    rate, chunk = 8000, 160
    clock = clock_of(rate, chunk, 2, lambda true: true)
    end = 2 * rate
    clock.mark(end + 800, 800)  # 100 ms
    assert clock.observe(end + 800, chunk, START + 2_100 * MS).samples == 0
    revision = clock.observe(end + 960, chunk, START + 2_080 * MS)  # 40 ms too early for that
    assert (revision.samples, revision.gaps) == (-320, 0)
    assert clock.position(end) == end and clock.position(end + 800) == end + 480
    revision = clock.observe(end + 1120, chunk, START + 2_040 * MS)
    assert (revision.samples, revision.gaps) == (-480, -1)
    assert clock.position(end + 800) == end and clock.seams == [end + 800]


def test_the_drift_is_remembered_over_a_gap():
    rate, chunk, drift = 48_000, 480, 300e-6
    clock = clock_of(rate, chunk, 20, lambda true: START + (true - START) * (1 + drift))
    index = 20 * rate + 432
    clock.mark(index, 432)
    clock.observe(index, chunk, clock.time_ns(index))
    assert clock.time_ns(index + rate) - clock.time_ns(index) == pytest.approx(
        1e9 * (1 + drift), abs=20_000
    )


def test_a_clock_that_is_set_back_is_told_and_one_set_a_little_is_followed():
    rate, chunk = 8000, 160
    for back_ms, jumped in ((400, True), (50, False)):
        clock = clock_of(rate, chunk, 3, lambda true: true)
        told = []
        for index in range(3 * rate, 7 * rate, chunk):
            stamp_ns = START + round(index * 1e9 / rate) - back_ms * MS
            told.append(clock.observe(index, chunk, stamp_ns).jumped_back)
        assert any(told) == jumped
        if not jumped:
            assert clock.time_ns(index) == pytest.approx(stamp_ns, abs=MS)
