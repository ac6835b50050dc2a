"""What is heard beside impacts: tones, motors, wind, clicks of wires, rooms, microphones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from cs3_training.synth.ambience import background
from cs3_training.synth.impact import Samples

KINDS = ('tones', 'motor', 'wind', 'noise', 'ambience', 'wires')
"""Names that ``surrounding`` knows."""


def surrounding(kind: str, count: int, rate: int, rng: np.random.Generator) -> Samples:
    """Sound without impacts, float32 [count], deviation 1; one of ``KINDS``."""
    make = {
        'tones': _tones,
        'motor': _motor,
        'wind': _wind,
        'noise': noise,
        'ambience': background,
        'wires': _wires,
    }[kind]
    sound = make(count, rate, rng)
    return (sound / (sound.std() + 1e-9)).astype(np.float32)


def noise(count: int, rate: int, rng: np.random.Generator) -> Samples:
    """Steady noise, its power falling or rising with frequency."""
    frequency = np.fft.rfftfreq(count, 1 / rate)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum *= np.maximum(frequency, 30) ** -rng.uniform(-0.3, 1.1)
    return np.fft.irfft(spectrum, count).astype(np.float32)


def _tones(count: int, rate: int, rng: np.random.Generator) -> Samples:
    """Notes that swell within 8 to 100 ms, alone and in chords; wind and strings, no plucking."""
    sound = np.zeros(count, np.float32)
    pace = rng.uniform(0.12, 0.9)
    at = 0
    while at < count:
        length = rng.uniform(0.6, 2.0) * pace
        seconds = np.arange(int(length * rate)) / rate
        note = np.zeros(seconds.size)
        for _ in range(rng.choice((1, 1, 2, 3))):
            pitch = 55 * 2 ** (rng.integers(0, 48) / 12)
            wobble = rng.uniform(0, 0.006) * np.sin(2 * np.pi * rng.uniform(4, 7) * seconds)
            phase = 2 * np.pi * pitch * (seconds + wobble / 6)
            fall = rng.uniform(0.4, 2.5)
            for harmonic in range(1, min(17, int(min(0.45 * rate, 6000) / pitch) + 1)):
                note += np.sin(harmonic * phase + rng.uniform(0, 6)) * harmonic**-fall
        rise, end = 10 ** rng.uniform(-2.1, -1), rng.uniform(0.03, 0.2)
        note *= np.clip(seconds / rise, 0, 1) * np.clip((length - seconds) / end, 0, 1)
        room = min(seconds.size, count - at)
        sound[at : at + room] += (note * rng.uniform(0.3, 1))[:room].astype(np.float32)
        at += int(pace * rng.choice((0.5, 1, 1, 2)) * rate)
    return sound


def _motor(count: int, rate: int, rng: np.random.Generator) -> Samples:
    """A motor with its gears, which starts, stops and changes its speed."""
    seconds = np.arange(count) / rate
    places = np.sort(rng.uniform(0, seconds[-1], rng.integers(2, 10)))
    speeds = 10 ** rng.uniform(1.3, 2.5, places.size) * rng.choice((0, 1, 1, 1), places.size)
    speed = np.interp(seconds, places, speeds)
    inertia = int(rng.uniform(0.02, 0.3) * rate)
    speed = fftconvolve(speed, np.ones(inertia) / inertia, 'same')
    phase = 2 * np.pi * np.cumsum(speed) / rate
    level = np.clip(speed / (speed.max() + 1e-9), 0, 1) ** rng.uniform(0.3, 1)
    sound = np.zeros(count)
    teeth = rng.integers(3, 24)
    for order in (1, 2, teeth, 2 * teeth, 3 * teeth):
        sound += rng.uniform(0, 1) * np.sin(order * phase + rng.uniform(0, 6))
    mesh = (0.5 + 0.5 * np.sin(teeth * phase)) ** rng.uniform(1, 12)
    hiss = noise(count, rate, rng)
    sound += rng.uniform(0, 3) * mesh * hiss / hiss.std()
    return (sound * level + 0.02 * hiss / hiss.std()).astype(np.float32)


def _wind(count: int, rate: int, rng: np.random.Generator) -> Samples:
    """Gusts in a microphone: rumble that swells, with flutter."""
    frequency = np.fft.rfftfreq(count, 1 / rate)
    corner = 10 ** rng.uniform(1.7, 2.8)
    rumble = np.fft.rfft(rng.standard_normal(count)) / (1 + (frequency / corner) ** 2)
    gusts = np.fft.rfft(rng.standard_normal(count)) * (frequency < rng.uniform(0.5, 12))
    swell = np.fft.irfft(gusts, count)
    swell = np.exp(rng.uniform(0.3, 1.6) * swell / (swell.std() + 1e-12))
    return (np.fft.irfft(rumble, count) * swell).astype(np.float32)


def _wires(count: int, rate: int, rng: np.random.Generator) -> Samples:
    """Faults of the way from the microphone: crackles of a few samples, losses, hum that jumps."""
    sound = noise(count, rate, rng)
    sound /= sound.std() + np.float32(1e-9)
    seconds = np.arange(count) / rate
    sound += np.float32(rng.uniform(0, 3)) * np.sin(2 * np.pi * 50 * seconds).astype(np.float32)
    for _ in range(int(count / rate * rng.uniform(0.5, 3))):
        at = int(rng.integers(count - rate // 20))
        match rng.integers(3):
            case 0:  # a crackle
                width = rng.integers(1, 4)
                sound[at : at + width] += np.float32(
                    rng.choice((-1, 1)) * 10 ** rng.uniform(0.7, 2)
                )
            case 1:  # samples that are lost
                sound[at : at + int(10 ** rng.uniform(-3, -1.4) * rate)] = 0
            case _:  # sound that goes on elsewhere
                other = int(rng.integers(count // 2))
                sound[at:] = np.concatenate((sound[at + other :], sound[: count - at]))[
                    : count - at
                ]
    return sound


def in_a_room(sounds: list[Samples], rate: int, rng: np.random.Generator) -> list[Samples]:
    """The sounds with the echo of one random room, same lengths."""
    time_s = 10 ** rng.uniform(-1, 0)
    seconds = np.arange(int(time_s * rate)) / rate
    tail = rng.standard_normal(seconds.size) * np.exp(-6.9 * seconds / time_s)
    tail[: int(rng.uniform(0.001, 0.012) * rate)] = 0
    spectrum = np.fft.rfft(tail) / (1 + (np.fft.rfftfreq(tail.size, 1 / rate) / 4000) ** 2)
    tail = np.fft.irfft(spectrum, tail.size)
    tail *= 10 ** rng.uniform(-1.3, 0.1) / (np.sqrt(np.sum(tail**2)) + 1e-12)
    tail[0] += 1
    return [fftconvolve(one, tail)[: one.size].astype(np.float32) for one in sounds]


def through_a_microphone(sound: Samples, rate: int, rng: np.random.Generator) -> Samples:
    """The sound as it is delivered, float32 in [-1, 1]: coloured, noisy, loud or faint, cut off."""
    count = sound.size
    frequency = np.fft.rfftfreq(count, 1 / rate)
    gain = np.maximum(frequency, 50) ** rng.normal(0, 0.2)
    if rng.random() < 0.3:  # it booms
        gain *= 1 + rng.uniform(0, 5) / (1 + ((frequency - rng.uniform(60, 400)) / 80) ** 2)
    if rng.random() < 0.25:
        gain *= 1 / (1 + (rng.uniform(80, 500) / np.maximum(frequency, 1)) ** 4)
    if rng.random() < 0.3:  # a telephone, a low bit rate
        gain *= 1 / (1 + (frequency / 10 ** rng.uniform(3.3, 4.1)) ** 16)
    coloured = np.fft.irfft(np.fft.rfft(sound) * gain, count)
    coloured /= np.abs(coloured).max() + 1e-9
    hiss = noise(count, rate, rng)
    coloured += 10 ** rng.uniform(-5, -1.6) * hiss / (hiss.std() + 1e-9)
    if rng.random() < 0.3:
        seconds = np.arange(count) / rate
        for harmonic in (1, 2, 3, 5):
            level = 10 ** rng.uniform(-4, -1.7) / harmonic
            coloured += level * np.sin(2 * np.pi * harmonic * rng.choice((50, 60)) * seconds)
    loudness = 10 ** rng.uniform(-1.8, 0)
    if rng.random() < 0.12:
        loudness = rng.uniform(1, 6)
    heard = np.clip(coloured * loudness, -1, 1)
    if rng.random() < 0.08:  # G.711
        heard = np.round(np.sign(heard) * np.log1p(255 * np.abs(heard)) / np.log(256) * 127) / 127
        heard = np.sign(heard) * np.expm1(np.abs(heard) * np.log(256)) / 255
    return (np.round(heard * 32767) / 32768).astype(np.float32)


def loudest(sound: NDArray[np.float32], rate: int) -> float:
    """How loud it gets: the 98th percentile of the peaks of its stretches of 20 ms."""
    width = rate // 50
    peaks = np.abs(sound[: sound.size // width * width]).reshape(-1, width).max(1)
    return float(np.quantile(peaks, 0.98))
