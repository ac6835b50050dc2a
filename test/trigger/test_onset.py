"""The onset detector: where, when, and that chunking makes no difference."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from chunks import in_chunks
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared_data

from cs3_ros.trigger import onset as onset_module
from cs3_ros.trigger.onset import LOOKAHEAD_S, DetectedOnset, OnsetConfig, OnsetDetector

RATE = 16000


def noise(seconds: float, seed: int = 0, level: float = 0.003, rate: int = RATE):
    rng = np.random.default_rng(seed)
    return (level * rng.normal(size=int(seconds * rate))).astype(np.float32)


def add_hit(sound, at_s: float, level: float = 0.5, rate: int = RATE) -> int:
    """Add a damped 1.5 kHz mode; returns the index of its peak sample."""
    seconds = np.arange(int(0.1 * rate)) / rate
    hit = np.cos(2 * np.pi * 1500 * seconds) * np.exp(-seconds / 0.015)
    start = int(at_s * rate)
    stop = min(sound.size, start + hit.size)
    sound[start:stop] += (level * hit[: stop - start]).astype(np.float32)
    return start


ALONE = OnsetConfig(gate=0.0)  # the gate is tested in test_gate.py


def detect(sound, rate: int = RATE, config: OnsetConfig = ALONE) -> list[DetectedOnset]:
    detector = OnsetDetector(rate, config)
    return detector.push(sound) + detector.flush()


@pytest.mark.parametrize('rate', [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_reports_the_peak_sample_at_every_rate(rate):
    sound = noise(2, rate=rate)
    peaks = [add_hit(sound, at, rate=rate) for at in (0.5, 1.0, 1.6)]
    onsets = detect(sound, rate)
    assert [onset.sample for onset in onsets] == pytest.approx(peaks, abs=2)
    assert onsets[0].peak_dbfs == pytest.approx(-6, abs=0.3)
    assert onsets[0].prominence_db > 30


def scene():
    sound = noise(1.5, seed=3)
    for at in (0.25, 0.62, 0.66, 1.1, 1.4):
        add_hit(sound, at, 0.1 + at / 5)
    return sound


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6000), max_size=12), st.integers(0, 3000), st.integers(0, 23000))
def test_chunking_makes_no_difference(sizes, gap, gap_at):
    sound = scene()
    whole = OnsetDetector(RATE, ALONE)
    expected = whole.push(sound[:gap_at])
    whole.skip(gap)
    expected += whole.push(sound[gap_at:]) + whole.flush()

    detector = OnsetDetector(RATE, ALONE)
    onsets = in_chunks(detector, sound, sizes, gap, gap_at)
    assert onsets == expected


def test_single_sample_chunks_make_no_difference():
    sound = scene()[: int(0.4 * RATE)]
    detector, onsets = OnsetDetector(RATE, ALONE), []
    for index in range(sound.size):
        onsets += detector.push(sound[index : index + 1])
    assert onsets + detector.flush() == detect(sound) != []


def test_long_push_equals_short_ones():
    sound = noise(5, seed=4)
    add_hit(sound, 0.998)
    add_hit(sound, 3.2)
    detector, onsets = OnsetDetector(RATE, ALONE), []
    for begin in range(0, sound.size, 777):
        onsets += detector.push(sound[begin : begin + 777])
    assert onsets + detector.flush() == detect(sound)


def test_latency_is_bounded():
    sound = noise(2)
    peak = add_hit(sound, 1.0)
    for size in (70, 639, 641, RATE):
        detector, found = OnsetDetector(RATE, ALONE), []
        stop = peak + int(LOOKAHEAD_S * RATE)
        for begin in range(0, stop, size):
            found += detector.push(sound[begin : min(begin + size, stop)])
        assert [onset.sample for onset in found] == pytest.approx([peak], abs=2)


def test_a_louder_peak_right_after_takes_the_place():
    sound = noise(2)
    add_hit(sound, 1.0, 0.1)
    loud = add_hit(sound, 1.025, 0.8)
    assert [onset.sample for onset in detect(sound)] == pytest.approx([loud], abs=2)


def test_a_louder_peak_within_the_refractory_time_is_not_hidden():
    sound = noise(2)
    peaks = [add_hit(sound, 1.0, 0.1), add_hit(sound, 1.12, 0.8)]
    assert [onset.sample for onset in detect(sound)] == pytest.approx(peaks, abs=2)


def test_a_quieter_peak_within_the_refractory_time_is_dropped():
    sound = noise(2)
    loud = add_hit(sound, 1.0, 0.8)
    add_hit(sound, 1.15, 0.5)
    assert [onset.sample for onset in detect(sound)] == pytest.approx([loud], abs=2)
    assert len(detect(sound, config=OnsetConfig(refractory_s=0.05, gate=0.0))) == 2


@pytest.mark.parametrize('level', [0.3, 1.0])
def test_steps_of_the_offset_are_no_onsets(level):
    sound = noise(3, level=0.001)
    sound[RATE : 2 * RATE] += level
    assert detect(np.clip(sound, -1, 1)) == []
    constant = np.full(2 * RATE, level, np.float32)
    assert detect(constant) == []


def test_the_offset_does_not_move_the_peak():
    sound = noise(2)
    peak = add_hit(sound, 1.0, 0.3)
    onsets = detect(sound + np.float32(0.4))
    assert [onset.sample for onset in onsets] == pytest.approx([peak], abs=2)
    assert onsets[0].peak_dbfs == pytest.approx(20 * np.log10(0.3), abs=0.5)


def test_slow_rises_are_no_onsets():
    seconds = np.arange(4 * RATE) / RATE
    envelope = np.clip(np.abs(((seconds * 4) % 1) - 0.5) * 4 - 0.4, 0.02, 1)  # 4 Hz, 90 ms ramps
    sound = noise(4, level=0.1) * envelope.astype(np.float32)
    hum = np.clip(2 * np.sin(2 * np.pi * 50 * seconds), -1, 1).astype(np.float32)
    assert detect(sound) == []
    assert detect(hum + noise(4, level=1e-4)) == []
    assert detect(noise(4, level=0.2)) == []


def test_edges_of_a_gap_are_no_onsets_and_the_count_goes_on():
    sound = noise(4, level=0.1)
    detector = OnsetDetector(RATE, ALONE)
    onsets = detector.push(sound[:RATE])
    detector.skip(777)
    onsets += detector.push(sound[RATE : 2 * RATE])
    detector.skip(12 * RATE)
    rest = sound[2 * RATE :].copy()
    peak = add_hit(rest, 1.0, 0.9)
    onsets += detector.push(rest) + detector.flush()
    found = [onset.sample for onset in onsets]
    assert found == pytest.approx([14 * RATE + 777 + peak], abs=2)


def test_skip_decides_what_is_pending():
    sound = noise(1)
    peak = add_hit(sound, 0.97)
    detector = OnsetDetector(RATE, ALONE)
    assert detector.push(sound) == []
    detector.skip(5)
    assert [onset.sample for onset in detector.push(sound[:0])] == pytest.approx([peak], abs=2)


@pytest.mark.parametrize('left_s', [0.001, 0.005, 0.012])
def test_a_cut_is_no_onset(left_s):
    sound = noise(1)
    add_hit(sound, 1 - left_s)
    assert detect(sound) == []


def test_the_first_sound_after_digital_silence_must_fade():
    silence = np.zeros(RATE, np.float32)
    assert detect(np.concatenate((silence, noise(1, level=0.1)))) == []
    peak = add_hit(silence, 0.5)
    assert [onset.sample for onset in detect(silence)] == pytest.approx([peak], abs=2)


def test_peaks_almost_as_loud_yield_to_the_first():
    sound = noise(2, level=0.001)
    first = RATE
    sound[first], sound[first + 400] = 0.5, 0.52  # 25 ms later
    assert [onset.sample for onset in detect(sound)] == [first]


def test_restless_sound_raises_what_is_asked_and_steady_sound_does_not(monkeypatch):
    seconds = np.arange(10 * RATE) / RATE
    swells = np.clip(np.sin(2 * np.pi * 5 * seconds) * 2, 0.03, 1).astype(np.float32)
    restless, steady = noise(10, level=0.05) * swells, noise(10, level=0.05)
    add_hit(steady, 9.0)
    raised, unraised = detect(restless), detect(steady)
    monkeypatch.setattr(onset_module, 'UNREST', 0.0)
    assert len(detect(restless)) > len(raised)
    assert detect(steady) == unraised and len(unraised) == 1


def test_flush_goes_on_counting_and_reset_does_not():
    sound = noise(1)
    peak = add_hit(sound, 0.7)
    detector = OnsetDetector(RATE, ALONE)
    first = detector.push(sound) + detector.flush()
    second = detector.push(sound) + detector.flush()
    assert [second[0].sample - RATE] == [first[0].sample] == pytest.approx([peak], abs=2)
    detector.reset()
    assert detector.push(sound) + detector.flush() == first


def test_values_that_are_not_finite_do_no_harm():
    sound = noise(2)
    sound[:100] = [np.nan, np.inf, -np.inf, 1] * 25
    peak = add_hit(sound, 1.5)
    assert peak in range(detect(sound)[-1].sample - 2, detect(sound)[-1].sample + 3)


def test_thresholds_hold_at_once_after_reconfigure():
    sound = noise(1)
    add_hit(sound, 0.7)
    detector = OnsetDetector(RATE, ALONE)
    detector.reconfigure(OnsetConfig(minimum_dbfs=0.0, gate=0.0))
    assert detector.push(sound) + detector.flush() == []
    detector.reconfigure(ALONE)
    assert len(detector.push(sound) + detector.flush()) == 1


def test_memory_is_bounded():
    detector = OnsetDetector(RATE, ALONE)
    for seed in range(6):
        detector.push(noise(1, seed))
        assert len(pickle.dumps(detector)) < 4 * RATE  # bytes of a second of sound


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match='4000 Hz: expected 8000 to 96000'):
        OnsetDetector(4000)
    with pytest.raises(ValueError, match=r'shape \(2, 3\): expected mono'):
        OnsetDetector(RATE).push(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match='cannot skip -1'):
        OnsetDetector(RATE).skip(-1)
    with pytest.raises(ValueError, match='threshold_db'):
        OnsetConfig(threshold_db=0)


def test_real_clips():
    av = pytest.importorskip('av')
    hits, counts = {}, {}
    for folder in sorted(path.parent for path in shared_data('real_clips').glob('*/clip.mp4')):
        with av.open(str(folder / 'clip.mp4')) as container:
            stream = container.streams.audio[0]
            mono = np.concatenate([f.to_ndarray().mean(0) for f in container.decode(stream)])
        sound = (np.round(np.clip(mono, -1, 1) * 32767) / 32768).astype(np.float32)
        onsets = detect(sound, stream.rate)
        peak_s = json.loads((folder / 'clip.json').read_text())['audio_peak_s']
        hits[folder.name] = any(abs(o.sample / stream.rate - peak_s) <= 0.05 for o in onsets)
        counts[folder.name] = len(onsets)
    assert sum(hits.values()) >= len(hits) - 1, hits
    assert max(counts.values()) <= 3, counts
