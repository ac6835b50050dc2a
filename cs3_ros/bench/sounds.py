"""Test sounds for the onset benchmark: impacts, and backgrounds without any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

BACKGROUND_DBFS = -45.0
"""Leaves headroom for an impact 30 dB above the background."""


def pink_noise(rng: np.random.Generator, count: int, rate: int) -> Signal:
    """Noise with a 1/f power spectrum above 20 Hz, unit RMS, float64 [count]."""
    frequency = np.fft.rfftfreq(count, 1 / rate)
    spectrum = rng.normal(size=frequency.size) + 1j * rng.normal(size=frequency.size)
    spectrum *= (frequency >= 20) / np.sqrt(np.maximum(frequency, 20))
    return _unit_rms(np.fft.irfft(spectrum, count))


def hum(rng: np.random.Generator, count: int, rate: int) -> Signal:
    """Mains hum: 50 or 60 Hz with 20 harmonics and a slow drift, unit RMS, float64 [count]."""
    seconds = np.arange(count) / rate
    drift = 1e-3 * np.sin(2 * np.pi * 0.1 * seconds + rng.uniform(0, 6.28))
    phase = 2 * np.pi * rng.choice((50.0, 60.0)) * (seconds + drift)
    harmonics = np.arange(1, 21)
    levels = harmonics**-1.0 * rng.uniform(0.2, 1, 20)
    sound = np.zeros(count)
    for harmonic, level in zip(harmonics, levels, strict=True):
        sound += level * np.sin(harmonic * phase + rng.uniform(0, 6.28))
    return _unit_rms(sound)


def speech_like(rng: np.random.Generator, count: int, rate: int) -> Signal:
    """Syllables at about 4 Hz with attacks of 30 to 80 ms, unit RMS, float64 [count].

    The carrier mixes harmonics of a gliding pitch and noise, both shaped by formants that change
    with every syllable; one syllable in six is missing.
    """
    sound = np.zeros(count)
    position = 0
    while position < count:
        length = int(rate * rng.uniform(0.16, 0.34))
        if rng.uniform() > 1 / 6:
            syllable = _syllable(rng, int(length * rng.uniform(0.8, 1.3)), rate)
            stop = min(count, position + syllable.size)
            sound[position:stop] += syllable[: stop - position]
        position += length
    return _unit_rms(sound)


def white_noise(rng: np.random.Generator, count: int, rate: int) -> Signal:
    """White noise, unit RMS, float64 [count]."""
    return _unit_rms(rng.normal(size=count))


def modulated_noise(rng: np.random.Generator, count: int, rate: int) -> Signal:
    """Pink noise swelling and fading about 4 times a second, unit RMS, float64 [count].

    Attacks are half cosines of 30 to 80 ms, pauses are 32 dB quieter than the swells.
    """
    envelope = np.zeros(count)
    position = 0
    while position < count:
        length = int(rate * rng.uniform(0.18, 0.33))
        rise, fall = int(rate * rng.uniform(0.03, 0.08)), int(rate * rng.uniform(0.04, 0.1))
        stay = max(0, int(length * rng.uniform(0.6, 0.95)) - rise - fall)
        up = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
        down = 0.5 + 0.5 * np.cos(np.pi * np.arange(fall) / fall)
        swell = rng.uniform(0.4, 1) * np.concatenate((up, np.ones(stay), down))
        stop = min(count, position + swell.size)
        envelope[position:stop] += swell[: stop - position]
        position += length
    noise = pink_noise(rng, count, rate)
    return _unit_rms(noise * envelope + 0.025 * pink_noise(rng, count, rate))


def tones(rng: np.random.Generator, count: int, rate: int) -> Signal:
    """Notes of a wind instrument one after the other, sometimes two at once, unit RMS, [count].

    Notes of 0.15 to 0.8 s with up to ten harmonics rise within 15 to 60 ms.
    """
    sound = np.zeros(count)
    position = 0
    while position < count:
        seconds = np.arange(int(rng.uniform(0.15, 0.8) * rate)) / rate
        note = np.zeros(seconds.size)
        for _ in range(rng.integers(1, 3)):
            pitch = 110 * 2 ** (rng.integers(0, 37) / 12)
            for harmonic in range(1, 11):
                if harmonic * pitch < 0.45 * rate:
                    phase = 2 * np.pi * harmonic * pitch * seconds + rng.uniform(0, 6.28)
                    note += np.sin(phase) * harmonic ** -rng.uniform(0.7, 1.6)
        rise, fall = rng.uniform(0.015, 0.06), rng.uniform(0.03, 0.1)
        note *= np.clip(seconds / rise, 0, 1) * np.clip((seconds[-1] - seconds) / fall, 0, 1)
        stop = min(count, position + note.size)
        sound[position:stop] += rng.uniform(0.4, 1) * note[: stop - position]
        position += int(note.size * rng.uniform(0.8, 1.2))
    return _unit_rms(sound)


def _syllable(rng: np.random.Generator, count: int, rate: int) -> Signal:
    seconds = np.arange(count) / rate
    glide = rng.uniform(90, 250) * (1 + rng.uniform(-0.15, 0.15) * seconds / seconds[-1])
    phase = 2 * np.pi * np.cumsum(glide) / rate
    formants = rng.uniform((250, 800, 2200), (850, 2300, 3500))
    widths = rng.uniform(60, 200, 3)

    def colour(frequency: Any) -> Any:
        peaks = 1 / (1 + ((frequency - formants[:, None]) / widths[:, None]) ** 2)
        return peaks.sum(0) + 0.02

    harmonics = np.arange(1, int(min(5000, 0.45 * rate) / glide.max()))
    levels = colour(harmonics * glide.mean()) / harmonics**0.5
    voiced = np.zeros(count)
    for harmonic, level in zip(harmonics, levels, strict=True):
        voiced += level * np.sin(harmonic * phase + rng.uniform(0, 6.28))
    spectrum = np.fft.rfft(rng.normal(size=count))
    frequency = np.fft.rfftfreq(count, 1 / rate)
    breath = np.fft.irfft(spectrum * (colour(frequency) + 0.1 * (frequency > 2500)), count)
    carrier = _unit_rms(voiced) + rng.uniform(0.05, 1.0) * _unit_rms(breath)
    attack, release = rng.uniform(0.03, 0.08), rng.uniform(0.05, 0.12)
    rise = np.clip(seconds / attack, 0, 1)
    if rng.uniform() < 0.5:
        rise = np.sin(0.5 * np.pi * rise) ** 2
    fall = np.clip((seconds[-1] - seconds) / release, 0, 1)
    envelope: Signal = 10 ** rng.uniform(-0.4, 0.1) * rise * fall * carrier
    return envelope


def impact(rng: np.random.Generator, rate: int) -> Signal:
    """One impact: damped modes, a decaying coloured noise burst or both, peak 1, float64 [N].

    Its peak lies in the first 20 ms and is unmistakable: an impact with another sample as loud
    (within 1 dB) more than 10 ms away has no peak time to measure, and is drawn again.
    """
    while True:
        sound = _draw_impact(rng, rate)
        peak, near = int(np.abs(sound).argmax()), int(0.01 * rate)
        rivals = np.abs(np.concatenate((sound[: max(0, peak - near)], sound[peak + near :])))
        if peak < 0.02 * rate and rivals.max() < 0.89:
            return sound


def _draw_impact(rng: np.random.Generator, rate: int) -> Signal:
    seconds = np.arange(int(0.4 * rate)) / rate
    kind = rng.choice(('modes', 'burst', 'both'))
    sound = np.zeros(seconds.size)
    if kind != 'burst':
        lowest = 10 ** rng.uniform(2.2, 3.5)
        for _ in range(rng.integers(3, 20)):
            frequency = lowest * 10 ** rng.uniform(0, 1.2)
            decay = rng.uniform(0.004, 0.08) * (lowest / frequency) ** rng.uniform(0, 0.7)
            if frequency < 0.45 * rate:
                mode = np.sin(2 * np.pi * frequency * seconds + rng.uniform(0, 6.28))
                sound += rng.uniform(0.1, 1) * mode * np.exp(-seconds / decay)
    if kind != 'modes' or not sound.any():
        spectrum = np.fft.rfft(rng.normal(size=seconds.size))
        bins = np.fft.rfftfreq(seconds.size, 1 / rate)
        spectrum *= np.maximum(bins, 100) ** -rng.uniform(0, 1)
        spectrum *= bins < 10 ** rng.uniform(3.3, 4.3)
        burst = np.fft.irfft(spectrum, seconds.size)
        burst *= np.exp(-seconds / 10 ** rng.uniform(-2.5, -1.2))
        sound += (
            rng.uniform(0.3, 2) * burst / (np.abs(burst).max() + 1e-12) * (np.abs(sound).max() or 1)
        )
    sound *= np.clip(seconds / rng.uniform(0.0002, 0.003), 0, 1)
    return sound / np.abs(sound).max()


BACKGROUNDS: dict[str, Callable[[np.random.Generator, int, int], Signal]] = {
    'pink noise': pink_noise,
    'speech-like': speech_like,
    'hum': hum,
}
IMPACT_FREE = {**BACKGROUNDS, 'white noise': white_noise, 'modulated noise': modulated_noise}


@dataclass(frozen=True, eq=False)
class SoundScene:
    """A test sound with the times of the impacts in it."""

    samples: NDArray[np.float32]
    """float32 [N] in [-1, 1], quantised to 16 bit."""
    peaks_s: NDArray[np.float64]
    """Times of the impacts' amplitude peaks in seconds, [K], rising."""


