"""Impact sounds by modal synthesis: two bodies ring after a short contact.

A struck body is a sum of damped sinusoids (van den Doel and Pai 1998, "The sounds of physical
shapes", Presence 7). What tells materials apart is above all how decay grows with frequency
(Wildes and Richards 1988, "Recovering material properties from sound"; Klatzky, Pai and Krotkov
2000, "Perception of material from contact sounds", Presence 9: decay rate = pi f tan phi, the angle
phi being a property of the material), then frequency and spectral width (Giordano and McAdams
2006, "Material identification of real impact sounds", JASA 119). Rayleigh coefficients of metal,
glass and wood are about those of Wang and James 2019 ("KleinPAT", SIGGRAPH, table 4); ceramic is
damped more, as mugs on a table are, and plastic, cardboard and cloth are governed by the loss
angle. The softer partner sets the contact time and so the brightness of both (Avanzini and
Rocchesso 2001, "Modeling collision sounds: non-linear contact force", DAFx). Noise of crackling,
rustling and rattling follows Gaver 1993 ("How do we hear in the world?", Ecological Psychology 5)
in kind, not in number: its levels, and the ranges of pitch, were set by spectrogram and by how well
a simple classifier tells the materials apart, so that every one can be heard.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_BLOCK = 128  # samples per block of the matrix product that sums the modes
_VARIANTS = 12  # bursts of noise per material


@dataclass(frozen=True)
class Voice:
    """How a material sounds."""

    pitch: tuple[float, float]
    """Lowest mode of a body 100 pixels long (about 15 cm), smallest and largest, Hz."""
    alpha: float
    """Rayleigh damping by mass, 1/s."""
    beta: float
    """Rayleigh damping by stiffness, s."""
    loss: float
    """tan phi of the loss angle."""
    modes: int
    tilt: float
    """How fast modes get weaker: gain = ratio ** -tilt."""
    hardness: float
    """Brightness that its contacts allow: cut-off frequency, Hz."""
    band: tuple[float, float]
    """Range of its contact noise, Hz."""
    noise: float
    """Level of that noise beside the modes of level 1."""
    tail: tuple[float, float]
    """Length of that noise (60 dB), s."""


VOICES: dict[str, Voice] = {
    'metal': Voice((700, 1700), 5, 3e-8, 0.0, 14, 0.15, 9000, (3000, 12000), 0.12, (0.01, 0.03)),
    'glass': Voice((2300, 3900), 1, 8e-8, 0.001, 5, 0.3, 9000, (4000, 12000), 0.15, (0.01, 0.02)),
    'ceramic': Voice((850, 1800), 25, 4e-7, 0.008, 6, 0.4, 6500, (1800, 6000), 0.25, (0.01, 0.025)),
    'wood': Voice((260, 620), 60, 2e-6, 0.016, 5, 0.7, 3000, (400, 2200), 0.25, (0.015, 0.04)),
    'plastic': Voice((520, 1250), 30, 1e-6, 0.055, 5, 0.3, 4200, (1500, 5500), 1.0, (0.09, 0.16)),
    'cardboard': Voice((95, 210), 40, 1e-6, 0.09, 3, 0.9, 1500, (1800, 7000), 0.8, (0.06, 0.15)),
    'cloth': Voice((50, 105), 70, 1e-6, 0.12, 2, 1.4, 420, (250, 2200), 1.1, (0.1, 0.24)),
}
"""Sound of every material."""

_SHAPE_PITCH = {
    'spoon': 1.15, 'knife': 1.1, 'plate': 0.85, 'mug': 1.1, 'pan': 0.7, 'box': 0.85, 'bottle': 1.0,
    'bowl': 0.95, 'table': 0.55,
}  # fmt: skip


@dataclass(frozen=True)
class SoundingBody:
    """One of the two bodies of an impact."""

    material: str
    shape: str
    """One of SHAPES, or 'table'."""
    size: float
    """Length in pixels at 352: long bodies sound lower."""
    held: bool
    """A hand damps it."""


def impact(
    first: SoundingBody, second: SoundingBody, rate: int, rng: np.random.Generator
) -> Samples:
    """The sound of one collision from its first sample on, float32 [N], peak 1.

    Both bodies are brought to similar loudness, so that neither hides the other.
    """
    cutoff = _contact_cutoff(first.material, second.material)
    balance = rng.uniform(0.36, 0.64)
    parts = []
    for body, share in ((first, balance), (second, 1 - balance)):
        one = _ring(body, cutoff, rate, rng)
        burst = _burst(body.material, rate, rng)
        length = max(len(one), len(burst))
        whole = np.zeros(length, np.float32)
        whole[: len(one)] += one
        whole[: len(burst)] += burst
        parts.append(whole * np.float32(share / (_loudness(whole, rate) + 1e-9)))
    mixed = np.zeros(max(map(len, parts)), np.float32)
    for part in parts:
        mixed[: len(part)] += part
    return mixed / (np.abs(mixed).max() + np.float32(1e-9))


def _loudness(sound: Samples, rate: int) -> float:
    """Root mean square of the first 40 ms, the peak counted a little."""
    start = sound[: int(0.04 * rate)]
    return float(np.sqrt(np.mean(start * start))) + 0.1 * float(np.abs(start).max())


def _contact_cutoff(first: str, second: str) -> float:
    """The softer body lengthens the contact; the harder one shortens it a little."""
    low, high = sorted((VOICES[first].hardness, VOICES[second].hardness))
    return float(low**0.7 * high**0.3)


def _ring(body: SoundingBody, cutoff: float, rate: int, rng: np.random.Generator) -> Samples:
    voice = VOICES[body.material]
    low, high = voice.pitch
    size = np.clip(body.size / 100, 0.5, 2.5)
    # bodies of one material and thickness: pitch falls with length, here less than squared
    lowest = float(np.exp(rng.uniform(np.log(low), np.log(high)))) * float(size**-0.9)
    lowest *= _SHAPE_PITCH[body.shape]
    count = voice.modes
    if body.shape in ('spoon', 'knife', 'pan', 'bottle'):  # free bars: (k + 1/2)^2, softened
        ratio = ((np.arange(count) + 1.5) / 1.5) ** 1.7
    else:
        ratio = 1 + np.concatenate([[0], np.cumsum(rng.uniform(0.28, 1.15, count - 1))])
    frequency = lowest * ratio * rng.uniform(0.96, 1.04, count)
    omega = 2 * np.pi * frequency
    decay = (voice.alpha + voice.beta * omega**2) / 2 + np.pi * frequency * voice.loss
    decay = decay * np.exp(rng.normal(0, 0.2)) * rng.uniform(0.8, 1.3, count)
    decay += rng.uniform(7, 26) if body.held else rng.uniform(1.5, 9)
    if body.shape == 'table':
        decay += 25
    gain = ratio**-voice.tilt * rng.uniform(0.35, 1, count) / (1 + (frequency / cutoff) ** 2)
    gain[frequency > 0.46 * rate] = 0
    return modal(frequency, decay, gain, rng.uniform(-0.4, 0.4, count), rate)


def modal(
    frequency: NDArray[np.float64],
    decay: NDArray[np.float64],
    gain: NDArray[np.float64],
    phase: NDArray[np.float64],
    rate: int,
) -> Samples:
    """Sum of gain * exp(-decay t) * sin(2 pi frequency t + phase), until 70 dB down, at most 2 s.

    The samples are cut into blocks: a mode at block a and place b is a product of a term of a and a
    term of b, so the sum over modes is one small matrix product.

    Args:
        frequency: Hz, [M].
        decay: 1/s, [M].
        gain: [M].
        phase: radians, [M].
        rate: samples per second.
    """
    seconds = min(8.0 / float(decay.min()), 2.0)
    blocks = max(int(seconds * rate) // _BLOCK, 1)
    step = (-decay + 2j * np.pi * frequency)[:, None] / rate  # [M, 1]
    coarse = np.exp(step * (np.arange(blocks) * _BLOCK))  # [M, blocks]
    fine = (gain * np.exp(1j * phase))[:, None] * np.exp(step * np.arange(_BLOCK))  # [M, block]
    left = np.concatenate([coarse.imag, coarse.real]).astype(np.float32)  # [2 M, blocks]
    right = np.concatenate([fine.real, fine.imag]).astype(np.float32)  # [2 M, block]
    return (left.T @ right).ravel()


def _burst(material: str, rate: int, rng: np.random.Generator) -> Samples:
    """Contact noise of a material."""
    voice = VOICES[material]
    noise = _noise(material, int(rng.integers(_VARIANTS)), rate)
    length = rng.uniform(*voice.tail)
    count = min(int(1.1 * length * rate), len(noise))
    time = np.arange(count, dtype=np.float32) * np.float32(1 / rate)
    envelope = np.exp(np.float32(-6.9 / length) * time)
    if material == 'cloth':  # it brushes before it stops
        envelope *= 1 - np.exp(np.float32(-1 / 0.006) * time)
    level = voice.noise * rng.uniform(0.7, 1.3)
    return noise[:count] * envelope * np.float32(level)


@cache
def _noise(material: str, variant: int, rate: int) -> Samples:
    """Noise in the band of a material, made of grains where it crackles or rattles; [0.4 s]."""
    rng = np.random.default_rng([variant, sum(material.encode()), 23])
    low, high = VOICES[material].band
    count = int(0.4 * rate)
    source = rng.standard_normal(count)
    if material == 'cardboard':  # crackle: sparse grains
        source *= 0.12 + 3.0 * (rng.random(count) < 500 / rate)
    elif material == 'plastic':  # rattle: a few bounces of a light shell
        time = np.arange(count) / rate
        bounces = np.cumsum(rng.uniform(0.01, 0.024, 8))
        gate = np.exp(-time / 0.0018)
        for k, start in enumerate(bounces):
            since = time - start
            gate += 0.85**k * np.exp(-np.maximum(since, 0) / 0.0022) * (since >= 0)
        source *= gate
    spectrum = np.fft.rfft(source)
    frequency = np.fft.rfftfreq(count, 1 / rate)
    spectrum *= 1 / (1 + (low / np.maximum(frequency, 1)) ** 6)
    spectrum *= 1 / (1 + (frequency / min(high, 0.48 * rate)) ** 6)
    noise = np.fft.irfft(spectrum, count)
    return (noise / np.sqrt(np.mean(noise[: count // 8] ** 2)) * 0.5).astype(np.float32)
