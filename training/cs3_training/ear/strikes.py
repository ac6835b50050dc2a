"""Impacts to learn from: the world's modal synthesis, wider families without names, recordings.

The wider families have what the world lacks: thuds, taps of a millisecond, double hits, long noise
as of cymbals, dull blows that rise for some milliseconds, clatter, and the rustle before a hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from cs3_ros.files.recordings import list_recordings, read_recording
from cs3_training.ear.speech import resampled
from cs3_training.synth.impact import Samples, SoundingBody, impact, modal
from cs3_training.synth.shapes import SIZES
from cs3_training.synth.vocabulary import MATERIALS, SHAPES

LONGEST_S = 1.2


class Struck:
    """Folders of recordings that hold one impact each.

    Args:
        folders: each is drawn from as often as the others.

    Raises:
        ValueError: a folder has no recordings.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._sounds = [
            [_started(*read_recording(path)) for path in list_recordings(folder)]
            for folder in folders
        ]

    def draw(self, rate: int, rng: np.random.Generator) -> Samples:
        """One of them, higher or lower than it was, float32 [N] at ``rate``."""
        sounds = self._sounds[rng.integers(len(self._sounds))]
        sound, own_rate = sounds[rng.integers(len(sounds))]
        return resampled(sound, round(own_rate * 2 ** rng.uniform(-0.6, 0.6) / 50) * 50, rate)


