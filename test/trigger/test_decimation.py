"""Sound above 96 kHz: the same onsets as at the detector's own rates, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.trigger.decimation import DecimatingDetector, make_detector
from cs3_ros.trigger.onset import INPUT_RATES, RATES, OnsetConfig, OnsetDetector

RATE = 192_000


def clicks(times_s, seconds: float, rate: int = RATE) -> np.ndarray:
    """Damped 1.5 kHz modes in faint noise."""
    sound = np.random.default_rng(3).normal(0, 1e-3, int(seconds * rate))
    ring = np.arange(int(0.1 * rate)) / rate
    for time_s in times_s:
        start = round(time_s * rate)
        hit = 0.5 * np.cos(2 * np.pi * 1500 * ring) * np.exp(-ring / 0.015)
        sound[start : start + ring.size] += hit[: sound.size - start]
    return sound.astype(np.float32)


def test_usual_rates_take_the_detector_itself():
    assert type(make_detector(RATES[1], OnsetConfig())) is OnsetDetector
    assert type(make_detector(RATES[1] + 1, OnsetConfig())) is DecimatingDetector
    with pytest.raises(ValueError, match='4000 Hz: expected 8000 to 96000'):
        make_detector(4_000, OnsetConfig())


@pytest.mark.parametrize('rate', [96_001, 128_000, 176_400, 192_000, 352_800, INPUT_RATES[1]])
def test_onsets_count_the_samples_as_they_came(rate):
    detector = DecimatingDetector(rate)
    found = detector.push(clicks((0.5, 1.2), 2, rate)) + detector.flush()
    assert [onset.sample / rate for onset in found] == pytest.approx([0.5, 1.2], abs=5e-5)
    assert found[0].peak_dbfs == pytest.approx(-6, abs=0.8)


def test_what_lies_above_the_lower_rate_is_filtered_out():
    """A click of ultrasound alone would fold down to an audible one."""
    sound = clicks((), 2)
    ring = np.arange(RATE // 10) / RATE
    tone = np.cos(2 * np.pi * 90_500 * ring) * np.exp(-ring / 0.015)
    sound[RATE : RATE + ring.size] += (0.5 * tone * np.minimum(ring / 0.002, 1)).astype(np.float32)
    detector = DecimatingDetector(RATE)
    assert detector.push(sound) + detector.flush() == []
    alone = OnsetDetector(RATES[1])
    assert alone.push(sound[::2].copy()) + alone.flush() != []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40_000), max_size=12), st.integers(0, 9_001), st.integers(0, 90_000))
def test_chunking_makes_no_difference(sizes, gap, gap_at):
    sound = clicks((0.2, 0.31, 0.7), 1)
    whole = DecimatingDetector(RATE)
    expected = whole.push(sound[:gap_at])
    whole.skip(gap)
    expected += whole.push(sound[gap_at:]) + whole.flush()
    detector, found, position = DecimatingDetector(RATE), [], 0
    for part in (sound[:gap_at], sound[gap_at:]):
        start = 0
        for size in [*sizes, part.size]:
            found += detector.push(part[start : start + size])
            start += size
        if position == 0:
            detector.skip(gap)
        position += 1
    assert found + detector.flush() == expected


def test_samples_go_on_counting_over_gaps_and_flushes():
    sound, detector = clicks((0.5,), 1), DecimatingDetector(RATE)
    found = detector.push(sound) + detector.flush()
    detector.skip(RATE + 1)
    found += detector.push(sound) + detector.flush()
    expected = [RATE // 2, 2 * RATE + 1 + RATE // 2]
    assert [onset.sample for onset in found] == pytest.approx(expected, abs=8)
    detector.reset()
    again = detector.push(sound) + detector.flush()
    assert again == found[:1]


def test_thresholds_change_at_once():
    detector = DecimatingDetector(RATE)
    detector.reconfigure(OnsetConfig(minimum_dbfs=0.0))
    assert detector.push(clicks((0.5,), 1)) + detector.flush() == []


def test_what_is_not_finite_counts_as_zero():
    sound = clicks((0.5,), 1)
    sound[1000], sound[2000] = np.nan, np.inf
    detector = DecimatingDetector(RATE)
    assert len(detector.push(sound) + detector.flush()) == 1