def scene(
    seed: int, background: str, snr_db: float | None, seconds: float, rate: int
) -> SoundScene:
    """Impacts 0.35 to 1.2 s apart in a background.

    Args:
        seed: seed of everything random.
        background: a key of ``IMPACT_FREE``.
        snr_db: RMS of each impact's first 20 ms over the background's; None for no impacts.
        seconds: length of the scene.
        rate: samples per second.
    """
    rng = np.random.default_rng(seed)
    count = int(seconds * rate)
    level = 10 ** (BACKGROUND_DBFS / 20)
    sound = level * IMPACT_FREE[background](rng, count, rate)
    peaks = []
    position = rng.uniform(0.6, 1.2)
    while snr_db is not None and position < seconds - 0.5:
        hit = impact(rng, rate)
        start = int(position * rate)
        loudness = np.sqrt(np.mean(hit[: int(0.02 * rate)] ** 2))
        sound[start : start + hit.size] += hit * level * 10 ** (snr_db / 20) / loudness
        peaks.append((start + int(np.abs(hit).argmax())) / rate)
        position += rng.uniform(0.35, 1.2)
    quantised = np.round(np.clip(sound, -1, 1) * 32767) / 32768
    return SoundScene(quantised.astype(np.float32), np.array(peaks))


def _unit_rms(sound: Signal) -> Signal:
    unit: Signal = sound / max(float(np.sqrt(np.mean(sound**2))), 1e-12)
    return unit
