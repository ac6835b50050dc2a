"""What else is heard: the room's echo, noise, mains hum and people talking."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cs3_training.synth.impact import Samples

_ROOMS = 16
_NOISES = 8
_TALKS = 4
_LONGEST_S = 4.0  # length of the stored noises, seconds; longer sounds repeat them


def in_room(dry: Samples, rate: int, rng: np.random.Generator) -> Samples:
    """The sound with the tail of a random room, same length."""
    room = int(rng.integers(_ROOMS))
    length = int(fft.next_fast_len(len(dry) + int(0.5 * rate), real=True))
    return fft.irfft(fft.rfft(dry, length) * _room(room, rate, length), length)[: len(dry)]


@lru_cache(maxsize=64)
def _room(number: int, rate: int, length: int) -> NDArray[np.complex64]:
    """Spectrum of a room's impulse response: the direct sound and a decaying noise."""
    rng = np.random.default_rng([number, 29])
    duration = rng.uniform(0.12, 0.5)
    time = np.arange(int(duration * rate)) / rate
    tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / duration)
    tail[: int(rng.uniform(0.002, 0.01) * rate)] = 0
    spectrum = np.fft.rfft(tail)  # walls swallow treble
    spectrum /= 1 + (np.fft.rfftfreq(len(tail), 1 / rate) / 4000) ** 2
    tail = np.fft.irfft(spectrum, len(tail))
    tail *= rng.uniform(0.05, 0.3) / np.sqrt(np.sum(tail**2))
    tail[0] += 1
    return fft.rfft(tail.astype(np.float32), length)


def background(count: int, rate: int, rng: np.random.Generator) -> Samples:
    """Noise, often with hum or talk, float32 [count], deviation about 1."""
    sound = _cut(_noise(int(rng.integers(_NOISES)), rate), count, rng)
    if rng.random() < 0.4:
        time = np.arange(count, dtype=np.float32) * np.float32(1 / rate)
        mains = np.float32(2 * np.pi * rng.choice([50, 60]))
        level = rng.uniform(0.3, 1.2)
        for harmonic in (1, 2, 3, 5):
            wave = np.sin(mains * harmonic * time + np.float32(rng.uniform(0, 6)))
            sound = sound + wave * np.float32(level * rng.uniform(0.2, 1) / harmonic)
    if rng.random() < 0.35:
        talk = _cut(_talk(int(rng.integers(_TALKS)), rate), count, rng)
        sound = sound + talk * np.float32(rng.uniform(0.8, 2.5))
    return sound / (sound.std() + np.float32(1e-9))


def _cut(store: Samples, count: int, rng: np.random.Generator) -> Samples:
    start = int(rng.integers(len(store)))
    repeats = (start + count) // len(store) + 1
    return np.tile(store, repeats)[start : start + count]


@cache
def _noise(number: int, rate: int) -> Samples:
    """Periodic noise whose power falls with frequency: fans, ventilation, microphones."""
    rng = np.random.default_rng([number, 31])
    count = int(_LONGEST_S * rate)
    frequency = np.fft.rfftfreq(count, 1 / rate)
    shape = np.maximum(frequency, 30) ** -rng.uniform(0.2, 1.1)
    spectrum = np.fft.rfft(rng.standard_normal(count)) * shape
    spectrum[frequency < 25] = 0
    noise = np.fft.irfft(spectrum, count)
    return (noise / noise.std()).astype(np.float32)


@cache
def _talk(number: int, rate: int) -> Samples:
    """Two or three voices without words: syllables of harmonics under formants, with hisses."""
    rng = np.random.default_rng([number, 37])
    count = int(_LONGEST_S * rate)
    talk = np.zeros(count)
    for _ in range(rng.integers(2, 4)):
        pitch, at = rng.uniform(90, 230), int(rng.uniform(0, 0.2) * rate)
        while at < count - rate // 3:
            duration = rng.uniform(0.09, 0.24)
            time = np.arange(int(duration * rate)) / rate
            rise = np.sin(np.pi * time / duration) ** 0.7
            tone = pitch * rng.uniform(0.85, 1.2) * (1 + rng.uniform(-0.6, 0.6) * time)
            phase = 2 * np.pi * np.cumsum(tone) / rate
            formants = rng.uniform((250, 800, 2200), (850, 2200, 3100))
            syllable = np.zeros(len(time))
            for harmonic in range(1, int(3800 / pitch)):
                away = (harmonic * pitch - formants) / np.array([90, 140, 220])
                gain = float((np.exp(-0.5 * away**2) * (1, 0.6, 0.3)).sum()) + 0.01
                syllable += gain * np.sin(harmonic * phase)
            if rng.random() < 0.25:  # an s
                syllable = np.diff(rng.standard_normal(len(time) + 1)) * 0.25
            talk[at : at + len(time)] += syllable * rise * rng.uniform(0.5, 1)
            pause = rng.uniform(0.25, 0.5) if rng.random() < 0.2 else rng.uniform(0, 0.06)
            at += len(time) + int(pause * rate)
    return (talk / (talk.std() + 1e-9)).astype(np.float32)
