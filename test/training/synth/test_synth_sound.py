"""Sounds: modes, the onset, and what surrounds it."""

import needs

needs.training()

import numpy as np
import pytest

from cs3_training.synth import MATERIALS, WorldConfig, make_scene
from cs3_training.synth.ambience import background, in_room
from cs3_training.synth.impact import VOICES, SoundingBody, impact, modal
from cs3_training.synth.soundtrack import Timing, _other_time

QUIET = WorldConfig(size=128, background=0.0, other_impacts=0.0)


def body(material: str, size: float = 100.0) -> SoundingBody:
    return SoundingBody(material, 'bowl', size, False)


def test_modes_equal_the_plain_sum() -> None:
    rng = np.random.default_rng(0)
    frequency, decay = rng.uniform(100, 5000, 7), rng.uniform(20, 200, 7)
    gain, phase = rng.uniform(0.1, 1, 7), rng.uniform(-1, 1, 7)
    sound = modal(frequency, decay, gain, phase, 16000)
    time = np.arange(len(sound))[:, None] / 16000
    plain = (gain * np.exp(-decay * time) * np.sin(2 * np.pi * frequency * time + phase)).sum(1)
    np.testing.assert_allclose(sound, plain, atol=2e-5)
    assert np.abs(sound[-200:]).max() < 3e-3 * np.abs(sound).max()


def test_the_collision_begins_at_the_onset_and_peaks_there() -> None:
    for seed in range(25):
        scene = make_scene(QUIET, seed)
        assert not np.abs(scene.sound[: scene.onset]).max() > 1e-3  # silence before
        peak = int(np.abs(scene.sound).argmax())
        assert 0 <= peak - scene.onset < 0.06 * scene.sample_rate, seed


def test_other_impacts_keep_away_from_the_collision() -> None:
    timing, rng = Timing(rate=16000, count=32000, onset=16000), np.random.default_rng(0)
    times = [_other_time(timing, rng) for _ in range(1000)]
    away = np.array([when - timing.onset for when in times if when is not None])
    assert len(away) == len(times)
    assert np.abs(away).min() >= round(0.28 * timing.rate)
    assert away.min() >= -timing.onset and away.max() < timing.count - timing.onset
    assert 300 < (away < 0).sum() < 700  # before it and after it


def test_without_room_there_is_no_other_impact() -> None:
    for onset in (4480, 32000 - 4480):
        assert _other_time(Timing(16000, 32000, onset), np.random.default_rng(0)) is None


def test_other_impacts_are_heard_and_the_collision_is_loudest() -> None:
    config = WorldConfig(size=128, background=0.0, other_impacts=1.0)
    scenes = [make_scene(config, seed) for seed in range(12)]
    assert sum(np.abs(scene.sound[: scene.onset]).max() > 0.01 for scene in scenes) >= 3
    for scene in scenes:
        peak = int(np.abs(scene.sound).argmax())
        assert 0 <= peak - scene.onset < round(0.27 * scene.sample_rate), scene.seed


def test_metal_rings_longest_and_small_bodies_sound_higher() -> None:
    rng = np.random.default_rng(1)

    def ring_s(material: str) -> float:
        sounds = [impact(body(material), body(material), 16000, rng) for _ in range(8)]
        return float(np.mean([np.flatnonzero(np.abs(s) > 0.03)[-1] / 16000 for s in sounds]))

    rings = {material: ring_s(material) for material in MATERIALS}
    assert max(rings, key=lambda material: rings[material]) == 'metal'
    assert rings['glass'] > 2 * rings['wood']

    def centre_hz(size: float) -> float:
        sounds = [impact(body('wood', size), body('wood', size), 16000, rng) for _ in range(20)]
        power = sum(np.abs(np.fft.rfft(s, 16384)) ** 2 for s in sounds)
        return float((power * np.fft.rfftfreq(16384, 1 / 16000)).sum() / power.sum())

    assert centre_hz(60) > 1.3 * centre_hz(180)


def features(sound: np.ndarray) -> np.ndarray:
    """Log levels in bands of frequency, in four spans after the onset."""
    padded = np.pad(sound, (256, 12000))[:9000]
    pieces = np.lib.stride_tricks.sliding_window_view(padded, 512)[::80]
    power = np.abs(np.fft.rfft(pieces * np.hanning(512), axis=1)) ** 2
    edges = np.unique(np.geomspace(2, 256, 22).astype(int))
    level = np.log(np.add.reduceat(power, edges, axis=1) + 1e-5)
    spans = np.split(level, [6, 20, 50])
    return np.concatenate([span.mean(0) for span in spans])


def test_materials_can_be_told_apart_by_simple_means() -> None:
    rng = np.random.default_rng(2)
    sounds = {
        m: [features(impact(body(m), body(m, 80), 16000, rng)) for _ in range(24)]
        for m in MATERIALS
    }
    centres = np.stack([np.mean(sounds[m][:12], 0) for m in MATERIALS])
    for k, material in enumerate(MATERIALS):
        nearest = [int(((centres - f) ** 2).sum(1).argmin()) for f in sounds[material][12:]]
        assert np.mean(np.array(nearest) == k) >= 0.5, material


def test_sounds_stay_in_bounds_at_every_rate() -> None:
    for rate in (8000, 16000, 48000):
        for material in MATERIALS:
            sound = impact(body(material), body('cloth'), rate, np.random.default_rng(3))
            assert np.isfinite(sound).all() and np.abs(sound).max() == pytest.approx(1)
    assert set(VOICES) == set(MATERIALS)


def test_a_room_adds_a_tail_and_keeps_the_direct_sound() -> None:
    dry = np.zeros(8000, np.float32)
    dry[1000] = 1
    wet = in_room(dry, 16000, np.random.default_rng(4))
    assert len(wet) == 8000 and np.abs(wet[:1000]).max() < 1e-5
    assert wet[1000] == pytest.approx(1, abs=0.05)
    assert np.abs(wet[1200:3000]).max() > 1e-3


def test_background_is_as_long_as_asked_and_about_unit_deviation() -> None:
    for seed in range(4):
        noise = background(100_000, 16000, np.random.default_rng(seed))
        assert noise.shape == (100_000,) and noise.std() == pytest.approx(1, abs=1e-3)