def _started(sound: Samples, rate: int) -> tuple[Samples, int]:
    """From 5 ms before the first sample that is not faint."""
    begin = int((np.abs(sound) > 0.1 * np.abs(sound).max()).argmax())
    return sound[max(0, begin - rate // 200) :][: int(LONGEST_S * rate)], rate


def strike(
    rate: int, rng: np.random.Generator, struck: Struck | None = None
) -> tuple[Samples, list[int]]:
    """One impact, often with rebounds: float32 [N], peak 1, and the samples of its peaks."""
    makers = [_of_the_world, _of_any_kind, _of_noise, *([struck.draw] * 2 if struck else [])]
    hit = np.zeros(0, np.float32)
    while not hit.any():  # a low rate may have none of its frequencies
        hit = makers[rng.integers(len(makers))](rate, rng)
    hit = hit[: int(LONGEST_S * rate)] / np.abs(hit).max()
    begin = int((np.abs(hit) > 0.1).argmax())
    peak = begin + int(np.abs(hit[begin : begin + rate // 25]).argmax())
    sound, peaks = hit, [peak]
    if rng.random() < 0.15:  # something rubs or rustles before
        lead = int(10 ** rng.uniform(-1.5, -0.4) * rate)
        rustle = _coloured(lead, rate, rng) * np.linspace(0, 1, lead) ** rng.uniform(0, 1)
        rustle *= 10 ** rng.uniform(-1.7, -0.7)
        sound, peaks = np.concatenate((rustle.astype(np.float32), hit)), [lead + peak]
        hit, peak = sound, lead + peak
    if rng.random() < 0.25:
        at, level = 0, 1.0
        for _ in range(rng.integers(1, 4)):
            at += int(rng.uniform(0.05, 0.3) * rate)
            level *= rng.uniform(0.25, 0.8)
            whole = np.zeros(max(sound.size, at + hit.size), np.float32)
            whole[: sound.size] += sound
            whole[at : at + hit.size] += hit * np.float32(level)
            sound = whole
            peaks.append(at + peak)
    return sound, peaks


def _of_the_world(rate: int, rng: np.random.Generator) -> Samples:
    bodies = []
    for _ in range(2):
        shape = SHAPES[rng.integers(len(SHAPES))]
        material = MATERIALS[rng.integers(len(MATERIALS))]
        bodies.append(SoundingBody(material, shape, rng.uniform(*SIZES[shape]), rng.random() < 0.4))
    if rng.random() < 0.5:
        table = ('wood', 'metal', 'ceramic', 'plastic', 'cloth')[rng.integers(5)]
        bodies[1] = SoundingBody(table, 'table', 240.0, False)
    return impact(bodies[0], bodies[1], rate, rng)


def _of_any_kind(rate: int, rng: np.random.Generator) -> Samples:
    count = int(LONGEST_S * rate)
    seconds = np.arange(count) / rate
    sound = np.zeros(count, np.float32)
    parts = rng.choice(3, p=(0.3, 0.25, 0.45))  # modes, burst, both
    if parts != 1:
        lowest = 10 ** rng.uniform(1.8, 3.6)
        frequency = lowest * 10 ** rng.uniform(0, rng.uniform(0.1, 1.3), rng.integers(2, 24))
        frequency = frequency[frequency < 0.45 * rate]
        if frequency.size:
            longest = 10 ** rng.uniform(-2.3, -0.5)
            decay = longest * rng.uniform(0.2, 1, frequency.size)
            decay *= (frequency[0] / frequency) ** rng.uniform(0, 0.8)
            gain = rng.uniform(0.1, 1, frequency.size) * frequency ** -rng.uniform(0, 0.6)
            phase = rng.uniform(0, 6.3, frequency.size)
            ring = modal(frequency, 1 / np.maximum(decay, 1e-3), gain, phase, rate)[:count]
            sound[: ring.size] += ring / (np.abs(ring).max() + np.float32(1e-9))
    if parts != 0 or not sound.any():
        spectrum = np.fft.rfft(rng.normal(size=count))
        bins = np.fft.rfftfreq(count, 1 / rate)
        spectrum *= np.maximum(bins, 60) ** -rng.uniform(0, 1.2)
        spectrum *= bins < 10 ** rng.uniform(2.7, 4.3)
        if rng.random() < 0.3:
            spectrum *= bins > 10 ** rng.uniform(2, 3.5)
        burst = np.fft.irfft(spectrum, count) * np.exp(-seconds / 10 ** rng.uniform(-3, -1.1))
        burst *= rng.uniform(0.3, 2) / (np.abs(burst).max() + 1e-12)
        sound += burst.astype(np.float32)
    sound *= np.clip(seconds / 10 ** rng.uniform(-4, -2.5), 0, 1).astype(np.float32)
    if rng.random() < 0.2:  # both feet, a lid that falls back
        late = int(rng.uniform(0.004, 0.04) * rate)
        sound[late:] += sound[:-late] * np.float32(rng.uniform(0.3, 0.9))
    return sound


def _of_noise(rate: int, rng: np.random.Generator) -> Samples:
    """Bursts of noise in bands, grains that follow each other: blows, cymbals, keys, crockery."""
    sound = np.zeros(int(LONGEST_S * rate), np.float32)
    for _ in range(rng.integers(1, 4)):
        length_s = min(10 ** rng.uniform(-2.4, 0), LONGEST_S - 0.1)
        seconds = np.arange(int(length_s * rate)) / rate
        burst = _coloured(seconds.size, rate, rng) * np.exp(-6.9 * seconds / length_s)
        rise = 10 ** rng.uniform(-4, -1.9)
        burst *= 1 - np.exp(-seconds / rise)
        at = int(rng.uniform(0, 0.025) * rng.integers(2) * rate)
        sound[at : at + burst.size] += burst * np.float32(rng.uniform(0.2, 1))
    if rng.random() < 0.3:
        grain = sound[: int(0.2 * rate)].copy()
        level, since_s = 1.0, 0.0
        for _ in range(rng.integers(2, 12)):
            since_s += 10 ** rng.uniform(-2.3, -1.2)
            level *= rng.uniform(0.6, 1)
            start = int(since_s * rate)
            room = min(grain.size, max(sound.size - start, 0))
            sound[start : start + room] += grain[:room] * np.float32(level * rng.uniform(0.3, 1))
    return sound


def _coloured(count: int, rate: int, rng: np.random.Generator) -> Samples:
    """Noise round a frequency, narrow or wide, peak 1."""
    centre = 10 ** rng.uniform(1.9, np.log10(0.45 * rate))
    width = 10 ** rng.uniform(-0.5, 0.6)  # of the centre
    radius = np.exp(-np.pi * min(width * centre, 0.5 * rate) / rate)
    poles = [1, -2 * radius * np.cos(2 * np.pi * centre / rate), radius**2]
    noise = lfilter([1], poles, rng.standard_normal(count)) + rng.uniform(
        0, 0.3
    ) * rng.standard_normal(count)
    return (noise / (np.abs(noise).max() + 1e-9)).astype(np.float32)
