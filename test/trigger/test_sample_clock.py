"""The clock of the samples against simulated drivers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.trigger.sample_clock import SampleClock

START = 1_000_000_000_123
MS = 1_000_000


@settings(max_examples=50)
@given(st.sampled_from([8000, 16_000, 44_100, 48_000, 96_000]), st.integers(1, 5000))
def test_exact_stamps_give_exact_times_whatever_the_chunks(rate, chunk):
    clock = SampleClock(rate, START, 15 * MS)
    for index in range(0, 20 * chunk, chunk):
        clock.observe(index, START + round(index * 1e9 / rate))
    for index in (0, 1, 7 * chunk, 10_000_019):
        time_ns = clock.time_ns(index)
        assert abs(time_ns - (START + index * 1_000_000_000 / rate)) <= 0.5
        assert clock.index_at(time_ns) == index


@pytest.mark.parametrize('ppm', [-500, 0, 300])
@pytest.mark.parametrize('chunk', [480, 1024])
def test_jitter_and_drift_are_averaged_out(chunk, ppm):
    rate, rng = 48_000, np.random.default_rng([chunk, abs(ppm)])
    clock = SampleClock(rate, START, 15 * MS)
    errors = []
    for index in range(0, 30 * rate, chunk):
        true = START + index * 1e9 / rate * (1 + ppm * 1e-6)
        stamp = round(true + rng.uniform(-10 * MS, 10 * MS))
        assert index == 0 or abs(stamp - clock.time_ns(index)) < clock.tolerance_ns
        clock.observe(index, stamp)
        errors.append(abs(clock.time_ns(index) - true))
        assert abs(clock.index_at(clock.time_ns(index)) - index) <= 1
    assert max(errors[5 * rate // chunk :]) < 2 * MS


def test_drift_without_jitter_is_followed():
    rate, chunk, ppm = 16_000, 512, 400
    clock = SampleClock(rate, START, 15 * MS)
    for index in range(0, 60 * rate, chunk):
        true = START + index * 1e9 / rate * (1 + ppm * 1e-6)
        clock.observe(index, round(true))
        assert abs(clock.time_ns(index) - true) < 0.5 * MS
    assert abs(clock.time_ns(index) - true) < 0.01 * MS


def test_exact_stamps_narrow_the_tolerance_and_a_jittered_one_widens_it():
    clock = SampleClock(48_000, START, 15 * MS)
    assert clock.tolerance_ns == 30 * MS
    for index in range(0, 4800, 480):
        clock.observe(index, clock.time_ns(index))
    assert clock.tolerance_ns == 1 * MS
    clock.observe(4800, clock.time_ns(4800) + MS // 2)
    assert 15 * MS < clock.tolerance_ns < 22 * MS


def test_after_a_break_the_drift_is_remembered_and_the_phase_learned():
    rate, chunk, drift = 48_000, 480, 300e-6
    clock = SampleClock(rate, START, 15 * MS)
    for index in range(0, 20 * rate, chunk):
        clock.observe(index, round(START + index * 1e9 / rate * (1 + drift)))
    clock.restart_at(index + chunk, clock.time_ns(index + chunk) + 9 * MS)
    before, after = clock.time_ns(index + chunk), clock.time_ns(index + chunk + rate)
    assert after - before == pytest.approx(1e9 * (1 + drift), abs=20_000)
    assert clock.tolerance_ns == 30 * MS
