"""The gate behind the detector: what it turns away, and that it hides nothing."""

from __future__ import annotations

import numpy as np
import pytest
from chunks import in_chunks
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from cs3_ros.bench.sounds import impact, speech_like
from cs3_ros.trigger import gate, gate_features
from cs3_ros.trigger.decimation import DecimatingDetector
from cs3_ros.trigger.onset import LOOKAHEAD_S, OnsetConfig, OnsetDetector

RATE = 16000
ON = OnsetConfig(gate=0.5)


def noise(seconds: float, seed: int = 0, level: float = 0.003, rate: int = RATE):
    rng = np.random.default_rng(seed)
    return (level * rng.normal(size=int(seconds * rate))).astype(np.float32)


def add_hit(sound, at_s: float, level: float = 0.5, hertz: float = 1500, rate: int = RATE) -> int:
    seconds = np.arange(int(0.1 * rate)) / rate
    hit = np.cos(2 * np.pi * hertz * seconds) * np.exp(-seconds / 0.015)
    start = int(at_s * rate)
    stop = min(sound.size, start + hit.size)
    sound[start:stop] += (level * hit[: stop - start]).astype(np.float32)
    return start


def lower_than(hertz: float):
    """A gate that lets pass what rings below a frequency."""

    def probability(sound, rate: int) -> float:
        before, _ = gate_features.span(rate)
        ringing = np.abs(np.fft.rfft(sound[before : before + rate // 50]))
        return float(ringing.argmax() * 50 < hertz)

    return probability


def detect(sound, judge, config: OnsetConfig = ON, rate: int = RATE):
    detector = OnsetDetector(rate, config, judge)
    return detector.push(sound) + detector.flush(), detector.turned_away()


def test_what_is_turned_away_is_told_apart():
    sound = noise(3)
    low, high = add_hit(sound, 1.0), add_hit(sound, 2.0, hertz=4000)
    onsets, away = detect(sound, lower_than(3000))
    assert [o.sample for o in onsets] == pytest.approx([low], abs=2)
    assert [o.sample for o in away] == pytest.approx([high], abs=2)
    assert onsets[0].probability == 1.0 and away[0].probability == 0.0


def test_without_a_gate_nobody_is_asked():
    def never(sound, rate):
        raise AssertionError('asked')

    sound = noise(2)
    add_hit(sound, 1.0)
    onsets, away = detect(sound, never, OnsetConfig(gate=0.0))
    assert len(onsets) == 1 and onsets[0].probability is None and not away


def test_nobody_is_asked_while_nothing_happens():
    asked = []
    detect(noise(20), lambda sound, rate: asked.append(1) or 1.0)
    assert not asked


@pytest.mark.parametrize('after_s', [0.02, 0.03, 0.06, 0.15])
def test_what_is_turned_away_hides_no_quieter_impact(after_s):
    sound = noise(2)
    add_hit(sound, 1.0, 0.6, hertz=4000)
    quieter = add_hit(sound, 1.0 + after_s, 0.4, hertz=700)
    onsets, away = detect(sound, lower_than(2000))
    assert [o.sample for o in onsets] == pytest.approx([quieter], abs=RATE // 700)
    assert len(away) == 1
    everything, _ = detect(sound, None, OnsetConfig(gate=0.0))
    assert quieter not in [o.sample for o in everything]


def test_what_passes_still_has_its_refractory_time():
    sound = noise(2)
    loud = add_hit(sound, 1.0, 0.8)
    add_hit(sound, 1.15, 0.5)
    onsets, _ = detect(sound, lambda sound, rate: 1.0)
    assert [o.sample for o in onsets] == pytest.approx([loud], abs=2)


def test_the_gate_hears_the_sound_round_the_peak_and_zeros_beyond_the_ends():
    heard = []
    sound = noise(1)
    peaks = [add_hit(sound, 0.2), add_hit(sound, 0.95)]
    detect(sound, lambda cut, rate: heard.append(cut.copy()) or 1.0)
    before, after = gate_features.span(RATE)
    assert [cut.size for cut in heard] == [before + after] * 2
    padded = np.concatenate((np.zeros(before), sound, np.zeros(after))).astype(np.float32)
    for cut, peak in zip(heard, peaks, strict=True):
        np.testing.assert_array_equal(cut, padded[peak : peak + before + after])


def test_the_answer_comes_in_time():
    sound = noise(2)
    peak = add_hit(sound, 1.0)
    for size in (70, 639, 641, RATE):
        detector, found = OnsetDetector(RATE, ON, lambda cut, rate: 1.0), []
        stop = peak + int(LOOKAHEAD_S * RATE)
        for begin in range(0, stop, size):
            found += detector.push(sound[begin : min(begin + size, stop)])
        assert [onset.sample for onset in found] == pytest.approx([peak], abs=2)


def test_thresholds_change_while_it_runs():
    sound = noise(1)
    add_hit(sound, 0.7)
    detector = OnsetDetector(RATE, OnsetConfig(gate=0.9), lambda cut, rate: 0.5)
    assert detector.push(sound) + detector.flush() == []
    detector.reconfigure(OnsetConfig(gate=0.4))
    assert len(detector.push(sound) + detector.flush()) == 1
    detector.reconfigure(OnsetConfig(gate=0.0))
    assert len(detector.push(sound) + detector.flush()) == 1


def in_a_crowd(config: OnsetConfig, quiet_s: float) -> int:
    """Onsets of one hit at 0.3 after six at 0.0 and a pause."""
    sound = noise(5 + quiet_s)
    for number in range(6):
        add_hit(sound, 1.0 + 0.6 * number, hertz=4000)
    last = add_hit(sound, 4.5 + quiet_s)
    onsets, away = detect(sound, lambda cut, rate: 0.3 * lower_than(3000)(cut, rate), config)
    assert len(onsets) + len(away) == 7
    return sum(abs(onset.sample - last) < 3 for onset in onsets)


def test_one_among_many_that_were_turned_away_must_be_more_probable():
    assert in_a_crowd(OnsetConfig(gate=0.2), 0.1) == 0
    assert in_a_crowd(OnsetConfig(gate=0.2), 40.0) == 1  # they are forgotten
    assert in_a_crowd(OnsetConfig(gate=0.04), 0.1) == 1  # it is so much more probable


def test_what_is_certain_passes_whatever_was_turned_away():
    sound = noise(6)
    for number in range(6):
        add_hit(sound, 1.0 + 0.6 * number, hertz=4000)
    add_hit(sound, 5.0)
    onsets, away = detect(sound, lower_than(3000), OnsetConfig(gate=1.0))
    assert len(onsets) == 1 and len(away) == 6


def restless(rate: int = RATE):
    rng = np.random.default_rng(5)
    sound = 0.05 * speech_like(rng, 3 * rate, rate)
    for at in (0.4, 1.1, 1.14, 2.0, 2.9):
        hit = impact(rng, rate)[: int(0.1 * rate)]
        sound[int(at * rate) :][: hit.size] += 0.4 * hit[: sound.size - int(at * rate)]
    return sound.astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6000), max_size=12), st.integers(0, 3000), st.integers(0, 47000))
def test_chunking_makes_no_difference(sizes, gap, gap_at):
    sound = restless()
    whole = OnsetDetector(RATE, ON)
    expected = whole.push(sound[:gap_at])
    whole.skip(gap)
    expected += whole.push(sound[gap_at:]) + whole.flush()

    detector = OnsetDetector(RATE, ON)
    onsets = in_chunks(detector, sound, sizes, gap, gap_at)
    assert onsets == expected
    assert detector.turned_away() == whole.turned_away()


def test_a_decimating_detector_counts_what_is_turned_away_at_the_higher_rate():
    sound = noise(2, rate=192_000)
    peak = add_hit(sound, 1.0, rate=192_000)
    detector = DecimatingDetector(192_000, ON, lambda cut, rate: 0.0)
    assert detector.push(sound) + detector.flush() == []
    assert [o.sample for o in detector.turned_away()] == pytest.approx([peak], abs=20)


@pytest.mark.parametrize('rate', [8000, 11025, 16000, 22050, 44100, 48000, 88200, 96000])
def test_impacts_pass_and_syllables_do_not_at_every_rate(rate):
    rng = np.random.default_rng(1)
    hits, talk = noise(8, level=1e-4, rate=rate), 0.1 * speech_like(rng, 20 * rate, rate)
    for at in np.arange(0.5, 7.5, 0.7):
        hit = impact(rng, rate)
        hits[int(at * rate) :][: hit.size] += (0.4 * hit)[: hits.size - int(at * rate)]
    onsets, away = detect(hits, None, OnsetConfig(), rate)
    assert len(onsets) >= 9
    before = detect(talk.astype(np.float32), None, OnsetConfig(gate=0.0), rate)[0]
    after = detect(talk.astype(np.float32), None, OnsetConfig(), rate)[0]
    assert len(after) <= max(1, len(before) // 3)


@pytest.mark.parametrize('rate', [8000, 44100, 96000])
def test_features_do_not_depend_on_loudness_or_offset(rate):
    sound = noise(0.6, rate=rate)
    add_hit(sound, 0.5, rate=rate)
    one, other = (
        gate_features.features(part, rate) for part in (sound, 0.1 * sound + np.float32(0.3))
    )
    for name in ('core', 'context', 'envelope'):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=0.03)
        assert np.isfinite(getattr(one, name)).all()


def test_features_of_silence_are_finite():
    for sound in (np.zeros(9600), np.ones(9600)):
        seen = gate_features.features(sound.astype(np.float32), RATE)
        parts = (seen.core, seen.context, seen.voice, seen.envelope)
        assert all(np.isfinite(part).all() for part in parts)
        assert 0 <= gate.shipped_gate(sound.astype(np.float32), RATE) <= 1


def test_the_weights_are_small_and_checked(tmp_path):
    assert gate.WEIGHTS.stat().st_size < 200_000
    weights = load_file(gate.WEIGHTS)
    lacking = {name: weight for name, weight in weights.items() if name != 'answer.bias'}
    save_file(lacking, tmp_path / 'lacking.safetensors')
    with pytest.raises(ValueError, match='answer.bias'):
        gate.load_network(tmp_path / 'lacking.safetensors')
    weights['answer.bias'] = np.array([np.nan], np.float32)
    with pytest.raises(ValueError, match='finite'):
        gate.Network(weights)
